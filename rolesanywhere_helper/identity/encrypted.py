"""Encrypted private keys, decrypted into what they were before.

* PKCS#8 with PBES2 (RFC 8018): AES-128/192/256-CBC and DES-EDE3-CBC; keys derived by scrypt (RFC 7914), or PBKDF2 with
  HMAC over SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512. OpenSSL writes the latter, ACM exports the one with SHA-1.
* The traditional form of OpenSSL (``Proc-Type: 4,ENCRYPTED``, RFC 1421), whose key is derived by MD5.

The library decrypts and interprets in one step, and does not know every form of an ML-DSA key; nor does it know
AES-192 in the traditional form. What is older (PBES1) is left to it.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.identity import der

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.identity.blocks import Block

_PBES2 = bytes.fromhex("2a864886f70d01050d")
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")
_SCRYPT = bytes.fromhex("2b06010401da47040b")
_SHA1_OF_HMAC = bytes.fromhex("2a864886f70d0207")  # the default where none is named (RFC 8018, appendix A.2)
_HASHES: Mapping[bytes, type[hashes.HashAlgorithm]] = {
    _SHA1_OF_HMAC: hashes.SHA1,
    bytes.fromhex("2a864886f70d0208"): hashes.SHA224,
    bytes.fromhex("2a864886f70d0209"): hashes.SHA256,
    bytes.fromhex("2a864886f70d020a"): hashes.SHA384,
    bytes.fromhex("2a864886f70d020b"): hashes.SHA512,
}
# More would take longer than a session may, and is what damage looks like.
_MOST_ITERATIONS = 10_000_000
_MOST_SCRYPT_BYTES = 1 << 30
_SALT_OF_TRADITIONAL = 8  # the first octets of the initial vector (openssl(3), EVP_BytesToKey)


class WrongPassphraseError(Exception):
    """What comes out is no key: the passphrase is wrong, or the ciphertext damaged."""


class UnknownEncryptionError(Exception):
    """It is encrypted in a way that is not known here."""


@dataclass(frozen=True, slots=True)
class _Algorithm:
    cipher: type[AES | TripleDES]
    key_size: int


_CIPHERS: Mapping[bytes, _Algorithm] = {
    bytes.fromhex("60864801650304012a"): _Algorithm(AES, 32),
    bytes.fromhex("608648016503040116"): _Algorithm(AES, 24),
    bytes.fromhex("608648016503040102"): _Algorithm(AES, 16),
    bytes.fromhex("2a864886f70d0307"): _Algorithm(TripleDES, 24),
}
_TRADITIONAL_CIPHERS: Mapping[bytes, _Algorithm] = {
    b"AES-256-CBC": _Algorithm(AES, 32),
    b"AES-192-CBC": _Algorithm(AES, 24),
    b"AES-128-CBC": _Algorithm(AES, 16),
    b"DES-EDE3-CBC": _Algorithm(TripleDES, 24),
}


def is_traditional(block: Block) -> bool:
    """Tell whether a block's headers say that it is encrypted."""
    return any(b"ENCRYPTED" in header for header in block.headers)


def is_encrypted_pkcs8(encoded: bytes) -> bool:
    """Tell whether this is encrypted PKCS#8, in whatever way, so that a passphrase is needed to know more."""
    try:
        algorithm, _ = _encrypted_pkcs8(encoded)
        der.inside(algorithm, der.OBJECT_IDENTIFIER)
    except ValueError:
        return False
    return True


def is_pbes2(encoded: bytes) -> bool:
    """Tell whether this is PKCS#8 encrypted with PBES2."""
    try:
        _pbes2(encoded)
    except ValueError:
        return False
    return True


def decrypt_traditional(block: Block, passphrase: bytes) -> bytes:
    """Decrypt OpenSSL's traditional form.

    Raises:
        WrongPassphraseError: the passphrase is wrong, or the block damaged.
        UnknownEncryptionError: the cipher is not known here.
        ValueError: the block is not base64.

    """
    names = [header.partition(b":")[2] for header in block.headers if header.startswith(b"DEK-Info:")]
    name, _, vector = (names[0] if names else b"").strip().partition(b",")
    algorithm = _TRADITIONAL_CIPHERS.get(name.strip())
    try:
        start = binascii.unhexlify(vector.strip())
    except binascii.Error:
        start = b""
    if algorithm is None or len(start) < _SALT_OF_TRADITIONAL:
        raise UnknownEncryptionError
    key = b""
    last = b""
    while len(key) < algorithm.key_size:
        last = hashlib.md5(last + passphrase + start[:_SALT_OF_TRADITIONAL], usedforsecurity=False).digest()
        key += last
    return _decrypted(algorithm, key[: algorithm.key_size], start, block.der)


def decrypt_pkcs8(encoded: bytes, passphrase: bytes) -> bytes:
    """Decrypt PKCS#8 that is encrypted with PBES2 (:func:`is_pbes2`), and return the DER of the PKCS#8 in it.

    Raises:
        WrongPassphraseError: the passphrase is wrong, or the ciphertext damaged.
        UnknownEncryptionError: cipher or derivation are not known here, or would take too long.

    """
    derivation, scheme, ciphertext = _pbes2(encoded)
    try:
        cipher, vector = der.inside(scheme, der.OBJECT_IDENTIFIER, der.OCTET_STRING)
        algorithm = _CIPHERS[cipher.content]
        key = _derived(derivation, passphrase, algorithm.key_size)
    except (KeyError, ValueError, IndexError, OverflowError, MemoryError):
        raise UnknownEncryptionError from None
    return _decrypted(algorithm, key, vector.content, ciphertext)


def _encrypted_pkcs8(encoded: bytes) -> tuple[der.Element, der.Element]:
    """Return algorithm and ciphertext."""
    algorithm, ciphertext, *_ = der.outer(encoded, der.SEQUENCE, der.OCTET_STRING)
    return algorithm, ciphertext


def _pbes2(encoded: bytes) -> tuple[der.Element, der.Element, bytes]:
    """Return derivation, encryption scheme and ciphertext."""
    algorithm, ciphertext = _encrypted_pkcs8(encoded)
    name, parameters = der.inside(algorithm, der.OBJECT_IDENTIFIER, der.SEQUENCE)
    if name.content != _PBES2:
        raise ValueError("not PBES2")
    derivation, scheme = der.inside(parameters, der.SEQUENCE, der.SEQUENCE)
    return derivation, scheme, ciphertext.content


def _derived(derivation: der.Element, passphrase: bytes, size: int) -> bytes:
    name, parameters = der.inside(derivation, der.OBJECT_IDENTIFIER, der.SEQUENCE)
    match name.content:
        case oid if oid == _PBKDF2:
            return _by_pbkdf2(parameters, passphrase, size)
        case oid if oid == _SCRYPT:
            return _by_scrypt(parameters, passphrase, size)
        case _:
            raise ValueError("another derivation")


def _by_pbkdf2(parameters: der.Element, passphrase: bytes, size: int) -> bytes:
    salt, count, *rest = der.inside(parameters, der.OCTET_STRING, der.INTEGER)
    named = [each for each in rest if each.tag == der.SEQUENCE]  # beside it the key's length may stand
    function = der.inside(named[0], der.OBJECT_IDENTIFIER)[0].content if named else _SHA1_OF_HMAC
    iterations = der.number(count)
    if not 1 <= iterations <= _MOST_ITERATIONS:
        raise ValueError("too many iterations")
    return PBKDF2HMAC(_HASHES[function](), size, salt.content, iterations).derive(passphrase)


def _by_scrypt(parameters: der.Element, passphrase: bytes, size: int) -> bytes:
    salt, *numbers = der.inside(parameters, der.OCTET_STRING, der.INTEGER, der.INTEGER, der.INTEGER)
    n, r, p = (
        der.number(each) for each in numbers[:3]
    )  # cost, block size, parallelization; the key's length may follow
    if min(n, r, p) < 1 or 128 * n * r * p > _MOST_SCRYPT_BYTES:
        raise ValueError("too costly")
    return Scrypt(salt.content, size, n, r, p).derive(passphrase)


def _decrypted(algorithm: _Algorithm, key: bytes, vector: bytes, ciphertext: bytes) -> bytes:
    block_bits = algorithm.cipher.block_size
    try:
        decryptor = Cipher(algorithm.cipher(key), modes.CBC(vector)).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        remover = PKCS7(block_bits).unpadder()
        plain = remover.update(padded) + remover.finalize()
        der.outer(plain)  # one wrong passphrase of 256 gives padding that looks right
    except ValueError:
        raise WrongPassphraseError from None
    return plain
