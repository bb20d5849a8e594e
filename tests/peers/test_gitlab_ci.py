"""Pipelines whose project has certificate and key, run by gitlab-ci-local, and no secret in what it prints.

Those that ask a daemon of the runner's host are in test_gitlab_guide.py.
"""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.pki.certificates import LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.emulator.crl import crl_of
from tests.fakes.gitlab import EXAMPLES, PASSPHRASE, REGION, ROOT, Project, authority_of, found, pem_lines, variable
from tests.fakes.soft_token import PIN, SoftTokens, module
from tests.plugins.emulated import Emulated

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_component_with_file_variables_that_anybody_may_write(project: Project, tmp_path: Path) -> None:
    done = project.run(project.example("component.yml"), {**project.arns(), **project.files()}, umask=0)

    project.assert_green(done, "deploy")
    # Of certificate and key nothing is left.
    assert list((tmp_path / "tmp").iterdir()) == []
    copy = tmp_path / "tmp" / "rolesanywhere-helper"
    assert f"ROLESANYWHERE_HELPER_PRIVATE_KEY={copy}." in done.environments["deploy"]


def test_the_negative_control_the_same_key_without_a_copy(project: Project) -> None:
    direct = (EXAMPLES / "file-variables.yml").read_text().replace('"$SAFE_KEY" --', '"$AWS_PRIVATE_KEY" --')
    done = project.run(direct, {**project.arns(), **project.files()}, umask=0)

    assert done.exit_code != 0
    assert "in GitLab CI copy it first" in done.written
    assert found(project.own_secrets(), done.written) == set()


def test_file_variables_without_the_component(project: Project) -> None:
    done = project.run(project.example("file-variables.yml"), {**project.arns(), **project.files()}, umask=0)

    project.assert_green(done, "deploy")
    number = next(
        line.partition("=")[2] for line in done.environments["deploy"].splitlines() if line.startswith("CI_JOB_ID=")
    )
    assert list(Path("/tmp").glob(f"aws-key.{number}.*")) == []  # noqa: S108 - the example's


@pytest.mark.parametrize("example", ["variables.yml", "component.yml"])
def test_variables_of_one_line(project: Project, example: str) -> None:
    done = project.run(project.example(example), {**project.arns(), **project.lines()})

    project.assert_green(done, "deploy")


def test_a_file_variable_of_one_line_is_in_no_environment(project: Project) -> None:
    given = {name: variable(line, "file") for name, line in project.lines().items()}
    done = project.run(project.example("component.yml"), {**project.arns(), **given})

    project.assert_green(done, "deploy")


def test_the_negative_control_a_program_that_is_given_the_key(project: Project) -> None:
    inherited = project.example("variables.yml").replace("./deploy.sh", 'env COPY="$AWS_PRIVATE_KEY" ./deploy.sh')
    done = project.run(inherited, {**project.arns(), **project.lines()})

    assert done.exit_code == 0, done.written
    assert found(project.own_secrets(), done.environments["deploy"]) == {project.lines()["AWS_PRIVATE_KEY"]}


def test_the_component_twice_with_an_encrypted_key(project: Project) -> None:
    key = load_pem_private_key(project.key.encode(), None)
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode()))
    variables = {**project.arns(), **project.files(), "AWS_PASSPHRASE": PASSPHRASE}
    encrypted = key.private_bytes(*form).decode()
    variables["AWS_PRIVATE_KEY"] = variable(encrypted, "file")
    done = project.run(project.example("two-roles.yml"), variables, "--force-shell-executor")

    project.assert_green(done, "staging", "production")
    assert (project.seen / "pip").read_text() == "install --quiet rolesanywhere-helper awscli\n"
    assert found(pem_lines(encrypted), done.written) == set()


@pytest.mark.parametrize("of_type", ["file", "variable"])
def test_one_variable_with_certificate_and_key(project: Project, of_type: str) -> None:
    bundle = "".join(base64.b64decode(line).decode() for line in project.lines().values())
    value = bundle if of_type == "file" else base64.b64encode(bundle.encode()).decode()
    pipeline = (
        project.example("component.yml").replace("AWS_CERTIFICATE", "BUNDLE").replace("AWS_PRIVATE_KEY", "BUNDLE")
    )
    done = project.run(pipeline, {**project.arns(), "BUNDLE": variable(value, of_type)})

    project.assert_green(done, "deploy")
    assert value not in done.environments["deploy"]
    assert value not in done.written


def test_a_variable_of_the_project_counts_where_the_input_is_empty(project: Project) -> None:
    own = {
        "ROLESANYWHERE_HELPER_PRIVATE_KEY": "env:AWS_PRIVATE_KEY",
        "ROLESANYWHERE_HELPER_CERTIFICATE": "/nonexistent/host.pem",
    }
    example = project.example("component.yml")
    without_key = example.replace("      private-key: AWS_PRIVATE_KEY\n", "")
    done = project.run(without_key, {**project.arns(), **project.lines(), **own})

    project.assert_green(done, "deploy")
    assert without_key != example
    assert "ROLESANYWHERE_HELPER_PRIVATE_KEY=env:" in done.environments["deploy"]
    assert "ROLESANYWHERE_HELPER_CERTIFICATE=/nonexistent" not in done.environments["deploy"]


def test_the_component_names_a_variable_that_is_missing(project: Project) -> None:
    done = project.run(project.example("component.yml"), project.arns())

    assert done.exit_code != 0
    assert "error: there is no variable AWS_CERTIFICATE in this job" in done.written
    assert done.environments == {}


def test_a_pkcs11_token_of_the_runners_host(
    make_project: Callable[[Emulated], Project], emulated: Emulated, peer: Callable[[str], Path], tmp_path: Path
) -> None:
    for package in ("softhsm2", "opensc"):
        peer(package)
    issued = authority_of(emulated).issue(
        LeafRequest(Validity.days(time.time(), 3), (("CN", "runner"),), KeyKind.P_256)
    )
    held = SoftTokens.make(tmp_path / "token")
    held.add("runner")
    held.put_key("runner", load_pem_private_key(issued.key_pem(), None), label="deploy")
    held.put_certificate("runner", x509.load_pem_x509_certificate(issued.pem), label="deploy")
    project = make_project(emulated)
    variables = {**project.arns(), **held.environment, "AWS_TOKEN_PIN": PIN}
    variables["ROLESANYWHERE_HELPER_PKCS11_LIB"] = module()
    done = project.run(project.example("pkcs11.yml"), variables)

    project.assert_green(done, "deploy")


def test_a_job_fails_when_the_certificate_is_revoked(
    make_project: Callable[[Emulated], Project], tmp_path: Path
) -> None:
    with running(Settings(tmp_path / "emulator")) as emulator:
        project = make_project(Emulated(emulator))
        variables = {**project.arns(), **project.files()}
        project.assert_green(project.run(project.example("component.yml"), variables), "deploy")

        revoke(project.emulated)
        done = project.run(project.example("component.yml"), variables)

    assert done.exit_code != 0
    assert "revoked" in done.written
    assert found(project.own_secrets(), done.written) == set()


def revoke(emulated: Emulated) -> None:
    leaf = x509.load_pem_x509_certificate(Path(emulated.certificate).read_bytes())
    admin = json.loads(Path(emulated.announcement["adminCredentials"]).read_text())
    client: Any = boto3.client(
        "rolesanywhere",
        region_name=REGION,
        endpoint_url=emulated.endpoint,
        aws_access_key_id=admin["accessKeyId"],
        aws_secret_access_key=admin["secretAccessKey"],
    )
    revoked = crl_of(authority_of(emulated), leaf.serial_number)
    anchor = emulated.announcement["trustAnchorArn"]
    client.import_crl(name="revoked", crlData=revoked, trustAnchorArn=anchor, enabled=True)


def test_the_negative_control_a_job_that_tells_is_found(project: Project) -> None:
    job = """
talkative:
  script:
    - cat "$AWS_PRIVATE_KEY"
    - echo "$AWS_PASSPHRASE"
    - rolesanywhere-helper exec --certificate "$AWS_CERTIFICATE" --private-key "$AWS_PRIVATE_KEY" -- ./tell.sh
"""
    tell = project.folder / "tell.sh"
    tell.write_text('#!/bin/sh\n./deploy.sh && cat "$SEEN/$CI_JOB_NAME.credentials" "$SEEN/$CI_JOB_NAME.environment"\n')
    tell.chmod(0o755)
    done = project.run(job, {**project.arns(), **project.files(), "AWS_PASSPHRASE": PASSPHRASE})

    assert done.exit_code == 0, done.written
    assert found(done.secrets(), done.written) == done.secrets()
    assert found(project.own_secrets(), done.written) == pem_lines(project.key) | {PASSPHRASE}


@pytest.mark.parametrize("example", sorted(file.name for file in EXAMPLES.glob("*.yml")))
def test_every_example_is_in_the_guide(example: str) -> None:
    guide = (ROOT / "docs/gitlab-ci.md").read_text()
    text = (EXAMPLES / example).read_text()
    in_a_list = "".join(f"   {line}" for line in text.splitlines(keepends=True))

    assert text in guide or in_a_list in guide or f"(examples/gitlab-ci/{example})" in guide


def test_every_example_is_run() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_gitlab_*.py"))
    assert {file.name for file in EXAMPLES.glob("*.yml")} == set(re.findall(r'"([a-z0-9-]+\.yml)"', tests))
