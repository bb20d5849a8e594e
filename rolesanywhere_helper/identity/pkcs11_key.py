"""A private key in a PKCS#11 token: it is told what to sign, and never leaves."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Mechanism
from pkcs11 import exceptions as said

from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import InvalidParameterError, TokenError, UnsupportedKeyError
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.identity.pin_guard import one_attempt
from rolesanywhere_helper.identity.pkcs11_module import failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.identity.pin_guard import Pin
    from rolesanywhere_helper.identity.pkcs11_token import TokenObject

# The DER before a digest in PKCS#1 v1.5 (RFC 8017, section 9.2, note 1), and the mechanism that makes it itself.
_DIGESTS: dict[str, tuple[type[hashes.HashAlgorithm], bytes, Mechanism]] = {
    "SHA256": (
        hashes.SHA256,
        bytes.fromhex("3031300d060960864801650304020105000420"),
        Mechanism.SHA256_RSA_PKCS,
    ),
    "SHA384": (
        hashes.SHA384,
        bytes.fromhex("3041300d060960864801650304020205000430"),
        Mechanism.SHA384_RSA_PKCS,
    ),
    "SHA512": (
        hashes.SHA512,
        bytes.fromhex("3051300d060960864801650304020305000440"),
        Mechanism.SHA512_RSA_PKCS,
    ),
}


@dataclass(frozen=True, slots=True)
class RawKey:
    """The private key as the token has it, before its public half is known.

    ``_read_pin`` returns the PIN for a key that asks before every signature (CKA_ALWAYS_AUTHENTICATE), and is None for
    all others.
    """

    found: TokenObject = field(repr=False)
    key_type: KeyType
    _access: Access = field(repr=False)
    _read_pin: Callable[[], Pin] | None = field(repr=False)

    @property
    def asks_each_time(self) -> bool:
        """Whether it asks for the PIN before every signature."""
        return self._read_pin is not None

    def sign(self, message: bytes, digest: str) -> bytes:
        """Sign a whole message, without a look at what comes back.

        Raises:
            EncryptedKeyError: the key asks for the PIN again.
            PinRefusedError: it was refused.
            TokenError: the token cannot sign.

        """
        hashed = hashlib.new(digest.lower(), message).digest()
        if self.key_type is KeyType.EC:
            # Some tokens refuse more than the order has; leaving the rest out is what they would do (SEC 1, 4.1.3).
            curve_bytes = _EC_BYTES.get(bytes(self.found.attribute(pkcs11.Attribute.EC_PARAMS) or b""), len(hashed))
            return self._ask(hashed[:curve_bytes], Mechanism.ECDSA)
        _, prefix, whole = _DIGESTS[digest]
        if self.found.token.has_mechanism(Mechanism.RSA_PKCS):
            return self._ask(prefix + hashed, Mechanism.RSA_PKCS)
        return self._ask(message, whole)

    def _ask(self, data: bytes, mechanism: Mechanism) -> bytes:
        handle = self.found.handle
        if not isinstance(handle, pkcs11.SignMixin):
            raise UnsupportedKeyError(
                f"the key {self.found.uri} may not sign (CKA_SIGN is off)", "name another key, or make one that may"
            )
        if self._read_pin is None:
            return self._called(lambda: handle.sign(data, mechanism=mechanism))
        pin = self._read_pin()
        token = self.found.token
        token.refuse_if_locked()
        signed: list[bytes] = []
        lock = f"{token.lock} for each signature"
        with one_attempt(self._access, lock, pin, is_count_low=token.is_count_low) as attempt:
            token.try_pin(
                lambda: signed.append(handle.sign(data, mechanism=mechanism, pin=pin.text)),
                attempt.was_not_judged,
                pin.hint,
            )
        return signed[0]

    def _called(self, call: Callable[[], bytes]) -> bytes:
        try:
            return call()
        except said.UserNotLoggedIn as error:
            raise TokenError(
                f"the token of {self.found.uri} has forgotten its login", "try again; other programs may use it too"
            ) from error
        except pkcs11.PKCS11Error as error:
            failed(error, f"the key {self.found.uri} cannot sign")


_EC_BYTES = {
    bytes.fromhex("06082a8648ce3d030107"): 32,
    bytes.fromhex("06052b81040022"): 48,
    bytes.fromhex("06052b81040023"): 66,
}


@dataclass(frozen=True, slots=True)
class TokenKey:
    """An RSA or EC key in a token (:class:`rolesanywhere_helper.identity.material.PrivateHalf`)."""

    _raw: RawKey = field(repr=False)
    _public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey = field(repr=False)

    @property
    def key_type(self) -> KeyType:
        """The key's type."""
        return self._raw.key_type

    @property
    def public_key(self) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        """The public half."""
        return self._public

    @property
    def public_bytes(self) -> bytes:
        """The public half: PKCS#1 DER for RSA, the uncompressed point for EC."""
        if isinstance(self._public, rsa.RSAPublicKey):
            return self._public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        return self._public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def sign(self, message: bytes, digest: str = "SHA256") -> bytes:
        """Sign a whole message: RSA PKCS#1 v1.5, or ECDSA as DER; ``digest`` is SHA256, SHA384 or SHA512.

        Every signature is verified before it is handed out: the key may be another one than its public half says, and
        a faulty RSA signature would give the key away.

        Raises:
            TokenError: the token cannot sign, or signs wrongly.
            EncryptedKeyError: the key asks for the PIN before every signature.
            PinRefusedError: the PIN was refused.
            InvalidParameterError: there is no such digest.

        """
        if digest not in _DIGESTS:
            raise InvalidParameterError(f"there is no digest {digest!a}", f"use one of {', '.join(_DIGESTS)}")
        signature = verified(self._raw.sign(message, digest), message, digest, self._public)
        if signature is None:
            raise TokenError(
                f"the key {self._raw.found.uri} does not belong to its public half: its signature does not verify",
                "check that the certificate, public key and private key with this id are of one pair",
            )
        return signature


def verified(
    signature: bytes, message: bytes, digest: str, public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
) -> bytes | None:
    """Return what a token has signed in the service's form if it verifies, or None."""
    algorithm = _DIGESTS[digest][0]()
    try:
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, message, padding.PKCS1v15(), algorithm)
            return signature
        encoded = _der(signature, (public.curve.key_size + 7) // 8)
        public.verify(encoded, message, ec.ECDSA(algorithm))
    except (InvalidSignature, ValueError):
        return None
    return encoded


def _der(signature: bytes, size: int) -> bytes:
    """Write r and s, one after the other as PKCS#11 has them, in DER; a few tokens do so already."""
    if len(signature) != 2 * size:
        return signature
    return utils.encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))
