"""Reading a table of the configuration file key by key, with errors that name key, table and file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.values import absolute, from_home
from rolesanywhere_helper.domain.session import parse_duration
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its values, its title as written (``[serve.agent]``), the file, and what ``~`` stands for."""

    values: Mapping[str, object]
    title: str
    file: str
    home: str | None = None

    def origin(self, key: str) -> str:
        """Name a value for errors."""
        return f"{key} in {self.title} of {self.file}"

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str) -> str | None:
        """Return a string that is not empty, or None.

        Raises:
            ConfigurationError: it is something else.

        """
        value = self.values.get(key)
        if value is None or (isinstance(value, str) and value):
            return value
        raise ConfigurationError(f"{self.origin(key)} must be a string")

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return a list of strings, or None; one string is a list of one.

        Raises:
            ConfigurationError: it is something else.

        """
        value = self.values.get(key)
        if value is None:
            return None
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) and each for each in found):
            raise ConfigurationError(f"{self.origin(key)} must be a list of strings")
        return tuple(found)

    def pairs(self, key: str) -> tuple[tuple[str, str], ...] | None:
        """Return the keys of a table and their strings, or None.

        Raises:
            ConfigurationError: it is something else.

        """
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict) or not all(isinstance(each, str) and each for each in value.values()):
            raise ConfigurationError(f'{self.origin(key)} must be a table of strings: {{ "KEY" = "VALUE" }}')
        return tuple(value.items())

    def names(self, key: str) -> tuple[str, ...] | None:
        """Return a list of names, of which numbers are a kind, or None.

        Raises:
            ConfigurationError: it is something else.

        """
        value = self.values.get(key)
        if value is None:
            return None
        found = value if isinstance(value, list) else [value]
        if not all(_is_name(each) for each in found):
            raise ConfigurationError(f"{self.origin(key)} must be a list of names or numbers")
        return tuple(str(each) for each in found)

    def path(self, key: str) -> str | None:
        """Return an absolute path, or None; a relative one is relative to the file.

        Raises:
            ConfigurationError: it is no string, or begins with ``~`` and the home directory is not known.
            InvalidParameterError: it cannot be a path.

        """
        text = self.text(key)
        if text is None:
            return None
        origin = self.origin(key)
        return absolute(from_home(text, origin, self.home), origin, self.file.rpartition("/")[0] or "/")

    def switch(self, key: str) -> bool:
        """Return whether a switch is on.

        Raises:
            ConfigurationError: it is neither true nor false.

        """
        value = self.values.get(key, False)
        if isinstance(value, bool):
            return value
        raise ConfigurationError(f"{self.origin(key)} must be true or false")

    def number(self, key: str) -> int | None:
        """Return a whole number, or None.

        Raises:
            ConfigurationError: it is something else.

        """
        value = self.values.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise ConfigurationError(f"{self.origin(key)} must be a whole number")

    def seconds(self, key: str) -> int | None:
        """Return a duration in seconds, or None.

        Raises:
            ConfigurationError: it is neither a whole number nor a string.
            InvalidParameterError: the string is no duration.

        """
        value = self.values.get(key)
        if isinstance(value, str):
            return parse_duration(value)
        return self.number(key)


def _is_name(value: object) -> bool:
    if isinstance(value, str):
        return bool(value)
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
