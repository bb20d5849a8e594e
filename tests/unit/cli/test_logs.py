"""What is held back, what is written, what goes to the system's log."""

from __future__ import annotations

import json
import logging
import os
import syslog
import warnings
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.cli import logs
from rolesanywhere_helper.cli.logs import OWN, Journal, LogSettings
from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Lines:
    """Where lines end up in these tests."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, _level: int, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def journal_parts() -> tuple[Lines, Lines, Journal]:
    shown, system = Lines(), Lines()
    return shown, system, Journal(shown, holds_back=True, system_log=system)


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    own, root = logging.getLogger(OWN), logging.getLogger()
    before = own.handlers, own.propagate, own.level, root.handlers[:]
    yield
    own.handlers, own.propagate, own.level = before[:3]
    root.handlers[:] = before[3]
    logging.captureWarnings(capture=False)


def test_success_hands_only_warnings_to_the_systems_log(journal_parts: tuple[Lines, Lines, Journal]) -> None:
    shown, system, journal = journal_parts
    journal.add(logging.DEBUG, "detail")
    journal.add(logging.WARNING, "careful")

    journal.succeeded()

    assert shown.lines == []
    assert system.lines == ["careful"]


def test_failure_shows_everything_in_order(journal_parts: tuple[Lines, Lines, Journal]) -> None:
    shown, system, journal = journal_parts
    journal.add(logging.DEBUG, "detail")
    journal.add(logging.WARNING, "careful")
    assert shown.lines == []

    journal.failed()

    assert shown.lines == ["detail", "careful"]
    assert system.lines == []


def test_what_is_held_back_is_bounded(journal_parts: tuple[Lines, Lines, Journal]) -> None:
    shown, _, journal = journal_parts
    for number in range(5000):
        journal.add(logging.DEBUG, str(number))

    journal.failed()

    assert shown.lines == [str(number) for number in range(4000, 5000)]


def test_a_terminal_gets_lines_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    logs.start(LogSettings(), is_quiet=True, stderr_is_terminal=True)

    logging.getLogger(f"{OWN}.x").warning("careful")

    assert capfd.readouterr().err.endswith(f" WARNING {OWN}.x: careful\n")


def test_a_quiet_command_writes_nothing_to_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    logs.start(LogSettings(debug=True), is_quiet=True, stderr_is_terminal=False)

    logging.getLogger(OWN).warning("careful")

    assert capfd.readouterr() == ("", "")


@pytest.mark.promise(72)
def test_no_other_library_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    logs.start(LogSettings(debug=True), is_quiet=False, stderr_is_terminal=True)

    for name in ("botocore.auth", "urllib3", "asyncio"):
        logging.getLogger(name).error("CANARY")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("CANARY", stacklevel=1)
    logging.getLogger(OWN).debug("ours")

    err = capfd.readouterr().err
    assert "CANARY" not in err
    assert "ours" in err


def test_a_line_cannot_be_forged(capfd: pytest.CaptureFixture[str]) -> None:
    logs.start(LogSettings(), is_quiet=False, stderr_is_terminal=True)

    logging.getLogger(OWN).warning("%s", "a\nb\x1b[0m")

    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "a\\nb\\x1b[0m" in err


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "log"
    logs.start(LogSettings(format="json", file=str(file)), is_quiet=True, stderr_is_terminal=False)

    logging.getLogger(OWN).warning("a\n%d", 1)
    logging.getLogger(OWN).debug("not without --debug")

    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(entry["level"], entry["logger"], entry["message"]) for entry in entries] == [("WARNING", OWN, "a\n1")]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_log_file_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    logs.start(LogSettings(file=str(file)), is_quiet=True, stderr_is_terminal=False)

    logging.getLogger(OWN).warning("after")

    assert file.read_text().startswith("before\n")
    assert "after" in file.read_text()


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_a_log_file_is_a_plain_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(path)

    with pytest.raises(UsageError, match="the log file"):
        logs.start(LogSettings(file=str(path)), is_quiet=True, stderr_is_terminal=False)
    assert not (tmp_path / "elsewhere").exists()


def test_the_systems_log_gets_level_and_line(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda level, line: written.append((level, line)))
    journal = logs.start(LogSettings(), is_quiet=True, stderr_is_terminal=False)

    logging.getLogger(OWN).warning("careful")
    logging.getLogger(OWN).error("broken")
    logging.getLogger(OWN).info("dull")
    journal.succeeded()

    assert [level for level, _ in written] == [syslog.LOG_WARNING, syslog.LOG_ERR]
    assert written[0][1].endswith("careful")
