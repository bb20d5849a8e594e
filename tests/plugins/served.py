"""A running ``serve`` with every outlet, for the tests; one for each worker, in front of an emulator of its own.

Of an emulator of its own, because a daemon calls the service when it wants to, and other tests count the calls.
"""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from tests.plugins.emulated import Emulated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# ``nobody`` never gets credentials: the service refuses its role.
_OUTLETS = """
[session.nobody]
identity = "client"
trust-anchor-arn = "{trustAnchorArn}"
profile-arn = "{profileArn}"
role-arn = "{roleArn}OfNobody"
endpoint = "{endpoint}"

[serve]
container-listen = ["127.0.0.1:0"]
[serve.imds.main]
session = "default"
listen = ["127.0.0.1:0"]
[serve.imds.nobody]
session = "nobody"
listen = ["127.0.0.1:0"]
[serve.container.app]
session = "default"
[serve.container.nobody]
session = "nobody"
[serve.agent]
socket = "{folder}/run/agent.sock"
[serve.metrics]
listen = "127.0.0.1:0"
"""
_TURN_SECONDS = 0.01
_TURNS_UNTIL_READY = 2000
_END_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Served:
    """A daemon that serves, in front of an emulator. ``document`` is what its ready file says."""

    emulated: Emulated
    process: subprocess.Popen[bytes]
    document: dict[str, Any] = field(repr=False)

    def imds(self, endpoint: str = "main") -> str:
        """Return an endpoint's URL, without a slash at its end: ``main``, or ``nobody`` that has no credentials."""
        return str(self.document["imdsEndpoints"][endpoint][0])

    def container_url(self, name: str = "app") -> str:
        """Return the URL of ``app``, or of ``nobody`` that has no credentials."""
        return str(self.document["container"][name]["url"])

    def token_file(self, name: str = "app") -> Path:
        return Path(self.document["container"][name]["tokenFile"])

    @property
    def agent(self) -> Path:
        return Path(self.document["agent"])

    @property
    def metrics(self) -> str:
        return str(self.document["metrics"])

    def answers(self, outlet: str, status: int) -> int:
        """Return how often an outlet (``imds``, ``container``) has answered with this status, as the metrics tell."""
        with urllib.request.urlopen(f"{self.metrics}/metrics", timeout=10) as page:  # noqa: S310 - always http
            lines = page.read().decode().splitlines()
        name = f'rolesanywhere_helper_requests_total{{outlet="{outlet}",status="{status}"}} '
        return sum(int(float(line.removeprefix(name))) for line in lines if line.startswith(name))


@contextmanager
def serving(
    emulated: Emulated,
    helper: Path,
    folder: Path,
    outlets: str = _OUTLETS,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Served]:
    """Run ``serve`` in a folder, with more environment variables than its own, until the context ends.

    ``outlets`` follows the emulator's configuration file, and may quote its announcement and ``folder``. At least one
    session must get credentials.
    """
    config, ready, log = (folder / name for name in ("config.toml", "ready.json", "serve.log"))
    told = emulated.announcement
    config.write_text(Path(told["config"]).read_text() + outlets.format_map({**told, "folder": folder}))
    config.chmod(0o600)
    own = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    command = [str(helper), "serve", "--config", str(config), "--ready-file", str(ready)]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env={**own, **variables}, cwd=folder, stderr=stderr)
    try:
        _wait(process, ready, log)
        yield Served(emulated, process, json.loads(ready.read_text()))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], ready: Path, log: Path) -> None:
    for _ in range(_TURNS_UNTIL_READY):
        if ready.exists():
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TURN_SECONDS)
            break
    pytest.fail(f"serve did not become ready: {log.read_text()}")


@pytest.fixture(scope="session")
def _served(
    helper: Path, coverage_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with (
        running(Settings(folder / "emulator")) as emulator,
        serving(Emulated(emulator), helper, folder, variables=coverage_environment) as served,
    ):
        yield served


@pytest.fixture
def served(_served: Served) -> Iterator[Served]:
    """Return a daemon that serves; its emulator's list of requests is empty, and it has no faults."""
    _served.emulated.emulator.forget_requests()
    yield _served
    _served.emulated.emulator.clear_faults()
