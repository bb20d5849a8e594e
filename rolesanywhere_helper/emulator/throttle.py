"""The quota of CreateSession, for each account."""

from __future__ import annotations

import math

from rolesanywhere_helper.emulator.answers import Refusal

_LONGEST_WAIT = 86_400  # of a quota of almost nothing


class Throttle:
    """Lets so many requests a second through: a bucket for each account, full at first, that fills up again.

    ``per_second`` is None for no quota. The service's own is 10 (AWS general reference; another page says 20).
    """

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, account: str, now: float) -> None:
        """Count a request. ``now`` is in seconds since the epoch.

        Raises:
            Refusal: ThrottlingException, with ``Retry-After`` in whole seconds.

        """
        if self._per_second is None:
            return
        size = max(1.0, self._per_second)
        left, since = self._buckets.get(account, (size, now))
        left = min(size, left + max(0.0, now - since) * self._per_second)
        if left < 1:
            self._buckets[account] = (left, now)
            wait = math.ceil(min((1 - left) / self._per_second, _LONGEST_WAIT))
            raise Refusal(
                "ThrottlingException",
                "Rate exceeded",
                429,
                f"more than {self._per_second:g} a second",
                headers=(("Retry-After", str(wait)),),
            )
        self._buckets[account] = (left - 1, now)
