"""What people and monitoring read of a daemon's status: a table, or one line of a Nagios plugin.

The plugin's line and exit codes are those of the Monitoring Plugins Development Guidelines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.protocol.status import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rolesanywhere_helper.domain.serving import SessionStatus
    from rolesanywhere_helper.protocol.status import DaemonStatus

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_DAY = 86_400
_UNITS = ((_DAY, "d"), (3_600, "h"), (60, "min"))
_HEAD = ("SESSION", "CREDENTIALS UNTIL", "NEXT REFRESH", "CERTIFICATE UNTIL", "LAST ERROR")


@dataclass(frozen=True, slots=True)
class Limits:
    """Days to the end of a certificate at which a plugin warns and alarms."""

    warning_days: int
    critical_days: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a plugin says: its exit code, its text and its performance data."""

    exit_code: int
    text: str
    performance: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = f"{_WORDS[self.exit_code]}: {_printable(self.text).replace('|', '/')}"
        return f"{line} | {' '.join(self.performance)}" if self.performance else line


def table(status: DaemonStatus, now: float) -> str:
    """Return the table for people, a newline at its end; below it the hint for each session's last error."""
    rows = [_HEAD, *(_row(session, now) for session in status.sessions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    hints = [
        _printable(f"{session.name}: {session.last_error[1]}\n  hint: {session.last_error[2]}", keep="\n")
        for session in status.sessions
        if session.last_error is not None
    ]
    return "\n".join([*lines, *(["", *hints] if hints else []), ""])


def check(status: DaemonStatus, limits: Limits, now: float) -> Verdict:
    """Judge a daemon: the worst that is to be said of any session."""
    if not status.sessions:
        return Verdict(UNKNOWN, "the daemon tells this user of no session")
    findings = [finding for session in status.sessions for finding in _findings(session, limits, now)]
    performance = tuple(
        _printable(datum) for session in status.sessions for datum in _performance(session, limits, now)
    )
    worst = max((level for level, _ in findings), default=OK)
    if worst == OK:
        good = ", ".join(f"{session.name} until {rfc3339(session.expires_at)}" for session in status.sessions)
        return Verdict(OK, good, performance)
    told = sorted(findings, key=lambda finding: -finding[0])
    return Verdict(worst, "; ".join(text for _, text in told), performance)


def _findings(session: SessionStatus, limits: Limits, now: float) -> Iterator[tuple[int, str]]:
    error = "" if session.last_error is None else f" ({session.last_error[1]})"
    if not session.has_credentials:
        yield CRITICAL, f"{session.name} has no credentials{error}"
    elif session.last_error is not None:
        yield WARNING, f"{session.name}: the last refresh failed{error}, credentials last until {_until(session)}"
    if session.certificate_not_after is None:
        return
    left = session.certificate_not_after - now
    if left <= 0:
        yield CRITICAL, f"the certificate of {session.name} expired {_length(-left)} ago"
    elif left <= limits.warning_days * _DAY:
        level = CRITICAL if left <= limits.critical_days * _DAY else WARNING
        yield level, f"the certificate of {session.name} expires in {_length(left)}"


def _performance(session: SessionStatus, limits: Limits, now: float) -> Iterator[str]:
    left = 0 if session.expires_at is None else max(0, int(session.expires_at - now))
    name = session.name.replace("'", "").replace("=", "").replace("|", "")
    yield f"'{name} credentials'={left}s"
    if session.certificate_not_after is not None:
        days = int((session.certificate_not_after - now) // _DAY)
        yield f"'{name} certificate_days'={days};{limits.warning_days}:;{limits.critical_days}:"


def _row(session: SessionStatus, now: float) -> Sequence[str]:
    return (
        _printable(session.name),
        _moment(session.expires_at, now) if session.has_credentials else "none",
        _moment(session.next_attempt_at, now),
        _moment(session.certificate_not_after, now),
        "-" if session.last_error is None else _printable(session.last_error[0]),
    )


def _until(session: SessionStatus) -> str:
    return rfc3339(session.expires_at) or "an unknown moment"


def _moment(moment: float | None, now: float) -> str:
    if moment is None:
        return "-"
    left = moment - now
    return f"{rfc3339(moment)} ({f'in {_length(left)}' if left >= 0 else f'{_length(-left)} ago'})"


def _length(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _printable(text: str, keep: str = "") -> str:
    """Keep text to its line, whatever a daemon puts into it."""
    return "".join(
        character if character.isprintable() or character in keep else ascii(character)[1:-1] for character in text
    )
