"""What a session of the daemon hands out, and when it asks for an attempt, at moments of two clocks."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.domain.ports import StoredSet
from rolesanywhere_helper.domain.serving import AccessPolicy
from rolesanywhere_helper.errors import (
    BadExpirationError,
    ConnectionFailedError,
    KeyMismatchError,
    LeafExpiredError,
    LeafNotYetValidError,
    UntrustedCertificateError,
    WrongRoleError,
)
from rolesanywhere_helper.protocol.mint_exchange import Answer
from tests.fakes.clock import FixedRandomness
from tests.fakes.sessions import credentials

if TYPE_CHECKING:
    from tests.unit.daemon.conftest import Host

OUTAGE = ConnectionFailedError("nothing listens at https://127.0.0.1:1")
REFUSAL = UntrustedCertificateError("Untrusted signing certificate")
# With the draws of these tests: the middle of 35 % to 34 minutes of an hour.
DUE = 1650


def test_it_begins_with_nothing_and_wants_an_attempt_at_once(host: Host) -> None:
    session = host.started()

    assert session.current() is None
    assert session.seconds_to_attempt() <= 0
    assert session.status().has_credentials is False
    assert (session.name, session.role_name, session.region) == ("deploy", "Deploy", "eu-central-1")


def test_what_was_made_is_handed_out_kept_and_renewed_at_its_refresh_point(host: Host) -> None:
    session = host.holding()

    held = session.current()
    assert held is not None
    assert held.credentials is host.service.made["ASIAA0"]
    assert host.store.entry == StoredSet(held.credentials, held.due_at)
    assert session.seconds_to_attempt() == pytest.approx(DUE, abs=1)
    host.world.advance(DUE - 5)
    assert session.seconds_to_attempt() > 0
    host.world.advance(10)
    assert session.seconds_to_attempt() <= 0
    assert session.current() is held


@pytest.mark.promise(68)
@pytest.mark.parametrize("error", [OUTAGE, REFUSAL])
def test_a_failure_takes_nothing_away_until_the_real_end(host: Host, error: Any) -> None:
    session = host.holding()
    held = session.current()
    host.service.error = error

    host.world.advance(2000)
    host.attempt(session)
    assert session.current() is held
    host.world.advance(1599)
    host.attempt(session)
    assert session.current() is held
    host.world.advance(1)
    assert session.current() is None
    assert session.status().last_error == (error.code, error.what, error.hint)
    host.service.error = None
    host.attempt(session)
    assert session.current() is not None


@pytest.mark.promise(43)
def test_a_clock_set_forward_ends_the_set_and_brings_an_attempt_at_once(host: Host) -> None:
    session = host.holding()

    host.world.set_clock(7200)

    assert session.current() is None
    assert session.seconds_to_attempt() <= 0


@pytest.mark.promise(43)
def test_a_clock_set_forward_a_little_changes_nothing(host: Host) -> None:
    session = host.holding()

    host.world.set_clock(600)

    assert session.current() is not None
    assert session.seconds_to_attempt() > 0


@pytest.mark.promise(43)
def test_when_the_clock_is_put_right_the_set_is_good_again(host: Host) -> None:
    session = host.holding()
    host.world.set_clock(7200)
    host.attempt(session)
    assert session.current() is None

    host.world.set_clock(0)

    assert session.current() is not None
    assert session.seconds_to_attempt() <= 15


@pytest.mark.promise(44)
def test_a_clock_set_back_lengthens_nothing_and_brings_no_attempt(host: Host) -> None:
    session = host.holding()

    host.world.set_clock(-7200)

    assert session.seconds_to_attempt() == pytest.approx(DUE, abs=1)
    host.world.advance(3599)
    assert session.current() is not None
    assert session.seconds_to_attempt() <= 0
    host.world.advance(1)
    assert host.world.now() < host.service.made["ASIAA0"].expires_at  # by the wall clock alone it would be good
    assert session.current() is None


@pytest.mark.promise(44)
def test_a_clock_set_back_does_not_let_the_cache_lengthen_it_either(host: Host) -> None:
    session = host.holding()
    host.world.advance(3000)
    host.world.set_clock(-2900)  # now the same set looks fresh in the cache
    assert host.store.entry is not None

    host.attempt(session)
    host.world.advance(600)

    assert session.current() is None


@pytest.mark.promise(45)
def test_a_suspend_ends_a_set_and_brings_the_attempt(host: Host) -> None:
    session = host.holding()

    host.world.suspend(2000)
    assert session.current() is not None
    assert session.seconds_to_attempt() <= 0
    host.world.suspend(1600)
    assert session.current() is None


@pytest.mark.promise(46)
def test_a_skew_is_told_as_an_error_and_a_figure(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    session = host.started()
    host.world.set_clock(-1800)

    host.attempt(session)

    status = session.status()
    assert status.clock_skew_seconds == -1800
    assert status.last_error is not None
    assert status.last_error[0] == "clock-skew"
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in told] == [
        "session deploy: this machine's clock is 1800 s behind the service's: set it"
    ]


@pytest.mark.promise(46)
def test_a_small_skew_is_only_a_figure(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    session = host.started()
    host.world.set_clock(20)

    host.attempt(session)

    assert session.status().clock_skew_seconds == 20
    assert session.status().last_error is None
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.promise(47, 66)
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"expires_at": -10}, BadExpirationError),
        ({"expires_at": 0}, BadExpirationError),
        ({"expires_at": 3600 + 301}, BadExpirationError),
        ({"expires_at": 10**9}, BadExpirationError),
        ({"role_arn": "arn:aws:iam::111122223333:role/Other"}, WrongRoleError),
    ],
)
def test_a_set_that_cannot_be_right_is_a_failure(host: Host, change: dict[str, Any], error: Any) -> None:
    session = host.started()
    if "expires_at" in change:
        change = {"expires_at": int(host.world.now()) + change["expires_at"]}
    session.begin()

    session.accept(Answer(replace(credentials(int(host.world.now())), **change)))

    assert session.current() is None
    told = session.status().last_error
    assert told is not None
    assert told[0] == error.code
    assert 15 <= session.seconds_to_attempt() <= 45


@pytest.mark.promise(47)
def test_a_set_of_seconds_makes_no_busy_loop_and_replaces_no_better_one(host: Host) -> None:
    session = host.started()
    host.service.lifetime = 5
    host.attempt(session)
    assert session.current() is not None
    assert session.seconds_to_attempt() >= 15

    host.service.lifetime = 3600
    host.attempt(session)
    better = session.current()
    host.service.lifetime = 5
    host.world.advance(DUE + 10)
    host.attempt(session)

    assert session.current() is better
    assert session.seconds_to_attempt() >= 15


@pytest.mark.promise(54)
@pytest.mark.parametrize("error", [LeafExpiredError("expired"), LeafNotYetValidError("not yet")])
def test_a_certificate_out_of_its_time_is_tried_again_when_file_or_clock_change(host: Host, error: Any) -> None:
    session = host.started()
    host.service.error = error
    host.attempt(session)
    assert session.status().last_error == (error.code, error.what, error.hint)
    assert session.seconds_to_attempt() >= 300

    host.world.advance(20)
    host.world.set_clock(3600)
    assert session.seconds_to_attempt() <= 0

    host.attempt(session)
    assert session.seconds_to_attempt() >= 300
    session.identity_changed()
    assert session.seconds_to_attempt() <= 1


@pytest.mark.promise(54)
def test_a_certificate_is_tried_when_its_time_comes(host: Host) -> None:
    session = host.started()
    host.service.error = LeafNotYetValidError("not yet")
    host.service.not_before = int(host.world.now()) + 60

    host.attempt(session)

    assert 60 <= session.seconds_to_attempt() <= 66


@pytest.mark.promise(55)
def test_an_expired_certificate_takes_no_credentials_away(host: Host) -> None:
    session = host.holding()
    host.service.error = LeafExpiredError("the certificate CN=host expired")
    host.service.not_before, host.service.not_after = int(host.world.now()) - 900, int(host.world.now()) + 100
    host.world.advance(2000)

    host.attempt(session)

    status = session.status()
    assert session.current() is not None
    assert status.certificate_not_after is not None
    assert status.certificate_not_after < host.world.now()
    assert status.certificate_not_before == host.service.not_before
    host.world.advance(1600)
    assert session.current() is None


@pytest.mark.promise(60)
@pytest.mark.parametrize("point", [0, 0.5, 1])
def test_after_a_refusal_it_waits_five_to_ten_minutes_unless_the_certificate_changes(host: Host, point: float) -> None:
    host.randomness = FixedRandomness(point)
    session = host.holding()
    host.service.error = REFUSAL
    host.world.advance(2100)

    host.attempt(session)

    assert session.current() is not None
    assert session.seconds_to_attempt() == pytest.approx(300 + 300 * point)
    host.world.advance(60)
    assert session.seconds_to_attempt() > 200
    session.identity_changed()
    assert session.seconds_to_attempt() <= 0


@pytest.mark.promise(61)
@pytest.mark.parametrize(("age", "wait"), [(1700, 237.5), (2000, 200), (3000, 75), (3500, 15), (3601, 30)])
def test_after_an_outage_it_comes_back_the_sooner_the_less_is_left(host: Host, age: float, wait: float) -> None:
    session = host.holding()
    host.service.error = OUTAGE
    host.world.advance(age)

    host.attempt(session)

    assert session.seconds_to_attempt() == pytest.approx(wait, abs=1)


@pytest.mark.promise(70)
def test_a_restart_with_a_valid_set_makes_no_attempt(host: Host) -> None:
    before = host.holding()
    made = before.current()
    assert made is not None
    host.world.advance(600)

    again = host.started()

    held = again.current()
    assert held is not None
    assert held.credentials == made.credentials
    assert again.seconds_to_attempt() == pytest.approx(DUE - 600, abs=1)
    assert host.store.led == 2  # and sweeps up at each start


@pytest.mark.promise(70)
def test_a_restart_when_it_is_due_makes_one(host: Host) -> None:
    host.holding()
    host.world.advance(DUE + 10)

    again = host.started()

    assert again.current() is not None
    assert again.seconds_to_attempt() <= 0


@pytest.mark.parametrize("age", [-301, 3600])
def test_a_cached_set_that_has_expired_or_is_from_the_future_is_none(host: Host, age: int) -> None:
    issued_at = int(host.world.now()) - age
    host.store.entry = StoredSet(credentials(issued_at), issued_at + DUE)

    session = host.started()

    assert session.current() is None
    assert session.seconds_to_attempt() <= 0


@pytest.mark.promise(44)
@pytest.mark.parametrize(
    ("boot_id", "is_believed"), [("boot 1", False), ("boot 2", True), (None, True)], ids=["same", "other", "unknown"]
)
def test_a_restart_after_the_clock_was_set_back_lengthens_nothing_in_the_same_boot(
    host: Host, boot_id: str | None, *, is_believed: bool
) -> None:
    host.holding()
    host.world.advance(2000)
    host.world.set_clock(-1900)
    host.boot_id = boot_id

    again = host.started()
    wait = again.seconds_to_attempt()
    host.world.advance(1601)

    assert (again.current() is not None) is is_believed
    assert (wait > 0) is is_believed


@pytest.mark.promise(71)
@pytest.mark.parametrize(("point", "wait"), [(0, 15), (1, 30)])
def test_after_a_restart_the_next_attempt_keeps_its_distance_to_the_last(host: Host, point: float, wait: float) -> None:
    host.randomness = FixedRandomness(point)
    host.service.error = OUTAGE
    host.attempt(host.started())
    host.world.advance(1)

    again = host.started()

    assert again.seconds_to_attempt() == pytest.approx(wait - 1)


@pytest.mark.promise(71)
def test_unless_the_certificate_has_changed(host: Host) -> None:
    host.service.error = OUTAGE
    host.attempt(host.started())
    host.certificate = "B"

    assert host.started().seconds_to_attempt() <= 0


def test_an_attempt_from_the_future_says_nothing(host: Host) -> None:
    host.store.attempt = host.world.now() + 3600

    assert host.started().seconds_to_attempt() <= 0


def test_the_start_may_be_put_off_but_not_past_what_is_held(host: Host) -> None:
    delayed = host.session(start_jitter_seconds=120)
    delayed.start()
    assert delayed.seconds_to_attempt() == 120

    issued_at = int(host.world.now()) - 3500
    host.store.entry = StoredSet(credentials(issued_at), issued_at + DUE)
    hurried = host.session(start_jitter_seconds=120)
    hurried.start()
    assert hurried.seconds_to_attempt() == pytest.approx(50)


def test_what_another_process_made_is_taken_without_a_call(host: Host) -> None:
    session = host.holding()
    host.world.advance(DUE + 10)
    other = credentials(int(host.world.now()) - 5, access_key_id="ASIAOTHER")
    host.store.entry = StoredSet(other, other.issued_at + DUE)

    host.attempt(session)

    held = session.current()
    assert held is not None
    assert held.credentials == other
    assert len(host.service.made) == 1
    assert session.seconds_to_attempt() == pytest.approx(DUE - 5, abs=1)


@pytest.mark.promise(51)
def test_a_change_that_changed_nothing_makes_no_call(host: Host) -> None:
    session = host.holding()
    held = session.current()

    session.identity_changed()
    host.attempt(session)

    assert session.current() is held
    assert len(host.service.made) == 1


@pytest.mark.promise(40)
def test_what_was_made_while_the_certificate_changed_is_kept_under_no_name(host: Host) -> None:
    session = host.started()
    session.begin()
    assert session.prepare() is None
    host.certificate = "B"

    session.accept(host.service.answer())
    session.keep()

    assert session.current() is not None
    assert [store.entry for store in host.stores.values()] == [None, None]


def test_a_failure_is_kept_for_other_processes(host: Host) -> None:
    session = host.started()
    host.service.error = REFUSAL

    host.attempt(session)

    assert host.store.failure is not None
    assert host.store.failure.error is REFUSAL
    assert host.store.failure.until - host.store.failure.failed_at == 30


def test_without_a_cache_it_works_as_well(host: Host) -> None:
    host.has_cache = False
    session = host.holding()

    assert session.current() is not None


@pytest.mark.promise(48)
def test_files_that_do_not_match_yet_are_tried_again_soon_and_the_old_pair_serves(host: Host) -> None:
    session = host.holding()
    held = session.current()
    host.world.advance(60)
    host.certificate = "B"
    host.service.error = KeyMismatchError("the key does not belong to the certificate")

    session.identity_changed()
    waits = []
    for _ in range(5):
        host.world.advance(max(0.0, session.seconds_to_attempt()))
        host.attempt(session)
        waits.append(session.seconds_to_attempt())

    assert waits == [0.5, 1, 2, 2, 2]
    assert session.current() is held


@pytest.mark.promise(48)
def test_files_that_changed_long_ago_are_not_hurried_after(host: Host) -> None:
    session = host.holding()
    host.service.error = KeyMismatchError("the key does not belong to the certificate")
    host.world.advance(2000)

    host.attempt(session)

    assert session.seconds_to_attempt() >= 15


@pytest.mark.promise(47)
def test_files_that_never_come_to_rest_make_no_busy_loop(host: Host) -> None:
    session = host.holding()
    attempts = 0
    for step in range(3000):
        host.world.advance(0.1)
        host.certificate = f"certificate {step}"
        session.identity_changed()
        if session.seconds_to_attempt() <= 0:
            attempts += 1
            host.attempt(session)

    assert 20 <= attempts <= 40


def test_a_reload_that_asks_for_the_same_keeps_what_is_held(host: Host) -> None:
    old = host.holding()
    host.certificate = "B"
    new = host.started()
    assert new.current() is None

    new.take_over(old)
    new.reconfigure(policy=AccessPolicy(frozenset({0, 1000})), region=None)

    assert new.current() is old.current()
    assert new.seconds_to_attempt() <= 0
    assert new.region is None
    assert new.policy.uids == {0, 1000}


def test_a_reload_that_asks_for_another_role_does_not(host: Host) -> None:
    old = host.holding()
    host.certificate = "B"
    new = host.started()
    new.role_arn = replace(new.role_arn, resource="role/Other")

    new.take_over(old)

    assert new.current() is None


def test_a_reload_that_asks_for_another_length_keeps_what_there_is(host: Host) -> None:
    old = host.holding()
    host.certificate = "B"
    new = host.started()
    new._duration_seconds = 7200

    new.take_over(old)

    assert new.current() is not None


def test_a_failure_is_a_warning_once_and_then_a_note(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    session = host.started()
    host.service.error = OUTAGE

    host.attempt(session)
    host.attempt(session)

    levels = [record.levelname for record in caplog.records if "nothing listens" in record.getMessage()]
    assert levels == ["WARNING", "INFO"]


def test_a_warning_of_the_child_is_told_once(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    session = host.started()
    for _ in range(2):
        session.begin()
        session.accept(replace(host.service.answer(), warnings=("the key is readable by everybody",)))

    assert [record.getMessage() for record in caplog.records] == ["session deploy: the key is readable by everybody"]


@pytest.mark.promise(72)
def test_no_secret_is_in_status_or_log(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    session = host.holding()

    assert "ASIAA0" in caplog.text
    for text in (caplog.text, repr(session.status()), repr(session.current())):
        assert "secret of" not in text
        assert "token of" not in text


def test_after_a_push_a_cached_set_of_before_is_no_answer(host: Host) -> None:
    session = host.holding()
    host.world.advance(5)
    assert host.started().seconds_to_attempt() > 0, "what lies there is fresh"

    session.identity_pushed()
    assert session.seconds_to_attempt() <= 0
    before = session.current()
    host.attempt(session)
    assert session.current() != before
    assert len(host.store.attempts) == 2
    # What was made since is one, and a change that is no push asks for nothing more.
    host.world.advance(5)
    session.identity_changed()
    host.attempt(session)
    assert len(host.store.attempts) == 2
