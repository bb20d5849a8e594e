"""Signals that end a command which runs for long, and a wait that they cut short."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What is under way has so long to end; the whole is promised within five seconds (promise 73).
_PATIENCE_SECONDS = 4.0
_INTERRUPTED = 130


class StopSignals:
    """Takes SIGTERM, SIGINT and SIGHUP for as long as it is entered (in the main thread).

    The first of them ends the wait that is under way and every later one; what else is under way (a service that does
    not answer) has four seconds, then the process ends where it stands. So do nothing under it that must not be killed.
    The second signal does what it does without us, so that somebody in a hurry is obeyed.

    ``exit_code`` is what to end with: 130 after SIGINT, as shells tell it, and 0 after what a supervisor sends.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, signal.Handlers | object] = {}
        self._reader, self._writer = -1, -1
        self.is_told = False
        self.exit_code = 0

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in _STOPPING:
            # Who starts us with a signal ignored (nohup) means it.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, seconds: float) -> bool:
        """Wait for so long, or until one of the signals has come; tell whether one has."""
        if not self.is_told:
            select.select([self._reader], [], [], max(0.0, seconds))
        return self.is_told

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.is_told = True
        self.exit_code = _INTERRUPTED if number == signal.SIGINT else 0
        signal.signal(signal.SIGALRM, lambda *_: os._exit(self.exit_code))
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)
        # A pipe, which stays readable: no moment between a look and the wait is lost.
        with suppress(OSError):
            os.write(self._writer, b".")
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type] # it is what signal.signal has given us
