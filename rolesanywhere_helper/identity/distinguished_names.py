"""Names of certificates as the official helper writes and compares them: as Go's ``pkix.Name.String`` does.

Attributes that Go knows stand in its own order, whatever the certificate's is, and several of one kind are joined with
``+``. All others follow, by their number, with the value as it is or, from older releases of Go, in hexadecimal. So
``CN=host,OU=b+OU=a,O=Example,C=DE`` is what a user copies from there into a selector, and RFC 4514 would have it
otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cryptography import x509

# In the order of Go's Name.ToRDNSequence; it is written backwards.
_KNOWN = {
    "2.5.4.6": "C",
    "2.5.4.8": "ST",
    "2.5.4.7": "L",
    "2.5.4.9": "STREET",
    "2.5.4.17": "POSTALCODE",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.3": "CN",
    "2.5.4.5": "SERIALNUMBER",
}
_ONE_VALUE = frozenset({"2.5.4.3", "2.5.4.5"})  # of which Go keeps the last
_PRINTABLE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")
_PRINTABLE_STRING, _UTF8_STRING = 0x13, 0x0C
_SHORT_FORM = 0x80


def spellings(name: x509.Name) -> tuple[str, ...]:
    """Return how a name may be written in a selector: as releases of the official helper do, and after RFC 4514."""
    in_hexadecimal = (f"#{_der(_text(each)).hex()}" for each in _others(name))
    return official(name), _joined(name, in_hexadecimal), name.rfc4514_string()


def official(name: x509.Name) -> str:
    """Write a name as the official helper does."""
    return _joined(name, (_escaped(_text(each)) for each in _others(name)))


def _joined(name: x509.Name, values: Iterable[str]) -> str:
    others = (f"{each.oid.dotted_string}={value}" for each, value in zip(_others(name), values, strict=True))
    return ",".join([*_known(name), *others])


def _known(name: x509.Name) -> Iterator[str]:
    values: dict[str, list[str]] = {}
    for attribute in name:
        values.setdefault(attribute.oid.dotted_string, []).append(_text(attribute))
    for number, short in reversed(_KNOWN.items()):
        found = values.get(number, [])
        if number in _ONE_VALUE:
            found = [each for each in found[-1:] if each]
        if found:
            yield "+".join(f"{short}={_escaped(value)}" for value in found)


def _others(name: x509.Name) -> list[x509.NameAttribute[str | bytes]]:
    return [attribute for attribute in reversed(list(name)) if attribute.oid.dotted_string not in _KNOWN]


def _text(attribute: x509.NameAttribute[str | bytes]) -> str:
    return attribute.value if isinstance(attribute.value, str) else attribute.value.decode("latin-1")


def _escaped(value: str) -> str:
    last = len(value) - 1
    return "".join(
        f"\\{each}" if each in ',+"\\<>;' or (each == " " and at in {0, last}) or (each == "#" and at == 0) else each
        for at, each in enumerate(value)
    )


def _der(text: str) -> bytes:
    """Encode a text as Go does: PrintableString where that is enough."""
    is_printable = set(text) <= _PRINTABLE
    content = text.encode()
    size = len(content)
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    head = bytes([size]) if size < _SHORT_FORM else bytes([_SHORT_FORM | len(length)]) + length
    return bytes([_PRINTABLE_STRING if is_printable else _UTF8_STRING]) + head + content
