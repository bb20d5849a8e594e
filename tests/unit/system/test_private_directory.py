"""What may be done to the cache directory from outside, and what a write survives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rolesanywhere_helper.errors import UnsafeFileError
from rolesanywhere_helper.system.private_directory import PrivateDirectory

STRANGER = 12_345


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def test_it_and_its_parents_are_made_private(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        with PrivateDirectory(tmp_path / "a" / "b" / "cache") as directory:
            directory.write("x", b"content")
            assert directory.read("x") == b"content"
    finally:
        os.umask(previous)
    assert [mode(tmp_path / part) for part in ("a", "a/b", "a/b/cache", "a/b/cache/x")] == [0o700, 0o700, 0o700, 0o600]


@pytest.mark.promise(41)
def test_an_existing_directory_and_file_are_tightened(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    cache.chmod(0o755)
    (cache / "x").write_bytes(b"old")
    (cache / "x").chmod(0o644)
    with PrivateDirectory(cache) as directory:
        assert mode(cache) == 0o700
        assert directory.read("x") is None, "what others could read is not taken for ours"
        directory.write("x", b"new")
        assert mode(cache / "x") == 0o600
        assert directory.read("x") == b"new"


@pytest.mark.promise(39)
def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(target)
    with pytest.raises(UnsafeFileError, match="is a symbolic link") as refusal:
        PrivateDirectory(tmp_path / "cache")
    assert "ROLESANYWHERE_HELPER_CACHE_DIR" in refusal.value.hint
    assert list(target.iterdir()) == []


@pytest.mark.promise(39)
def test_a_directory_under_one_that_others_can_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(UnsafeFileError, match="another user can write"):
        PrivateDirectory(shared / "mine" / "cache")
    shared.chmod(0o1777)  # the negative control: sticky, as /tmp
    PrivateDirectory(shared / "mine" / "cache").close()


@pytest.mark.promise(39)
def test_a_link_further_up_is_followed_and_what_it_leads_to_is_checked(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o755)
    (tmp_path / "home").symlink_to(real)
    with PrivateDirectory(tmp_path / "home" / "cache") as directory:
        directory.write("x", b"content")
    assert (real / "cache" / "x").read_bytes() == b"content"
    real.chmod(0o777)
    with pytest.raises(UnsafeFileError, match="another user can write"):
        PrivateDirectory(tmp_path / "home" / "cache")


@pytest.mark.promise(39)
def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_untouched(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    target.chmod(0o600)
    with PrivateDirectory(tmp_path / "cache") as directory:
        (tmp_path / "cache" / "x").symlink_to(target)
        assert directory.read("x") is None
        directory.write("x", b"new")
        assert directory.read("x") == b"new"
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "cache" / "x").is_symlink()


@pytest.mark.promise(39)
def test_a_directory_swapped_during_the_write_leads_nowhere(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir(mode=0o700)
    with PrivateDirectory(tmp_path / "cache") as directory:
        (tmp_path / "cache").rename(tmp_path / "moved")
        (tmp_path / "cache").symlink_to(trap)
        directory.write("x", b"secret")
    assert list(trap.iterdir()) == []
    assert (tmp_path / "moved" / "x").read_bytes() == b"secret"


@pytest.mark.promise(38)
@pytest.mark.parametrize("harm", ["hard link", "fifo", "too large", "directory"])
def test_what_is_no_plain_file_of_ours_is_not_there(tmp_path: Path, harm: str) -> None:
    with PrivateDirectory(tmp_path / "cache") as directory:
        place = tmp_path / "cache" / "x"
        if harm == "fifo":
            os.mkfifo(place, 0o600)
        elif harm == "directory":
            place.mkdir(mode=0o700)
        else:
            directory.write("x", b"x" * (70_000 if harm == "too large" else 10))
        if harm == "hard link":
            assert directory.read("x") is not None
            os.link(place, tmp_path / "other")
        assert directory.read("x") is None


@pytest.mark.promise(32, 33)
def test_kill_at_every_step_of_a_write_leaves_old_or_new(tmp_path: Path) -> None:
    """A thousand writers are killed, each before another of the C calls that a write is made of."""
    script = Path(__file__).with_name("kill_at_every_step.py")
    done = subprocess.run(
        [sys.executable, script, str(tmp_path / "cache"), "1000"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kills, old, new, left_behind = (int(word) for word in done.stdout.split())
    assert kills == 1000
    assert old > 100
    assert new > 0
    assert old + new == kills
    assert left_behind > 100, "the negative control: kills in the middle do leave temporary files"
    with PrivateDirectory(tmp_path / "cache") as directory:
        directory.sweep("x", now=0)
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["x"]


def test_sweeping_spares_another_writers_file(tmp_path: Path) -> None:
    with PrivateDirectory(tmp_path / "cache") as directory:
        directory.write("set", b"kept")
        directory.write(".new-other-1", b"being written now")
        written_at = (tmp_path / "cache" / ".new-other-1").stat().st_mtime
        directory.sweep("set", now=written_at + 59)
        assert len(list((tmp_path / "cache").iterdir())) == 2
        directory.sweep("set", now=written_at + 61)
        assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["set"]
        directory.write("other", b"of a certificate of the past")
        directory.sweep("set", now=written_at + 3 * 86_400)
        assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["set"]


def test_the_newest_are_kept(tmp_path: Path) -> None:
    with PrivateDirectory(tmp_path / "cache") as directory:
        for number in range(5):
            directory.write(f"route-{number}", b"")
            directory.wait_until(f"route-{number}", 1_000 + number)
        directory.write("set", b"")
        directory.keep_newest("route-", 2)
    assert sorted(entry.name for entry in (tmp_path / "cache").iterdir()) == ["route-3", "route-4", "set"]
