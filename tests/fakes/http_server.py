"""A server on loopback that sends exactly the bytes a test wants, at the pace a test wants, over plain sockets or TLS.

No web library: it would not let a test send what is wrong.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from rolesanywhere_helper.domain.ports import HttpResponse

# Longer than any test may take: a server that hangs on to this is a fault of the test.
_PATIENCE_SECONDS = 20.0


class Connection:
    """One accepted connection, as a script sees it. Sending to a client that has gone is no error."""

    def __init__(self, stream: socket.socket, is_over: threading.Event) -> None:
        self._stream = stream
        self._is_over = is_over

    def receive_request(self) -> bytes:
        """Return a head and as much body as it announces; what there was, if the client leaves before."""
        received = b""
        while not _is_whole(received):
            piece = self.receive()
            if not piece:
                break
            received += piece
        return received

    def receive(self) -> bytes:
        try:
            return self._stream.recv(65_536)
        except OSError:
            return b""

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._stream.sendall(data)

    def trickle(self, data: bytes, interval: float) -> None:
        """Send one byte each ``interval`` seconds, until the server is closed."""
        for byte in data:
            if self._is_over.wait(interval):
                return
            self.send(bytes([byte]))

    def hang(self) -> None:
        """Say nothing until the server is closed."""
        self._is_over.wait(_PATIENCE_SECONDS)

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._stream.close()

    def upgrade(self, context: ssl.SSLContext) -> None:
        """Go on over TLS, as a server."""
        self._stream = context.wrap_socket(self._stream, server_side=True)

    def close(self) -> None:
        # A shutdown first: a close with unread bytes would reset what was sent.
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_WR)
        self._stream.close()


class ScriptedServer:
    """Runs one script for each connection, in a thread of its own; the last script serves all that follow.

    ``connections`` counts the clients. What goes wrong in a script is raised when the server is closed.
    """

    def __init__(self, *scripts: Callable[[Connection], None], context: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._context = context
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.failures: list[BaseException] = []

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        # Wakes the accept, where a close would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)
        self._listener.close()
        assert not self.failures, self.failures

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._is_over.is_set():
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._start(partial(self._serve, stream, script))

    def _serve(self, stream: socket.socket, script: Callable[[Connection], None]) -> None:
        stream.settimeout(_PATIENCE_SECONDS)
        connection = Connection(stream, self._is_over)
        try:
            if self._context is not None:
                connection.upgrade(self._context)
            script(connection)
        except OSError:
            pass  # a handshake that failed: the client tells about it
        except BaseException as error:  # noqa: BLE001 - told when the server is closed
            self.failures.append(error)
        finally:
            connection.close()


class Requests:
    """Scripts that note what they received."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def then(self, respond: Callable[[Connection], None]) -> Callable[[Connection], None]:
        """Receive a request, note it, and go on."""

        def script(connection: Connection) -> None:
            self.received.append(connection.receive_request())
            respond(connection)

        return script

    def answering(self, data: bytes) -> Callable[[Connection], None]:
        return self.then(lambda connection: connection.send(data))

    def headers(self, index: int = -1) -> list[tuple[str, str]]:
        head = self.received[index].partition(b"\r\n\r\n")[0].decode()
        return [(name, value.removeprefix(" ")) for name, _, value in _fields(head)]

    def body(self, index: int = -1) -> bytes:
        return self.received[index].partition(b"\r\n\r\n")[2]


def wire(response: HttpResponse) -> bytes:
    """Return an answer as a well-behaved server sends it."""
    length = {} if "content-length" in response.headers else {"content-length": str(len(response.body))}
    lines = [f"{name}: {value}" for name, value in {**response.headers, **length}.items()]
    return "\r\n".join([f"HTTP/1.1 {response.status} Said", *lines, "", ""]).encode() + response.body


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Yield a port whose handshakes are never completed: the queue of the listening socket is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = listener.getsockname()[1]
        for _ in range(4):  # Linux queues one more than the backlog says
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


def _fields(head: str) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in head.split("\r\n")[1:]]


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    lengths = [value for name, _, value in _fields(head.decode("latin-1")) if name.lower() == "content-length"]
    return bool(end) and len(body) >= int(lengths[0] if lengths else 0)
