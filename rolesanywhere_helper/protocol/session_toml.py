"""The session of ``config.toml`` that goes with an account that was set up."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.domain.session import DEFAULT_SECONDS, parse_duration
from rolesanywhere_helper.errors import ConfigurationError, InvalidParameterError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

_ARNS = ("trust-anchor-arn", "profile-arn", "role-arn")
_KEY = re.compile(r"\s*[A-Za-z0-9_\"'-]")
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
        """Return a configuration file that has this session: at its end, or where the one of this name stands.

        A session of this name is taken for an earlier one of the same set-up if it shares trust anchor, profile or
        role. What differs in it is changed, and everything else stays, byte for byte.

        Raises:
            ConfigurationError: it is no TOML, has another session of this name, or has it in a form that only its
                author can change.

        """
        before = document or b""
        try:
            text = before.decode("utf-8")
            tables = tomllib.loads(text)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"the configuration file is not TOML: {error}") from None
        sessions = tables.get("session", {})
        there = sessions.get(self.name) if isinstance(sessions, dict) else None
        if there is None:
            gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
            added = f"{text}{gap}{self}"
            if not isinstance(sessions, dict) or not _says(added, _with(tables, self.name, self.values)):
                raise ConfigurationError(
                    "nothing can be added to the sessions of the configuration file as they are written",
                    "write each as a table of its own: a line [session.NAME], and its keys below",
                )
            return added.encode()
        if not isinstance(there, dict) or not any(there.get(key) == self.values.get(key, "") for key in _ARNS):
            raise ConfigurationError(
                f"the configuration file has another [session.{self.name}]",
                "remove it, give another --name, or write into another file",
            )
        wanted = self._merged(there)
        if wanted == there:
            return before
        edited = _edited(text, self.name, there, wanted)
        if not _says(edited, _with(tables, self.name, wanted)):
            raise ConfigurationError(
                f"the configuration file has [session.{self.name}] in a form that setup does not change",
                f"begin it with a line [session.{self.name}], with each key on a line of its own; or remove it",
            )
        return edited.encode()

    def _merged(self, there: Mapping[str, Any]) -> dict[str, Any]:
        """Return the session as it is to be: what somebody has added to it stays."""
        kept = dict(there)
        if "duration" not in self.values and _is_longer_than_default(there.get("duration")):
            del kept["duration"]
        return kept | dict(self.values)


def _is_longer_than_default(duration: Any) -> bool:
    try:
        return parse_duration(str(duration)) > DEFAULT_SECONDS
    except InvalidParameterError:
        return False


def _edited(text: str, name: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Change the lines of a session; whoever calls this checks that the outcome is what it should be."""
    lines = text.split("\n")
    header = re.compile(rf"""\s*\[\s*session\s*\.\s*(?:{name}|"{name}"|'{name}')\s*\]\s*(?:\#.*)?""")
    start = next((number for number, line in enumerate(lines) if header.fullmatch(line)), None)
    if start is None:
        return text
    following = (number for number in range(start + 1, len(lines)) if lines[number].lstrip().startswith("["))
    end = next(following, len(lines))
    block = lines[start:end]
    for key in there.keys() - wanted.keys():
        block = [line for line in block if not _assignment(key).fullmatch(line)]
    for key, value in wanted.items():
        if there.get(key) != value:
            block = _with_value(block, key, value)
    return "\n".join([*lines[:start], *block, *lines[end:]])


def _with_value(block: list[str], key: str, value: str) -> list[str]:
    """Give a key its value: where it is, in place of the example of it, or after the last key."""
    assignment, example = _assignment(key), f"# {key} = {_text(_EXAMPLES.get(key, ''))}"
    for number, line in enumerate(block):
        if found := assignment.fullmatch(line):
            return [*block[:number], f"{found[1]}{_text(value)}{found[2]}", *block[number + 1 :]]
        if line.rstrip() == example:
            return [*block[:number], line.replace(example, f"{key} = {_text(value)}"), *block[number + 1 :]]
    last = max(number for number, line in enumerate(block) if number == 0 or _KEY.match(line))
    line_end = "\r" if block[0].endswith("\r") else ""
    return [*block[: last + 1], f"{key} = {_text(value)}{line_end}", *block[last + 1 :]]


def _assignment(key: str) -> re.Pattern[str]:
    """Return what a line is like that gives a key a text or a number: before the value, the value, behind it."""
    return re.compile(rf"""(\s*(?:{key}|"{key}"|'{key}')\s*=\s*)(?:"(?:[^"\\]|\\.)*"|'[^']*'|[0-9_]+)(\s*(?:\#.*)?)""")


def _with(tables: Mapping[str, Any], name: str, session: Mapping[str, Any]) -> dict[str, Any]:
    return {**tables, "session": {**tables.get("session", {}), name: dict(session)}}


def _says(text: str, tables: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == tables
    except tomllib.TOMLDecodeError:
        return False


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, once nothing is left that only JSON escapes.
    return json.dumps(value, ensure_ascii=False)
