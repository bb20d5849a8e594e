"""A file that steers this program must be nobody else's (promise 81)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.errors import UnsafeConfigurationError, UnsafeFileError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.promise(81)
@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_what_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"x = 1")
    file.chmod(mode)

    with pytest.raises(UnsafeConfigurationError, match="configuration file") as caught:
        read_trusted(str(file), "configuration file")

    assert "chmod" in caught.value.hint
    assert caught.value.exit_code == 2
    with pytest.raises(UnsafeFileError) as other:  # the negative control: what is not the configuration
        read_trusted(str(file), "CA bundle")
    assert other.value.exit_code == 1


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444])
def test_what_only_we_can_write_is_read(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"x = 1")
    file.chmod(mode)

    assert read_trusted(str(file), "configuration file") == b"x = 1"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert read_trusted(str(tmp_path / "none"), "configuration file") is None
    assert read_trusted(str(tmp_path / "file" / "below"), "configuration file") is None


def test_a_directory_is_no_configuration_file(tmp_path: Path) -> None:
    with pytest.raises(UnsafeConfigurationError, match="is a directory"):
        read_trusted(str(tmp_path), "configuration file")
