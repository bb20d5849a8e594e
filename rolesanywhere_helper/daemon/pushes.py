"""Hearing at once that a Workload API has a new identity: long-lived processes that listen, started by command.

This process speaks no gRPC and must never hold a key, so somebody else listens: one child for each place that is
watched. It writes a line for each answer of the API, ``svid FINGERPRINT`` (of the certificates; see
``cli/identity_watch.py``), the first at once. Its standard input is a pipe of ours that says nothing: it ends when we
do, however that happens. A child that ends is started again, later and later while that keeps happening.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

COMMAND = "identity-watch"
WORD = b"svid"
_LONGEST_LINE = 1024
_END_SECONDS = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before a child is started again, in seconds: ``first``, then twice as long each time."""

    first: float = 1.0
    longest: float = 60.0

    def next(self, before: float) -> float:
        """Return the pause after one of ``before`` seconds; 0 if the child has heard something."""
        return min(max(self.first, 2 * before), self.longest)


def watch_command() -> list[str]:
    """Return the words that start a child; the place to watch follows."""
    return [*fastpath.program(), COMMAND, "--certificate"]


class Pushes:
    """Listens at places, and tells of each answer that is heard there.

    Args:
        command: The words that start a child (:func:`watch_command`).
        environment: Its whole environment (:func:`rolesanywhere_helper.daemon.children.child_environment`).
        on_new: Is called in the event loop with a place that has something new.
        on_known: The same for what was known already: the first answer of all, and what a child that had to be started
            again hears once more.
        back_off: How long to wait before a child is started again.

    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_new: Callable[[str], None],
        on_known: Callable[[str], None],
        back_off: BackOff | None = None,
    ) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)
        self._on_new = on_new
        self._on_known = on_known
        self._back_off = back_off or BackOff()
        self._listeners: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, bytes] = {}

    async def follow(self, places: Iterable[str]) -> None:
        """Listen at these places from now on, and no longer at others."""
        wanted = set(places)
        gone = [self._listeners.pop(place) for place in self._listeners.keys() - wanted]
        for place in wanted - self._listeners.keys():
            self._listeners[place] = asyncio.get_running_loop().create_task(self._listen(place), name=f"watch {place}")
        for listener in gone:
            listener.cancel()
        if gone:
            await asyncio.wait(gone)

    async def close(self) -> None:
        """Listen nowhere; returns when no child is left."""
        await self.follow(())

    async def _listen(self, place: str) -> None:
        pause = 0.0
        while True:
            has_heard = await self._run(place)
            pause = self._back_off.next(0.0 if has_heard else pause)
            _log.debug("nobody listens at %s; the next one starts in %.0f s", place, pause)
            await asyncio.sleep(pause)

    async def _run(self, place: str) -> bool:
        """Start a child and listen to it until it ends; tell whether it has heard anything."""
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                place,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                cwd="/",
                limit=_LONGEST_LINE,
                # A group of its own, so that no signal to ours reaches it.
                start_new_session=True,
            )
        except OSError as error:
            _log.warning("nobody can listen at %s: %s", place, error.strerror)
            return False
        last_words = asyncio.ensure_future(_last_words(child))
        try:
            has_heard = await self._hear(place, child)
        finally:
            await _end(child)
        await asyncio.wait([last_words], timeout=_END_SECONDS)
        what = "; ".join(last_words.result() if last_words.done() else ())
        _log.info("who listened at %s has ended%s", place, f": {what}" if what else "")
        return has_heard

    async def _hear(self, place: str, child: subprocess.Process) -> bool:
        has_heard = False
        assert child.stdout is not None  # noqa: S101 - for the type checker: it was asked for
        with suppress(ValueError):  # a line that is too long: it is no child of ours that writes it
            while line := await child.stdout.readline():
                word, _, fingerprint = line.rstrip().partition(b" ")
                if word == WORD and fingerprint:
                    has_heard = True
                    is_known = self._known.get(place, fingerprint) == fingerprint
                    self._known[place] = fingerprint
                    self._tell(place, is_known=is_known)
        return has_heard

    def _tell(self, place: str, *, is_known: bool) -> None:
        if is_known:
            _log.debug("heard from %s: nothing new", place)
            self._on_known(place)
        else:
            _log.info("heard from %s: a new identity", place)
            self._on_new(place)


async def _last_words(child: subprocess.Process) -> list[str]:
    """Read what a child writes to its standard error, and return the last lines of it: ``error: …``, ``hint: …``."""
    assert child.stderr is not None  # noqa: S101 - for the type checker: it was asked for
    kept = b""
    while part := await child.stderr.read(_LONGEST_LINE):
        kept = (kept + part)[-2 * _LONGEST_LINE :]
    return kept.decode(errors="backslashreplace").splitlines()[-2:]


async def _end(child: subprocess.Process) -> None:
    """End a child, if it has not ended, and see that it is reaped."""
    if child.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await child.wait()
