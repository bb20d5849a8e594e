"""A session inside somebody else's program: when it asks again, and what it does when that fails."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import ConnectionFailedError, HelperError
from rolesanywhere_helper.wiring.library import KeptSource
from tests.fakes.clock import FakeClock, FixedRandomness

HOUR = 3600


class Source:
    """Gives a new set for each call, or raises what it is told to."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls = 0
        self.error: HelperError | None = None
        self.gives_the_same = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def get(self) -> Credentials:
        self.may_go_on.wait(10)
        self.calls += 1
        if self.error is not None:
            raise self.error
        number = 1 if self.gives_the_same else self.calls
        now = int(self.clock.wall if not self.gives_the_same else 1_800_000_000)
        return Credentials(f"ASIA{number}", "secret", "token", now, now + HOUR, "arn:aws:iam::111122223333:role/R")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source(clock: FakeClock) -> Source:
    return Source(clock)


@pytest.fixture
def kept(source: Source, clock: FakeClock) -> KeptSource:
    return KeptSource(source, clock, FixedRandomness(1))


def test_a_set_is_kept_until_it_is_due(kept: KeptSource, source: Source, clock: FakeClock) -> None:
    first = kept.get()
    clock.advance(HOUR // 3)
    assert kept.get() == first
    assert source.calls == 1

    clock.advance(HOUR // 3)
    assert kept.get() != first
    assert source.calls == 2


def test_a_failed_renewal_is_put_off_and_what_is_valid_is_used(
    kept: KeptSource, source: Source, clock: FakeClock
) -> None:
    first = kept.get()
    clock.advance(HOUR * 2 // 3)
    source.error = ConnectionFailedError("no way")

    assert [kept.get() for _ in range(5)] == [first] * 5
    assert source.calls == 2

    clock.advance(HOUR)
    with pytest.raises(ConnectionFailedError):
        kept.get()


def test_a_source_that_has_nothing_newer_is_not_asked_for_each_call(
    kept: KeptSource, source: Source, clock: FakeClock
) -> None:
    source.gives_the_same = True
    kept.get()
    clock.advance(HOUR * 2 // 3)

    for _ in range(5):
        kept.get()
    assert source.calls == 2
    clock.advance(20)
    kept.get()
    assert source.calls == 3


def test_many_threads_make_one_call(kept: KeptSource, source: Source) -> None:
    source.may_go_on.clear()
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(kept.get) for _ in range(8)]
        source.may_go_on.set()
        found = {each.result(10).access_key_id for each in waiting}

    assert found == {"ASIA1"}
    assert source.calls == 1
