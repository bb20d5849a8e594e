r"""Which certificate of many is meant: ``--cert-selector``, read as the official helper reads it (1.8.0).

Two forms say the same:

* ``Key=x509Subject,Value=CN=host,O=Example Key=x509Issuer,Value=… Key=x509Serial,Value=1F2E``
* ``[{"Key": "x509Subject", "Value": "CN=host,O=Example"}, …]``, which the official helper takes from a file only

Each of the three keys may be there once. A value reaches to the next ``Key=`` or to the end, spaces around it left out;
the serial is hexadecimal. What is not named may be anything. Two things that the official helper lets pass are refused:
a serial that is no number (it takes it for some other one), and a ``Key=`` at the end with nothing behind it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

FILE_PREFIX = "file://"
SUBJECT, ISSUER, SERIAL = "x509Subject", "x509Issuer", "x509Serial"
_KEYS = (SUBJECT, ISSUER, SERIAL)
# White space as Go's regular expressions have it; neither a key nor a value goes on over a line's end.
_SPACE = r"[\t\n\f\r ]*"
_PAIR = re.compile(rf"{_SPACE}Key=(?P<key>[^\n]+?),Value=(?P<value>[^\n]+?){_SPACE}(?=Key=|\Z)")
_HEXADECIMAL = re.compile(r"[+-]?[0-9A-Fa-f]+")
_PATH_BEGINNINGS = ("/", "./", "../")
_HINT = 'write for example "Key=x509Subject,Value=CN=host Key=x509Issuer,Value=CN=My CA", or file://PATH of a JSON file'


@dataclass(frozen=True, slots=True)
class CertificateSelector:
    """What a certificate must say; None or an empty name: anything."""

    subject: str | None = None
    issuer: str | None = None
    serial: int | None = None

    def fits(self, subject: Collection[str], issuer: Collection[str], serial: int) -> bool:
        """Tell whether a certificate is meant. A name is given in each way in which it may be written."""
        return (
            (not self.subject or self.subject in subject)
            and (not self.issuer or self.issuer in issuer)
            and (self.serial is None or self.serial == serial)
        )

    def __str__(self) -> str:
        """Write it as it can be typed."""
        serial = None if self.serial is None else f"{self.serial:X}"
        parts = zip(_KEYS, (self.subject, self.issuer, serial), strict=True)
        return " ".join(f"Key={key},Value={value}" for key, value in parts if value) or "[]"


def selector_file(text: str) -> str | None:
    """Return the path of the JSON file that a selector names, ``file://PATH`` or a path as such, or None."""
    if text.startswith(FILE_PREFIX):
        return text.removeprefix(FILE_PREFIX)
    return text if text.startswith(_PATH_BEGINNINGS) else None


def parse_selector(text: str) -> CertificateSelector:
    """Read a selector in one of its two forms.

    Raises:
        UsageError: it has no meaning.

    """
    return parse_json_selector(text) if text.lstrip().startswith("[") else _selector(_pairs(text))


def parse_json_selector(text: str) -> CertificateSelector:
    """Read a selector in JSON.

    Raises:
        UsageError: it is no list of objects with ``Key`` and ``Value``.

    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise _no_meaning("is not JSON") from None
    if not isinstance(entries, list):
        raise _no_meaning("is no JSON list")
    return _selector([_entry(entry) for entry in entries])


def _pairs(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise _no_meaning("cannot be read")
        found.append((pair["key"], pair["value"]))
        at = pair.end()
    return found


def _entry(entry: object) -> tuple[str, str]:
    """Take one object of the list; the names of its members are read in any case, as Go does."""
    members = {name.lower(): value for name, value in entry.items()} if isinstance(entry, dict) else {}
    key, value = members.get("key"), members.get("value", "")
    if not isinstance(key, str) or not isinstance(value, str):
        raise _no_meaning("has an entry that is no object with Key and Value")
    return key, value


def _selector(pairs: Iterable[tuple[str, str]]) -> CertificateSelector:
    found: dict[str, str] = {}
    for key, value in pairs:
        if key not in _KEYS:
            raise _no_meaning(f"has an unknown key {key!a}; there are {', '.join(_KEYS)}")
        if key in found:
            raise _no_meaning(f"says {key} twice")
        found[key] = value
    return CertificateSelector(found.get(SUBJECT), found.get(ISSUER), _serial(found.get(SERIAL)))


def _serial(text: str | None) -> int | None:
    if text is None:
        return None
    if not _HEXADECIMAL.fullmatch(text):
        raise _no_meaning("has an x509Serial that is not hexadecimal")
    return int(text, 16)


def _no_meaning(what: str) -> UsageError:
    return UsageError(f"--cert-selector {what}", _HINT)
