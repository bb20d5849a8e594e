"""When the next attempt to make a session comes: arithmetic on seconds and draws, no clock.

After a success that is the set's own refresh point (:mod:`rolesanywhere_helper.domain.freshness`). Everything else is
here. The policy and its simulation are in docs/refresh-policy.md.
"""

from __future__ import annotations

from binascii import crc32
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import (
    ChildNotStartedError,
    NetworkError,
    RefusedError,
    ServiceError,
    UnusableLeafError,
    UsageError,
)

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.ports import Randomness
    from rolesanywhere_helper.errors import HelperError

# After an outage: so much of what is left, within these bounds, and spread.
FRACTION_OF_LEFT = 1 / 8
SHORTEST_WAIT_SECONDS = 15.0
LONGEST_WAIT_SECONDS = 300.0
EXPIRED_WAIT_SECONDS = 30.0
SPREAD = (0.5, 1.5)
# After what will be the same until somebody changes something.
LASTING_WAIT_SECONDS = (300.0, 600.0)
# When nobody was asked, since this machine had no process or descriptor left: that can pass at any moment.
NOT_STARTED_WAIT_SECONDS = (3.0, 6.0)
# After a restart: however often a process is started, its sessions cost no more than one attempt in so long.
RESTART_WAIT_SECONDS = (15.0, 30.0)
# While a certificate and its key are being replaced one after the other: half a second, one, two, two …
HURRIED_WAIT_SECONDS = 0.5
LONGEST_HURRIED_WAIT_SECONDS = 2.0
# How long a failure is told again without a new attempt, to processes that come one after the other.
REMEMBER_REFUSAL_SECONDS = 30.0
REMEMBER_OUTAGE_SECONDS = 5.0


def is_lasting(error: HelperError) -> bool:
    """Tell whether another attempt can be expected to fail the same way until a file, a setting or the clock changes.

    That is a refusal of the service, a certificate that it would refuse, and settings that have no meaning.
    """
    return isinstance(error, RefusedError | UnusableLeafError | UsageError)


def wait_after_failure(error: HelperError, left: float, randomness: Randomness) -> float:
    """Return the seconds to wait after a failed attempt, where ``left`` seconds are left of the set at hand, if any.

    U(5, 10) minutes after a lasting failure; else clamp(left/8, 15, 300)·U(0.5, 1.5), or 30·U(0.5, 1.5) once expired.
    U(3, 6) seconds where no attempt could even begin.
    """
    if isinstance(error, ChildNotStartedError):
        return randomness.uniform(*NOT_STARTED_WAIT_SECONDS)
    if is_lasting(error):
        return randomness.uniform(*LASTING_WAIT_SECONDS)
    base = EXPIRED_WAIT_SECONDS
    if left > 0:
        base = min(max(left * FRACTION_OF_LEFT, SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)
    return base * randomness.uniform(*SPREAD)


def hurried_wait(failures: int) -> float:
    """Return the seconds to wait when files have just changed and so many attempts since then have failed."""
    return float(min(HURRIED_WAIT_SECONDS * 2 ** min(failures - 1, 8), LONGEST_HURRIED_WAIT_SECONDS))


def earliest_after_restart(last_attempt: float | None, now: float, randomness: Randomness) -> float:
    """Return the moment (epoch seconds) before which a process that was just started must not try.

    ``last_attempt`` is what an earlier process wrote down. One from the future was written before the clock was set
    back, and says nothing.
    """
    if last_attempt is None or last_attempt > now:
        return now
    return max(now, last_attempt + randomness.uniform(*RESTART_WAIT_SECONDS))


def start_jitter(machine_id: str, most: float) -> float:
    """Return this machine's share of a delay of at most so many seconds: always the same, and evenly spread over many.

    A checksum spreads as well as a digest, and loads no library. The identifier itself cannot be told from it, as
    machine-id(5) asks.
    """
    return most * crc32(b"rolesanywhere-helper start jitter:" + machine_id.strip().encode()) / 2**32


def remember_seconds(error: HelperError) -> float:
    """Return how long a failure is told again without a new attempt.

    What this machine refused by itself cost no call: those who wait are told, those who come later may try.
    """
    if isinstance(error, RefusedError):
        return REMEMBER_REFUSAL_SECONDS
    return REMEMBER_OUTAGE_SECONDS if isinstance(error, ServiceError | NetworkError) else 0.0
