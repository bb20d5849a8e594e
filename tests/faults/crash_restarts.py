"""Starts a session of the daemon a thousand times and kills it each time; prints the calls made and the unkilled ends.

Run as ``crash_restarts.py DIRECTORY (remembers|forgets) COUNT``. Each start is a process of its own with the real store
on the real disk, and ends by SIGKILL within milliseconds, wherever it is. Only the clock is made up: a second between
starts, so that the whole is a quarter of an hour.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.daemon.sessions import DaemonSession, OpenedStore
from rolesanywhere_helper.domain.serving import AccessPolicy
from rolesanywhere_helper.errors import ConnectionFailedError
from rolesanywhere_helper.protocol.mint_exchange import Answer, Question
from rolesanywhere_helper.system.clocks import SystemClock, SystemRandomness
from rolesanywhere_helper.system.private_directory import PrivateDirectory
from tests.fakes.sessions import ROLE_ARN, spec

MOST_LIFE_SECONDS = 0.006


class Clock:
    """Both clocks at one moment."""

    def __init__(self, second: int) -> None:
        self._second = second

    def now(self) -> float:
        """Return the wall clock."""
        return 1_800_000_000.0 + self._second

    def boottime(self) -> float:
        """Return seconds since boot."""
        return 1_000.0 + self._second


def live(folder: Path, second: int, *, remembers: bool) -> None:
    """Do what the daemon does from its start to the end of an attempt; the call itself is a byte in a file."""
    with PrivateDirectory(folder / "cache") as directory:
        store = DiskStore(directory, "a" * 64, ROLE_ARN, SystemClock())
        session = DaemonSession(
            name="deploy",
            role_arn=spec().role_arn,
            duration_seconds=spec().duration_seconds,
            question=Question({}),
            policy=AccessPolicy(frozenset()),
            region=None,
            open_store=lambda: OpenedStore("a" * 64, store) if remembers else None,
            clock=Clock(second),
            randomness=SystemRandomness(),
        )
        session.start()
        if session.seconds_to_attempt() > 0:
            return
        session.begin()
        if session.prepare() is None:
            with (folder / "calls").open("ab", buffering=0) as calls:
                calls.write(b".")
            session.accept(Answer(error=ConnectionFailedError("an outage")))
            session.keep()


def main() -> None:
    """Start, and kill."""
    folder, remembers, count = Path(sys.argv[1]), sys.argv[2] == "remembers", int(sys.argv[3])
    (folder / "calls").touch()
    ended = 0
    chance = random.Random(71)  # noqa: S311 - when to kill, and the same each time
    for second in range(count):
        pid = os.fork()
        if pid == 0:
            live(folder, second, remembers=remembers)
            os._exit(0)
        time.sleep(chance.uniform(0, MOST_LIFE_SECONDS))
        os.kill(pid, signal.SIGKILL)
        ended += os.waitpid(pid, 0)[1] == 0
    print((folder / "calls").stat().st_size, ended)


main()
