"""A forward proxy on loopback: every CONNECT is noted, and leads to one port of this machine, whatever it names."""

from __future__ import annotations

import socket
import threading

from tests.fakes.http_server import Connection, ScriptedServer


class ForwardProxy(ScriptedServer):
    """``asked`` holds what each CONNECT named, ``HOST:PORT``."""

    def __init__(self, port: int) -> None:
        super().__init__(self._tunnel)
        self.asked: list[str] = []
        self._beyond = port

    def _tunnel(self, connection: Connection) -> None:
        method, target, *_ = connection.receive_request().decode().split()
        assert method == "CONNECT"
        self.asked.append(target)
        with socket.create_connection(("127.0.0.1", self._beyond)) as beyond:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_bring_back, args=(beyond, connection))
            back.start()
            while piece := connection.receive():
                beyond.sendall(piece)
            beyond.shutdown(socket.SHUT_WR)
            back.join()


def _bring_back(beyond: socket.socket, connection: Connection) -> None:
    while piece := beyond.recv(65_536):
        connection.send(piece)
    connection.close()
