"""``env`` as a shell meets it: variables that work, nothing else, and at least half of the session left in them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_credential_process_cached import age

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.emulator.server import Running
    from tests.conftest import RunHelper

CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CREDENTIAL_EXPIRATION"}
WHO_AM_I = "--endpoint-url {} --region us-east-1 --output text --query Arn sts get-caller-identity"


def variables(run_helper: RunHelper, *flags: str) -> dict[str, str]:
    done = run_helper("env", "--format", "json", *flags)
    assert (done.exit_code, done.err) == (0, "")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_warnings_and_details_are_told(run_helper: RunHelper, session_flags: list[str], tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(Path(session_flags[session_flags.index("--private-key") + 1]).read_bytes())
    key.chmod(0o644)
    flags = [*session_flags, "--private-key", str(key)]

    warned = run_helper("env", *flags)
    assert "can be read by every user of this machine" in warned.err
    assert warned.err.count("\n") == 1
    assert "DEBUG" in run_helper("env", "--debug", *flags).err


def mints(emulator: Running) -> int:
    return sum(seen["operation"] == "CreateSession" for seen in emulator.requests())


@pytest.fixture
def sources(helper: Path, emulator: Running, session_flags: list[str]) -> dict[str, str]:
    """Return the words of a test's line: the command, its flags, and a call of the AWS CLI."""
    aws = f"{Path(sys.executable).parent / 'aws'} {WHO_AM_I.format(emulator.endpoint)}"
    return {"helper": str(helper), "flags": shlex.join(session_flags), "aws": aws}


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("dash", 'eval "$({helper} env {flags})" && {aws}'),
        ("bash", 'eval "$({helper} env --format sh {flags})" && {aws}'),
        ("zsh", 'eval "$({helper} env {flags})" && {aws}'),
        ("dash", 'credentials=$({helper} env {flags}) || exit; eval "$credentials"; {aws}'),
        ("fish", "{helper} env --format fish {flags} | source; and {aws}"),
        ("bash", "set -a; . <({helper} env --format dotenv {flags}); {aws}"),
    ],
)
def test_a_shell_gets_credentials_that_the_aws_cli_uses(
    peer: Callable[[str], Path], clean_environment: dict[str, str], sources: dict[str, str], shell: str, line: str
) -> None:
    script = line.format_map(sources)
    done = subprocess.run(
        [peer(shell), "-c", script], env=clean_environment, capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert ":assumed-role/EmulatorRole/" in done.stdout


def test_the_negative_control_without_the_variables_the_aws_cli_has_nothing(
    clean_environment: dict[str, str], sources: dict[str, str]
) -> None:
    environment = clean_environment | {"AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(["/bin/sh", "-c", sources["aws"]], env=environment, capture_output=True, check=False)

    assert done.returncode != 0
    assert b"credentials" in done.stderr


def test_the_variables_are_there_with_their_expiry(run_helper: RunHelper, session_flags: list[str]) -> None:
    found = variables(run_helper, *session_flags)

    assert set(found) == CREDENTIALS
    left = datetime.fromisoformat(found["AWS_CREDENTIAL_EXPIRATION"]) - datetime.now(UTC)
    assert timedelta(minutes=58) < left <= timedelta(hours=1)


def test_a_typed_region_is_among_them_and_no_other(
    run_helper: RunHelper, emulator: Running, session_flags: list[str]
) -> None:
    region = emulator.announcement["region"]

    assert variables(run_helper, *session_flags, "--region", region) | {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    } == variables(run_helper, *session_flags, "--region", region)
    own = {"ROLESANYWHERE_HELPER_REGION": region}
    assert set(json.loads(run_helper("env", "--format=json", *session_flags, env=own).stdout)) == CREDENTIALS


@pytest.mark.parametrize("form", ["sh", "fish", "powershell", "dotenv", "json"])
def test_where_there_are_no_credentials_nothing_is_printed(
    run_helper: RunHelper, emulator: Running, session_flags: list[str], form: str
) -> None:
    emulator.set_fault(status=403, message="Certificate revoked")
    done = run_helper("env", "--format", form, "--no-cache", *session_flags)

    assert done.exit_code == 1
    assert done.stdout == b""
    assert done.err.startswith("error: ")


def test_an_unknown_format_is_refused(run_helper: RunHelper) -> None:
    done = run_helper("env", "--format", "csh")

    assert (done.exit_code, done.stdout) == (2, b"")
    assert "--format" in done.err


# At least half of the session


@pytest.fixture
def cache(clean_environment: dict[str, str]) -> Path:
    return Path(clean_environment["HOME"]) / ".cache/rolesanywhere-helper"


@pytest.mark.promise(83)
def test_a_set_with_less_than_half_left_is_renewed_first(
    run_helper: RunHelper, emulator: Running, session_flags: list[str], cache: Path
) -> None:
    first = variables(run_helper, *session_flags)
    age(cache, seconds=1000)  # not yet due, so that nothing renews it in the background
    assert variables(run_helper, *session_flags)["AWS_ACCESS_KEY_ID"] == first["AWS_ACCESS_KEY_ID"]

    age(cache, seconds=900)
    printed = json.loads(run_helper("credential-process", *session_flags).stdout)
    assert printed["AccessKeyId"] == first["AWS_ACCESS_KEY_ID"]  # good enough for who can ask again
    renewed = variables(run_helper, *session_flags)

    assert renewed["AWS_ACCESS_KEY_ID"] != first["AWS_ACCESS_KEY_ID"]
    left = datetime.fromisoformat(renewed["AWS_CREDENTIAL_EXPIRATION"]) - datetime.now(UTC)
    assert left > timedelta(minutes=58)
    assert mints(emulator) >= 2


@pytest.mark.promise(83)
def test_what_is_valid_is_used_when_the_renewal_fails_and_that_is_said(
    run_helper: RunHelper, emulator: Running, session_flags: list[str], cache: Path
) -> None:
    first = variables(run_helper, *session_flags)
    age(cache, seconds=2400)
    emulator.set_fault(status=403, message="Certificate revoked")

    done = run_helper("env", "--format", "json", *session_flags)
    assert (done.exit_code, json.loads(done.stdout)["AWS_ACCESS_KEY_ID"]) == (0, first["AWS_ACCESS_KEY_ID"])
    assert "WARNING" in done.err
    assert "the renewal failed, the old credentials are used: the service refused: Certificate revoked" in done.err
    assert mints(emulator) == 2
    age(cache, seconds=1200)
    assert run_helper("env", *session_flags).exit_code == 1
