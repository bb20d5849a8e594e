"""An emulator with nothing done to it, and AWS's own clients of it: as administrators of its two accounts."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from rolesanywhere_helper.emulator.server import Running, running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Issued, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.unit.emulator.signing import Reply, Signing, call, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "SSL_CERT_", "REQUESTS_CA", "CURL_CA")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@dataclass(frozen=True)
class Account:
    """Who calls: an access key, and its session token if it was issued."""

    endpoint: str
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def client(self, service: str, region: str = "us-east-1") -> Any:
        session: Any = boto3.Session(self.access_key_id, self.secret_access_key, self.session_token, region_name=region)
        config = Config(retries={"total_max_attempts": 1}, proxies={}, connect_timeout=5, read_timeout=5)
        return session.client(service, endpoint_url=self.endpoint, config=config)


class Accounts:
    """The emulator's two accounts, and a holder of certificates."""

    def __init__(self, emulator: Running) -> None:
        self.emulator = emulator
        self.endpoint = emulator.endpoint
        self.authority = _authority(emulator, "ca")

    def administrator(self, *, other: bool = False) -> Account:
        told = json.loads(Path(self.emulator.announcement["adminCredentials"]).read_text())
        key = told["otherAccount"] if other else told
        return Account(self.endpoint, key["accessKeyId"], key["secretAccessKey"])

    @property
    def roles_anywhere(self) -> Any:
        return self.administrator().client("rolesanywhere")

    @property
    def iam(self) -> Any:
        return self.administrator().client("iam")

    @property
    def arns(self) -> dict[str, str]:
        return {name: self.emulator.announcement[name] for name in ("trustAnchorArn", "profileArn", "roleArn")}

    def leaf(self, authority: CertificateAuthority | None = None, **request: Any) -> Issued:
        request.setdefault("key", KeyKind.P_256)
        return (authority or self.authority).issue(LeafRequest(Validity.days(time.time(), 1), **request))

    def create_session(self, leaf: Issued | None = None, now: float | None = None, **body: Any) -> Reply:
        signing = Signing.of(leaf or self.leaf(), time.time() if now is None else now)
        return send(self.endpoint, signing.request(self.endpoint, {**self.arns, **body}))

    def session(self, leaf: Issued | None = None, **body: Any) -> Account:
        """Get a session, and return who calls with it."""
        reply = self.create_session(leaf, **body)
        assert reply.status == 201, reply.body
        issued = reply.json["credentialSet"][0]["credentials"]
        return Account(self.endpoint, issued["accessKeyId"], issued["secretAccessKey"], issued["sessionToken"])

    def control(self, method: str, path: str, document: Any = None) -> Reply:
        return call(self.endpoint, method, f"/_emulator/{path}", document)

    def last(self) -> dict[str, Any]:
        return self.emulator.requests()[-1]

    def trust(self, policy: Mapping[str, Any] | str) -> None:
        """Give the first role another trust policy."""
        text = policy if isinstance(policy, str) else json.dumps(policy)
        self.iam.update_assume_role_policy(RoleName="EmulatorRole", PolicyDocument=text)

    def change_profile(self, **knobs: Any) -> None:
        self.emulator.change_state(
            lambda state: replace(state, profiles=(replace(state.profiles[0], **knobs), *state.profiles[1:]))
        )


def _authority(emulator: Running, name: str) -> CertificateAuthority:
    files = emulator.directory
    return CertificateAuthority.from_pem(files.file(f"{name}.pem").read_bytes(), files.file(f"{name}.key").read_bytes())


@pytest.fixture(scope="session")
def _emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Settings(tmp_path_factory.mktemp("emulator") / "state")) as emulator:
        yield emulator


@pytest.fixture
def accounts(_emulator: Running) -> Accounts:
    """Return an emulator as a first start leaves it."""
    _emulator.reset()
    return Accounts(_emulator)


@pytest.fixture(scope="session")
def stranger() -> CertificateAuthority:
    """Return a CA that the emulator does not know."""
    return CertificateAuthority.root("Stranger", Validity.days(time.time(), 30), KeyKind.P_256)


@pytest.fixture
def error_of() -> Callable[[Callable[[], Any]], tuple[int, str, str]]:
    def error(act: Callable[[], Any]) -> tuple[int, str, str]:
        with pytest.raises(ClientError) as caught:
            act()
        answer = caught.value.response
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]

    return error
