"""When a set of credentials is fresh, due, low or gone: arithmetic on seconds, no clock.

``T`` is the length of the session as received. The policy and its simulation are in docs/refresh-policy.md.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.credentials import Credentials

EARLIEST_REFRESH = 0.35
LATEST_REFRESH = 0.60
# botocore's IMDS client may use a set with under 21 minutes left up to 9 minutes past its end: so what is served has
# this much left at its refresh point, whenever the session is long enough.
LEFT_AT_REFRESH = 26 * 60
LONG_SESSION = 45 * 60
# botocore asks again, and waits for the answer, when less than ten minutes of an hour are left: a set as low as this is
# not handed to a new process as if it were fresh.
LOW_WATER_SECONDS = 5 * 60
LOW_WATER_FRACTION = 1 / 6
# What goes where nobody can renew it (the variables of a shell) should not end soon after.
FINAL_FRACTION = 1 / 2

# A clock that stands this far before the set's issue has been set back: the set's age can no longer be told.
CLOCK_TOLERANCE_SECONDS = 5 * 60


class Freshness(Enum):
    """What to do with a set."""

    FRESH = "use it"
    DUE = "use it, and renew it in the background"
    LOW = "renew it now; use it only if that fails"
    EXPIRED = "never use it"


def refresh_at(issued_at: int, expires_at: int, draw: float) -> int:
    """Return the second at which a set becomes due, for one draw from [0, 1] per credential.

    U(0.35, 0.60)·T, the upper end lowered so that 26 minutes are left, from sessions of 45 minutes up.
    """
    lifetime = expires_at - issued_at
    latest = LATEST_REFRESH * lifetime
    if lifetime >= LONG_SESSION:
        latest = min(latest, lifetime - LEFT_AT_REFRESH)
    earliest = EARLIEST_REFRESH * lifetime
    return issued_at + int(earliest + draw * (latest - earliest))


def final_seconds(duration_seconds: int) -> int:
    """Return how much should be left of what cannot be renewed where it goes: half of the length that was asked for.

    Of what was asked for, since a set that a daemon handed over does not tell how long it once was.
    """
    return int(duration_seconds * FINAL_FRACTION)


def low_at(issued_at: int, expires_at: int, least_seconds: int = 0) -> int:
    """Return the second from which a set is too low to be handed out as if it were fresh.

    T/6 or five minutes are left then, or ``least_seconds`` if that is more.
    """
    lifetime = expires_at - issued_at
    return expires_at - int(max(LOW_WATER_SECONDS, lifetime * LOW_WATER_FRACTION, least_seconds))


def judge(credentials: Credentials, refresh_point: int, now: float, least_seconds: int = 0) -> Freshness:
    """Judge a set at a moment. With ``least_seconds`` left or less it counts as low, whatever its length.

    A set issued in the future (the clock was set back) counts as low: nobody can tell how much of it is left.
    """
    if now >= credentials.expires_at:
        return Freshness.EXPIRED
    is_from_the_future = now < credentials.issued_at - CLOCK_TOLERANCE_SECONDS
    if is_from_the_future or now >= low_at(credentials.issued_at, credentials.expires_at, least_seconds):
        return Freshness.LOW
    if now >= refresh_point:
        return Freshness.DUE
    return Freshness.FRESH
