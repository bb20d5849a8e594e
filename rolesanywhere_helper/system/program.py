"""A program that runs in this process's place at the terminal: started, told of signals, waited for.

It stays in this process's group, as with env(1) and sudo(8): what a terminal sends (Ctrl-C, Ctrl-Z) reaches it by
itself, and it may read from the terminal. So only what was sent to this process alone is passed on.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import ProgramNotFoundError, ProgramNotStartedError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import NoReturn

_FROM_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)
# Those that end a wait, where there is no program yet.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (*ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
# Python ignores them, and what is ignored stays so in the new program.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_KILLED = 128


@dataclass(frozen=True, slots=True)
class Arrived:
    """A signal; ``is_from_kernel`` tells that no process has sent it (``si_code``, sigaction(2))."""

    number: int
    is_from_kernel: bool = False

    @property
    def has_reached_the_group(self) -> bool:
        """Whether a terminal has sent it, to each process of the group."""
        return self.is_from_kernel and self.number in _FROM_THE_TERMINAL


class Signals:
    """Takes signals from now on, with what a handler is not told: who sent them.

    They are blocked in this process, and a thread reads them one by one. Make it while there is no other thread.
    ``tell`` is called in that thread; SIGCHLD is among what it is told. What :func:`held_back` has kept is told first.
    """

    def __init__(self, tell: Callable[[Arrived], None]) -> None:
        # Where it is ignored, the system would reap the program before anybody asks how it ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._tell = tell
        self._taken = {*PASSED_ON, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)
        threading.Thread(target=self._read, name="rolesanywhere-signals", daemon=True).start()

    def _read(self) -> None:
        while True:
            found = signal.sigwaitinfo(self._taken)
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                self._tell(Arrived(found.si_signo, is_from_kernel=found.si_code > 0))


@contextmanager
def held_back() -> Iterator[frozenset[int]]:
    """Let no signal end this process before what is made inside has been removed; give the mask from before.

    A signal waits until :class:`Signals` takes it, or until the end of this.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield frozenset(before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Program:
    """A program that was started; it has this process's standard streams and whatever else is not to be closed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], mask: frozenset[int]) -> None:
        """Start it, found on PATH as execvp(3) does.

        Raises:
            ProgramNotFoundError: it is not there.
            ProgramNotStartedError: it cannot be run.

        """
        words = list(command)
        try:
            self.pid = os.posix_spawnp(words[0], words, environment, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON)
        except OSError as error:
            raise_not_started(command[0], error)

    def look(self) -> int | None:
        """Return its exit code if it has ended (128 + the signal that killed it), without waiting.

        Where it was stopped alone, this process stops too, so that the shell gets its terminal back; both go on
        together.
        """
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return None
        if os.WIFSTOPPED(status):
            if _is_in_foreground():
                os.kill(os.getpid(), signal.SIGSTOP)
                self.send(signal.SIGCONT)
            return None
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else _KILLED - code

    def send(self, number: int) -> None:
        """Send it a signal; it has not been waited for, so its number is still its own."""
        with suppress(ProcessLookupError, PermissionError):  # a set-user-ID program of somebody else
            os.kill(self.pid, number)


def become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Run a program in the place of this one.

    Raises:
        ProgramNotFoundError: it is not there.
        ProgramNotStartedError: it cannot be run.

    """
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _IGNORED_BY_PYTHON}
    try:
        os.execvpe(command[0], list(command), dict(environment))  # noqa: S606 - to run a program is what was asked for
    except OSError as error:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise_not_started(command[0], error)


def raise_not_started(name: str, error: OSError) -> NoReturn:
    """Say why a program does not run.

    Raises:
        ProgramNotFoundError, ProgramNotStartedError: always.

    """
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        raise ProgramNotFoundError(f"the program {name!a} is not there") from None
    raise ProgramNotStartedError(f"the program {name!a} cannot be run: {error.strerror}") from None


def _is_in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # there is none
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
