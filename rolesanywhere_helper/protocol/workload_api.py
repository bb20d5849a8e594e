"""What a SPIFFE Workload API says: the messages of ``workload.proto`` in gRPC's frames.

Sources: the SPIFFE Workload API standard, section 5.2 (FetchX509SVID); Protocol Buffers' encoding; gRPC over HTTP/2.
Unknown fields are skipped, as Protocol Buffers asks. Only what is needed of an answer is read: no trust bundles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/SpiffeWorkloadAPI/FetchX509SVID"
EMPTY_REQUEST = bytes(5)
"""A request without fields, in its frame: not compressed, of length 0."""

LARGEST_MESSAGE = 4 * 1024 * 1024
"""What gRPC's libraries take unless told otherwise; a hundred SVIDs with bundles have a tenth of it."""

PERMISSION_DENIED = 7
"""The status with which an agent answers a process that has no identity (Workload API, section 5.2)."""

_FRAME_HEAD = 5
_MOST_VARINT_BITS = 64
_LONG_FORM = 0x80
_SEQUENCE = 0x30
_MOST_LENGTH_BYTES = 4
_LONGEST_TEXT = 200
_Field: TypeAlias = "tuple[int, bytes | None]"


@dataclass(frozen=True, slots=True)
class Svid:
    """An identity: its SPIFFE ID, certificates as DER (the leaf first), and its private key as PKCS#8 DER."""

    spiffe_id: str
    certificates: tuple[bytes, ...] = field(repr=False)
    private_key: bytes = field(repr=False)


class Frames:
    """Takes a stream of gRPC's frames apart."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, ...]:
        """Return the messages that are whole now.

        Raises:
            ValueError: one is compressed, though nobody agreed to that, or larger than may be.

        """
        self._rest += data
        messages: list[bytes] = []
        while len(self._rest) >= _FRAME_HEAD:
            size = int.from_bytes(self._rest[1:_FRAME_HEAD], "big")
            if self._rest[0] or size > LARGEST_MESSAGE:
                raise ValueError("a frame that is compressed or too large")
            end = _FRAME_HEAD + size
            if len(self._rest) < end:
                break
            messages.append(bytes(self._rest[_FRAME_HEAD:end]))
            del self._rest[:end]
        return tuple(messages)


def decode_svids(message: bytes) -> tuple[Svid, ...]:
    """Read an ``X509SVIDResponse``: the SVIDs in the agent's order, of which the first is the default.

    Raises:
        ValueError: it is none, or an SVID in it lacks its ID, certificate or key.

    """
    return tuple(_svid(value) for number, value in _fields(message) if number == 1 and value is not None)


def status_text(text: str) -> str:
    """Return a ``grpc-message`` as an error shows it: decoded, on one line, cut short."""
    shown = "".join(each if each.isprintable() else "?" for each in unquote(text, errors="replace"))
    return shown[:_LONGEST_TEXT]


def _svid(message: bytes) -> Svid:
    parts = {number: value for number, value in _fields(message) if value is not None}
    spiffe_id, certificates, key = (parts.get(number, b"") for number in (1, 2, 3))
    if not (spiffe_id and certificates and key):
        raise ValueError("an SVID without ID, certificate or key")
    return Svid(spiffe_id.decode("utf-8"), tuple(_der_values(certificates)), key)


def _fields(message: bytes) -> Iterator[_Field]:
    """Yield each field's number with its bytes, or with None where it is of a kind that is not looked at."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: bytes | None = None
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(message, at)
                value = message[at : at + size]
                at += size
            case 5:
                at += 4
            case _:
                raise ValueError("a field of an unknown kind")
        if at > len(message):
            raise ValueError("a field that is cut short")
        yield tag >> 3, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, _MOST_VARINT_BITS, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _LONG_FORM:
            return value, at
    raise ValueError("a number that does not end")


def _der_values(content: bytes) -> Iterator[bytes]:
    """Cut certificates apart that were written one behind the other."""
    at = 0
    while at < len(content):
        end = _end_of_der(content, at)
        yield content[at:end]
        at = end


def _end_of_der(content: bytes, at: int) -> int:
    if content[at] != _SEQUENCE or len(content) < at + 2:
        raise ValueError("a certificate that is none")
    first, begin = content[at + 1], at + 2
    if first >= _LONG_FORM:
        count = first - _LONG_FORM
        begin += count
        if not 1 <= count <= _MOST_LENGTH_BYTES:
            raise ValueError("a certificate that is none")
        first = int.from_bytes(content[at + 2 : begin], "big")
    if begin + first > len(content):
        raise ValueError("a certificate that is cut short")
    return begin + first
