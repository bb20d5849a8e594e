"""Devices: why one cannot be used, where a library only says that it cannot."""

from __future__ import annotations

import os


def why_unusable(path: str) -> OSError | None:
    """Open a device for reading and writing, close it again, and return what the operating system says against it.

    For devices that do nothing when they are opened, such as ``/dev/tpmrm0``.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error
    return None
