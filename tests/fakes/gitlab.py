"""A GitLab project whose pipelines gitlab-ci-local runs on its shell executor, and what they were given and wrote."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.pki.certificates import CertificateAuthority
from tests.fakes.soft_token import PIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.plugins.emulated import Emulated

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
SECRET_VARIABLES = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def pem_lines(pem: str) -> set[str]:
    """Return the lines of a PEM file that tell what is in it."""
    return {line for line in pem.splitlines() if len(line) >= TELLING and not line.startswith("-")}


def variable(value: str, of_type: str = "variable") -> dict[str, object]:
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
        return {name: variable(pem, "file") for name, pem in self._pems().items()}

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
            name: variable(value) if isinstance(value, str) else value for name, value in {**own, **variables}.items()
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


def forget_file_variables(certificates: set[str]) -> None:
    """Remove the files that gitlab-ci-local leaves behind: those with one of these, not another test's."""
    for folder in Path("/tmp").glob("gitlab-ci-local-file-variables-*"):  # noqa: S108 - where it always puts them
        with suppress(FileNotFoundError):
            if (folder / "AWS_CERTIFICATE").read_text() in certificates:
                shutil.rmtree(folder)


def authority_of(emulated: Emulated) -> CertificateAuthority:
    ca = Path(emulated.certificate).parent
    return CertificateAuthority.from_pem((ca / "ca.pem").read_bytes(), (ca / "ca.key").read_bytes())
