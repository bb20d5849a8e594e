"""The broker against a store in memory: every path of `get` and `renew`, with time standing still."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.broker import Broker
from rolesanywhere_helper.domain.freshness import final_seconds
from rolesanywhere_helper.domain.ports import StoredEnd, StoredFailure, StoredSet
from rolesanywhere_helper.errors import ConnectionFailedError, HelperError, KeyMismatchError, UntrustedCertificateError
from tests.fakes.clock import FakeClock, FixedRandomness
from tests.fakes.sessions import credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rolesanywhere_helper.domain.credentials import Credentials

NOW = 1_800_000_000
REFUSAL = UntrustedCertificateError("Untrusted signing certificate")
OUTAGE = ConnectionFailedError("nothing listens at https://127.0.0.1:1")


@dataclass
class MemoryStore:
    entry: StoredSet | None = None
    failure: StoredFailure | None = None
    is_led_by_another: bool = False
    postponed_until: float | None = None

    def load(self) -> StoredSet | None:
        return self.entry

    def save(self, entry: StoredSet) -> None:
        self.entry, self.failure = entry, None

    def load_failure(self) -> StoredFailure | None:
        return self.failure

    def save_failure(self, failure: StoredFailure) -> None:
        self.failure = failure

    @contextmanager
    def try_lead(self, seconds: float) -> Iterator[bool]:
        assert seconds == 15
        yield not self.is_led_by_another

    def postpone_renewal(self, until: float) -> None:
        self.postponed_until = until

    def load_end(self) -> StoredEnd | None:
        raise AssertionError

    def save_end(self, end: StoredEnd) -> None:
        raise AssertionError(end)

    def load_attempt(self) -> float | None:
        raise AssertionError  # the daemon's, not the broker's

    def save_attempt(self, at: float) -> None:
        raise AssertionError(at)


@dataclass
class ScriptedMinter:
    clock: FakeClock
    lifetime: int = 3600
    error: HelperError | None = None
    calls: int = 0

    def mint(self) -> Credentials:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return credentials(int(self.clock.now()), self.lifetime, f"ASIA{self.calls}")


@dataclass
class House:
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    store: MemoryStore = field(default_factory=MemoryStore)
    renewals: int = 0

    def __post_init__(self) -> None:
        self.minter = ScriptedMinter(self.clock)

    def broker(self, least_seconds: int = 0) -> Broker:
        return Broker(
            store=self.store,
            minter=self.minter,
            mint_seconds=15,
            renew_in_background=self._count_renewal,
            clock=self.clock,
            randomness=FixedRandomness(),
            least_seconds=least_seconds,
        )

    def holds(self, *, age: int, lifetime: int = 3600) -> Credentials:
        held = credentials(NOW - age, lifetime, "ASIAHELD")
        self.store.entry = StoredSet(held, NOW - age + lifetime // 2)
        return held

    def _count_renewal(self) -> None:
        self.renewals += 1


def test_with_nothing_held_it_mints_and_keeps() -> None:
    house = House()
    made = house.broker().get()
    assert made.access_key_id == "ASIA1"
    assert house.store.entry is not None
    assert house.store.entry.credentials == made
    assert NOW + 0.35 * 3600 <= house.store.entry.due_at <= NOW + 3600 - 26 * 60


def test_fresh_is_used_and_nothing_is_asked() -> None:
    house = House()
    held = house.holds(age=60)
    assert house.broker().get() == held
    assert (house.minter.calls, house.renewals) == (0, 0)


@pytest.mark.promise(83)
@pytest.mark.parametrize(
    ("age", "lifetime", "expected", "mints", "renewals"),
    [
        (1790, 3600, "ASIAHELD", 0, 0),
        (1810, 3600, "ASIAHELD", 0, 1),
        (2990, 3600, "ASIAHELD", 0, 1),
        (3010, 3600, "ASIA1", 1, 0),
        (590, 900, "ASIAHELD", 0, 1),
        (610, 900, "ASIA1", 1, 0),
        (35_900, 43_200, "ASIAHELD", 0, 1),
        (36_100, 43_200, "ASIA1", 1, 0),
        (0, 240, "ASIA1", 1, 0),
    ],
)
def test_a_due_set_is_used_and_a_low_one_is_renewed_first(
    age: int, lifetime: int, expected: str, mints: int, renewals: int
) -> None:
    house = House()
    house.clock.advance(1)  # what was issued in this very second would count as just brought
    house.holds(age=age, lifetime=lifetime)
    assert house.broker().get().access_key_id == expected
    assert (house.minter.calls, house.renewals) == (mints, renewals)


@pytest.mark.promise(83)
@pytest.mark.parametrize("error", [REFUSAL, OUTAGE])
def test_a_low_set_survives_a_failed_renewal(error: HelperError) -> None:
    house = House()
    held = house.holds(age=3300)
    house.minter.error = error
    assert house.broker().get() == held
    assert house.minter.calls == 1
    # … and the failure is remembered: the next call does not ask again at once
    assert house.broker().get() == held
    assert house.minter.calls == 1


@pytest.mark.promise(83)
@pytest.mark.parametrize(
    ("age", "lifetime", "expected"),
    [
        (1200, 3600, "ASIAHELD"),
        (1790, 3600, "ASIAHELD"),
        (1801, 3600, "ASIA1"),
        (440, 900, "ASIAHELD"),
        (460, 900, "ASIA1"),
        (21_500, 43_200, "ASIAHELD"),
        (21_700, 43_200, "ASIA1"),
    ],
)
def test_what_cannot_be_renewed_where_it_goes_has_half_left(age: int, lifetime: int, expected: str) -> None:
    house = House()
    house.clock.advance(1)
    house.holds(age=age, lifetime=lifetime)
    assert house.broker(final_seconds(lifetime)).get().access_key_id == expected


@pytest.mark.promise(83)
def test_half_is_of_what_was_asked_for_where_a_set_does_not_tell_how_long_it_was() -> None:
    house = House()
    house.clock.advance(1)
    house.holds(age=60, lifetime=1500)  # from a daemon, which had it for a while
    assert house.broker(final_seconds(3600)).get().access_key_id == "ASIA1"


@pytest.mark.promise(83)
@pytest.mark.parametrize("error", [REFUSAL, OUTAGE])
def test_less_than_half_is_used_when_the_renewal_fails_until_it_expires(error: HelperError) -> None:
    house = House()
    held = house.holds(age=2000)
    house.minter.error = error
    assert house.broker(1800).get() == held
    house.clock.advance(1700)
    with pytest.raises(type(error)):
        house.broker(1800).get()


@pytest.mark.promise(34)
def test_who_waits_for_half_does_not_take_less_that_another_left() -> None:
    house = House()
    house.clock.advance(1)
    house.store.is_led_by_another = True
    left = credentials(NOW - 2000, 3600, "ASIALESS")

    def bring() -> None:
        house.store.entry = StoredSet(left, NOW + 1600)
        house.store.is_led_by_another = False

    _when_asleep(house, bring)
    assert house.broker(1800).get().access_key_id == "ASIA1"


@pytest.mark.promise(83)
def test_an_expired_set_is_never_used() -> None:
    house = House()
    house.holds(age=3600)
    house.minter.error = OUTAGE
    with pytest.raises(ConnectionFailedError):
        house.broker().get()


def test_a_set_that_expires_while_its_renewal_fails_is_not_used() -> None:
    house = House()
    house.holds(age=3599)

    def fail_slowly() -> Credentials:
        house.clock.advance(15)
        raise OUTAGE

    house.minter.mint = fail_slowly  # type: ignore[method-assign] # the fake itself is what changes
    with pytest.raises(ConnectionFailedError):
        house.broker().get()


@pytest.mark.promise(82)
@pytest.mark.parametrize(("error", "seconds"), [(REFUSAL, 30), (OUTAGE, 5)])
def test_a_failure_is_remembered_for_its_time(error: HelperError, seconds: int) -> None:
    house = House()
    house.minter.error = error
    with pytest.raises(type(error)):
        house.broker().get()
    house.clock.advance(seconds - 1)
    with pytest.raises(type(error), match=str(error)) as told_again:
        house.broker().get()
    assert "asked again in 1 s" in told_again.value.hint
    assert house.minter.calls == 1
    house.clock.advance(1)
    house.minter.error = None
    assert house.broker().get().access_key_id == "ASIA2"


@pytest.mark.promise(82)
def test_what_this_machine_refused_itself_is_tried_again_at_once() -> None:
    house = House()
    house.minter.error = KeyMismatchError("the key does not belong to the certificate")
    with pytest.raises(KeyMismatchError):
        house.broker().get()
    house.minter.error = None
    assert house.broker().get().access_key_id == "ASIA2"


@pytest.mark.promise(82)
def test_a_failure_from_before_the_clock_was_set_back_is_forgotten() -> None:
    house = House()
    house.store.failure = StoredFailure(NOW + 3600, NOW + 3630, REFUSAL)
    assert house.broker().get().access_key_id == "ASIA1"


def _when_asleep(house: House, happens: Callable[[], None]) -> None:
    def once() -> None:
        if len(house.clock.slept) == 3:
            happens()

    house.store.is_led_by_another = True
    house.clock.while_asleep = once


@pytest.mark.promise(34)
def test_who_waits_takes_what_the_leader_brings() -> None:
    house = House()
    brought = credentials(NOW, 3600, "ASIALEADER")
    _when_asleep(house, lambda: house.store.save(StoredSet(brought, NOW + 1800)))
    assert house.broker().get() == brought
    assert house.minter.calls == 0
    assert len(house.clock.slept) == 3


@pytest.mark.promise(34)
def test_who_waits_takes_also_a_short_set_that_was_just_made() -> None:
    house = House()
    brought = credentials(NOW, 240, "ASIALEADER")
    _when_asleep(house, lambda: house.store.save(StoredSet(brought, NOW + 120)))
    assert house.broker().get() == brought
    assert house.minter.calls == 0


@pytest.mark.promise(83)
def test_a_short_set_made_in_this_very_second_is_renewed_by_who_asks_next() -> None:
    house = House()
    house.store.save(StoredSet(credentials(NOW, 240, "ASIASHORT"), NOW + 120))
    assert house.broker().get().access_key_id == "ASIA1"
    assert house.minter.calls == 1


@pytest.mark.promise(35)
def test_who_waits_is_told_how_the_leader_failed() -> None:
    house = House()
    _when_asleep(house, lambda: house.store.save_failure(StoredFailure(house.clock.now(), house.clock.now(), REFUSAL)))
    with pytest.raises(UntrustedCertificateError):
        house.broker().get()
    assert house.minter.calls == 0


def test_an_old_failure_is_not_taken_for_the_leaders() -> None:
    house = House()
    house.store.failure = StoredFailure(NOW - 100, NOW - 70, REFUSAL)
    assert house.broker().get().access_key_id == "ASIA1"


@pytest.mark.promise(35)
def test_who_waits_leads_when_it_may() -> None:
    house = House()

    def give_up() -> None:
        house.store.is_led_by_another = False

    _when_asleep(house, give_up)
    assert house.broker().get().access_key_id == "ASIA1"
    assert len(house.clock.slept) == 3


def test_renew_makes_a_new_set() -> None:
    house = House()
    house.holds(age=2000)
    house.broker().renew()
    assert house.store.entry is not None
    assert house.store.entry.credentials.access_key_id == "ASIA1"


@pytest.mark.parametrize("reason", ["fresh", "led by another", "remembered"])
def test_renew_does_nothing_when_there_is_a_reason(reason: str) -> None:
    house = House()
    house.holds(age=10 if reason == "fresh" else 2000)
    house.store.is_led_by_another = reason == "led by another"
    if reason == "remembered":
        house.store.failure = StoredFailure(NOW - 1, NOW + 29, REFUSAL)
    house.broker().renew()
    assert house.minter.calls == 0


@pytest.mark.parametrize(
    ("error", "age", "wait"),
    [(OUTAGE, 2000, 200), (OUTAGE, 3500, 15), (OUTAGE, 3600, 30), (REFUSAL, 2000, 450)],
)
def test_a_failed_renewal_is_put_off_and_takes_nothing_away(error: HelperError, age: int, wait: float) -> None:
    house = House()
    held = house.holds(age=age)
    house.minter.error = error
    with pytest.raises(type(error)):
        house.broker().renew()
    assert house.store.entry is not None
    assert house.store.entry.credentials == held
    assert house.store.postponed_until == NOW + wait
