"""Where log lines go.

Only this program's own loggers are heard: those of the libraries would show requests with their signatures, and
botocore's show secrets. A *successful* ``credential-process`` writes nothing to a standard error that is no terminal,
because some SDKs read both streams as one: its lines are kept until it is known how it ended, and are then either
written (a failure) or dropped, the warnings among them handed to the system's log.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections import deque
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import render
from rolesanywhere_helper.errors import UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    # Takes a level of the logging module and a line.
    Emit = Callable[[int, str], None]

OWN = "rolesanywhere_helper"
# What is kept of a talkative run: the last lines before a failure are those that tell.
_MOST_LINES = 1000


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the flags say: ``format`` is ``text`` or ``json``."""

    debug: bool = False
    format: str = "text"
    file: str | None = None


class Journal:
    """The log of one run, which in the end is told how the run went."""

    def __init__(self, emit: Emit, *, holds_back: bool, system_log: Emit) -> None:
        self._emit = emit
        self._holds_back = holds_back
        self._system_log = system_log
        self._held: deque[tuple[int, str]] = deque(maxlen=_MOST_LINES)

    def add(self, level: int, line: str) -> None:
        """Take a line."""
        if self._holds_back:
            self._held.append((level, line))
        else:
            self._emit(level, line)

    def failed(self) -> None:
        """Show what was held back."""
        while self._held:
            self._emit(*self._held.popleft())

    def succeeded(self) -> None:
        """Hand the warnings to the system's log and forget the rest."""
        while self._held:
            level, line = self._held.popleft()
            if level >= logging.WARNING:
                self._system_log(level, line)


class _Handler(logging.Handler):
    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        self._journal.add(record.levelno, self.format(record))


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Write one line, whatever is in the message, so that nobody can forge a second one."""
        line = f"{_moment(record)} {record.levelname} {record.name}: {record.getMessage()}"
        return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Write one object: ``time`` (UTC), ``level``, ``logger``, ``message``."""
        message = record.getMessage()
        fields = {"time": _moment(record), "level": record.levelname, "logger": record.name, "message": message}
        return json.dumps(fields)


def _moment(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))


def start(settings: LogSettings, *, is_quiet: bool, stderr_is_terminal: bool) -> Journal:
    """Set up logging for this process; ``is_quiet`` is for a command that must not write when it succeeds.

    Raises:
        UsageError: the log file cannot be written, or is no plain file.

    """
    if settings.file is None:
        journal = Journal(_to_stderr, holds_back=is_quiet and not stderr_is_terminal, system_log=_to_system_log)
    else:
        journal = Journal(_to_file(settings.file), holds_back=False, system_log=_to_system_log)
    handler = _Handler(journal)
    handler.setFormatter(_Json() if settings.format == "json" else _Text())
    own = logging.getLogger(OWN)
    own.handlers = [handler]
    own.propagate = False
    own.setLevel(logging.DEBUG if settings.debug else logging.INFO)
    # Python would write to standard error what nobody listens to, and urllib3 what it thinks of unverified TLS.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(capture=True)
    return journal


def heed_warnings_only(settings: LogSettings) -> None:
    """Leave standard error to what the user should know, unless more was asked for: a program's own words go there."""
    if not settings.debug and settings.file is None:
        logging.getLogger(OWN).setLevel(logging.WARNING)


def _to_stderr(_level: int, line: str) -> None:
    render.message(line)


def _to_file(path: str) -> Emit:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise UsageError(
            f"the log file {path} cannot be written: {error.strerror}", "give --log-file a plain file, no symbolic link"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"the log file {path} is no plain file", "give --log-file a plain file")

    def emit(_level: int, line: str) -> None:
        try:
            os.write(descriptor, f"{line}\n".encode(errors="backslashreplace"))
        except OSError:
            return  # a full disk under the log is no reason to withhold credentials

    return emit


def _to_system_log(level: int, line: str) -> None:
    try:
        import syslog  # noqa: PLC0415 - not on every platform
    except ImportError:
        return
    syslog.openlog("rolesanywhere-helper", syslog.LOG_PID, syslog.LOG_USER)
    syslog.syslog(syslog.LOG_ERR if level >= logging.ERROR else syslog.LOG_WARNING, line)
