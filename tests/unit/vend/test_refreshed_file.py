"""When a profile is written again: by the policy, after a new certificate or a step of the clock, until a signal."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import ConnectionFailedError, HelperError, InvalidArnError, RefusedError
from rolesanywhere_helper.vend.refreshed_file import LONGEST_SLEEP_SECONDS, RefreshedFile
from tests.fakes.clock import FixedRandomness

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.vend.credentials_file import CredentialsFile

START = 1_800_000_000
ROLE = "arn:aws:iam::111122223333:role/Deploy"


@dataclass
class World:
    """Time, a source and a file; ``steps`` bounds a test, ``at_step`` makes things happen."""

    wall: float = START
    boot: float = 1000.0
    lifetime: int = 3600
    failure: HelperError | None = None
    sight: int = 0
    asked_at: list[float] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    path: str = "/file"
    profile: str = "prod"

    def now(self) -> float:
        return self.wall

    def boottime(self) -> float:
        return self.boot

    def get(self) -> Credentials:
        self.asked_at.append(self.wall - START)
        if self.failure is not None:
            raise self.failure
        now = int(self.wall)
        return Credentials(f"AKID{len(self.asked_at)}", "s", "t", now, now + self.lifetime, ROLE)

    def write(self, credentials: Credentials) -> bool:
        self.written.append(credentials.access_key_id)
        return True

    def keep(self, seconds: float, at_look: Callable[[int], None] = lambda _: None) -> None:
        """Let so many seconds pass."""
        ends_at = self.boot + seconds
        looks = 0

        def wait(slept: float) -> bool:
            nonlocal looks
            assert 0 <= slept <= LONGEST_SLEEP_SECONDS
            self.wall += max(slept, 0.001)
            self.boot += max(slept, 0.001)
            looks += 1
            at_look(looks)
            return self.boot >= ends_at

        file = RefreshedFile(self, cast("CredentialsFile", self), lambda: self.sight, self, FixedRandomness())
        file.keep(wait, lambda: None)


def test_a_new_set_is_asked_for_at_the_refresh_point_of_the_last() -> None:
    world = World()

    world.keep(4 * 3600)

    gaps = [after - before for before, after in zip(world.asked_at, world.asked_at[1:], strict=False)]
    assert 0.35 * 3600 <= min(gaps) <= max(gaps) <= 0.60 * 3600 + LONGEST_SLEEP_SECONDS
    assert world.written == [f"AKID{number}" for number in range(1, len(world.written) + 1)]


def test_an_outage_is_waited_out_by_the_policy(caplog: pytest.LogCaptureFixture) -> None:
    world = World(failure=ConnectionFailedError("no route"))

    with caplog.at_level(logging.INFO, "rolesanywhere_helper"):
        world.keep(300)

    assert len(world.asked_at) == 10, "about every 30 seconds while there is nothing"
    levels = [record.levelname for record in caplog.records]
    assert levels.count("WARNING") == 1, "told loudly once"
    assert world.written == []


def test_a_refusal_is_not_repeated_for_minutes_but_at_once_when_the_certificate_changes() -> None:
    world = World(failure=RefusedError("no"))

    def replace_certificate(look: int) -> None:
        if look == 4:
            world.sight, world.failure = 1, None

    world.keep(240, replace_certificate)

    assert world.asked_at == [0, pytest.approx(60)]
    assert world.written == ["AKID2"]


def test_a_clock_set_forward_is_noticed_by_looking() -> None:
    world = World()

    def set_clock(look: int) -> None:
        if look == 2:
            world.wall += 7200

    world.keep(60, set_clock)

    assert len(world.written) == 2


def test_a_clock_set_back_delays_nothing() -> None:
    world = World()

    def set_clock(look: int) -> None:
        if look == 2:
            world.wall -= 7200

    world.keep(3000, set_clock)

    assert len(world.written) >= 2


def test_a_session_that_is_due_at_once_makes_no_busy_loop() -> None:
    world = World(lifetime=2)

    world.keep(300)

    assert len(world.asked_at) <= 300 / 15 + 1


def test_what_has_no_meaning_ends_it() -> None:
    with pytest.raises(InvalidArnError):
        World(failure=InvalidArnError("x")).keep(60)
