"""A file of a user, rewritten as a whole: locked, atomic, durable, and as the user had it.

A reader, and whoever comes after a power cut, sees the old content or the new. The new file has the owner, the group
and the SELinux label of the old one; its mode is the one asked for, or the old one's. Access control lists are kept
only with the old mode: under ``0600`` they would name users who may not read the file.

Who runs this may be root, who rewrites a user's file: then everything on the way must be nobody's but root's and that
one user's, the file becomes that user's, and so do directories that are made. Directories and links are walked one by
one and held open, so that nobody who swaps one of them in the middle gains anything. Given away is only what was made
here and now: whatever already has a name in a user's directory, he may have put there. And only a directory of the
user's gets something new that is his: his links may lead to where others trust every file, such as ``/etc/profile.d``.

Other programs know no lock of ours. One that is writing the file where it stands is waited for
(:mod:`rolesanywhere_helper.system.other_writers`). One that turns out to have begun just before the rename, and so
writes the file that has been replaced, gets its file back in place, and is waited for then. File systems without hard
links cannot do the latter. Nothing helps one that puts another file in place between our last look and our rename, two
system calls in a row: that file is lost.

============================  =================================================================================
``.NAME.lock``                beside the file; whoever has it (``flock``) rewrites. It stays, but for one of root's
                              beside a user's file, which would keep the user out: root removes that while it has
                              it. So whoever gets a lock looks whether it still has its name
``.NAME.new-PID-RANDOM``      the new content on its way, or the old one until it is clear that nobody was writing
                              it; one that was left by a process that was killed is swept away by the next one that
                              has the lock
============================  =================================================================================
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.errors import HelperError, UnsafeFileError, UnwritableFileError
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.system.other_writers import OtherWriters, version
from rolesanywhere_helper.system.turns import try_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rolesanywhere_helper.domain.ports import Clock

LARGEST = 8 << 20
# How long a program may take that is writing the file; whoever waits for the lock waits for longer than that.
OTHERS_SECONDS = 10.0
LOCK_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_ROOT = 0
_MOST_LINKS = 40  # as the kernel follows (path_resolution(7))
_CHUNK = 1 << 20
# What somebody saves while we rewrite the file is taken up, so many times.
_MOST_TRIES = 5
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# Who may pass a directory may not always list it (/home with mode 0711).
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WAY = getattr(os, "O_PATH", 0) | _DIRECTORY
_LABEL, _ACL = "security.selinux", "system.posix_acl_access"


class _ChangedMeanwhileError(Exception):
    """Somebody else, who does not know our lock, has written the file since it was read."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the file really is: the open directory, the name in it, and whose it is or will be.

    ``gid`` None leaves the group to the system. ``takes_new`` tells whether something new may be made there that is
    that user's; else there is a user's file in root's directory, and all that may be done is to replace it.
    """

    directory: int
    name: str
    uid: int
    gid: int | None
    takes_new: bool


@dataclass(frozen=True, slots=True)
class _Old:
    """The file that is to be replaced: open, as it was when nobody wrote it, and who may begin to."""

    descriptor: int
    found: os.stat_result
    others: OtherWriters


@dataclass(frozen=True, slots=True)
class _New:
    """The new file beside the old one."""

    name: str
    version: tuple[int, ...]


def rewrite(
    path: str, edit: Callable[[bytes | None], bytes], clock: Clock, *, mode: int | None = None, own: bool = False
) -> bool:
    """Replace a file's content by what ``edit`` makes of it (None: there is no file yet); tell whether it changed.

    ``path`` is absolute. ``mode`` are the permissions of the new file; None keeps the old ones, or 0600 for a new file.
    A file that would stay as it is is not touched, a mode that is wider than asked for is always narrowed. ``own``: in
    a directory of the caller's the file is the caller's too, although that directory lies in another user's home.

    Raises:
        UnsafeFileError: others could replace or redirect the file, or it is no plain file.
        UnwritableFileError: it cannot be written, another process keeps the lock, or another program keeps writing it;
            the old file is as it was.
        HelperError: what ``edit`` raises.

    """
    try:
        place = _Walk(path, own=own).to_file()
        try:
            with _locked(place, path, clock):
                _sweep(place)
                return _File(place, path, clock).rewrite(edit, mode)
        finally:
            os.close(place.directory)
    except OSError as error:
        raise _unwritable(path, error) from None


def read_if_there(path: str) -> bytes | None:
    """Return the content of a file that :func:`rewrite` would rewrite; None if there is none, or none to be had."""
    with suppress(OSError, HelperError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            return _read(descriptor, path) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        finally:
            os.close(descriptor)
    return None


# The way to the file


class _Walk:
    """The way to one file, walked as the kernel does, with everything on it judged while it is held open."""

    def __init__(self, path: str, *, own: bool) -> None:
        self._path = path
        self._own = own
        self._runner = os.geteuid()
        # The one user besides root whom things on the way belong to; root learns it there.
        self._user = self._runner or None
        self._links = 0
        # Whether a link led here that he made or may have moved: then not even a hint has root give him anything.
        self._is_led = False

    def to_file(self) -> _Place:
        """Open the file's directory; directories that are missing are made.

        Raises:
            UnsafeFileError: somebody else has a hand in it.
            OSError: as the system says.

        """
        pending = _parts(self._path)
        here = os.open("/", _WAY)
        shown = ""
        try:
            while True:
                name = pending.pop() if pending else ""
                if not name:
                    raise UnsafeFileError(f"{self._path} is a directory, not a file", "name the file in it")
                entry = _look(name, here)
                if entry is not None and stat.S_ISLNK(entry.st_mode):
                    here, shown = self._follow(name, here, shown, entry, pending)
                elif pending:
                    here, shown = self._enter(name, here, shown, entry)
                else:
                    uid, gid = self._owner(name, here, shown, entry)
                    takes_new = uid == self._runner or uid == os.fstat(here).st_uid
                    return _Place(os.open(".", _DIRECTORY, dir_fd=here), name, uid, gid, takes_new)
        finally:
            os.close(here)

    def _follow(self, name: str, here: int, shown: str, entry: os.stat_result, pending: list[str]) -> tuple[int, str]:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        above = os.fstat(here)
        self._meet(entry, above, f"the symbolic link {shown}/{name}")
        self._is_led = self._is_led or self._user in {entry.st_uid, above.st_uid}
        target = os.readlink(name, dir_fd=here)
        pending += _parts(target)
        if not target.startswith("/"):
            return here, shown
        top = os.open("/", _WAY)
        os.close(here)
        return top, ""

    def _enter(self, name: str, here: int, shown: str, entry: os.stat_result | None) -> tuple[int, str]:
        if entry is None:
            self._refuse_new(os.fstat(here), shown)
            self._make(name, here)
        inner = os.open(name, _WAY | os.O_NOFOLLOW, dir_fd=here)
        try:
            shown = os.path.normpath(f"{shown}/{name}")
            self._judge(os.fstat(inner), os.fstat(here), shown)
        except BaseException:
            os.close(inner)
            raise
        os.close(here)
        return inner, "" if shown == "/" else shown

    def _judge(self, found: os.stat_result, above: os.stat_result, shown: str) -> None:
        self._meet(found, above, f"the directory {shown}")
        if fastpath.can_others_write(found.st_mode, found.st_uid, found.st_gid):
            raise self._refusal(f"the directory {shown} can be written by others", f"chmod go-w {shown}")

    def _make(self, name: str, here: int) -> None:
        """Make a directory that its user can use, also where root makes it."""
        above = os.fstat(here)
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=here)
            if self._runner == _ROOT and self._user is not None:
                self._give_directory(name, here, above)

    def _give_directory(self, name: str, here: int, above: os.stat_result) -> None:
        """Give the directory that root has just made to the user, who may have put another one in its place by now.

        An empty one that only root may enter is as good as the one that was made.
        """
        inner = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        try:
            found = os.fstat(inner)
            is_as_made = found.st_uid == _ROOT and not found.st_mode & 0o077
            if not is_as_made or os.listdir(inner):  # noqa: PTH208 - a path could lead elsewhere by now
                raise self._refusal(f"somebody has replaced the new directory {name}", f"namei -l {self._path}")
            os.fchown(inner, above.st_uid, above.st_gid)
        finally:
            os.close(inner)

    def _refuse_new(self, above: os.stat_result, shown: str) -> None:
        """Refuse to make something for a user, who has a hand in the way here, in a directory that is not his."""
        if self._runner != _ROOT or self._user is None or above.st_uid == self._user:
            return
        shown = shown or "/"
        raise self._refusal(
            f"the directory {shown} belongs to user {above.st_uid}, and what is to be made in it to user {self._user}",
            self._give_hint(shown),
        )

    def _give_hint(self, shown: str) -> str:
        if self._is_led:
            return (
                f"name a file in a directory of user {self._user}; namei -l {self._path} shows the link that leads away"
            )
        return f"chown {self._user} {shown}"

    def _meet(self, found: os.stat_result, above: os.stat_result, what: str) -> None:
        """Judge something by its owner: it must be root's, or belong to the one user that all else belongs to."""
        uid = found.st_uid
        if uid in {_ROOT, self._runner} or fastpath.is_outside(uid):
            return
        # In a shared directory such as /tmp anybody may have put it in root's way.
        is_planted = bool(above.st_mode & stat.S_ISVTX and above.st_mode & stat.S_IWOTH)
        if self._user is None and not is_planted:
            self._user = uid
        if uid != self._user:
            raise self._refusal(
                f"{what} on the way to it belongs to user {uid}", f"namei -l {self._path} shows the way"
            )

    def _owner(self, name: str, here: int, shown: str, entry: os.stat_result | None) -> tuple[int, int | None]:
        """Judge the file and its directory; return whose it is, or whose it is to be."""
        above = os.fstat(here)
        if above.st_mode & stat.S_IWOTH:
            raise self._refusal(
                f"everybody can write the directory {shown or '/'}", "put it into a directory of its own"
            )
        if self._own and not self._is_led and above.st_uid == self._runner and _is_file_of(entry, self._runner):
            return self._runner, None if entry is None else entry.st_gid
        if entry is None:
            self._refuse_new(above, shown)
            return (self._runner, None) if self._user in {None, self._runner} else (self._user or 0, above.st_gid)
        if not stat.S_ISREG(entry.st_mode):
            raise self._refusal("it is not a plain file", f"ls -l {self._path}")
        self._meet(entry, above, f"the file {shown}/{name}")
        if self._user is not None and entry.st_uid != self._user:
            raise self._refusal(
                f"the file belongs to user {entry.st_uid}, but the way to it to user {self._user}",
                self._give_hint(f"{shown}/{name}"),
            )
        return entry.st_uid, entry.st_gid

    def _refusal(self, why: str, hint: str) -> UnsafeFileError:
        return UnsafeFileError(f"{self._path} is not written: {why}", hint)


def _is_file_of(entry: os.stat_result | None, uid: int) -> bool:
    """Tell whether there is nothing yet, or a plain file of a user's."""
    return entry is None or (stat.S_ISREG(entry.st_mode) and entry.st_uid == uid)


def _look(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _parts(path: str) -> list[str]:
    """Split a path into its components, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


# The lock, and what killed processes left


@contextmanager
def _locked(place: _Place, path: str, clock: Clock) -> Iterator[None]:
    name = f".{place.name}.lock"
    descriptor = _take_lock(place, name, path, clock)
    try:
        yield
    finally:
        if _keeps_the_user_out(os.fstat(descriptor), place):
            _remove(place, name)
        os.close(descriptor)


def _take_lock(place: _Place, name: str, path: str, clock: Clock) -> int:
    shown = f"{os.path.dirname(path)}/{name}"  # noqa: PTH120 - text for a message
    deadline = clock.monotonic() + LOCK_SECONDS
    while True:
        descriptor = _open_lock(place, name, path, shown)
        if descriptor is not None:
            is_ours = False
            try:
                is_ours = try_lock(descriptor) and _has_name(descriptor, name, place)
            finally:
                if not is_ours:
                    os.close(descriptor)
            if is_ours:
                return descriptor
        if clock.monotonic() > deadline:
            raise UnwritableFileError(
                f"{path} is not written: another process has had its lock for {LOCK_SECONDS:.0f} seconds",
                f"fuser -v {shown} shows which one",
            )
        clock.sleep(_LOOK_SECONDS)


def _has_name(descriptor: int, name: str, place: _Place) -> bool:
    now = _look(name, place.directory)
    return now is not None and os.path.samestat(now, os.fstat(descriptor))


def _keeps_the_user_out(lock: os.stat_result, place: _Place) -> bool:
    """Tell whether a lock is root's beside a user's file: made so in root's directory, or left by a killed process."""
    return os.geteuid() == _ROOT != place.uid and lock.st_uid == _ROOT and not lock.st_size


def _open_lock(place: _Place, name: str, path: str, shown: str) -> int | None:
    """Make the lock, or open one that can only be a lock. It is given away only where it was made by this very call.

    None: it has been removed meanwhile.
    """
    entry = _look(name, place.directory)
    if entry is None:
        with suppress(FileExistsError):
            return _make_lock(place, name)
        entry = _look(name, place.directory)
    _judge_lock(entry, place, path, shown)
    try:
        descriptor = os.open(name, os.O_RDWR | _OPEN, dir_fd=place.directory)
    except FileNotFoundError:
        return None
    except PermissionError:
        owner = "nobody" if entry is None else f"user {entry.st_uid}"
        raise UnwritableFileError(
            f"{path} is not written: its lock {shown} belongs to {owner} and cannot be opened", f"rm -f {shown}"
        ) from None
    try:
        _judge_lock(os.fstat(descriptor), place, path, shown)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _make_lock(place: _Place, name: str) -> int:
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=place.directory)
    try:
        if place.takes_new:
            _give(descriptor, place)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(name, dir_fd=place.directory)
        raise
    return descriptor


def _judge_lock(found: os.stat_result | None, place: _Place, path: str, shown: str) -> None:
    """Refuse what is no lock of this program's: the user of the directory can give its name to anything he finds there.

    Raises:
        UnsafeFileError: it is that.

    """
    if found is None:
        return
    if not stat.S_ISREG(found.st_mode):
        why = "is not a plain file"
    elif found.st_nlink > 1:
        why = "has a second name (it is hard-linked)"
    elif found.st_uid not in {place.uid, os.geteuid(), _ROOT}:
        why = f"belongs to user {found.st_uid}"
    else:
        return
    raise UnsafeFileError(
        f"{path} is not written: its lock {shown} {why}", f"look what it is (ls -l {shown}), and move it away"
    )


def _sweep(place: _Place) -> None:
    # Exactly: the lock of a file called NAME.new-2 begins in the same way.
    ours = re.compile(rf"\.{re.escape(place.name)}\.new-[0-9]+-[0-9a-f]{{8}}")
    for name in os.listdir(place.directory):  # noqa: PTH208 - a path could lead elsewhere by now
        if ours.fullmatch(name):
            _remove(place, name)


def _temporary_name(place: _Place) -> str:
    return f".{place.name}.new-{os.getpid()}-{os.urandom(4).hex()}"


# The file itself


class _File:
    """The file of a place, under its lock."""

    def __init__(self, place: _Place, path: str, clock: Clock) -> None:
        self._place = place
        self._path = path
        self._clock = clock
        self._deadline = clock.monotonic() + OTHERS_SECONDS

    def rewrite(self, edit: Callable[[bytes | None], bytes], mode: int | None) -> bool:
        for _ in range(_MOST_TRIES):
            with suppress(_ChangedMeanwhileError):
                return self._rewrite_once(edit, mode)
        raise self._busy("something else writes it all the time")

    def _rewrite_once(self, edit: Callable[[bytes | None], bytes], mode: int | None) -> bool:
        descriptor = _open_old(self._place)
        if descriptor is None:
            self._refuse_new()
            self._create(edit(None), 0o600 if mode is None else mode)
            return True
        try:
            others = OtherWriters(descriptor, self._clock)
            found = others.wait_until_gone(self._deadline)
            if found is None:
                raise self._busy(f"for {OTHERS_SECONDS:.0f} seconds another program has been writing it")
            before = _read(descriptor, self._path)
            if not others.are_gone(found):
                raise _ChangedMeanwhileError
            old = _Old(descriptor, found, others)
            content = edit(before)
            wanted = found.st_mode & 0o777 if mode is None else mode
            if found.st_mode & 0o777 & ~wanted:
                os.fchmod(descriptor, wanted)
            if content == before:
                return False
            self._replace(old, content, wanted)
        finally:
            os.close(descriptor)
        return True

    def _refuse_new(self) -> None:
        if not self._place.takes_new:
            uid = self._place.uid
            raise UnsafeFileError(
                f"{self._path} is not written: the file of user {uid} has gone, and its directory is another user's",
                f"namei -l {self._path}",
            )

    def _create(self, content: bytes, mode: int) -> None:
        """Put a first file in place; one that somebody else has put there meanwhile stays."""
        with _beside(self._place, content, mode, None) as new:
            if not self._linked(new.name, self._place.name):
                self._refuse_changed(None)
                self._rename(new.name)
        os.fsync(self._place.directory)

    def _replace(self, old: _Old, content: bytes, mode: int) -> None:
        with _beside(self._place, content, mode, old) as new, self._kept(old) as kept:
            if not old.others.are_gone(old.found):
                raise _ChangedMeanwhileError
            # Last, since nothing can be found out about it afterwards: somebody has put another file in place.
            self._refuse_changed(old)
            self._rename(new.name)
            os.fsync(self._place.directory)
            if not old.others.stay_away(old.found):
                self._put_back(kept, new)
                raise _ChangedMeanwhileError

    def _put_back(self, kept: str | None, new: _New) -> None:
        """Give the name back to the file that somebody is writing, unless the name is a third one's by now."""
        now = _look(self._place.name, self._place.directory)
        if kept is not None and now is not None and version(now) == new.version:
            self._rename(kept)
            os.fsync(self._place.directory)

    @contextmanager
    def _kept(self, old: _Old) -> Iterator[str | None]:
        """Keep a second name for the old file, by which it can be put back; None where there are no hard links."""
        name = _temporary_name(self._place)
        is_kept = self._linked(self._place.name, name)
        try:
            kept = _look(name, self._place.directory) if is_kept else None
            if kept is not None and version(kept) != version(old.found):
                raise _ChangedMeanwhileError
            yield name if is_kept else None
        finally:
            _remove(self._place, name)

    def _linked(self, name: str, other: str) -> bool:
        directory = self._place.directory
        try:
            os.link(name, other, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        except (FileExistsError, FileNotFoundError):
            raise _ChangedMeanwhileError from None
        except OSError:
            return False
        return True

    def _rename(self, name: str) -> None:
        directory = self._place.directory
        os.rename(name, self._place.name, src_dir_fd=directory, dst_dir_fd=directory)

    def _refuse_changed(self, old: _Old | None) -> None:
        now = _look(self._place.name, self._place.directory)
        if (None if now is None else version(now)) != (None if old is None else version(old.found)):
            raise _ChangedMeanwhileError

    def _busy(self, why: str) -> UnwritableFileError:
        return UnwritableFileError(
            f"{self._path} is not written: {why}", f"lsof {self._path}, or fuser -v {self._path}, shows what"
        )


def _open_old(place: _Place) -> int | None:
    try:
        descriptor = os.open(place.name, os.O_RDONLY | _OPEN, dir_fd=place.directory)
    except FileNotFoundError:
        return None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != place.uid:  # it was judged a moment ago
        os.close(descriptor)
        raise _ChangedMeanwhileError
    return descriptor


def _read(descriptor: int, path: str) -> bytes:
    parts: list[bytes] = []
    while part := os.read(descriptor, _CHUNK):
        parts.append(part)
        if len(parts) * _CHUNK > LARGEST:
            raise UnsafeFileError(f"{path} is larger than {LARGEST} bytes", "check the path: that is no AWS file")
    return b"".join(parts)


@contextmanager
def _beside(place: _Place, content: bytes, mode: int, old: _Old | None) -> Iterator[_New]:
    """Write the new content beside the file, private from birth; what is left of it in the end is removed."""
    name = _temporary_name(place)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN
    descriptor = os.open(name, flags, 0o600, dir_fd=place.directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _give(descriptor, place)
            file.write(content)
            file.flush()
            if old is not None:
                is_same_group = os.fstat(descriptor).st_gid == old.found.st_gid
                mode = mode if is_same_group else _without_group(mode)
                keeps_acl = is_same_group and mode == old.found.st_mode & 0o777
                _keep_attributes(old.descriptor, descriptor, keeps_acl=keeps_acl)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
            new = _New(name, version(os.fstat(descriptor)))
        yield new
    finally:
        _remove(place, name)


def _remove(place: _Place, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=place.directory)


def _give(descriptor: int, place: _Place) -> None:
    """Give an open file of ours to whom it is for, and to the group if we may."""
    found = os.fstat(descriptor)
    if found.st_uid != place.uid and os.geteuid() == _ROOT:
        os.fchown(descriptor, place.uid, -1)
    if place.gid is not None and found.st_gid != place.gid:
        with suppress(OSError):
            os.fchown(descriptor, -1, place.gid)


def _without_group(mode: int) -> int:
    """Return the mode for another group than it was meant for: nobody but the owner gains a right by that.

    The new group gets no more than everybody had, and everybody, to whom the old group belongs now, no more than that
    group had.
    """
    common = (mode >> 3) & mode & 0o007
    return mode & 0o700 | common << 3 | common


def _keep_attributes(old: int, new: int, *, keeps_acl: bool) -> None:
    """Give the new file the label and, with the same mode, the access control list of the old one, if it has any."""
    for name in (_LABEL, _ACL) if keeps_acl else (_LABEL,):
        with suppress(OSError):
            os.setxattr(new, name, os.getxattr(old, name))


def _unwritable(path: str, error: OSError) -> UnwritableFileError:
    what = f"{path} cannot be written: {error.strerror or type(error).__name__}"
    directory = os.path.dirname(path)  # noqa: PTH120 - text for a message
    match error.errno:
        case errno.EBUSY:
            return UnwritableFileError(what, f"it is mounted by itself: mount its directory {directory} instead")
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return UnwritableFileError(what, f"make room (df -h {directory}, quota), or raise the limit (ulimit -f)")
        case errno.EROFS:
            return UnwritableFileError(
                what, f"in a systemd service: ReadWritePaths={directory}; else name another file with --file"
            )
        case _:
            return UnwritableFileError(what, f"namei -l {path} shows who may; the directory must be writable too")
