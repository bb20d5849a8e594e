"""The life of the daemon: begin, tell the supervisor, obey signals, end.

============  =================================================================================
SIGTERM, INT  take no more requests, finish those in flight, end with 0
SIGHUP        read configuration and identity again; what cannot be used is told, and the old stays
SIGUSR1       new tokens for the container endpoints; those before them are accepted until the next
============  =================================================================================

What serves and what signs is not known here: that is behind :class:`Service`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from rolesanywhere_helper.errors import HelperError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

# A supervisor that waits for READY=1 kills what does not say it: a first attempt that hangs must not look like a start
# that failed (promise 80).
READY_SECONDS = 20.0
# SIGTERM to the end, at most (promise 73): a second less than promised, for what comes after.
DRAIN_SECONDS = 4.0
STATUS_SECONDS = 10.0
_ENDING = (signal.SIGTERM, signal.SIGINT)
# 128 and the number of the signal, as a shell tells it; a supervisor's SIGTERM is an end in good order.
_INTERRUPTED = 130
_log = logging.getLogger(__name__)


class _ToldOfReloads(Protocol):
    """Whom the daemon tells of a reload."""

    def ready(self, status: str = "") -> bool:
        """Say that the start, or a reload, is complete."""
        ...

    def reloading(self, monotonic: float, status: str = "") -> bool:
        """Say that a reload begins."""
        ...


class Supervisor(_ToldOfReloads, Protocol):
    """Whom the daemon tells how it is: systemd, or nobody."""

    def status(self, text: str) -> bool:
        """Say in one line how things are."""
        ...

    def stopping(self, status: str = "") -> bool:
        """Say that the end begins."""
        ...

    def watchdog(self) -> bool:
        """Say that the event loop turns."""
        ...


class Service(Protocol):
    """What is kept alive."""

    async def open(self) -> None:
        """Listen, and begin to make sessions.

        Raises:
            HelperError: what was asked cannot be served.

        """
        ...

    async def reload(self) -> None:
        """Read everything again and go over to it.

        Raises:
            HelperError: it cannot be used; what was served before is served on.

        """
        ...

    def rotate_tokens(self) -> None:
        """Make new container tokens."""
        ...

    async def first_attempts_ended(self) -> None:
        """Return when every session has credentials or has failed once."""
        ...

    def summary(self) -> str:
        """Say in one line how things are."""
        ...

    @property
    def is_alive(self) -> bool:
        """Tell whether everything that must run still runs."""
        ...

    def keep_house(self) -> None:
        """Do what is to be done now and then."""
        ...

    async def close(self, seconds: float) -> None:
        """Finish what is in flight within so many seconds, and end."""
        ...


async def live(service: Service, supervisor: Supervisor, watchdog_seconds: float | None) -> int:
    """Run a service until it is told to end; return the exit code.

    Raises:
        HelperError: it could not begin.

    """
    orders = _Orders()
    await service.open()
    gc.freeze()
    gc.enable()
    pulse = _Pulse(service, supervisor, watchdog_seconds)
    pulse.begin()
    greeting = asyncio.ensure_future(_greet(service, supervisor))
    try:
        while (order := await orders.next()) not in _ENDING:
            # A supervisor that still waits for READY=1 would take the end of a reload for that of the start.
            await orders.unless_told_to_end(_obey(order, service, supervisor if greeting.done() else _Nobody()))
    finally:
        greeting.cancel()
        supervisor.stopping("ending")
        await service.close(DRAIN_SECONDS)
        pulse.end()
    return _INTERRUPTED if order is signal.SIGINT else 0


async def _greet(service: Service, supervisor: Supervisor) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_SECONDS):
            await service.first_attempts_ended()
    supervisor.ready(service.summary())


async def _obey(order: signal.Signals, service: Service, supervisor: _ToldOfReloads) -> None:
    """Carry out an order. Whatever comes of it, what is served is served on."""
    if order is signal.SIGHUP:
        supervisor.reloading(time.monotonic(), "reading the configuration again")
    try:
        if order is signal.SIGUSR1:
            service.rotate_tokens()
        else:
            await service.reload()
            _log.info("configuration and identity were read again")
    except HelperError as error:
        _log.error("the new configuration is not used, the old one stays: %s (%s)", error.what, error.hint)
    except Exception as error:  # noqa: BLE001 - a mistake of this program must not end what works
        _log.critical("an order could not be carried out: unexpected %s", type(error).__name__)
    if order is signal.SIGHUP:
        supervisor.ready(service.summary())


class _Nobody:
    """A supervisor that is told of no reload."""

    def ready(self, status: str = "") -> bool:
        del status
        return False

    def reloading(self, monotonic: float, status: str = "") -> bool:
        del monotonic, status
        return False


class _Orders:
    """Signals, in the order in which they came."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._is_ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for order in (*_ENDING, signal.SIGHUP, signal.SIGUSR1):
            loop.add_signal_handler(order, self._take, order)

    def _take(self, order: signal.Signals) -> None:
        self._queue.put_nowait(order)
        if order in _ENDING:
            self._is_ending.set()

    async def unless_told_to_end(self, work: Coroutine[object, object, None]) -> None:
        """Wait for a piece of work, but not once the end was ordered: a file system may hang under a reload."""
        working, ending = asyncio.ensure_future(work), asyncio.ensure_future(self._is_ending.wait())
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait((working,))

    async def next(self) -> signal.Signals:
        return await self._queue.get()


class _Pulse:
    """The ping from the event loop, and the line that ``systemctl status`` shows."""

    def __init__(self, service: Service, supervisor: Supervisor, watchdog_seconds: float | None) -> None:
        self._service = service
        self._supervisor = supervisor
        # In half of the time (sd_watchdog_enabled(3)).
        self._every = min(STATUS_SECONDS, (watchdog_seconds or STATUS_SECONDS * 2) / 2)
        self._timer: asyncio.TimerHandle | None = None
        self._told = ""

    def begin(self) -> None:
        self._beat()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._service.keep_house()
        if self._service.is_alive:
            self._supervisor.watchdog()
        summary = self._service.summary()
        if summary != self._told:
            self._supervisor.status(summary)
            self._told = summary
        self._timer = asyncio.get_running_loop().call_later(self._every, self._beat)


def run(
    make: Callable[[], Service], supervisor: Supervisor, watchdog_seconds: float | None, *, use_uvloop: bool = False
) -> int:
    """Make a service inside an event loop and run it to its end; return the exit code.

    Raises:
        MissingExtraError: uvloop was asked for and is not installed.
        HelperError: it could not begin.

    """

    async def living() -> int:
        return await live(make(), supervisor, watchdog_seconds)

    with asyncio.Runner(loop_factory=_uvloop() if use_uvloop else None) as runner:
        return runner.run(living())


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtraError.named("event-loop = uvloop", "uvloop") from None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
