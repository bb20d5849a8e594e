"""A set-up that works, what can be broken about it, and how a hint is followed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.cli import doctor
from rolesanywhere_helper.cli.parser import parse
from rolesanywhere_helper.emulator.server import Running, running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Issued, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.conftest import Finished
from tests.emulator.conftest import Account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import RunHelper

SEVERITIES = {"ok", "warning", "problem", "skipped"}


@dataclass(frozen=True)
class Report:
    """What ``doctor --json`` said."""

    done: Finished
    document: dict[str, Any]

    @property
    def findings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.document["findings"]
        return found

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """The problems and warnings, the problems first."""
        told = [each for each in self.findings if each["severity"] in {"problem", "warning"}]
        return sorted(told, key=lambda each: str(each["severity"]))

    def of(self, step: str) -> dict[str, Any]:
        return next(each for each in self.findings if each["step"] == step)


@dataclass
class Patient:
    """A host with a certificate, a configuration file and AWS files, in front of an emulator; all can be changed."""

    emulator: Running
    run: RunHelper
    folder: Path
    identity: dict[str, str] = field(default_factory=dict)
    session: dict[str, Any] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    """What ``env`` comes on top of."""
    after: str = ""
    """Lines that the configuration file ends with."""
    around: ExitStack = field(default_factory=ExitStack)
    """What runs beside it until the test ends."""

    def __post_init__(self) -> None:
        told = self.emulator.announcement
        self.home = self.folder / "home"
        self.identity |= {"certificate": str(self.folder / "host.pem"), "private-key": str(self.folder / "host.key")}
        self.session |= {
            "identity": "host",
            "trust-anchor-arn": told["trustAnchorArn"],
            "profile-arn": told["profileArn"],
            "role-arn": told["roleArn"],
            "endpoint": self.emulator.endpoint,
        }
        self.give(Path(told["certificate"]).read_bytes(), Path(told["privateKey"]).read_bytes())

    # What it has

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def certificate(self) -> Path:
        return self.folder / "host.pem"

    @property
    def key(self) -> Path:
        return self.folder / "host.key"

    @property
    def process(self) -> str:
        """What belongs into ``credential_process``."""
        helper = Path(sys.executable).parent / "rolesanywhere-helper"
        return f"{helper} credential-process --config {self.config} --session default"

    def give(self, certificate: bytes, key: bytes) -> None:
        self.certificate.write_bytes(certificate)
        self.key.write_bytes(key)
        self.key.chmod(0o600)

    def hold(self, leaf: Issued, *, with_chain: bool = True) -> None:
        self.give(leaf.full_chain_pem if with_chain else leaf.pem, leaf.key_pem())

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return path

    def aws_config(self, text: str) -> None:
        self.file("home/.aws/config", text)

    def write(self) -> None:
        """Write the configuration file as it is meant now."""
        tables = {"identity.host": self.identity, "session.default": self.session}
        lines = [
            line
            for title, values in tables.items()
            for line in (f"[{title}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()))
        ]
        self.file("config.toml", "\n".join([*lines, self.after, ""]))

    # What it is asked

    def examine(self, *flags: str) -> Report:
        done = self.run(*self._words(*flags), env=self.env)
        assert done.exit_code in {0, 1, 2, 3}, done.err
        return Report(done, json.loads(done.stdout))

    def examine_here(self, *flags: str) -> Report:
        """Examine without a process of its own, which takes longer than all steps together."""
        words, told = self._words(*flags), list[bytes]()
        with pytest.MonkeyPatch.context() as patch:
            for name in tuple(os.environ):
                patch.delenv(name)
            for name, value in (self.environment | self.env).items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            patch.setattr(doctor, "write_stdout", told.append)
            code = doctor.run(parse(words))
        return Report(Finished(tuple(words), code, b"".join(told), b""), json.loads(told[-1]))

    def _words(self, *flags: str) -> list[str]:
        self.write()
        config = [] if "--profile" in (*self.flags, *flags) else ["--config", str(self.config)]
        return ["doctor", "--json", *config, *self.flags, *flags]

    # What is done to it, and to the account

    @property
    def authority(self) -> CertificateAuthority:
        files = self.emulator.directory
        return CertificateAuthority.from_pem(files.file("ca.pem").read_bytes(), files.file("ca.key").read_bytes())

    def leaf(self, authority: CertificateAuthority | None = None, days: int = 90, **request: Any) -> Issued:
        request.setdefault("key", KeyKind.P_256)
        request.setdefault("validity", Validity.days(time.time(), days))
        return (authority or self.authority).issue(LeafRequest(**request))

    def client(self, service: str, *, other: bool = False) -> Any:
        key = self.emulator.administrators[int(other)]
        return Account(self.emulator.endpoint, key.access_key_id, key.secret_access_key).client(service)

    def profile_id(self) -> str:
        return str(self.session["profile-arn"]).rpartition("/")[2]

    @property
    def other_account(self) -> str:
        return str(self.emulator.administrators[1].account)

    def anchor_id(self) -> str:
        return str(self.session["trust-anchor-arn"]).rpartition("/")[2]

    def type_in(self, command: str) -> str:
        """Type a hint's command, as the account's administrator; a change of the environment stays."""
        words = command.split()
        if words[0] == "unset":
            for name in words[1:]:
                self.env.pop(name, None)
            return ""
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.env[name] = value
            return ""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.home),
            "AWS_CONFIG_FILE": self.emulator.announcement["awsConfig"],
            "AWS_PROFILE": "emulator-admin",
            "AWS_PAGER": "",
        }
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "SSL_CERT_", "REQUESTS_CA", "CURL_CA")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def _emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Settings(tmp_path_factory.mktemp("emulator") / "state")) as emulator:
        yield emulator


@pytest.fixture
def patient(
    _emulator: Running, run_helper: RunHelper, clean_environment: dict[str, str], tmp_path: Path
) -> Iterator[Patient]:
    """Return a set-up that works."""
    _emulator.reset()
    made = Patient(_emulator, run_helper, tmp_path, environment=clean_environment)
    with made.around:
        yield made


@pytest.fixture
def stranger() -> CertificateAuthority:
    """Return a CA that the account does not know."""
    return CertificateAuthority.root("Stranger", Validity.days(time.time(), 30), KeyKind.P_256)
