"""``credential-process --session NAME`` asks the running daemon first, and only one that can be believed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import rolesanywhere_helper
from tests.fakes.daemon import OUTLETS, Daemon, owned, until
from tests.fakes.other_user import ALICE, User, running_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.plugins.emulated import Emulated

IN_THE_OPEN = OUTLETS.replace("{folder}/run/agent.sock", "{folder}/open/agent.sock")
# An agent that hands everybody a set of its own.
TRAP = """
server = socket.socket(socket.AF_UNIX)
server.bind(arguments[0])
os.chmod(arguments[0], 0o666)
server.listen()
server.settimeout(0.05)
say("listens")
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        connection, _ = server.accept()
    except TimeoutError:
        continue
    if connection.recv(4096): say("asked")
    connection.sendall(arguments[1].encode())
    connection.close()
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that everybody can enter."""
    folder = Path(tempfile.mkdtemp(prefix="agent-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def daemon(helper: Path, public: Path, emulated: Emulated) -> Iterator[Daemon]:
    with owned(Daemon(helper, public, emulated)) as owner:
        yield owner


def ask(daemon: Daemon, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run it as this user with a cache of its own."""
    environment = {**daemon.environment, "ROLESANYWHERE_HELPER_CACHE_DIR": str(daemon.folder / "own-cache")}
    command = [str(daemon.helper), "credential-process", "--config", str(daemon.config), "--session", "default", *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def given(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def test_the_daemons_set_is_given_and_no_call_is_made(daemon: Daemon) -> None:
    daemon.start()
    held = daemon.access_key()
    daemon.emulated.emulator.forget_requests()

    document = given(ask(daemon, "--no-cache"))

    assert document["AccessKeyId"] == held
    assert document["Version"] == 1
    assert document.items() <= daemon.from_agent().document.items()
    assert daemon.emulated.create_session_calls() == []
    # The negative control: without the daemon it makes one itself.
    daemon.stop()
    assert given(ask(daemon, "--no-cache"))["AccessKeyId"] != held
    assert len(daemon.emulated.create_session_calls()) == 1


def test_a_stopped_daemon_is_not_waited_for(daemon: Daemon) -> None:
    daemon.start()
    daemon.send(signal.SIGSTOP)
    daemon.emulated.emulator.forget_requests()
    assert given(ask(daemon))["AccessKeyId"]
    assert len(daemon.emulated.create_session_calls()) == 1


def test_who_cannot_sign_is_told_why_the_daemon_gives_nothing(daemon: Daemon, public: Path) -> None:
    daemon.emulated.emulator.set_fault(status=500)
    daemon.start(wait=False)
    daemon.await_listening()
    until(lambda: daemon.error_code() == "service-unavailable")
    told = daemon.status()["lastError"]
    own = daemon.config
    daemon.config = public / "without-key.toml"
    daemon.config.write_text(own.read_text().replace("host.key", "not-mine.key"))
    daemon.config.chmod(0o600)

    done = ask(daemon)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: the agent at {daemon.agent} has no credentials for the session default: " in done.stderr
    assert f"{told['message']} (service-unavailable)\nhint: {told['hint']}\n" in done.stderr

    daemon.send(signal.SIGSTOP)
    done = ask(daemon)
    assert f"error: the agent at {daemon.agent} gave no credentials: timed out\n" in done.stderr
    daemon.send(signal.SIGCONT)

    # The negative controls: without a daemon it is its own failure, and who can sign needs no daemon.
    daemon.stop()
    done = ask(daemon)
    assert "not-mine.key" in done.stderr.partition("\n")[0]
    assert "no daemon that has the session answers at" in done.stderr
    daemon.emulated.emulator.clear_faults()
    daemon.config = own
    assert given(ask(daemon))["AccessKeyId"]


@pytest.mark.usefixtures("as_root")
def test_a_user_who_cannot_read_the_key_is_given_credentials_if_allowed(
    daemon: Daemon, public: Path, peer: Callable[[str], Path]
) -> None:
    """Ask with Debian's Python and a copy of the package, since she may not be able to read ours.

    The libraries that a key takes are not there for her: what she is told of a refusal is tested with the client.
    """
    peer("python3-venv")
    shutil.copytree(Path(rolesanywhere_helper.__file__).parent, public / "lib" / "rolesanywhere_helper")
    (public / "alice").mkdir()
    os.chown(public / "alice", ALICE.uid, ALICE.gid)

    def as_alice(*flags: str) -> subprocess.CompletedProcess[str]:
        main = public / "lib" / "rolesanywhere_helper" / "__main__.py"
        command = ["/usr/bin/python3", "-I", "-S", str(main), "credential-process", "--config", str(public / "a.toml")]
        return subprocess.run(
            [*command, "--session", "default", *flags],
            env={"PATH": "/usr/bin:/bin", "HOME": str(public / "alice")},
            user=ALICE.uid,
            group=ALICE.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def allow(line: str) -> None:
        daemon.configure(line, outlets=IN_THE_OPEN)
        shutil.copy(daemon.config, public / "a.toml")
        (public / "a.toml").chmod(0o644)

    allow("")
    daemon.start()
    refused = as_alice()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"refused session=default uid={ALICE.uid} pid=" in daemon.log

    allow(f'allow-users = ["{ALICE.uid}"]')
    daemon.reload()
    document = given(as_alice())
    assert document["AccessKeyId"] == daemon.access_key()
    assert f"granted session=default uid={ALICE.uid} pid=" in daemon.log
    assert len(daemon.emulated.create_session_calls()) == 1


@pytest.mark.promise(85)
@pytest.mark.usefixtures("as_root")
def test_a_socket_in_another_users_directory_is_not_asked(daemon: Daemon, public: Path) -> None:
    directory = public / "open"
    directory.mkdir()
    os.chown(directory, ALICE.uid, ALICE.gid)
    daemon.configure(outlets=IN_THE_OPEN)
    theirs = {"Version": 1, "AccessKeyId": "ASIATHEIRS", "SecretAccessKey": "s", "SessionToken": "t"}
    body = json.dumps({**theirs, "Expiration": "2099-01-01T00:00:00Z", "AccountId": "111122223333"})
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with running_as(ALICE, TRAP, directory / "agent.sock", answer) as trap:
        assert trap.hear() == "listens"
        done = ask(daemon, "--log-file", str(public / "log"), "--no-cache")
        assert given(done)["AccessKeyId"] != "ASIATHEIRS"
        log = (public / "log").read_text()
        assert f"the agent socket is not asked: {directory}" in log
        assert f"belongs to user {ALICE.uid}" in log
        assert len(daemon.emulated.create_session_calls()) == 1
        trap.nudge()
        assert trap.process.stdout is not None
        assert trap.process.stdout.read() == "", "it was not even connected to"


@pytest.mark.promise(85)
@pytest.mark.usefixtures("as_root")
def test_the_trap_would_work_if_it_was_believed(daemon: Daemon, public: Path) -> None:
    """The negative control: the same agent in a directory of this user's own, run by this user."""
    (public / "open").mkdir()
    daemon.configure(outlets=IN_THE_OPEN)
    theirs = {"Version": 1, "AccessKeyId": "ASIATHEIRS", "SecretAccessKey": "s", "SessionToken": "t"}
    body = json.dumps({**theirs, "Expiration": "2099-01-01T00:00:00Z", "AccountId": "111122223333"})
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with running_as(User(0, 0), TRAP, public / "open" / "agent.sock", answer) as trap:
        assert trap.hear() == "listens"
        assert given(ask(daemon, "--no-cache"))["AccessKeyId"] == "ASIATHEIRS"
        assert trap.hear() == "asked"
        trap.nudge()
