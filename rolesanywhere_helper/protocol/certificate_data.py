"""What ``read-certificate-data`` prints: the official helper's view of a certificate (its ``signer.go``, 1.8.0).

One JSON object without spaces or newline, the keys in the order of the official helper's struct.
"""

from __future__ import annotations

import base64
import json
from typing import assert_never

from rolesanywhere_helper.domain.keys import KeyType


def render(der: bytes, serial: int, key_type: KeyType) -> bytes:
    """Write what is printed for a certificate: its key's type, its DER in base64, its serial in decimal."""
    document = {
        "keyType": key_type.value,
        "certificateData": base64.b64encode(der).decode("ascii"),
        "serialNumber": str(serial),
        "supportedAlgorithms": supported_algorithms(key_type),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def supported_algorithms(key_type: KeyType) -> list[str]:
    """Name what a key can sign with: type and digest, or for ML-DSA the variant alone."""
    match key_type:
        case KeyType.RSA | KeyType.EC:
            return [f"{key_type.value}{digest}" for digest in ("SHA256", "SHA384", "SHA512")]
        case KeyType.ML_DSA_44 | KeyType.ML_DSA_65 | KeyType.ML_DSA_87:
            return [key_type.value]
        case _:
            assert_never(key_type)
