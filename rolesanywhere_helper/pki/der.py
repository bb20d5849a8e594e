"""DER and PEM, written: what the cryptography library does not put together."""

from __future__ import annotations

import base64

INTEGER, BIT_STRING, OCTET_STRING, NULL = 0x02, 0x03, 0x04, 0x05
OBJECT_IDENTIFIER, SEQUENCE, SET = 0x06, 0x30, 0x31
SHORT_FORM = 0x80
"""The first length that does not fit into one byte."""
_PEM_LINE = 64


def der(tag: int, content: bytes) -> bytes:
    """Write one value."""
    size = len(content)
    if size < SHORT_FORM:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, SHORT_FORM | len(length)]) + length + content


def sequence(*parts: bytes) -> bytes:
    """Write values as a SEQUENCE."""
    return der(SEQUENCE, b"".join(parts))


def pem(label: str, content: bytes) -> bytes:
    """Write DER as PEM (RFC 7468)."""
    text = base64.b64encode(content).decode("ascii")
    lines = [text[at : at + _PEM_LINE] for at in range(0, len(text), _PEM_LINE)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()
