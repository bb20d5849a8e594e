"""Values as they are written, turned into values that mean something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.flags import SCHEMES, SECRET_SCHEMES, Flag, Kind
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.domain.session import parse_duration
from rolesanywhere_helper.errors import ConfigurationError, InvalidParameterError, UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

Properties = tuple[tuple[str, str], ...]
Names = tuple[str, ...]
Value = str | int | bool | Properties | Names

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
        pairs = value if isinstance(value, tuple) else ()
        return tuple(pair for pair in pairs if isinstance(pair, tuple))

    def names(self, name: str) -> Names:
        """Return a list of names or ARNs, empty if they were not given."""
        value = self.by_name.get(name)
        return tuple(each for each in value if isinstance(each, str)) if isinstance(value, tuple) else ()


def parse_switch(text: str, origin: str) -> bool:
    """Read a switch: ``true``, ``1``, ``t`` or ``false``, ``0``, ``f``.

    Raises:
        InvalidParameterError: it is neither.

    """
    if text in SWITCH_WORDS:
        return SWITCH_WORDS[text]
    raise InvalidParameterError(f"{origin} is neither true nor false", "write true or false")


def from_text(  # noqa: PLR0911 - one for each kind
    flag: Flag, text: str, origin: str, directory: str
) -> Value:
    """Read a value from the command line or the environment; a relative path is relative to ``directory``.

    ``origin`` names the flag or variable in errors.

    Raises:
        InvalidParameterError: the value has the wrong form.
        UsageError: the value has a scheme that there is not.

    """
    match flag.kind:
        case Kind.SWITCH:
            return parse_switch(text, origin)
        case Kind.DURATION:
            return parse_duration(text)
        case Kind.PROPERTIES:
            return _properties_from_text(text, origin)
        case Kind.PATH:
            return absolute(text, origin, directory)
        case Kind.REFERENCE:
            return _reference(flag, text, origin, directory)
        case Kind.NAMES:
            return tuple(each.strip() for each in text.split(",") if each.strip())
        case Kind.TEXT | Kind.SECRET:
            return text


def from_toml(  # noqa: PLR0911 - one for each form of each kind
    flag: Flag, value: object, origin: str, directory: str, home: str | None
) -> Value:
    """Read a value from the configuration file, which lies in ``directory``; ``~`` is the user's home.

    Raises:
        ConfigurationError: the value is of the wrong type, or the home directory is not known.
        InvalidParameterError: a duration has the wrong form.
        UsageError: the value has a scheme that there is not.

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
            return absolute(from_home(value, origin, home), origin, directory)
        case Kind.REFERENCE, str():
            return _reference(flag, from_home(value, origin, home), origin, directory)
        case Kind.NAMES, str():
            return (value,)
        case Kind.NAMES, list() if all(isinstance(each, str) for each in value):
            return tuple(value)
        case Kind.TEXT | Kind.SECRET, str():
            return value
    raise ConfigurationError(f"{origin} must be {_EXPECTED[flag.kind]}")


_EXPECTED: Mapping[Kind, str] = {
    Kind.TEXT: "a string",
    Kind.PATH: "a string with the path of a file",
    Kind.DURATION: 'seconds or a string like "1h"',
    Kind.SWITCH: "true or false",
    Kind.PROPERTIES: "a table of strings",
    Kind.REFERENCE: "a string with the path of a file, or a URI",
    Kind.SECRET: "a string",
    Kind.NAMES: "a string or a list of strings",
}


def _reference(flag: Flag, text: str, origin: str, directory: str) -> str:
    """Return a URI of a known scheme as it is, and anything else as the absolute path of a file."""
    scheme = scheme_of(text)
    if scheme is None:
        return absolute(text, origin, directory)
    known = SECRET_SCHEMES if flag.name.endswith("-file") else SCHEMES
    if scheme not in known:  # the rest is not shown: a URI may hold a PIN
        raise UsageError(
            f"{origin} names a {scheme}: reference, and there is no such scheme",
            f"give the path of a file (./NAME if its name has a colon), or one of: {', '.join(known)}",
        )
    return text


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
