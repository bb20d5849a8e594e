"""What a supervisor hears: real datagram sockets, by path and abstract."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.system.notify import Notifier, watchdog_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = f"{tmp_path.name}-{os.getpid()}-notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        if request.param == "path":
            heard.bind(str(tmp_path / "notify"))
            address = str(tmp_path / "notify")
        else:
            heard.bind(f"\0{name}")
            address = f"@{name}"
        heard.settimeout(5)
        yield heard, address


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (lambda line: line.ready(), b"READY=1"),
        (lambda line: line.ready("serving"), b"READY=1\nSTATUS=serving"),
        (lambda line: line.status("next expiry\nREADY=1"), b"STATUS=next expiry READY=1"),
        (lambda line: line.reloading(12.5), b"RELOADING=1\nMONOTONIC_USEC=12500000"),
        (lambda line: line.stopping("draining"), b"STOPPING=1\nSTATUS=draining"),
        (lambda line: line.watchdog(), b"WATCHDOG=1"),
        (lambda line: line.extend_timeout(1.5), b"EXTEND_TIMEOUT_USEC=1500000"),
    ],
)
def test_each_message_is_one_datagram(
    say: Callable[[Notifier], bool], message: bytes, supervisor: tuple[socket.socket, str]
) -> None:
    heard, address = supervisor
    line = Notifier.from_environment({"NOTIFY_SOCKET": address})
    assert line.is_supervised
    assert say(line)
    assert heard.recv(4096) == message


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_supervisor_nothing_is_sent(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was made"))
    line = Notifier.from_environment(environment)
    assert not line.is_supervised
    assert not line.ready()


def test_a_supervisor_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert not Notifier(str(tmp_path / "nowhere")).ready()
    assert not Notifier("/" + "x" * 200).ready()


def test_a_supervisor_that_does_not_read_holds_nobody_up(supervisor: tuple[socket.socket, str]) -> None:
    _, address = supervisor
    line = Notifier(address)
    start = time.monotonic()
    delivered = [line.status("x" * 1000) for _ in range(2000)]
    assert time.monotonic() - start < 5
    assert delivered[0]
    assert not delivered[-1], "its queue is full"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, 20.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_if_it_names_us(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment, 7) == seconds
