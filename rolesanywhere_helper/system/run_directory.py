"""A directory for one run of a program: nobody else's from birth, and gone at its end."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from rolesanywhere_helper.errors import UnwritableFileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_NAME_BYTES = 8


class RunDirectory:
    """Makes the directory when it is entered, and removes it with all files in it.

    It lies in ``XDG_RUNTIME_DIR`` or ``TMPDIR``, if one of them can be written, and otherwise in ``/tmp``. Its name
    cannot be guessed, and it is never one that was there already.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        named = (environment.get(name, "") for name in ("XDG_RUNTIME_DIR", "TMPDIR"))
        self._places = (*(place for place in named if place.startswith("/")), "/tmp")  # noqa: S108 - mode 0700, no name to guess
        self.path = ""

    def __enter__(self) -> Self:
        """Make it.

        Raises:
            UnwritableFileError: it cannot be made anywhere.

        """
        said = ""
        for place in self._places:
            path = f"{place.rstrip('/')}/rolesanywhere-helper-{os.urandom(_NAME_BYTES).hex()}"
            try:
                os.mkdir(path, 0o700)  # noqa: PTH102 - a path stays the text that it is
            except OSError as error:
                said = f"{place}: {error.strerror}"
            else:
                self.path = path
                return self
        raise UnwritableFileError(f"no private directory can be made ({said})", "set TMPDIR to one that you can write")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            for name in os.listdir(self.path):  # noqa: PTH208 - as above
                os.unlink(f"{self.path}/{name}")  # noqa: PTH108 - as above
            os.rmdir(self.path)  # noqa: PTH106 - as above

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
