"""Kill rewriters of a file, each at another C call, and print: kills, old seen, new seen, files left over at most."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.system.replaced_file import rewrite

OLD, NEW = b"old " * 1000, b"new " * 1000


def die_at(step: int) -> None:
    seen = 0

    def count(_frame: object, event: str, _argument: Any) -> None:
        nonlocal seen
        if event == "c_call":
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def rewrite_and_die(path: str, step: int) -> bool:
    """Return whether it was killed before it was done."""
    child = os.fork()
    if not child:
        die_at(step)
        rewrite(path, lambda _: NEW, SystemClock(), mode=0o600)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main() -> None:
    path, wanted = Path(sys.argv[1]), int(sys.argv[2])
    kills = old = new = left = 0
    step = 1
    while kills < wanted:
        rewrite(str(path), lambda _: OLD, SystemClock(), mode=0o600)
        if not rewrite_and_die(str(path), step):
            step = 1
            continue
        kills += 1
        step += 1
        content = path.read_bytes()
        old += content == OLD
        new += content == NEW
        left = max(left, sum(".new-" in entry.name for entry in path.parent.iterdir()))
    print(kills, old, new, left)


main()
