"""The last line of defence: what happens to an error that nobody thought of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper import __version__
from rolesanywhere_helper.cli import version
from rolesanywhere_helper.cli.main import main
from rolesanywhere_helper.errors import NetworkError

if TYPE_CHECKING:
    from rolesanywhere_helper.cli.commands import Invocation

CANARY = "CANARY-in-an-unexpected-error"


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(_invocation: Invocation) -> int:
        secret = CANARY  # noqa: F841 - what a traceback with values would show
        raise error

    monkeypatch.setattr(version, "run", run)


@pytest.mark.promise(72)
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_an_unexpected_error_is_owned_up_to_without_its_text(
    debug: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ValueError(f"cannot parse {CANARY}"))

    code = main(["version", *debug])

    out, err = capfd.readouterr()
    assert (code, out) == (1, "")
    assert re.search(r"^error: unexpected ValueError\nhint: .+\n\Z", err, re.MULTILINE)
    assert ("Traceback" in err) is bool(debug)
    assert ("in run" in err) is bool(debug)
    assert CANARY not in err


def test_what_the_system_says_may_be_shown(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, OSError(28, "No space left on device"))

    assert main(["version"]) == 1
    assert capfd.readouterr().err.startswith("error: unexpected OSError: No space left on device\n")


def test_an_error_keeps_to_its_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, NetworkError("first\nerror: forged", "a\rb\x1b[31m"))

    assert main(["version"]) == 3
    assert capfd.readouterr().err == "error: first\\nerror: forged\nhint: a\\rb\\x1b[31m\n"


def test_an_interruption_is_130_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())

    assert main(["version"]) == 130
    assert capfd.readouterr() == ("", "")


def test_help_is_not_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "usage:" in capfd.readouterr().out


@pytest.mark.promise(42)
def test_what_a_library_prints_is_not_data(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    whole = version.run

    def run(invocation: Invocation) -> int:
        print("noise")
        return whole(invocation)

    monkeypatch.setattr(version, "run", run)

    assert main(["version"]) == 0
    assert capfd.readouterr() == (f"{__version__}\n", "")
