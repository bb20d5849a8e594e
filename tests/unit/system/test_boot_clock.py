"""The clocks of the serving process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rolesanywhere_helper.system.boot_clock import SystemBootClock, boot_id

if TYPE_CHECKING:
    from pathlib import Path


def test_the_wall_clock_is_the_machines() -> None:
    before = time.time()
    assert before <= SystemBootClock().now() <= time.time()


def test_boottime_is_what_the_kernel_counts_since_boot_also_in_suspend() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= SystemBootClock().boottime() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_boot_has_a_name_where_it_is_to_be_seen(tmp_path: Path) -> None:
    assert boot_id() == boot_id()
    assert len(boot_id() or "") == 36
    assert boot_id(str(tmp_path / "hidden")) is None
    (tmp_path / "empty").touch()
    assert boot_id(str(tmp_path / "empty")) is None
