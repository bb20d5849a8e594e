"""A new directory with what belongs into it from its first moment on: private, durable, and whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import UnwritableFileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MODE = 0o600


def put_new_directory(path: Path, files: Mapping[str, bytes]) -> None:
    """Make a directory (0700) that holds these files (0600); one that is there and empty gives way to it.

    Raises:
        UnwritableFileError: there is something already, or it cannot be written.

    """
    temporary = path.parent / f".{path.name}.new-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.mkdir(mode=0o700)
        try:
            for name, content in files.items():
                _write(temporary / name, content)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise UnwritableFileError(
                f"{path} is there already, and not an empty directory", "give a directory that is new"
            ) from None
        raise UnwritableFileError(
            f"{path} cannot be made: {error.strerror}", f"check who may write there: namei -l {path.parent}"
        ) from error


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
