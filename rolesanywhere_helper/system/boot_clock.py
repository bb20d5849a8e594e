"""Both clocks of the serving process (port :class:`rolesanywhere_helper.domain.serving.BootClock`)."""

from __future__ import annotations

import time

# Linux. Elsewhere the monotonic clock comes closest; on macOS it stands still during sleep.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemBootClock:
    """The wall clock, and one that nobody can set and that counts on through suspend."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def boottime(self) -> float:
        """Return seconds since boot."""
        return time.clock_gettime(_CLOCK)


def boot_id(path: str = "/proc/sys/kernel/random/boot_id") -> str | None:
    """Return what names this boot (random(4)), or None where it is not to be seen (a unit with ``ProcSubset=pid``)."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - no use for a Path
            return file.read(64).strip() or None
    except (OSError, UnicodeDecodeError):
        return None
