"""ML-DSA keys (FIPS 204) in PKCS#8 (RFC 9881): which of the three forms one has, and of which size it is.

The library reads the seed alone. OpenSSL writes seed and expanded key by default: of these the seed is taken, from
which the other follows. An expanded key alone is refused: there is no way back to its seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.identity import der

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric import mldsa

    MlDsaKey: TypeAlias = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey

_KEY_TYPES: Mapping[bytes, KeyType] = {
    bytes.fromhex("608648016503040311"): KeyType.ML_DSA_44,
    bytes.fromhex("608648016503040312"): KeyType.ML_DSA_65,
    bytes.fromhex("608648016503040313"): KeyType.ML_DSA_87,
}
_BY_SIZE: Mapping[int, KeyType] = {1312: KeyType.ML_DSA_44, 1952: KeyType.ML_DSA_65, 2592: KeyType.ML_DSA_87}
_SEED_TAG = 0x80  # [0] IMPLICIT OCTET STRING
_SEED_SIZE = 32


class ExpandedOnlyError(Exception):
    """The key has no seed."""


def kind_of(encoded: bytes) -> KeyType | None:
    """Return which ML-DSA key a PKCS#8 holds, or None if it is something else."""
    try:
        return _KEY_TYPES.get(_parts(encoded)[0])
    except ValueError:
        return None


def with_seed_alone(encoded: bytes) -> bytes:
    """Return the PKCS#8 of an ML-DSA key (:func:`kind_of`) in the form with the seed alone.

    Raises:
        ExpandedOnlyError: there is no seed in it.
        ValueError: it is damaged.

    """
    name, key = _parts(encoded)
    match key.tag:
        case int(tag) if tag == _SEED_TAG:
            seed = key.content
        case der.SEQUENCE:
            seed = der.inside(key, der.OCTET_STRING, der.OCTET_STRING)[0].content
        case der.OCTET_STRING:
            raise ExpandedOnlyError
        case _:
            raise ValueError("no form of an ML-DSA key")
    if len(seed) != _SEED_SIZE:
        raise ValueError("not the size of a seed")
    algorithm = der.write(der.SEQUENCE, der.write(der.OBJECT_IDENTIFIER, name))
    octets = der.write(der.OCTET_STRING, der.write(_SEED_TAG, seed))
    return der.write(der.SEQUENCE, der.write(der.INTEGER, b"\0") + algorithm + octets)


def type_of(key: MlDsaKey) -> KeyType:
    """Return the type of a loaded key, told by the size of its public half (FIPS 204, table 2)."""
    return _BY_SIZE[len(key.public_key().public_bytes_raw())]


def is_ml_dsa(key: object) -> TypeGuard[MlDsaKey]:
    """Tell whether the library gave an ML-DSA key; releases before 47 know none."""
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa  # noqa: PLC0415 - younger than our oldest cryptography
    except ImportError:
        return False
    return isinstance(key, mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey)


def _parts(encoded: bytes) -> tuple[bytes, der.Element]:
    """Return the algorithm's identifier and the key, whatever its form."""
    _, algorithm, octets, *_ = der.outer(encoded, der.INTEGER, der.SEQUENCE, der.OCTET_STRING)
    (name, *_) = der.inside(algorithm, der.OBJECT_IDENTIFIER)
    if name.content not in _KEY_TYPES:
        raise ValueError("another algorithm")
    (key,) = der.elements(octets.content)
    return name.content, key
