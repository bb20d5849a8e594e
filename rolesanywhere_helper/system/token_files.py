"""The token of a container endpoint: a file that the daemon writes and an application reads.

SDKs send the file's content as it is, so there is no newline at its end (botocore refuses one in a header).
"""

from __future__ import annotations

import errno
import grp
import os
import stat
from contextlib import suppress
from pathlib import Path

from rolesanywhere_helper.errors import ConfigurationError, NotYetError
from rolesanywhere_helper.frozen import dataclass

_TOKEN_BYTES = 32
_LONGEST = 256
_OWNER_ONLY, _GROUP_TOO = 0o600, 0o640


def new_token() -> str:
    """Return a token of 256 bits, in characters that a header can hold."""
    return os.urandom(_TOKEN_BYTES).hex()


def read_token(path: str, group: str | None) -> str | None:
    """Return the token that an earlier daemon of this user left: clients that know it should go on.

    None if there is none, or if others could have read it than those who may now.

    Raises:
        ConfigurationError: the group is not known.

    """
    gid = None if group is None else _group_number(group)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        entry = os.fstat(descriptor)
        is_ours = stat.S_ISREG(entry.st_mode) and entry.st_uid == os.geteuid()
        is_closed = not entry.st_mode & 0o077 if gid is None else not entry.st_mode & 0o027 and entry.st_gid == gid
        text = os.read(descriptor, _LONGEST).decode("ascii", "replace") if is_ours and is_closed else ""
    finally:
        os.close(descriptor)
    is_token = len(text) >= _TOKEN_BYTES and all(character.isalnum() or character in "-_" for character in text)
    return text if is_token else None


@dataclass(frozen=True, slots=True)
class StagedToken:
    """A token that lies beside its place: :meth:`commit` puts it there, :meth:`discard` leaves what was there."""

    path: str
    temporary: Path

    def commit(self) -> None:
        """Put it in place; a reader sees the old or the new.

        Raises:
            ConfigurationError: the file cannot be replaced; the old one stays.

        """
        try:
            self.temporary.replace(self.path)
        except OSError as error:
            self.discard()
            raise _unwritable(self.path, error) from None

    def discard(self) -> None:
        """Let go of it."""
        with suppress(OSError):
            self.temporary.unlink()


def write_token(path: str, token: str, group: str | None) -> None:
    """Put a token in place: mode 0600, or 0640 and the group that may read it.

    Raises:
        ConfigurationError: the group is not known, or the file cannot be written.

    """
    stage_token(path, token, group).commit()


def stage_token(path: str, token: str, group: str | None) -> StagedToken:
    """Write a token beside its place: whatever can go wrong has gone wrong before anything is replaced.

    Raises:
        ConfigurationError: the group is not known, or the file cannot be written.

    """
    gid = None if group is None else _group_number(group)
    place = Path(path)
    temporary = place.with_name(f".{place.name}.{os.urandom(4).hex()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if gid is not None:
                os.fchown(descriptor, -1, gid)
            os.fchmod(descriptor, _OWNER_ONLY if gid is None else _GROUP_TOO)
            file.write(token.encode())
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        StagedToken(path, temporary).discard()
        raise _unwritable(path, error) from None
    return StagedToken(path, temporary)


def _unwritable(path: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the token file {path} cannot be written: {error.strerror}",
        "name a file in a directory that the daemon's user can write, and as token-group one of its own groups",
    )


def _group_number(group: str) -> int:
    try:
        return int(group) if group.isascii() and group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise NotYetError(
            f"there is no group {group!a}",
            "check token-group, create the group, or start after the service that knows it (sssd, winbind …)",
        ) from None
