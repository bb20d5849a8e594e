"""The listener behind ``LoadCredential=``: whoever connects is given a token at once, or nothing, and is let go of.

A token is shorter than any socket's buffer, so nothing here waits for a peer: there are no connections to keep.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from rolesanywhere_helper.domain.serving import Peer
    from rolesanywhere_helper.protocol.load_credential import LoadCredentialRoute

_log = logging.getLogger(__name__)

# Accepted in one go, so that others get their turn in between.
_ACCEPTED_AT_ONCE = 64
# Without descriptors left the socket stays readable, and asking again at once would spin.
_PAUSE_SECONDS = 1.0


class TokenListener:
    """The server of one unix socket; ``look_up_peer`` tells who is at the other end of an accepted connection."""

    def __init__(
        self,
        route: LoadCredentialRoute,
        look_up_peer: Callable[[socket.socket], Peer],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._route = route
        self._look_up_peer = look_up_peer
        self._loop = loop
        self._sockets: list[socket.socket] = []
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}

    def listen(self, sock: socket.socket) -> None:
        """Serve a bound, listening unix socket, and own it from now on."""
        sock.setblocking(False)
        self._sockets.append(sock)
        self._loop.add_reader(sock, self._accept, sock)

    def replace_route(self, route: LoadCredentialRoute) -> None:
        """Decide by another route from the next connection on (a reload)."""
        self._route = route

    async def drain(self, seconds: float) -> None:
        """Answer who is in the queue already, and close. That takes none of the ``seconds``."""
        del seconds
        for sock in self._sockets:
            self._accept(sock)
            pause = self._paused.pop(sock, None)
            if pause is not None:
                pause.cancel()
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # it has gone again
            except OSError as problem:
                self._pause(sock, problem)
                return
            with connection, suppress(OSError):  # it has gone while it was being looked at
                self._answer(connection, address)

    def _answer(self, connection: socket.socket, address: object) -> None:
        connection.setblocking(False)
        # Python gives an abstract address as bytes, that of a file as text, and none as an empty text.
        name = address if isinstance(address, bytes) else b""
        token = self._route.token(self._look_up_peer(connection), name)
        if token is not None:
            connection.send(token)

    def _pause(self, sock: socket.socket, problem: OSError) -> None:
        if sock in self._paused:
            return
        _log.warning("giving tokens to units pauses: %s (raise the limit of open files)", problem.strerror)
        self._loop.remove_reader(sock)
        self._paused[sock] = self._loop.call_later(_PAUSE_SECONDS, self._resume, sock)

    def _resume(self, sock: socket.socket) -> None:
        del self._paused[sock]
        self._loop.add_reader(sock, self._accept, sock)
