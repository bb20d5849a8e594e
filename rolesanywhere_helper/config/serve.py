"""From flags, environment and configuration file to the settings of one daemon.

With a file, each session that an endpoint names is served, and all of them if there is an agent socket, over which each
can be asked for; ``--session`` leaves the others and their endpoints out. Without a file the flags make one session,
called ``default``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.document import nearest
from rolesanywhere_helper.config.identity import warnings_of_secrets
from rolesanywhere_helper.config.load import (
    Made,
    WrittenSession,
    given_values,
    look_up,
    make_session,
    written_session,
)
from rolesanywhere_helper.config.outlets import DEFAULT_NAME, Circumstances, Outlets, check_name, make_outlets
from rolesanywhere_helper.config.serve_flags import ServeFlags, read_flags
from rolesanywhere_helper.config.serve_settings import AccessSettings, ServedSession, ServeSettings
from rolesanywhere_helper.config.values import Values
from rolesanywhere_helper.domain.arn import is_region
from rolesanywhere_helper.domain.endpoint import is_loopback_host
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import ConfigurationError, InvalidParameterError, UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rolesanywhere_helper.config.document import Document
    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.config.load import Read
    from rolesanywhere_helper.config.settings import ConsultedFile
    from rolesanywhere_helper.config.table import Table
    from rolesanywhere_helper.config.values import Value
    from rolesanywhere_helper.domain.identity_reference import IdentityReference

EVERYBODY = "*"
# botocore's IMDS client extends an expiry that is less than 21 minutes away: a shorter session always meets that.
SHORTEST_IMDS_SECONDS = 45 * 60
_LONGEST_JITTER_SECONDS = 86_400
_LOG_FORMATS = ("text", "json")
_EVENT_LOOPS = ("asyncio", "uvloop")
_HELD_BY_THE_PROCESS = ("env", "fd")
_OF_ONE_SESSION = ("trust-anchor-arn", "profile-arn", "role-arn", "role-session-name")


def load_serve(
    flags: Mapping[str, object],
    surroundings: Surroundings,
    read: Read,
    config: str | None = None,
    passed: frozenset[str] = frozenset(),
) -> ServeSettings:
    """Work out a daemon.

    ``flags`` holds what was typed, by the names of the session's flags and of those of ``serve``, and ``config`` the
    file named with ``--config``; ``read`` is that of :func:`~rolesanywhere_helper.config.load.load_session`. Whether a
    configuration file is read at all is decided as it is there. ``passed`` are the names of the sockets that systemd
    passed: what can be served on them is, also without a table.

    Raises:
        UsageError: what was asked is incomplete, contradictory, malformed or not supported.
        UnsafeFileError: the configuration file or a CA bundle is not to be trusted.

    """
    typed = read_flags(flags, surroundings.working_directory)
    given = given_values(flags, surroundings)
    consulted, document = look_up(given, surroundings, read, config)
    known = (DEFAULT_NAME,) if document is None or not document.sessions else tuple(document.sessions)
    name = Values(given).text("session")
    circumstances = Circumstances(
        typed,
        document,
        known,
        known if name is None or document is None else _named(name, document),
        surroundings.runtime_directory,
        surroundings.home,
        passed,
    )
    outlets = make_outlets(circumstances)
    made = _Sessions(circumstances, flags, given, surroundings, read, consulted).make_all(outlets)
    general = circumstances.general()
    return ServeSettings(
        made.sessions,
        outlets.imds,
        outlets.containers,
        outlets.container_listeners,
        outlets.agent,
        outlets.metrics,
        outlets.metrics_socket,
        typed.ready_file or general.path("ready-file"),
        _start_jitter(typed, general),
        surroundings.cache_directory,
        surroundings.runtime_directory,
        surroundings.in_gitlab_ci,
        consulted,
        (*made.warnings, *_warnings(made.sessions, outlets)),
        made.notes,
        _one_of(general, "log-format", _LOG_FORMATS),
        general.path("log-file"),
        _one_of(general, "event-loop", _EVENT_LOOPS) or _EVENT_LOOPS[0],
        outlets.updates,
        outlets.load_credential,
    )


def _named(name: str, document: Document) -> tuple[str, ...]:
    if name not in document.sessions:
        raise ConfigurationError(f"there is no [session.{name}] in {document.path}", nearest(name, document.sessions))
    return (name,)


# The sessions


@dataclass(frozen=True, slots=True)
class _MadeSessions:
    sessions: tuple[ServedSession, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sessions:
    """Makes the sessions of one daemon; ``given`` is what flags (``typed``) and environment say over the file."""

    circumstances: Circumstances
    typed: Mapping[str, object]
    given: Mapping[str, Value]
    surroundings: Surroundings
    read: Read
    consulted: tuple[ConsultedFile, ...]

    def make_all(self, outlets: Outlets) -> _MadeSessions:
        chosen = self.circumstances.chosen
        names = [name for name in chosen if outlets.agent is not None or name in outlets.sessions]
        self._refuse_ambiguous(names)
        made = [self._make(name) for name in names]
        warnings = [f"session {session.name}: {text}" for session, each in made for text in each.warnings]
        notes = [f"session {session.name}: {text}" for session, each in made for text in each.notes]
        served = tuple(session for session, _ in made)
        return _MadeSessions((*served, *sources_of(served)), tuple(warnings), tuple(notes))

    def _refuse_ambiguous(self, served: Sequence[str]) -> None:
        typed = self.circumstances.flags
        one_session_only = [f"--{name}" for name in _OF_ONE_SESSION if name in self.given]
        one_session_only += ["--allow-user"] if typed.allow_users else []
        one_session_only += ["--allow-group"] if typed.allow_groups else []
        if len(served) > 1 and one_session_only:
            raise UsageError(
                f"{one_session_only[0]} is for one session, but {len(served)} are served: {', '.join(served)}",
                "choose one with --session, or write it into the configuration file",
            )

    def _make(self, name: str) -> tuple[ServedSession, Made]:
        document = self.circumstances.document
        check_name(name, "session")
        written = WrittenSession(None, {})
        if document is not None and document.sessions:
            written = written_session(document, name, self.surroundings.home)
        made = make_session(
            name, written, self.given, surroundings=self.surroundings, read=self.read, consulted=self.consulted
        )
        _refuse_held_identity(made.settings.identity, name)
        warnings = (*made.warnings, *warnings_of_secrets(self.typed, written.values))
        region = self.surroundings.variable("AWS_REGION") or made.settings.spec.region
        if not is_region(region):
            raise InvalidParameterError("AWS_REGION is not the name of an AWS region", "for example: eu-central-1")
        session = ServedSession(name, made.settings, self._access(name), region)
        return session, Made(made.settings, warnings, made.notes)

    def _access(self, name: str) -> AccessSettings:
        typed, document = self.circumstances.flags, self.circumstances.document
        if typed.allow_users or typed.allow_groups:
            return _checked(AccessSettings(typed.allow_users, typed.allow_groups), "--allow-group")
        if document is None or not document.sessions:
            return AccessSettings()
        table = document.table(document.sessions[name], f"session.{name}", self.surroundings.home)
        access = AccessSettings(table.names("allow-users") or (), table.names("allow-groups") or ())
        return _checked(access, table.origin("allow-groups"))


def sources_of(served: Sequence[ServedSession]) -> Iterator[ServedSession]:
    """Add the sessions that others go on from and that nobody is given: each is kept fresh on its own."""
    known = [session.settings for session in served]
    taken = {session.name for session in served}
    for session in served:
        settings = session.settings
        while (source := settings.source) is not None:
            if not any(source.is_the_same_as(each) for each in known):
                known.append(source)
                # The session before a role that was typed has the same name as the whole.
                is_free = source.name is not None and source.name not in taken
                name = source.name if is_free and source.name else f"{session.name}/{len(source.hops)}"
                taken.add(name)
                yield ServedSession(name, source, AccessSettings(), session.region, is_source_only=True)
            settings = source


def _checked(access: AccessSettings, origin: str) -> AccessSettings:
    if EVERYBODY in access.groups:
        raise UsageError(
            f"{origin} names the group {EVERYBODY}, which there is not", 'allow-users = ["*"] is everybody'
        )
    return access


def _refuse_held_identity(identity: IdentityReference, name: str) -> None:
    """Refuse a certificate or key that only this process could read: the child that signs is started without it."""
    for flag, written in (
        ("private-key", identity.private_key),
        ("certificate", identity.certificate),
        ("intermediates", identity.intermediates),
    ):
        if written is not None and scheme_of(written) in _HELD_BY_THE_PROCESS:
            raise UsageError(
                f"{flag} of session {name} names an {written.partition(':')[0]}: reference, and a daemon that serves "
                "must not hold the key",
                "give the path of a PEM file that only the daemon's user can read, or command:…; under systemd: "
                "LoadCredential=host.key:/etc/pki/host.key and private-key = credential:host.key",
            )


# The rest


def _start_jitter(typed: ServeFlags, general: Table) -> int:
    seconds = typed.start_jitter_seconds
    if seconds is None:
        seconds = general.seconds("start-jitter") or 0
    if not 0 <= seconds <= _LONGEST_JITTER_SECONDS:
        raise InvalidParameterError(f"the start cannot be put off by {seconds} seconds", "give 0 to 86400 (a day)")
    return seconds


def _one_of(general: Table, key: str, known: tuple[str, ...]) -> str | None:
    text = general.text(key)
    if text not in {None, *known}:
        raise ConfigurationError(f"{general.origin(key)} must be one of: {', '.join(known)}")
    return text


def _warnings(sessions: tuple[ServedSession, ...], outlets: Outlets) -> tuple[str, ...]:
    return *_warnings_of_access(sessions), *_warnings_of_imds(sessions, outlets)


def _warnings_of_access(sessions: tuple[ServedSession, ...]) -> Iterator[str]:
    for session in sessions:
        if EVERYBODY in session.access.users:
            yield f"session {session.name} is given to every user of this machine (allow-users is '*')"


def _warnings_of_imds(sessions: tuple[ServedSession, ...], outlets: Outlets) -> Iterator[str]:
    seconds = {session.name: session.settings.duration_seconds for session in sessions}
    for endpoint in outlets.imds:
        if seconds[endpoint.session] < SHORTEST_IMDS_SECONDS:
            yield (
                f"session {endpoint.session} lasts {seconds[endpoint.session] // 60} minutes: on IMDS botocore may use "
                "credentials past their end unless a session lasts 45 minutes or more (duration, --session-duration)"
            )
        for listener in endpoint.listeners:
            if not is_loopback_host(listener.host):
                yield (
                    f"IMDS endpoint {endpoint.name} gives credentials to OTHER MACHINES at {listener.host}: to every "
                    f"process on {', '.join(listener.allow_from)}"
                )
