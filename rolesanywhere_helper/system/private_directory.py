"""A directory in which secrets rest: private from birth, written atomically, durable.

Everything inside is reached through one open descriptor of the directory, so that somebody who swaps it for another one
(or for a link) in the middle of a write gains nothing: the write ends in the directory that was checked.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.errors import UnsafeFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

_LARGEST = 1 << 16
_TEMPORARY = ".new-"
# A write takes milliseconds: a temporary file older than this was left by a process that was killed.
_ABANDONED_SECONDS = 60
# No session lasts longer than twelve hours: what nobody wrote for so long belongs to a certificate or role of the past.
_USELESS_SECONDS = 48 * 3600


class PrivateDirectory:
    """An open, checked directory of this process's user with mode 0700. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the directory, make it if it is not there, and take everybody else's rights away.

        Raises:
            UnsafeFileError: somebody else could read or replace what is written into it (promise 39).
            OSError: it cannot be made or opened.

        """
        self.path = path.absolute()
        _make(self.path)
        _refuse_what_others_control(self.path)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self.path, flags)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise _refusal(self.path, "is a symbolic link") from None
            raise
        entry = os.fstat(self._descriptor)
        if entry.st_uid != os.geteuid():
            self.close()
            raise _refusal(self.path, f"belongs to user {entry.st_uid}")
        if entry.st_mode & 0o077:
            os.fchmod(self._descriptor, 0o700)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if it is not there or not ours alone (a broken cache is a miss)."""
        try:
            descriptor = self.open(name, os.O_RDONLY)
        except OSError:
            return None
        try:
            return os.read(descriptor, _LARGEST) if _is_ours_alone(os.fstat(descriptor)) else None
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def write(self, name: str, content: bytes) -> None:
        """Put a file in place: a reader, and whoever comes after a power cut, sees the old content or the new.

        Raises:
            OSError: it could not be written; the old content stands.

        """
        temporary = f"{_TEMPORARY}{name}-{os.getpid()}-{os.urandom(4).hex()}"
        descriptor = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            os.rename(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            self.remove(temporary)
            raise
        os.fsync(self._descriptor)

    def open(self, name: str, flags: int) -> int:
        """Open a file in here, never through a link and never waiting for a FIFO's other end; return its descriptor.

        Raises:
            OSError: as the system says.

        """
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode=0o600, dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)

    def wait_until(self, name: str, moment: float) -> None:
        """Set a file's modification time, which says when something may be done again (see ``fastpath``)."""
        with suppress(OSError):
            os.utime(name, (moment, moment), dir_fd=self._descriptor, follow_symlinks=False)

    def sweep(self, prefix: str, now: float) -> None:
        """Remove what killed writers of names with this prefix left, and what nobody can want any more.

        Call it under the lock of those names: nobody else can be writing them then.
        """
        for name, changed_at in self._entries(""):
            age = now - changed_at
            if name.startswith(_TEMPORARY):
                is_useless = name.startswith(_TEMPORARY + prefix) or age > _ABANDONED_SECONDS
            else:
                is_useless = not name.startswith(prefix) and age > _USELESS_SECONDS
            if is_useless:
                self.remove(name)

    def keep_newest(self, prefix: str, most: int) -> None:
        """Remove the oldest files whose names begin with ``prefix`` until ``most`` are left."""
        found = sorted(self._entries(prefix), key=lambda entry: entry[1])
        for name, _ in found[: max(0, len(found) - most)]:
            self.remove(name)

    def _entries(self, prefix: str) -> Iterator[tuple[str, float]]:
        for name in os.listdir(self._descriptor):  # noqa: PTH208 - a path could lead elsewhere by now
            if name.startswith(prefix):
                with suppress(OSError):
                    yield name, os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mtime


def _make(path: Path) -> None:
    # One by one: with `parents=True` those above would get the umask's mode, and a cache's parents are often new.
    for step in reversed([path, *path.parents]):
        with suppress(FileExistsError):
            if not os.path.lexists(step):
                step.mkdir(mode=0o700)


def _refuse_what_others_control(path: Path) -> None:
    for form in (path, path.parent.resolve() / path.name):
        why = fastpath.why_not_private(os.fsencode(form))
        # A mode that is too wide is mended once the directory is open.
        if why and not why.startswith("has mode"):
            raise _refusal(path, why)


def _refusal(path: Path, why: str) -> UnsafeFileError:
    return UnsafeFileError(
        f"the cache directory {path} {why}",
        "set ROLESANYWHERE_HELPER_CACHE_DIR to a directory that only this user can write, for example ~/.cache/"
        "rolesanywhere-helper",
    )


def _is_ours_alone(entry: os.stat_result) -> bool:
    return (
        stat.S_ISREG(entry.st_mode)
        and entry.st_uid == os.geteuid()
        and not entry.st_mode & 0o077
        and entry.st_nlink == 1
        and entry.st_size <= _LARGEST
    )
