"""The private directory of one run."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from rolesanywhere_helper.errors import UnwritableFileError
from rolesanywhere_helper.system import run_directory, turns
from rolesanywhere_helper.system.run_directory import RunDirectory

DEAD = "rolesanywhere-helper-exec-0123456789abcdef"


def test_it_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with RunDirectory({"XDG_RUNTIME_DIR": str(tmp_path)}) as directory:
        file = Path(directory.write("config", b"text"))
        assert Path(directory.path).parent == tmp_path
        assert (Path(directory.path).stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
        assert file.read_bytes() == b"text"

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with RunDirectory({"TMPDIR": str(tmp_path)}) as directory:
        directory.write("token", b"text")
        with pytest.raises(UnwritableFileError):
            directory.write("nowhere/token", b"text")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", ["relative", "", "/nonexistent"])
def test_a_place_that_cannot_be_used_is_passed_over(tmp_path: Path, named: str) -> None:
    with RunDirectory({"XDG_RUNTIME_DIR": named, "TMPDIR": str(tmp_path)}) as directory:
        assert Path(directory.path).parent == tmp_path


def test_no_file_is_written_twice(tmp_path: Path) -> None:
    with RunDirectory({"TMPDIR": str(tmp_path)}) as directory:
        directory.write("config", b"mine")
        with pytest.raises(UnwritableFileError):
            directory.write("config", b"other")


def test_what_the_program_has_put_there_goes_too_and_nothing_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    place = tmp_path / "place"
    place.mkdir()

    with RunDirectory({"TMPDIR": str(place)}) as directory:
        root = Path(directory.path)
        directory.write("token", b"text")
        (root / "cache/deep").mkdir(parents=True)
        (root / "cache/deep/file").touch()
        (root / "cache/deep").chmod(0o500)
        (root / "a-link").symlink_to(outside)
        (root / "cache/link").symlink_to(outside / "file")
        os.mkfifo(root / "fifo")

    assert list(place.iterdir()) == []
    assert (outside / "file").exists()


def test_what_cannot_be_removed_keeps_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "_DEEPEST", 1)

    with RunDirectory({"TMPDIR": str(tmp_path)}) as directory:
        directory.write("token", b"text")
        (Path(directory.path) / "1/2/3").mkdir(parents=True)
        (Path(directory.path) / "1/file").touch()

    assert [entry.name for entry in Path(directory.path).rglob("*")] == ["1", "2", "3"]


def test_what_a_dead_run_left_is_swept_and_a_living_ones_stays(tmp_path: Path) -> None:
    dead = tmp_path / DEAD
    dead.mkdir(mode=0o700)
    (dead / "token").touch()
    (dead / "cache").mkdir()

    with RunDirectory({"TMPDIR": str(tmp_path)}) as living, RunDirectory({"TMPDIR": str(tmp_path)}) as other:
        assert {entry.name for entry in tmp_path.iterdir()} == {Path(living.path).name, Path(other.path).name}


@pytest.mark.usefixtures("as_root")
def test_what_is_mounted_there_is_not_entered(tmp_path: Path) -> None:
    """Not even if it is of the same file system."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/precious").touch()
    script = (
        "import os, subprocess, sys\n"
        "from rolesanywhere_helper.system.run_directory import RunDirectory\n"
        "with RunDirectory({'TMPDIR': sys.argv[1]}) as directory:\n"
        "    os.mkdir(f'{directory.path}/m'), os.mkdir(f'{directory.path}/plain')\n"
        "    directory.write('token', b'text')\n"
        "    subprocess.run(['mount', '--bind', f'{sys.argv[1]}/data', f'{directory.path}/m'], check=True)\n"
        "print(sorted(os.listdir(directory.path)))\n"
    )
    command = ["unshare", "--mount", sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert (tmp_path / "data/precious").exists()
    assert done.stdout == "['m']\n", "the negative control: what is not mounted goes"


@pytest.mark.parametrize("mode", [0o700, 0o2700])
def test_a_setgid_place_is_swept_and_one_where_others_can_rename_is_not(tmp_path: Path, mode: int) -> None:
    (tmp_path / DEAD).mkdir()
    (tmp_path / DEAD).chmod(mode)
    tmp_path.chmod(0o2777)
    with RunDirectory({"TMPDIR": str(tmp_path)}) as directory:
        assert (tmp_path / DEAD).exists()
    tmp_path.chmod(0o3777)
    with RunDirectory({"TMPDIR": str(tmp_path)}) as directory:
        assert [entry.name for entry in tmp_path.iterdir()] == [Path(directory.path).name]


def test_what_could_be_somebody_elses_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / DEAD).symlink_to("target")
    (tmp_path / f"{DEAD[:-1]}0").mkdir(mode=0o755)
    (tmp_path / f"{DEAD[:-1]}1").touch(mode=0o700)
    (tmp_path / f"{DEAD}2").mkdir(mode=0o700)
    os.mkfifo(tmp_path / f"{DEAD[:-1]}3", mode=0o700)
    before = {entry.name for entry in tmp_path.iterdir()}

    with RunDirectory({"TMPDIR": str(tmp_path)}):
        pass

    assert {entry.name for entry in tmp_path.iterdir()} == before


def test_a_new_one_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[str] = []
    lock = turns.try_lock

    def swept_once(descriptor: int) -> bool:
        if not swept:
            swept.extend(entry.name for entry in tmp_path.iterdir())
            (tmp_path / swept[0]).rmdir()
        return lock(descriptor)

    monkeypatch.setattr(run_directory, "try_lock", swept_once)
    with RunDirectory({"TMPDIR": str(tmp_path)}) as directory:
        assert [entry.name for entry in tmp_path.iterdir()] == [Path(directory.path).name]
        assert Path(directory.path).name not in swept


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = open_directories()
    with RunDirectory({"TMPDIR": str(tmp_path)}) as directory:
        (Path(directory.path) / "cache").mkdir()

    assert open_directories() == before


def open_directories() -> int:
    found = 0
    for number in range(256):
        with suppress(OSError):
            found += stat.S_ISDIR(os.fstat(number).st_mode)
    return found
