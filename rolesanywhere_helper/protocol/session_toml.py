"""The session of ``config.toml`` that goes with an account that was set up."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXAMPLES = {"certificate": "/path/of/the/leaf.pem", "private-key": "/path/of/the/leaf.key"}


@dataclass(frozen=True, slots=True)
class SessionBlock:
    """A table ``[session.NAME]``: its keys are those of the configuration file."""

    name: str
    values: Mapping[str, str]

    def __str__(self) -> str:
        """Write it; what it lacks to be whole stands in it as a comment."""
        lacking = [f"# {key} = {_text(example)}" for key, example in _EXAMPLES.items() if key not in self.values]
        lines = (f"{key} = {_text(value)}" for key, value in self.values.items())
        return "\n".join([f"[session.{self.name}]", *lacking, *lines, ""])

    def added_to(self, document: bytes | None) -> bytes:
        """Return a configuration file with this session at its end; one that has the same session stays as it is.

        Raises:
            ConfigurationError: it is no TOML, or has another session of this name.

        """
        before = document or b""
        try:
            tables = tomllib.loads(before.decode("utf-8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"the configuration file is not TOML: {error}") from None
        sessions = tables.get("session", {})
        there = sessions.get(self.name) if isinstance(sessions, dict) else None
        if isinstance(there, dict) and all(there.get(key) == value for key, value in self.values.items()):
            return before
        if there is not None:
            raise ConfigurationError(
                f"the configuration file has another [session.{self.name}]",
                "remove it, give another --name, or write into another file",
            )
        gap = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
        return before + gap + str(self).encode()


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, once nothing is left that only JSON escapes.
    return json.dumps(value, ensure_ascii=False)
