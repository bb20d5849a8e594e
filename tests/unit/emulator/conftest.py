from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator.server import Running, running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Issued, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.unit.emulator.signing import Reply, Request, Signing, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "SSL_CERT_", "REQUESTS_CA", "CURL_CA")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@dataclass
class FakeClock:
    moment: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def made_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a first start leaves it: RSA keys take a while, so it is made once and copied."""
    path = tmp_path_factory.mktemp("emulator") / "made"
    with running(Settings(path, tls=True)):
        pass
    return path


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    """The CA of these tests, which no emulator trusts unless told."""
    return CertificateAuthority.root("tests CA", Validity.days(time.time(), 30))


@dataclass
class Bench:
    """An emulator that trusts tests CA, and a client of it."""

    emulator: Running
    authority: CertificateAuthority
    clock: FakeClock

    @property
    def endpoint(self) -> str:
        return self.emulator.endpoint

    @property
    def anchor_arn(self) -> str:
        """The trust anchor of tests CA."""
        return str(list(self.emulator.announcement["trustAnchors"].values())[1])

    @property
    def arns(self) -> dict[str, str]:
        known = self.emulator.announcement
        return {"trustAnchorArn": self.anchor_arn, "profileArn": known["profileArn"], "roleArn": known["roleArn"]}

    def leaf(self, **request: Any) -> Issued:
        request.setdefault("key", KeyKind.P_256)
        request.setdefault("validity", Validity.days(self.clock(), 1))
        return self.authority.issue(LeafRequest(**request))

    def signed(self, leaf: Issued | None = None, body: Mapping[str, Any] | None = None, **how: Any) -> Request:
        issued = leaf or self.leaf()
        return Signing.of(issued, self.clock(), **how).request(self.endpoint, {**self.arns, **(body or {})})

    def send(self, request: Request) -> Reply:
        return send(self.endpoint, request)

    def create(self, leaf: Issued | None = None, body: Mapping[str, Any] | None = None, **how: Any) -> Reply:
        return self.send(self.signed(leaf, body, **how))

    def last(self) -> dict[str, Any]:
        return self.emulator.requests()[-1]

    def change_profile(self, **knobs: Any) -> None:
        self.emulator.change_state(
            lambda state: replace(state, profiles=(replace(state.profiles[0], **knobs), *state.profiles[1:]))
        )

    def change_role(self, index: int = 0, **knobs: Any) -> None:
        self.emulator.change_state(
            lambda state: replace(
                state,
                roles=tuple(
                    replace(role, **knobs) if place == index else role for place, role in enumerate(state.roles)
                ),
            )
        )


@pytest.fixture
def open_bench(
    tmp_path: Path, made_directory: Path, authority: CertificateAuthority, clock: FakeClock
) -> Iterator[Callable[..., Bench]]:
    ca_file = tmp_path / "tests-ca.pem"
    ca_file.write_bytes(authority.pem)
    with ExitStack() as stack:
        # One emulator a directory: the one before ends when the next one starts.
        def open_one(sleep: Any = None, **settings: Any) -> Bench:
            directory = tmp_path / "emulator"
            if not directory.exists():
                shutil.copytree(made_directory, directory)
            wanted = Settings(directory, extra_cas=(str(ca_file),), **settings)
            stack.close()
            more = {} if sleep is None else {"sleep": sleep}
            return Bench(stack.enter_context(running(wanted, clock, **more)), authority, clock)

        yield open_one


@pytest.fixture
def bench(open_bench: Callable[..., Bench]) -> Bench:
    return open_bench()
