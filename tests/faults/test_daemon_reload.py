"""What a reload must not lose: a rotation, a token, a connection, a set, the daemon."""

from __future__ import annotations

import grp
import http.client
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.fakes.daemon import OUTLETS, PASS_ON, ROLE, ROLES, Daemon, fetch, imds_get, imds_token, owned, until

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


# Sockets that systemd passed

ACTIVATED = OUTLETS.replace("{folder}/run/agent.sock", "{folder}/run/elsewhere.sock")
WITHOUT_AGENT = ACTIVATED.partition("[serve.agent]")[0] + "[serve.metrics]" + OUTLETS.partition("[serve.metrics]")[2]


@pytest.fixture
def passed(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "passed.sock"))
        listening.listen()
        yield listening


def waits_in_the_queue(path: str) -> bool:
    try:
        fetch(path, "/v1/status", timeout=0.3)
    except TimeoutError:
        return True
    return False


@pytest.mark.promise(74, 79)
def test_a_passed_socket_is_served_with_and_without_its_table(daemon: Daemon, passed: socket.socket) -> None:
    path = str(passed.getsockname())
    daemon.configure(outlets=ACTIVATED)
    there = passed.fileno()
    daemon.start(prefix=(sys.executable, "-c", PASS_ON, str(there), "agent"), pass_fds=(there,))
    assert daemon.agent == path
    assert daemon.from_agent().status == 200
    assert not (daemon.folder / "run" / "elsewhere.sock").exists()

    for outlets in (WITHOUT_AGENT, ACTIVATED):
        daemon.configure(outlets=outlets)
        daemon.reload()
        assert daemon.agent == path
        assert daemon.from_agent().status == 200
    assert stat.S_ISSOCK(os.lstat(path).st_mode), "it is systemd's: it is never removed"
    daemon.stop()
    assert stat.S_ISSOCK(os.lstat(path).st_mode)


@pytest.mark.promise(74, 79)
def test_a_passed_socket_can_be_dropped_and_taken_up_again(daemon: Daemon) -> None:
    """With a second session nobody knows which one a socket is for that has no table."""
    second = '[serve.imds.second]\nsession = "default"\n'
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        there = listening.fileno()
        daemon.configure(more=daemon.session("other") + second)
        daemon.start(prefix=(sys.executable, "-c", PASS_ON, str(there), "imds-second"), pass_fds=(there,))
        assert daemon.urls["imdsEndpoints"]["second"] == [url]

        for _ in range(2):
            daemon.configure(more=daemon.session("other"))
            daemon.reload()
            assert "systemd passed a socket imds-second, but the configuration has nothing to serve on it" in daemon.log
            assert "second" not in daemon.urls["imdsEndpoints"]
            until(lambda: waits_in_the_queue(url), what="it is still answered")  # as while nobody is started
            assert daemon.credentials().status == 200

            daemon.configure(more=daemon.session("other") + second)
            daemon.reload()
            assert imds_get(url, ROLES + ROLE).status == 200


# Token files


@pytest.mark.promise(25, 74)
@pytest.mark.usefixtures("as_root")
def test_another_token_group_gets_another_token(daemon: Daemon) -> None:
    daemon.start()
    file = Path(daemon.urls["container"]["app"]["tokenFile"])
    first = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    url = daemon.urls["container"]["app"]["url"]
    for group in ("daemon", "games"):
        line = f'token-file = "{{folder}}/run/app.token"\ntoken-group = "{group}"'
        daemon.configure(outlets=OUTLETS.replace('token-file = "{folder}/run/app.token"', line))
        daemon.reload()
        found = file.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o640, grp.getgrnam(group).gr_gid)
        assert file.read_text() != first, "who could read the old one may not have the new"
        assert fetch(url, "", headers={"Authorization": first}).status == 401
        assert daemon.container().status == 200
        first = file.read_text()
    daemon.reload()
    assert file.read_text() == first, "the negative control: nothing was changed"


def listening(daemon: Daemon) -> int:
    """Count the descriptors of sockets that listen; those of clients come and go."""
    held = [str(entry.readlink()) for entry in Path(f"/proc/{daemon.pid}/fd").iterdir() if entry.is_symlink()]
    tcp = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    unix = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    inodes = {row[9] for row in tcp if row[3] == "0A"} | {row[6] for row in unix if row[3] == "00010000"}
    return sum(link.removeprefix("socket:[").removesuffix("]") in inodes for link in held)


@pytest.mark.promise(74)
@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("what", ["address", "second token", "user"])
def test_a_refused_reload_leaves_tokens_sockets_and_sessions(daemon: Daemon, what: str) -> None:
    daemon.start()
    everything = daemon.urls
    file = Path(everything["container"]["app"]["tokenFile"])

    def state() -> tuple[object, ...]:
        found = file.stat()
        names = sorted(entry.name for entry in file.parent.iterdir())
        return file.read_text(), daemon.access_key(), found.st_mode, found.st_mtime_ns, found.st_gid, names

    before, sockets = state(), listening(daemon)
    token = imds_token(daemon.imds)
    grouped = OUTLETS.replace(
        'token-file = "{folder}/run/app.token"', 'token-file = "{folder}/run/app.token"\ntoken-group = "daemon"'
    ).replace("{folder}/run/agent.sock", "{folder}/run/moved.sock")
    second = '[serve.container.b]\nsession = "default"\ntoken-file = "{folder}/run/%s"\n'
    in_use = urlsplit(everything["metrics"]).netloc
    wrong = {
        "address": grouped + f'[serve.imds.x]\nsession = "default"\nlisten = ["{in_use}"]\n',
        # Its place is a file where a directory must be: that is found out when it is written.
        "second token": grouped + second % "app.token/b",
        "user": grouped,
    }
    daemon.configure(
        "duration = '2h'" + ("\nallow-users = ['nobody-of-this-name']" if what == "user" else ""),
        outlets=wrong[what],
    )
    for _ in range(3):
        daemon.reload()
    assert daemon.log.count("the new configuration is not used, the old one stays") == 3
    assert daemon.urls == everything
    assert state() == before
    assert listening(daemon) == sockets
    assert daemon.container().status == daemon.credentials(token).status == daemon.from_agent().status == 200
    assert len(daemon.emulated.create_session_calls()) == 1

    # The negative control: without what was wrong it is gone over to.
    daemon.configure("duration = '2h'", outlets=grouped)
    daemon.reload()
    assert file.read_text() != before[0]
    assert daemon.agent.endswith("moved.sock")
    until(lambda: daemon.access_key() != before[1])
    assert len(daemon.emulated.create_session_calls()) == 2, "one attempt for the session that was changed"
    assert not (daemon.folder / "run" / "agent.sock").exists()


# What is told


def test_the_ready_file_follows_a_reload(daemon: Daemon) -> None:
    daemon.start()
    first = json.loads(daemon.ready_file.read_text())
    assert first == daemon.urls
    daemon.configure(more='\n[serve.imds.second]\nsession = "default"\nlisten = ["127.0.0.1:0"]\n')
    daemon.reload()
    until(lambda: "second" in json.loads(daemon.ready_file.read_text())["imdsEndpoints"])
    assert json.loads(daemon.ready_file.read_text()) == daemon.urls
    # Also while the service is out, and the only session is one that has nothing yet.
    daemon.emulated.emulator.set_fault(status=500)
    renamed = OUTLETS.replace('session = "default"', 'session = "other"')
    daemon.configure(outlets=renamed, name="other")
    daemon.reload()
    until(lambda: json.loads(daemon.ready_file.read_text()) == daemon.urls)
    assert set(daemon.urls["imdsEndpoints"]) == {"main"}
    daemon.emulated.emulator.clear_faults()
    daemon.stop()
    assert not daemon.ready_file.exists()


@pytest.mark.promise(24, 74)
def test_tokens_of_clients_live_through_a_reload_also_where_no_key_can_be_kept(daemon: Daemon) -> None:
    (daemon.folder / "run" / "rolesanywhere-helper").write_text("in the way of the directory")
    daemon.start()
    token = imds_token(daemon.imds)
    assert imds_get(daemon.imds, ROLES + ROLE, token).status == 200
    daemon.reload()
    assert imds_get(daemon.imds, ROLES + ROLE, token).status == 200
    before = daemon.imds
    daemon.restart()  # the negative control: the next process has another key
    assert imds_get(daemon.imds, ROLES + ROLE, token).status == 401, before
