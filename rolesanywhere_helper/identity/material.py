"""What an identity is made of before anything of it is chosen: certificates, and a private key that can sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.identity.loaded import SigningKey

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes


class PrivateHalf(SigningKey, Protocol):
    """A private key wherever it lies, with its public half, by which its certificate is found."""

    @property
    def public_key(self) -> CertificatePublicKeyTypes:
        """The public half, as the cryptography library has it."""
        ...


@dataclass(frozen=True, slots=True)
class Material:
    """What a backend found.

    The leaf is among ``certificates``; ``beside`` are more that may lie between it and the trust anchor. ``warnings``
    are for the user, one line each.
    """

    certificates: tuple[x509.Certificate, ...] = field(repr=False)
    key: PrivateHalf = field(repr=False)
    beside: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()
