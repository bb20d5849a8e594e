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


class StopSignals:
    """Takes SIGTERM, SIGINT and SIGHUP for as long as it is entered (in the main thread).

    The first of them ends the wait that is under way and every later one. The second does what it does without us, so
    that somebody in a hurry is obeyed.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, signal.Handlers | object] = {}
        self._reader, self._writer = -1, -1
        self.is_told = False

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
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, seconds: float) -> bool:
        """Wait for so long, or until one of the signals has come; tell whether one has."""
        if not self.is_told:
            select.select([self._reader], [], [], max(0.0, seconds))
        return self.is_told

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.is_told = True
        # A pipe, which stays readable: no moment between a look and the wait is lost.
        with suppress(OSError):
            os.write(self._writer, b".")
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type] # it is what signal.signal has given us
