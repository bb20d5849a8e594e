"""From account A to account B: a chained session through every outlet, with the AWS CLI, and when B says no."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from tests.fakes.daemon import Daemon, fetch, owned, until
from tests.plugins.emulated import Emulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REGION = "us-east-1"
OTHER_ROLE = "Consultant"
OUTLETS = """
[identity.host]
certificate = "{folder}/host.pem"
private-key = "{folder}/host.key"
[session.customer]
source = "default"
assume-role-arn = "{role}"
[serve]
container-listen = ["127.0.0.1:0"]
[serve.imds.main]
session = "customer"
listen = ["127.0.0.1:0"]
[serve.container.app]
session = "customer"
token-file = "{folder}/run/app.token"
[serve.agent]
socket = "{folder}/run/agent.sock"
[update.old-agent]
session = "customer"
file = "{folder}/home/credentials"
profile = "customer"
"""


class Accounts:
    """Two accounts of one emulator, and who may change them."""

    def __init__(self, emulated: Emulated) -> None:
        self.emulated = emulated
        told = json.loads(Path(emulated.announcement["adminCredentials"]).read_text())
        self._admin = told["otherAccount"]
        self.customer = str(told["otherAccount"]["account"])
        self.role = f"arn:aws:iam::{self.customer}:role/{OTHER_ROLE}"
        self.caller = f"arn:aws:sts::{self.customer}:assumed-role/{OTHER_ROLE}/rolesanywhere-helper"

    def delete_customers_role(self) -> None:
        iam: Any = boto3.client(
            "iam",
            region_name=REGION,
            endpoint_url=self.emulated.endpoint,
            aws_access_key_id=self._admin["accessKeyId"],
            aws_secret_access_key=self._admin["secretAccessKey"],
        )
        iam.delete_role(RoleName=OTHER_ROLE)

    def calls(self, operation: str) -> list[dict[str, Any]]:
        return [seen for seen in self.emulated.emulator.requests() if seen["operation"] == operation]


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    with running(Settings(tmp_path / "emulator")) as emulator:
        yield Accounts(Emulated(emulator))


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, accounts: Accounts) -> Iterator[Daemon]:
    folder = tmp_path / "daemon"
    folder.mkdir()
    owner = Daemon(helper, folder, accounts.emulated)
    owner.configure(outlets=OUTLETS.replace("{role}", accounts.role))
    with owned(owner):
        yield owner


@pytest.fixture
def caller(
    peer: Callable[[str], Path], accounts: Accounts, clean_environment: dict[str, str]
) -> Callable[[Mapping[str, str]], str]:
    """Return a function that lets the AWS CLI say who it is, with nothing but these variables."""

    def call(variables: Mapping[str, str]) -> str:
        own = {"AWS_ENDPOINT_URL": accounts.emulated.endpoint, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
        done = subprocess.run(
            [peer("aws"), "sts", "get-caller-identity", "--query", "Arn", "--output", "text"],
            env={**clean_environment, **own, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout.strip() or done.stderr.strip()

    return call


WHO = (str(Path(sys.executable).parent / "aws"), "sts", "get-caller-identity", "--query", "Arn", "--output", "text")


def run_in(daemon: Daemon, accounts: Accounts, command: str | None, *words: str) -> str:
    """Run a command of ours for the chained session, or (None) a line of shell, and return what it printed."""
    ours = (
        []
        if command is None
        else [str(daemon.helper), command, "--config", str(daemon.config), "--session", "customer"]
    )
    line = ["sh", "-c", *words] if command is None else [*ours, *words]
    variables = {"AWS_ENDPOINT_URL": accounts.emulated.endpoint, "AWS_DEFAULT_REGION": REGION}
    done = subprocess.run(
        line, env={**daemon.environment, **variables}, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout.strip() or done.stderr


def test_every_outlet_hands_out_the_customers_role(
    daemon: Daemon, accounts: Accounts, caller: Callable[[Mapping[str, str]], str]
) -> None:
    daemon.start()
    place = daemon.urls["container"]["app"]
    config = daemon.folder / "aws-config"
    asking = f"{daemon.helper} credential-process --config {daemon.config} --session customer --no-cache"
    config.write_text(f"[default]\ncredential_process = {asking}\n")
    written = daemon.folder / "home" / "credentials"
    until(written.exists, what=daemon.log)

    assert caller({"AWS_EC2_METADATA_SERVICE_ENDPOINT": daemon.imds}) == accounts.caller
    assert (
        caller(
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": place["url"],
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": place["tokenFile"],
            }
        )
        == accounts.caller
    )
    assert caller({"AWS_CONFIG_FILE": str(config), "XDG_RUNTIME_DIR": str(daemon.folder / "run")}) == accounts.caller
    assert caller({"AWS_SHARED_CREDENTIALS_FILE": str(written), "AWS_PROFILE": "customer"}) == accounts.caller
    assert run_in(daemon, accounts, "exec", "--", *WHO) == accounts.caller
    assert run_in(daemon, accounts, "exec", "--env", "--", *WHO) == accounts.caller
    shell = f'eval "$({daemon.helper} env --config {daemon.config} --session customer)" && exec {" ".join(WHO)}'
    assert run_in(daemon, accounts, None, shell) == accounts.caller
    assert "Unable to locate credentials" in caller({"AWS_EC2_METADATA_DISABLED": "true"})
    # Each of the two was made once, whoever asked.
    assert len(accounts.calls("CreateSession")) == 1
    assert len(accounts.calls("AssumeRole")) == 1


def test_without_a_daemon_each_session_has_its_own_place_in_the_cache(
    daemon: Daemon, accounts: Accounts, helper: Path, caller: Callable[[Mapping[str, str]], str]
) -> None:
    def ask(*words: str) -> dict[str, Any]:
        command = [str(helper), "credential-process", "--config", str(daemon.config), *words]
        done = subprocess.run(command, env=daemon.environment, capture_output=True, text=True, check=True, timeout=30)
        assert done.stderr == ""
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    customer, again = ask("--session", "customer"), ask("--session", "customer")
    own = ask("--session", "default")
    typed = ask("--session", "default", "--assume-role-arn", accounts.role)

    assert customer == again
    assert typed["AccessKeyId"] == customer["AccessKeyId"], "the same way to the same role, however it is written"
    assert own["AccessKeyId"] != customer["AccessKeyId"]
    assert (len(accounts.calls("CreateSession")), len(accounts.calls("AssumeRole"))) == (1, 1)
    variables = {
        "AWS_ACCESS_KEY_ID": customer["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": customer["SecretAccessKey"],
        "AWS_SESSION_TOKEN": customer["SessionToken"],
    }
    assert caller(variables) == accounts.caller


@pytest.mark.promise(68)
def test_when_the_customers_role_is_gone_its_hop_is_named_and_the_rest_is_served_on(
    daemon: Daemon, accounts: Accounts
) -> None:
    accounts.delete_customers_role()
    daemon.start()

    until(lambda: daemon.error_code("customer") == "hop-refused", what=daemon.log)

    told = daemon.status("customer")["lastError"]
    assert accounts.role in told["message" if "message" in told else "what"]
    assert fetch(daemon.agent, "/v1/sessions/customer").status == 503
    got = daemon.from_agent("default")
    assert got.status == 200
    assert got.document["AccessKeyId"].startswith("ASIA")
    assert daemon.error_code("default") is None


def test_who_goes_on_from_a_session_that_fails_is_told_why_and_tried_when_it_no_longer_does(
    daemon: Daemon, accounts: Accounts
) -> None:
    accounts.emulated.emulator.set_fault(status=503)
    daemon.start(wait=False)
    daemon.await_listening()
    until(lambda: daemon.error_code("customer") is not None, what=daemon.log)

    assert "goes on from session default" in json.dumps(daemon.status("customer")["lastError"])
    assert accounts.calls("AssumeRole") == []

    accounts.emulated.emulator.clear_faults()
    daemon.send_attempt()
    until(lambda: daemon.error_code("customer") is None, what=daemon.log)
    assert daemon.from_agent("customer").status == 200


def test_a_source_that_nobody_is_given_is_kept_fresh_and_given_to_nobody(daemon: Daemon, accounts: Accounts) -> None:
    daemon.configure(outlets=OUTLETS.replace("{role}", accounts.role).replace("[serve.agent]\n", "[serve.metrics]\n"))
    text = daemon.config.read_text().replace(f'socket = "{daemon.folder}/run/agent.sock"', 'listen = "127.0.0.1:0"')
    daemon.config.write_text(text)
    daemon.start()

    assert 'session="default"' in daemon.metrics()
    assert daemon.container().document["AccessKeyId"].startswith("ASIA")
    assert len(accounts.calls("CreateSession")) == 1
    assert "agent" not in daemon.urls or daemon.urls["agent"] is None
