"""The emulator as a program: its flags, and what its directory holds for administrators."""

from __future__ import annotations

import configparser
import json
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from tests.cli.test_demo_and_emulator import started
from tests.unit.emulator.signing import call

if TYPE_CHECKING:
    from tests.conftest import RunHelper


def test_quota_and_memory_are_flags(helper: Path, clean_environment: dict[str, str], tmp_path: Path) -> None:
    flags = ["--quota-per-second", "10", "--in-memory", "--lenient"]
    command = [str(helper), "emulator", "--directory", str(tmp_path / "emulator"), *flags]
    with started(command, clean_environment) as (said, _):
        knobs = call(said["endpoint"], "GET", "/_emulator/knobs").json
    assert knobs == {"lenient": True, "quotaPerSecond": 10, "clockOffsetSeconds": 0}


@pytest.mark.parametrize("quota", ["0", "-1", "many", "nan", "inf"])
def test_a_quota_that_is_none_is_refused(run_helper: RunHelper, tmp_path: Path, quota: str) -> None:
    done = run_helper("emulator", "--directory", str(tmp_path / "emulator"), f"--quota-per-second={quota}")
    assert (done.exit_code, done.stdout) == (2, b"")
    assert "this is no quota" in done.err


def test_the_aws_configuration_file_makes_an_administrator(
    helper: Path, clean_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [str(helper), "emulator", "--directory", str(tmp_path / "emulator")]
    with started(command, clean_environment) as (said, _):
        monkeypatch.setenv("AWS_CONFIG_FILE", said["awsConfig"])
        profiles = configparser.ConfigParser()
        profiles.read(said["awsConfig"])
        assert profiles.sections() == ["profile emulator-admin", "profile emulator-other-admin"]
        own = boto3.Session(profile_name="emulator-admin")
        assert len(own.client("rolesanywhere").list_profiles()["profiles"]) == 1
        other = boto3.Session(profile_name="emulator-other-admin").client("sts").get_caller_identity()
        assert other["Account"] == json.loads(Path(said["adminCredentials"]).read_text())["otherAccount"]["account"]
    for name in ("awsConfig", "adminCredentials"):
        assert Path(said[name]).stat().st_mode & 0o777 == 0o600


def test_nothing_that_is_printed_or_listed_has_the_administrators_secret(
    helper: Path, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    command = [str(helper), "emulator", "--directory", str(tmp_path / "emulator")]
    with started(command, clean_environment) as (said, _):
        keys = json.loads(Path(said["adminCredentials"]).read_text())
        session = boto3.Session(keys["accessKeyId"], keys["secretAccessKey"], region_name="us-east-1")
        session.client("rolesanywhere", endpoint_url=said["endpoint"]).list_profiles()
        listed = call(said["endpoint"], "GET", "/_emulator/requests").body.decode()
    assert "ListProfiles" in listed
    for secret in (keys["secretAccessKey"], keys["otherAccount"]["secretAccessKey"]):
        assert secret not in listed + json.dumps(said)
