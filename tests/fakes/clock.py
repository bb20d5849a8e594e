"""Time and chance that only move when a test says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeClock:
    """Sleeping moves time on, and may make something happen meanwhile."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.wall = now
        self.uptime = 1_000.0
        self.slept: list[float] = []
        self.while_asleep: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.uptime

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        self.while_asleep()

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.uptime += seconds


class FixedRandomness:
    """Draws always the same point of an interval: 0 its low end, 1 its high end."""

    def __init__(self, point: float = 0.5) -> None:
        self.point = point

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.point
