"""The pipelines of the GitLab guide, run by gitlab-ci-local on its shell executor, and no secret in what it prints."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
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
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.emulator.crl import crl_of
from tests.fakes import npm_folder
from tests.fakes.daemon import Daemon, owned
from tests.fakes.soft_token import PIN, SoftTokens, module
from tests.plugins.emulated import Emulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples/gitlab-ci"
REGION = "us-east-1"
PASSPHRASE = "canary-passphrase-90417"
# What a PEM line of a key is at least; its last one may be shorter, and be found by chance.
TELLING = 24
# It asks for the credentials that it works with, so that the log can be searched for them, and tells nobody else.
DEPLOY = """#!/bin/sh
umask 077
env > "$SEEN/$CI_JOB_NAME.environment"
if [ -n "$AWS_CONTAINER_CREDENTIALS_FULL_URI" ]; then
    curl --silent --fail --header "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN" \\
        "$AWS_CONTAINER_CREDENTIALS_FULL_URI" > "$SEEN/$CI_JOB_NAME.credentials" || exit 1
fi
aws sts get-caller-identity --query Arn --output text
"""
# Neither PyPI nor containers are what is tested. This docker runs the deploy with what the file says, word for word.
STAND_INS = {
    "pip": '#!/bin/sh\necho "$*" > "$SEEN/pip"\n',
    "docker": '#!/bin/sh\n[ "$1 $2 $3" = "run --rm --env-file" ] && exec env $(cat "$4") ./deploy.sh\n',
}
DAEMON_OUTLETS = """
[identity.host]
certificate = "{folder}/host.pem"
private-key = "{folder}/host.key"
[serve]
container-listen = ["127.0.0.1:0"]
[serve.container.shop]
session = "shop"
token-file = "{folder}/run/shop.token"
[serve.agent]
socket = "{folder}/run/agent.sock"
"""


SECRET_VARIABLES = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def pem_lines(pem: str) -> set[str]:
    """Return the lines of a PEM file that tell what is in it."""
    return {line for line in pem.splitlines() if len(line) >= TELLING and not line.startswith("-")}


def _variable(value: str, of_type: str = "variable") -> dict[str, object]:
    return {"type": of_type, "values": {"*": value}}


def found(secrets: Iterable[str], text: str) -> set[str]:
    return {secret for secret in secrets if secret in text}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline that has ended. ``written`` is all that was printed and logged; ``seen`` is what the jobs had."""

    exit_code: int
    written: str = field(repr=False)
    seen: Path

    @property
    def environments(self) -> dict[str, str]:
        """The environment of each job's ``deploy.sh``, by the job's name."""
        return {file.stem: file.read_text() for file in self.seen.glob("*.environment")}

    def secrets(self) -> set[str]:
        """Return what the jobs were given to work with: keys, session tokens, tokens of container endpoints."""
        given: set[str] = set()
        for file in self.seen.glob("*.credentials"):
            document = json.loads(file.read_text())
            given |= {str(document[name]) for name in ("SecretAccessKey", "Token")}
        for text in self.environments.values():
            pairs = dict(line.partition("=")[::2] for line in text.splitlines())
            given |= {pairs[name] for name in SECRET_VARIABLES if name in pairs}
        return given


@dataclass(frozen=True, slots=True)
class Project:
    """A project with the component's ``templates/`` and a ``deploy.sh``, and the runner that has its variables."""

    folder: Path
    seen: Path
    command: tuple[str, ...]
    environment: Mapping[str, str]
    emulated: Emulated

    @property
    def key(self) -> str:
        return Path(self.emulated.private_key).read_text()

    def arns(self) -> dict[str, str]:
        """Return the variables in the place of the example's ARNs: a project's variables go before a job's."""
        names = {"TRUST_ANCHOR_ARN": "trustAnchorArn", "PROFILE_ARN": "profileArn", "ROLE_ARN": "roleArn"}
        return {f"ROLESANYWHERE_HELPER_{name}": str(self.emulated.announcement[key]) for name, key in names.items()}

    def files(self) -> dict[str, object]:
        """Return certificate and key as variables of type File."""
        return {name: _variable(pem, "file") for name, pem in self._pems().items()}

    def lines(self) -> dict[str, str]:
        """Return certificate and key as variables of one line, in base64."""
        return {name: base64.b64encode(pem.encode()).decode() for name, pem in self._pems().items()}

    def _pems(self) -> dict[str, str]:
        return {"AWS_CERTIFICATE": Path(self.emulated.certificate).read_text(), "AWS_PRIVATE_KEY": self.key}

    def example(self, name: str) -> str:
        """Return an example as it is, but for the component's version: of a local one that is the commit."""
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=self.folder, capture_output=True, text=True, check=True)
        return (EXAMPLES / name).read_text().replace("credentials@1.0.0", f"credentials@{head.stdout.strip()}")

    def run(
        self, pipeline: str, variables: Mapping[str, object], *flags: str, umask: int = 0o022, more: str = ""
    ) -> Pipeline:
        """Run a pipeline; ``more`` is another job of it."""
        (self.folder / ".gitlab-ci.yml").write_text(pipeline + more)
        own = {"SEEN": str(self.seen)}
        for name in ("AWS_ENDPOINT_URL", "ROLESANYWHERE_HELPER_ENDPOINT"):
            own[name] = self.emulated.endpoint
        # It takes the path of a file for a variable of type File, unless it is told the type. JSON is YAML.
        told = {
            name: _variable(value) if isinstance(value, str) else value for name, value in {**own, **variables}.items()
        }
        (self.folder / ".gitlab-ci-local-variables.yml").write_text(json.dumps(told))
        done = subprocess.run(
            [*self.command, "--no-color", *flags],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            umask=umask,
        )
        logs = [file.read_text() for file in sorted((self.folder / ".gitlab-ci-local/output").rglob("*.log"))]
        return Pipeline(done.returncode, "\n".join((done.stdout, done.stderr, *logs)), self.seen)

    def assert_green(self, done: Pipeline, *jobs: str) -> None:
        """All went well, each job was the role, and nothing secret is in what was written."""
        assert done.exit_code == 0, done.written
        account = str(self.emulated.announcement["roleArn"]).split(":")[4]
        for job in jobs:
            assert re.search(
                rf"^{job} +> arn:aws:sts::{account}:assumed-role/EmulatorRole/", done.written, re.MULTILINE
            )
            assert "BEGIN PRIVATE KEY" not in done.environments[job]
            assert found(self.own_secrets(), done.environments[job]) == set()
        assert len(done.secrets()) >= 2
        assert found(done.secrets() | self.own_secrets(), done.written) == set()

    def own_secrets(self) -> set[str]:
        """Return what the project's variables hold, as it could appear somewhere."""
        return {*pem_lines(self.key), self.lines()["AWS_PRIVATE_KEY"], PASSPHRASE, PIN}


@pytest.fixture(scope="session")
def gitlab_ci_local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with gitlab-ci-local."""
    return npm_folder.installed(Path(__file__).parent / "gitlab", tmp_path_factory.getbasetemp().parent, "gitlab")


@pytest.fixture
def make_project(
    gitlab_ci_local: Path, peer: Callable[[str], Path], clean_environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[Emulated], Project]]:
    """Return a function that makes a project whose jobs reach an emulator; what is left in /tmp is removed."""
    for program in ("git", "rsync", "curl", "bash", "aws"):
        peer(program)
    folder, seen, programs = (tmp_path / name for name in ("project", "seen", "programs"))
    environment = {
        **clean_environment,
        "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "TMPDIR": str(tmp_path / "tmp"),
    }
    for directory in (folder, seen, programs, tmp_path / "tmp"):
        directory.mkdir()
    for name, script in STAND_INS.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    (folder / "deploy.sh").write_text(DEPLOY)
    (folder / "deploy.sh").chmod(0o755)
    (folder / "templates").mkdir()
    (folder / "templates/credentials.yml").write_text((ROOT / "templates/credentials.yml").read_text())
    for words in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        ("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=all"),
        ("remote", "add", "origin", "git@gitlab.com:platform/rolesanywhere-helper.git"),
        ("update-ref", "refs/remotes/origin/main", "HEAD"),
        ("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"),
    ):
        subprocess.run(["git", *words], cwd=folder, env=environment, check=True)
    command = (str(npm_folder.program("node")), str(gitlab_ci_local / "node_modules/gitlab-ci-local/dist/index.js"))
    made: list[Project] = []

    def make(emulated: Emulated) -> Project:
        made.append(Project(folder, seen, command, environment, emulated))
        return made[-1]

    yield make
    for each in made:
        forget_file_variables({Path(each.emulated.certificate).read_text(), each.lines()["AWS_CERTIFICATE"]})


def forget_file_variables(certificates: set[str]) -> None:
    """Remove the files that gitlab-ci-local leaves behind: those with one of these, not another test's."""
    for folder in Path("/tmp").glob("gitlab-ci-local-file-variables-*"):  # noqa: S108 - where it always puts them
        with suppress(FileNotFoundError):
            if (folder / "AWS_CERTIFICATE").read_text() in certificates:
                shutil.rmtree(folder)


@pytest.fixture
def project(make_project: Callable[[Emulated], Project], emulated: Emulated) -> Project:
    return make_project(emulated)


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated) -> Iterator[Daemon]:
    """Return a daemon of the runner's host that has credentials, and whose key is gone."""
    folder = tmp_path / "daemon"
    folder.mkdir()
    owner = Daemon(helper, folder, emulated)
    owner.configure(name="shop", outlets=DAEMON_OUTLETS)
    with owned(owner.start()):
        owner.key.unlink()
        yield owner


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
    given = {name: _variable(line, "file") for name, line in project.lines().items()}
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
    variables["AWS_PRIVATE_KEY"] = _variable(encrypted, "file")
    done = project.run(project.example("two-roles.yml"), variables, "--force-shell-executor")

    project.assert_green(done, "staging", "production")
    assert (project.seen / "pip").read_text() == "install --quiet rolesanywhere-helper awscli\n"
    assert found(pem_lines(encrypted), done.written) == set()


def test_the_component_names_a_variable_that_is_missing(project: Project) -> None:
    done = project.run(project.example("component.yml"), project.arns())

    assert done.exit_code != 0
    assert "error: there is no variable AWS_CERTIFICATE in this job" in done.written
    assert done.environments == {}


@pytest.mark.parametrize(
    ("example", "jobs"),
    [("agent.yml", ["deploy"]), ("component-agent.yml", ["deploy"]), ("variables-only.yml", ["old-tool", "old-image"])],
)
def test_the_agent_socket_of_the_runners_host(
    project: Project, daemon: Daemon, tmp_path: Path, example: str, jobs: list[str]
) -> None:
    variables = {"ROLESANYWHERE_HELPER_CONFIG": str(daemon.config), "AWS_DEFAULT_REGION": REGION}
    done = project.run(project.example(example), variables)

    project.assert_green(done, *jobs)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_agent_socket_is_all_that_the_job_has(project: Project, daemon: Daemon) -> None:
    daemon.stop()
    done = project.run(project.example("agent.yml"), {"ROLESANYWHERE_HELPER_CONFIG": str(daemon.config)})

    assert done.exit_code != 0
    assert done.environments == {}


def test_a_token_of_the_project(project: Project, daemon: Daemon) -> None:
    place = daemon.urls["container"]["shop"]
    token = Path(place["tokenFile"]).read_text()
    variables = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": place["url"],
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": REGION,
    }
    done = project.run(project.example("token.yml"), variables)

    project.assert_green(done, "deploy")
    assert token in done.secrets()
    refused = project.run(
        project.example("token.yml"), {**variables, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "of-another"}
    )
    assert refused.exit_code != 0


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


def authority_of(emulated: Emulated) -> CertificateAuthority:
    ca = Path(emulated.certificate).parent
    return CertificateAuthority.from_pem((ca / "ca.pem").read_bytes(), (ca / "ca.key").read_bytes())


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
    assert {file.name for file in EXAMPLES.glob("*.yml")} == set(
        re.findall(r'"([a-z0-9-]+\.yml)"', Path(__file__).read_text())
    )
