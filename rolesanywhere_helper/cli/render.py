"""What the user reads on standard error: one line ``error: …`` and one line ``hint: …``."""

from __future__ import annotations

import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import descriptors

if TYPE_CHECKING:
    from rolesanywhere_helper.errors import HelperError

INTERRUPTED = 130


def message(text: str) -> None:
    """Write a line to standard error; that nobody reads it is no reason to fail."""
    with suppress(OSError, descriptors.StdoutClosedError):
        descriptors.write(descriptors.STDERR, f"{text}\n".encode(errors="backslashreplace"))


def failure(error: HelperError) -> int:
    """Say what went wrong and what to do; return the exit code."""
    message(f"error: {_one_line(error.what)}\nhint: {_one_line(error.hint)}")
    return error.exit_code


def unexpected(error: Exception, *, debug: bool) -> int:
    """Own up to an error that nobody thought of; return the exit code.

    Its text is shown only where the system made it, since any other could hold what was being worked on. The traceback
    shows lines of this program, no values.
    """
    name = type(error).__name__
    said = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    if debug:
        frames = "".join(traceback.format_tb(error.__traceback__))
        message(f"Traceback (most recent call last):\n{frames}{name}{said}")
    hint = "this is a mistake of this program: please report it" + ("" if debug else ", with what --debug shows")
    message(f"error: unexpected {name}{said}\nhint: {hint}")
    return 1


def _one_line(text: str) -> str:
    """Keep an error to its line, whatever a service or file name puts into it."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
