"""The private directory of one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolesanywhere_helper.errors import UnwritableFileError
from rolesanywhere_helper.system.run_directory import RunDirectory


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
