"""``renew``, which a cached ``credential-process`` starts in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rolesanywhere_helper.emulator.server import Running
    from tests.conftest import RunHelper


def test_it_stores_a_set_and_prints_nothing(run_helper: RunHelper, emulator: Running, session_flags: list[str]) -> None:
    renewed = run_helper("renew", *session_flags, "--debug")
    cached = run_helper("credential-process", *session_flags)

    assert (renewed.exit_code, renewed.stdout, renewed.stderr) == (0, b"", b"")
    assert (cached.exit_code, len(emulator.requests())) == (0, 1)


def test_it_leaves_a_fresh_set_alone(run_helper: RunHelper, emulator: Running, session_flags: list[str]) -> None:
    assert run_helper("credential-process", *session_flags).exit_code == 0

    assert run_helper("renew", *session_flags).exit_code == 0
    assert len(emulator.requests()) == 1


def test_its_failure_is_a_warning_in_the_log(
    run_helper: RunHelper, emulator: Running, session_flags: list[str], tmp_path: Path
) -> None:
    emulator.set_fault(status=403, message="Certificate revoked")

    done = run_helper("renew", *session_flags, "--log-file", "log")

    assert (done.exit_code, done.stdout, done.stderr) == (1, b"", b"")
    assert "WARNING" in (tmp_path / "log").read_text()
    assert "the renewal in the background failed" in (tmp_path / "log").read_text()
