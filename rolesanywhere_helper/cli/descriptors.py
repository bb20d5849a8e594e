"""The three standard descriptors, without Python's files around them: what is written is written once and whole."""

from __future__ import annotations

import os
import select

from rolesanywhere_helper.errors import UnwritableOutputError

STDOUT, STDERR = 1, 2


class StdoutClosedError(Exception):
    """Whoever read our output has gone. Nobody is left to tell, so nothing is said."""


def open_missing() -> None:
    """Put something behind each standard descriptor that the caller closed.

    Otherwise the next file opened would become standard output, and credentials would be written into it. Reading
    finds an end, and writing credentials to a closed output fails, as it should.
    """
    for descriptor, flags in ((0, os.O_RDONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)


def write(descriptor: int, content: bytes) -> None:
    """Write everything; waits for a slow reader also where the descriptor does not block.

    Raises:
        StdoutClosedError: the reader has gone.
        OSError: as the system says.

    """
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except BrokenPipeError:
            raise StdoutClosedError from None


def write_stdout(content: bytes) -> None:
    """Write data: the one thing that standard output is for.

    Raises:
        StdoutClosedError: the reader has gone.
        UnwritableOutputError: it cannot be written for another reason.

    """
    try:
        write(STDOUT, content)
    except OSError as error:
        raise UnwritableOutputError(f"standard output cannot be written: {error.strerror}") from None
