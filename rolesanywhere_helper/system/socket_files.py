"""Whether a unix socket is one that a client may believe.

Whoever can put a socket in the place that a client asks can hand it credentials of an account of their own. So the
socket, its directory, and every directory and symbolic link on the way to it must belong to somebody trusted and be
writable by nobody else (sticky directories aside, where only the owner of an entry can replace it).

Trusted are root and the user who asks. A socket that the user's configuration *names* may also belong to a third one,
the daemon's user, and so may the directory it lies in (as systemd's RuntimeDirectory does), if only the trusted can
have put it there: then nothing above may be writable by others, sticky or not.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.errors import UnsafeFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ROOT = 0
_MOST_LINKS = 40  # as Linux (path_resolution(7))
_Step = tuple[str, os.stat_result]


def socket_owners(path: str, *, is_named: bool) -> frozenset[int]:
    """Return the users that may answer on a socket: root, our own and, if it may be somebody else's, that one.

    Raises:
        UnsafeFileError: somebody who is not trusted could have put the socket there, or it is none.
        OSError: it is not there, or cannot be looked at.

    """
    trusted = frozenset({_ROOT, os.geteuid()})
    *way, (reached, entry) = _walk(path if path.startswith("/") else f"{os.getcwd()}/{path}")  # noqa: PTH109 - no use for a Path
    if not stat.S_ISSOCK(entry.st_mode):
        raise _refusal(reached, "is not a socket")
    above, directory = _apart(way, reached)
    for step in above:
        _check(step, trusted)
    owners = trusted | _daemon_user(above, directory, entry, trusted) if is_named else trusted
    _check(directory, owners)
    if entry.st_uid not in owners:
        raise _refusal(reached, f"belongs to user {entry.st_uid}")
    return owners


def _daemon_user(
    above: Sequence[_Step], directory: _Step, entry: os.stat_result, trusted: frozenset[int]
) -> frozenset[int]:
    """Return the third user of a named socket, if only the trusted can have given the place to that user."""
    has_directory = directory[1].st_uid not in trusted
    givers = above if has_directory else [*above, directory]
    if any(_is_shared(step) for _, step in givers):
        return frozenset()
    return frozenset({directory[1].st_uid if has_directory else entry.st_uid})


def _apart(way: Sequence[_Step], reached: str) -> tuple[list[_Step], _Step]:
    """Part the way into what leads to the socket's directory, and this directory."""
    directory = os.path.dirname(reached)  # noqa: PTH120 - the socket is reached without links, so this is its directory
    at = next(index for index, (path, _) in enumerate(way) if path == directory)
    return [*way[:at], *way[at + 1 :]], way[at]


def _is_shared(entry: os.stat_result) -> bool:
    """Tell whether others could have put an entry here, also where a sticky bit protects those of others."""
    return not stat.S_ISLNK(entry.st_mode) and bool(entry.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _check(step: _Step, trusted: frozenset[int]) -> None:
    path, entry = step
    if entry.st_uid not in trusted:
        raise _refusal(path, f"belongs to user {entry.st_uid}")
    if not stat.S_ISLNK(entry.st_mode) and fastpath.can_others_write(entry.st_mode, entry.st_uid, entry.st_gid):
        raise _refusal(path, "can be written by others")


def _refusal(path: str, why: str) -> UnsafeFileError:
    return UnsafeFileError(
        f"the agent socket is not asked: {path} {why}",
        "it must be a socket of root or of this user, in directories that nobody else can write; "
        "or name it in the configuration: socket = … in [serve.agent]",
    )


def _walk(path: str) -> Iterator[_Step]:
    """Go to a socket as the kernel does; yield each directory entered, each link followed, and what is there."""
    yield "/", os.lstat("/")
    here, links = "/", 0
    pending = _parts(path)
    while pending:
        part = pending.pop()
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120 - `here` holds no link, so this is what the kernel does
            continue
        child = f"{here.rstrip('/')}/{part}"
        entry = os.lstat(child)
        yield child, entry
        if stat.S_ISLNK(entry.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(child)  # noqa: PTH115 - a link's target is text: a Path would rewrite it
            here = "/" if target.startswith("/") else here
            pending += _parts(target)
        else:
            here = child


def _parts(path: str) -> list[str]:
    """Split a path into its components, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]
