"""The records of refused PINs: one attempt, whatever process comes, and none where nothing can be written."""

from __future__ import annotations

import multiprocessing
import os
import stat
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.cache.pin_attempts import DIRECTORY, MOST_SOURCES, DiskPinAttempts
from rolesanywhere_helper.system.clocks import SystemClock
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from pathlib import Path

LOCK = "pkcs11:serial=1;token=host"
FILE = "file /etc/pin 1"


def records(folder: Path) -> DiskPinAttempts:
    return DiskPinAttempts(str(folder), FakeClock())


def refuse(folder: Path, lock: str = LOCK, source: str = FILE) -> None:
    attempts = records(folder)
    assert not attempts.was_refused(lock, source)
    assert attempts.begin(lock, source)
    attempts.failed(lock, source)


@pytest.mark.promise(57)
def test_a_refused_pin_stays_refused_for_the_next_process(tmp_path: Path) -> None:
    refuse(tmp_path)
    assert records(tmp_path).was_refused(LOCK, FILE)


@pytest.mark.promise(57)
def test_another_token_or_source_may_be_tried(tmp_path: Path) -> None:
    refuse(tmp_path)
    assert not records(tmp_path).was_refused(LOCK, "file /etc/pin 2")
    assert not records(tmp_path).was_refused("pkcs11:serial=2;token=host", FILE)


def test_a_right_pin_leaves_nothing(tmp_path: Path) -> None:
    attempts = records(tmp_path)
    assert not attempts.was_refused(LOCK, FILE)
    attempts.begin(LOCK, FILE)
    attempts.succeeded(LOCK, FILE)
    assert not records(tmp_path).was_refused(LOCK, FILE)
    assert list((tmp_path / DIRECTORY).glob("*.json")) == []


def test_a_right_pin_does_not_wipe_out_the_refusal_of_another(tmp_path: Path) -> None:
    refuse(tmp_path)
    attempts = records(tmp_path)
    attempts.begin(LOCK, "env 07")
    attempts.succeeded(LOCK, "env 07")
    assert records(tmp_path).was_refused(LOCK, FILE)


@pytest.mark.promise(57)
def test_the_attempt_of_a_killed_process_counts_as_refused(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        attempts = records(tmp_path)
        attempts.was_refused(LOCK, FILE)
        attempts.begin(LOCK, FILE)
        os._exit(0)
    os.waitpid(child, 0)
    assert records(tmp_path).was_refused(LOCK, FILE)


def _try(folder: str, tried: Queue[int]) -> None:
    attempts = DiskPinAttempts(folder, SystemClock())
    if not attempts.was_refused(LOCK, FILE):
        attempts.begin(LOCK, FILE)
        tried.put(1)
        attempts.failed(LOCK, FILE)


@pytest.mark.promise(57)
def test_of_processes_that_come_at_once_one_tries(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    tried: Queue[int] = context.Queue()
    processes = [context.Process(target=_try, args=(str(tmp_path), tried)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert tried.get(timeout=5) == 1
    assert tried.empty()


def test_who_waits_for_an_attempt_that_does_not_end_is_refused(tmp_path: Path) -> None:
    holder = records(tmp_path)
    assert not holder.was_refused(LOCK, FILE)
    assert records(tmp_path).was_refused(LOCK, FILE)
    holder.failed(LOCK, FILE)
    assert not records(tmp_path).was_refused(LOCK, FILE)


@pytest.mark.promise(57)
def test_where_nothing_can_be_written_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "no directory"
    file.touch()
    for attempts in (DiskPinAttempts(None, FakeClock()), DiskPinAttempts(str(file), FakeClock())):
        assert not attempts.was_refused(LOCK, FILE)
        assert not attempts.begin(LOCK, FILE)
        attempts.failed(LOCK, FILE)
        attempts.succeeded(LOCK, FILE)


def test_the_record_is_private_and_says_when(tmp_path: Path) -> None:
    refuse(tmp_path)
    (record,) = (tmp_path / DIRECTORY).glob("*.json")
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    text = record.read_text()
    assert LOCK in text
    assert FILE in text
    assert '"at": 1800000000.0' in text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"lock": "x", "refused": []}', b'{"refused": 1}', b"\xff"])
def test_a_record_that_cannot_be_read_is_none(content: bytes, tmp_path: Path) -> None:
    refuse(tmp_path)
    (record,) = (tmp_path / DIRECTORY).glob("*.json")
    record.write_bytes(content)
    assert not records(tmp_path).was_refused(LOCK, FILE)


def test_the_oldest_sources_go_first(tmp_path: Path) -> None:
    clock = FakeClock()
    for number in range(MOST_SOURCES + 2):
        attempts = DiskPinAttempts(str(tmp_path), clock)
        attempts.begin(LOCK, f"env {number}")
        clock.advance(1)
    assert not records(tmp_path).was_refused(LOCK, "env 1")
    assert records(tmp_path).was_refused(LOCK, "env 2")
