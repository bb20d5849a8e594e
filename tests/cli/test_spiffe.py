"""Credentials with an X.509-SVID: from ``credential-process``, and from ``serve`` while the agent pushes new ones."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.pki.keys import KeyKind
from tests.fakes.daemon import OUTLETS, Daemon, owned, until
from tests.fakes.workload_agent import SPIFFE_ID, WorkloadAgent, svid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import RunHelper
    from tests.plugins.emulated import Emulated


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[WorkloadAgent]:
    with WorkloadAgent(tmp_path) as running:
        yield running


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated, agent: WorkloadAgent) -> Iterator[Daemon]:
    with owned(Daemon(helper, tmp_path, emulated)) as made:
        made.configure(outlets=OUTLETS.replace("{folder}/host.pem", SPIFFE_ID).replace("private-key", "# private-key"))
        made.environment["SPIFFE_ENDPOINT_SOCKET"] = agent.address
        yield made


def push(agent: WorkloadAgent, daemon: Daemon, subject: str, key: KeyKind = KeyKind.P_256) -> str:
    """Let the agent have an SVID that the emulator's CA issued; return its serial number."""
    issued = daemon.issue(key, subject=subject)
    agent.push(svid(issued.private_key, issued.certificate, *issued.intermediates))
    return str(issued.certificate.serial_number)


def watchers(daemon: Daemon) -> list[int]:
    """Return the daemon's children that listen to an agent."""
    found: list[int] = []
    for pid in daemon.children():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found += [pid] if b"identity-watch" in words else []
    return found


def serials(daemon: Daemon) -> list[str]:
    """Return the serial numbers of the certificates that signed, in their order."""
    return [str(call["serial"]) for call in daemon.emulated.create_session_calls()]


def test_credential_process_gets_credentials(
    agent: WorkloadAgent, emulated: Emulated, daemon: Daemon, run_helper: RunHelper
) -> None:
    push(agent, daemon, "host")
    flags = emulated.flags(certificate=agent.reference)
    at = flags.index("--private-key")
    del flags[at : at + 2]

    done = run_helper("credential-process", *flags)
    again = run_helper("credential-process", *flags)

    assert (done.exit_code, done.err) == (0, "")
    assert json.loads(done.out)["AccessKeyId"]
    assert again.stdout == done.stdout
    assert len(emulated.create_session_calls()) == 1
    # Another agent's identity is another one, though it is named the same.
    elsewhere = run_helper("credential-process", *flags[2:], "--certificate=spiffe:")
    assert "SPIFFE_ENDPOINT_SOCKET is not set" in elsewhere.err
    agent.refuse()
    denied = run_helper("credential-process", *flags, "--no-cache")
    assert denied.exit_code == 1
    assert "has no identity for this process" in denied.err


def test_a_push_leads_to_a_new_session_at_once(agent: WorkloadAgent, daemon: Daemon) -> None:
    push(agent, daemon, "first")
    daemon.start("--debug")
    until(lambda: len(watchers(daemon)) == 1, what="nobody listens")
    assert len(daemon.emulated.create_session_calls()) == 1
    before = daemon.from_agent().document

    took = 0.0
    _await_listening(daemon)
    for number, key in enumerate([KeyKind.RSA_2048, KeyKind.P_384], 2):
        push(agent, daemon, f"push {number}", key)
        took = until(lambda: len(daemon.emulated.create_session_calls()) == number, what="no new session")  # noqa: B023
    until(lambda: daemon.from_agent().document != before, what="the old session is served")

    assert took < 5
    assert daemon.process.poll() is None
    # The same once more is nothing new, and a restart finds the newest set.
    agent.push(*agent.svids)
    daemon.stop()
    daemon.start("--debug")
    until(lambda: len(watchers(daemon)) == 1)
    assert len(daemon.emulated.create_session_calls()) == 3


def test_the_serving_process_knows_no_grpc_and_its_listener_no_cryptography(
    agent: WorkloadAgent, daemon: Daemon
) -> None:
    push(agent, daemon, "host")
    daemon.start("--debug")
    _await_listening(daemon)
    listener = watchers(daemon)[0]

    assert "h2" not in _libraries(daemon.pid)
    assert "_rust" not in _libraries(daemon.pid)
    assert "_rust" not in _libraries(listener)
    assert agent.address not in Path(f"/proc/{listener}/cmdline").read_text()


def test_the_listener_ends_with_the_daemon_however_that_happens(agent: WorkloadAgent, daemon: Daemon) -> None:
    push(agent, daemon, "host")
    for end in (daemon.stop, daemon.crash):
        daemon.start("--debug")
        _await_listening(daemon)
        listener = watchers(daemon)[0]
        end()
        until(lambda: not Path(f"/proc/{listener}").exists(), what="the listener lives on")  # noqa: B023 - called here


def test_a_listener_that_is_killed_is_started_again(agent: WorkloadAgent, daemon: Daemon) -> None:
    push(agent, daemon, "first")
    daemon.start("--debug")
    _await_listening(daemon)
    killed = watchers(daemon)[0]
    os.kill(killed, signal.SIGKILL)
    until(lambda: watchers(daemon) not in ([], [killed]), what="nobody listens")
    _await_listening(daemon)
    push(agent, daemon, "second")

    until(lambda: len(daemon.emulated.create_session_calls()) == 2, what="no new session")


def test_an_agent_that_goes_and_comes_back_with_something_new(agent: WorkloadAgent, daemon: Daemon) -> None:
    push(agent, daemon, "first")
    daemon.start("--debug")
    _await_listening(daemon)
    held = daemon.from_agent().document
    agent.stop()
    until(lambda: "who listened at" in daemon.log, what="nobody noticed")
    assert daemon.from_agent().document == held
    push(agent, daemon, "second")
    agent.start()

    until(lambda: len(daemon.emulated.create_session_calls()) == 2, what="no new session")


def test_a_daemon_that_starts_before_its_agent(agent: WorkloadAgent, daemon: Daemon) -> None:
    push(agent, daemon, "host")
    agent.stop()
    daemon.start(wait=False)
    until(lambda: "no SPIFFE agent answers" in daemon.log, what=daemon.log)
    agent.start()

    took = daemon.await_ready()
    assert took < 15, "not when the next attempt is due, but when the agent is there"


def test_permission_denied_and_then_an_entry(agent: WorkloadAgent, daemon: Daemon) -> None:
    agent.refuse()
    daemon.start(wait=False)
    until(lambda: "has no identity for this process" in daemon.log, what=daemon.log)
    until(lambda: daemon.error_code() == "workload-api")
    push(agent, daemon, "host")

    daemon.await_ready()
    assert daemon.error_code() is None


def _await_listening(daemon: Daemon) -> None:
    """Wait until the daemon's newest listener has heard what there is."""
    until(lambda: len(watchers(daemon)) == 1, what="nobody listens")
    until(lambda: "heard from" in daemon.log.rpartition("has ended")[2], what="nobody has heard anything")


def _libraries(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()
