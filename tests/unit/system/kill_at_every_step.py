"""Kill writers of a private directory, each at another C call, and print: kills, old seen, new seen, files left."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from rolesanywhere_helper.system.private_directory import PrivateDirectory

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


def write_and_die(directory: PrivateDirectory, step: int) -> bool:
    """Return whether the writer was killed before it was done."""
    child = os.fork()
    if not child:
        die_at(step)
        directory.write("x", NEW)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main() -> None:
    kills = old = new = 0
    wanted = int(sys.argv[2])
    with PrivateDirectory(Path(sys.argv[1])) as directory:
        step = 1
        while kills < wanted:
            directory.write("x", OLD)
            if not write_and_die(directory, step):
                step = 1
                continue
            kills += 1
            step += 1
            content = directory.read("x")
            old += content == OLD
            new += content == NEW
    left = sum(entry.name.startswith(".new-") for entry in Path(sys.argv[1]).iterdir())
    print(kills, old, new, left)


main()
