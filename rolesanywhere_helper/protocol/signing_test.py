"""What ``sign-string`` signs and prints: the official helper's test of a key (its ``cmd/sign_string.go``, 1.8.0).

The message is ``"AWS Roles Anywhere Credential Helper Signing Test" + "1" + SHA256("IAM RA" + public key)``, the digest
as raw bytes, the public key as the caller of :func:`message` has it: PKCS#1 DER for RSA, the uncompressed point for EC.
The official helper leaves the digest out for ML-DSA keys. None of the three formats ends with a newline.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import assert_never

from rolesanywhere_helper.domain.keys import KeyType

DIGESTS = ("SHA256", "SHA384", "SHA512")
"""The values of ``--digest``; the first is the default. ML-DSA ignores it."""

_TITLE = b"AWS Roles Anywhere Credential Helper Signing Test"
_VERSION = b"1"
_LABEL = b"IAM RA"


class SignatureFormat(Enum):
    """The values of ``--format``; JSON is the default."""

    JSON = "json"
    TEXT = "text"
    BIN = "bin"


def message(key_type: KeyType, public_key: bytes) -> bytes:
    """Make the message to be signed with a key, from its public half."""
    match key_type:
        case KeyType.RSA | KeyType.EC:
            return _TITLE + _VERSION + hashlib.sha256(_LABEL + public_key).digest()
        case KeyType.ML_DSA_44 | KeyType.ML_DSA_65 | KeyType.ML_DSA_87:
            return _TITLE + _VERSION
        case _:
            assert_never(key_type)


def render(signature: bytes, output: SignatureFormat = SignatureFormat.JSON) -> bytes:
    """Write a signature: lowercase hex as a JSON string, the bare hex, or the bytes themselves."""
    match output:
        case SignatureFormat.JSON:
            return b'"' + signature.hex().encode("ascii") + b'"'
        case SignatureFormat.TEXT:
            return signature.hex().encode("ascii")
        case SignatureFormat.BIN:
            return signature
        case _:
            assert_never(output)
