"""``update`` as it is installed: a profile that the AWS CLI uses, written once or kept fresh."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.configloader import raw_config_parse

from tests.fakes.daemon import notify_socket, until
from tests.fakes.other_user import ALICE

if TYPE_CHECKING:
    from tests.conftest import RunHelper
    from tests.plugins.emulated import Emulated
    from tests.plugins.served import Served


@pytest.fixture
def credentials(clean_environment: dict[str, str]) -> Path:
    return Path(clean_environment["HOME"]) / ".aws" / "credentials"


def aws_cli(
    emulated: Emulated, environment: dict[str, str], *, profile: str = "default"
) -> subprocess.CompletedProcess[str]:
    aws = Path(sys.executable).parent / "aws"
    flags = ["--profile", profile, "--endpoint-url", emulated.endpoint, "--region", "us-east-1", "--output", "json"]
    variables = {**environment, "AWS_EC2_METADATA_DISABLED": "true"}
    words = [str(aws), "sts", "get-caller-identity", *flags]
    return subprocess.run(words, env=variables, capture_output=True, text=True, check=False)


def test_the_aws_cli_uses_what_was_written(
    run_helper: RunHelper, emulated: Emulated, clean_environment: dict[str, str], credentials: Path
) -> None:
    credentials.parent.mkdir(mode=0o700)
    credentials.write_text("# mine\n[other]\naws_access_key_id = X\naws_secret_access_key = Y\n")

    done = run_helper("update", "--once", "--profile", "deploy", *emulated.flags())

    assert (done.exit_code, done.out) == (0, ""), done.err
    assert f"profile deploy of {credentials}: wrote credentials " in done.err
    told = aws_cli(emulated, clean_environment, profile="deploy")
    assert told.returncode == 0, told.stderr
    assert ":assumed-role/EmulatorRole/" in json.loads(told.stdout)["Arn"]
    assert aws_cli(emulated, clean_environment, profile="other").returncode != 0, "the negative control"
    text = credentials.read_text()
    assert text.startswith("# mine\n[other]\naws_access_key_id = X\naws_secret_access_key = Y\n")
    secret = raw_config_parse(str(credentials))["deploy"]["aws_secret_access_key"]
    assert secret not in done.err
    assert credentials.stat().st_mode & 0o777 == 0o600


def test_a_second_run_takes_the_cached_set_and_another_place(
    run_helper: RunHelper, emulated: Emulated, tmp_path: Path
) -> None:
    run_helper("update", "--once", *emulated.flags())
    named = run_helper("update", "--once", "--file", "here", *emulated.flags())
    by_variable = run_helper(
        "update", "--once", *emulated.flags(), env={"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "there")}
    )

    assert (named.exit_code, by_variable.exit_code) == (0, 0)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()
    assert len(emulated.create_session_calls()) == 1


@pytest.mark.promise(36)
def test_without_room_for_a_cache_one_session_is_made(
    helper: Path, emulated: Emulated, clean_environment: dict[str, str], credentials: Path
) -> None:
    flags = " ".join(emulated.flags())
    limited = f"ulimit -f 0; exec {helper} update --once --file {credentials} {flags}"
    done = subprocess.run(["sh", "-c", limited], env=clean_environment, capture_output=True, text=True, check=False)

    assert done.stderr.count("cannot write to the cache directory") == 1
    assert len(emulated.create_session_calls()) == 1
    assert done.returncode == 1, "the file itself cannot be written either"
    assert not credentials.exists()


def test_what_cannot_be_had_leaves_the_file_alone(run_helper: RunHelper, emulated: Emulated, credentials: Path) -> None:
    role = str(emulated.announcement["roleArn"]) + "OfNobody"

    done = run_helper("update", "--once", *emulated.flags(role_arn=role))

    assert done.exit_code == 1
    assert "error: " in done.err
    assert not credentials.exists()


def test_a_file_that_nobody_can_read_is_refused_untouched(
    run_helper: RunHelper, emulated: Emulated, credentials: Path
) -> None:
    credentials.parent.mkdir(mode=0o700)
    credentials.write_text("[default]\n[default]\n")

    done = run_helper("update", "--once", *emulated.flags())

    assert done.exit_code == 1
    assert f"error: {credentials} is no file that the AWS CLI reads: line 2" in done.err
    assert credentials.read_text() == "[default]\n[default]\n"


@pytest.mark.usefixtures("as_root")
def test_root_makes_nothing_for_a_user_where_his_link_leads(run_helper: RunHelper, emulated: Emulated) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home, profiles = Path(folder) / "alice", Path(folder) / "profile.d"
        profiles.mkdir(mode=0o755)
        home.mkdir()
        (home / "credentials").symlink_to(profiles / "evil.sh")
        for path in (home, home / "credentials"):
            os.chown(path, ALICE.uid, ALICE.gid, follow_symlinks=False)

        led = run_helper("update", "--once", "--file", home / "credentials", *emulated.flags())
        assert (led.exit_code, list(profiles.iterdir())) == (1, []), led.err
        assert f"the directory {profiles} belongs to user 0" in led.err

        named = run_helper("update", "--once", "--file", profiles / "evil.sh", *emulated.flags())
        assert named.exit_code == 0, "the negative control: root's own words lead there"
        assert {path.stat().st_uid for path in profiles.iterdir()} == {0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_keeps_running_says_when_it_is_ready_and_ends_cleanly(  # noqa: PLR0913, PLR0917 - fixtures
    helper: Path,
    emulated: Emulated,
    clean_environment: dict[str, str],
    credentials: Path,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    with notify_socket(tmp_path / "notify") as line:
        environment = {**clean_environment, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen(
            [helper, "update", *emulated.flags()], env=environment, stderr=subprocess.PIPE
        ) as process:
            try:
                assert line.recv(100).startswith(b"READY=1")
                assert "aws_session_token" in credentials.read_text()
                assert process.poll() is None
                process.send_signal(number)
                assert process.wait(20) == (130 if number is signal.SIGINT else 0)
                assert line.recv(100).startswith(b"STOPPING=1")
            finally:
                process.kill()


@pytest.mark.promise(73)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_ends_in_time_while_the_service_does_not_answer(
    helper: Path, emulated: Emulated, clean_environment: dict[str, str], number: signal.Signals, code: int
) -> None:
    emulated.emulator.set_fault(delaySeconds=30)
    with subprocess.Popen([helper, "update", *emulated.flags()], env=clean_environment) as process:
        try:
            until(lambda: len(emulated.create_session_calls()) == 1)
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(20) == code
            assert time.monotonic() - began < 5
        finally:
            process.kill()


def test_an_outage_is_waited_out(
    helper: Path, emulated: Emulated, clean_environment: dict[str, str], credentials: Path, tmp_path: Path
) -> None:
    """It stays up, and a certificate that changes is tried at once."""
    certificate = tmp_path / "host.pem"
    certificate.write_text("no certificate yet")
    words = [str(helper), "update", *emulated.flags(certificate=str(certificate))]
    log = tmp_path / "log"
    with log.open("wb") as stderr, subprocess.Popen(words, env=clean_environment, stderr=stderr) as process:
        try:
            until(lambda: "tried again in" in log.read_text(), what=log.read_text())
            certificate.write_text(Path(emulated.certificate).read_text())
            until(credentials.exists, 40, "the new certificate was not tried")
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_it_asks_the_daemon_of_this_machine(
    run_helper: RunHelper, served: Served, credentials: Path, tmp_path: Path
) -> None:
    """A user who can read the configuration and not the key gets what the daemon holds."""
    config = tmp_path / "config.toml"
    text = (served.agent.parent.parent / "config.toml").read_text()
    config.write_text(text.replace(served.emulated.private_key, str(tmp_path / "not-for-us.key")))
    config.chmod(0o600)

    done = run_helper("update", "--once", "--session", "default", "--config", config)

    assert done.exit_code == 0, done.err
    assert "aws_session_token" in credentials.read_text()
    # Sessions that nobody can have are tried by the daemon now and then.
    assert [call for call in served.emulated.create_session_calls() if call["status"] == 201] == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--profile", "a]b"), "cannot be the name of a profile"),
        (("--once",), "missing: --certificate"),
    ],
)
def test_what_has_no_meaning_is_refused(
    run_helper: RunHelper, emulated: Emulated, words: tuple[str, ...], error: str
) -> None:
    flags = emulated.flags() if "--profile" in words else []
    done = run_helper("update", *words, *flags)

    assert done.exit_code == 2
    assert error in done.err


def test_without_a_home_the_file_must_be_named(run_helper: RunHelper, emulated: Emulated) -> None:
    done = run_helper("update", "--once", *emulated.flags(), env={"HOME": ""})

    assert done.exit_code == 2
    assert "name it with --file" in done.err
