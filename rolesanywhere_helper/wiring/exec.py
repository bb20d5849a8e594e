"""Joins one session, a private endpoint and one program: the command ``exec``.

The daemon is that of ``serve``, and lives in the process that started the program and waits for it: as long as the
program runs, whatever it does with signals, its credentials are renewed and served.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
from typing import TYPE_CHECKING, cast

from rolesanywhere_helper.broker import told_again
from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.daemon.refresher import in_a_thread
from rolesanywhere_helper.daemon.sessions import ATTEMPTS_LOG
from rolesanywhere_helper.errors import MintChildError, from_code
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.system.listeners import PassedSockets
from rolesanywhere_helper.system.program import ENDING, PASSED_ON, Arrived, Program, Signals
from rolesanywhere_helper.system.references import References
from rolesanywhere_helper.wiring.place import key_of, open_directory
from rolesanywhere_helper.wiring.serve import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from rolesanywhere_helper.config.serve_settings import ServeSettings
    from rolesanywhere_helper.domain.identity_reference import HeldAs

# Who still asks when the program has ended was left behind by it.
_DRAIN_SECONDS = 0.5
_KILLED = 128


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be run: ``environment`` makes the program's environment of the endpoint's URL.

    ``mask`` are the signals that it is to find blocked.
    """

    command: Sequence[str]
    environment: Callable[[str], Mapping[str, str]]
    mask: frozenset[int]


def run(settings: ServeSettings, secrets: Mapping[HeldAs, str], task: Task) -> int:
    """Run a program with the one session of these settings; return its exit code.

    It is 128 and the number of the signal where one has ended it, or us before there was a program.

    Raises:
        ProgramNotFoundError, ProgramNotStartedError: it cannot be run.
        HelperError: there are no credentials.

    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        arrived: asyncio.Queue[Arrived] = asyncio.Queue()
        Signals(lambda found: cast("None", loop.call_soon_threadsafe(arrived.put_nowait, found)))
        return runner.run(_Run(settings, secrets, task, arrived).live())


class _Run:
    def __init__(
        self,
        settings: ServeSettings,
        secrets: Mapping[HeldAs, str],
        task: Task,
        arrived: asyncio.Queue[Arrived],
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._task = task
        self._arrived = arrived

    async def live(self) -> int:
        nothing_passed = PassedSockets({}, {})
        daemon = Daemon(self._settings, lambda: self._settings, nothing_passed, os.environ, self._secrets)
        try:
            ended_by = await self._unless_told_to_end(self._first_credentials(daemon))
            if ended_by is not None:
                return _KILLED + ended_by
            url = json.loads(daemon.ready_document())["container"][self._settings.containers[0].name]["url"]
            program = Program(self._task.command, self._task.environment(url), self._task.mask)
            gc.freeze()
            gc.enable()
            return await self._ended(program)
        finally:
            await daemon.close(_DRAIN_SECONDS)

    async def _unless_told_to_end(self, work: Coroutine[object, object, None]) -> int | None:
        """Do what comes before the program, or return the signal that has come instead."""
        working, signal = asyncio.ensure_future(work), asyncio.ensure_future(self._ending_signal())
        await asyncio.wait((working, signal), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            signal.cancel()
            working.result()
            return None
        working.cancel()
        return signal.result()

    async def _first_credentials(self, daemon: Daemon) -> None:
        """Wait for credentials.

        Raises:
            HelperError: there are none.

        """
        await in_a_thread(self._refuse_what_failed_just_now)
        told_of_attempts = logging.getLogger(ATTEMPTS_LOG)
        told_of_attempts.setLevel(logging.CRITICAL)  # this one is told by raising it
        await daemon.open()
        daemon.try_now()
        session = await daemon.first_attempt_of(self._settings.containers[0].session)
        told_of_attempts.setLevel(logging.NOTSET)
        if session.current() is None:
            error = session.status().last_error
            raise MintChildError("there are no credentials") if error is None else from_code(*error)

    async def _ending_signal(self) -> int:
        while (found := await self._arrived.get()).number not in ENDING:
            pass
        return found.number

    async def _ended(self, program: Program) -> int:
        """Pass signals on until the program has ended."""
        while (code := program.look()) is None:
            found = await self._arrived.get()
            if found.number in PASSED_ON and not found.has_reached_the_group:
                program.send(found.number)
        return code

    def _refuse_what_failed_just_now(self) -> None:
        """Tell a failure again that is only a moment old, rather than call once more (promise 82)."""
        served = self._settings.sessions[0].settings
        key = key_of(served, References(os.environ)) if served.use_cache else None
        directory = None if key is None else open_directory(self._settings.cache_directory)
        if key is None or directory is None:
            return
        with directory:
            clock = SystemClock()
            store = DiskStore(directory, key, str(served.role_arn), clock)
            held, error = store.load(), told_again(store.load_failure(), clock.now())
        if error is not None and (held is None or held.credentials.expires_at <= clock.now()):
            raise error
