"""Keeping secrets out of core files (promise 72)."""

from __future__ import annotations

import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4  # prctl(2)


def forbid_core_dumps() -> None:
    """Forbid this process to leave its memory in a file, and other processes of the user to look into it.

    The limit is inherited by children; the flag that Linux has besides is not, since a new program resets it. Where
    something of this is not possible nothing happens: it is the second line of defence.
    """
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on every platform

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(ImportError, OSError, AttributeError):
            import ctypes  # noqa: PLC0415 - heavy, and only Linux has the call

            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
