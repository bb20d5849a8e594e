"""The quota of CreateSession, for each account."""

from __future__ import annotations

import math

from rolesanywhere_helper.emulator.answers import Refusal


class Throttle:
    """Lets so many requests a second through: a bucket for each account, full at first, that fills up again.

    ``per_second`` is None for no quota. The service's own is 10 (AWS general reference; another page says 20).
    """

    def __init__(self, per_second: float | None) -> None:
        self.per_second = per_second
        self._buckets: dict[str, tuple[float, float]] = {}

    def set(self, per_second: float | None) -> None:
        """Change the quota, and begin with full buckets."""
        self.per_second = per_second
        self._buckets.clear()

    def take(self, account: str, now: float) -> None:
        """Count a request. ``now`` is in seconds since the epoch.

        Raises:
            Refusal: ThrottlingException, with ``Retry-After`` in whole seconds.

        """
        if self.per_second is None:
            return
        size = max(1.0, self.per_second)
        left, since = self._buckets.get(account, (size, now))
        left = min(size, left + max(0.0, now - since) * self.per_second)
        if left < 1:
            self._buckets[account] = (left, now)
            wait = math.ceil((1 - left) / self.per_second)
            raise Refusal(
                "ThrottlingException",
                "Rate exceeded",
                429,
                f"more than {self.per_second:g} a second",
                headers=(("Retry-After", str(wait)),),
            )
        self._buckets[account] = (left - 1, now)
