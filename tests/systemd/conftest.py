"""A machine that boots, with the emulator and the installed units on it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.systemd import machine as machines
from tests.systemd.machine import HELPER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.systemd.machine import Machine

UNIT = "rolesanywhere-helper.service"
PORT_OF_THE_EMULATOR = "8001"
CERTIFICATE, KEY = "/etc/ssl/host.pem", "/etc/ssl/private/host.key"
IMDS = '[serve.imds.main]\nsession = "deploy"\n'
AT_IMDS = "http://127.0.0.1:9911/latest"
ROLES = f"{AT_IMDS}/meta-data/iam/security-credentials"

# As Debian's package ssl-cert has it; alice is somebody else.
_PREPARE = f"""\
groupadd --system ssl-cert
useradd --create-home alice
install -d -m 710 -o root -g ssl-cert /etc/ssl/private
{HELPER} systemd --install
systemctl daemon-reload
"""
# What tests change.
_FORGET = """\
systemctl stop 'rolesanywhere-helper*'
systemctl disable --quiet --now 'rolesanywhere-helper-credentials.path' 2>/dev/null || true
systemctl reset-failed
cd /etc/systemd/system
find . -name test.conf -delete
rm -rf /etc/rolesanywhere-helper /var/cache/rolesanywhere-helper* /var/cache/private/rolesanywhere-helper* \
    /run/rolesanywhere-helper* /run/private/rolesanywhere-helper*
for drop_in in credentials dynamic-user tpm smart-card; do rm -f rolesanywhere-helper*.service.d/$drop_in.conf; done
systemctl daemon-reload
"""


class Host:
    """The machine, as one test meets it: units installed, nothing running, no cache, an emulator without faults."""

    def __init__(self, machine: Machine, image: Path, wheel: Path) -> None:
        self.machine = machine
        self.image = image
        self.wheel = wheel
        machine.sh(_PREPARE)
        line = machine.start(HELPER, "emulator", "--directory", "/srv/emulator", "--port", PORT_OF_THE_EMULATOR)
        self.announcement: dict[str, str] = json.loads(line)
        self.endpoint = self.announcement["endpoint"]
        self._begin = machine.cursor()

    def another(self) -> AbstractContextManager[Machine]:
        """Boot one more machine, with nothing but the program on it."""
        return machines.booted(self.image, self.wheel)

    def forget(self) -> None:
        """Undo what tests did."""
        self.machine.sh(_FORGET)
        self._begin = self.machine.cursor()
        made = self.announcement
        self.machine.run("install", "-m", "644", made["certificate"], CERTIFICATE)
        self.machine.run("install", "-m", "640", "-g", "ssl-cert", made["privateKey"], KEY)
        for what in ("faults", "requests"):
            self.machine.run("curl", "-fsS", "-X", "DELETE", f"{self.endpoint}/_emulator/{what}")

    def configure(
        self,
        serve: str = IMDS,
        *,
        session: str = "",
        certificate: str = CERTIFICATE,
        key: str = KEY,
        name: str = "config",
    ) -> None:
        """Write the configuration: one session, ``deploy``, and what is served of it."""
        made = self.announcement
        self.machine.write(
            f"/etc/rolesanywhere-helper/{name}.toml",
            f'[identity.host]\ncertificate = "{certificate}"\nprivate-key = "{key}"\n'
            '[session.deploy]\nidentity = "host"\n'
            f'trust-anchor-arn = "{made["trustAnchorArn"]}"\nprofile-arn = "{made["profileArn"]}"\n'
            f'role-arn = "{made["roleArn"]}"\nendpoint = "{self.endpoint}"\n{session}\n{serve}\n',
        )

    def drop_in(self, text: str, unit: str = UNIT) -> None:
        """Change a unit for this test."""
        self.machine.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.machine.run("systemctl", "daemon-reload")

    def install(self, drop_in: str) -> None:
        """Install one of the drop-ins that come with the units."""
        self.machine.run(HELPER, "systemd", "--install", "--with", drop_in)
        self.machine.run("systemctl", "daemon-reload")

    def start(self, unit: str = UNIT) -> None:
        """Start a unit and wait until it says that it is ready; show its journal where it fails."""
        if self.machine.run("systemctl", "start", unit, check=False).code:
            pytest.fail(self.log(unit))

    def log(self, unit: str = UNIT) -> str:
        """Return what a unit wrote to the journal in this test."""
        return self.machine.log(unit, self._begin)

    def token(self, at: str = AT_IMDS) -> str:
        """Get an IMDSv2 token."""
        put = ("curl", "-fsS", "-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 300", f"{at}/api/token")
        return self.machine.run(*put).out

    def access_key(self, token: str | None = None, *, at: str = AT_IMDS) -> str:
        """Get the credentials as curl does, and return their access key's id."""
        header = f"X-aws-ec2-metadata-token: {token or self.token(at)}"
        roles = f"{at}/meta-data/iam/security-credentials"
        role = self.machine.run("curl", "-fsS", "-H", header, f"{roles}/").out.strip()
        document = json.loads(self.machine.run("curl", "-fsS", "-H", header, f"{roles}/{role}").out)
        assert document["Code"] == "Success"
        return str(document["AccessKeyId"])

    def status_for(self, user: str) -> str:
        """Return the HTTP status that a user's curl gets for the credentials."""
        ask = f"{ROLES}/{self.announcement['roleArn'].rpartition('/')[2]}"
        header = f"X-aws-ec2-metadata-token: {self.token()}"
        curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", header, ask)
        return self.machine.run("runuser", "-u", user, "--", *curl).out

    def create_session_calls(self) -> int:
        """Return how many CreateSession requests the emulator has seen."""
        seen = json.loads(self.machine.run("curl", "-fsS", f"{self.endpoint}/_emulator/requests").out)
        return sum(request["operation"] == "CreateSession" for request in seen)


class _Hosts:
    """The one host of this worker, made when the first test asks."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._host: Host | None = None

    def host(self) -> Host:
        if self._host is None:
            wheel = machines.build_wheel(self._directory)
            image = machines.image()
            self._host = Host(self._stack.enter_context(machines.booted(image, wheel)), image, wheel)
        return self._host


@pytest.fixture(scope="session")
def _hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Hosts]:
    with ExitStack() as stack:
        yield _Hosts(stack, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def host(as_root: None, peer: Callable[[str], Path], _hosts: _Hosts) -> Host:
    """Return a booted machine; the first test of a worker waits a few seconds for it, the first ever two minutes."""
    del as_root
    for package in ("debootstrap", "systemd-container"):
        peer(package)
    host = _hosts.host()
    host.forget()
    return host
