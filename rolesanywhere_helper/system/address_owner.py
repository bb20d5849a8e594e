"""Who holds an address that we wanted: looked for once, when a listener cannot be had, to name it in the error.

Reads ``/proc`` as far as this user may: an unprivileged one sees whose socket it is, but not which process of another
user. Nothing here raises.
"""

from __future__ import annotations

import os
import pwd
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTEN = 0x0A
# What one file of /proc may hold here, and what a program's name may (TASK_COMM_LEN is 16).
_MOST_BYTES, _MOST_NAME = 4 << 20, 64


@dataclass(frozen=True, slots=True)
class AddressOwner:
    """What is known of the holder; ``str()`` puts it into words."""

    uid: int
    pid: int | None = None
    command: str | None = None

    def __str__(self) -> str:
        user = f"user {_user_name(self.uid)}"
        if self.pid is None:
            return f"a process of {user}"
        return f"{self.command or 'a process'} (pid {self.pid}, {user})"


def tcp_owner(address: bytes, port: int) -> AddressOwner | None:
    """Return who holds a local TCP port on an address (4 or 16 bytes, network order), or on every address."""
    rows = [row for row in _tcp_rows() if row.port == port and (row.address == address or not any(row.address))]
    rows.sort(key=lambda row: (row.state != _LISTEN, row.address != address))
    if not rows:
        return None
    pid = _holder_of(rows[0].inode)
    return AddressOwner(rows[0].uid, pid, None if pid is None else _command(pid))


def process_owner(uid: int, pid: int) -> AddressOwner:
    """Describe a process that the kernel has named (pid 0: one that we cannot see)."""
    return AddressOwner(uid, pid or None, _command(pid) if pid else None)


@dataclass(frozen=True, slots=True)
class _Row:
    address: bytes
    port: int
    state: int
    uid: int
    inode: int


def _tcp_rows() -> Iterator[_Row]:
    """Read the kernel's tables (proc_pid_net(5)); sockets that nobody holds any more have inode 0."""
    for path in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in _read(path).splitlines()[1:]:
            with suppress(ValueError, IndexError):
                row = _row(line.split())
                if row.inode:
                    yield row


def _row(fields: list[str]) -> _Row:
    address, _, port = fields[1].partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]  # each printed in the machine's order
    packed = struct.pack(f"={len(words)}I", *words)
    return _Row(packed, int(port, 16), int(fields[3], 16), int(fields[7]), int(fields[9]))


def _holder_of(inode: int) -> int | None:
    target = f"socket:[{inode}]"
    for pid in filter(str.isdecimal, _entries("/proc")):
        directory = f"/proc/{pid}/fd"
        if any(_link(f"{directory}/{number}") == target for number in _entries(directory)):
            return int(pid)
    return None


def _command(pid: int) -> str | None:
    """Return a program's name, never its arguments: those could hold a secret."""
    name = _read(f"/proc/{pid}/comm").strip()[:_MOST_NAME]
    return "".join(character if character.isprintable() else "?" for character in name) or None


def _user_name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return str(uid)


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - thousands of them: no use for Path objects
    except OSError:
        return []


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - the same
    except OSError:
        return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - the same
            return file.read(_MOST_BYTES)
    except OSError:
        return ""
