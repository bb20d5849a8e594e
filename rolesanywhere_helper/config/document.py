"""The configuration file: its bytes taken apart, its keys checked, one session picked out of it.

Every key of every identity and session is checked, so that a spelling mistake is found when it is made; values are
looked at only in the session that is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config import serve_keys
from rolesanywhere_helper.config.flags import SESSION_FLAGS, Place
from rolesanywhere_helper.config.table import Table
from rolesanywhere_helper.config.values import Value, from_toml
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Raw = dict[str, object]

# One file serves every command, so each of them checks the keys of all.
_TOP_LEVEL = frozenset({"identity", "session", "serve", "update"})
_SERVE_TABLES = frozenset({"imds", "container", "agent", "metrics", "load-credential"})
_SOURCE = "source"
# What a session that goes on from another one may say: all else is said by the first of them.
_HOP_FLAGS = frozenset(
    {
        "assume-role-arn",
        "external-id",
        "session-tags",
        "transitive-tag-keys",
        "sts-endpoint",
        "session-duration",
        "role-session-name",
        "region",
    }
)
_IDENTITY_KEYS = frozenset(key for flag in SESSION_FLAGS if flag.place is Place.IDENTITY for key in flag.toml_keys)
_SESSION_KEYS = (
    frozenset(key for flag in SESSION_FLAGS for key in flag.toml_keys)
    | {"identity", _SOURCE}
    | serve_keys.keys_of(serve_keys.SESSION)
)


@dataclass(frozen=True, slots=True)
class Serve:
    """``[serve]`` and the tables below it, the named ones by name; ``general`` holds the keys of ``[serve]`` itself."""

    general: Raw = field(default_factory=dict)
    imds: Mapping[str, Raw] = field(default_factory=dict)
    containers: Mapping[str, Raw] = field(default_factory=dict)
    agent: Raw | None = None
    metrics: Raw | None = None
    load_credential: Raw | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file whose keys are known ones."""

    path: str
    identities: Mapping[str, Raw]
    sessions: Mapping[str, Raw]
    serve: Serve = field(default_factory=Serve)
    updates: Mapping[str, Raw] = field(default_factory=dict)

    @property
    def directory(self) -> str:
        """What relative paths in the file are relative to."""
        return self.path.rpartition("/")[0] or "/"

    def session_values(self, name: str, home: str | None) -> dict[str, Value]:
        """Return the values of a session that goes on from no other one over those of its identity, by flag name.

        Raises:
            ConfigurationError: there is no such session or identity, or a value is of the wrong type.

        """
        session = self._session(name)
        values = self._identity_values(session.get("identity"), name, home)
        return values | self._values(session, f"[session.{name}]", home)

    def way_to(self, name: str) -> tuple[str, ...]:
        """Return the sessions from which a session goes on, the first of all first, itself last.

        Raises:
            ConfigurationError: there is no such session, or the way leads in a circle.

        """
        way = [name]
        while (source := self._session(way[0]).get(_SOURCE)) is not None:
            if not isinstance(source, str) or source in way:
                raise ConfigurationError(
                    f"source in [session.{way[0]}] of {self.path} must be the name of another session that does not "
                    "lead back here",
                    "the first session of a chain names trust-anchor-arn, profile-arn and role-arn, and no source",
                )
            if source not in self.sessions:
                raise ConfigurationError(
                    f"[session.{way[0]}] of {self.path} goes on from {source!a}, but there is no [session.{source}]",
                    nearest(source, self.sessions),
                )
            way.insert(0, source)
        return tuple(way)

    def hop_values(self, name: str, home: str | None) -> dict[str, Value]:
        """Return the values of a session that goes on from another one, by flag name.

        Raises:
            ConfigurationError: a value is of the wrong type, or has no meaning there.

        """
        table = self._session(name)
        values = self._values(table, f"[session.{name}]", home)
        strangers = [*sorted(values.keys() - _HOP_FLAGS), *(["identity"] if "identity" in table else [])]
        if strangers:
            raise ConfigurationError(
                f"{strangers[0]} in [session.{name}] of {self.path} has no meaning there: the session goes on from "
                f"{table[_SOURCE]!a}",
                f"write it into [session.{table[_SOURCE]}], or remove source",
            )
        if "assume-role-arn" not in values:
            raise ConfigurationError(
                f"[session.{name}] of {self.path} has a source, but no assume-role-arn", "name the role to go on to"
            )
        return values

    def table(self, values: Raw, title: str, home: str | None) -> Table:
        """Return one of this file's tables for reading, under its title without brackets."""
        return Table(values, f"[{title}]", self.path, home)

    def _session(self, name: str) -> Raw:
        if name not in self.sessions:
            raise ConfigurationError(f"there is no [session.{name}] in {self.path}", nearest(name, self.sessions))
        return self.sessions[name]

    def _identity_values(self, identity: object, session: str, home: str | None) -> dict[str, Value]:
        if identity is None:
            return {}
        if not isinstance(identity, str):
            raise ConfigurationError(f"identity in [session.{session}] of {self.path} must be the name of an identity")
        if identity not in self.identities:
            raise ConfigurationError(
                f"[session.{session}] names the identity {identity!a}, but there is no [identity.{identity}] in "
                f"{self.path}",
                nearest(identity, self.identities),
            )
        return self._values(self.identities[identity], f"[identity.{identity}]", home)

    def _values(self, table: Raw, title: str, home: str | None) -> dict[str, Value]:
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
        _serve(top.get("serve", {}), path),
        _named_tables(top.get("update", {}), "update", serve_keys.keys_of(serve_keys.UPDATE), path),
    )


def _serve(tables: object, path: str) -> Serve:
    if not isinstance(tables, dict):
        raise ConfigurationError(f"serve in {path} must be a table", "begin it with a line [serve]")
    general = serve_keys.keys_of(serve_keys.SERVE)
    _check_keys(tables, general | _SERVE_TABLES, "[serve]", path)
    imds, container = serve_keys.keys_of(serve_keys.IMDS), serve_keys.keys_of(serve_keys.CONTAINER)
    return Serve(
        {key: value for key, value in tables.items() if key in general},
        _named_tables(tables.get("imds", {}), "serve.imds", imds, path),
        _named_tables(tables.get("container", {}), "serve.container", container, path),
        _single_table(tables.get("agent"), serve_keys.AGENT, path),
        _single_table(tables.get("metrics"), serve_keys.METRICS, path),
        _single_table(tables.get("load-credential"), serve_keys.LOAD_CREDENTIAL, path),
    )


def _single_table(table: object, title: str, path: str) -> Raw | None:
    if table is None:
        return None
    if not isinstance(table, dict):
        raise ConfigurationError(f"{title} in {path} must be a table", f"begin it with a line [{title}]")
    _check_keys(table, serve_keys.keys_of(title), f"[{title}]", path)
    return table


def _named_tables(tables: object, kind: str, known: frozenset[str], path: str) -> dict[str, Raw]:
    named: dict[str, Raw] = {}
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
        hint = serve_keys.hint_for(key, title) or nearest(key, known)
        raise ConfigurationError(f"unknown key {key!a} at {title} of {path}", hint)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the hint for a word that is not known: what was probably meant, or what there is."""
    import difflib  # noqa: PLC0415 - only for an error

    names = sorted(known)
    found = difflib.get_close_matches(word, names, n=1)
    if found:
        return f"did you mean {found[0]}?"
    return f"there is: {', '.join(names)}" if names else "there is none"
