"""The token file of a container endpoint: what an SDK reads, and nobody else."""

from __future__ import annotations

import grp
import os
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.system.token_files import new_token, read_token, write_token

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.promise(25)
def test_only_the_owner_may_read_it_and_it_has_no_newline(tmp_path: Path) -> None:
    file = tmp_path / "run" / "app.token"
    token = new_token()
    previous = os.umask(0)
    try:
        write_token(str(file), token, None)
    finally:
        os.umask(previous)
    assert file.read_bytes() == token.encode()
    assert file.stat().st_mode & 0o7777 == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["app.token"]


@pytest.mark.promise(25)
def test_a_group_may_read_it_where_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "app.token"
    own = grp.getgrgid(os.getegid()).gr_name
    write_token(str(file), new_token(), own)
    assert file.stat().st_mode & 0o7777 == 0o640
    assert file.stat().st_gid == os.getegid()


def test_an_unknown_group_and_a_place_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no group 'nobodies'"):
        write_token(str(tmp_path / "x"), new_token(), "nobodies")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_token(str(tmp_path / "file" / "x"), new_token(), None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_token_survives_its_daemon(tmp_path: Path) -> None:
    file, token = tmp_path / "app.token", new_token()
    assert read_token(str(file), None) is None
    write_token(str(file), token, None)
    assert read_token(str(file), None) == token


@pytest.mark.parametrize("harm", ["open", "link", "fifo", "short", "newline", "directory"])
def test_what_is_no_token_of_ours_is_not_used(tmp_path: Path, harm: str) -> None:
    file, token = tmp_path / "app.token", new_token()
    write_token(str(file), token, None)
    if harm == "open":
        file.chmod(0o644)
    elif harm == "short":
        file.write_text("x")
    elif harm == "newline":
        file.write_text(token + "\n")
    else:
        file.rename(tmp_path / "real")
        if harm == "link":
            file.symlink_to(tmp_path / "real")
        elif harm == "fifo":
            os.mkfifo(file, 0o600)
        else:
            file.mkdir()
    assert read_token(str(file), None) is None


def test_a_token_that_another_group_could_read_is_not_used(tmp_path: Path) -> None:
    file, own = tmp_path / "app.token", grp.getgrgid(os.getegid()).gr_name
    write_token(str(file), new_token(), own)
    assert read_token(str(file), own) is not None, "the negative control"
    assert read_token(str(file), None) is None
    with pytest.raises(ConfigurationError, match="there is no group"):
        read_token(str(file), "nobodies")


def test_two_tokens_are_two() -> None:
    assert len({new_token() for _ in range(100)}) == 100
