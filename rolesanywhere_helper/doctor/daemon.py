"""The daemon of this machine: whether one answers, whether this user is allowed, and what it says of the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.agent import find_agent_sockets
from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.doctor.findings import Finding, Hint, Step, hint_of, ok, skipped, warning, warning_of
from rolesanywhere_helper.errors import HelperError
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.protocol import status as protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.config.settings import LoadedSettings
    from rolesanywhere_helper.doctor.configuration import Asked
    from rolesanywhere_helper.doctor.doors import Doors
    from rolesanywhere_helper.domain.serving import SessionStatus


@dataclass(frozen=True, slots=True)
class Answered:
    """What was found, and whether the daemon gives this user credentials of the session that is looked at."""

    findings: tuple[Finding, ...]
    serves_session: bool = False


def ask(asked: Asked, loaded: LoadedSettings | None, doors: Doors) -> Answered:
    """Ask at the socket that is named, else at the usual ones."""
    try:
        sockets = find_agent_sockets(asked.flags, asked.surroundings, read_trusted, asked.config)
    except HelperError:
        return Answered((skipped(Step.DAEMON, "the configuration file that names its socket cannot be read"),))
    for path in sockets.paths:
        try:
            document = doors.daemon_status(path, is_named=sockets.is_named)
        except HelperError as error:
            return Answered((warning_of(Step.DAEMON, error),))
        if document is not None:
            return _read(document, path, loaded)
    places = " or ".join(sockets.paths)
    if sockets.is_named:
        hint = Hint("start it", "systemctl start rolesanywhere-helper")
        return Answered((warning(Step.DAEMON, "no-daemon", f"no daemon answers at {places}", hint),))
    return Answered((skipped(Step.DAEMON, f"none answers at {places}, and none is configured"),))


def _read(document: bytes, path: str, loaded: LoadedSettings | None) -> Answered:
    try:
        status = protocol.parse(document)
    except ValueError:
        hint = Hint("check --agent-socket, or socket in [serve.agent]")
        return Answered((warning(Step.DAEMON, "no-daemon", f"what answers at {path} is no daemon of ours", hint),))
    name = None
    if loaded is not None and loaded.agent_socket == path:
        name = loaded.settings.name
    findings = list(_told(status, path, name))
    own = None if name is None else status.session(name)
    return Answered(tuple(findings), own is not None and own.has_credentials)


def _told(status: protocol.DaemonStatus, path: str, name: str | None) -> Iterator[Finding]:
    if name is not None and status.session(name) is None:
        yield warning(
            Step.DAEMON,
            "session-not-allowed",
            f"the daemon at {path} has no session {name} for this user",
            Hint(f"name this user in allow-users of [session.{name}] in the daemon's configuration, and reload it"),
            Hint("or it runs with another configuration file", "rolesanywhere-helper status"),
        )
    for session in status.sessions:
        yield from _of(session)
    have = [session.name for session in status.sessions if session.has_credentials]
    names = ", ".join(have) or "no session"
    yield ok(Step.DAEMON, f"the daemon {status.version} at {path} has credentials for {names}", sessions=have)


def _of(session: SessionStatus) -> Iterator[Finding]:
    if session.last_error is None:
        return
    code, what, hint = session.last_error
    lasting = "its credentials last for now" if session.has_credentials else "it has no credentials"
    yield warning(Step.DAEMON, code, f"the daemon's session {session.name} fails, {lasting}: {what}", hint_of(hint))
