"""The configuration file: its bytes taken apart, its keys checked, one session picked out of it.

Every key of every identity and session is checked, so that a spelling mistake is found when it is made; values are
looked at only in the session that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rolesanywhere_helper.config.flags import NOT_YET, SESSION_FLAGS, Place
from rolesanywhere_helper.config.values import Value, from_toml
from rolesanywhere_helper.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Table = dict[str, object]

# `serve` and `update` belong to the daemon: accepted, so that one file serves every command.
_TOP_LEVEL = frozenset({"identity", "session", "serve", "update"})
_CHAINING = frozenset({"source", "assume-role-arn", "external-id"})
_DAEMON_SESSION_KEYS = frozenset({"allow-users", "allow-groups"})
_IDENTITY_KEYS = frozenset(key for flag in SESSION_FLAGS if flag.place is Place.IDENTITY for key in flag.toml_keys)
_SESSION_KEYS = (
    frozenset(key for flag in SESSION_FLAGS for key in flag.toml_keys) | {"identity"} | _CHAINING | _DAEMON_SESSION_KEYS
)


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file whose keys are known ones."""

    path: str
    identities: Mapping[str, Table]
    sessions: Mapping[str, Table]

    @property
    def directory(self) -> str:
        """What relative paths in the file are relative to."""
        return self.path.rpartition("/")[0] or "/"

    def session_values(self, name: str, home: str | None) -> dict[str, Value]:
        """Return the values of a session over those of its identity, by flag name.

        Raises:
            ConfigurationError: there is no such session or identity, or a value is of the wrong type.
            UsageError: the session is one that this version cannot make.

        """
        if name not in self.sessions:
            raise ConfigurationError(f"there is no [session.{name}] in {self.path}", _nearest(name, self.sessions))
        session = self.sessions[name]
        if not _CHAINING.isdisjoint(session):
            raise UsageError(
                f"[session.{name}] reaches its role through another one, and role chaining is not supported yet by "
                "this version",
                "ask for a session that names trust-anchor-arn, profile-arn and role-arn itself",
            )
        values = self._identity_values(session.get("identity"), name, home)
        return values | self._values(session, f"[session.{name}]", home)

    def _identity_values(self, identity: object, session: str, home: str | None) -> dict[str, Value]:
        if identity is None:
            return {}
        if not isinstance(identity, str):
            raise ConfigurationError(f"identity in [session.{session}] of {self.path} must be the name of an identity")
        if identity not in self.identities:
            raise ConfigurationError(
                f"[session.{session}] names the identity {identity!a}, but there is no [identity.{identity}] in "
                f"{self.path}",
                _nearest(identity, self.identities),
            )
        return self._values(self.identities[identity], f"[identity.{identity}]", home)

    def _values(self, table: Table, title: str, home: str | None) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for flag in SESSION_FLAGS:
            given = [key for key in flag.toml_keys if key in table]
            if len(given) > 1:
                raise ConfigurationError(
                    f"{title} in {self.path} sets both {given[0]} and {given[1]}", "keep one of them"
                )
            for key in given:
                origin = f"{key} in {title} of {self.path}"
                values[flag.name] = from_toml(flag, table[key], origin, self.directory, home)
        return values


def parse(path: str, content: bytes) -> Document:
    """Take a configuration file apart.

    Raises:
        ConfigurationError: it is not TOML, or a key is unknown.
        UsageError: a key is known but not supported yet.

    """
    import tomllib  # noqa: PLC0415 - 23 ms that only who has a file should pay

    try:
        top = tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text", "save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:  # its text names the place and quotes keys, never values
        raise ConfigurationError(f"{path} is not TOML: {error}", "correct the file there") from None
    except RecursionError:
        raise ConfigurationError(f"{path} is nested too deeply", "a session is one table of plain values") from None
    _check_keys(top, _TOP_LEVEL, "the top level", path)
    return Document(
        path,
        _named_tables(top.get("identity", {}), "identity", _IDENTITY_KEYS, path),
        _named_tables(top.get("session", {}), "session", _SESSION_KEYS, path),
    )


def _named_tables(tables: object, kind: str, known: frozenset[str], path: str) -> dict[str, Table]:
    named: dict[str, Table] = {}
    if not isinstance(tables, dict):
        raise _not_a_table(kind, path)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise _not_a_table(kind, path)
        _check_keys(table, known, f"[{kind}.{name}]", path)
        named[name] = table
    return named


def _not_a_table(kind: str, path: str) -> ConfigurationError:
    return ConfigurationError(f"{kind} in {path} must be tables with a name", f"begin each with a line [{kind}.NAME]")


def _check_keys(keys: Iterable[str], known: frozenset[str], title: str, path: str) -> None:
    for key in keys:
        if key in known:
            continue
        if key in NOT_YET:
            raise UsageError(
                f"{key} in {title} of {path} is not supported yet by this version", "remove it, and give PEM files"
            )
        raise ConfigurationError(f"unknown key {key!a} at {title} of {path}", _nearest(key, known))


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - only for an error

    names = sorted(known)
    found = difflib.get_close_matches(word, names, n=1)
    if found:
        return f"did you mean {found[0]}?"
    return f"there is: {', '.join(names)}" if names else "there is none"
