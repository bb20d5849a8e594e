"""The refresher in virtual time: what it notices, how often it tries, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import pytest

from rolesanywhere_helper.daemon.refresher import DISK_SECONDS, Refresher, in_a_thread
from rolesanywhere_helper.errors import (
    ChildNotStartedError,
    ConnectionFailedError,
    DeadlineExceededError,
    HelperError,
    KeyMismatchError,
    LeafExpiredError,
    RefusedError,
    UntrustedCertificateError,
)
from tests.fakes.virtual_time import at_once, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rolesanywhere_helper.daemon.sessions import DaemonSession
    from rolesanywhere_helper.domain.serving import HeldSet
    from rolesanywhere_helper.protocol.mint_exchange import Answer, Question
    from tests.unit.daemon.conftest import Host

OUTAGE = ConnectionFailedError("nothing listens at https://127.0.0.1:1")
MISMATCH = KeyMismatchError("the key does not belong to the certificate")
HOUR = 3600


@dataclass
class Kept:
    """A session that a refresher keeps, for the length of a test."""

    host: Host
    session: DaemonSession
    refresher: Refresher


def keep(host: Host, test: Callable[[Kept], Awaitable[None]]) -> None:
    async def main() -> None:
        refresher = host.refresher()
        session = host.started()
        refresher.add(session)
        await test(Kept(host, session, refresher))
        assert refresher.is_alive
        await refresher.stop()
        assert host.service.running == 0

    run(host.world, main())


def test_the_first_attempt_comes_at_once_and_its_end_is_told(host: Host) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        assert kept.session.current() is not None
        assert host.world.elapsed == pytest.approx(0.5)

    keep(host, test)


@pytest.mark.promise(80)
def test_a_first_attempt_that_fails_has_ended_too_and_credentials_can_be_waited_for(host: Host) -> None:
    async def test(kept: Kept) -> None:
        host.service.error = OUTAGE
        await kept.refresher.first_attempt_ended("deploy")
        assert kept.session.current() is None
        host.service.error = None
        await kept.refresher.wait_for_credentials("deploy")
        assert kept.session.current() is not None
        assert host.world.elapsed < 60

    keep(host, test)


@pytest.mark.promise(70)
def test_with_a_valid_cache_nothing_is_waited_for(host: Host) -> None:
    host.holding()

    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        await kept.refresher.wait_for_credentials("deploy")
        assert host.service.calls == 0
        await asyncio.sleep(1000)
        assert host.service.calls == 0

    keep(host, test)


@pytest.mark.promise(67, 68)
def test_with_the_service_hung_what_is_valid_stays_and_attempts_are_few(host: Host) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        held = kept.session.current()
        host.service.seconds, host.service.error = 15, DeadlineExceededError("no session within 15 s")
        await asyncio.sleep(1800)
        began = host.service.calls
        for _ in range(60):  # ten minutes
            assert kept.session.current() is held
            await asyncio.sleep(10)
        assert 1 <= host.service.calls - began <= 20
        host.service.seconds, host.service.error = 0.5, None
        await asyncio.sleep(300)
        assert kept.session.current() not in (None, held)

    keep(host, test)


@pytest.mark.promise(68)
def test_the_end_of_a_set_is_told_when_it_comes(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        host.service.error = RefusedError("no", "none")
        held = kept.session.current()
        assert held is not None
        await asyncio.sleep(held.credentials.expires_at - host.world.now() - 0.5)
        assert kept.session.current() is held
        assert "have expired" not in caplog.text
        await asyncio.sleep(0.6)
        assert kept.session.current() is None
        assert "its credentials have expired" in caplog.text

    keep(host, test)


def test_what_could_not_even_be_started_is_tried_again_within_seconds(host: Host) -> None:
    async def attempts_in_a_minute(kept: Kept, error: HelperError) -> int:
        host.service.error = error
        host.certificate += "B"
        kept.refresher.identity_changed("deploy")
        await asyncio.sleep(40)
        before = host.service.calls
        await asyncio.sleep(60)
        return host.service.calls - before

    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        assert 10 <= await attempts_in_a_minute(kept, ChildNotStartedError("no descriptors")) <= 20
        # The negative control: the service's own trouble is given time.
        assert await attempts_in_a_minute(kept, OUTAGE) <= 1

    keep(host, test)


@pytest.mark.promise(69)
def test_a_thousand_readers_during_a_refresh_are_one_attempt_and_no_torn_set(host: Host) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        calls = host.service.calls
        seen = set()

        async def read() -> None:
            for _ in range(40):
                held = kept.session.current()
                assert held is not None
                made = held.credentials
                assert made.secret_access_key == f"secret of {made.access_key_id}"
                assert made.session_token == f"token of {made.access_key_id}"
                seen.add(made.access_key_id)
                await asyncio.sleep(50)

        await asyncio.gather(*(read() for _ in range(1000)))
        assert host.service.calls - calls == 1
        assert seen == {"ASIAA0", "ASIAA1"}
        assert host.service.most_running == 1

    keep(host, test)


@pytest.mark.promise(43)
def test_a_clock_set_forward_is_noticed_within_half_a_minute(host: Host) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        host.world.set_clock(-7200)
        host.world.suspended += 7200  # so that the clock was wrong, and is now set right: two hours forward
        host.world.set_clock(0)
        assert kept.session.current() is None
        await asyncio.sleep(30)
        assert kept.session.current() is not None

    keep(host, test)


@pytest.mark.promise(43)
def test_a_clock_set_wrong_costs_few_calls_and_the_return_is_noticed(host: Host) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        host.world.set_clock(7200)
        assert kept.session.current() is None
        await asyncio.sleep(30)
        assert host.service.calls == 2
        await asyncio.sleep(600)
        assert host.service.calls <= 4
        host.world.set_clock(0)
        assert kept.session.current() is not None
        await asyncio.sleep(30)
        assert kept.session.status().last_error is None

    keep(host, test)


@pytest.mark.promise(44)
def test_a_clock_set_back_makes_no_storm_and_nothing_is_served_too_long(host: Host) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        host.world.set_clock(-7200)
        while host.world.elapsed < 4 * HOUR:
            held = kept.session.current()
            assert held is None or host.world.true < held.credentials.expires_at
            assert (held is None) == (host.world.true >= host.service.made["ASIAA0"].expires_at)
            await asyncio.sleep(10)
        assert host.service.calls <= 2 + 4 * 12  # one in five minutes: each is refused for the clock's sake
        told = kept.session.status().last_error
        assert told is not None
        assert told[0] == "clock-skew"

    keep(host, test)


@pytest.mark.promise(45)
def test_a_suspend_past_the_refresh_point_is_noticed_within_half_a_minute(host: Host) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        old = kept.session.current()
        host.world.suspend(2000)
        await asyncio.sleep(30)
        assert kept.session.current() not in (None, old)
        host.world.suspend(8 * HOUR)
        assert kept.session.current() is None
        await asyncio.sleep(30)
        assert kept.session.current() is not None

    keep(host, test)


@pytest.mark.promise(45)
def test_a_suspend_before_the_refresh_point_makes_no_call(host: Host) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        host.world.suspend(600)
        await asyncio.sleep(30)
        assert host.service.calls == 1

    keep(host, test)


@pytest.mark.promise(48)
@pytest.mark.parametrize("is_told", [True, False])
def test_a_pair_is_switched_to_within_two_seconds_of_matching(host: Host, *, is_told: bool) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        old = kept.session.current()
        host.certificate, host.service.error = "B", MISMATCH
        kept.refresher.identity_changed("deploy")
        for _ in range(50):
            await asyncio.sleep(0.1)
            assert kept.session.current() is old
        host.service.error, host.service.generation = None, "B"
        if is_told:
            kept.refresher.identity_changed("deploy")
        await asyncio.sleep(2.0 if is_told else 3.0)
        held = kept.session.current()
        assert held is not None
        assert held.credentials.access_key_id.startswith("ASIAB")
        assert host.service.calls <= 8

    keep(host, test)


@pytest.mark.promise(48)
def test_a_change_during_an_attempt_is_followed_by_another(host: Host) -> None:
    async def test(kept: Kept) -> None:
        await asyncio.sleep(0.2)
        assert host.service.running == 1
        host.certificate, host.service.generation = "B", "B"
        kept.refresher.identity_changed("deploy")
        await asyncio.sleep(2)
        held = kept.session.current()
        assert held is not None
        assert held.credentials.access_key_id.startswith("ASIAB")
        assert (host.service.calls, host.service.most_running) == (2, 1)

    keep(host, test)


@pytest.mark.promise(54)
@pytest.mark.parametrize("mended_by", ["file", "clock"])
def test_an_expired_certificate_at_the_start_is_waited_out(host: Host, mended_by: str) -> None:
    async def test(kept: Kept) -> None:
        host.service.error = LeafExpiredError("the certificate CN=host expired")
        await kept.refresher.first_attempts_ended()
        await asyncio.sleep(1000)
        assert kept.session.current() is None
        told = kept.session.status().last_error
        assert told is not None
        assert told[0] == "leaf-expired"
        assert host.service.calls <= 5
        host.service.error = None
        if mended_by == "file":
            kept.refresher.identity_changed("deploy")
        else:
            host.world.set_clock(200)
        await asyncio.sleep(30)
        assert kept.session.current() is not None

    keep(host, test)


@pytest.mark.promise(60)
def test_a_refusal_is_asked_about_every_five_to_ten_minutes_and_at_once_when_the_certificate_changes(
    host: Host,
) -> None:
    async def test(kept: Kept) -> None:
        await kept.refresher.first_attempts_ended()
        held = kept.session.current()
        host.service.error = UntrustedCertificateError("Untrusted signing certificate")
        await asyncio.sleep(3000)
        assert kept.session.current() is held
        assert 2 <= host.service.calls <= 6
        gaps = [later - earlier for earlier, later in zip(host.service.began[1:], host.service.began[2:], strict=False)]
        assert all(300 <= gap <= 601 for gap in gaps)
        host.service.error, host.certificate = None, "B"
        kept.refresher.identity_changed("deploy")
        await asyncio.sleep(2)
        assert kept.session.current() not in (None, held)

    keep(host, test)


@pytest.mark.promise(47)
def test_sessions_of_seconds_make_no_busy_loop(host: Host) -> None:
    async def test(kept: Kept) -> None:
        host.service.lifetime = 3
        await asyncio.sleep(HOUR)
        assert kept.session.status().attempts == host.service.calls
        assert host.service.calls <= HOUR / 15 + 1

    keep(host, test)


@pytest.mark.promise(71)
@pytest.mark.parametrize(("has_memory", "most"), [(True, 1000 / 15 + 1), (False, 1000)])
def test_a_thousand_crashes_make_few_calls(host: Host, *, has_memory: bool, most: float) -> None:
    host.service.error = OUTAGE
    host.has_cache = has_memory

    async def main() -> None:
        for _ in range(1000):
            refresher = host.refresher()
            refresher.add(host.started())
            await asyncio.sleep(1)
            await refresher.stop()

    run(host.world, main())
    assert 0.9 * most - 30 <= host.service.calls <= most


def test_a_session_that_hangs_delays_no_other(host: Host) -> None:
    async def mint(question: Question) -> Answer:
        if question.session["session"] == "hangs":
            await asyncio.sleep(HOUR)
        return await host.service.mint(question)

    async def main() -> None:
        host.has_cache = False
        refresher = Refresher(mint, aside=at_once)
        sessions = [host.session("hangs"), host.session("works")]
        for session in sessions:
            session.start()
            refresher.add(session)
        await refresher.wait_for_credentials("works")
        assert host.world.elapsed < 1
        assert sessions[0].current() is None
        await refresher.stop()

    run(host.world, main())


@pytest.mark.promise(36)
def test_a_disk_that_hangs_keeps_nobody_from_credentials(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def hang(call: Callable[[], HeldSet | None]) -> HeldSet | None:
        del call
        await asyncio.sleep(10 * HOUR)
        raise AssertionError

    async def main() -> None:
        refresher = Refresher(host.service.mint, aside=hang)
        session = host.started()
        refresher.add(session)
        await refresher.wait_for_credentials("deploy")
        assert host.world.elapsed < DISK_SECONDS + 1
        first = session.current()
        await asyncio.sleep(HOUR)
        assert session.current() not in (None, first)
        await refresher.stop()

    run(host.world, main())
    assert "the cache directory does not answer" in caplog.text


def test_a_cache_that_breaks_is_gone_without(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    session = host.started()

    def broken() -> NoReturn:
        raise PermissionError(13, "Permission denied")

    session._open_store = broken

    async def main() -> None:
        refresher = host.refresher()
        refresher.add(session)
        await refresher.wait_for_credentials("deploy")
        await refresher.stop()

    run(host.world, main())
    assert "the cache cannot be used (PermissionError)" in caplog.text


def test_an_attempt_that_breaks_is_a_failure_and_the_next_one_comes(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    @dataclass
    class Broken:
        times: int = 1
        asked: list[Question] = field(default_factory=list)

        async def mint(self, question: Question) -> Answer:
            self.asked.append(question)
            if len(self.asked) <= self.times:
                raise ZeroDivisionError("canary-secret")
            return await host.service.mint(question)

    async def main() -> None:
        refresher = Refresher(Broken().mint, aside=at_once)
        session = host.started()
        refresher.add(session)
        await refresher.first_attempts_ended()
        told = session.status().last_error
        assert told is not None
        assert told[:2] == ("mint-child", "the attempt failed with an unexpected ZeroDivisionError")
        await refresher.wait_for_credentials("deploy")
        await refresher.stop()

    run(host.world, main())
    assert "canary" not in caplog.text


def test_a_task_that_dies_is_told(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        refresher = host.refresher()
        session = host.started()

        def broken() -> float:
            raise ZeroDivisionError

        session.seconds_to_attempt = broken  # type: ignore[method-assign] # what breaks is the session itself
        refresher.add(session)
        assert refresher.is_alive
        await asyncio.sleep(1)
        assert not refresher.is_alive
        await refresher.stop()

    run(host.world, main())
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]


def test_what_is_done_in_a_thread_comes_back() -> None:
    async def main() -> None:
        assert await in_a_thread(lambda: 7) == 7
        with pytest.raises(PermissionError):
            await in_a_thread(deny)

    def deny() -> NoReturn:
        raise PermissionError

    asyncio.run(main())


def test_removing_a_session_ends_its_attempt(host: Host) -> None:
    async def main() -> None:
        refresher = host.refresher()
        refresher.add(host.started())
        await asyncio.sleep(0.2)
        assert host.service.running == 1
        await refresher.remove(["deploy", "never there"])
        assert host.service.running == 0
        refresher.identity_changed("deploy")
        with pytest.raises(KeyError):
            await refresher.wait_for_credentials("deploy")

    run(host.world, main())
