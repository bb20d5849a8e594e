"""Private keys as bytes: PKCS#8, PKCS#1 and SEC1, as PEM or DER, encrypted or not.

No error holds a part of the file: what the libraries say about a key is not passed on.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from rolesanywhere_helper.errors import EncryptedKeyError, UnreadableKeyError, UnsupportedKeyError, WrongSecretError
from rolesanywhere_helper.identity import encrypted, ml_dsa
from rolesanywhere_helper.identity.blocks import read_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from rolesanywhere_helper.identity.blocks import Block

    # Reads the passphrase when it is needed; None if nobody said where it is.
    Passphrase = Callable[[], bytes | None]
    SupportedKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ml_dsa.MlDsaKey

PASSPHRASE = "pkcs8-password"  # noqa: S105 - the name of a flag
TPM_LABEL = "TSS2 PRIVATE KEY"
"""What stands after BEGIN where the key is wrapped by a TPM."""

_SMALLEST_RSA_BITS = 2048
_LARGEST_RSA_BITS = 4096
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})


def no_passphrase() -> None:
    """Return none, where there can be none."""


def read_private_key(content: bytes, path: str, passphrase: Passphrase = no_passphrase) -> SupportedKey:
    """Read the first private key of a file. The passphrase is asked for if the key is encrypted, and only then.

    Raises:
        EncryptedKeyError: it needs a passphrase, and there is none.
        WrongSecretError: the passphrase does not open it.
        UnsupportedKeyError: it is neither RSA of 2048 to 4096 bits, nor EC on P-256, P-384 or P-521, nor ML-DSA; or it
            is encrypted in an unknown way.
        UnreadableKeyError: there is none, or it is broken.

    """
    block = key_block(content, path)
    _check_label(block, path)
    try:
        encoded = block.der
    except ValueError:
        raise _broken(path) from None
    if not _is_encrypted(block, encoded):
        return _read(encoded, path)
    given = passphrase()
    if given is None:
        raise _encrypted(path)
    if not given:
        raise WrongSecretError(f"the passphrase of the private key in {path} is empty", "check where it comes from")
    return _decrypted(block, encoded, given, path)


def key_block(content: bytes, path: str) -> Block:
    """Find the first private key of a file, of whatever kind.

    Raises:
        UnreadableKeyError: there is none, or a block is broken.

    """
    try:
        blocks = read_blocks(content)
    except ValueError as error:
        raise UnreadableKeyError(f"the private key in {path} cannot be read: {error}") from None
    block = next((block for block in blocks if block.label is None or block.label.endswith("PRIVATE KEY")), None)
    if block is None:
        raise _no_key(blocks, path)
    return block


def supported(key: PrivateKeyTypes, path: str) -> SupportedKey:
    """Return a key that the service accepts.

    Raises:
        UnsupportedKeyError: it is none.

    """
    match key:
        case rsa.RSAPrivateKey():
            if not _SMALLEST_RSA_BITS <= key.key_size <= _LARGEST_RSA_BITS:
                raise UnsupportedKeyError(f"the private key in {path} is RSA of {key.key_size} bits")
            return key
        case ec.EllipticCurvePrivateKey():
            if key.curve.name not in _CURVES:
                raise UnsupportedKeyError(f"the private key in {path} is on the curve {key.curve.name}")
            return key
        case _ if ml_dsa.is_ml_dsa(key):
            return key
        case _:
            kind = type(key).__name__.removesuffix("PrivateKey")
            raise UnsupportedKeyError(f"the private key in {path} is {kind}")


def _no_key(blocks: tuple[Block, ...], path: str) -> UnreadableKeyError:
    if any(block.label == "CERTIFICATE" for block in blocks):
        return UnreadableKeyError(
            f"{path} holds a certificate but no private key",
            "give the file with the key: --private-key FILE; or are --certificate and --private-key swapped?",
        )
    return UnreadableKeyError(f"{path} holds no private key")


def _check_label(block: Block, path: str) -> None:
    if block.label == "OPENSSH PRIVATE KEY":
        source, target = shlex.quote(path), shlex.quote(f"{path}.pkcs8")
        raise UnsupportedKeyError(
            f"the private key in {path} is in OpenSSH's own format",
            f"convert a copy: install -m 600 {source} {target} && ssh-keygen -p -N '' -m PKCS8 -f {target}",
        )
    if block.label == "DSA PRIVATE KEY":
        raise UnsupportedKeyError(f"the private key in {path} is DSA")
    if block.label == TPM_LABEL:
        raise UnsupportedKeyError(f"the private key in {path} is wrapped by a TPM")


def _is_encrypted(block: Block, encoded: bytes) -> bool:
    return encrypted.is_traditional(block) or encrypted.is_encrypted_pkcs8(encoded)


def _encrypted(path: str) -> EncryptedKeyError:
    return EncryptedKeyError(
        f"the private key in {path} is encrypted",
        f"say where its passphrase is: --{PASSPHRASE}-file FILE (or credential:NAME, env:NAME, fd:N, command:…)",
        needs=PASSPHRASE,
    )


def _broken(path: str) -> UnreadableKeyError:
    return UnreadableKeyError(f"the private key in {path} is broken or of an unknown kind")


def _decrypted(block: Block, encoded: bytes, passphrase: bytes, path: str) -> SupportedKey:
    try:
        if encrypted.is_traditional(block):
            plain = encrypted.decrypt_traditional(block, passphrase)
        elif encrypted.is_pbes2(encoded):
            plain = encrypted.decrypt_pkcs8(encoded, passphrase)
        else:
            return supported(_loaded_as_pbes1(encoded, passphrase), path)
    except encrypted.WrongPassphraseError:
        raise WrongSecretError(f"the passphrase does not open the private key in {path}") from None
    except encrypted.UnknownEncryptionError:
        source, target = shlex.quote(path), shlex.quote(f"{path}.new")
        raise UnsupportedKeyError(
            f"the private key in {path} is encrypted in an unknown way",
            f"encrypt a copy anew: (umask 077; openssl pkcs8 -topk8 -v2 aes-256-cbc -in {source} -out {target})",
        ) from None
    return _read(plain, path)


def _loaded_as_pbes1(encoded: bytes, passphrase: bytes) -> PrivateKeyTypes:
    """Leave what is older than PBES2 to the library, which knows the more usual of it."""
    try:
        return load_der_private_key(encoded, passphrase, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm:
        raise encrypted.UnknownEncryptionError from None
    except ValueError as error:
        if "nknown" in str(error):  # the library has no class of its own for an algorithm that it does not know
            raise encrypted.UnknownEncryptionError from None
        raise encrypted.WrongPassphraseError from None


def _read(encoded: bytes, path: str) -> SupportedKey:
    kind = ml_dsa.kind_of(encoded)
    try:
        readable = encoded if kind is None else ml_dsa.with_seed_alone(encoded)
        # Checking an RSA key's primes takes longer than all the rest of a session; instead every signature is verified
        # before it is used (see software.py).
        return supported(load_der_private_key(readable, password=None, unsafe_skip_rsa_key_validation=True), path)
    except ml_dsa.ExpandedOnlyError:
        raise UnsupportedKeyError(
            f"the ML-DSA private key in {path} is an expanded key without its seed",
            "take the file that still has the seed, or make a new key: openssl genpkey -algorithm ML-DSA-65 -out KEY; "
            "nothing leads from an expanded key back to its seed",
        ) from None
    except UnsupportedAlgorithm as error:
        if kind is None:
            raise UnsupportedKeyError(f"the private key in {path} is of an unsupported kind") from error
        raise UnsupportedKeyError(
            f"the private key in {path} is {kind.value}, which the installed cryptography library does not know",
            "pip install --upgrade cryptography",
        ) from error
    except (ValueError, TypeError):
        raise _broken(path) from None
