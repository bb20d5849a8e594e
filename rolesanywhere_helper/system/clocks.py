"""The real clock and the real dice (ports of :mod:`rolesanywhere_helper.domain.ports`)."""

from __future__ import annotations

import random
import time


class SystemClock:
    """Wall clock, monotonic clock and sleep of this machine."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some point, the same for every process of this boot."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class SystemRandomness:
    """Draws that differ between processes that start in the same instant."""

    def __init__(self) -> None:
        self._source = random.SystemRandom()

    def uniform(self, low: float, high: float) -> float:
        """Draw from the closed interval."""
        return self._source.uniform(low, high)
