"""Revocation lists for tests."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

if TYPE_CHECKING:
    from rolesanywhere_helper.pki.certificates import CertificateAuthority


def crl_of(authority: CertificateAuthority, *serials: int, pem: bool = True) -> bytes:
    """Let a CA revoke serial numbers."""
    now = datetime.fromtimestamp(time.time(), UTC).replace(microsecond=0)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now)
        .next_update(now + timedelta(days=1))
    )
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(revoked)
    encoding = serialization.Encoding.PEM if pem else serialization.Encoding.DER
    return builder.sign(authority.private_key, hashes.SHA256()).public_bytes(encoding)
