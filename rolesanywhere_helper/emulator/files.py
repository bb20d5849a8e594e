"""Files of the emulator's directory: private from birth, replaced in one step."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_private_directory(path: Path) -> None:
    """Make a directory that only this user can enter, unless there is one already.

    Raises:
        OSError: it cannot be made.

    """
    # One by one: with `parents=True` those above would get the umask's mode, and what lies in them would be refused.
    for step in reversed((path, *path.parents)):
        step.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Put a file in place with mode 0600, so that a reader sees the old content or the new, never a part.

    Raises:
        OSError: it could not be written; what was there stands.

    """
    temporary = path.with_name(f".new-{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
