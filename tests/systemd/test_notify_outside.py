"""What the daemon tells its supervisor, and the sockets it takes over, seen by a supervisor made up here."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, Request, build_opener

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.plugins.emulated import Emulated

PATIENCE = 30.0
_FIRST_DESCRIPTOR = 3


@dataclass(frozen=True, slots=True)
class Supervised:
    """A daemon and the ear of its supervisor."""

    process: subprocess.Popen[bytes]
    ear: socket.socket

    def hear(self, word: str) -> dict[str, str]:
        """Wait for a message that says ``word``; return all it says."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            said = dict(line.partition("=")[::2] for line in self.ear.recv(4096).decode().splitlines())
            if word in said:
                return said
        pytest.fail(f"{word} was not said within {PATIENCE:.0f} s")


class Supervisor:
    """Starts the installed command as systemd does."""

    def __init__(self, helper: Path, environment: dict[str, str], directory: Path, emulated: Emulated) -> None:
        self._helper = helper
        self._environment = environment
        self._directory = directory
        self.config = directory / "config.toml"
        made = emulated.announcement
        self.config.write_text(
            f'[identity.host]\ncertificate = "{emulated.certificate}"\nprivate-key = "{emulated.private_key}"\n'
            f'[session.deploy]\nidentity = "host"\ntrust-anchor-arn = "{made["trustAnchorArn"]}"\n'
            f'profile-arn = "{made["profileArn"]}"\nrole-arn = "{made["roleArn"]}"\nendpoint = "{emulated.endpoint}"\n'
            '[serve.imds.main]\nsession = "deploy"\nlisten = ["127.0.0.1:0"]\n'
        )

    @contextmanager
    def start(self, *passed: tuple[str, socket.socket], env: Mapping[str, str] | None = None) -> Iterator[Supervised]:
        """Run ``serve`` with sockets of these names from descriptor 3 on."""
        runtime = self._directory / "runtime"
        runtime.mkdir(mode=0o755, exist_ok=True)
        address = self._directory / "notify"
        environment = self._environment | {"NOTIFY_SOCKET": str(address), "RUNTIME_DIRECTORY": str(runtime)}
        environment |= {"LISTEN_FDNAMES": ":".join(name for name, _ in passed)} | dict(env or {})
        # The shell puts the sockets where they belong and names the process they are for: itself, the daemon to be.
        moves = " ".join(f"{_FIRST_DESCRIPTOR + at}<&{own.fileno()}" for at, (_, own) in enumerate(passed))
        listen = f"LISTEN_FDS={len(passed)} LISTEN_PID=$$" if passed else ""
        script = f'exec {moves}; {listen} exec "$@"' if passed else 'exec "$@"'
        log = (self._directory / "stderr").open("ab")
        with log, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind(str(address))
            ear.settimeout(PATIENCE)
            process = subprocess.Popen(
                ["/bin/bash", "-c", script, "bash", self._helper, "serve", "--config", self.config],
                env=environment,
                pass_fds=[own.fileno() for _, own in passed],
                stderr=log,
            )
            try:
                yield Supervised(process, ear)
            finally:
                process.kill()
                process.wait()
                address.unlink()


@pytest.fixture
def supervisor(helper: Path, clean_environment: dict[str, str], tmp_path: Path, emulated: Emulated) -> Supervisor:
    return Supervisor(helper, clean_environment, tmp_path, emulated)


def access_key(port: int) -> str:
    at = f"http://127.0.0.1:{port}/latest"
    opener = build_opener(ProxyHandler({}))
    put = Request(f"{at}/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})  # noqa: S310 - loopback, from here
    with opener.open(put, timeout=PATIENCE) as answer:
        token = answer.read().decode()
    path = f"{at}/meta-data/iam/security-credentials/"
    for _ in range(2):  # the listing names the role
        with opener.open(Request(path, headers={"X-aws-ec2-metadata-token": token}), timeout=PATIENCE) as answer:  # noqa: S310 - the same
            content = answer.read().decode()
        path += content.strip()
    return str(json.loads(content)["AccessKeyId"])


@pytest.mark.promise(80)
def test_ready_is_said_when_the_first_attempt_has_ended(supervisor: Supervisor, emulated: Emulated) -> None:
    with supervisor.start() as daemon:
        said = daemon.hear("READY")

        assert said["READY"] == "1"
        assert len(emulated.create_session_calls()) == 1


@pytest.mark.promise(80)
def test_ready_is_said_when_the_first_attempt_has_failed(supervisor: Supervisor, emulated: Emulated) -> None:
    emulated.emulator.set_fault(status=403, times=1)
    with supervisor.start() as daemon:
        daemon.hear("READY")

        assert daemon.process.poll() is None


@pytest.mark.promise(74)
def test_a_reload_is_begun_with_its_time_and_ended_with_ready(supervisor: Supervisor) -> None:
    with supervisor.start() as daemon:
        daemon.hear("READY")
        before = time.monotonic()

        daemon.process.send_signal(signal.SIGHUP)

        said = daemon.hear("RELOADING")
        assert before <= int(said["MONOTONIC_USEC"]) / 1e6 <= time.monotonic()
        daemon.hear("READY")


@pytest.mark.promise(73)
def test_a_stop_is_said_and_is_clean(supervisor: Supervisor) -> None:
    with supervisor.start() as daemon:
        daemon.hear("READY")

        daemon.process.send_signal(signal.SIGTERM)

        daemon.hear("STOPPING")
        assert daemon.process.wait(5) == 0


@pytest.mark.promise(75)
def test_the_watchdog_hears_from_it_while_it_runs_and_not_while_it_hangs(supervisor: Supervisor) -> None:
    with supervisor.start(env={"WATCHDOG_USEC": "400000"}) as daemon:
        daemon.hear("READY")
        begin = time.monotonic()
        for _ in range(3):
            daemon.hear("WATCHDOG")
        assert time.monotonic() - begin < PATIENCE

        daemon.process.send_signal(signal.SIGSTOP)
        os.waitpid(daemon.process.pid, os.WUNTRACED)
        daemon.ear.setblocking(False)
        with suppress(BlockingIOError):
            while True:  # what was sent before
                daemon.ear.recv(4096)
        daemon.ear.settimeout(0.8)
        with pytest.raises(TimeoutError):
            daemon.ear.recv(4096)


@pytest.mark.promise(79)
def test_passed_sockets_are_served(supervisor: Supervisor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        with supervisor.start(("imds-main", ours)) as daemon:
            daemon.hear("READY")

            assert re.fullmatch("ASIA[A-Z0-9]{16}", access_key(port))


@pytest.mark.promise(79)
def test_a_socket_that_nobody_knows_ends_the_start(supervisor: Supervisor, tmp_path: Path) -> None:
    """The negative control: it does look at the name."""
    with socket.create_server(("127.0.0.1", 0)) as ours, supervisor.start(("unknown", ours)) as daemon:
        assert daemon.process.wait(PATIENCE) == 2
    assert "unknown" in (tmp_path / "stderr").read_text()
