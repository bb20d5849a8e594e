"""A private key written to a new file: readable by its owner alone from its first byte on, and whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress

from rolesanywhere_helper.errors import UnwritableFileError
from rolesanywhere_helper.system.inputs import check_own_key_file, inspect_input

_MODE = 0o600
_TEMPORARY = re.compile(r"\..+\.key\.new-[0-9]+-[0-9a-f]{8}", re.ASCII)


def write_new_key(path: str, content: bytes, *, replace: bool) -> None:
    """Write a key; ``replace`` lets it take the place of another file.

    Raises:
        UnwritableFileError: there is a file of this name, or it cannot be written.
        UnsafeFileError: others could change a key that lies there; it is removed again.

    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.new-{os.getpid()}-{os.urandom(4).hex()}")  # noqa: PTH118 - no use for a Path
    try:
        _write(temporary, content)
        try:
            # Who may not replace anything must not do so between a look and the deed: a link is refused then.
            (os.replace if replace else os.link)(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108 - as above
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        check_own_key_file(inspect_input(path))
    except BaseException:
        os.unlink(path)  # noqa: PTH108 - as above
        raise


def sweep_unfinished_keys(directory: str) -> None:
    """Remove the keys (``NAME.key``) that :func:`write_new_key` was killed over, from a directory of one's own.

    Nobody may be writing one there meanwhile: whoever calls this has the lock that every writer takes.
    """
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108 - as above


def _write(path: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, _MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _unwritable(path: str, error: OSError) -> UnwritableFileError:
    if error.errno in {errno.EEXIST, errno.EISDIR}:
        return UnwritableFileError(
            f"{path} is there already", "name another file; --force replaces it, and the old key is lost"
        )
    return UnwritableFileError(
        f"{path} cannot be written: {error.strerror}", f"check who may write there: namei -l {directory_of(path)}"
    )


def directory_of(path: str) -> str:
    """Return the directory in which a file lies, as it can be typed."""
    return os.path.dirname(path) or "."  # noqa: PTH120 - no use for a Path
