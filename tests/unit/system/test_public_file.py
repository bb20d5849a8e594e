"""Files for everybody: whole or not at all."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.system.public_file import put_in_place

if TYPE_CHECKING:
    from pathlib import Path


def test_it_makes_what_is_missing_and_lets_everybody_read(tmp_path: Path) -> None:
    path = tmp_path / "etc/systemd/unit"
    before = os.umask(0o077)
    try:
        put_in_place(path, b"one")
        put_in_place(path, b"two")
    finally:
        os.umask(before)

    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_what_was_there_stands_if_it_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "unit"
    put_in_place(path, b"one")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, f"No space left for {descriptor}")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        put_in_place(path, b"two")

    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]
