"""A terminal, and somebody who types at it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# The first process of a session takes a terminal for it, and becomes the command.
_TAKE = """
import fcntl, os, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
os.close(int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""
_PATIENCE_SECONDS = 30.0


class Terminal:
    """A terminal with two ends: ``descriptor`` is that of a command, which must be passed to it."""

    def __init__(self) -> None:
        self._controller, self.descriptor = os.openpty()
        self.shown = b""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What comes before a command, in a session of its own, to make this its controlling terminal."""
        return sys.executable, "-I", "-S", "-c", _TAKE, str(self.descriptor)

    def wait_for(self, words: str) -> None:
        """Wait until it has shown these words, after those that were waited for before.

        Raises:
            AssertionError: it did not come to that.

        """
        ends_at = time.monotonic() + _PATIENCE_SECONDS
        seen = b""
        while words.encode() not in seen:
            part = self._read(max(0.0, ends_at - time.monotonic()))
            assert part, f"the terminal shows {seen!r}, but not {words!r}"
            seen += part
        self.shown += seen

    def type(self, words: str) -> None:
        os.write(self._controller, words.encode())

    def see_the_rest(self) -> bytes:
        """Take what it still shows; return all that it has ever shown."""
        while part := self._read(0):
            self.shown += part
        return self.shown

    def close(self) -> None:
        os.close(self.descriptor)  # not before: with nobody at it there would be no terminal to open
        os.close(self._controller)

    def _read(self, seconds: float) -> bytes:
        try:
            return os.read(self._controller, 4096) if select.select([self._controller], [], [], seconds)[0] else b""
        except OSError:  # how Linux says that nobody has the terminal open any more
            return b""


@contextmanager
def a_terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    try:
        yield terminal
    finally:
        terminal.close()


@dataclass(frozen=True, slots=True)
class AtTerminal:
    """A command that runs at a terminal; its standard streams are pipes all the same, as an SDK would have them."""

    process: subprocess.Popen[bytes]
    terminal: Terminal

    def finish(self) -> tuple[int, bytes, bytes]:
        """Wait for the end, and return exit code, standard output and standard error."""
        stdout, stderr = self.process.communicate(timeout=_PATIENCE_SECONDS)
        self.terminal.see_the_rest()
        return self.process.returncode, stdout, stderr


@contextmanager
def at_a_terminal(command: Sequence[str | Path], environment: Mapping[str, str], folder: Path) -> Iterator[AtTerminal]:
    """Run a command whose controlling terminal is a new one; what still runs in the end is killed."""
    pipe = subprocess.PIPE
    with (
        a_terminal() as terminal,
        subprocess.Popen(
            [*terminal.prefix, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env=dict(environment),
            cwd=folder,
            pass_fds=(terminal.descriptor,),
            start_new_session=True,
        ) as process,
    ):
        try:
            yield AtTerminal(process, terminal)
        finally:
            if process.poll() is None:
                process.kill()
