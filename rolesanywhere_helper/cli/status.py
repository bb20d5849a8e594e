"""``status``: what a running daemon holds, asked over its agent socket; never a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import session, status_report
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.parser import add_flag, add_switch
from rolesanywhere_helper.config.agent import AgentSockets, find_agent_sockets
from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.config.flags import AGENT_SOCKET
from rolesanywhere_helper.domain.session import parse_duration
from rolesanywhere_helper.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    HelperError,
    InvalidParameterError,
    UsageError,
    from_code,
)
from rolesanywhere_helper.protocol import status as protocol
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.vend.agent_client import AgentSocket, ask_status

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Mapping, Sequence

    from rolesanywhere_helper.cli.commands import Invocation
    from rolesanywhere_helper.domain.ports import Clock
    from rolesanywhere_helper.domain.serving import SessionStatus

    # Returns the document of the daemon, or None while there is none.
    Ask = Callable[[], bytes | None]

EXAMPLE = """\
  rolesanywhere-helper status
  rolesanywhere-helper status --wait NAME --timeout 2m
  rolesanywhere-helper status --check --warning-days 30 --critical-days 7"""

_POLL_SECONDS = 0.5
_WARNING_DAYS, _CRITICAL_DAYS = 30, 7
_MOST_DAYS = 100_000


def add_flags(parser: ArgumentParser) -> None:
    """Declare the flags."""
    add_flag(parser, AGENT_SOCKET)
    add_switch(parser, "json", "print the daemon's JSON document")
    parser.add_argument(
        "--wait",
        metavar="SESSION",
        nargs="?",
        const="",
        help="wait until the session has credentials, or every session if none is named",
    )
    parser.add_argument("--timeout", metavar="SECONDS", help="how long --wait waits, or for example 2m (default: ever)")
    add_switch(parser, "check", "one line and the exit code of a Nagios or Icinga plugin")
    for name, does, default in (("warning-days", "warn", _WARNING_DAYS), ("critical-days", "alarm", _CRITICAL_DAYS)):
        text = f"--check: days to the end of the certificate that {does} (default: {default})"
        parser.add_argument(f"--{name}", dest=name, metavar="DAYS", help=text)


def run(invocation: Invocation) -> int:
    """Print what the daemon tells. With ``--check`` the exit code is a plugin's: 0, 1 warning, 2 critical, 3 unknown.

    Raises:
        UsageError: a flag is malformed, or the daemon has no such session.
        UnsafeFileError: the socket, or the configuration file, is not to be trusted.
        ConnectionFailedError: no daemon answers.
        HelperError: ``--wait`` ended without credentials: what the daemon met last.

    """
    flags = invocation.flags
    limits = _limits(flags)
    if flags.get("check") is True and "wait" in flags:
        raise UsageError("--check and --wait exclude each other", "give one of them")
    if flags.get("check") is True:
        return _check(invocation, limits)
    clock = SystemClock()
    sockets = _sockets(invocation)
    ask = _asking(sockets, clock)
    if "wait" in flags:
        document = wait(ask, str(flags["wait"]), _timeout(flags), clock, sockets.paths)
        if flags.get("json") is True:
            write_stdout(document)
        return 0
    document = _required(ask(), sockets.paths)
    status = _parsed(document, sockets.paths)
    write_stdout(document if flags.get("json") is True else status_report.table(status, clock.now()).encode())
    return 0


def wait(ask: Ask, name: str, timeout: float, clock: Clock, paths: Sequence[str]) -> bytes:
    """Ask until a session, or with an empty name every session, has credentials; return the document that says so.

    ``timeout`` is in seconds, 0 for ever. A daemon that does not run yet is waited for too.

    Raises:
        UsageError: the daemon has no such session.
        HelperError: the time is over; what the daemon met last.

    """
    deadline = clock.monotonic() + timeout if timeout else None
    while True:
        document = _ask_patiently(ask)
        waited_for = () if document is None else _waited_for(_parsed(document, paths), name, paths)
        if document is not None and waited_for and all(session.has_credentials for session in waited_for):
            return document
        if deadline is not None and clock.monotonic() + _POLL_SECONDS > deadline:
            _required(document, paths)
            raise _too_late(waited_for, timeout)
        clock.sleep(_POLL_SECONDS)


def _ask_patiently(ask: Ask) -> bytes | None:
    """Ask; a daemon that gives no whole answer is about to stop or to start."""
    try:
        return ask()
    except ConnectionFailedError:
        return None


def _waited_for(status: protocol.DaemonStatus, name: str, paths: Sequence[str]) -> tuple[SessionStatus, ...]:
    if not name:
        return status.sessions
    found = status.session(name)
    if found is None:
        names = ", ".join(each.name for each in status.sessions) or "none"
        raise UsageError(
            f"the daemon at {' or '.join(paths)} has no session {name!a} for this user", f"it has: {names}"
        )
    return (found,)


def _too_late(waited_for: Sequence[SessionStatus], timeout: float) -> HelperError:
    for each in waited_for:
        if not each.has_credentials and each.last_error is not None:
            code, what, hint = each.last_error
            return from_code(code, f"session {each.name} has no credentials: {what}", hint)
    return DeadlineExceededError(f"there are no credentials after {timeout:.0f} seconds", "give --timeout more")


def _check(invocation: Invocation, limits: status_report.Limits) -> int:
    """Do what a plugin does: whatever happens is one line on standard output and its exit code."""
    clock = SystemClock()
    try:
        sockets = _sockets(invocation)
        status = _parsed(_required(_asking(sockets, clock)(), sockets.paths), sockets.paths)
        verdict = status_report.check(status, limits, clock.now())
    except ConnectionFailedError as error:
        verdict = status_report.Verdict(status_report.CRITICAL, error.what)
    except HelperError as error:
        verdict = status_report.Verdict(status_report.UNKNOWN, error.what)
    write_stdout(f"{verdict}\n".encode())
    return verdict.exit_code


# Asking


def _sockets(invocation: Invocation) -> AgentSockets:
    return find_agent_sockets(invocation.flags, session.surroundings(), read_trusted, invocation.config)


def _asking(sockets: AgentSockets, clock: Clock) -> Ask:
    """Return what asks each place in turn, and takes the first that answers."""

    def ask() -> bytes | None:
        answers = (ask_status(AgentSocket(path, is_named=sockets.is_named), clock) for path in sockets.paths)
        return next((answer for answer in answers if answer is not None), None)

    return ask


def _required(document: bytes | None, paths: Sequence[str]) -> bytes:
    if document is not None:
        return document
    raise ConnectionFailedError(
        f"no daemon answers at {' or '.join(paths)}",
        "start one with an agent socket ([serve.agent] in its configuration file, or serve --agent-socket PATH), and "
        "name it here with --agent-socket",
    )


def _parsed(document: bytes, paths: Sequence[str]) -> protocol.DaemonStatus:
    try:
        return protocol.parse(document)
    except ValueError:
        raise ConnectionFailedError(
            f"what answers at {' or '.join(paths)} is no daemon of this program", "check --agent-socket"
        ) from None


# Flags


def _timeout(flags: Mapping[str, object]) -> float:
    text = flags.get("timeout")
    return float(parse_duration(text)) if isinstance(text, str) and text else 0.0


def _limits(flags: Mapping[str, object]) -> status_report.Limits:
    warning = _days(flags.get("warning-days"), "--warning-days", _WARNING_DAYS)
    critical = _days(flags.get("critical-days"), "--critical-days", min(_CRITICAL_DAYS, warning))
    if critical > warning:
        raise UsageError("--critical-days is more than --warning-days", "an alarm comes after its warning")
    return status_report.Limits(warning, critical)


def _days(text: object, flag: str, default: int) -> int:
    if not isinstance(text, str) or not text:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(_MOST_DAYS)) or int(text) > _MOST_DAYS:
        raise InvalidParameterError(f"{flag} is not a number of days: {text[:20]!a}", "for example: 14")
    return int(text)
