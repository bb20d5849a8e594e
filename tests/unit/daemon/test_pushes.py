"""Listeners that are started, heard, started again, and ended; each is a scripted process."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.daemon.pushes import BackOff, Pushes, watch_command

if TYPE_CHECKING:
    from collections.abc import Callable

PLACE = "spiffe://example.org/host"
_QUICK = BackOff(0.01, 0.02)


class Heard:
    """What was told, and a place that the scripted listeners share."""

    def __init__(self, folder: Path, script: str) -> None:
        prelude = (
            "import os, sys\n"
            f"folder, place = {str(folder)!r}, sys.argv[1]\n"
            "open(folder + '/runs', 'a').write('x')\n"
            "run = os.path.getsize(folder + '/runs')\n"
            "def say(*lines):\n    for line in lines: print(line, flush=True)\n"
            "def wait(): sys.stdin.read()\n"
        )
        self.new: list[str] = []
        self.known: list[str] = []
        self.changed = asyncio.Event()
        command = [sys.executable, "-I", "-S", "-c", prelude + script]
        self.pushes = Pushes(command, {}, self._new, self._known, _QUICK)

    def _new(self, place: str) -> None:
        self.new.append(place)
        self.changed.set()

    def _known(self, place: str) -> None:
        self.known.append(place)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def hear(folder: Path, script: str, condition: Callable[[Heard], bool]) -> Heard:
    async def listen() -> Heard:
        heard = Heard(folder, script)
        await heard.pushes.follow([PLACE])
        try:
            await heard.until(lambda: condition(heard))
        finally:
            await heard.pushes.close()
        return heard

    found = asyncio.run(listen())
    assert own_children() == []
    return found


# Those of fixtures that live as long as the worker.
OTHERS: set[str] = set()


@pytest.fixture(autouse=True)
def _others() -> None:
    OTHERS.clear()
    OTHERS.update(own_children())


def own_children() -> list[str]:
    with suppress(OSError):
        return [pid for pid in Path("/proc/thread-self/children").read_text().split() if pid not in OTHERS]
    return []


def test_the_first_answer_is_known_and_each_other_one_is_new(tmp_path: Path) -> None:
    heard = hear(tmp_path, "say('svid A', 'svid A', 'svid B', 'svid A'); wait()", lambda h: len(h.new) == 2)

    assert (heard.known, heard.new) == ([PLACE] * 2, [PLACE] * 2)


def test_one_that_ends_is_started_again_and_what_it_repeats_is_known(tmp_path: Path) -> None:
    heard = hear(tmp_path, "say('svid A' if run < 3 else 'svid B')", lambda h: bool(h.new))

    assert len(heard.known) == 2
    assert (tmp_path / "runs").stat().st_size >= 3


def test_one_that_cannot_say_anything_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "rolesanywhere_helper")
    script = "sys.exit('error: no agent') if run < 3 else say('svid A'); wait()"
    hear(tmp_path, script, lambda h: bool(h.known))

    assert caplog.text.count("has ended: error: no agent") == 2


@pytest.mark.parametrize("line", ["svid", "hello", "svidA", "x" * 5000])
def test_what_has_no_meaning_is_not_heard(line: str, tmp_path: Path) -> None:
    script = f"say({line!r} if run == 1 else 'svid A'); run == 1 or wait()"
    heard = hear(tmp_path, script, lambda h: bool(h.known))

    assert (heard.known, heard.new) == ([PLACE], [])


def test_a_program_that_is_not_there_disturbs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listen() -> None:
        pushes = Pushes([str(tmp_path / "gone")], {}, lambda _: None, lambda _: None, _QUICK)
        await pushes.follow([PLACE])
        told = asyncio.Event()
        monkeypatch.setattr("rolesanywhere_helper.daemon.pushes._log.warning", lambda *_: told.set())
        async with asyncio.timeout(20):
            await told.wait()
        await pushes.close()

    asyncio.run(listen())


def test_who_is_no_longer_wanted_is_ended(tmp_path: Path) -> None:
    async def listen() -> None:
        heard = Heard(tmp_path, "say('svid ' + place); wait()")
        await heard.pushes.follow(["one", "two"])
        await heard.until(lambda: len(heard.known) == 2)
        assert len(own_children()) == 2
        await heard.pushes.follow(["two"])
        assert len(own_children()) == 1
        await heard.pushes.close()
        assert own_children() == []

    asyncio.run(listen())


def test_the_pauses_grow_to_a_limit_and_begin_anew() -> None:
    back_off, pauses = BackOff(), [0.0]
    for _ in range(8):
        pauses.append(back_off.next(pauses[-1]))

    assert pauses[1:] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert back_off.next(0.0) == 1


def test_the_command_is_this_programs_own() -> None:
    assert watch_command()[-2:] == ["identity-watch", "--certificate"]
