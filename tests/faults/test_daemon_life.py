"""The daemon's own life: starts, crashes, signals, its supervisor, its addresses, and what it must never say."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from tests.fakes.daemon import (
    OUTLETS,
    PASS_ON,
    ROLE,
    ROLES,
    TOKEN_HEADER,
    Daemon,
    fetch,
    imds_token,
    notify_socket,
    owned,
    until,
)
from tests.fakes.edges import own_address
from tests.plugins.emulated import Emulated

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = 3_600
ENDS_WITHIN = 5.0


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated) -> Iterator[Daemon]:
    with owned(Daemon(helper, tmp_path, emulated)) as owner:
        yield owner


def calls(daemon: Daemon) -> int:
    return len(daemon.emulated.create_session_calls())


# Starts and crashes


@pytest.mark.promise(70)
def test_a_restart_with_a_valid_cache_serves_at_once_and_makes_no_call(daemon: Daemon) -> None:
    daemon.start()
    before = daemon.access_key()
    daemon.emulated.emulator.forget_requests()
    daemon.emulated.emulator.set_fault(delaySeconds=60)

    for end in (daemon.stop, daemon.crash):
        end()
        daemon.start()
        assert daemon.access_key() == before
        assert daemon.children() == []
    assert calls(daemon) == 0
    # The negative control: it is the cache that spares the call.
    daemon.stop()
    for file in daemon.cache.iterdir():
        file.unlink()
    daemon.start(wait=False)
    until(lambda: calls(daemon) == 1)


@pytest.mark.promise(71)
def test_30_crashes_in_an_outage_cost_a_bounded_number_of_calls(daemon: Daemon) -> None:
    daemon.emulated.emulator.set_fault(status=503)
    began = time.monotonic()
    waited = 0
    for _ in range(30):
        waited += crash_once_it_has_decided(daemon)
    took = time.monotonic() - began
    made = calls(daemon)
    print(f"{made} calls in 30 crashes within {took:.0f} s")
    per_attempt = 3  # a child tries again by itself
    assert made <= per_attempt * (1 + took / 15)
    assert waited >= 28
    # The negative control: what bounds them is what was written down.
    for _ in range(2):
        for file in daemon.cache.glob("*.attempt"):
            file.unlink()
        crash_once_it_has_decided(daemon)
    assert calls(daemon) >= made + 2


@pytest.mark.promise(71)
def test_1000_crashes_wherever_it_is_cost_a_bounded_number_of_calls(tmp_path: Path) -> None:
    """Beside the thirty of the whole daemon: its session and its store, killed within their first milliseconds."""
    made = {}
    for memory in ("remembers", "forgets"):
        (tmp_path / memory).mkdir(mode=0o700)
        script = Path(__file__).with_name("crash_restarts.py")
        command = [sys.executable, str(script), str(tmp_path / memory), memory, "1000"]
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            command, env={"PYTHONPATH": root}, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        made[memory], ended = map(int, done.stdout.split())
        print(f"{memory}: {made[memory]} calls in 1000 starts, of which {ended} ended before they were killed")
        assert 1000 - ended > 50
    # A quarter of an hour and a bit: an attempt in 15 to 30 seconds.
    assert 10 <= made["remembers"] <= 1 + 1000 / 15
    # The negative control: it is what was written down that bounds them.
    assert made["forgets"] > 300


def crash_once_it_has_decided(daemon: Daemon) -> bool:
    """Start it and kill it once its attempt has failed, or has been put off; tell whether it was put off."""
    daemon.start(wait=False)
    daemon.await_listening()
    until(lambda: "the first attempt is made in" in daemon.log or daemon.error_code() is not None)
    daemon.crash()
    return "the first attempt is made in" in daemon.log


@pytest.mark.promise(80)
def test_without_a_service_it_stays_up_says_so_and_serves_once_there_is_one(
    helper: Path, tmp_path: Path, emulated: Emulated
) -> None:
    settings = Settings(tmp_path / "emulator")
    with running(settings) as first:
        there = Emulated(first)
        daemon = Daemon(helper, tmp_path, there)
        port = int(urlsplit(there.endpoint).port or 0)
    with owned(daemon), notify_socket(tmp_path / "notify") as supervisor:
        daemon.start(wait=False, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        message = heard(supervisor, "READY=1")
        assert "0 of 1 sessions have credentials" in message
        assert daemon.error_code() == "connection-failed"
        assert "session default: " in daemon.log
        assert daemon.credentials().status == 503
        assert fetch(daemon.urls["metrics"], "/healthz").status == 503
        assert not daemon.ready_file.exists()
        with running(Settings(tmp_path / "emulator", port=port)):
            daemon.reload()  # or within the three quarters of a minute after which it tries by itself
            daemon.await_ready()
            assert daemon.credentials().status == 200
    assert emulated.create_session_calls() == []


def heard(supervisor: socket.socket, expected: str) -> str:
    """Return the next message that says this."""
    while True:
        message = supervisor.recv(4096).decode()
        if expected in message:
            return message


@pytest.mark.promise(80)
def test_ready_comes_with_a_valid_cache_although_the_service_hangs(daemon: Daemon, tmp_path: Path) -> None:
    daemon.start().stop()
    daemon.age_cache(HOUR - 600)
    daemon.emulated.emulator.set_fault(delaySeconds=60)
    with notify_socket(tmp_path / "notify") as supervisor:
        daemon.start(environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert "1 of 1 sessions have credentials" in heard(supervisor, "READY=1")
        daemon.send(signal.SIGHUP)
        heard(supervisor, "RELOADING=1\nMONOTONIC_USEC=")
        heard(supervisor, "READY=1")
        assert daemon.stop() == 0
        heard(supervisor, "STOPPING=1")


# The supervisor's watchdog


@pytest.mark.promise(75)
def test_a_daemon_that_is_stuck_pings_no_more_and_the_next_one_serves_the_same_set(
    daemon: Daemon, tmp_path: Path
) -> None:
    watchdog = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with notify_socket(tmp_path / "notify") as supervisor:
        daemon.start(environment=watchdog)
        before = daemon.access_key()
        for _ in range(5):
            heard(supervisor, "WATCHDOG=1")
        daemon.send(signal.SIGSTOP)
        supervisor.settimeout(0.4)
        with pytest.raises(TimeoutError):  # after what was under way: silence for as long as the watchdog bears
            heard(supervisor, "never said")
        daemon.send(signal.SIGCONT)
        supervisor.settimeout(20)
        heard(supervisor, "WATCHDOG=1")  # the negative control
        daemon.crash()  # what the supervisor does
        daemon.start(environment=watchdog)
        heard(supervisor, "WATCHDOG=1")
        assert daemon.access_key() == before
        assert not any("NOTIFY_SOCKET" in environ(child) for child in daemon.children())


def environ(pid: int) -> str:
    """Return a process's environment, as far as anybody but root can look into one that forbids core files."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode()
    except PermissionError:
        assert os.geteuid() != 0
        return ""


# Signals


@pytest.mark.promise(73)
def test_sigterm_finishes_what_is_in_flight_and_ends_with_0(daemon: Daemon) -> None:
    daemon.start()
    token = imds_token(daemon.imds)
    parts = urlsplit(daemon.imds)
    address = (str(parts.hostname), int(parts.port or 0))
    request = f"GET {ROLES}{ROLE} HTTP/1.1\r\nHost: localhost\r\n{TOKEN_HEADER}: {token}\r\n\r\n".encode()
    with socket.create_connection(address, 10) as in_flight, socket.create_connection(address, 10) as idle:
        in_flight.sendall(request[:-10])
        idle.sendall(request)
        assert idle.recv(65_536).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        daemon.send(signal.SIGTERM)
        assert idle.recv(100) == b"", "nothing is owed on it"
        with pytest.raises(OSError):
            socket.create_connection(address, 1).close()
        assert not daemon.has_ended
        in_flight.sendall(request[-10:])
        answer = b"".join(iter(lambda: in_flight.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"SecretAccessKey" in answer
    assert daemon.process.wait(10) == 0
    assert time.monotonic() - began < ENDS_WITHIN
    assert not Path(daemon.agent).exists()


@pytest.mark.promise(73)
def test_sigterm_waits_neither_for_a_hung_service_nor_for_a_hung_client(daemon: Daemon) -> None:
    daemon.start().stop()
    daemon.age_cache(HOUR - 600)
    daemon.emulated.emulator.forget_requests()
    daemon.emulated.emulator.set_fault(delaySeconds=60)
    daemon.start()
    until(lambda: calls(daemon) == 1)
    [child] = daemon.children()
    parts = urlsplit(daemon.imds)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), 10) as half:
        half.sendall(b"GET / HT")
        began = time.monotonic()
        assert daemon.stop() == 0
        took = time.monotonic() - began
    print(f"ended after {took:.2f} s")
    assert took < ENDS_WITHIN
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.promise(74)
def test_sighup_goes_over_to_a_good_file_and_keeps_the_old_one_before_a_bad_one(daemon: Daemon) -> None:
    daemon.start()
    before = daemon.urls
    key, token = daemon.access_key(), imds_token(daemon.imds)
    good = daemon.config.read_text()

    imds = good + "\n[serve.imds.x]\nsession = 'default'\n"
    bad = (
        "[serve.imds.main\n",
        imds + "lisen = []\n",
        imds + "listen = ['192.0.2.1:0']\nallow-from = ['192.0.2.0/24']\nserve-imds-to-the-network = true\n",
        imds + f"listen = ['{urlsplit(before['metrics']).netloc}']\n",
        good.replace("allow-users", "").replace("[serve.agent]", "[serve.agents]"),
    )
    for text in bad:
        daemon.config.write_text(text)
        refused = daemon.log.count("the new configuration is not used, the old one stays: ")
        daemon.reload()
        assert daemon.log.count("the new configuration is not used, the old one stays: ") == refused + 1, text
        assert daemon.urls == before
        assert daemon.credentials(token).status == daemon.container().status == 200

    daemon.config.write_text(good + '\n[serve.imds.second]\nsession = "default"\nlisten = ["127.0.0.1:0"]\n')
    daemon.reload()
    assert "configuration and identity were read again" in daemon.log
    assert {name: daemon.urls[name] for name in ("container", "agent", "metrics")} == {
        name: before[name] for name in ("container", "agent", "metrics")
    }
    [second] = daemon.urls["imdsEndpoints"]["second"]
    assert fetch(second, ROLES + ROLE, headers={TOKEN_HEADER: imds_token(second)}).document["AccessKeyId"] == key
    assert daemon.credentials(token).document["AccessKeyId"] == key

    daemon.config.write_text(good)
    daemon.reload()
    with pytest.raises(OSError):
        fetch(second, ROLES, timeout=1)
    assert daemon.access_key() == key
    assert calls(daemon) == 1


@pytest.mark.promise(74)
def test_sighup_under_load_turns_nobody_away(daemon: Daemon) -> None:
    daemon.start()
    token = imds_token(daemon.imds)
    reloads = daemon.log.count("were read again")
    statuses = set()
    for _ in range(5):
        daemon.send(signal.SIGHUP)
        while daemon.log.count("were read again") == reloads:
            statuses.add(daemon.credentials(token).status)
        reloads += 1
    assert statuses == {200}


@pytest.mark.promise(74)
def test_sighup_tries_again_what_has_failed(daemon: Daemon) -> None:
    daemon.emulated.emulator.set_fault(status=403)
    daemon.start(wait=False)
    daemon.await_listening()
    until(lambda: daemon.error_code() is not None)
    daemon.emulated.emulator.clear_faults()
    daemon.reload()
    daemon.await_ready()


def test_sigusr1_renews_the_container_token_and_knows_the_last_one(daemon: Daemon) -> None:
    daemon.start()
    place = daemon.urls["container"]["app"]
    file = Path(place["tokenFile"])
    tokens = [file.read_text()]
    for _ in range(2):
        daemon.send(signal.SIGUSR1)
        until(lambda: file.read_text() != tokens[-1])
        tokens.append(file.read_text())

    until(lambda: _opens(place["url"], tokens[-1]) == 200)
    assert [_opens(place["url"], token) for token in tokens] == [401, 200, 200]


def _opens(url: str, token: str) -> int:
    return fetch(url, "", headers={"Authorization": token}).status


# Addresses


@pytest.mark.promise(79)
def test_an_address_in_use_is_an_error_that_names_who_has_it(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon.configure(outlets=OUTLETS.replace('\nlisten = ["127.0.0.1:0"]', f'\nlisten = ["127.0.0.1:{port}"]', 1))
        daemon.start(wait=False)
        assert daemon.process.wait(20) == 2
        program = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
        error = [line for line in daemon.log.splitlines() if line.startswith("error: ")]
        assert len(error) == 1
        assert f"127.0.0.1:{port}" in error[0]
        assert str(os.getpid()) in error[0]
        assert program in error[0]
        assert "\nhint: " in daemon.log
    daemon.configure()
    daemon.start()


@pytest.mark.promise(79)
def test_a_second_daemon_on_the_same_agent_socket_is_told_who_is_there(
    daemon: Daemon, helper: Path, tmp_path: Path, emulated: Emulated
) -> None:
    daemon.start()
    folder = tmp_path / "second"
    folder.mkdir()
    second = Daemon(helper, folder, emulated)
    second.configure(outlets=OUTLETS.replace("{folder}/run/agent.sock", daemon.agent))
    with owned(second):
        second.start(wait=False)
        assert second.process.wait(20) == 2
        assert f"{daemon.agent}" in second.log
        assert str(daemon.pid) in second.log
    assert daemon.from_agent().status == 200
    daemon.crash()  # it leaves its socket behind
    assert Path(daemon.agent).exists()
    with owned(second):
        second.start()
        assert second.from_agent().status == 200


@pytest.mark.promise(79)
def test_sockets_that_were_passed_are_used_and_not_opened(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        port = passed.getsockname()[1]
        prefix = (sys.executable, "-c", PASS_ON, str(passed.fileno()), "imds-main")
        daemon.start(prefix=prefix, pass_fds=(passed.fileno(),))
        assert daemon.imds == f"http://127.0.0.1:{port}"
        assert daemon.credentials().status == 200
        daemon.reload()
        assert daemon.credentials().status == 200
        assert daemon.stop() == 0
        # It is not the daemon's to close for others: who comes now waits for the next daemon.
        with socket.create_connection(("127.0.0.1", port), 20) as waiting:
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            daemon.start(prefix=prefix, pass_fds=(passed.fileno(),))
            assert waiting.recv(1000).startswith(b"HTTP/1.1 404 ")


@pytest.mark.promise(79)
def test_passed_sockets_are_enough_without_a_table(daemon: Daemon) -> None:
    """The configuration has one session and names no endpoint; nothing else is listened on."""
    agent = str(daemon.folder / "passed.sock")
    with ExitStack() as stack:
        imds, container, metrics = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3))
        unix = stack.enter_context(socket.create_server(agent, family=socket.AF_UNIX))
        numbers = [each.fileno() for each in (imds, container, unix, metrics)]
        daemon.configure(outlets=OUTLETS.partition("[serve]")[0])
        names = "imds-main:container:agent:metrics"
        prefix = (sys.executable, "-c", PASS_ON, ",".join(map(str, numbers)), names)
        daemon.start(prefix=prefix, pass_fds=numbers)
        for _ in range(2):
            assert "nothing to serve on it" not in daemon.log
            assert daemon.urls["imdsEndpoints"] == {"main": [f"http://127.0.0.1:{imds.getsockname()[1]}"]}
            assert daemon.credentials().status == 200
            assert daemon.container("default").status == 200
            assert daemon.agent == agent
            assert daemon.from_agent().status == 200
            assert "rolesanywhere_helper_" in daemon.metrics()
            daemon.reload()


@pytest.mark.promise(16, 79)
@pytest.mark.parametrize("allowed", [True, False])
def test_a_passed_socket_has_the_networks_of_its_endpoint(daemon: Daemon, allowed: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """An address that is not loopback, beside one that is: the networks stand for the first."""
    address = own_address()
    listen = f'listen = ["127.0.0.1:0", "{address}:0"]\nallow-from = ["{address if allowed else "192.0.2.1"}"]'
    loud = "serve-imds-to-the-network = true"
    daemon.configure(outlets=OUTLETS.replace('\nlisten = ["127.0.0.1:0"]', f"\n{listen}\n{loud}"))
    with socket.create_server((address, 0)) as passed:
        daemon.start(
            prefix=(sys.executable, "-c", PASS_ON, str(passed.fileno()), "imds-main"), pass_fds=(passed.fileno(),)
        )
        assert daemon.imds == f"http://{address}:{passed.getsockname()[1]}"
        with socket.create_connection(passed.getsockname(), 20) as asking:
            asking.sendall(f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            with suppress(ConnectionResetError):
                assert asking.recv(1000).startswith(b"HTTP/1.1 404 ") is allowed


@pytest.mark.promise(28)
def test_where_everybody_looks_the_same_it_does_not_start(daemon: Daemon) -> None:
    blind = ("/usr/bin/unshare", "--user", "--map-root-user")
    daemon.start(wait=False, prefix=blind)
    assert daemon.process.wait(20) == 2
    assert "every other user is shown as 65534" in daemon.log
    assert "PrivateUsers=no" in daemon.log
    # The negative control: where nobody has to be told from anybody else it serves.
    daemon.configure('allow-users = ["*"]')
    daemon.start(prefix=blind)
    assert daemon.credentials().status == 200


# The clock


@pytest.mark.promise(46)
@pytest.mark.parametrize(("ahead", "said"), [(600, "ahead of"), (-600, "behind")])
def test_a_clock_that_is_wrong_is_an_error_and_a_metric_that_name_the_difference(
    daemon: Daemon, ahead: int, said: str
) -> None:
    daemon.emulated.emulator.set_fault(headers={"Date": formatdate(time.time() - ahead, usegmt=True)})
    daemon.start()

    assert daemon.metric('clock_skew_seconds{session="default"}') == pytest.approx(ahead, abs=10)
    [line] = [line for line in daemon.log.splitlines() if "this machine's clock is" in line]
    assert " ERROR " in line
    [seconds] = re.findall(r"clock is (\d+) s " + said, line)
    assert int(seconds) == pytest.approx(600, abs=10)
    assert daemon.status()["clockSkewSeconds"] == pytest.approx(ahead, abs=10)


@pytest.mark.promise(46)
def test_a_clock_that_is_right_is_no_error(daemon: Daemon) -> None:
    daemon.start()
    assert abs(daemon.metric('clock_skew_seconds{session="default"}')) < 10
    assert "this machine's clock is" not in daemon.log


# What it must never say


@pytest.mark.promise(72)
def test_no_secret_leaves_but_in_the_answers(daemon: Daemon) -> None:
    daemon.start("--debug")
    document = daemon.credentials().document
    token = imds_token(daemon.imds)
    container = Path(daemon.urls["container"]["app"]["tokenFile"]).read_text()
    assert daemon.container().status == daemon.from_agent().status == 200
    told = [daemon.log, environ(daemon.pid), Path(f"/proc/{daemon.pid}/cmdline").read_text()]

    canary = "CanarySecretAccessKey0123456789abcdefghi"
    broken = json.dumps({"credentialSet": [{"credentials": {"secretAccessKey": canary, "accessKeyId": canary}}]})
    for fault in (
        {"body": broken},
        {"body": canary + broken},
        {"status": 500, "message": "nothing"},
        {"truncate": True},
    ):
        failures = daemon.log.count("the credentials at hand last")
        daemon.emulated.emulator.clear_faults()
        daemon.emulated.emulator.set_fault(**fault)
        daemon.send_attempt()
        until(lambda: daemon.log.count("the credentials at hand last") > failures)  # noqa: B023 - called at once
    wrong = {TOKEN_HEADER: token[:-4] + "AAAA", "Authorization": container + "x"}
    assert fetch(daemon.imds, ROLES, headers=wrong).status == 401
    assert fetch(daemon.urls["container"]["app"]["url"], "", headers=wrong).status == 401
    daemon.emulated.emulator.clear_faults()
    daemon.emulated.emulator.set_fault(delaySeconds=60)
    seen = calls(daemon)
    daemon.send_attempt()
    until(lambda: calls(daemon) > seen)
    for child in daemon.children():
        told += [environ(child), Path(f"/proc/{child}/cmdline").read_text()]
    assert len(told) == 5
    told += [daemon.metrics(), fetch(daemon.agent, "/v1/status").body.decode()]
    told += [fetch(daemon.urls["metrics"], "/healthz").body.decode()]
    daemon.stop()
    told.append(daemon.log)

    key = "".join(daemon.key.read_text().splitlines()[1:3])
    secrets = [document["SecretAccessKey"], document["Token"], document["Token"][40:80], token, token[:30]]
    secrets += [container, container[:20], canary, key, key[:40]]
    for text in told:
        assert [secret for secret in secrets if secret in text] == []
    # The negative control: what may be told is found.
    assert document["AccessKeyId"] in told[-1]
    assert " DEBUG " in told[-1]


@pytest.mark.promise(72)
def test_its_memory_goes_into_no_core_file(daemon: Daemon) -> None:
    def as_large_as_it_likes() -> None:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    daemon.start(before=as_large_as_it_likes)
    [line] = [line for line in Path(f"/proc/{daemon.pid}/limits").read_text().splitlines() if "core file" in line]
    assert line.split()[4:6] == ["0", "0"]
