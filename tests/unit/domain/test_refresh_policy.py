"""The figures of the refresh policy, and what they are worth: ten thousand hosts in an outage."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from rolesanywhere_helper.domain.freshness import refresh_at
from rolesanywhere_helper.domain.refresh_policy import (
    earliest_after_restart,
    hurried_wait,
    is_lasting,
    remember_seconds,
    start_jitter,
    wait_after_failure,
)
from rolesanywhere_helper.errors import (
    ConnectionFailedError,
    HelperError,
    KeyMismatchError,
    LeafExpiredError,
    MintChildError,
    ThrottledError,
    UntrustedCertificateError,
    UsageError,
)
from tests.fakes.clock import FixedRandomness

OUTAGE = ConnectionFailedError("nothing listens")
REFUSAL = UntrustedCertificateError("Untrusted signing certificate")


@pytest.mark.parametrize(
    ("left", "point", "wait"),
    [
        (3600, 0.5, 300),
        (3600, 0, 150),
        (3600, 1, 450),
        (1600, 0.5, 200),
        (80, 0.5, 15),
        (80, 0, 7.5),
        (0, 0.5, 30),
        (-500, 1, 45),
    ],
)
def test_the_wait_after_an_outage(left: float, point: float, wait: float) -> None:
    assert wait_after_failure(OUTAGE, left, FixedRandomness(point)) == wait


@pytest.mark.parametrize("left", [-500, 0, 10, 3600])
@pytest.mark.parametrize("point", [0, 1])
def test_the_wait_after_a_refusal(left: float, point: float) -> None:
    assert wait_after_failure(REFUSAL, left, FixedRandomness(point)) == 300 + 300 * point


@pytest.mark.parametrize(
    ("error", "lasts"),
    [
        (REFUSAL, True),
        (LeafExpiredError("expired"), True),
        (UsageError("no such thing"), True),
        (KeyMismatchError("no match"), False),
        (ThrottledError("too many"), False),
        (MintChildError("crashed"), False),
        (OUTAGE, False),
    ],
)
def test_what_lasts(error: HelperError, *, lasts: bool) -> None:
    assert is_lasting(error) is lasts


def test_the_hurried_waits() -> None:
    assert [hurried_wait(failures) for failures in (1, 2, 3, 4, 10_000)] == [0.5, 1, 2, 2, 2]


@pytest.mark.promise(71)
@pytest.mark.parametrize(
    ("last", "point", "earliest"),
    [(None, 0, 1000), (999, 0, 1014), (999, 1, 1029), (980, 0.5, 1002.5), (900, 1, 1000), (1001, 1, 1000)],
)
def test_the_earliest_moment_after_a_restart(last: float | None, point: float, earliest: float) -> None:
    assert earliest_after_restart(last, 1000, FixedRandomness(point)) == earliest


def test_the_start_jitter_is_a_machines_own_and_spread_evenly() -> None:
    machines = [f"{random.Random(seed).getrandbits(128):032x}" for seed in range(1000)]  # noqa: S311 - made-up machines
    delays = [start_jitter(machine, 60) for machine in machines]

    assert [start_jitter(f"{machine}\n", 60) for machine in machines] == delays
    assert 0 <= min(delays) < max(delays) < 60
    assert all(60 < sum(low <= delay < low + 6 for delay in delays) < 140 for low in range(0, 60, 6))


@pytest.mark.promise(82)
@pytest.mark.parametrize(("error", "seconds"), [(REFUSAL, 30), (OUTAGE, 5), (KeyMismatchError("no match"), 0)])
def test_how_long_a_failure_is_told_again(error: HelperError, seconds: float) -> None:
    assert remember_seconds(error) == seconds


# The simulation at the end of the promises

HOSTS = 10_000
LIFETIME = 3600
QUOTA = 10  # calls a second, for all hosts together
OUTAGE_BEGINS, OUTAGE_ENDS = 2 * LIFETIME, 2 * LIFETIME + 600
THE_END = 5 * LIFETIME

# Given how much is left and how often it failed: the seconds to wait.
Retry = Callable[[float, int], float]
Refresh = Callable[[float], float]


def hosts_without_credentials(refresh: Refresh, retry: Retry, source: random.Random) -> int:
    """Count the hosts whose credentials ran out, of a fleet in balance that meets an outage of ten minutes."""
    queue, expires, failures = [], [0.0] * HOSTS, [0] * HOSTS
    for host in range(HOSTS):
        issued = -source.uniform(0, 1) * (refresh(0) if host else 0.0)
        expires[host] = issued + LIFETIME
        queue.append((max(0.0, refresh(issued)), host))
    heapq.heapify(queue)
    without: set[int] = set()
    tokens, filled_at = float(QUOTA), 0.0
    while queue and queue[0][0] < THE_END:
        now, host = heapq.heappop(queue)
        tokens, filled_at = min(float(QUOTA), tokens + (now - filled_at) * QUOTA), now
        if now > expires[host]:
            without.add(host)
        is_served = tokens >= 1 and not OUTAGE_BEGINS <= now < OUTAGE_ENDS
        if is_served:
            tokens -= 1
            expires[host], failures[host] = now + LIFETIME, 0
            heapq.heappush(queue, (refresh(now), host))
        else:
            failures[host] += 1
            heapq.heappush(queue, (now + retry(expires[host] - now, failures[host]), host))
    return len(without)


def test_in_an_outage_of_ten_minutes_none_of_ten_thousand_hosts_runs_out() -> None:
    source = random.Random(7)  # noqa: S311 - a simulation

    def refresh(issued: float) -> float:
        return refresh_at(int(issued), int(issued) + LIFETIME, source.uniform(0, 1))

    def retry(left: float, failures: int) -> float:
        del failures
        return wait_after_failure(OUTAGE, left, source)

    assert hosts_without_credentials(refresh, retry, source) == 0


def test_five_minutes_before_the_end_and_without_jitter_many_do() -> None:
    source = random.Random(7)  # noqa: S311 - a simulation

    def refresh(issued: float) -> float:
        return issued + LIFETIME - 300

    def retry(left: float, failures: int) -> float:
        del left
        return min(2.0**failures, 64)

    assert hosts_without_credentials(refresh, retry, source) > 500
