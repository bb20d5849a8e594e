"""Certificate revocation lists: whether one can be imported, and whom it revokes.

A list is one X.509 CRL in PEM or DER, signed by one of the trust anchor's CAs. It is effective from its import on and
while it is enabled; whether its own dates have passed is not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from rolesanywhere_helper.emulator.answers import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

_BEGIN = b"-----BEGIN"


def require_signed_list(data: bytes, bundle: Iterable[x509.Certificate]) -> None:
    """Require a revocation list that one of the trust anchor's certificates has issued.

    Raises:
        Refusal: ValidationException; it is none, or more than one.

    """
    if data.count(_BEGIN) > 1:
        # The library reads the first block; whom the others revoke would stay a secret.
        raise invalid("There is more than one PEM block in crlData: a single X.509 CRL is expected")
    found = _load(data)
    if found is None:
        raise invalid("Unable to parse the CRL: PEM or DER of an X.509 CRL is expected")
    if not any(_is_issued_by(found, certificate) for certificate in bundle):
        raise invalid("The CRL is not signed by the certificate authority of the trust anchor")


def is_revoked(certificate: x509.Certificate, lists: Iterable[bytes]) -> bool:
    """Tell whether one of the lists, of the certificate's own issuer, has its serial number."""
    loaded = (_load(data) for data in lists)
    return any(
        found is not None
        and found.issuer == certificate.issuer
        and found.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
        for found in loaded
    )


def _load(data: bytes) -> x509.CertificateRevocationList | None:
    loaders = (x509.load_pem_x509_crl, x509.load_der_x509_crl)
    for load in loaders if _BEGIN in data else loaders[1:]:
        try:
            return load(data)
        except ValueError:
            continue
    return None


def _is_issued_by(found: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    # Any key that issued the certificates of a bundle can sign a list; others the library refuses as a TypeError.
    key: CertificateIssuerPublicKeyTypes = certificate.public_key()  # type: ignore[assignment]
    try:
        return found.issuer == certificate.subject and found.is_signature_valid(key)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
