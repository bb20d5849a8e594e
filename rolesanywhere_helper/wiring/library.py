"""A session inside somebody else's program: no process in the background, nobody asked at the terminal."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.freshness import refresh_at
from rolesanywhere_helper.domain.refresh_policy import SHORTEST_WAIT_SECONDS, wait_after_failure
from rolesanywhere_helper.errors import HelperError
from rolesanywhere_helper.system.clocks import SystemClock, SystemRandomness
from rolesanywhere_helper.wiring.update import FreshestSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rolesanywhere_helper.config.settings import LoadedSettings
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import Clock, CredentialSource, Randomness


def source_of(loaded: LoadedSettings) -> KeptSource:
    """Join the parts for one session."""
    return KeptSource(FreshestSource(loaded, None), SystemClock(), SystemRandomness())


def in_threads(source: CredentialSource) -> Callable[[], Awaitable[Credentials]]:
    """Return what asks a source in another thread: an event loop must not wait for files, keys or the network."""
    import asyncio

    return lambda: asyncio.to_thread(source.get)


class KeptSource:
    """Implements :class:`rolesanywhere_helper.domain.ports.CredentialSource` for many threads, over another source.

    A set is kept until it is due, so that a call costs nothing; the thread that finds it due renews it. A renewal that
    fails is put off, and what is valid is handed out on.
    """

    def __init__(self, source: CredentialSource, clock: Clock, randomness: Randomness) -> None:
        self._source = source
        self._clock = clock
        self._randomness = randomness
        self._lock = threading.Lock()
        self._held: Credentials | None = None
        self._due_at = 0.0

    def get(self) -> Credentials:
        """Return a set that is valid now.

        Raises:
            HelperError: there is none, and none could be made.

        """
        with self._lock:
            held, now = self._held, self._clock.now()
            if held is not None and now < min(self._due_at, held.expires_at):
                return held
            try:
                return self._take(self._source.get())
            except HelperError as error:
                left = 0.0 if held is None else held.expires_at - self._clock.now()
                if held is None or left <= 0:
                    raise
                self._due_at = self._clock.now() + wait_after_failure(error, left, self._randomness)
                return held

    def _take(self, found: Credentials) -> Credentials:
        if found == self._held:  # its renewal failed, or is somebody else's
            self._due_at = self._clock.now() + SHORTEST_WAIT_SECONDS
        else:
            self._due_at = refresh_at(found.issued_at, found.expires_at, self._randomness.uniform(0, 1))
        self._held = found
        return found
