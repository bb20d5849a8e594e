"""DER (ITU-T X.690), as far as containers of keys need it: elements with their tags, read without interpreting them."""

from __future__ import annotations

from rolesanywhere_helper.frozen import dataclass, field

INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30

_LONG_FORM = 0x80
_HIGH_TAG = 0x1F
_MOST_LENGTH_OCTETS = 4


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its tag with class and form in one octet, and its content."""

    tag: int
    content: bytes = field(repr=False)


def first(encoded: bytes) -> Element:
    """Return the first element, whatever follows it.

    Raises:
        ValueError: it is no DER, or cut short.

    """
    return _split(encoded)[0]


def elements(encoded: bytes) -> tuple[Element, ...]:
    """Take apart what follows each other, to the end.

    Raises:
        ValueError: it is no DER.

    """
    found: list[Element] = []
    while encoded:
        element, encoded = _split(encoded)
        found.append(element)
    return tuple(found)


def inside(element: Element, *tags: int) -> tuple[Element, ...]:
    """Return what a SEQUENCE begins with, which must have these tags; more may follow.

    Raises:
        ValueError: it is something else.

    """
    if element.tag != SEQUENCE:
        raise ValueError("not a SEQUENCE")
    found = elements(element.content)
    if tuple(each.tag for each in found[: len(tags)]) != tags:
        raise ValueError("not the elements that are expected")
    return found


def outer(encoded: bytes, *tags: int) -> tuple[Element, ...]:
    """Return what the one SEQUENCE of an encoding begins with, as :func:`inside` does.

    Raises:
        ValueError: it is something else, or something follows.

    """
    element, rest = _split(encoded)
    if rest:
        raise ValueError("something follows")
    return inside(element, *tags)


def number(element: Element) -> int:
    """Return the value of an INTEGER.

    Raises:
        ValueError: it is something else.

    """
    if element.tag != INTEGER or not element.content:
        raise ValueError("not an INTEGER")
    return int.from_bytes(element.content, "big", signed=True)


def write(tag: int, content: bytes) -> bytes:
    """Write one element."""
    size = len(content)
    if size < _LONG_FORM:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(octets))) + octets + content


def _split(encoded: bytes) -> tuple[Element, bytes]:
    if len(encoded) < 2 or encoded[0] & _HIGH_TAG == _HIGH_TAG:  # noqa: PLR2004 - a tag and a length
        raise ValueError("not DER")
    size, start = encoded[1], 2
    if size & _LONG_FORM:
        count = size & ~_LONG_FORM
        size, start = int.from_bytes(encoded[2 : 2 + count], "big"), 2 + count
        if not 1 <= count <= _MOST_LENGTH_OCTETS or len(encoded) < start:
            raise ValueError("not DER")
    if len(encoded) < start + size:
        raise ValueError("cut short")
    return Element(encoded[0], encoded[start : start + size]), encoded[start + size :]
