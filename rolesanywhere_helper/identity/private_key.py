"""Private keys that lie in a file unencrypted: PKCS#8, PKCS#1 and SEC1, as PEM or DER.

No error holds a part of the file: what the libraries say about a key is not passed on.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from rolesanywhere_helper.errors import EncryptedKeyError, UnreadableKeyError, UnsupportedKeyError
from rolesanywhere_helper.identity.blocks import read_blocks

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from rolesanywhere_helper.identity.blocks import Block

SupportedKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_SMALLEST_RSA_BITS = 2048
_LARGEST_RSA_BITS = 4096
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_ENCRYPTED = b"ENCRYPTED"  # "Proc-Type: 4,ENCRYPTED" (RFC 1421), as OpenSSL marks its traditional format


def read_private_key(content: bytes, path: str) -> SupportedKey:
    """Read the first private key of a file.

    Raises:
        EncryptedKeyError: it needs a passphrase.
        UnsupportedKeyError: it is neither RSA of 2048 to 4096 bits nor EC on P-256, P-384 or P-521.
        UnreadableKeyError: there is none, or it is broken.

    """
    try:
        blocks = read_blocks(content)
    except ValueError as error:
        raise UnreadableKeyError(f"the private key in {path} cannot be read: {error}") from None
    block = next((block for block in blocks if block.label is None or block.label.endswith("PRIVATE KEY")), None)
    if block is None:
        raise _no_key(blocks, path)
    _check_label(block, path)
    return _supported(_parse(block, path), path)


def _no_key(blocks: tuple[Block, ...], path: str) -> UnreadableKeyError:
    if any(block.label == "CERTIFICATE" for block in blocks):
        return UnreadableKeyError(
            f"{path} holds a certificate but no private key",
            "check whether --certificate and --private-key are swapped",
        )
    return UnreadableKeyError(f"{path} holds no private key")


def _check_label(block: Block, path: str) -> None:
    if block.label == "ENCRYPTED PRIVATE KEY" or any(_ENCRYPTED in header for header in block.headers):
        raise _encrypted(path)
    if block.label == "OPENSSH PRIVATE KEY":
        source, target = shlex.quote(path), shlex.quote(f"{path}.pkcs8")
        raise UnsupportedKeyError(
            f"the private key in {path} is in OpenSSH's own format",
            f"convert a copy: install -m 600 {source} {target} && ssh-keygen -p -N '' -m PKCS8 -f {target}",
        )
    if block.label == "DSA PRIVATE KEY":
        raise UnsupportedKeyError(f"the private key in {path} is DSA")
    if block.label == "TSS2 PRIVATE KEY":
        raise UnsupportedKeyError(f"the private key in {path} is wrapped by a TPM")


def _encrypted(path: str) -> EncryptedKeyError:
    source, target = shlex.quote(path), shlex.quote(f"{path}.plain")
    return EncryptedKeyError(
        f"the private key in {path} is encrypted",
        f"decrypt it into a file that only you can read: (umask 077; openssl pkey -in {source} -out {target})",
    )


def _parse(block: Block, path: str) -> PrivateKeyTypes:
    try:
        # Checking an RSA key's primes takes longer than all the rest of a session; instead every signature is verified
        # before it is used (see software.py).
        return load_der_private_key(block.der, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # encrypted PKCS#8 in a DER file
        raise _encrypted(path) from None
    except UnsupportedAlgorithm as error:
        raise UnsupportedKeyError(f"the private key in {path} is of an unsupported kind") from error
    except ValueError:
        raise UnreadableKeyError(f"the private key in {path} is broken or of an unknown kind") from None


def _supported(key: PrivateKeyTypes, path: str) -> SupportedKey:
    match key:
        case rsa.RSAPrivateKey():
            if not _SMALLEST_RSA_BITS <= key.key_size <= _LARGEST_RSA_BITS:
                raise UnsupportedKeyError(f"the private key in {path} is RSA of {key.key_size} bits")
            return key
        case ec.EllipticCurvePrivateKey():
            if key.curve.name not in _CURVES:
                raise UnsupportedKeyError(f"the private key in {path} is on the curve {key.curve.name}")
            return key
        case _:
            kind = type(key).__name__.removesuffix("PrivateKey")
            raise UnsupportedKeyError(f"the private key in {path} is {kind}")
