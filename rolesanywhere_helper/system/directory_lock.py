"""One process at a time in a directory of one's own, where a change is made of several files."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import UnwritableFileError
from rolesanywhere_helper.system.turns import try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rolesanywhere_helper.domain.ports import Clock

NAME = ".lock"
"""The file that is locked (``flock``). It stays: who removed it could remove one that somebody has just locked."""
LOCK_SECONDS = 10.0
_LOOK_SECONDS = 0.05


@contextmanager
def alone_in(directory: Path, clock: Clock) -> Iterator[None]:
    """Wait for the others who are changing a directory, and keep new ones out.

    Raises:
        UnwritableFileError: the directory cannot be written, or another process keeps the lock.

    """
    path = directory / NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnwritableFileError(
            f"{path} cannot be written: {error.strerror}", f"namei -l {path} shows who may"
        ) from error
    try:
        deadline = clock.monotonic() + LOCK_SECONDS
        while not try_lock(descriptor):
            if clock.monotonic() > deadline:
                raise UnwritableFileError(
                    f"{directory} is not changed: another process has had its lock for {LOCK_SECONDS:.0f} seconds",
                    f"fuser -v {path} shows which one",
                )
            clock.sleep(_LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)
