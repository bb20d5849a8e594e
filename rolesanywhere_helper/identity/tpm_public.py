"""The public half of a TPM key, and whether the key can sign for us.

Structures and attributes are those of TPM 2.0 part 2: TPMT_PUBLIC in 12.2.4, TPMA_OBJECT in 8.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tpm2_pytss import TPM2_ALG, TPM2B_PUBLIC, TPMA_OBJECT, TSS2_Exception

from rolesanywhere_helper.errors import InvalidParameterError, UnreadableKeyError, UnsupportedKeyError
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from typing import TypeAlias

    PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_SMALLEST_RSA_BITS, _LARGEST_RSA_BITS = 2048, 4096
_HASHES = {"SHA256": int(TPM2_ALG.SHA256), "SHA384": int(TPM2_ALG.SHA384), "SHA512": int(TPM2_ALG.SHA512)}
_HASH_OCTETS = {_HASHES["SHA256"]: 32, _HASHES["SHA384"]: 48, _HASHES["SHA512"]: 64}
_CURVE_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


@dataclass(frozen=True, slots=True)
class Public:
    """The public half of a key: ``name`` tells it from every other one, ``shown`` is its place in errors.

    ``locks`` if wrong passwords for it are counted. ``scheme_hash`` is the only hash that it signs with (TPM_ALG_ID),
    None if it signs with any.
    """

    key: PublicKey = field(repr=False)
    name: str
    shown: str
    attributes: int
    locks: bool
    scheme: int
    scheme_hash: int | None

    def check(self) -> None:
        """Make sure that the key signs what we give it.

        Raises:
            UnsupportedKeyError: it does not.

        """
        reason = self._why_not()
        if reason is not None:
            raise UnsupportedKeyError(
                f"the TPM key {self.shown} {reason}",
                "make one that signs: tpm2_create --attributes='fixedtpm|fixedparent|sensitivedataorigin|userwithauth|"
                "sign', or openssl genpkey -provider tpm2 …",
            )

    def to_sign(self, digest: bytes, name: str) -> tuple[bytes, tuple[int, int]]:
        """Return what the TPM is to sign for a digest, and the scheme: an algorithm and its hash.

        ECDSA takes of a digest as many leftmost bits as the curve has, and what it takes is a number: so any digest can
        be given as one of the curve's own hash, which is all that many TPMs know.

        Raises:
            InvalidParameterError: the key signs with another hash only.

        """
        if isinstance(self.key, rsa.RSAPublicKey):
            if self.scheme_hash not in {None, _HASHES[name]}:
                raise InvalidParameterError(
                    f"the TPM key {self.shown} does not sign with {name}", "try --digest SHA256"
                )
            return digest, (int(TPM2_ALG.RSASSA), _HASHES[name])
        claimed = self.scheme_hash or _HASHES[_CURVE_HASHES[self.key.curve.name]]
        octets = _HASH_OCTETS.get(claimed, 0)
        number = digest[: (self.key.curve.key_size + 7) // 8]
        if len(number) > octets:
            raise InvalidParameterError(f"the TPM key {self.shown} does not sign with {name}", "try --digest SHA256")
        return number.rjust(octets, b"\0"), (int(TPM2_ALG.ECDSA), claimed)

    def _why_not(self) -> str | None:
        if not self.attributes & TPMA_OBJECT.SIGN_ENCRYPT:
            return "is no key for signing: it lacks the attribute sign"
        if self.attributes & TPMA_OBJECT.RESTRICTED:
            return "is restricted: it signs only what the TPM itself says"
        if not self.attributes & TPMA_OBJECT.USERWITHAUTH:
            return "is bound to a policy: it lacks the attribute userwithauth"
        own = TPM2_ALG.RSASSA if isinstance(self.key, rsa.RSAPublicKey) else TPM2_ALG.ECDSA
        if self.scheme not in {TPM2_ALG.NULL, own}:
            return "signs in a way that the service does not know, RSASSA-PSS for example"
        return None


def read_public(marshalled: bytes, shown: str) -> Public:
    """Read a TPM2B_PUBLIC, its size first.

    Raises:
        UnreadableKeyError: it is broken.
        UnsupportedKeyError: it is neither RSA of 2048 to 4096 bits nor EC on P-256, P-384 or P-521.

    """
    try:
        structure, used = TPM2B_PUBLIC.unmarshal(marshalled)
    except TSS2_Exception:
        raise UnreadableKeyError(f"the TPM key {shown} is broken") from None
    if used != len(marshalled):
        raise UnreadableKeyError(f"the TPM key {shown} is broken")
    area = structure.publicArea
    if area.type not in {TPM2_ALG.RSA, TPM2_ALG.ECC}:
        raise UnsupportedKeyError(f"the TPM key {shown} is neither RSA nor EC")
    detail = area.parameters.rsaDetail if area.type == TPM2_ALG.RSA else area.parameters.eccDetail
    scheme = int(detail.scheme.scheme)
    attributes = int(area.objectAttributes)
    return Public(
        key=_key(structure, shown),
        name=bytes(structure.get_name()).hex(),
        shown=shown,
        attributes=attributes,
        locks=not attributes & TPMA_OBJECT.NODA,
        scheme=scheme,
        scheme_hash=None if scheme == TPM2_ALG.NULL else int(detail.scheme.details.anySig.hashAlg),
    )


def _key(structure: TPM2B_PUBLIC, shown: str) -> PublicKey:
    try:
        key = load_der_public_key(bytes(structure.to_der()))
    except (ValueError, TypeError):
        raise UnsupportedKeyError(f"the TPM key {shown} is on a curve that the service does not accept") from None
    match key:
        case rsa.RSAPublicKey() if _SMALLEST_RSA_BITS <= key.key_size <= _LARGEST_RSA_BITS:
            return key
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVE_HASHES:
            return key
        case _:
            raise UnsupportedKeyError(f"the TPM key {shown} is of a size or curve that the service does not accept")
