"""Thousands of connections: looking up who is behind one of them stays a matter of microseconds."""

from __future__ import annotations

import os
import resource
import socket
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.system.peers import Peers, own_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANY = 3_000
# Both ends of every connection are ours, and some descriptors are open already.
DESCRIPTORS = 2 * MANY + 200
# A look-up by hash takes some microseconds; 3,000 rows of text cannot be read in this time.
SECONDS = 0.001


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(server: socket.socket, count: int, stack: ExitStack) -> list[socket.socket]:
    """Return the accepted ends of so many open connections."""
    accepted: list[socket.socket] = []
    for _ in range(count):
        client = stack.enter_context(socket.socket())
        client.connect(server.getsockname())
        accepted.append(stack.enter_context(server.accept()[0]))
    return accepted


def median(do: Callable[[], object], times: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        do()
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(times))


def scan() -> int:
    return Path("/proc/self/net/tcp").read_bytes().count(b"\n")


@pytest.mark.alone
@pytest.mark.promise(29)
@pytest.mark.usefixtures("many_descriptors")
def test_with_3000_connections_open_a_look_up_stays_fast() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        peers = Peers(own_namespace())
        stack.callback(peers.close)
        first, *_ = connect(server, 1, stack)
        with_one = median(lambda: peers(first), 200)

        accepted = connect(server, MANY - 1, stack)
        assert {peers(connection).uid for connection in accepted} == {os.geteuid()}
        last = accepted[-1]
        with_many = median(lambda: peers(last), 200)
        with_a_scan = median(scan, 5)

    assert with_many < SECONDS
    assert with_many < 5 * with_one, "it does not grow with the number of connections"
    # The negative control: what would be slow is, here and now.
    assert with_a_scan > 10 * with_many


@pytest.mark.promise(29)
@pytest.mark.usefixtures("many_descriptors")
def test_a_look_up_opens_no_file_and_one_netlink_socket_serves_them_all() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        peers = Peers(own_namespace())
        stack.callback(peers.close)
        accepted = connect(server, 50, stack)
        peers(accepted[0])
        before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
        for connection in accepted:
            assert peers(connection).uid == os.geteuid()
        assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - the same
