"""A real edge on loopback, in a thread of its own, and a client that sends exactly the bytes a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

from rolesanywhere_helper.protocol.imds import ImdsRoute
from rolesanywhere_helper.vend.http.edge import Edge
from rolesanywhere_helper.vend.http.rules import Capacity, EdgeLimits, EdgeRules
from tests.fakes.serving import ALLOWED, FakeAudit, FakeClocks, FakeCounters, FakeView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rolesanywhere_helper.domain.serving import Peer
    from rolesanywhere_helper.protocol.http import Route

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
ROLE_PATH = "/latest/meta-data/iam/security-credentials/Deploy"


@dataclass(frozen=True)
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        stream.settimeout(PATIENCE_SECONDS)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def send(self, data: bytes | str) -> None:
        self.stream.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def answer(self, *, has_body: bool = True) -> Answer:
        """Read one answer; the connection may stay.

        Raises:
            EOFError: the connection was closed before there was a whole one.

        """
        head, _, self._received = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        length = int(headers.get("content-length", "0")) if has_body else 0
        while len(self._received) < length:
            self._more()
        body, self._received = self._received[:length], self._received[length:]
        return Answer(int(line.split(" ")[1]), headers, body)

    def is_closed(self) -> bool:
        """Wait for the other end to close; False if it says something instead."""
        if self._received:
            return False
        try:
            return self.stream.recv(1) == b""
        except ConnectionError:
            return True

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._more()
        return self._received

    def _more(self) -> None:
        try:
            data = self.stream.recv(65_536)
        except ConnectionError as error:
            raise EOFError(str(error)) from error
        if not data:
            raise EOFError(repr(self._received))
        self._received += data


@dataclass
class RunningEdge:
    """An edge that serves; what it was given can be changed while it does."""

    rules: EdgeRules = field(default_factory=EdgeRules)
    route: Route | None = None
    capacity: Capacity | None = None
    peer: Peer | None = ALLOWED
    family: socket.AddressFamily = socket.AF_INET
    address: str | Path = "127.0.0.1"
    view: FakeView = field(default_factory=FakeView)
    clocks: FakeClocks = field(default_factory=FakeClocks)
    audit: FakeAudit = field(default_factory=FakeAudit)
    counters: FakeCounters = field(default_factory=FakeCounters)
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    lookups: int = 0
    faults: list[dict[str, object]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.listener = socket.socket(self.family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(str(self.address) if self.family == socket.AF_UNIX else (str(self.address), 0))
        self.listener.listen(1024)
        self.where = self.listener.getsockname()
        self.loop = self.new_loop()
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        # The loop is set up before its thread begins: the listener is served from the first moment on.
        route = self.route or ImdsRoute(
            self.view, "main", bytes(32), self.clocks, self.audit, new_nonce=lambda: bytes(8)
        )
        self.edge = Edge(route, self.rules, self._look_up, self.counters, self.loop, capacity=self.capacity)
        self.edge.listen(self.listener)
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.drain(0)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        assert self.faults == []

    @property
    def port(self) -> int:
        return int(self.where[1])

    def drain(self, seconds: float) -> None:
        asyncio.run_coroutine_threadsafe(self.edge.drain(seconds), self.loop).result(PATIENCE_SECONDS)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the edge's thread."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE_SECONDS)

    def client(self) -> Client:
        stream = socket.socket(self.family)
        stream.settimeout(PATIENCE_SECONDS)
        try:
            stream.connect(self.where)
        except OSError:
            stream.close()
            raise
        return Client(stream)

    def token(self, ttl: int = 21_600) -> str:
        return self.exchange(
            f"PUT /latest/api/token HTTP/1.1\r\nHost: localhost\r\nx-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n\r\n"
        ).body.decode()

    def get(self, path: str = ROLE_PATH, extra: str = "", host: str = "localhost") -> str:
        """Return the bytes of a good request."""
        return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nx-aws-ec2-metadata-token: {self.token()}\r\n{extra}\r\n"

    def exchange(self, request: bytes | str) -> Answer:
        """Send one request on a connection of its own."""
        with self.client() as client:
            client.send(request)
            return client.answer()

    def _look_up(self, _: socket.socket) -> Peer:
        self.lookups += 1
        if self.peer is None:
            raise ConnectionResetError
        return self.peer


QUICK = EdgeLimits(head=0.3, idle=0.6, linger=0.3, sweep=0.05, pause=0.05)


@contextlib.contextmanager
def running_edge(rules: EdgeRules | None = None) -> Iterator[RunningEdge]:
    """Run an edge with everything made up."""
    with RunningEdge(rules or EdgeRules()) as edge:
        yield edge


def own_address() -> str:
    """Return an address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
