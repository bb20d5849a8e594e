"""Asking for a secret: at the terminal that a process belongs to, and never where nobody could answer."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fakes.terminal import AtTerminal, at_a_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ASK = "from rolesanywhere_helper.system.terminal import ask_secret; print(ascii(ask_secret('Passphrase: ')))"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[AtTerminal]:
    with at_a_terminal([sys.executable, "-c", _ASK], _ENVIRONMENT, tmp_path) as command:
        command.terminal.wait_for("Passphrase: ")
        yield command


def test_an_answer_is_a_line_that_is_not_shown(asking: AtTerminal) -> None:
    asking.terminal.type("stäple \t battery \n")
    assert asking.finish() == (0, b"'st\\xe4ple \\t battery '\n", b"")
    assert asking.terminal.shown.replace(b"\r", b"") == b"Passphrase: \n"


def test_an_answer_may_be_corrected(asking: AtTerminal) -> None:
    asking.terminal.type("wrong\x15sesamy\x7fe\n")
    assert asking.finish() == (0, b"'sesame'\n", b"")


def test_an_answer_may_be_empty(asking: AtTerminal) -> None:
    asking.terminal.type("\n")
    assert asking.finish() == (0, b"''\n", b"")


@pytest.mark.parametrize("typed", ["\x04", "half\x04\x04"], ids=["at once", "in a line"])
def test_who_ends_the_input_gives_no_answer(asking: AtTerminal, typed: str) -> None:
    asking.terminal.type(typed)
    assert asking.finish() == (0, b"None\n", b"")
    assert b"half" not in asking.terminal.shown


def test_control_c_ends_it_and_the_terminal_shows_again(asking: AtTerminal) -> None:
    asking.terminal.type("half\x03")
    code, out, _ = asking.finish()
    assert (code, out) == (-signal.SIGINT, b"")
    assert b"half" not in asking.terminal.shown


def test_the_terminal_is_left_as_it_was(tmp_path: Path) -> None:
    code = f"import sys; {_ASK}; print(open('/dev/tty').readline())"
    with at_a_terminal([sys.executable, "-c", code], _ENVIRONMENT, tmp_path) as command:
        terminal = command.terminal
        terminal.wait_for("Passphrase: ")
        terminal.type("secret\n")
        terminal.wait_for("\n")
        terminal.type("no secret\n")
        assert command.finish()[:2] == (0, b"'secret'\nno secret\n\n")
        assert b"no secret" in terminal.shown
        assert b"secret" not in terminal.shown.replace(b"no secret", b"")


def test_without_a_terminal_nobody_is_asked(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        env=_ENVIRONMENT,
        cwd=tmp_path,
        start_new_session=True,
        input=b"from elsewhere\n",
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"None\n", b"")


def test_in_the_background_nobody_is_asked(tmp_path: Path) -> None:
    """The terminal is somebody else's then: reading from it would stop the process."""
    code = f"import os\nif os.fork():\n    os.wait()\nelse:\n    os.setpgid(0, 0)\n    {_ASK}"
    with at_a_terminal([sys.executable, "-c", code], _ENVIRONMENT, tmp_path) as command:
        assert command.finish() == (0, b"None\n", b"")
        assert command.terminal.shown == b""
