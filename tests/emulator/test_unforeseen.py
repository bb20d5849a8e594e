"""An exception that nobody thought of, in any handler: what the client gets, and what the log says."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from rolesanywhere_helper.emulator import control, create_session, iam, management, model, query, sts, unforeseen
from tests.unit.emulator.signing import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.emulator.conftest import Accounts

WORKED_ON = "a secret"
FAILED = (500, "InternalServerException", "Internal server error")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[int], str]]:
    """Return what sets the level and tells what was logged, whatever another test has done to the loggers."""
    logger = logging.getLogger(unforeseen.__name__)
    before = logger.level
    logger.propagate = False
    logger.addHandler(caplog.handler)

    def at(level: int) -> str:
        logger.setLevel(level)
        text = "\n".join(record.getMessage() for record in caplog.records)
        caplog.clear()
        return text

    yield at
    logger.removeHandler(caplog.handler)
    logger.propagate = True
    logger.setLevel(before)


@dataclass(frozen=True)
class Case:
    """What is broken, and a request that comes to it."""

    module: Any
    name: str
    ask: Callable[[Accounts], Any]

    def fail(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(self.module, self.name, _break)


def _break(*_: object) -> NoReturn:
    raise ZeroDivisionError(WORKED_ON)


@pytest.mark.parametrize(
    "case",
    [
        Case(management, "perform", lambda accounts: accounts.roles_anywhere.list_profiles()),
        Case(sts, "caller_identity", lambda accounts: accounts.administrator().client("sts").get_caller_identity()),
        Case(iam, "perform", lambda accounts: accounts.iam.list_roles()),
    ],
    ids=["Roles Anywhere", "STS", "IAM"],
)
def test_awss_own_clients_get_an_internal_server_exception(
    accounts: Accounts,
    monkeypatch: pytest.MonkeyPatch,
    error_of: Callable[[Callable[[], Any]], tuple[int, str, str]],
    logged: Callable[[int], str],
    case: Case,
) -> None:
    case.ask(accounts)
    assert logged(logging.INFO) == ""
    case.fail(monkeypatch)
    assert error_of(lambda: case.ask(accounts)) == FAILED
    assert logged(logging.INFO).startswith("unexpected ZeroDivisionError in ")
    last = accounts.last()
    assert (last["status"], last["error"], last["reason"]) == (500, FAILED[2], "unexpected ZeroDivisionError")


@pytest.mark.parametrize(
    "case",
    [
        Case(create_session, "read_parameters", lambda accounts: accounts.create_session()),
        Case(model, "route", lambda accounts: call(accounts.endpoint, "GET", "/profiles")),
        Case(control, "parse_fault", lambda accounts: accounts.control("POST", "faults", {"times": 1})),
    ],
    ids=["CreateSession", "a path", "control"],
)
def test_so_does_everybody_else_and_only_debug_shows_where(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, logged: Callable[[int], str], case: Case
) -> None:
    assert case.ask(accounts).status != FAILED[0]
    case.fail(monkeypatch)
    logged(logging.INFO)
    assert case.ask(accounts).refusal == FAILED
    ordinary = logged(logging.DEBUG)
    assert case.ask(accounts).refusal == FAILED
    at_debug = logged(logging.INFO)
    (line,) = ordinary.splitlines()
    assert line.startswith("unexpected ZeroDivisionError in ")
    assert "in _break" in at_debug
    assert WORKED_ON not in ordinary + at_debug


def test_a_form_that_cannot_be_read_for_such_a_reason_too(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, logged: Callable[[int], str]
) -> None:
    assert call(accounts.endpoint, "POST", "/").status == 400
    monkeypatch.setattr(query, "read_form", _break)
    reply = call(accounts.endpoint, "POST", "/")
    assert (reply.status, b"<Code>InternalServerException</Code>" in reply.body) == (500, True)
    assert "unexpected ZeroDivisionError in /" in logged(logging.INFO)


def test_accounts_that_cannot_be_written_are_foreseen(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    service = accounts.emulator._emulator.service
    with monkeypatch.context() as patched:
        patched.setattr(service, "_persist", full)
        refused = accounts.control("POST", "reset")
        assert refused.refusal[:2] == (503, "ServiceUnavailableException")
        assert "No space left on device" in refused.refusal[2]
    assert accounts.control("POST", "reset").status == 200
