"""The way in: understand the command line, set up the log, run the command, and say how it went."""

from __future__ import annotations

import io
import os
import sys
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import descriptors, render
from rolesanywhere_helper.errors import HelperError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rolesanywhere_helper.cli.commands import Command, Invocation
    from rolesanywhere_helper.cli.logs import Journal


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 done, 1 failed, 2 usage, 3 network, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    descriptors.open_missing()
    debug = any(word in {"--debug", "--debug=true"} for word in arguments)
    try:
        return _run(arguments)
    except HelperError as error:
        return render.failure(error)
    except descriptors.StdoutClosedError:
        return 1
    except KeyboardInterrupt:
        return render.INTERRUPTED
    except SystemExit as done:  # argparse, after --help
        return done.code if isinstance(done.code, int) else 0
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback with values may get out
        return render.unexpected(error, debug=debug)


def _run(arguments: Sequence[str]) -> int:
    from rolesanywhere_helper.cli import parser  # noqa: PLC0415 - inside the guard: an error here is told as any other

    invocation = parser.parse(arguments)
    if invocation.command.holds_secrets:
        from rolesanywhere_helper.system.core_dumps import forbid_core_dumps  # noqa: PLC0415 - loads ctypes

        forbid_core_dumps()
    journal = _start_log(invocation)
    try:
        with _hush(invocation.command):
            code = invocation.command.load().run(invocation)
    except BaseException:
        journal.failed()
        raise
    journal.succeeded()
    return code


@contextmanager
def _hush(command: Command) -> Iterator[None]:
    """Keep what a library may print away from our output, which is written past Python's files."""
    with ExitStack() as stack:
        nowhere = io.StringIO()
        stack.enter_context(redirect_stdout(nowhere))
        if command.is_quiet:
            stack.enter_context(redirect_stderr(nowhere))
        yield


def _start_log(invocation: Invocation) -> Journal:
    from rolesanywhere_helper.cli import logs  # noqa: PLC0415 - 19 ms that `--help` need not pay

    is_terminal = os.isatty(descriptors.STDERR)
    return logs.start(invocation.log, is_quiet=invocation.command.is_quiet, stderr_is_terminal=is_terminal)
