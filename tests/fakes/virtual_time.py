"""An event loop whose time passes only when everybody waits: a day takes seconds, and nothing depends on luck."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_Result = TypeVar("_Result")
EPOCH = 1_800_000_000.0


class World:
    """Time as it really passes (``true``, seconds since the epoch), and what this machine's clocks make of it.

    ``elapsed`` is what the event loop counts: it stands still while the machine is suspended.
    """

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.suspended = 0.0
        self.clock_error = 0.0

    @property
    def true(self) -> float:
        return EPOCH + self.elapsed + self.suspended

    def now(self) -> float:
        return self.true + self.clock_error

    def boottime(self) -> float:
        return 1_000.0 + self.elapsed + self.suspended

    def advance(self, seconds: float) -> None:
        self.elapsed += seconds

    def suspend(self, seconds: float) -> None:
        self.suspended += seconds

    def set_clock(self, error: float) -> None:
        """Set this machine's clock so many seconds ahead of the truth."""
        self.clock_error = error

    def clock(self) -> FakeClock:
        """Return a clock of the other port that shows the same wall time now."""
        return FakeClock(self.now())


class _Selector(selectors.SelectSelector):
    """Waits for nothing but time, and lets that pass at once."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and for nothing"
            self._world.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, world: World) -> None:
        super().__init__(_Selector(world))
        self._world = world

    def time(self) -> float:
        return self._world.elapsed


def run(world: World, main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine to its end, in no time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(world)) as runner:
        return runner.run(main)


async def at_once(call: Callable[[], _Result]) -> _Result:
    """Do in this thread what is done aside in real life: a thread would need real time."""
    await asyncio.sleep(0)
    return call()
