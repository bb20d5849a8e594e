"""A CA of one's own, as bytes in and bytes out: made with an encrypted key, opened, issuing, renewing, revoking.

Everything is on P-256 with SHA-256, which every client and the service know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from rolesanywhere_helper.errors import UnreadableCertificateError, UnreadableKeyError, UsageError, WrongSecretError
from rolesanywhere_helper.pki.certificates import (
    CertificateAuthority,
    LeafRequest,
    Validity,
    certificates_pem,
    name_parts,
)
from rolesanywhere_helper.pki.encrypted_key import encrypted_key_pem
from rolesanywhere_helper.pki.keys import KeyKind, generate_key, key_pem
from rolesanywhere_helper.pki.revocation import RevocationList, read_list

if TYPE_CHECKING:
    from rolesanywhere_helper.pki.certificates import NameParts

_KIND = KeyKind.P_256
_CA_DAYS = 3_650


@dataclass(frozen=True, slots=True)
class NewAuthority:
    """What a new CA consists of, as PEM; the key is encrypted."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class IssuedLeaf:
    """A certificate as PEM and its serial number; ``key`` is the PEM of a key that was made for it, if one was."""

    certificate: bytes
    serial: int
    key: bytes | None = field(repr=False)


def new_authority(name: str, now: float, passphrase: bytes) -> NewAuthority:
    """Make a CA that is valid for ten years. ``now`` is in seconds since the epoch."""
    made = CertificateAuthority.root(name, Validity.days(now, _CA_DAYS), _KIND)
    return NewAuthority(made.pem, encrypted_key_pem(made.private_key, passphrase))


@dataclass(frozen=True, slots=True)
class LocalAuthority:
    """A CA whose key is open."""

    authority: CertificateAuthority = field(repr=False)

    @classmethod
    def opened(cls, certificate: bytes, key: bytes, passphrase: bytes, shown: str) -> LocalAuthority:
        """Open a CA; ``shown`` names the file of its key in errors.

        Raises:
            WrongSecretError: the passphrase does not open the key.
            UnreadableKeyError: the key is not encrypted, or not the certificate's.

        """
        try:
            authority = CertificateAuthority.from_pem(certificate, key, passphrase)
        except ValueError:
            raise WrongSecretError(f"the passphrase does not open {shown}") from None
        except TypeError:
            raise UnreadableKeyError(
                f"{shown} is not encrypted", f"encrypt it: openssl pkcs8 -topk8 -in {shown} -out NEW, then replace it"
            ) from None
        if authority.private_key.public_key() != authority.certificate.public_key():
            raise UnreadableKeyError(f"{shown} is not the key of the CA's certificate beside it", "restore both files")
        return cls(authority)

    def issue(self, subject: NameParts, days: int, now: float, key: bytes | None = None) -> IssuedLeaf:
        """Issue a leaf: for a new key, or (a renewal) for one that there is, as PEM.

        Raises:
            UnreadableKeyError: the key cannot be read.

        """
        request = self._request(subject, days, now)
        if key is None:
            private_key = generate_key(_KIND)
            return _issued(self.authority.certify(request, private_key.public_key()), key_pem(private_key))
        try:
            loaded = serialization.load_pem_private_key(key, None)
        except (ValueError, TypeError):
            raise UnreadableKeyError("the leaf's key is none that this CA has made") from None
        # The types of keys that sign and of those that do not are told apart by the certificate's builder.
        return _issued(self.authority.certify(request, loaded.public_key()))  # type: ignore[arg-type]

    def issue_for(self, request: bytes, subject: NameParts, days: int, now: float, shown: str) -> IssuedLeaf:
        """Issue a leaf for the key of a signing request; who it is for is the CA's to say, not the request's.

        ``shown`` names the request's file in errors.

        Raises:
            UsageError: it is no signing request, or not signed with its key.

        """
        try:
            csr = x509.load_pem_x509_csr(request)
            is_signed = csr.is_signature_valid
        except ValueError:
            is_signed = False
        if not is_signed:
            raise UsageError(
                f"{shown} is no signing request, or damaged", "make one: rolesanywhere-helper csr --private-key FILE"
            )
        return _issued(self.authority.certify(self._request(subject, days, now), csr.public_key()))

    def revoke(self, serial: int, crl: bytes | None, now: float) -> bytes:
        """Return the revocation list with one more serial number; one that has it already stays as it is.

        Raises:
            UsageError: the list before cannot be read.

        """
        try:
            before = RevocationList() if crl is None else read_list(crl)
        except ValueError:
            raise UsageError("the revocation list cannot be read", "restore crl.pem: it says what is revoked") from None
        if crl is not None and before.holds(serial):
            return crl
        return before.plus(serial, now).signed(self.authority, now)

    def _request(self, subject: NameParts, days: int, now: float) -> LeafRequest:
        end = int(self.authority.certificate.not_valid_after_utc.timestamp())
        wanted = Validity.days(now, days)
        return LeafRequest(Validity(wanted.not_before, min(wanted.not_after, end)), subject, _KIND)


def serial_of(content: bytes, shown: str) -> int:
    """Return the serial number of a certificate (PEM); ``shown`` names its file in errors.

    Raises:
        UnreadableCertificateError: it is none.

    """
    try:
        return x509.load_pem_x509_certificate(content).serial_number
    except ValueError:
        raise UnreadableCertificateError(f"{shown} holds no certificate that can be read") from None


def subject_of(content: bytes, shown: str) -> NameParts:
    """Return the subject of a certificate (PEM) that a local CA has issued; ``shown`` names its file in errors.

    Raises:
        UnreadableCertificateError: it is none.

    """
    try:
        return name_parts(x509.load_pem_x509_certificate(content).subject)
    except ValueError:
        raise UnreadableCertificateError(f"{shown} holds no certificate that can be read") from None


def _issued(certificate: x509.Certificate, key: bytes | None = None) -> IssuedLeaf:
    return IssuedLeaf(certificates_pem(certificate), certificate.serial_number, key)
