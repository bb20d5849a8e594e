"""``mint-child``: what the daemon starts to make one session. One question in, one answer out, over private pipes.

Whatever a library or a token's vendor module writes to descriptor 1 goes to standard error: the answer has a descriptor
of its own.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import descriptors
from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = "  (only the daemon runs this: it asks on standard input and reads the answer from standard output)"
_STDIN = 0
_PIECE = 1 << 16


def add_flags(parser: ArgumentParser) -> None:
    """Declare nothing: the question says it all, and a command line can be read by everybody."""
    del parser


def run(invocation: Invocation) -> int:
    """Answer the one question.

    Raises:
        UsageError: there is none.

    """
    from rolesanywhere_helper.protocol import mint_exchange  # noqa: PLC0415 - only when chosen

    del invocation
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # exec, which starts us too, reads its signals one by one
    out = os.dup(descriptors.STDOUT)
    os.dup2(descriptors.STDERR, descriptors.STDOUT)
    if os.isatty(_STDIN):
        raise _not_asked()
    try:
        question = mint_exchange.decode_question(_read_all(2 * mint_exchange.LARGEST))
    except ValueError:
        raise _not_asked() from None
    from rolesanywhere_helper.wiring import mint_child  # noqa: PLC0415 - only with a question

    descriptors.write(out, mint_exchange.encode_answer(mint_child.answer(question)))
    os.close(out)
    return 0


def _read_all(most: int) -> bytes:
    message = b""
    while len(message) <= most and (piece := os.read(_STDIN, _PIECE)):
        message += piece
    return message


def _not_asked() -> UsageError:
    return UsageError(
        "there is no question on standard input",
        "this command is the daemon's own: use credential-process",
    )
