"""Values as they are written, turned into values that mean something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.flags import NOT_YET_SCHEMES, Flag, Kind
from rolesanywhere_helper.domain.session import parse_duration
from rolesanywhere_helper.errors import ConfigurationError, InvalidParameterError, UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

Properties = tuple[tuple[str, str], ...]
Value = str | int | bool | Properties

# What Go's strconv.ParseBool takes, and with it the official helper.
SWITCH_WORDS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "t", "T", "TRUE", "True"), True),
    **dict.fromkeys(("false", "0", "f", "F", "FALSE", "False"), False),
}


@dataclass(frozen=True, slots=True)
class Values:
    """The values of flags by name, each of the type that its kind says."""

    by_name: Mapping[str, Value]

    def text(self, name: str) -> str | None:
        """Return a text or path, or None if it was not given."""
        value = self.by_name.get(name)
        return value if isinstance(value, str) else None

    def switch(self, name: str) -> bool:
        """Return whether a switch is on."""
        return self.by_name.get(name) is True

    def seconds(self, name: str) -> int | None:
        """Return a duration, or None if it was not given."""
        value = self.by_name.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def properties(self, name: str) -> Properties:
        """Return pairs sorted by key, empty if they were not given."""
        value = self.by_name.get(name)
        return value if isinstance(value, tuple) else ()


def parse_switch(text: str, origin: str) -> bool:
    """Read a switch: ``true``, ``1``, ``t`` or ``false``, ``0``, ``f``.

    Raises:
        InvalidParameterError: it is neither.

    """
    if text in SWITCH_WORDS:
        return SWITCH_WORDS[text]
    raise InvalidParameterError(f"{origin} is neither true nor false", "write true or false")


def from_text(flag: Flag, text: str, origin: str, directory: str) -> Value:
    """Read a value from the command line or the environment; a relative path is relative to ``directory``.

    ``origin`` names the flag or variable in errors.

    Raises:
        InvalidParameterError: the value has the wrong form.
        UsageError: the value names a place that this version cannot read a certificate or key from.

    """
    match flag.kind:
        case Kind.SWITCH:
            return parse_switch(text, origin)
        case Kind.DURATION:
            return parse_duration(text)
        case Kind.PROPERTIES:
            return _properties_from_text(text, origin)
        case Kind.PATH:
            return _path(text, origin, directory)
        case Kind.TEXT:
            return text


def from_toml(flag: Flag, value: object, origin: str, directory: str, home: str | None) -> Value:
    """Read a value from the configuration file, which lies in ``directory``; ``~`` is the user's home.

    Raises:
        ConfigurationError: the value is of the wrong type, or the home directory is not known.
        InvalidParameterError: a duration has the wrong form.
        UsageError: the value names a place that this version cannot read a certificate or key from.

    """
    match flag.kind, value:
        case Kind.SWITCH, bool():
            return value
        case Kind.DURATION, int() if not isinstance(value, bool):
            return value
        case Kind.DURATION, str():
            return parse_duration(value)
        case Kind.PROPERTIES, dict() if all(isinstance(each, str) for each in value.values()):
            return tuple(sorted(value.items()))
        case Kind.PATH, str():
            return _path(from_home(value, origin, home), origin, directory)
        case Kind.TEXT, str():
            return value
    raise ConfigurationError(f"{origin} must be {_EXPECTED[flag.kind]}")


_EXPECTED: Mapping[Kind, str] = {
    Kind.TEXT: "a string",
    Kind.PATH: "a string with the path of a file",
    Kind.DURATION: 'seconds or a string like "1h"',
    Kind.SWITCH: "true or false",
    Kind.PROPERTIES: "a table of strings",
}


def _path(text: str, origin: str, directory: str) -> str:
    if text.startswith(NOT_YET_SCHEMES):
        scheme = text.partition(":")[0]
        raise UsageError(
            f"{origin} names a {scheme}: reference, which is not supported yet by this version",
            "give the path of a PEM file",
        )
    return absolute(text, origin, directory, "give the path of a PEM file")


def absolute(text: str, origin: str, directory: str, hint: str = "give the path of a file") -> str:
    """Return a path as an absolute one; a relative one is relative to ``directory``.

    Raises:
        InvalidParameterError: it cannot be a path.
        UsageError: it is relative to a directory that is gone.

    """
    if not text or "\0" in text:
        raise InvalidParameterError(f"{origin} is not the path of a file", hint)
    if text.startswith("/"):
        return text
    if not directory:
        raise UsageError(f"{origin} is relative to a working directory that is gone", "give the whole path")
    return f"{directory.rstrip('/')}/{text}"


def from_home(text: str, origin: str, home: str | None) -> str:
    """Return a path of the configuration file with ``~`` replaced by the user's home.

    Raises:
        ConfigurationError: it begins with ``~``, and the home directory is not known.

    """
    if text != "~" and not text.startswith("~/"):
        return text
    if home is None:
        raise ConfigurationError(f"{origin} begins with ~, but HOME is not set", "write the whole path")
    return home + text[1:]


def _properties_from_text(text: str, origin: str) -> Properties:
    if text.lstrip().startswith("{"):
        return _properties_from_json(text, origin)
    pairs = [entry.partition("=") for entry in text.split(",")]
    if any(not (key and equals) for key, equals, _ in pairs):
        raise _wrong_properties(origin)
    return _sorted_once([(key.strip(), value) for key, _, value in pairs], origin)


def _properties_from_json(text: str, origin: str) -> Properties:
    import json  # noqa: PLC0415 - only for who writes it so

    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise _wrong_properties(origin) from None
    if not isinstance(pairs, list) or not all(isinstance(value, str) for _, value in pairs):
        raise _wrong_properties(origin)
    return _sorted_once(pairs, origin)


def _sorted_once(pairs: list[tuple[str, str]], origin: str) -> Properties:
    if len(dict(pairs)) != len(pairs):
        raise InvalidParameterError(f"{origin} names a property twice", "give each property once")
    return tuple(sorted(pairs))


def _wrong_properties(origin: str) -> InvalidParameterError:
    return InvalidParameterError(
        f"{origin} is not a list of properties", "write KEY=VALUE,KEY=VALUE or a JSON object of strings"
    )
