"""Whom the edge takes a peer for; everything else about it is tested over real sockets (tests/faults)."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

import pytest

from rolesanywhere_helper.domain.serving import Peer
from rolesanywhere_helper.protocol.imds import NETWORK
from rolesanywhere_helper.vend.http.edge import Edge, _Door
from rolesanywhere_helper.vend.http.rules import EdgeRules, admission
from tests.fakes.serving import FakeCounters


class Nobody:
    outlet = "imds"


@dataclass
class Socket:
    """A connection between two addresses, as far as the edge asks."""

    ours: str
    theirs: str

    def getsockname(self) -> tuple[str, int]:
        return self.ours, 9911

    def getpeername(self) -> tuple[str, int]:
        return self.theirs, 40_000


@pytest.mark.promise(16, 27)
@pytest.mark.parametrize(
    ("ours", "theirs", "uid", "channel"),
    [
        ("10.0.0.5", "10.0.0.9", None, NETWORK),
        ("::ffff:10.0.0.5", "::ffff:10.0.0.9", None, NETWORK),
        # This machine's own, though the kernel could not tell whose: unknown, and not on the network.
        ("10.0.0.5", "10.0.0.5", None, "tcp"),
        ("10.0.0.5", "127.0.0.1", None, "tcp"),
        ("127.0.0.1", "127.0.0.1", None, "tcp"),
        # Its user is known, so it is here.
        ("10.0.0.5", "10.0.0.9", 1000, "tcp"),
    ],
)
def test_only_who_is_not_on_this_machine_is_on_the_network(
    ours: str, theirs: str, uid: int | None, channel: str
) -> None:
    loop = asyncio.new_event_loop()
    edge = Edge(Nobody(), EdgeRules(), lambda _: Peer("tcp", uid), FakeCounters(), loop)  # type: ignore[arg-type] # it is not asked
    with socket.socket() as listener:
        door = _Door(listener, admission(ours, ("0.0.0.0/0",)), None, 9911)
        assert edge._peer(door, Socket(ours, theirs)) == Peer(channel, uid)  # type: ignore[arg-type] # all that is asked for
    loop.close()
