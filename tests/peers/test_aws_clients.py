"""Real clients, with nothing but a `credential_process` line, against the emulator."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from tests.plugins.emulated import Emulated, issue, openssl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDENTITY = """
import json, boto3, sys
client = boto3.Session(profile_name="anywhere").client("sts", endpoint_url=sys.argv[1], region_name="us-east-1")
told = client.get_caller_identity()
print(json.dumps({key: told[key] for key in ("Account", "Arn")}))
"""
RUBY = """
require "aws-sdk-core"
told = Aws::STS::Client.new(profile: "anywhere", endpoint: ARGV[0], region: "us-east-1").get_caller_identity
puts JSON.generate({Account: told.account, Arn: told.arn})
"""
INDEPENDENT_CLIENT = """
import json, sys
from iam_rolesanywhere_session import IAMRolesAnywhereSession
certificate, key, anchor, profile, role, endpoint, ca = sys.argv[1:]
session = IAMRolesAnywhereSession(
    certificate=certificate, private_key=key, trust_anchor_arn=anchor, profile_arn=profile, role_arn=role,
    endpoint=endpoint.removeprefix("https://"), region="us-east-1", verify=ca,
).get_session()
client = session.client("sts", endpoint_url=endpoint, region_name="us-east-1")
told = client.get_caller_identity()
print(json.dumps({key: told[key] for key in ("Account", "Arn")}))
"""


@dataclass(frozen=True)
class Machine:
    """A user's machine whose AWS config file has one profile, with one line."""

    environment: dict[str, str]
    home: Path
    peer: Callable[[str], Path]

    def configure(self, *command: str | Path) -> None:
        folder = self.home / ".aws"
        folder.mkdir(exist_ok=True)
        line = shlex.join(map(str, command))
        (folder / "config").write_text(f"[profile anywhere]\nregion = us-east-1\ncredential_process = {line}\n")

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def machine(clean_environment: dict[str, str], peer: Callable[[str], Path]) -> Machine:
    environment = {**clean_environment, "AWS_EC2_METADATA_DISABLED": "true"}
    return Machine(environment, Path(clean_environment["HOME"]), peer)


def aws_cli(machine: Machine, emulated: Emulated) -> subprocess.CompletedProcess[str]:
    aws = Path(sys.executable).parent / "aws"
    flags = ["--profile", "anywhere", "--endpoint-url", emulated.endpoint, "--output", "json"]
    return machine.run(aws, "sts", "get-caller-identity", *flags)


def boto3(machine: Machine, emulated: Emulated) -> subprocess.CompletedProcess[str]:
    return machine.run(sys.executable, "-W", "ignore", "-c", IDENTITY, emulated.endpoint)


def ruby(machine: Machine, emulated: Emulated) -> subprocess.CompletedProcess[str]:
    return machine.run(machine.peer("ruby-aws-sdk-core"), "-e", RUBY, emulated.endpoint)


@pytest.mark.parametrize("call", [aws_cli, boto3, ruby])
def test_a_client_knows_who_it_is(
    machine: Machine, emulated: Emulated, helper: Path, call: Callable[..., object]
) -> None:
    machine.configure(helper, "credential-process", *emulated.flags())
    done = call(machine, emulated)
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode == 0, done.stderr
    role = str(emulated.announcement["roleArn"]).split("/")[-1]
    assert f":assumed-role/{role}/" in json.loads(done.stdout)["Arn"]
    assert [seen["operation"] for seen in emulated.emulator.requests()] == ["CreateSession", "GetCallerIdentity"]


@pytest.mark.parametrize("call", [aws_cli, boto3, ruby])
def test_the_negative_control_a_certificate_of_another_ca(
    machine: Machine, emulated: Emulated, helper: Path, tmp_path: Path, call: Callable[..., object]
) -> None:
    stranger, key = _self_made(tmp_path)
    machine.configure(helper, "credential-process", *emulated.flags(certificate=str(stranger), private_key=str(key)))
    done = call(machine, emulated)
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode != 0
    assert "Untrusted signing certificate" in done.stderr
    assert [seen["operation"] for seen in emulated.emulator.requests()] == ["CreateSession"]


@pytest.fixture
def emulated_tls(tmp_path: Path) -> Iterator[Emulated]:
    """Return an emulator that speaks https: the independent client speaks nothing else."""
    with running(Settings(tmp_path / "tls-emulator", tls=True)) as emulator:
        yield Emulated(emulator)


def independent_client(machine: Machine, emulated: Emulated, key: str) -> subprocess.CompletedProcess[str]:
    told = emulated.announcement
    words = [*(str(told[name]) for name in ("trustAnchorArn", "profileArn", "roleArn")), emulated.endpoint]
    words.append(str(told["tlsCaCertificate"]))
    return machine.run(sys.executable, "-W", "ignore", "-c", INDEPENDENT_CLIENT, emulated.certificate, key, *words)


def test_an_independent_client_gets_credentials_from_the_emulator(machine: Machine, emulated_tls: Emulated) -> None:
    done = independent_client(machine, emulated_tls, emulated_tls.private_key)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Account"] == str(emulated_tls.announcement["roleArn"]).split(":")[4]


def test_the_negative_control_an_independent_client_with_another_key(
    machine: Machine, emulated_tls: Emulated, tmp_path: Path
) -> None:
    _, key = _self_made(tmp_path)
    done = independent_client(machine, emulated_tls, str(key))
    assert done.returncode != 0
    assert {seen["status"] for seen in emulated_tls.create_session_calls()} == {403}


def _self_made(folder: Path) -> tuple[Path, Path]:
    """Return a leaf and key of a CA that nobody trusts."""
    ca, key = folder / "other-ca.pem", folder / "other-ca.key"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", ca, "-subj", "/CN=Other CA")
    return issue(folder, (str(ca), str(key)), config="keyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE")
