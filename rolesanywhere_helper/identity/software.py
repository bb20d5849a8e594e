"""An identity whose key lies in this process's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import InvalidParameterError, UnreadableKeyError
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from rolesanywhere_helper.identity.private_key import SupportedKey

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384,
    "SHA512": hashes.SHA512,
}


@dataclass(frozen=True, slots=True)
class SoftwareKey:
    """An RSA or EC key in memory (:class:`rolesanywhere_helper.identity.loaded.SigningKey`)."""

    _key: SupportedKey = field(repr=False)

    @property
    def key_type(self) -> KeyType:
        """The key's type."""
        return KeyType.RSA if isinstance(self._key, rsa.RSAPrivateKey) else KeyType.EC

    @property
    def public_bytes(self) -> bytes:
        """The public half: PKCS#1 DER for RSA, the uncompressed point for EC."""
        public = self._key.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            return public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def sign(self, message: bytes, digest: str = "SHA256") -> bytes:
        """Sign a whole message: RSA PKCS#1 v1.5, or ECDSA as DER; ``digest`` is SHA256, SHA384 or SHA512.

        Every signature is verified before it is handed out: the key's parts were not checked when it was read, and a
        faulty RSA signature would give the key away.

        Raises:
            UnreadableKeyError: the parts of the key do not belong together.
            InvalidParameterError: there is no such digest.

        """
        if digest not in _HASHES:
            raise InvalidParameterError(f"there is no digest {digest!a}", f"use one of {', '.join(_HASHES)}")
        try:
            return _sign(self._key, message, _HASHES[digest]())
        except (ValueError, InvalidSignature):
            raise UnreadableKeyError(
                "the private key is damaged: its signature does not verify",
                "check the file with: openssl pkey -check -noout -in FILE",
            ) from None


@dataclass(frozen=True, slots=True)
class SoftwareIdentity:
    """A leaf, its chain and its key (:class:`rolesanywhere_helper.domain.ports.Identity`)."""

    leaf_der: bytes = field(repr=False)
    chain_der: tuple[bytes, ...] = field(repr=False)
    serial: int
    key_type: KeyType
    not_after: int
    _key: SoftwareKey = field(repr=False)

    def sign(self, message: bytes, digest: str = "SHA256") -> bytes:
        """Sign a whole message, as :meth:`SoftwareKey.sign` does.

        Raises:
            UnreadableKeyError: the parts of the key do not belong together.
            InvalidParameterError: there is no such digest.

        """
        return self._key.sign(message, digest)


def _sign(key: SupportedKey, message: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(message, padding.PKCS1v15(), algorithm)
        key.public_key().verify(signature, message, padding.PKCS1v15(), algorithm)
        return signature
    signature = key.sign(message, ec.ECDSA(algorithm))
    key.public_key().verify(signature, message, ec.ECDSA(algorithm))
    return signature
