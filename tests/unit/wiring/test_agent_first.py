"""What the daemon hands over is enough, unless it goes where nobody can renew it and has too little left."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.errors import AgentError, ConnectionFailedError, HelperError, UnreadableKeyError
from rolesanywhere_helper.protocol.mint_exchange import Answer
from rolesanywhere_helper.vend import agent_client
from rolesanywhere_helper.wiring import agent_first
from rolesanywhere_helper.wiring.mint import _AgentFirst
from tests.fakes.sessions import ROLE_ARN, credentials

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rolesanywhere_helper.domain.credentials import Credentials

LEFT = 1700


class Minter:
    def __init__(self, error: HelperError | None = None) -> None:
        self._error = error

    def mint(self) -> Credentials:
        if self._error is not None:
            raise self._error
        return credentials(int(time.time()), 3600, "ASIAOWN")


@pytest.fixture(autouse=True)
def _daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a daemon have a set with 1,700 seconds left."""
    handed_over = credentials(int(time.time()), LEFT, "ASIADAEMON")
    monkeypatch.setattr(agent_client, "ask", lambda *_: handed_over)


@pytest.mark.promise(83)
@pytest.mark.parametrize(
    ("least_seconds", "expected"), [(0, "ASIADAEMON"), (LEFT - 100, "ASIADAEMON"), (LEFT + 100, "ASIAOWN")]
)
def test_a_set_of_our_own_is_made_where_the_daemons_has_too_little_left(least_seconds: int, expected: str) -> None:
    first = _AgentFirst("/agent.sock", "deploy", ROLE_ARN, Minter(), least_seconds)

    assert first.mint().access_key_id == expected


@pytest.mark.promise(83)
def test_the_daemons_is_used_where_none_of_our_own_can_be_made() -> None:
    minter = Minter(ConnectionFailedError("nothing listens at https://127.0.0.1:1"))

    assert _AgentFirst("/agent.sock", "deploy", ROLE_ARN, minter, LEFT + 100).mint().access_key_id == "ASIADAEMON"


# The same for a daemon of its own: ``exec``


def made_by(error: HelperError | None = None) -> Callable[[], Awaitable[Answer]]:
    async def make() -> Answer:
        return Answer(credentials(int(time.time()), 3600, "ASIAOWN")) if error is None else Answer(error=error)

    return make


def ask_first(make: Callable[[], Awaitable[Answer]]) -> Answer:
    return asyncio.run(agent_first.agent_first("/agent.sock", "deploy", ROLE_ARN, make))


def daemon_says(monkeypatch: pytest.MonkeyPatch, refusal: AgentError | None) -> None:
    def ask(*_: object) -> None:
        if refusal is not None:
            raise refusal

    monkeypatch.setattr(agent_first, "ask", ask)


def test_exec_takes_what_the_daemon_has(monkeypatch: pytest.MonkeyPatch) -> None:
    handed_over = credentials(int(time.time()), LEFT, "ASIADAEMON")
    monkeypatch.setattr(agent_first, "ask", lambda *_: handed_over)

    assert ask_first(made_by()).credentials == handed_over


@pytest.mark.parametrize("refusal", [None, AgentError("not for you", "ask root")])
def test_exec_makes_its_own_where_the_daemon_has_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refusal: AgentError | None
) -> None:
    daemon_says(monkeypatch, refusal)
    made = ask_first(made_by()).credentials

    assert made is not None
    assert made.access_key_id == "ASIAOWN"
    assert [record.getMessage() for record in caplog.records] == ([] if refusal is None else ["not for you (ask root)"])


@pytest.mark.parametrize(
    ("refusal", "error", "expected"),
    [
        (None, UnreadableKeyError("no key", "chmod"), "chmod; no daemon that has the session answers at /agent.sock"),
        (AgentError("not for you", "ask root"), UnreadableKeyError("no key", "chmod"), "ask root"),
        (AgentError("not for you", "ask root"), ConnectionFailedError("no way", "check DNS"), "check DNS"),
    ],
)
def test_exec_says_what_there_is_to_be_done(
    monkeypatch: pytest.MonkeyPatch, refusal: AgentError | None, error: HelperError, expected: str
) -> None:
    daemon_says(monkeypatch, refusal)
    told = ask_first(made_by(error)).error

    assert told is not None
    assert told.hint == expected
