"""Private keys of the kinds that Roles Anywhere accepts, and their PEM forms."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rolesanywhere_helper.errors import UnsupportedKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

_PUBLIC_EXPONENT = 65_537


class KeyKind(Enum):
    """Type and size of a key (user guide, "trust model": RSA, EC; ML-DSA since February 2026)."""

    RSA_2048 = "RSA-2048"
    RSA_3072 = "RSA-3072"
    RSA_4096 = "RSA-4096"
    P_256 = "P-256"
    P_384 = "P-384"
    P_521 = "P-521"
    ML_DSA_44 = "ML-DSA-44"
    ML_DSA_65 = "ML-DSA-65"
    ML_DSA_87 = "ML-DSA-87"


class KeyFormat(Enum):
    """How a private key is written as PEM."""

    PKCS8 = "PKCS#8"
    TRADITIONAL = "PKCS#1 for RSA, SEC1 for EC"


def ml_dsa_available() -> bool:
    """Tell whether the installed cryptography library (and the OpenSSL in it) knows ML-DSA."""
    try:
        generate_key(KeyKind.ML_DSA_44)
    except UnsupportedKeyError:
        return False
    return True


def generate_key(kind: KeyKind) -> CertificateIssuerPrivateKeyTypes:
    """Make a new private key.

    Raises:
        UnsupportedKeyError: an ML-DSA key, and a cryptography library that knows none.

    """
    match kind:
        case KeyKind.RSA_2048 | KeyKind.RSA_3072 | KeyKind.RSA_4096:
            return rsa.generate_private_key(_PUBLIC_EXPONENT, int(kind.value.removeprefix("RSA-")))
        case KeyKind.P_256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyKind.P_384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyKind.P_521:
            return ec.generate_private_key(ec.SECP521R1())
        case KeyKind.ML_DSA_44 | KeyKind.ML_DSA_65 | KeyKind.ML_DSA_87:
            return _generate_ml_dsa(kind)
        case _:
            assert_never(kind)


def key_pem(
    key: CertificateIssuerPrivateKeyTypes, form: KeyFormat = KeyFormat.PKCS8, passphrase: bytes | None = None
) -> bytes:
    """Write a private key as PEM, encrypted if a passphrase is given.

    Raises:
        UnsupportedKeyError: the key's type has no traditional form (only RSA and EC have one).

    """
    formats = {
        KeyFormat.PKCS8: serialization.PrivateFormat.PKCS8,
        KeyFormat.TRADITIONAL: serialization.PrivateFormat.TraditionalOpenSSL,
    }
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    try:
        return key.private_bytes(serialization.Encoding.PEM, formats[form], encryption)
    except ValueError as error:
        raise UnsupportedKeyError(f"this key cannot be written as {form.value}", "write it as PKCS#8") from error


def _generate_ml_dsa(
    kind: Literal[KeyKind.ML_DSA_44, KeyKind.ML_DSA_65, KeyKind.ML_DSA_87],
) -> CertificateIssuerPrivateKeyTypes:
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa  # noqa: PLC0415 - younger than our oldest cryptography

        match kind:
            case KeyKind.ML_DSA_44:
                return mldsa.MLDSA44PrivateKey.generate()
            case KeyKind.ML_DSA_65:
                return mldsa.MLDSA65PrivateKey.generate()
            case KeyKind.ML_DSA_87:
                return mldsa.MLDSA87PrivateKey.generate()
    except (ImportError, UnsupportedAlgorithm) as error:
        raise UnsupportedKeyError(
            f"the installed cryptography library cannot make {kind.value} keys",
            "pip install --upgrade cryptography, or use RSA or EC",
        ) from error
