"""The emulator on a socket: for a program (:func:`running`), an event loop (:func:`start`), the command line.

It listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rolesanywhere_helper.emulator import control, edge
from rolesanywhere_helper.emulator.directory import (
    Directory,
    claim,
    extra_anchor_arns,
    first_arns,
    prepare,
    write_aws_config,
    write_config,
)
from rolesanywhere_helper.emulator.faults import parse_fault
from rolesanywhere_helper.emulator.keys import administrator_keys
from rolesanywhere_helper.emulator.service import Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from aiohttp import web

    from rolesanywhere_helper.emulator.keys import AdministratorKey
    from rolesanywhere_helper.emulator.settings import Settings
    from rolesanywhere_helper.emulator.state import State

_log = logging.getLogger(__name__)
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RunningEmulator:
    """An emulator that listens, in the event loop that started it."""

    service: Service
    directory: Directory
    endpoint: str
    announcement: Mapping[str, Any]
    _runner: web.AppRunner
    _claim: int

    async def stop(self) -> None:
        """Stop listening, close every connection, write down what is not written yet, and let the directory go."""
        try:
            await edge.close(self._runner)
            self._save()
        finally:
            os.close(self._claim)

    def _save(self) -> None:
        try:
            self.service.save()
        except OSError as error:
            _log.warning("the emulator's accounts could not be written: %s", error.strerror)


async def start(
    settings: Settings,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> RunningEmulator:
    """Prepare the directory and listen. ``now`` is the service's clock, ``sleep`` waits in the delay fault.

    Raises:
        ConfigurationError: the directory or a CA file cannot be used, or the directory or the address is taken.

    """
    if not control.is_loopback(settings.host):
        _log.warning("the emulator listens on %s: whoever reaches it can have its credentials", settings.host)
    claimed = claim(settings)
    try:
        return await _start(settings, now, sleep, claimed)
    except BaseException:
        os.close(claimed)
        raise


async def _start(
    settings: Settings, now: Callable[[], float], sleep: Callable[[float], Awaitable[None]], claimed: int
) -> RunningEmulator:
    directory, state = prepare(settings, now())
    persist = _forget if settings.in_memory else directory.persist
    service = Service(state, now, persist, lenient=settings.lenient, quota_per_second=settings.quota_per_second)
    runner = edge.new_runner(service, sleep)
    await runner.setup()
    try:
        tls = edge.tls_context(directory) if settings.tls else None
        port = await edge.listen(runner, settings.host, settings.port, tls)
        endpoint = _endpoint(settings, port)
        write_config(directory, state, endpoint, tls=settings.tls)
        write_aws_config(directory, state, endpoint, tls=settings.tls)
    except BaseException:
        await edge.close(runner)
        raise
    told = _announcement(settings, directory, state, endpoint)
    return RunningEmulator(service, directory, endpoint, told, runner, claimed)


class Running:
    """An emulator in a thread of its own; every method may be called from any other thread."""

    def __init__(self, emulator: RunningEmulator, loop: asyncio.AbstractEventLoop) -> None:
        self._emulator = emulator
        self._loop = loop

    @property
    def endpoint(self) -> str:
        """The URL, without a slash at its end."""
        return self._emulator.endpoint

    @property
    def announcement(self) -> Mapping[str, Any]:
        """What the command line prints when it listens."""
        return self._emulator.announcement

    @property
    def directory(self) -> Directory:
        """The files."""
        return self._emulator.directory

    @property
    def state(self) -> State:
        """The account as it is now."""
        return self._emulator.service.state

    @property
    def administrators(self) -> tuple[AdministratorKey, ...]:
        """The access keys of the administrators: of the first account, and of the other one."""
        return administrator_keys(self.state)

    def change_state(self, change: Callable[[State], State]) -> State:
        """Change the account, and persist it.

        Raises:
            OSError: it could not be persisted; nothing changed.

        """
        return self._in_loop(lambda: self._emulator.service.change_state(change))

    def requests(self) -> list[dict[str, Any]]:
        """Return what the emulator saw, the oldest first."""
        return self._in_loop(self._emulator.service.journal.documents)

    def forget_requests(self) -> None:
        """Begin a new list."""
        self._in_loop(self._emulator.service.journal.clear)

    def set_fault(self, **keys: Any) -> None:
        """Add a fault, with the keys of the JSON form (``status=500, times=3``).

        Raises:
            ValueError: an unknown key, or a value that makes no sense.

        """
        fault = parse_fault(keys)
        self._in_loop(lambda: self._emulator.service.faults.add(fault))

    def clear_faults(self) -> None:
        """Forget all faults."""
        self._in_loop(self._emulator.service.faults.clear)

    def reset(self) -> None:
        """Make accounts, knobs, clock, faults and request list as they were at first.

        Raises:
            OSError: the accounts could not be persisted; nothing changed.

        """
        self._in_loop(self._emulator.service.reset)

    def set_clock_offset(self, seconds: float) -> None:
        """Let the service's clock go so many seconds ahead of the real one (behind, if negative).

        Raises:
            ValueError: no number, or too far off.

        """
        self._turn(clockOffsetSeconds=seconds)

    def set_quota(self, per_second: float | None) -> None:
        """Throttle CreateSession at so many requests a second for each account; None: not at all.

        Raises:
            ValueError: no number, not above 0, or too large.

        """
        self._turn(quotaPerSecond=per_second)

    def set_lenient(self, lenient: bool) -> None:  # noqa: FBT001 - it is what the method's name says
        """Accept and only note (or refuse) what the service flags in CloudTrail."""
        self._turn(lenient=lenient)

    def _turn(self, **given: Any) -> None:
        self._in_loop(lambda: self._emulator.service.turn(given))

    def _in_loop(self, act: Callable[[], _Result]) -> _Result:
        async def acting() -> _Result:
            return act()

        return asyncio.run_coroutine_threadsafe(acting(), self._loop).result()


@contextmanager
def running(
    settings: Settings,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Iterator[Running]:
    """Run an emulator in a thread for as long as the context lasts.

    Raises:
        ConfigurationError: the directory or a CA file cannot be used, or the directory or the address is taken.

    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        emulator = runner.run(start(settings, now, sleep))
        thread = threading.Thread(target=loop.run_forever, name="emulator")
        thread.start()
        try:
            yield Running(emulator, loop)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            runner.run(emulator.stop())


def serve_forever(settings: Settings, announce: Callable[[str], None]) -> signal.Signals:
    """Serve until SIGTERM or SIGINT, and return it. ``announce`` is given one line of JSON once it listens.

    Raises:
        ConfigurationError: the directory or a CA file cannot be used, or the directory or the address is taken.

    """

    async def serving() -> signal.Signals:
        loop = asyncio.get_running_loop()
        ended = asyncio.Queue[signal.Signals]()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # not on Windows: there Ctrl-C ends the loop by itself
                loop.add_signal_handler(number, ended.put_nowait, number)
        emulator = await start(settings)
        try:
            announce(json.dumps(emulator.announcement))
            return await ended.get()
        finally:
            await emulator.stop()

    return asyncio.run(serving())


def _forget(_: State) -> None:
    """Keep nothing."""


def _endpoint(settings: Settings, port: int) -> str:
    host = _WILDCARDS.get(settings.host, settings.host)
    return f"{'https' if settings.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _announcement(settings: Settings, directory: Directory, state: State, endpoint: str) -> dict[str, Any]:
    arns = first_arns(state)
    ca = str(directory.file("ca.pem"))
    return {
        "endpoint": endpoint,
        "region": state.region,
        **arns,
        "otherRoleArn": state.origin.other_role_arn,
        "certificate": str(directory.file("client.pem")),
        "privateKey": str(directory.file("client.key")),
        "caCertificate": ca,
        "config": str(directory.file("config.toml")),
        "adminCredentials": str(directory.file("admin-credentials.json")),
        "awsConfig": str(directory.file("aws-config")),
        "trustAnchors": {ca: arns["trustAnchorArn"], **extra_anchor_arns(state, settings)},
        **({"tlsCaCertificate": str(directory.file("tls-ca.pem"))} if settings.tls else {}),
    }
