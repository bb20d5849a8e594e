"""The real clock and the real dice (ports of :mod:`rolesanywhere_helper.domain.ports`)."""

from __future__ import annotations

import os
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

    def uniform(self, low: float, high: float) -> float:
        """Draw from the interval, ``high`` left out."""
        # The 53 bits of a float's fraction; `random` would do the same, and costs a process milliseconds to import.
        return low + (high - low) * (int.from_bytes(os.urandom(7), "big") >> 3) / (1 << 53)
