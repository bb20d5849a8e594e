"""Whether a program that knows no lock of ours is in the middle of writing a file.

The AWS CLI, shells and many editors empty a file where it stands and write it anew: for a moment it is empty, or has
half of its content. On Linux the kernel can tell: it grants a read lease only while nobody has the file open for
writing (``F_SETLEASE`` of fcntl(2)). The lease is given back at once, so nobody waits for us. Where the file system has
none (NFS, some FUSE), a file counts as whole once it has stood still for a while. An empty file has to stand still
longer, lease or not: a program may close it between emptying and writing.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.ports import Clock

STILL_SECONDS = 0.25
EMPTY_SECONDS = 2.0
_LOOK_SECONDS = 0.02


class OtherWriters:
    """The other programs that may be writing one open file, which stays the same file whatever becomes of its name."""

    def __init__(self, descriptor: int, clock: Clock) -> None:
        self._descriptor = descriptor
        self._clock = clock

    def wait_until_gone(self, deadline: float) -> os.stat_result | None:
        """Wait until the file is whole, and return its state; None if ``deadline`` (monotonic clock) comes first."""
        seen = version(os.fstat(self._descriptor))
        since = self._clock.monotonic()
        while True:
            found = os.fstat(self._descriptor)
            if version(found) != seen:
                seen, since = version(found), self._clock.monotonic()
            if self._is_whole(found, self._clock.monotonic() - since):
                return found
            if self._clock.monotonic() >= deadline:
                return None
            self._clock.sleep(_LOOK_SECONDS)

    def are_gone(self, known: os.stat_result) -> bool:
        """Tell whether the file is as it was, and nobody is known to have it open for writing."""
        # In this order: who writes and closes it in between has changed it.
        return not is_open_for_writing(self._descriptor) and version(os.fstat(self._descriptor)) == version(known)

    def stay_away(self, known: os.stat_result) -> bool:
        """Tell the same, and where the kernel does not know who has it open, look for ``STILL_SECONDS``."""
        if is_open_for_writing(self._descriptor) is None and self.are_gone(known):
            self._clock.sleep(STILL_SECONDS)
        return self.are_gone(known)

    def _is_whole(self, found: os.stat_result, watched_seconds: float) -> bool:
        is_open = is_open_for_writing(self._descriptor)
        if is_open is not None and (is_open or found.st_size):
            return not is_open
        needed = STILL_SECONDS if found.st_size else EMPTY_SECONDS
        # A wall clock that was set back makes the age negative: then only what was watched counts.
        return max(watched_seconds, self._clock.now() - found.st_mtime) >= needed


def version(found: os.stat_result) -> tuple[int, ...]:
    """Return what differs once somebody has put another file in place, or has written to it."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def is_open_for_writing(descriptor: int) -> bool | None:
    """Tell whether anybody has a file open for writing that we have open for reading; None if that cannot be known."""
    import fcntl  # noqa: PLC0415 - not everywhere

    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        # Who opens it in between is announced by a signal, and SIGIO, the usual one, would end this process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
