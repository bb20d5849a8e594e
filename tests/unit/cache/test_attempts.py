"""The last attempt of the daemon, written down for its next life."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.domain.ports import StoredEnd
from rolesanywhere_helper.system.private_directory import PrivateDirectory
from tests.fakes.clock import FakeClock
from tests.fakes.sessions import ROLE_ARN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[PrivateDirectory]:
    with PrivateDirectory(tmp_path.resolve() / "cache") as made:
        yield made


def store(directory: PrivateDirectory, key: str = "k1") -> DiskStore:
    return DiskStore(directory, key, ROLE_ARN, FakeClock())


@pytest.mark.promise(71)
def test_another_process_finds_it_and_another_certificate_does_not(directory: PrivateDirectory) -> None:
    assert store(directory).load_attempt() is None
    store(directory).save_attempt(1_800_000_000.25)
    store(directory).save_attempt(1_800_000_100.5)

    assert store(directory).load_attempt() == 1_800_000_100.5
    assert store(directory, "k2").load_attempt() is None


def test_it_is_private(directory: PrivateDirectory) -> None:
    store(directory).save_attempt(1.0)

    assert (directory.path / "k1.attempt").stat().st_mode & 0o777 == 0o600


@pytest.mark.promise(39)
def test_it_is_not_written_through_a_link(directory: PrivateDirectory, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    os.utime(target, (7, 7))
    (directory.path / "k1.attempt").symlink_to(target)

    store(directory).save_attempt(1_800_000_000)

    assert target.stat().st_mtime == 7
    assert store(directory).load_attempt() is None


def test_a_fifo_in_its_place_hangs_nobody(directory: PrivateDirectory) -> None:
    os.mkfifo(directory.path / "k1.attempt")

    store(directory).save_attempt(1_800_000_000)


@pytest.mark.promise(44)
def test_the_end_on_boottime_is_found_again(directory: PrivateDirectory) -> None:
    assert store(directory).load_end() is None
    end = StoredEnd("ASIA", "11111111-2222", 4711.25)
    store(directory).save_end(end)

    assert store(directory).load_end() == end
    assert store(directory, "k2").load_end() is None
    (directory.path / "k1.end").write_bytes(b'{"accessKeyId": "ASIA"')
    assert store(directory).load_end() is None
