"""PEM, read as OpenSSL writes it and people edit it (RFC 7468, and RFC 1421 for the headers of encrypted keys).

Text before, between and after the blocks is skipped, as are blocks of other kinds; lines may be indented and end in LF,
CR or CRLF. A file without any block that looks like DER is one block.
"""

from __future__ import annotations

import base64
import binascii

from rolesanywhere_helper.frozen import dataclass, field

_BEGIN = b"-----BEGIN "
_END = b"-----END "
_DASHES = b"-----"
_DER_SEQUENCE = b"\x30"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors put it before UTF-8 text


@dataclass(frozen=True, slots=True)
class Block:
    """One block: ``label`` is what stands after BEGIN, None if the file is DER; ``headers`` are RFC 1421's."""

    label: str | None
    headers: tuple[bytes, ...]
    body: bytes = field(repr=False)

    @property
    def der(self) -> bytes:
        """The decoded content.

        Raises:
            ValueError: it is not base64.

        """
        if self.label is None:
            return self.body
        try:
            return base64.b64decode(self.body, validate=True)
        except binascii.Error:  # whose text and context could quote the block
            raise ValueError(f"the {self.label} block is not base64") from None


def out_of_base64(content: bytes) -> bytes:
    """Return what base64 stands for, where it is PEM or DER, as people put it into a variable; all else as it is.

    What is base64 and nothing else cannot be PEM, whose lines with dashes are none, nor DER.
    """
    try:
        decoded = base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error:
        return content
    return decoded if decoded.startswith(_DER_SEQUENCE) or _BEGIN in decoded else content


def read_blocks(content: bytes) -> tuple[Block, ...]:
    """Take a file apart.

    Raises:
        ValueError: a block does not end: the file is cut short, or two were written into each other.

    """
    blocks: list[Block] = []
    label: str | None = None
    lines: list[bytes] = []
    for line in (raw.strip() for raw in content.removeprefix(_BYTE_ORDER_MARK).splitlines()):
        if line.startswith(_BEGIN) and line.endswith(_DASHES):
            if label is not None:
                raise ValueError(f"a {label} block does not end")
            label, lines = _label(line, _BEGIN), []
        elif label is not None and line.startswith(_END):
            if _label(line, _END) != label:
                raise ValueError(f"a {label} block does not end")
            blocks.append(_block(label, lines))
            label = None
        elif label is not None:
            lines.append(line)
    if label is not None:
        raise ValueError(f"a {label} block does not end: the file is cut short")
    if not blocks and content.startswith(_DER_SEQUENCE):
        return (Block(None, (), content),)
    return tuple(blocks)


def _label(line: bytes, start: bytes) -> str:
    return line.removeprefix(start).removesuffix(_DASHES).decode("ascii", "replace")


def _block(label: str, lines: list[bytes]) -> Block:
    headers = tuple(line for line in lines if b":" in line)  # no base64 has a colon
    return Block(label, headers, b"".join(line for line in lines if b":" not in line))
