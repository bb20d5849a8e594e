"""A directory for one run of a program: nobody else's from birth, and gone at its end.

A run that is killed (SIGKILL) cannot remove its own. So each holds a lock (``flock``) on its directory for as long as
it lives, which the kernel gives back when it dies: the next run at the same place removes those of this user that
nobody holds. The lock is the directory's own, in whatever PID namespace its holder is. Whoever has made a directory and
could not lock it, or finds it gone, has met such a run in the very moment between, and makes another.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.errors import UnwritableFileError
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.system.turns import try_lock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_PREFIX = "rolesanywhere-helper-exec-"
_NAME_BYTES = 8
_NAME = re.compile(rf"{_PREFIX}[0-9a-f]{{{2 * _NAME_BYTES}}}")
_MODE = 0o700
_MOST_TRIES = 5
# In a place such as /tmp anybody may put as many names of this form as they like.
_MOST_LOOKED_AT = 1_000
_DEEPEST = 64
# Who may write a place may not always list it.
_WAY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Made:
    """A directory: the descriptors of the place where it is and of itself, which keeps its lock, and its name."""

    place: int
    descriptor: int
    name: str

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self.place)

    def remove(self) -> None:
        """Remove it with all in it that this user may remove; a link goes, and what it leads to stays."""
        with suppress(OSError):
            _empty(self.descriptor, _mount_of(self.descriptor), _DEEPEST)
            os.rmdir(self.name, dir_fd=self.place)


class RunDirectory:
    """Makes the directory when it is entered, and removes it with everything in it.

    It lies in ``XDG_RUNTIME_DIR`` or ``TMPDIR``, if one of them can be written, and otherwise in ``/tmp``. Its name
    cannot be guessed, and it is never one that was there already.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        named = (environment.get(name, "") for name in ("XDG_RUNTIME_DIR", "TMPDIR"))
        self._places = (*(place for place in named if place.startswith("/")), "/tmp")  # noqa: S108 - mode 0700, no name to guess
        self._made: _Made | None = None
        self.path = ""

    def __enter__(self) -> Self:
        """Make it, and remove what runs that were killed have left beside it.

        Raises:
            UnwritableFileError: it cannot be made anywhere.

        """
        said = ""
        for place in self._places:
            try:
                made = _make(place)
            except OSError as error:
                said = f"{place}: {error.strerror}"
            else:
                self._made = made
                self.path = f"{place.rstrip('/')}/{made.name}"
                with suppress(OSError):
                    _sweep(place)
                return self
        raise UnwritableFileError(f"no private directory can be made ({said})", "set TMPDIR to one that you can write")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._made is not None:
            self._made.remove()
            self._made.close()

    def write(self, name: str, content: bytes) -> str:
        """Put a new file there that only this user can read; return its path.

        Raises:
            UnwritableFileError: it cannot be written.

        """
        path = f"{self.path}/{name}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except OSError as error:
            raise UnwritableFileError(
                f"{path} cannot be written: {error.strerror}", "see whether the disk is full"
            ) from None
        return path


def _make(path: str) -> _Made:
    """Make a locked directory at a place.

    Raises:
        OSError: it cannot be made there.

    """
    place = os.open(path, _WAY)
    try:
        made = next((found for found in (_try_to_make(place) for _ in range(_MOST_TRIES)) if found is not None), None)
    except BaseException:
        os.close(place)
        raise
    if made is None:
        os.close(place)
        raise FileNotFoundError(errno.ENOENT, "what is made there is removed at once")
    return made


def _try_to_make(place: int) -> _Made | None:
    name = f"{_PREFIX}{os.urandom(_NAME_BYTES).hex()}"
    os.mkdir(name, _MODE, dir_fd=place)
    try:
        made = _Made(place, os.open(name, _DIRECTORY, dir_fd=place), name)
    except FileNotFoundError:
        return None
    if _is_held(made):
        return made
    os.close(made.descriptor)
    return None


def _is_held(made: _Made) -> bool:
    """Lock a new directory; tell whether it is this run's, and still there."""
    try:
        if not try_lock(made.descriptor):
            return False
    except OSError:  # a file system without locks, where nobody sweeps either
        return True
    return _is_there(made)


def _is_there(made: _Made) -> bool:
    try:
        found = os.stat(made.name, dir_fd=made.place, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(made.descriptor))


# What killed runs have left


def _sweep(path: str) -> None:
    place = os.open(path, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        if _can_others_rename(os.fstat(place)):
            return
        named = [each for each in os.listdir(place) if _NAME.fullmatch(each)]  # noqa: PTH208 - a path could lead elsewhere
        for name in named[:_MOST_LOOKED_AT]:
            with suppress(OSError):
                _remove_if_dead(place, name)
    finally:
        os.close(place)


def _can_others_rename(place: os.stat_result) -> bool:
    """Tell whether others could give a directory of ours the name of one that is to be swept."""
    is_anothers = place.st_uid not in {0, os.geteuid()}
    return is_anothers or fastpath.can_others_write(place.st_mode, place.st_uid, place.st_gid)


def _is_ours(found: os.stat_result) -> bool:
    """Tell whether it is as we make one; in a set-group-ID place it is born with that bit."""
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o777 == _MODE


def _remove_if_dead(place: int, name: str) -> None:
    if not _is_ours(os.stat(name, dir_fd=place, follow_symlinks=False)):  # opening a FIFO or device could do something
        return
    descriptor = os.open(name, _DIRECTORY, dir_fd=place)
    try:
        if _is_ours(os.fstat(descriptor)) and try_lock(descriptor):
            _Made(place, descriptor, name).remove()
    finally:
        os.close(descriptor)


def _mount_of(descriptor: int) -> bytes | None:
    """Return the number of the mount that an open directory is in (proc_pid_fdinfo(5)), or None where none is told.

    The device is not enough: a bind mount of the same file system has the same one.
    """
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:  # noqa: PTH123 - pathlib is not needed here
            return next((line.split()[1] for line in file if line.startswith(b"mnt_id:")), None)
    except OSError:
        return None


def _empty(directory: int, mount: bytes | None, deepest: int) -> None:
    """Remove what is in an open directory, each on its own; what is, or could be, mounted there is not entered."""
    for name in os.listdir(directory):
        with suppress(OSError):
            _remove(name, directory, mount, deepest)


def _remove(name: str, directory: int, mount: bytes | None, deepest: int) -> None:
    with suppress(IsADirectoryError, PermissionError):  # PermissionError: what POSIX has unlink(2) say of a directory
        os.unlink(name, dir_fd=directory)
        return
    inner = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        if deepest and mount is not None and _mount_of(inner) == mount:
            with suppress(OSError):  # some programs take writing away from their caches
                os.fchmod(inner, _MODE)
            _empty(inner, mount, deepest - 1)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=directory)
