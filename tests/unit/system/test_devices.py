"""Why a device cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.system.devices import why_unusable

if TYPE_CHECKING:
    from pathlib import Path


def test_a_device_that_can_be_used_has_nothing_against_it() -> None:
    assert why_unusable("/dev/null") is None


def test_what_the_operating_system_says_is_returned(tmp_path: Path) -> None:
    assert isinstance(why_unusable(str(tmp_path / "no-such-device")), FileNotFoundError)
    assert isinstance(why_unusable(str(tmp_path)), IsADirectoryError)
