"""The socket behind ``LoadCredential=``: systemd is played by root, bound to the address that systemd binds to."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.daemon import OUTLETS, Daemon, fetch, owned, until
from tests.fakes.other_user import ALICE, running_as

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.plugins.emulated import Emulated

ADDRESS = "\0adf9d86b6eda275e/unit/{}/aws-token"
UNITS = """
[serve.load-credential]
socket = "{folder}/open/credentials.sock"
units = { "app.service" = "app" }
"""
ASK = """
ours = socket.socket(socket.AF_UNIX)
ours.bind(arguments[1].replace("@", chr(0), 1))
ours.connect(arguments[0])
say(len(ours.recv(4096)))
ours.close()
"""


@pytest.fixture
def daemon(helper: Path, as_root: None, emulated: Emulated) -> Iterator[Daemon]:
    del as_root
    folder = Path(tempfile.mkdtemp(prefix="units-"))
    folder.chmod(0o755)
    with owned(Daemon(helper, folder, emulated)) as made:
        made.configure(outlets=OUTLETS + UNITS)
        yield made.start()
    shutil.rmtree(folder)


def place(daemon: Daemon) -> str:
    return str(daemon.urls["loadCredential"])


def ask(daemon: Daemon, unit: str | None = "app.service", address: str = ADDRESS) -> bytes:
    """Read to the end as systemd does: bind, connect, say nothing more, read."""
    with socket.socket(socket.AF_UNIX) as ours:
        ours.settimeout(10)
        if unit is not None:
            ours.bind(address.format(unit))
        ours.connect(place(daemon))
        ours.shutdown(socket.SHUT_WR)
        parts = []
        while part := ours.recv(4096):
            parts.append(part)
        return b"".join(parts)


def status(daemon: Daemon, token: bytes) -> int:
    return fetch(daemon.urls["container"]["app"]["url"], "", headers={"Authorization": token.decode()}).status


def test_a_unit_is_given_what_opens_its_container_endpoint(daemon: Daemon) -> None:
    token = ask(daemon)

    assert token == Path(daemon.urls["container"]["app"]["tokenFile"]).read_bytes()
    assert not token.endswith(b"\n")
    assert status(daemon, token) == 200
    assert status(daemon, token[:-1]) == 401
    told = r"granted session=default uid=0 pid=\d+ channel=load-credential unit=app\.service endpoint=app$"
    assert re.search(told, daemon.log, re.MULTILINE), daemon.log
    assert token.decode() not in daemon.log


@pytest.mark.parametrize(
    ("unit", "address", "told"),
    [
        ("other.service", ADDRESS, r" unit=other\.service reason=unit$"),
        (None, ADDRESS, r" channel=load-credential reason=unit$"),
        ("app.service", "\0no/{}", r" channel=load-credential reason=unit$"),
        ("app.service", "\0ab/user/{}/aws-token", r" channel=load-credential reason=unit$"),
        ("app.service", "\0ab/unit/{}/aws-token/more", r" channel=load-credential reason=unit$"),
    ],
)
def test_nobody_else_is_given_anything(daemon: Daemon, unit: str | None, address: str, told: str) -> None:
    assert ask(daemon, unit, address) == b""
    assert re.search(r"refused session=- uid=0 pid=\d+.*" + told, daemon.log, re.MULTILINE), daemon.log
    assert daemon.metric('refusals_total{outlet="load-credential",reason="unit"}') == 1
    assert ask(daemon), "the negative control"


def test_root_alone_reaches_it_and_root_alone_is_believed(daemon: Daemon) -> None:
    path = Path(place(daemon))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)  # what if anybody could connect?

    with running_as(ALICE, ASK, path, "@ab/unit/app.service/aws-token") as alice:
        assert alice.hear() == "0"
    told = rf"refused session=- uid={ALICE.uid} pid=\d+ channel=load-credential unit=app\.service reason=user$"
    assert re.search(told, daemon.log, re.MULTILINE), daemon.log
    with running_as(ALICE.__class__(0, 0), ASK, path, "@ab/unit/app.service/aws-token") as root:
        assert root.hear() == "64", "the negative control"


def test_a_client_that_does_not_wait_harms_nobody(daemon: Daemon) -> None:
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as ours:
            ours.bind(ADDRESS.format("app.service"))
            ours.connect(place(daemon))

    assert len(ask(daemon)) == 64
    assert "Traceback" not in daemon.log


def test_a_token_of_before_a_rotation_holds_until_the_next(daemon: Daemon) -> None:
    first = ask(daemon)

    daemon.send(signal.SIGUSR1)
    until(lambda: ask(daemon) != first)
    second = ask(daemon)
    assert (status(daemon, first), status(daemon, second)) == (200, 200)

    daemon.send(signal.SIGUSR1)
    until(lambda: ask(daemon) != second)
    assert (status(daemon, first), status(daemon, second)) == (401, 200)


def test_a_reload_decides_anew_and_a_restart_keeps_the_token(daemon: Daemon) -> None:
    token = ask(daemon)
    daemon.configure(outlets=OUTLETS + UNITS.replace("app.service", "other.service"))
    daemon.reload()
    assert (ask(daemon), ask(daemon, "other.service")) == (b"", token)

    path = place(daemon)
    daemon.configure(outlets=OUTLETS)
    daemon.reload()
    assert "loadCredential" not in daemon.urls
    assert not Path(path).exists()

    daemon.configure(outlets=OUTLETS + UNITS)
    daemon.restart()
    assert ask(daemon) == token
