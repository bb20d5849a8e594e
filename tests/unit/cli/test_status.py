"""``status``: the table, waiting, and the plugin's line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.cli import status, status_report
from rolesanywhere_helper.cli.parser import parse
from rolesanywhere_helper.cli.status_report import CRITICAL, OK, UNKNOWN, WARNING, Limits
from rolesanywhere_helper.domain.serving import SessionStatus
from rolesanywhere_helper.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    HelperError,
    InvalidParameterError,
    RefusedError,
    UnsafeFileError,
    UsageError,
)
from rolesanywhere_helper.protocol.status import DaemonStatus, render
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_900_000_000.0
DAY = 86_400
LIMITS = Limits(30, 7)
GOOD = SessionStatus(
    "deploy",
    has_credentials=True,
    expires_at=int(NOW) + 3000,
    next_attempt_at=NOW + 1200,
    certificate_not_after=int(NOW) + 90 * DAY,
)
COLD = SessionStatus("other", has_credentials=False)
REFUSED = SessionStatus("other", has_credentials=False, last_error=("refused", "said no", "ask the owner"))


def daemon(*sessions: SessionStatus) -> DaemonStatus:
    return DaemonStatus("1", sessions)


def with_days(days: float) -> SessionStatus:
    return SessionStatus(
        "deploy",
        has_credentials=True,
        expires_at=int(NOW) + 3000,
        certificate_not_after=int(NOW + days * DAY),
    )


# The table


def test_the_table() -> None:
    lines = status_report.table(daemon(GOOD, REFUSED), NOW).splitlines()

    assert lines[0].split("  ")[0] == "SESSION"
    assert "2030-03-17T18:36:40Z (in 50 min)" in lines[1]
    assert "2030-03-17T18:06:40Z (in 20 min)" in lines[1]
    assert "(in 90 d)" in lines[1]
    assert lines[1].endswith("-")
    assert lines[2].split() == ["other", "none", "-", "-", "refused"]
    assert lines[4:] == ["other: said no", "  hint: ask the owner"]
    assert len({line.index("refused") if "refused" in line else line.rindex("  ") + 2 for line in lines[:3]}) == 1


def test_what_lies_behind_is_said_so() -> None:
    assert "(3 h ago)" in status_report.table(daemon(with_days(-0.125)), NOW)


def test_nothing_a_daemon_says_breaks_out_of_its_line() -> None:
    odd = SessionStatus("a\nb\x1b[31m", has_credentials=False, last_error=("c", "x\x1b[2J", "y"))

    text = status_report.table(daemon(odd), NOW)

    assert "\x1b" not in text
    assert "a\\nb" in text.splitlines()[1]
    assert "\n" not in str(status_report.check(daemon(odd), LIMITS, NOW))


# The plugin


@pytest.mark.parametrize(
    ("sessions", "code", "text"),
    [
        ((GOOD,), OK, "OK: deploy until 2030-03-17T18:36:40Z"),
        ((), UNKNOWN, "UNKNOWN: the daemon tells this user of no session"),
        ((GOOD, COLD), CRITICAL, "CRITICAL: other has no credentials"),
        ((GOOD, REFUSED), CRITICAL, "CRITICAL: other has no credentials (said no)"),
        ((with_days(30),), WARNING, "WARNING: the certificate of deploy expires in 30 d"),
        ((with_days(30.1),), OK, "OK: "),
        ((with_days(7),), CRITICAL, "CRITICAL: the certificate of deploy expires in 7 d"),
        ((with_days(7.1),), WARNING, "WARNING: "),
        ((with_days(-1),), CRITICAL, "CRITICAL: the certificate of deploy expired 1 d ago"),
        ((with_days(20), COLD), CRITICAL, "CRITICAL: other has no credentials; the certificate of deploy expires"),
    ],
)
def test_the_plugin_judges_by_the_worst(sessions: tuple[SessionStatus, ...], code: int, text: str) -> None:
    verdict = status_report.check(daemon(*sessions), LIMITS, NOW)

    assert verdict.exit_code == code
    assert str(verdict).startswith(text)
    assert str(verdict).count("\n") == 0


def test_a_failed_refresh_warns_while_credentials_last() -> None:
    failing = SessionStatus("a", has_credentials=True, expires_at=int(NOW) + 9, last_error=("network", "no | way", "h"))

    verdict = status_report.check(daemon(failing), LIMITS, NOW)

    assert verdict.exit_code == WARNING
    assert "no / way" in str(verdict).partition(" | ")[0]


def test_the_performance_data() -> None:
    _, bar, data = str(status_report.check(daemon(GOOD, COLD), LIMITS, NOW)).partition(" | ")

    assert bar
    assert data == "'deploy credentials'=3000s 'deploy certificate_days'=90;30:;7: 'other credentials'=0s"


# Waiting


class Daemon:
    """Answers with one status after the other; the last one stays. None stands for no daemon."""

    def __init__(self, *answers: DaemonStatus | HelperError | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> bytes | None:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, HelperError):
            raise answer
        return None if answer is None else render(answer)


def wait(ask: Callable[[], bytes | None], name: str = "", timeout: float = 0) -> bytes:
    return status.wait(ask, name, timeout, FakeClock(NOW), ["/run/a.sock"])


def test_waiting_ends_when_the_credentials_are_there() -> None:
    warm = SessionStatus("other", has_credentials=True)
    asked = Daemon(None, ConnectionFailedError("torn"), daemon(GOOD, COLD), daemon(GOOD, REFUSED), daemon(GOOD, warm))

    assert wait(asked) == render(daemon(GOOD, warm))
    assert asked.asked == 5


def test_waiting_for_one_session_does_not_wait_for_the_others() -> None:
    asked = Daemon(daemon(GOOD, COLD))

    wait(asked, "deploy")

    assert asked.asked == 1


def test_the_time_to_wait_is_kept() -> None:
    clock = FakeClock(NOW)
    asked = Daemon(None)

    with pytest.raises(ConnectionFailedError, match=r"no daemon answers at /run/a\.sock") as caught:
        status.wait(asked, "", 10, clock, ["/run/a.sock"])

    assert "--agent-socket" in caught.value.hint
    assert 9 < clock.monotonic() - FakeClock(NOW).monotonic() <= 10
    assert 15 < asked.asked < 25


def test_what_the_daemon_met_is_told_when_the_time_is_over() -> None:
    with pytest.raises(RefusedError, match="session other has no credentials: said no") as caught:
        wait(Daemon(daemon(GOOD, REFUSED)), timeout=5)
    assert caught.value.hint == "ask the owner"

    with pytest.raises(DeadlineExceededError, match="no credentials after 5 seconds"):
        wait(Daemon(daemon(COLD)), timeout=5)


def test_a_session_that_the_daemon_does_not_have_is_not_waited_for() -> None:
    with pytest.raises(UsageError, match="has no session 'x'") as caught:
        wait(Daemon(daemon(GOOD, COLD)), "x")

    assert caught.value.hint == "it has: deploy, other"


def test_a_socket_that_is_not_to_be_trusted_is_not_waited_for() -> None:
    with pytest.raises(UnsafeFileError):
        wait(Daemon(UnsafeFileError("planted")))


def test_what_is_no_daemon_is_not_waited_for() -> None:
    with pytest.raises(ConnectionFailedError, match="is no daemon of this program"):
        wait(lambda: b"{}")


# The command


def run(monkeypatch: pytest.MonkeyPatch, asked: Daemon, *words: str) -> int:
    monkeypatch.setattr(status, "ask_status", lambda _agent, _clock: asked())
    monkeypatch.setattr(status, "SystemClock", lambda: FakeClock(NOW))
    return status.run(parse(["status", "--agent-socket", "/run/a.sock", *words]))


def test_json_is_the_daemons_own(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, Daemon(daemon(GOOD)), "--json") == 0
    assert capfd.readouterr().out.encode() == render(daemon(GOOD))


def test_waiting_prints_nothing_unless_asked(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, Daemon(daemon(GOOD)), "--wait", "deploy", "--timeout", "2m") == 0
    assert capfd.readouterr().out == ""
    assert run(monkeypatch, Daemon(daemon(GOOD)), "--wait", "--json") == 0
    assert capfd.readouterr().out.encode() == render(daemon(GOOD))


@pytest.mark.parametrize(
    ("answer", "code", "line"),
    [
        (None, CRITICAL, "CRITICAL: no daemon answers at /run/a.sock\n"),
        (ConnectionFailedError("torn\nin two"), CRITICAL, "CRITICAL: torn\\nin two\n"),
        (UnsafeFileError("planted"), UNKNOWN, "UNKNOWN: planted\n"),
        (daemon(COLD), CRITICAL, "CRITICAL: other has no credentials | 'other credentials'=0s\n"),
    ],
)
def test_a_plugin_always_has_its_line(
    answer: DaemonStatus | HelperError | None,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, Daemon(answer), "--check") == code
    assert capfd.readouterr().out == line


@pytest.mark.parametrize(
    "words",
    [
        ("--check", "--wait"),
        ("--check", "--warning-days", "x"),
        ("--check", "--critical-days", "31"),
        ("--check", "--warning-days", "100001"),
        ("--wait", "--timeout", "soon"),
    ],
)
def test_flags_without_meaning_are_refused(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((UsageError, InvalidParameterError)):
        run(monkeypatch, Daemon(daemon(GOOD)), *words)


def test_a_low_warning_lowers_the_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Daemon(daemon(with_days(2))), "--check", "--warning-days", "1") == OK
    assert run(monkeypatch, Daemon(daemon(with_days(1))), "--check", "--warning-days", "1") == CRITICAL
    assert run(monkeypatch, Daemon(daemon(with_days(2))), "--check", "--critical-days", "1") == WARNING


def test_no_daemon_is_an_error_with_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionFailedError) as caught:
        run(monkeypatch, Daemon(None))

    assert caught.value.exit_code == 3
