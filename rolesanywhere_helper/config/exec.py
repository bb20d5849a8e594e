"""From one session to the daemon that serves it to one program: a container endpoint on a free port of this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rolesanywhere_helper.config.outlets import DEFAULT_NAME, LOOPBACK
from rolesanywhere_helper.config.serve import EVERYBODY, sources_of
from rolesanywhere_helper.config.serve_settings import (
    AccessSettings,
    ContainerSettings,
    Listener,
    ServedSession,
    ServeSettings,
)
from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rolesanywhere_helper.config.settings import LoadedSettings
    from rolesanywhere_helper.domain.identity_reference import IdentityReference

_VARIABLE, _DESCRIPTOR = "env:", "fd:"


def identities(loaded: LoadedSettings) -> tuple[IdentityReference, ...]:
    """Return where certificate and key of each session are that the one needs.

    Raises:
        UsageError: its own certificate or key is behind a descriptor, which can be read once.

    """
    _refuse_descriptors(loaded.settings.identity)
    sources = sources_of((_served(loaded, AccessSettings()),))
    return (loaded.settings.identity, *(source.settings.identity for source in sources))


def serve_one(loaded: LoadedSettings, token_file: str, *, tells_users: bool) -> ServeSettings:
    """Return the settings of a daemon for one session.

    Who has its token is this user or root, whose file it is; where the machine ``tells_users`` apart they are looked at
    too, and elsewhere (in some containers) the token has to do.
    """
    access = AccessSettings() if tells_users else AccessSettings((EVERYBODY,))
    session = _served(loaded, access)
    sessions = (session, *(replace(each, access=access) for each in sources_of((session,))))
    return ServeSettings(
        sessions,
        containers=(ContainerSettings(DEFAULT_NAME, session.name, token_file),),
        container_listeners=(Listener(LOOPBACK, 0),),
        cache_directory=loaded.cache_directory,
        in_gitlab_ci=loaded.in_gitlab_ci,
        consulted=loaded.consulted,
        agents_to_ask=tuple(_agents(loaded, sessions)),
        identity_variables=frozenset(_variables(loaded.settings.identity)),
    )


def _served(loaded: LoadedSettings, access: AccessSettings) -> ServedSession:
    return ServedSession(loaded.settings.name or DEFAULT_NAME, loaded.settings, access, loaded.settings.spec.region)


def _agents(loaded: LoadedSettings, sessions: Sequence[ServedSession]) -> Iterator[tuple[str, str, str]]:
    """Return which sessions another daemon is asked for: each by its name here, its name there, and the socket."""
    socket = loaded.agent_socket
    for session in sessions:
        if session.settings.name is not None and socket is not None:
            yield session.name, session.settings.name, socket
        socket = loaded.source_agent_socket


def variables_of(identity: IdentityReference) -> frozenset[str]:
    """Return the variables that hold certificate, key or passphrases, which no program needs that gets credentials."""
    secrets = (source.reference or "" for _, source in identity.secrets)
    held = (each.removeprefix(_VARIABLE) for each in secrets if each.startswith(_VARIABLE))
    return frozenset({*_variables(identity), *held})


def _places(identity: IdentityReference) -> tuple[str, ...]:
    named = (identity.certificate, identity.private_key, identity.intermediates)
    return tuple(each for each in named if each)


def _variables(identity: IdentityReference) -> Iterator[str]:
    return (each.removeprefix(_VARIABLE) for each in _places(identity) if each.startswith(_VARIABLE))


def _refuse_descriptors(identity: IdentityReference) -> None:
    if any(each.startswith(_DESCRIPTOR) for each in _places(identity)):
        raise UsageError(
            "a certificate or key behind a descriptor can be read once, and exec reads it for every renewal",
            "give the path of a file, env:NAME or command:…, or use exec --env",
        )
