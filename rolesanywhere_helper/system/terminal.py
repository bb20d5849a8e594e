"""Asking the person at the terminal for a secret, whatever standard input and output are used for."""

from __future__ import annotations

import os
from contextlib import suppress

_TERMINAL = "/dev/tty"
_LONGEST = 4096


def ask_secret(question: str) -> str | None:
    """Ask on the controlling terminal, without an echo; None where there is none, or nobody answers.

    Raises:
        KeyboardInterrupt: the answer was Control-C.

    """
    try:
        descriptor = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # a service, a job, a process in the background without a terminal
        return None
    try:
        # A process in the background of its terminal would be stopped by the question, and wait for ever.
        if os.tcgetpgrp(descriptor) != os.getpgrp():
            return None
        return _ask(descriptor, question)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _ask(descriptor: int, question: str) -> str | None:
    import termios  # noqa: PLC0415 - only POSIX has it, and only who is asked needs it

    before = termios.tcgetattr(descriptor)
    silent = [*before]
    silent[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSAFLUSH, silent)
    try:
        os.write(descriptor, question.encode())
        line = os.read(descriptor, _LONGEST)
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
        with suppress(OSError):
            os.write(descriptor, b"\n")
    return line.removesuffix(b"\n").decode("utf-8", "surrogateescape") if line.endswith(b"\n") else None
