"""A private key that lies in this process's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import InvalidParameterError, UnreadableKeyError
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.identity import ml_dsa

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from rolesanywhere_helper.identity.private_key import SupportedKey

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384,
    "SHA512": hashes.SHA512,
}


@dataclass(frozen=True, slots=True)
class SoftwareKey:
    """An RSA, EC or ML-DSA key in memory (:class:`rolesanywhere_helper.identity.loaded.SigningKey`)."""

    _key: SupportedKey = field(repr=False)

    @property
    def key_type(self) -> KeyType:
        """The key's type."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return KeyType.RSA
        return KeyType.EC if isinstance(self._key, ec.EllipticCurvePrivateKey) else ml_dsa.type_of(self._key)

    @property
    def public_key(self) -> CertificatePublicKeyTypes:
        """The public half."""
        return self._key.public_key()

    @property
    def public_bytes(self) -> bytes:
        """The public half: PKCS#1 DER for RSA, the uncompressed point for EC, FIPS 204's encoding for ML-DSA."""
        public = self._key.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            return public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        if isinstance(public, ec.EllipticCurvePublicKey):
            return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return public.public_bytes_raw()

    def sign(self, message: bytes, digest: str = "SHA256") -> bytes:
        """Sign a whole message: RSA PKCS#1 v1.5, ECDSA as DER, or ML-DSA as it is, with an empty context.

        ``digest`` is SHA256, SHA384 or SHA512; ML-DSA hashes in its own way, whatever is said here.

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


def _sign(key: SupportedKey, message: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(message, padding.PKCS1v15(), algorithm)
        key.public_key().verify(signature, message, padding.PKCS1v15(), algorithm)
        return signature
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(message, ec.ECDSA(algorithm))
        key.public_key().verify(signature, message, ec.ECDSA(algorithm))
        return signature
    signature = key.sign(message)
    key.public_key().verify(signature, message)
    return signature
