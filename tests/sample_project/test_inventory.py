"""The program's tests. All that they know of Roles Anywhere is the fixture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, CredentialRetrievalError, NoCredentialsError
from inventory import whose_inventory


def test_whose_inventory(roles_anywhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    roles_anywhere.use(monkeypatch)
    assert whose_inventory() == roles_anywhere.account


def test_without_the_emulator_nobody_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(NoCredentialsError):
        whose_inventory()


def test_as_a_program_of_its_own(roles_anywhere: Any) -> None:
    command = [sys.executable, str(Path(__file__).with_name("inventory.py"))]
    said = subprocess.run(command, env=roles_anywhere.environment(), capture_output=True, text=True, check=True)
    assert said.stdout == roles_anywhere.account
    assert [seen["operation"] for seen in roles_anywhere.requests()] == ["CreateSession", "GetCallerIdentity"]


def test_keys_of_the_environment_do_not_get_in_the_way(roles_anywhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of somebody else")
    assert "AWS_ACCESS_KEY_ID" not in roles_anywhere.environment()
    sts = roles_anywhere.session().client("sts")
    assert sts.get_caller_identity()["Arn"].startswith("arn:aws:sts::")
    roles_anywhere.use(monkeypatch)
    assert whose_inventory() == roles_anywhere.account


def test_nothing_of_the_environment_leads_elsewhere(roles_anywhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "http://127.0.0.1:1"
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_ROLESANYWHERE"):
        monkeypatch.setenv(name, nobody)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, nobody)
    monkeypatch.setenv("ROLESANYWHERE_HELPER_ENDPOINT", nobody)
    monkeypatch.setenv("ROLESANYWHERE_HELPER_WITH_PROXY", "true")
    monkeypatch.setenv("ROLESANYWHERE_HELPER_ASSUME_ROLE_ARN", "arn:aws:iam::999999999999:role/another")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    session = roles_anywhere.session()
    assert session.client("sts").get_caller_identity()["Account"] == roles_anywhere.account
    assert session.region_name == roles_anywhere.region
    administrator = roles_anywhere.administrator()
    assert administrator.client("iam").list_roles()["Roles"]
    assert list(administrator.resource("iam").roles.all())
    assert administrator.client("rolesanywhere").list_profiles()["profiles"]
    # What is not emulated goes where it went before, and what a client is given counts.
    assert session.client("sqs").meta.endpoint_url == nobody
    assert session.client("sts", endpoint_url=f"{nobody}/given").meta.endpoint_url == f"{nobody}/given"


@pytest.fixture
def developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the home of somebody who works with AWS every day, and whose shell says so."""
    folder = tmp_path / ".aws"
    folder.mkdir()
    everywhere = "use_fips_endpoint = true\nuse_dualstack_endpoint = true\nendpoint_url = http://127.0.0.1:1\n"
    sections = ("default", "profile work", "profile administrator")
    (folder / "config").write_text("".join(f"[{each}]\nregion = eu-west-3\n{everywhere}" for each in sections))
    keys = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = of somebody else\n"
    (folder / "credentials").write_text("".join(f"[{each}]\n{keys}" for each in ("default", "work", "administrator")))
    said = {
        "HOME": str(tmp_path),
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_PROFILE": "work",
        "AWS_DEFAULT_PROFILE": "gone",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_STS_REGIONAL_ENDPOINTS": "legacy",
        "AWS_MAX_ATTEMPTS": "none",
        "AWS_RETRY_MODE": "none",
        "AWS_CA_BUNDLE": str(tmp_path / "none.pem"),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "none"),
        "AWS_ROLE_ARN": "arn:aws:iam::999999999999:role/another",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/",
        "ROLESANYWHERE_HELPER_USE_FIPS_ENDPOINT": "true",
        "ROLESANYWHERE_HELPER_AGENT_SOCKET": str(tmp_path / "none.sock"),
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_what_a_developer_has_set_up_stays_outside(
    roles_anywhere: Any, developer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((BotoCoreError, ValueError)):
        whose_inventory()
    session, administrator = roles_anywhere.session(), roles_anywhere.administrator()
    assert session.client("sts").get_caller_identity()["Account"] == roles_anywhere.account
    assert administrator.client("iam").list_roles()["Roles"]
    assert administrator.client("rolesanywhere").list_profiles()["profiles"]
    monkeypatch.chdir(developer)
    (developer / "json.py").write_text("raise SystemExit('a module of the project')\n")
    command = [sys.executable, str(Path(__file__).with_name("inventory.py"))]
    said = subprocess.run(command, env=roles_anywhere.environment(), capture_output=True, text=True, check=True)
    assert said.stdout == roles_anywhere.account
    roles_anywhere.use(monkeypatch)
    assert whose_inventory() == roles_anywhere.account
    assert sorted(each.name for each in (developer / ".aws").iterdir()) == ["config", "credentials"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"NO_PROXY": "intranet.example"}, "intranet.example,127.0.0.1,localhost"),
        ({"no_proxy": "intranet.example", "NO_PROXY": "other"}, "intranet.example,127.0.0.1,localhost"),
        ({"NO_PROXY": "*"}, "*"),
        ({}, "127.0.0.1,localhost"),
    ],
    ids=str,
)
def test_who_is_asked_without_a_proxy_stays_so(roles_anywhere: Any, before: dict[str, str], after: str) -> None:
    made = roles_anywhere.environment(base={"PATH": "/bin", **before})
    assert (made["NO_PROXY"], made["no_proxy"]) == (after, after)


def test_a_revoked_certificate_is_refused_and_another_one_is_not(
    roles_anywhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = roles_anywhere.issue("build-1"), roles_anywhere.issue("build-2", ou="Build")
    roles_anywhere.revoke(first)
    roles_anywhere.use(monkeypatch, first)
    with pytest.raises(CredentialRetrievalError, match="Certificate revoked"):
        whose_inventory()
    roles_anywhere.use(monkeypatch, second)
    assert whose_inventory() == roles_anywhere.account


def test_an_expired_certificate_is_refused(roles_anywhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    roles_anywhere.use(monkeypatch, roles_anywhere.issue("old", days=-1))
    with pytest.raises(CredentialRetrievalError, match="expired"):
        whose_inventory()


def test_the_service_is_down_and_comes_back(roles_anywhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    roles_anywhere.use(monkeypatch)
    roles_anywhere.set_fault(status=403, message="Access denied by a test")
    with pytest.raises(CredentialRetrievalError, match="Access denied by a test"):
        whose_inventory()
    roles_anywhere.clear_faults()
    assert whose_inventory() == roles_anywhere.account


def test_clocks_that_differ_are_noticed(roles_anywhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    roles_anywhere.use(monkeypatch)
    roles_anywhere.set_clock_offset(1_800)
    with pytest.raises(CredentialRetrievalError, match="clock"):
        whose_inventory()


def test_the_administrator_decides_who_may_have_the_role(roles_anywhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "rolesanywhere.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": {"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "build-7"}},
            }
        ],
    }
    iam = roles_anywhere.administrator().client("iam")
    name = roles_anywhere.role_arn.rpartition("/")[2]
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(policy))
    roles_anywhere.use(monkeypatch, roles_anywhere.issue("build-8"))
    with pytest.raises(CredentialRetrievalError, match="Unable to assume role"):
        whose_inventory()
    roles_anywhere.use(monkeypatch, roles_anywhere.issue("build-7"))
    assert whose_inventory() == roles_anywhere.account


def test_every_test_finds_it_as_new(roles_anywhere: Any) -> None:
    assert roles_anywhere.requests() == []
    role = roles_anywhere.administrator().client("iam").get_role(RoleName=roles_anywhere.role_arn.rpartition("/")[2])
    assert "Condition" not in role["Role"]["AssumeRolePolicyDocument"]["Statement"][0]


def test_reset_takes_everything_back(roles_anywhere: Any) -> None:
    roles_anywhere.revoke(roles_anywhere.client)
    roles_anywhere.set_clock_offset(1_800)
    roles_anywhere.set_quota(1)
    roles_anywhere.reset()
    credentials = roles_anywhere.session().get_credentials()
    assert credentials.get_frozen_credentials().access_key.startswith("ASIA")
