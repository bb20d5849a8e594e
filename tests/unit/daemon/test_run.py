"""The daemon's life with a service and a supervisor that only take notes."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.daemon import run as life
from rolesanywhere_helper.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable


class Notes:
    """A service and a supervisor in one, so that the order of things is seen."""

    def __init__(self, *, reload_error: ConfigurationError | None = None, is_alive: bool = True) -> None:
        self.told: list[str] = []
        self.happened = asyncio.Event()
        self.attempts = asyncio.Event()
        self.reload_error = reload_error
        self.is_alive = is_alive

    def _note(self, what: str) -> bool:
        self.told.append(what)
        self.happened.set()
        return True

    async def until(self, what: str) -> None:
        async with asyncio.timeout(10):
            while what not in self.told:
                self.happened.clear()
                await self.happened.wait()

    async def open(self) -> None:
        self._note("open")

    async def reload(self) -> None:
        self._note("reload")
        if self.reload_error is not None:
            raise self.reload_error

    def rotate_tokens(self) -> None:
        self._note("rotate")

    async def first_attempts_ended(self) -> None:
        await self.attempts.wait()

    def summary(self) -> str:
        return "all is well"

    def keep_house(self) -> None:
        return

    async def close(self, seconds: float) -> None:
        self._note(f"close within {seconds:.0f}")

    def ready(self, status: str = "") -> bool:
        return self._note(f"READY {status}")

    def status(self, text: str) -> bool:
        return self._note(f"STATUS {text}")

    def reloading(self, monotonic: float, status: str = "") -> bool:
        assert monotonic > 0
        return self._note(f"RELOADING {status}")

    def stopping(self, status: str = "") -> bool:
        return self._note(f"STOPPING {status}")

    def watchdog(self) -> bool:
        return self._note("WATCHDOG")


def lived(
    play: Callable[[Notes], object],
    notes: Callable[[], Notes] = Notes,
    seconds: float | None = None,
    end: signal.Signals = signal.SIGTERM,
) -> list[str]:
    """Run a life during which a play is given; returns what was told."""

    async def living() -> list[str]:
        service = notes()
        life_itself = asyncio.ensure_future(life.live(service, service, seconds))
        await service.until("open")
        coroutine = play(service)
        assert asyncio.iscoroutine(coroutine)
        await coroutine
        os.kill(os.getpid(), end)
        assert await life_itself == (130 if end is signal.SIGINT else 0)
        return service.told

    return asyncio.run(living())


@pytest.mark.promise(80)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_ready_is_said_when_the_first_attempts_have_ended(end: signal.Signals) -> None:
    async def play(service: Notes) -> None:
        assert "READY all is well" not in service.told
        service.attempts.set()
        await service.until("READY all is well")

    told = lived(play, end=end)
    assert told[0] == "open"
    assert told[-2:] == ["STOPPING ending", "close within 4"]


@pytest.mark.promise(80)
def test_ready_is_said_in_time_though_the_first_attempt_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "READY_SECONDS", 0.01)

    async def play(service: Notes) -> None:
        await service.until("READY all is well")
        assert not service.attempts.is_set()

    lived(play)


@pytest.mark.promise(74)
@pytest.mark.parametrize("error", [None, ConfigurationError("line 3 makes no sense")])
def test_a_reload_begins_and_ends_in_the_supervisors_eyes(
    error: ConfigurationError | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(service: Notes) -> None:
        service.attempts.set()
        await service.until("READY all is well")
        service.told.remove("READY all is well")
        os.kill(os.getpid(), signal.SIGHUP)
        await service.until("READY all is well")

    told = lived(play, lambda: Notes(reload_error=error))
    began = told.index("RELOADING reading the configuration again")
    assert told[began : began + 3] == ["RELOADING reading the configuration again", "reload", "READY all is well"]
    assert ("line 3 makes no sense" in caplog.text) is (error is not None)


@pytest.mark.promise(80)
def test_a_reload_before_the_first_attempts_have_ended_does_not_end_the_start() -> None:
    async def play(service: Notes) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await service.until("reload")
        os.kill(os.getpid(), signal.SIGUSR1)
        await service.until("rotate")  # what came of the reload has been told by now, if at all
        assert not [line for line in service.told if line.startswith(("RELOADING", "READY"))]
        service.attempts.set()
        await service.until("READY all is well")

    assert lived(play).count("READY all is well") == 1


@pytest.mark.promise(73)
def test_a_reload_that_hangs_does_not_delay_the_end() -> None:
    class Hung(Notes):
        async def reload(self) -> None:
            await super().reload()
            try:
                await asyncio.Event().wait()
            finally:
                self.told.append("let go of")

    async def play(service: Notes) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await service.until("reload")

    told = lived(play, Hung)
    assert told.index("let go of") < told.index("close within 4")


def test_tokens_are_rotated_on_request() -> None:
    async def play(service: Notes) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        await service.until("rotate")

    assert "reload" not in lived(play)


@pytest.mark.promise(75)
@pytest.mark.parametrize("is_alive", [True, False])
def test_the_watchdog_hears_from_the_event_loop_while_everything_runs(*, is_alive: bool) -> None:
    async def play(service: Notes) -> None:
        await service.until("WATCHDOG" if is_alive else "STATUS all is well")

    told = lived(play, lambda: Notes(is_alive=is_alive), seconds=0.02)
    assert ("WATCHDOG" in told) is is_alive


def test_the_other_event_loop_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvloop", None)
    with pytest.raises(MissingExtraError) as refusal:
        life.run(lambda: pytest.fail("not begun"), Notes(), None, use_uvloop=True)
    assert "rolesanywhere-helper[uvloop]" in refusal.value.hint
