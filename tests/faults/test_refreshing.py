"""Sessions of the daemon with real children against a service that misbehaves; each fault beside the way without it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.config.child_flags import from_flags, to_flags
from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.daemon.children import Children, child_command, child_environment
from rolesanywhere_helper.daemon.refresher import Refresher
from rolesanywhere_helper.daemon.sessions import DaemonSession, OpenedStore
from rolesanywhere_helper.domain.serving import AccessPolicy
from rolesanywhere_helper.protocol.mint_exchange import Question
from rolesanywhere_helper.system.boot_clock import SystemBootClock
from rolesanywhere_helper.system.clocks import SystemClock, SystemRandomness
from rolesanywhere_helper.system.private_directory import PrivateDirectory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from rolesanywhere_helper.domain.credentials import Credentials
    from tests.plugins.emulated import Emulated

PATIENCE = 20.0


@dataclass
class Daemon:
    """What of a daemon makes credentials, with files and a cache of its own."""

    emulated: Emulated
    folder: Path
    environment: dict[str, str]
    cache: PrivateDirectory
    command: list[str] = field(default_factory=child_command)
    deadline: float = 20.0

    def __post_init__(self) -> None:
        self.certificate, self.key = self.folder / "host.pem", self.folder / "host.key"
        self.use("client.pem", self.certificate)
        self.use("client.key", self.key)

    def use(self, name: str, path: Path) -> None:
        """Put a file of the emulator in place, as a careful rotation does."""
        new = path.with_suffix(".new")
        shutil.copy(self.emulated.emulator.directory.file(name), new)
        new.chmod(0o600)
        new.replace(path)

    def open_store(self) -> OpenedStore:
        key = hashlib.sha256(self.certificate.read_bytes()).hexdigest()[:32]
        return OpenedStore(key, DiskStore(self.cache, key, self.announced("roleArn"), SystemClock()))

    def announced(self, name: str) -> str:
        return str(self.emulated.announcement[name])

    def question(self) -> Question:
        words = self.emulated.flags(certificate=str(self.certificate), private_key=str(self.key))
        session: dict[str, str | bool] = {
            flag.removeprefix("--"): value for flag, value in zip(words[::2], words[1::2], strict=True)
        }
        return Question(*to_flags(from_flags(session, {}, read_trusted)))

    def session(self) -> DaemonSession:
        question = self.question()
        asked = from_flags(question.session, {}, read_trusted)
        made = DaemonSession(
            name="deploy",
            role_arn=asked.role_arn,
            duration_seconds=asked.duration_seconds,
            question=question,
            policy=AccessPolicy(frozenset()),
            region=None,
            open_store=self.open_store,
            clock=SystemBootClock(),
            randomness=SystemRandomness(),
        )
        made.start()
        return made

    def children(self) -> Children:
        return Children(self.command, self.environment, deadline_seconds=self.deadline)

    def run(self, test: Callable[[DaemonSession, Refresher], Awaitable[None]]) -> None:
        async def main() -> None:
            refresher = Refresher(self.children().mint)
            session = self.session()
            refresher.add(session)
            try:
                async with asyncio.timeout(4 * PATIENCE):
                    await test(session, refresher)
            finally:
                await refresher.stop()

        asyncio.run(main())


@pytest.fixture
def daemon(
    emulated: Emulated, tmp_path: Path, clean_environment: dict[str, str], coverage_environment: dict[str, str]
) -> Iterator[Daemon]:
    folder = tmp_path.resolve() / "identity"
    folder.mkdir(mode=0o700)
    with PrivateDirectory(tmp_path.resolve() / "cache") as cache:
        yield Daemon(emulated, folder, child_environment(clean_environment) | coverage_environment, cache)


def held(session: DaemonSession) -> Credentials:
    found = session.current()
    assert found is not None
    return found.credentials


def last_error(session: DaemonSession) -> str:
    told = session.status().last_error
    return "" if told is None else told[0]


async def until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


def test_the_first_set_comes_from_a_child_and_the_second_start_needs_none(daemon: Daemon) -> None:
    async def first(session: DaemonSession, refresher: Refresher) -> None:
        await refresher.first_attempts_ended()
        status = session.status()
        assert status.last_error is None
        assert held(session).role_arn == daemon.announced("roleArn")
        assert status.certificate_not_after is not None
        assert status.clock_skew_seconds == pytest.approx(0, abs=3)
        await until(lambda: daemon.open_store().store.load() is not None)

    async def second(session: DaemonSession, refresher: Refresher) -> None:
        assert session.current() is not None
        await refresher.first_attempts_ended()

    daemon.run(first)
    daemon.run(second)
    assert len(daemon.emulated.create_session_calls()) == 1


@pytest.mark.promise(60, 68)
def test_a_refusal_takes_nothing_away_and_another_certificate_ends_it(daemon: Daemon) -> None:
    async def test(session: DaemonSession, refresher: Refresher) -> None:
        await refresher.wait_for_credentials("deploy")
        old = held(session)
        daemon.emulated.emulator.set_fault(status=403, message="Certificate revoked", times=1)
        daemon.use("client-ec.pem", daemon.certificate)
        daemon.use("client-ec.key", daemon.key)
        refresher.identity_changed("deploy")
        await until(lambda: last_error(session) == "certificate-revoked")
        assert held(session) is old
        assert session.seconds_to_attempt() > 290
        refresher.identity_changed("deploy")
        await until(lambda: held(session) is not old)

    daemon.run(test)


@pytest.mark.promise(48, 53)
def test_a_certificate_without_its_key_leaves_the_old_pair_in_use(daemon: Daemon) -> None:
    async def test(session: DaemonSession, refresher: Refresher) -> None:
        await refresher.wait_for_credentials("deploy")
        old = held(session)
        calls = len(daemon.emulated.create_session_calls())
        daemon.use("client-ec.pem", daemon.certificate)
        refresher.identity_changed("deploy")
        await until(lambda: last_error(session) == "key-mismatch")
        attempts = session.status().attempts
        await until(lambda: session.status().attempts > attempts + 1)  # tried again by itself
        assert held(session) is old
        assert len(daemon.emulated.create_session_calls()) == calls  # and all of that on this machine
        daemon.use("client-ec.key", daemon.key)
        matched_at = time.monotonic()
        refresher.identity_changed("deploy")
        await until(lambda: held(session) is not old)
        assert time.monotonic() - matched_at < 5  # two seconds, on a machine that does nothing else

    daemon.run(test)


@pytest.mark.promise(67)
def test_a_service_that_hangs_costs_only_the_child(daemon: Daemon) -> None:
    daemon.deadline = 3.0

    async def test(session: DaemonSession, refresher: Refresher) -> None:
        await refresher.wait_for_credentials("deploy")
        old = held(session)
        daemon.emulated.emulator.set_fault(delaySeconds=30, times=1)
        daemon.use("client-ec.pem", daemon.certificate)
        daemon.use("client-ec.key", daemon.key)
        refresher.identity_changed("deploy")
        longest = 0.0
        while last_error(session) != "mint-child":
            began = time.monotonic()
            assert held(session) is old
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)
        assert longest < 0.5
        refresher.identity_changed("deploy")
        await until(lambda: held(session) is not old)

    daemon.run(test)


@pytest.mark.promise(61)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"body": "<html>"}, "bad-answer"),
        ({"body": '{"credentialSet": []}'}, "bad-answer"),
        ({"truncate": True}, "truncated-answer"),
        ({"expiresInSeconds": -5}, "bad-expiration"),
        ({"expiresInSeconds": 90_000}, "bad-expiration"),
        ({"status": 503}, "service-unavailable"),
    ],
)
def test_an_answer_that_cannot_be_used_is_a_failure(daemon: Daemon, fault: dict[str, Any], code: str) -> None:
    daemon.emulated.emulator.set_fault(**fault)

    async def test(session: DaemonSession, refresher: Refresher) -> None:
        await refresher.first_attempts_ended()
        assert session.current() is None
        assert last_error(session) == code
        assert session.seconds_to_attempt() > 14
        daemon.emulated.emulator.clear_faults()
        refresher.identity_changed("deploy")
        await refresher.wait_for_credentials("deploy")

    daemon.run(test)


def test_a_child_that_is_killed_is_a_failure_and_the_next_one_works(daemon: Daemon) -> None:
    daemon.emulated.emulator.set_fault(delaySeconds=30, times=1)

    async def test(session: DaemonSession, refresher: Refresher) -> None:
        await until(daemon.emulated.create_session_calls)
        children = [pid for pid in descendants() if b"mint-child" in command_line(pid)]
        assert len(children) == 1
        os.kill(children[0], 9)
        await refresher.first_attempts_ended()
        told = session.status().last_error
        assert told is not None
        assert told[:2] == (
            "mint-child",
            "the process that makes the session was killed by SIGKILL without an answer",
        )
        refresher.identity_changed("deploy")
        await refresher.wait_for_credentials("deploy")

    daemon.run(test)


def descendants() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def largest_core(pid: int) -> list[str]:
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in limits if line.startswith("Max core file size")).split()[4:6]


@pytest.mark.promise(72)
def test_no_secret_is_on_a_command_line_in_an_environment_or_in_the_log(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    daemon.command = child_command(debug=True)
    daemon.emulated.emulator.set_fault(delaySeconds=1, times=1)
    seen = b""

    async def test(session: DaemonSession, refresher: Refresher) -> None:
        nonlocal seen
        await until(daemon.emulated.create_session_calls)
        for pid in descendants():
            seen += command_line(pid)
            assert largest_core(pid) == ["0", "0"]
        await refresher.wait_for_credentials("deploy")
        made = held(session)
        assert "child " in caplog.text  # what the child says at DEBUG is there
        for secret in (made.secret_access_key, made.session_token):
            assert secret not in caplog.text
        assert daemon.certificate.name.encode() not in seen

    daemon.run(test)


def test_the_serving_process_loads_nothing_that_signs_or_sends() -> None:
    script = (
        "import sys\n"
        "sys.modules['ssl'] = None\n"
        "import asyncio\n"
        "from rolesanywhere_helper.daemon import children, refresher, sessions\n"
        "from rolesanywhere_helper.protocol.mint_exchange import Question\n"
        "answer = asyncio.run(children.Children(['true'], {'PATH': '/usr/bin:/bin'}).mint(Question({})))\n"
        "assert 'no meaning' in str(answer.error), answer\n"
        "heavy = ('cryptography', 'requests', 'urllib3', 'boto3', 'botocore', '_ssl', '_hashlib', 'argparse')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
