"""The directory of a local CA: one process at a time, and nothing left of one that was killed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.errors import UnwritableFileError
from rolesanywhere_helper.system.directory_lock import LOCK_SECONDS, alone_in
from rolesanywhere_helper.wiring.local_ca import AuthorityDirectory
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

# Ends, as kill -9 ends it, when the key is written whole and has not got its name yet.
KILLED = """
import os, signal, sys
from rolesanywhere_helper.system.new_key_file import write_new_key
os.link = os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_new_key(sys.argv[1], b"a private key", replace=False)
"""


def made(path: Path, clock: FakeClock) -> AuthorityDirectory:
    authority = AuthorityDirectory(path, lambda _: b"passphrase", clock)
    authority.make("CA")
    return authority


def test_a_key_that_somebody_was_killed_over_is_swept_away_by_whoever_comes_next(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    authority, leaves = made(directory, FakeClock()), directory / "leaves"
    first = authority.issue((("CN", "first"),), 1, None)
    others = {".mine.key.new", ".first.key.new-1-0123456g", "first.key.new-1-01234567", ".first.pem.new-1-01234567"}
    for name in others:
        (leaves / name).touch()
    (leaves / ".dir.key.new-1-01234567").mkdir()
    before = {path.name for path in leaves.iterdir()}

    def kill() -> None:
        done = subprocess.run([sys.executable, "-c", KILLED, str(leaves / "killed.key")], check=False)
        assert done.returncode == -9
        assert len({path.name for path in leaves.iterdir()} - before) == 1

    kill()
    second = authority.issue((("CN", "second"),), 1, None)
    assert {path.name for path in leaves.iterdir()} == before | {"second.pem", "second.key"}
    assert second.key is not None
    before |= {"second.pem", "second.key"}
    kill()
    authority.revoke(str(first.certificate))
    assert {path.name for path in leaves.iterdir()} == before


def test_who_finds_another_at_work_waits_and_takes_nothing_away(tmp_path: Path) -> None:
    clock = FakeClock()
    authority = made(tmp_path / "ca", clock)
    began = clock.monotonic()
    with alone_in(tmp_path / "ca", clock), pytest.raises(UnwritableFileError, match="another process has had its lock"):
        authority.issue((("CN", "leaf"),), 1, None)

    assert LOCK_SECONDS < clock.monotonic() - began < LOCK_SECONDS + 1
    assert not (tmp_path / "ca/leaves").exists()
    assert authority.issue((("CN", "leaf"),), 1, None).certificate.exists()
