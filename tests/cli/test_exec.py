"""``exec`` as programs meet it: real clients, users with AWS files of their own, signals, exit codes, a long run."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.test_credential_process_cached import age
from tests.fakes.daemon import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rolesanywhere_helper.emulator.server import Running
    from tests.conftest import Finished, RunHelper
    from tests.plugins.served import Served

BOTO3 = """
import boto3, sys
session = boto3.Session()
told = session.client("sts", endpoint_url=sys.argv[1]).get_caller_identity()
print(told["Arn"], session.region_name, session._session.get_scoped_config().get("s3"))
"""
# Prints each access key that the endpoint gives, once, until there were so many.
WATCH = """
import json, os, sys, time, urllib.request
seen = []
while len(seen) < int(sys.argv[1]):
    place = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    token = open(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read()
    request = urllib.request.Request(place, headers={"Authorization": token})
    found = json.load(urllib.request.urlopen(request))["AccessKeyId"]
    if found not in seen:
        seen.append(found)
        print(found, flush=True)
    time.sleep(0.02)
"""
# The installed program, for which a second is as long as fifteen.
HURRIED = """
import sys
from rolesanywhere_helper.daemon import schedule
from rolesanywhere_helper.cli.main import main
schedule.SHORTEST_WAIT_SECONDS = 0.2
sys.exit(main(sys.argv[1:]))
"""
REGION_KEPT = "eu-west-3"
REFUSED = {"status": 403, "message": "Certificate revoked"}


class User:
    """A user whose default profile asks a program that fails loudly, and leaves a mark."""

    def __init__(self, home: Path) -> None:
        self.mark = home / "asked"
        program = home / "loud"
        program.write_text(f"#!/bin/sh\ntouch {self.mark}\necho LOUD >&2\nexit 1\n")
        program.chmod(0o755)
        folder = home / ".aws"
        folder.mkdir()
        (folder / "config").write_text(
            f"[default]\ncredential_process = {program}\nregion = {REGION_KEPT}\ns3 =\n  max_queue_size = 5\n"
            f"[profile other]\ncredential_process = {program}\n[profile plain]\nregion = ap-south-1\n"
        )

    @property
    def was_asked(self) -> bool:
        return self.mark.exists()


@pytest.fixture
def user(clean_environment: dict[str, str]) -> User:
    return User(Path(clean_environment["HOME"]))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture
def execute(run_helper: RunHelper, session_flags: list[str], run_dir: Path) -> Callable[..., Finished]:
    """Return a function that runs a program, and sees that nothing is left of the run."""

    def run(
        *command: str | Path,
        flags: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        input: bytes = b"",  # noqa: A002 - as run_helper has it
    ) -> Finished:
        own = {"XDG_RUNTIME_DIR": str(run_dir), **(env or {})}
        done = run_helper("exec", *session_flags, *flags, "--", *command, env=own, input=input)
        assert list(run_dir.iterdir()) == []
        return done

    return run


@pytest.fixture
def start(
    helper: Path, clean_environment: dict[str, str], session_flags: list[str], run_dir: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts a program under ``exec`` and does not wait for it."""
    started: list[subprocess.Popen[bytes]] = []

    def run(
        *command: str | Path, flags: tuple[str, ...] = (), begin: tuple[str, ...] = (str(helper),), **how: Any
    ) -> subprocess.Popen[bytes]:
        words = [*begin, "exec", *session_flags, *flags, "--", *map(str, command)]
        environment = {**clean_environment, "XDG_RUNTIME_DIR": str(run_dir)}
        process = subprocess.Popen(words, **{"env": environment, "stdout": subprocess.PIPE, **how})
        started.append(process)
        return process

    yield run
    for process in started:
        for child in _children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def line_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0], "nothing was said for half a minute"
    return process.stdout.readline().decode().strip()


def mints(emulator: Running) -> int:
    return sum(seen["operation"] == "CreateSession" for seen in emulator.requests())


# Real clients, and a user with files of their own


def aws_cli(program: Path, emulator: Running) -> list[str | Path]:
    return [program, "sts", "get-caller-identity", "--endpoint-url", emulator.endpoint, "--query", "Arn"]


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("package", ["awscli", "aws"])
def test_the_aws_cli_has_the_role_whatever_the_users_default_profile_says(
    execute: Callable[..., Finished], emulator: Running, user: User, peer: Callable[[str], Path], package: str
) -> None:
    done = execute(*aws_cli(peer(package), emulator))

    assert (done.exit_code, done.err) == (0, "")
    assert ":assumed-role/EmulatorRole/" in done.out
    assert not user.was_asked


@pytest.mark.parametrize("package", ["awscli", "aws"])
def test_the_negative_control_without_exec_the_profile_is_asked(
    clean_environment: dict[str, str], emulator: Running, user: User, peer: Callable[[str], Path], package: str
) -> None:
    done = subprocess.run(aws_cli(peer(package), emulator), env=clean_environment, capture_output=True, check=False)

    assert done.returncode != 0
    assert user.was_asked


def test_boto3_has_the_role_and_the_users_region_and_settings(
    execute: Callable[..., Finished], emulator: Running, user: User
) -> None:
    done = execute(sys.executable, "-W", "ignore", "-c", BOTO3, emulator.endpoint)

    assert done.exit_code == 0, done.err
    arn, region, s3 = done.out.split(maxsplit=2)
    assert ":assumed-role/EmulatorRole/" in arn
    assert (region, s3.strip()) == (REGION_KEPT, "{'max_queue_size': '5'}")
    assert not user.was_asked


@pytest.mark.usefixtures("user")
def test_the_profile_that_is_selected_counts(execute: Callable[..., Finished], emulator: Running) -> None:
    done = execute(sys.executable, "-W", "ignore", "-c", BOTO3, emulator.endpoint, env={"AWS_PROFILE": "plain"})

    assert done.out.split()[1:] == ["ap-south-1", "None"]


def test_a_profile_with_other_credentials_is_not_there(
    execute: Callable[..., Finished], emulator: Running, user: User, peer: Callable[[str], Path]
) -> None:
    named = execute(*aws_cli(peer("aws"), emulator), "--profile", "other")
    plain = execute(*aws_cli(peer("aws"), emulator), "--profile", "plain")

    assert named.exit_code != 0
    assert "other" in named.err
    assert plain.exit_code == 0
    assert not user.was_asked


@pytest.mark.usefixtures("user")
def test_nothing_of_the_callers_own_credentials_reaches_the_program(execute: Callable[..., Finished]) -> None:
    canary = "canary"
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_PROFILE")
    more = (
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    )
    done = execute("env", env=dict.fromkeys((*names, *more), canary) | {"OWN": "kept"})

    assert canary not in done.out
    assert "OWN=kept" in done.out


def test_the_files_of_every_sdk_are_those_of_the_run(execute: Callable[..., Finished], user: User) -> None:
    """The SDK for Java 1 has a variable of its own, and reads ``~/.aws/credentials`` where it is not set."""
    (user.mark.parent / ".aws/credentials").write_text("[default]\naws_secret_access_key = canary\n")
    names = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CREDENTIAL_PROFILES_FILE")
    theirs = {"AWS_CREDENTIAL_PROFILES_FILE": str(user.mark.parent / ".aws/credentials")}
    done = execute("sh", "-c", f"cat ${names[0]} ${names[1]} && echo ${names[0]} ${names[1]}", env=theirs)

    [both] = done.out.splitlines()
    assert len(both.split()) == 2
    assert len(set(both.split())) == 1


def test_a_configuration_that_nobody_writes_is_passed_over(
    execute: Callable[..., Finished], tmp_path: Path, emulator: Running
) -> None:
    os.mkfifo(tmp_path / "fifo")
    show = ("sh", "-c", "cat $AWS_CONFIG_FILE")

    waiting = execute(*show, env={"AWS_CONFIG_FILE": str(tmp_path / "fifo")})
    without = execute(*show, env={"AWS_CONFIG_FILE": "/dev/null"})

    assert (waiting.exit_code, without.exit_code, without.err) == (0, 0, "")
    assert "the program is not given the settings of your AWS files" in waiting.err
    assert "fifo" in waiting.err
    assert mints(emulator) == 1


def test_a_proxy_is_not_asked_for_the_endpoint(execute: Callable[..., Finished], peer: Callable[[str], Path]) -> None:
    peer("curl")
    nobody = {"http_proxy": "http://127.0.0.1:9"}
    fetch = 'curl -fsS -H "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN" $AWS_CONTAINER_CREDENTIALS_FULL_URI'

    assert '"AccessKeyId"' in execute("sh", "-c", fetch, env=nobody).out
    control = execute("sh", "-c", f"unset no_proxy NO_PROXY; {fetch}", env=nobody)
    assert "Failed to connect to 127.0.0.1 port 9" in control.err


def test_a_program_without_a_region_gets_the_sessions_and_a_typed_one_goes_before_all(
    execute: Callable[..., Finished], emulator: Running
) -> None:
    show = ("sh", "-c", "echo $AWS_REGION $AWS_DEFAULT_REGION")

    assert execute(*show).out == "us-east-1 us-east-1\n"
    assert execute(*show, env={"AWS_DEFAULT_REGION": "eu-north-1"}).out == "eu-north-1\n"
    typed = execute(*show, flags=("--region", emulator.announcement["region"]), env={"AWS_REGION": "eu-north-1"})
    assert typed.out == "us-east-1 us-east-1\n"


# The program's own streams and exit codes


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_the_exit_code_is_the_programs(execute: Callable[..., Finished], script: str, code: int) -> None:
    done = execute("sh", "-c", script)

    assert (done.exit_code, done.stdout, done.err) == (code, b"", "")


def test_standard_streams_are_the_programs(execute: Callable[..., Finished]) -> None:
    done = execute("sh", "-c", "cat; echo said >&2", input=b"typed")

    assert (done.stdout, done.err) == (b"typed", "said\n")


@pytest.mark.parametrize("flags", [(), ("--env",)])
def test_a_program_that_cannot_be_run(execute: Callable[..., Finished], tmp_path: Path, flags: tuple[str, ...]) -> None:
    file = tmp_path / "no-program"
    file.write_text("no program")

    missing, closed = execute("no-such-program", flags=flags), execute(file, flags=flags)

    assert (missing.exit_code, missing.stdout) == (127, b"")
    assert missing.err.startswith("error: the program 'no-such-program' is not there\nhint: ")
    assert (closed.exit_code, closed.stdout) == (126, b"")


@pytest.mark.parametrize("flags", [(), ("--env",)])
def test_without_credentials_nothing_is_run(
    execute: Callable[..., Finished], emulator: Running, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    mark = tmp_path / "ran"
    emulator.set_fault(**REFUSED)
    refused = execute("touch", mark, flags=(*flags, "--no-cache"))
    unreachable = execute("touch", mark, flags=(*flags, "--no-cache", "--endpoint", "http://127.0.0.1:9"))

    assert not mark.exists()
    assert (refused.exit_code, unreachable.exit_code) == (1, 3)
    for done in (refused, unreachable):
        assert [line.split(":")[0] for line in done.err.splitlines()] == ["error", "hint"]
        assert done.stdout == b""


@pytest.mark.promise(82)
def test_a_refusal_is_remembered(execute: Callable[..., Finished], emulator: Running) -> None:
    emulator.set_fault(**REFUSED)
    other = ("--role-arn", emulator.announcement["roleArn"] + "Revoked")
    assert "remembered" not in execute("true", flags=other).err
    again = execute("true", flags=other)

    assert "(remembered: asked again in " in again.err
    assert mints(emulator) == 1


def test_no_program_and_unknown_flags_are_refused(run_helper: RunHelper) -> None:
    assert run_helper("exec", "--").exit_code == 2
    assert "unknown flag '--sesion'" in run_helper("exec", "--sesion", "x", "--", "true").err


def test_flags_of_the_program_are_its_own(execute: Callable[..., Finished]) -> None:
    assert execute("echo", "--region", "x", "--", "--help").out == "--region x -- --help\n"


# Signals


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"])
def test_signals_are_passed_on(start: Callable[..., subprocess.Popen[bytes]], name: str) -> None:
    script = f"trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.02; done"
    process = start("bash", "-c", script)
    assert line_of(process) == "ready"

    process.send_signal(signal.Signals[f"SIG{name}"])

    assert line_of(process) == "got"
    assert process.wait(20) == 9


def test_a_program_that_ignores_sigterm_is_not_left_alone(
    start: Callable[..., subprocess.Popen[bytes]], run_dir: Path
) -> None:
    fetch = 'curl -fsS -H "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN" $AWS_CONTAINER_CREDENTIALS_FULL_URI'
    process = start("sh", "-c", f"trap '' TERM; echo ready; read line; {fetch} >/dev/null && echo served; exit 5",
                    stdin=subprocess.PIPE)  # fmt: skip
    assert line_of(process) == "ready"
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    [folder] = run_dir.iterdir()

    out, _ = process.communicate(b"go\n", 20)
    assert (out, process.returncode) == (b"served\n", 5)
    assert not folder.exists()


def test_what_the_program_puts_into_the_directory_goes_with_it(
    execute: Callable[..., Finished], tmp_path: Path
) -> None:
    script = 'cd "${AWS_CONFIG_FILE%/*}" && mkdir -p cache/deep && touch cache/file && ln -s "$0" link && echo made'

    assert execute("sh", "-c", script, tmp_path).out == "made\n"  # that nothing is left is seen by execute itself
    assert tmp_path.exists()


def test_what_a_killed_run_has_left_is_removed_by_the_next(
    start: Callable[..., subprocess.Popen[bytes]], run_dir: Path
) -> None:
    living = start("sh", "-c", "echo ready; read line", stdin=subprocess.PIPE)
    assert line_of(living) == "ready"
    [of_the_living] = run_dir.iterdir()
    killed = start("sh", "-c", "echo ready; read line", stdin=subprocess.PIPE)
    assert line_of(killed) == "ready"
    [left] = set(run_dir.iterdir()) - {of_the_living}
    killed.kill()
    killed.wait()
    assert (left / "token").exists()

    other = start("ls", run_dir)
    there = {line_of(other) for _ in range(2)}
    assert other.wait(20) == 0

    assert left.name not in there
    assert of_the_living.name in there
    living.communicate(b"\n")
    assert list(run_dir.iterdir()) == []


def test_a_signal_before_there_is_a_program_ends_the_wait(
    start: Callable[..., subprocess.Popen[bytes]], emulator: Running, run_dir: Path, tmp_path: Path
) -> None:
    emulator.set_fault(delaySeconds=30)
    process = start("touch", tmp_path / "ran", flags=("--no-cache",))
    until(lambda: mints(emulator) == 1)

    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 143
    assert list(run_dir.iterdir()) == []
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT"])
def test_a_signal_at_the_first_moment_leaves_nothing_behind(
    start: Callable[..., subprocess.Popen[bytes]], run_dir: Path, tmp_path: Path, name: str
) -> None:
    process = start("touch", tmp_path / "ran")
    while not any(run_dir.iterdir()):
        assert process.poll() is None, "it has ended without a directory of its own"

    process.send_signal(signal.Signals[f"SIG{name}"])

    assert process.wait(20) == 128 + signal.Signals[f"SIG{name}"]
    assert list(run_dir.iterdir()) == []
    assert not (tmp_path / "ran").exists()


@contextmanager
def terminal() -> Iterator[tuple[int, Callable[[], None]]]:
    """Lend a terminal, and what makes it a process's own."""
    master, slave = pty.openpty()

    def take() -> None:
        os.setsid()
        ioctl(slave, termios.TIOCSCTTY, 0)

    try:
        yield master, take
    finally:
        os.close(master)
        os.close(slave)


def test_ctrl_c_at_a_terminal_reaches_the_program_once(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    script = (
        "n=0; trap 'n=$((n+1)); echo got' INT; trap 'echo $n; exit 0' USR1; echo ready; while :; do sleep 0.02; done"
    )
    with terminal() as (master, take):
        process = start("bash", "-c", script, preexec_fn=take)
        assert line_of(process) == "ready"
        os.write(master, b"\x03")
        assert line_of(process) == "got"
        process.send_signal(signal.SIGUSR1)  # read after whatever came before it

        assert line_of(process) == "1"
        assert process.wait(20) == 0


def test_a_program_that_stops_gives_the_terminal_back(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    with terminal() as (_, take):
        process = start("sh", "-c", "echo ready; kill -STOP $$; exit 4", preexec_fn=take)
        assert line_of(process) == "ready"
        until(lambda: state(process.pid) == "T", what="exec did not stop")

        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 4


def test_without_a_terminal_only_the_program_stops(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start("sh", "-c", "echo $$; kill -STOP $$; exit 4", start_new_session=True)
    pid = int(line_of(process))
    until(lambda: state(pid) == "T")
    process.send_signal(signal.SIGUSR1)
    until(lambda: has_pending(pid, signal.SIGUSR1), what="exec stopped too, and passed nothing on")

    os.kill(pid, signal.SIGCONT)
    assert process.wait(20) == 128 + signal.SIGUSR1


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def has_pending(pid: int, number: signal.Signals) -> bool:
    [pending] = re.findall(r"ShdPnd:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(pending, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("flags", [(), ("--env",)])
def test_the_program_starts_with_plain_signals(execute: Callable[..., Finished], flags: tuple[str, ...]) -> None:
    done = execute("grep", "-E", "SigBlk|SigIgn", "/proc/self/status", flags=flags)
    blocked, ignored = (int(each, 16) for each in re.findall(r":\s*([0-9a-f]+)", done.out))

    of_the_c_library = 0b11 << 31  # 32 and 33, which glibc's posix_spawn leaves ignored
    assert (blocked, ignored & ~of_the_c_library) == (0, 0)


# A long run


def test_a_program_outlives_three_refreshes(start: Callable[..., subprocess.Popen[bytes]], emulator: Running) -> None:
    emulator.set_fault(expiresInSeconds=4)
    hurried = (sys.executable, "-c", HURRIED)
    process = start(sys.executable, "-c", WATCH, "4", flags=("--no-cache",), begin=hurried)

    seen = [line_of(process) for _ in range(4)]

    assert process.wait(20) == 0
    assert len(set(seen)) == 4
    assert mints(emulator) >= 4


def test_two_at_the_same_time_have_an_endpoint_each(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    script = "echo $AWS_CONTAINER_CREDENTIALS_FULL_URI $AWS_CONTAINER_AUTHORIZATION_TOKEN; read line"
    both = [start("sh", "-c", script, stdin=subprocess.PIPE) for _ in range(2)]
    said = [line_of(process).split() for process in both]

    for process in both:
        process.communicate(b"\n", 20)
    assert all(first != second for first, second in zip(*said, strict=True))


def test_secrets_are_in_no_command_line_log_or_environment_but_the_programs(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, run_dir: Path
) -> None:
    log = tmp_path / "log"
    flags = ("--debug", "--log-file", str(log))
    process = start(sys.executable, "-c", f"{WATCH}\ninput()", "1", flags=flags, stdin=subprocess.PIPE)
    line_of(process)
    [folder] = run_dir.iterdir()
    [program] = _children(process.pid)
    token = (folder / "token").read_bytes()
    of_exec, of_program = (Path(f"/proc/{pid}/environ") for pid in (process.pid, program))

    assert {oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == {"0o600"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert token in of_program.read_bytes()
    assert os.geteuid() != 0 or token not in of_exec.read_bytes()  # others than root cannot even look
    assert token not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.communicate(b"\n", 20)
    assert b"listening" in log.read_bytes()
    assert token not in log.read_bytes()
    assert not re.search(rb"SecretAccessKey|sessionToken|BEGIN", log.read_bytes())


def test_where_the_kernel_tells_no_users_apart_the_token_decides(
    start: Callable[..., subprocess.Popen[bytes]], helper: Path
) -> None:
    alone = ("unshare", "--map-root-user", str(helper))  # a namespace in which nobody else has a number
    process = start(sys.executable, "-c", WATCH, "1", begin=alone)

    assert line_of(process).startswith("ASIA")
    assert process.wait(20) == 0


# Where key and credentials come from


def test_a_key_in_a_variable(execute: Callable[..., Finished], emulator: Running) -> None:
    key = Path(emulator.announcement["privateKey"]).read_text()
    done = execute(
        "sh", "-c", "exit 4", flags=("--private-key", "env:DEPLOY_KEY", "--no-cache"), env={"DEPLOY_KEY": key}
    )

    assert (done.exit_code, done.err) == (4, "")
    assert mints(emulator) == 1
    seen = execute(
        "sh",
        "-c",
        "echo =${DEPLOY_KEY-gone}=",
        flags=("--private-key", "env:DEPLOY_KEY", "--no-cache"),
        env={"DEPLOY_KEY": key},
    )
    assert seen.out.strip() == "=gone="
    assert execute("true", flags=("--private-key", "env:DEPLOY_KEY", "--no-cache")).exit_code != 0


def test_a_key_behind_a_descriptor_is_refused(execute: Callable[..., Finished]) -> None:
    done = execute("true", flags=("--private-key", "fd:0"))

    assert done.exit_code == 2
    assert "can be read once" in done.err


def test_a_role_of_another_account(
    execute: Callable[..., Finished], emulator: Running, peer: Callable[[str], Path]
) -> None:
    told = json.loads(Path(emulator.announcement["adminCredentials"]).read_text())
    other = f"arn:aws:iam::{told['otherAccount']['account']}:role/Consultant"
    done = execute(*aws_cli(peer("aws"), emulator), flags=("--assume-role-arn", other))
    refused = execute("true", flags=("--assume-role-arn", f"{other}OfNobody"))

    assert (done.exit_code, done.err) == (0, "")
    assert ":assumed-role/Consultant/" in done.out
    assert refused.exit_code == 1
    assert f"{other}OfNobody" in refused.err


def test_what_sts_would_refuse_is_refused_before_anything_is_sent(
    execute: Callable[..., Finished], emulator: Running
) -> None:
    role = ("--assume-role-arn", "arn:aws:iam::444455556666:role/Consultant")
    for flags in ((*role, "--session-tags", '{"x y": "\\"$(id)"}'), (*role, "--external-id", "a b"), (role[0], "")):
        assert execute("true", flags=flags).exit_code == 2
    assert mints(emulator) == 0


@pytest.fixture
def without_the_key(served: Served, tmp_path: Path) -> Path:
    """Return the configuration of a user who may ask the daemon, and has no key."""
    told = served.emulated.announcement
    text = Path(told["config"]).read_text().replace(str(told["privateKey"]), str(tmp_path / "nobodys.key"))
    file = tmp_path / "config.toml"
    file.write_text(f'{text}\n[serve.agent]\nsocket = "{served.agent}"\n')
    file.chmod(0o600)
    return file


def test_a_daemon_that_has_the_session_is_asked_where_the_key_cannot_be_read(
    run_helper: RunHelper, served: Served, without_the_key: Path
) -> None:
    flags = ("--config", without_the_key, "--session", "default", "--no-cache")
    words = (sys.executable, "-W", "ignore", "-c", BOTO3, served.emulated.endpoint)
    done = run_helper("exec", *flags, "--", *words)

    assert (done.exit_code, done.err) == (0, "")
    assert ":assumed-role/EmulatorRole/" in done.out


def test_what_the_daemon_says_is_told_where_it_gives_nothing(
    run_helper: RunHelper, served: Served, without_the_key: Path
) -> None:
    without_the_key.write_text(without_the_key.read_text().replace(str(served.agent), "/nonexistent/agent.sock"))
    done = run_helper("exec", "--config", without_the_key, "--session", "default", "--no-cache", "--", "true")

    assert done.exit_code == 1
    assert "no daemon that has the session answers at /nonexistent/agent.sock" in done.err


# Variables that nobody renews


def test_with_env_the_program_takes_our_place(start: Callable[..., subprocess.Popen[bytes]], user: User) -> None:
    script = (
        "echo $$ $AWS_REGION; env | grep -c ^AWS_CONTAINER; echo ${AWS_SESSION_TOKEN:+there} $AWS_CREDENTIAL_EXPIRATION"
    )
    process = start("sh", "-c", script, flags=("--env",))
    out, _ = process.communicate(timeout=20)

    first, containers, token = out.decode().splitlines()
    assert first.split() == [str(process.pid)]  # the region is in the user's own file
    assert containers == "0"
    assert token.startswith("there 20")
    assert not user.was_asked


@pytest.mark.usefixtures("user")
def test_with_env_the_region_of_a_profile_that_goes_stays(execute: Callable[..., Finished]) -> None:
    done = execute("sh", "-c", "echo $AWS_PROFILE$AWS_REGION", flags=("--env",), env={"AWS_PROFILE": "plain"})

    assert done.out == "ap-south-1\n"


@pytest.mark.promise(83)
def test_with_env_at_least_half_of_the_session_is_left(
    execute: Callable[..., Finished], emulator: Running, clean_environment: dict[str, str]
) -> None:
    show = ("sh", "-c", "echo $AWS_ACCESS_KEY_ID")
    first = execute(*show, flags=("--env",)).out
    age(Path(clean_environment["HOME"]) / ".cache/rolesanywhere-helper", seconds=1900)

    assert execute(*show, flags=("--env",)).out != first
    assert mints(emulator) >= 2
