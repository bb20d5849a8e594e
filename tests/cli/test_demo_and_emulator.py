"""The whole way on one machine, and the emulator as a program of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.aws.caller_identity import caller_arn
from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import RunHelper

KEYS = {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration", "AccountId"}


@contextmanager
def started(
    command: list[str], environment: dict[str, str]
) -> Iterator[tuple[dict[str, Any], subprocess.Popen[bytes]]]:
    """Start an emulator, and return what it said and its process."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline()), process
        finally:
            process.kill()


def credentials_in(document: bytes) -> Credentials:
    said = json.loads(document)
    role = f"arn:aws:iam::{said['AccountId']}:role/X"
    return Credentials(said["AccessKeyId"], said["SecretAccessKey"], said["SessionToken"], 0, 2_000_000_000, role)


def test_the_demo_tells_its_steps_and_prints_one_document(run_helper: RunHelper, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)

    done = run_helper("demo")

    assert done.exit_code == 0
    assert set(json.loads(done.stdout)) == KEYS
    assert re.findall(r"^(\d)\. ", done.err, re.MULTILINE) == list("123456")
    assert "http://127.0.0.1:" in done.err
    assert "AWS4-X509-RSA-SHA256" in done.err
    assert "arn:aws:sts::111122223333:assumed-role/" in done.err
    assert json.loads(done.stdout)["AccessKeyId"] in done.err
    assert json.loads(done.stdout)["SecretAccessKey"] not in done.err
    assert json.loads(done.stdout)["SessionToken"] not in done.err


def test_the_demo_leaves_nothing_behind_unless_asked(run_helper: RunHelper, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir(mode=0o700)

    assert run_helper("demo", env={"TMPDIR": str(temporary)}).exit_code == 0
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "home" / ".cache").exists()
    assert run_helper("demo", "--directory", "kept").exit_code == 0
    assert (tmp_path / "kept" / "client.pem").exists()


@pytest.mark.promise(84)
def test_the_demo_minds_nothing_of_the_users_aws_configuration(run_helper: RunHelper, tmp_path: Path) -> None:
    config = tmp_path / "aws-config"
    config.write_text("[default]\ncredential_process = /bin/false\n[profile other]\nregion = nowhere\n")

    done = run_helper(
        "demo",
        "--debug",
        env={
            "AWS_CONFIG_FILE": str(config),
            "AWS_PROFILE": "missing",
            "AWS_REGION": "eu-west-3",
            "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
            "AWS_ENDPOINT_URL_ROLESANYWHERE": "http://127.0.0.1:1",
            "ROLESANYWHERE_HELPER_ROLE_ARN": "nonsense",
            "HTTP_PROXY": "http://127.0.0.1:1",
            "http_proxy": "http://127.0.0.1:1",
        },
    )

    assert done.exit_code == 0, done.err
    assert "assumed-role" in done.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_emulator_serves_until_it_is_told_to_stop(
    helper: Path, run_helper: RunHelper, clean_environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    command = [str(helper), "emulator", "--directory", str(tmp_path / "emulator"), "--port", "0"]

    with started(command, clean_environment) as (said, process):
        done = run_helper("credential-process", "--config", said["config"])
        arn = caller_arn(credentials_in(done.stdout), region=said["region"], endpoint_url=said["endpoint"])
        process.send_signal(number)
        rest, errors = process.communicate(timeout=30)

    assert said["endpoint"].startswith("http://127.0.0.1:")
    assert "assumed-role" in arn
    code = 130 if number is signal.SIGINT else 0
    assert (process.returncode, rest, errors) == (code, b"", b"")


def test_the_emulator_speaks_tls(
    helper: Path, run_helper: RunHelper, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    command = [str(helper), "emulator", "--directory", str(tmp_path / "emulator"), "--tls"]

    with started(command, clean_environment) as (said, _):
        trusted = run_helper("credential-process", "--config", said["config"])
        untrusted = run_helper("credential-process", "--config", said["config"], "--ca-bundle", said["caCertificate"])

    assert said["endpoint"].startswith("https://")
    assert set(json.loads(trusted.stdout)) == KEYS
    assert (untrusted.exit_code, untrusted.stdout) == (1, b"")


def test_a_ca_of_ones_own_becomes_a_trust_anchor(
    helper: Path, clean_environment: dict[str, str], run_helper: RunHelper, tmp_path: Path
) -> None:
    assert run_helper("demo", "--directory", "other").exit_code == 0
    other = str(tmp_path / "other" / "ca.pem")
    command = [str(helper), "emulator", "--directory", str(tmp_path / "emulator"), "--ca", other, "--ca", other]

    with started(command, clean_environment) as (said, _):
        assert other in said["trustAnchors"]


@pytest.mark.promise(72)
@pytest.mark.parametrize("command", ["emulator"])
def test_a_command_with_secrets_leaves_no_core_file(
    helper: Path, clean_environment: dict[str, str], tmp_path: Path, command: str
) -> None:
    words = [str(helper), command, "--directory", str(tmp_path / "emulator")]

    with started(words, clean_environment) as (_, process):
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        ours = Path("/proc/self/limits").read_text()

    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
    assert re.search(r"^Max core file size", ours, re.MULTILINE)


def test_sts_refuses_what_the_emulator_did_not_issue(
    helper: Path, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    made_up = Credentials(
        "ASIAAAAAAAAAAAAAAAAA", "x" * 40, "token", 0, 2_000_000_000, "arn:aws:iam::111122223333:role/X"
    )
    command = [str(helper), "emulator", "--directory", str(tmp_path / "emulator")]

    with started(command, clean_environment) as (said, _), pytest.raises(RefusedError, match="STS does not accept"):
        caller_arn(made_up, region=said["region"], endpoint_url=said["endpoint"])
