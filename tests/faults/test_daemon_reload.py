"""What a reload must not lose: a rotation, a token, a connection, a set, the daemon."""

from __future__ import annotations

import http.client
import signal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.fakes.daemon import OUTLETS, Daemon, owned, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.plugins.emulated import Emulated


@pytest.fixture
def daemon(helper: Path, emulated: Emulated, tmp_path: Path) -> Iterator[Daemon]:
    with owned(Daemon(helper, tmp_path, emulated)) as owner:
        yield owner


@pytest.mark.promise(48, 74)
def test_a_renewal_hook_that_reloads_at_once_loses_no_rotation(daemon: Daemon) -> None:
    daemon.start()
    before = daemon.access_key()
    daemon.install(daemon.issue())
    daemon.reload()
    until(lambda: daemon.access_key() != before, seconds=10)
    calls = len(daemon.emulated.create_session_calls())
    daemon.reload()  # the negative control: nothing was replaced this time
    assert len(daemon.emulated.create_session_calls()) == calls


def test_a_token_that_cannot_be_rotated_ends_nothing(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.container().status == 200
    file = Path(daemon.urls["container"]["app"]["tokenFile"])
    token = file.read_text()
    folder = file.parent
    folder.rename(folder.with_name("moved"))
    folder.write_text("in its place")
    daemon.send(signal.SIGUSR1)
    until(lambda: "the token of app stays as it is" in daemon.log)
    folder.unlink()
    folder.with_name("moved").rename(folder)
    assert daemon.container().status == 200
    daemon.send(signal.SIGUSR1)  # the negative control: now it can be
    until(lambda: file.read_text() != token)
    assert daemon.container().status == 200


def test_an_endpoint_that_is_removed_answers_no_500(daemon: Daemon) -> None:
    daemon.start()
    url = urlsplit(daemon.urls["container"]["app"]["url"])
    token = Path(daemon.urls["container"]["app"]["tokenFile"]).read_text()
    connection = http.client.HTTPConnection("127.0.0.1", url.port, timeout=5)
    seen = set()

    def ask() -> None:
        connection.request("GET", url.path, headers={"Authorization": token})
        answer = connection.getresponse()
        answer.read()
        seen.add(answer.status)

    ask()
    without = OUTLETS.replace("[serve.container.app]", "[serve.container.other]").replace("app.token", "other.token")
    daemon.configure(outlets=without)
    daemon.reload()
    ask()
    connection.close()
    assert seen == {200, 404}


def test_a_kept_connection_lives_through_a_reload(daemon: Daemon) -> None:
    daemon.start()
    url = urlsplit(daemon.urls["metrics"])
    connection = http.client.HTTPConnection("127.0.0.1", url.port, timeout=5)
    connection.connect()
    ours = connection.sock
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
        daemon.reload()
    assert connection.sock is ours
    connection.close()


@pytest.mark.promise(67, 68)
def test_a_longer_session_in_an_outage_takes_nothing_away(daemon: Daemon) -> None:
    daemon.configure("duration = '1h'")
    daemon.start()
    before = daemon.access_key()
    daemon.emulated.emulator.set_fault(status=500)
    daemon.configure("duration = '2h'")
    daemon.reload()
    assert daemon.access_key() == before
    daemon.emulated.emulator.clear_faults()


def test_an_endpoint_can_be_renamed_at_its_address(daemon: Daemon) -> None:
    daemon.start()
    address = urlsplit(daemon.imds).netloc
    fixed = OUTLETS.replace(
        'session = "default"\nlisten = ["127.0.0.1:0"]', f'session = "default"\nlisten = ["{address}"]'
    )
    daemon.configure(outlets=fixed.replace("[serve.imds.main]", "[serve.imds.renamed]"))
    daemon.stop()
    daemon.start()
    daemon.configure(outlets=fixed.replace("[serve.imds.main]", "[serve.imds.again]"))
    daemon.reload()
    assert "cannot listen" not in daemon.log
    assert set(daemon.urls["imdsEndpoints"]) == {"again"}
