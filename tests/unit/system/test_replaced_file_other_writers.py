"""Rewriting a file beside a program that knows no lock of ours and writes it where it stands: nothing of it is lost."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.errors import UnwritableFileError
from rolesanywhere_helper.system import other_writers
from rolesanywhere_helper.system.other_writers import EMPTY_SECONDS, STILL_SECONDS, OtherWriters
from rolesanywhere_helper.system.replaced_file import OTHERS_SECONDS, rewrite
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OURS, THEIRS = b"+ours", b"theirs"


class Writer:
    """Another program: it opens the file when the test says so, and writes it to the end while we sleep."""

    def __init__(self, path: Path, *, empties: bool = True) -> None:
        self._path = path
        self._empties = empties
        self._descriptor: int | None = None

    def open(self) -> None:
        # Where a program would have to wait for our look to end, this one, which is our own thread, cannot.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | (os.O_TRUNC if self._empties else 0)
        self._descriptor = os.open(self._path, flags, 0o600)

    def begin(self, content: bytes) -> None:
        assert self._descriptor is not None
        os.write(self._descriptor, content)

    def end(self) -> None:
        """Write all of it, once."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, THEIRS, 0)
            os.close(descriptor)


def add_ours(old: bytes | None) -> bytes:
    content = old or b""
    return content if OURS in content else content + OURS


def clock_of(writer: Writer) -> FakeClock:
    """Return a clock that is behind every file's time: the age of a file tells nothing."""
    clock = FakeClock(1_000.0)
    clock.while_asleep = writer.end
    return clock


def at_step(step: int, do: Callable[[], None], run: Callable[[], object]) -> bool:
    """Do something right before the C call of this number that ``run`` makes, or the first one that lets it be done.

    Return whether ``run`` makes as many; if it does not, nothing is done.
    """
    seen = 0
    is_done = False

    def look(_frame: object, event: str, _argument: Any) -> None:
        nonlocal seen, is_done
        seen += event == "c_call"
        if seen >= step and not is_done:
            with suppress(BlockingIOError):
                do()
                is_done = True

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(before)
    return is_done


def step_through(path: Path, *, empties: bool, is_there: bool = True) -> list[bytes]:
    """Let the other program open the file before each of our steps in turn; return what stands there in the end."""
    found: set[bytes] = set()
    for step in count(1):
        path.unlink(missing_ok=True)
        if is_there:
            path.write_bytes(b"old")
        writer = Writer(path, empties=empties)
        if not at_step(step, writer.open, partial(rewrite, str(path), add_ours, clock_of(writer))):
            break
        writer.end()
        found.add(path.read_bytes())
    assert step > 50, "so many steps there are"
    return sorted(found)


@pytest.mark.parametrize(("empties", "is_there"), [(True, True), (False, True), (True, False)])
def test_what_is_begun_at_any_of_our_steps_is_kept(tmp_path: Path, *, empties: bool, is_there: bool) -> None:
    """Begun before the rename it is waited for; begun after it, it is the last word."""
    assert step_through(tmp_path / "f", empties=empties, is_there=is_there) == [THEIRS, THEIRS + OURS]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".f.lock", "f"]


def test_what_is_put_in_place_at_any_of_our_steps_but_the_rename_itself_is_kept(tmp_path: Path) -> None:
    """Many editors save by a rename; the one step also shows that this test sees what is lost."""
    file = tmp_path / "f"

    def save() -> None:
        (tmp_path / "theirs").write_bytes(THEIRS)
        (tmp_path / "theirs").rename(file)

    lost = 0
    for step in count(1):
        file.write_bytes(b"old")
        if not at_step(step, save, partial(rewrite, str(file), add_ours, FakeClock(1_000.0))):
            break
        lost += THEIRS not in file.read_bytes()
    assert lost == 1


def test_without_the_kernels_word_an_emptied_file_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_writers, "is_open_for_writing", lambda _: None)

    assert step_through(tmp_path / "f", empties=True) == [THEIRS, THEIRS + OURS]


def test_the_negative_control_who_does_not_look_loses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OtherWriters, "wait_until_gone", lambda self, _: os.fstat(self._descriptor))
    monkeypatch.setattr(OtherWriters, "are_gone", lambda *_: True)
    monkeypatch.setattr(OtherWriters, "stay_away", lambda *_: True)

    assert {OURS, b"old" + OURS} <= set(step_through(tmp_path / "f", empties=True))


@pytest.mark.parametrize("begun", [b"", b"th"])
def test_an_emptied_or_half_written_file_is_waited_for(tmp_path: Path, begun: bytes) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")
    writer = Writer(file)
    writer.open()
    writer.begin(begun)
    clock = clock_of(writer)

    assert rewrite(str(file), add_ours, clock)

    assert (file.read_bytes(), len(clock.slept)) == (THEIRS + OURS, 1)
    assert rewrite(str(file), lambda _: b"", clock)
    assert len(clock.slept) == 1, "the negative control: a file that nobody writes costs no wait"


def test_an_empty_file_is_taken_for_one_when_it_has_stood_still(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    clock = FakeClock(1_000.0)

    rewrite(str(file), add_ours, clock)
    assert EMPTY_SECONDS <= sum(clock.slept) < EMPTY_SECONDS + STILL_SECONDS

    file.write_bytes(b"")
    clock = FakeClock(file.stat().st_mtime + EMPTY_SECONDS)
    rewrite(str(file), add_ours, clock)
    assert clock.slept == [], "one that was empty before is taken at once"


@pytest.mark.parametrize("begun", ["before", "at the rename"])
def test_who_does_not_come_to_an_end_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    """A program that was stopped may still go on, and finds the file that it has open."""
    file = tmp_path / "f"
    file.write_bytes(b"old")
    number = file.stat().st_ino
    writer = Writer(file, empties=False)
    rename = os.rename

    def open_and_rename(*words: Any, **named: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        writer.open()
        rename(*words, **named)

    if begun == "before":
        writer.open()
    else:
        monkeypatch.setattr(os, "rename", open_and_rename)
    clock = FakeClock()

    with pytest.raises(UnwritableFileError, match="for 10 seconds another program has been writing it") as refusal:
        rewrite(str(file), add_ours, clock)

    assert OTHERS_SECONDS <= sum(clock.slept) < OTHERS_SECONDS + 1
    assert "fuser -v" in refusal.value.hint
    assert (file.read_bytes(), file.stat().st_ino) == (b"old", number)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".f.lock", "f"]
    writer.end()
    rewrite(str(file), add_ours, clock)
    assert file.read_bytes() == THEIRS + OURS


def test_a_third_ones_file_is_not_replaced_by_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")
    looks = 0

    def stay_away(*_: object) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            (tmp_path / "third").write_bytes(b"third")
            (tmp_path / "third").rename(file)
        return looks > 1

    monkeypatch.setattr(OtherWriters, "stay_away", stay_away)

    rewrite(str(file), add_ours, FakeClock())

    assert file.read_bytes() == b"third" + OURS


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)

    rewrite(str(tmp_path / "f"), add_ours, FakeClock())
    rewrite(str(tmp_path / "f"), lambda old: (old or b"") + b"!", FakeClock())

    assert (tmp_path / "f").read_bytes() == OURS + b"!"


def test_where_the_kernel_knows_nothing_a_file_has_to_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that has just been written is looked at for a while, and for a while after the rename."""
    monkeypatch.setattr(other_writers, "is_open_for_writing", lambda _: None)
    file = tmp_path / "f"
    file.write_bytes(b"half")
    clock = FakeClock(file.stat().st_mtime)

    def write_on() -> None:
        if len(clock.slept) == 1:
            file.write_bytes(THEIRS)

    clock.while_asleep = write_on
    rewrite(str(file), add_ours, clock)

    assert file.read_bytes() == THEIRS + OURS
    assert 2 * STILL_SECONDS <= sum(clock.slept) < 3 * STILL_SECONDS
