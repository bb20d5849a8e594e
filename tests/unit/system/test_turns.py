"""Taking turns between holders; `flock` is per open file, so one process can play several."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.system.private_directory import PrivateDirectory
from rolesanywhere_helper.system.turns import GRACE_SECONDS, Turns
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[PrivateDirectory]:
    with PrivateDirectory(tmp_path / "cache") as opened:
        yield opened


def test_one_leads_and_after_it_another(directory: PrivateDirectory) -> None:
    clock = FakeClock()
    first, second = Turns(directory, "x", clock), Turns(directory, "x", clock)
    with first.try_lead(15) as leads:
        assert leads
        with second.try_lead(15) as also:
            assert not also
    with second.try_lead(15) as leads_now:
        assert leads_now


@pytest.mark.promise(36)
def test_on_a_full_disk_the_lock_still_counts_and_is_given_back(
    directory: PrivateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    first, second = Turns(directory, "x", FakeClock()), Turns(directory, "x", FakeClock())
    with first.try_lead(15) as leads, second.try_lead(15) as also:
        assert (leads, also) == (True, False)
    with second.try_lead(15) as leads_now:
        assert leads_now


def test_other_names_do_not_wait_for_each_other(directory: PrivateDirectory) -> None:
    clock = FakeClock()
    with Turns(directory, "x", clock).try_lead(15) as one, Turns(directory, "y", clock).try_lead(15) as other:
        assert one
        assert other


@pytest.mark.promise(35)
def test_a_stopped_leader_is_passed_by_one_at_a_time(directory: PrivateDirectory) -> None:
    clock = FakeClock()
    with ExitStack() as stack:
        assert stack.enter_context(Turns(directory, "x", clock).try_lead(15))
        waiters = [Turns(directory, "x", clock) for _ in range(3)]

        def leading() -> list[bool]:
            return [stack.enter_context(waiter.try_lead(15)) for waiter in waiters]

        assert leading() == [False, False, False]
        clock.advance(15 + GRACE_SECONDS)
        assert leading() == [False, False, False], "within its time and the grace"
        clock.advance(0.1)
        assert leading() == [True, False, False]
        # … and when that one is stopped too, one more
        waiters = waiters[1:]
        assert leading() == [False, False]
        clock.advance(15 + GRACE_SECONDS + 0.1)
        assert leading() == [True, False]


@pytest.mark.promise(35)
def test_who_comes_late_passes_a_leader_that_stopped_long_ago(directory: PrivateDirectory) -> None:
    clock = FakeClock()
    with Turns(directory, "x", clock).try_lead(15):
        clock.advance(3600)
        late = Turns(directory, "x", clock)
        with late.try_lead(15) as leads:
            assert not leads, "one look is not enough: the file may still say what an earlier holder wrote"
        clock.advance(0.02)
        with late.try_lead(15) as leads:
            assert leads


def test_a_holder_that_has_not_written_yet_is_given_its_time(directory: PrivateDirectory, tmp_path: Path) -> None:
    clock = FakeClock()
    with Turns(directory, "x", clock).try_lead(15):
        (tmp_path / "cache" / "x.lock").write_bytes(b"")
        waiter = Turns(directory, "x", clock)
        for _ in range(16):
            with waiter.try_lead(15) as leads:
                assert not leads
            clock.advance(1)
        clock.advance(2)
        with waiter.try_lead(15) as leads:
            assert leads


def test_a_new_holder_is_not_judged_by_the_one_before(directory: PrivateDirectory) -> None:
    clock = FakeClock()
    waiter = Turns(directory, "x", clock)
    with Turns(directory, "x", clock).try_lead(15), waiter.try_lead(15) as leads:
        assert not leads
    clock.advance(100)
    with Turns(directory, "x", clock).try_lead(15):
        with waiter.try_lead(15) as leads:
            assert not leads
        clock.advance(1)
        with waiter.try_lead(15) as leads:
            assert not leads


@pytest.mark.promise(37)
def test_where_no_lock_can_be_had_everybody_leads(directory: PrivateDirectory, tmp_path: Path) -> None:
    (tmp_path / "cache" / "x.lock").symlink_to(tmp_path / "elsewhere")
    with Turns(directory, "x", FakeClock()).try_lead(15) as leads:
        assert leads
    assert not (tmp_path / "elsewhere").exists()
