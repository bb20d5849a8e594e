"""The serving process alone: the edge and the instance-metadata route over a made-up session.

It prints its port, serves on loopback until SIGTERM, and loads what the daemon's serving process loads: neither TLS
(``COMMAND`` keeps asyncio from loading it, which saves 4.5 MB) nor anything that makes credentials.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.domain.serving import AccessPolicy, HeldSet, Peer, held
from rolesanywhere_helper.protocol.imds import ImdsRoute
from rolesanywhere_helper.vend.http.edge import Edge
from rolesanywhere_helper.vend.http.rules import EdgeRules

COMMAND = "import sys; sys.modules['ssl'] = None; from bench.serving import main; main()"
ROLE = "Deploy"


class Clocks:
    def now(self) -> float:
        return time.time()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class View:
    """Judges its set by both clocks each time, as the daemon's session does."""

    name = "deploy"
    role_name = ROLE
    region = "eu-central-1"
    policy = AccessPolicy(frozenset({0, os.getuid()}))

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        issued_at = int(clocks.now())
        # A session token of a usual length: the document is about 1 KB.
        made = Credentials(
            "ASIAEXAMPLEEXAMPLE00",
            "canary" * 6,
            "canary+/" * 90,
            issued_at,
            issued_at + 43_200,
            "arn:aws:iam::111122223333:role/Deploy",
        )
        self._held = held(made, issued_at + 20_000, clocks.now(), clocks.boottime())

    def current(self) -> HeldSet | None:
        return self._held if self._held.is_usable(self._clocks.now(), self._clocks.boottime()) else None


class Sink:
    """Counts and forgets."""

    def __init__(self) -> None:
        self.answers = dict[tuple[str, int], int]()

    def answered(self, outlet: str, status: int) -> None:
        self.answers[outlet, status] = self.answers.get((outlet, status), 0) + 1

    def refused(self, outlet: str, reason: str) -> None: ...
    def opened(self, outlet: str) -> None: ...
    def closed(self, outlet: str) -> None: ...


class Silence:
    def granted(self, session: str, peer: Peer, access_key_id: str) -> None: ...

    def refused(self, session: str, peer: Peer, reason: str) -> None: ...


def look_up_peer(_: socket.socket) -> Peer:
    return Peer("tcp", os.getuid())


async def serve() -> None:
    loop = asyncio.get_running_loop()
    clocks = Clocks()
    route = ImdsRoute(View(clocks), "main", bytes(32), clocks, Silence(), new_nonce=lambda: os.urandom(8))
    edge = Edge(route, EdgeRules(), look_up_peer, Sink(), loop)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    edge.listen(listener)
    print(listener.getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await edge.drain(3)


def main() -> None:
    with asyncio.Runner() as runner:
        runner.run(serve())
