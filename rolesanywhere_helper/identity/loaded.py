"""What loading gives back, whatever the backend: bytes, numbers and names, no cryptography library's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.keys import KeyType
    from rolesanywhere_helper.domain.ports import Identity


class SigningKey(Protocol):
    """A private key without its certificate: all that ``sign-string`` needs."""

    @property
    def key_type(self) -> KeyType:
        """The key's type."""
        ...

    @property
    def public_bytes(self) -> bytes:
        """The public half: PKCS#1 DER for RSA, the uncompressed point for EC, FIPS 204's encoding for ML-DSA."""
        ...

    def sign(self, message: bytes, digest: str = "SHA256") -> bytes:
        """Sign a whole message, as :meth:`rolesanywhere_helper.domain.ports.Identity.sign` does.

        Raises:
            IdentityError: the key could not be used.

        """
        ...


@dataclass(frozen=True, slots=True)
class LoadedIdentity:
    """A usable identity, and what the user should hear about it, each warning one line."""

    identity: Identity
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedKey:
    """A signing key, and what the user should hear about it, each warning one line."""

    key: SigningKey
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A certificate as such, fit to sign or not: ``not_before`` and ``not_after`` in seconds since the epoch."""

    der: bytes
    serial: int
    key_type: KeyType
    subject: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class ListedCertificate:
    """One of several certificates in tokens, with the URI that names it alone.

    ``key_type`` is None where the service accepts no such key; the rest as for :class:`CertificateFacts`.
    """

    uri: str
    der: bytes
    serial: int
    key_type: KeyType | None
    subject: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class MatchingCertificate:
    """A certificate that a selector means; the names are written as the official helper writes them."""

    der: bytes
    subject: str
    issuer: str
    serial: int
