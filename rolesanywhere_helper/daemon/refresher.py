"""Keeps every session fresh: one task for each, all of them asking the same few children.

A task sleeps until its session says that an attempt is due, and never longer than fifteen seconds: asyncio's timers
stand still while the machine is suspended and know nothing of a clock that was set, so both are noticed by looking.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from rolesanywhere_helper.errors import MintChildError
from rolesanywhere_helper.protocol.mint_exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from rolesanywhere_helper.daemon.sessions import DaemonSession
    from rolesanywhere_helper.domain.serving import HeldSet
    from rolesanywhere_helper.protocol.mint_exchange import Question

LONGEST_SLEEP_SECONDS = 15.0
# What is left of a set is a difference of large numbers, and never quite nothing.
_SHORTEST_SLEEP_SECONDS = 0.01
# The cache is a convenience: a disk that hangs must not keep a session from being renewed.
DISK_SECONDS = 2.0
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


async def in_a_thread(call: Callable[[], _Result]) -> _Result:
    """Run what may wait for a disk in a thread of its own, which never keeps the process from ending."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_Result] = loop.create_future()

    def tell(result: _Result | None, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type] # without an error there is a result

    def run() -> None:
        result, failed = None, None
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - it is the caller's, in the other thread, whatever it is
            failed = error
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(tell, result, failed)

    threading.Thread(target=run, name="rolesanywhere-disk", daemon=True).start()
    return await outcome


class Refresher:
    """Runs the attempts of all sessions.

    Args:
        mint: Asks a child (:meth:`rolesanywhere_helper.daemon.children.Children.mint`).
        aside: Runs what waits for the disk, away from the event loop's thread.

    """

    def __init__(
        self,
        mint: Callable[[Question], Awaitable[Answer]],
        *,
        aside: Callable[[Callable[[], HeldSet | None]], Awaitable[HeldSet | None]] = in_a_thread,
    ) -> None:
        self._mint = mint
        self._aside = aside
        self._keepers: dict[str, _Keeper] = {}

    def add(self, session: DaemonSession) -> None:
        """Keep a session fresh from now on; its :meth:`~DaemonSession.start` was called. One name is added once."""
        keeper = _Keeper(session, self._mint, self._aside)
        self._keepers[session.name] = keeper
        keeper.start()

    def remove(self, names: Iterable[str]) -> Awaitable[None]:
        """Leave sessions alone from now on; what is returned ends when the attempts under way have been ended."""
        gone = [self._keepers.pop(name) for name in names if name in self._keepers]
        for keeper in gone:
            keeper.cancel()

        async def end() -> None:
            for keeper in gone:
                await keeper.gone()

        return end()

    async def stop(self) -> None:
        """Leave all sessions alone; returns when no child is left."""
        await self.remove(list(self._keepers))

    @property
    def is_alive(self) -> bool:
        """Whether every session still has its task. If not, this program has a mistake, and only a restart helps."""
        return all(keeper.is_alive for keeper in self._keepers.values())

    def identity_changed(self, name: str) -> None:
        """Try at once: the files of a session's identity have changed."""
        if name in self._keepers:
            self._keepers[name].identity_changed()

    def identity_pushed(self, name: str) -> None:
        """Try at once: where a session's identity comes from, there is a new one."""
        if name in self._keepers:
            self._keepers[name].identity_pushed()

    async def first_attempt_ended(self, name: str) -> None:
        """Wait until a session has credentials, or its first attempt has failed.

        Raises:
            KeyError: there is no session of this name.

        """
        await self._keepers[name].first_attempt_ended.wait()

    async def first_attempts_ended(self) -> None:
        """Wait until this is so for all sessions (promise 80); who calls sets the limit of 20 s."""
        for keeper in list(self._keepers.values()):
            await keeper.first_attempt_ended.wait()

    async def looked_at(self, name: str) -> None:
        """Wait until a session was looked at again: after each attempt, and every fifteen seconds at least.

        Raises:
            KeyError: there is no session of this name.

        """
        await self._keepers[name].looked_at()

    async def wait_for_credentials(self, name: str) -> None:
        """Wait until a session has credentials to hand out.

        Raises:
            KeyError: there is no session of this name.

        """
        await self._keepers[name].wait_for_credentials()


class _Keeper:
    """The task of one session: one attempt at a time."""

    def __init__(
        self,
        session: DaemonSession,
        mint: Callable[[Question], Awaitable[Answer]],
        aside: Callable[[Callable[[], HeldSet | None]], Awaitable[HeldSet | None]],
    ) -> None:
        self._session = session
        self._mint = mint
        self._aside = aside
        self._woken = asyncio.Event()
        self._looked = asyncio.Event()
        self._disk: asyncio.Task[HeldSet | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.first_attempt_ended = asyncio.Event()

    def start(self) -> None:
        if self._session.current() is not None:
            self.first_attempt_ended.set()
        self._task = asyncio.get_running_loop().create_task(self._keep_fresh(), name=f"refresh {self._session.name}")
        self._task.add_done_callback(self._tell_of_death)

    @property
    def is_alive(self) -> bool:
        return self._task is not None and not self._task.done()

    def _tell_of_death(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            name = type(error).__name__
            _log.critical("session %s is no longer renewed: unexpected %s", self._session.name, name)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def gone(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])
        self.first_attempt_ended.set()  # nobody waits for what will not come

    def identity_changed(self) -> None:
        self._session.identity_changed()
        self._woken.set()

    def identity_pushed(self) -> None:
        self._session.identity_pushed()
        self._woken.set()

    async def looked_at(self) -> None:
        await self._looked.wait()

    async def wait_for_credentials(self) -> None:
        while self._session.current() is None:
            await self._looked.wait()

    async def _keep_fresh(self) -> None:
        while True:
            wait = self._session.seconds_to_attempt()
            self._tell()
            if wait <= 0:
                await self._attempt()
                self.first_attempt_ended.set()
                continue
            with suppress(TimeoutError):
                # Awake when a set ends, so that this is told in time.
                end = max(self._session.seconds_to_end(), _SHORTEST_SLEEP_SECONDS)
                async with asyncio.timeout(min(wait, end, LONGEST_SLEEP_SECONDS)):
                    await self._woken.wait()
            self._woken.clear()

    def _tell(self) -> None:
        """Wake those who wait for credentials, so that they look."""
        self._looked.set()
        self._looked = asyncio.Event()

    async def _attempt(self) -> None:
        session = self._session
        session.begin()
        found = await self._on_disk(session.prepare)
        if found is not None:
            session.adopt(found)
            return
        try:
            answer = await self._mint(session.question)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt must come; its text may hold a secret
            answer = Answer(error=MintChildError(f"the attempt failed with an unexpected {type(error).__name__}"))
        session.accept(answer)
        self._tell()
        await self._on_disk(session.keep)

    async def _on_disk(self, call: Callable[[], HeldSet | None]) -> HeldSet | None:
        """Do what waits for the disk, if the disk answers in time and what was asked before has been done."""
        if self._disk is not None and not self._disk.done():
            return None
        self._disk = asyncio.ensure_future(self._aside(call))
        await asyncio.wait([self._disk], timeout=DISK_SECONDS)
        if not self._disk.done():
            _log.warning("session %s: the cache directory does not answer; going on without it", self._session.name)
            return None
        error = self._disk.exception()
        if error is not None:
            name = type(error).__name__
            _log.warning("session %s: the cache cannot be used (%s)", self._session.name, name)
            return None
        return self._disk.result()
