"""What the number of a user means in this user namespace (user_namespaces(7))."""

from __future__ import annotations

from pathlib import Path

from rolesanywhere_helper.fastpath import OVERFLOW_UID

_MAP = Path("/proc/self/uid_map")
# One line: the first number inside, the first outside, and how many. This is what the machine's own namespace shows.
_EVERYBODY = ["0", "0", "4294967295"]


def is_outside(uid: int) -> bool:
    """Tell whether an owner may be somebody without a number here, such as the host's root in a rootless container.

    The kernel shows all of these as one number. Where every number has its own meaning, which is so on a machine
    itself, that is a user like any other: Debian's ``nobody``.
    """
    if uid != OVERFLOW_UID:
        return False
    try:
        return _MAP.read_text(encoding="ascii").split() != _EVERYBODY
    except OSError:
        return False
