"""Other users of the machine, played by child processes of root. They need no entry in /etc/passwd."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What code may use is imported before the user changes: another user may not be able to read this Python. Likewise
# what `socket` itself would load late.
_LOAD = """
import codecs, os, socket, struct, sys, time
for name in ("ascii", "idna", "utf-8"): codecs.lookup(name)
from rolesanywhere_helper.system import listeners, peers
"""
_BECOME = """
uid, gid, groups = int(sys.argv[1]), int(sys.argv[2]), [int(group) for group in sys.argv[3].split(",") if group]
if uid != os.getuid():
    os.setgroups(groups); os.setgid(gid); os.setuid(uid)
arguments = sys.argv[4:]
def say(*words): print(*words, flush=True)
def wait(): return sys.stdin.readline()
"""


@dataclass(frozen=True, slots=True)
class User:
    uid: int
    gid: int = 23_456
    groups: tuple[int, ...] = ()


ALICE = User(12_345)
NOBODY = User(65_534, 65_534)


@dataclass(frozen=True, slots=True)
class Child:
    """A running child: it can ``say`` lines, and ``wait`` for ours; ``arguments`` are what it was given."""

    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the child ended without a word"
        return line.strip()

    def nudge(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def running_as(user: User, code: str, *arguments: str | int | Path, imports: str = "") -> Iterator[Child]:
    """Run code as another user; in the end its standard input is closed, and it must end by itself.

    ``imports`` is run before the user changes.
    """
    assert os.geteuid() in {0, user.uid}, "only root can play other users: run the tests as root, as CI does"
    groups = ",".join(map(str, user.groups))
    command = [
        sys.executable,
        "-c",
        _LOAD + imports + _BECOME + code,
        str(user.uid),
        str(user.gid),
        groups,
        *map(str, arguments),
    ]
    environment = {"PATH": "/usr/bin:/bin"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield Child(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(30) == 0
        finally:
            process.kill()
