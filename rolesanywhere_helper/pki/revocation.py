"""Certificate revocation lists (RFC 5280, section 5), as PEM: what a CA has taken back, the whole of it each time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from rolesanywhere_helper.pki.certificates import CertificateAuthority


@dataclass(frozen=True, slots=True)
class Revoked:
    """One certificate of the list: its serial number, and when it was revoked, in seconds since the epoch."""

    serial: int
    at: int


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list before it is signed; ``number`` grows with each new one."""

    number: int = 0
    revoked: tuple[Revoked, ...] = ()

    def holds(self, serial: int) -> bool:
        """Tell whether a certificate is revoked."""
        return any(each.serial == serial for each in self.revoked)

    def plus(self, serial: int, now: float) -> RevocationList:
        """Return the next list, with one more certificate."""
        return RevocationList(self.number + 1, (*self.revoked, Revoked(serial, int(now))))

    def signed(self, authority: CertificateAuthority, now: float) -> bytes:
        """Sign it, valid for as long as the CA is: it is replaced when there is something to add."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.certificate.subject)
            .last_update(datetime.fromtimestamp(int(now), UTC))
            .next_update(authority.certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(self.number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.private_key.public_key()), critical=False
            )
        )
        for each in self.revoked:
            at = datetime.fromtimestamp(each.at, UTC)
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial).revocation_date(at).build()
            builder = builder.add_revoked_certificate(entry)
        key = authority.private_key
        # ML-DSA has no hash of its own choice.
        digest = hashes.SHA256() if isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)) else None
        return builder.sign(key, digest).public_bytes(Encoding.PEM)


def rewritten(pem: bytes) -> str:
    """Return a list alone, without anything else that may stand in its file.

    Raises:
        ValueError: it is none.

    """
    return x509.load_pem_x509_crl(pem).public_bytes(Encoding.PEM).decode("ascii")


def lost_serials(before: bytes, after: bytes, ca: x509.Certificate) -> frozenset[int]:
    """Return whom a list (PEM or DER) of this CA revokes, and another one (PEM) that would take its place does not.

    A list that another CA has signed revokes none of this one's.

    Raises:
        ValueError: one of them is no list.

    """
    found = (x509.load_pem_x509_crl if b"-----BEGIN" in before else x509.load_der_x509_crl)(before)
    key = ca.public_key()
    if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)) or not found.is_signature_valid(key):
        return frozenset()
    return frozenset(each.serial_number for each in found) - {each.serial for each in read_list(after).revoked}


def read_list(pem: bytes) -> RevocationList:
    """Read a list that was signed before.

    Raises:
        ValueError: it is none.

    """
    crl = x509.load_pem_x509_crl(pem)
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        number = 0
    revoked = (Revoked(each.serial_number, int(each.revocation_date_utc.timestamp())) for each in crl)
    return RevocationList(number, tuple(revoked))
