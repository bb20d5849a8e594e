"""A CA of one's own, as bytes in and bytes out: made with an encrypted key, opened, issuing, renewing, revoking.

Everything is on P-256 with SHA-256, which every client and the service know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rolesanywhere_helper.errors import (
    UnreadableCertificateError,
    UnreadableKeyError,
    UnsupportedKeyError,
    UsageError,
    WrongSecretError,
)
from rolesanywhere_helper.pki.certificates import (
    CertificateAuthority,
    LeafRequest,
    Validity,
    certificates_pem,
    name_parts,
)
from rolesanywhere_helper.pki.encrypted_key import encrypted_key_pem
from rolesanywhere_helper.pki.keys import KeyKind, generate_key, key_pem
from rolesanywhere_helper.pki.revocation import RevocationList, lost_serials, read_list, rewritten

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from rolesanywhere_helper.pki.certificates import NameParts

_KIND = KeyKind.P_256
_CA_DAYS = 3_650
# User guide, "trust model"; who makes a request for another key finds out here, and not from the service.
_SMALLEST_RSA_BITS, _LARGEST_RSA_BITS = 2_048, 4_096
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_ML_DSA = frozenset({"MLDSA44", "MLDSA65", "MLDSA87"})
NOTHING_REVOKED: frozenset[bytes] = frozenset()
"""No public key that may not be certified again."""


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

    def issue(
        self,
        subject: NameParts,
        days: int,
        now: float,
        key: bytes | None = None,
        *,
        revoked: frozenset[bytes] = NOTHING_REVOKED,
    ) -> IssuedLeaf:
        """Issue a leaf: for a new key, or (a renewal) for one that there is, as PEM.

        ``revoked`` are the keys of revoked certificates, as :func:`key_of` returns them. One of those may be in other
        hands, so a new one is made in its place.

        Raises:
            UnreadableKeyError: the key cannot be read.
            UnsupportedKeyError: it is of a kind that the service does not accept.

        """
        request = self._request(subject, days, now)
        if key is not None:
            try:
                public_key = serialization.load_pem_private_key(key, None).public_key()
            except (ValueError, TypeError):
                raise UnreadableKeyError("the leaf's key is none that this CA has made") from None
            accepted = _accepted(public_key, "the leaf's key")
            if _encoded(accepted) not in revoked:
                return _issued(self.authority.certify(request, accepted))
        private_key = generate_key(_KIND)
        return _issued(self.authority.certify(request, private_key.public_key()), key_pem(private_key))

    def issue_for(  # noqa: PLR0913 - what a leaf is made of, and what it is not
        self,
        request: bytes,
        subject: NameParts,
        days: int,
        now: float,
        shown: str,
        *,
        revoked: frozenset[bytes] = NOTHING_REVOKED,
    ) -> IssuedLeaf:
        """Issue a leaf for the key of a signing request; who it is for is the CA's to say, not the request's.

        ``shown`` names the request's file in errors, ``revoked`` are keys as in :meth:`issue`.

        Raises:
            UsageError: it is no signing request, not signed with its key, or its key was revoked.
            UnsupportedKeyError: its key is of a kind that the service does not accept.

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
        accepted = _accepted(csr.public_key(), f"the key of {shown}")
        if _encoded(accepted) in revoked:
            raise UsageError(
                f"the key of {shown} is that of a certificate that was revoked",
                "make a new key (rolesanywhere-helper keygen --out FILE), and a request for it",
            )
        return _issued(self.authority.certify(self._request(subject, days, now), accepted))

    def revoke(self, serial: int, crl: bytes | None, now: float) -> bytes:
        """Return the revocation list with one more serial number; one that has it already stays as it is.

        Raises:
            UsageError: the list before cannot be read.

        """
        before = RevocationList() if crl is None else _list(crl)
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


def key_of(content: bytes, shown: str) -> bytes:
    """Return the public key of a certificate (PEM) as DER; ``shown`` names its file in errors.

    Raises:
        UnreadableCertificateError: it is none.

    """
    try:
        return _encoded(x509.load_pem_x509_certificate(content).public_key())
    except ValueError:
        raise UnreadableCertificateError(f"{shown} holds no certificate that can be read") from None


def revoked_serials(crl: bytes) -> frozenset[int]:
    """Return the serial numbers on a revocation list (PEM).

    Raises:
        UsageError: the list cannot be read.

    """
    return frozenset(each.serial for each in _list(crl).revoked)


def list_alone(crl: bytes) -> str:
    """Return a revocation list (PEM) without anything else that may stand in its file.

    Raises:
        UsageError: the list cannot be read.

    """
    try:
        return rewritten(crl)
    except ValueError:
        raise _unreadable_list() from None


def lost_revocations(before: bytes, after: bytes, ca: bytes) -> frozenset[int]:
    """Return the serial numbers that are on the list before and would not be on the one after; ``ca`` is PEM.

    Raises:
        UsageError: a list cannot be read.

    """
    try:
        return lost_serials(before, after, x509.load_pem_x509_certificate(ca))
    except ValueError:
        raise _unreadable_list() from None


def _list(crl: bytes) -> RevocationList:
    try:
        return read_list(crl)
    except ValueError:
        raise _unreadable_list() from None


def _unreadable_list() -> UsageError:
    return UsageError("the revocation list cannot be read", "restore crl.pem: it says what is revoked")


def _accepted(key: object, what: str) -> CertificatePublicKeyTypes:
    """Return a public key that the service accepts in a leaf.

    Raises:
        UnsupportedKeyError: it is none.

    """
    match key:
        case rsa.RSAPublicKey():
            if not _SMALLEST_RSA_BITS <= key.key_size <= _LARGEST_RSA_BITS:
                raise UnsupportedKeyError(f"{what} is RSA of {key.key_size} bits, which the service does not accept")
            return key
        case ec.EllipticCurvePublicKey():
            if key.curve.name not in _CURVES:
                raise UnsupportedKeyError(f"{what} is on the curve {key.curve.name}, which the service does not accept")
            return key
        case _:
            kind = type(key).__name__.removesuffix("PublicKey")
            # By its name, for older libraries have no such class.
            if kind not in _ML_DSA:
                raise UnsupportedKeyError(f"{what} is {kind}, which the service does not accept")
            return key  # type: ignore[return-value]  # it is one of those


def _encoded(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _issued(certificate: x509.Certificate, key: bytes | None = None) -> IssuedLeaf:
    return IssuedLeaf(certificates_pem(certificate), certificate.serial_number, key)
