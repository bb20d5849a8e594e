"""Taking turns between processes: one leads, the others wait, and nobody waits for ever.

The lock is ``flock`` on a file, which the kernel gives back when its holder dies. A holder that was *stopped* still has
it, so the holder writes down how long it may take, and when that is over the others queue at the next file. So at most
one more process at a time tries, however many wait (promise 35).
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.domain.ports import Clock
    from rolesanywhere_helper.system.private_directory import PrivateDirectory

# So many leaders would have to be stopped one after the other before nobody else can lead any more.
_LOCKS = 16
GRACE_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Turns:
    """The right to lead, for one name in a directory."""

    def __init__(self, directory: PrivateDirectory, name: str, clock: Clock) -> None:
        self._directory = directory
        self._name = name
        self._clock = clock
        self._seen: dict[str, tuple[bytes, float]] = {}

    @contextmanager
    def try_lead(self, seconds: float) -> Iterator[bool]:
        """Try to lead for at most ``seconds``; yields whether this process leads. It does not wait.

        Ask again until it does, or until the leader has brought what is wanted. A leader that is ``GRACE_SECONDS``
        over its time no longer keeps others from leading. Where there can be no lock (a read-only directory), everybody
        leads: that is what having no cache means.
        """
        try:
            descriptor = self._take(seconds)
        except OSError as error:
            _log.debug("no lock in %s: %s", self._directory.path, error.strerror)
            yield True
            return
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                _give_back(descriptor)

    def _take(self, seconds: float) -> int | None:
        """Return the descriptor of a lock, or None while somebody leads who is within its time."""
        for index in range(_LOCKS):
            name = f"{self._name}.lock" + (f".{index}" if index else "")
            descriptor = self._directory.open(name, os.O_RDWR | os.O_CREAT)
            if try_lock(descriptor):
                with suppress(OSError):  # a full disk: the lock is what counts
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, b"%.3f %d" % (self._clock.monotonic() + seconds, os.getpid()), 0)
                return descriptor
            written = os.pread(descriptor, 64, 0)
            os.close(descriptor)
            if not self._is_overdue(name, written, seconds):
                return None
        return None

    def _is_overdue(self, name: str, written: bytes, seconds: float) -> bool:
        """Judge a holder by what it wrote, and by how long we have seen it there (it may not have written yet)."""
        now = self._clock.monotonic()
        content, first_seen = self._seen.setdefault(name, (written, now))
        if content != written:
            self._seen[name] = (written, now)
            return False
        try:
            deadline = float(written.split(b" ")[0])
        except ValueError:
            deadline = first_seen + seconds
        # A deadline further away than anybody takes was written before a reboot.
        deadline = min(deadline, first_seen + seconds)
        return now > deadline + GRACE_SECONDS and now > first_seen


def _give_back(descriptor: int) -> None:
    # Empty means "just taken": nobody may be judged by what an earlier holder wrote.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process alone, without waiting; tell whether that is so now."""
    import fcntl  # noqa: PLC0415 - not everywhere; where it is missing there is no cache on disk either

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
