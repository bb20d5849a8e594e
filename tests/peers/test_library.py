"""The library as a Python program uses it: boto3 clients that call the emulator's STS, many threads, loops."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import rolesanywhere_helper
from rolesanywhere_helper.errors import CertificateRevokedError, HelperError, HopRefusedError, UsageError

if TYPE_CHECKING:
    from typing import Unpack

    from rolesanywhere_helper import SessionArguments
    from tests.plugins.emulated import Emulated

IMPORTED = """
import sys
before = set(sys.modules)
import rolesanywhere_helper
print(sorted(set(sys.modules) - before))
"""
LOOP = """
import json, sys, rolesanywhere_helper
given = json.loads(sys.argv[1])
client = rolesanywhere_helper.boto3_session(**given).client("sts", endpoint_url=given["endpoint"])
print(client.get_caller_identity()["Arn"])
"""


@pytest.fixture(autouse=True)
def _new_user(monkeypatch: pytest.MonkeyPatch, clean_environment: dict[str, str]) -> None:
    """Be a new user in this process."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "XDG_", "ROLESANYWHERE_", "SSL_", "GITLAB"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", clean_environment["HOME"])
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def arguments(emulated: Emulated, **changed: Unpack[SessionArguments]) -> SessionArguments:
    told = emulated.announcement
    given: SessionArguments = {
        "certificate": emulated.certificate,
        "private_key": emulated.private_key,
        "trust_anchor_arn": str(told["trustAnchorArn"]),
        "profile_arn": str(told["profileArn"]),
        "role_arn": str(told["roleArn"]),
        "endpoint": emulated.endpoint,
    }
    return {**given, **changed}


def sts(emulated: Emulated, given: SessionArguments) -> Any:
    session: Any = rolesanywhere_helper.boto3_session(**given)
    return session.client("sts", endpoint_url=emulated.endpoint)


def operations(emulated: Emulated) -> list[str]:
    return [seen["operation"] for seen in emulated.emulator.requests()]


def test_a_client_has_the_role_and_the_second_session_takes_it_from_the_cache(emulated: Emulated) -> None:
    client = sts(emulated, arguments(emulated))
    assert operations(emulated) == []  # nothing before it is needed

    assert ":assumed-role/EmulatorRole/" in client.get_caller_identity()["Arn"]
    sts(emulated, arguments(emulated)).get_caller_identity()
    client.get_caller_identity()

    assert operations(emulated) == ["CreateSession", *["GetCallerIdentity"] * 3]


def test_eight_threads_and_one_renewal_when_the_end_is_near(emulated: Emulated) -> None:
    emulated.emulator.set_fault(expiresInSeconds=240, times=1)
    client = sts(emulated, arguments(emulated, no_cache=True))
    first = client.get_caller_identity()["Arn"]
    age(client, 200)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: client.get_caller_identity()["Arn"], range(8)))

    assert found == [first] * 8
    assert operations(emulated).count("CreateSession") == 2


def age(client: Any, seconds: int) -> None:
    """Make the set of a client so much older, as if the clock had moved on."""
    source = client._request_signer._credentials._refresh_using.__closure__[0].cell_contents
    source._due_at -= seconds


def test_the_negative_control_what_is_not_due_is_not_renewed(emulated: Emulated) -> None:
    client = sts(emulated, arguments(emulated, no_cache=True))
    client.get_caller_identity()
    age(client, 200)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: client.get_caller_identity(), range(8)))

    assert operations(emulated).count("CreateSession") == 1


def test_credentials_are_a_value_with_an_end_and_without_secrets_in_its_text(emulated: Emulated) -> None:
    found = rolesanywhere_helper.credentials(**arguments(emulated))

    assert found.lifetime == 3600
    assert found.secret_access_key not in repr(found)
    assert found.session_token not in repr(found)
    assert rolesanywhere_helper.credentials(**arguments(emulated)) == found


def test_a_session_of_the_configuration_file(emulated: Emulated) -> None:
    found = rolesanywhere_helper.credentials(config=str(emulated.announcement["config"]), session="default")

    assert found.role_arn == emulated.announcement["roleArn"]


def test_from_role_to_role(emulated: Emulated) -> None:
    told = json.loads(Path(str(emulated.announcement["adminCredentials"])).read_text())
    other = f"arn:aws:iam::{told['otherAccount']['account']}:role/Consultant"
    client = sts(emulated, arguments(emulated, assume_role_arn=other))

    assert ":assumed-role/Consultant/" in client.get_caller_identity()["Arn"]
    assert operations(emulated) == ["CreateSession", "AssumeRole", "GetCallerIdentity"]
    with pytest.raises(HopRefusedError):
        sts(emulated, arguments(emulated, assume_role_arn=f"{other}OfNobody")).get_caller_identity()


def test_errors_are_ours(emulated: Emulated) -> None:
    client = sts(emulated, arguments(emulated))
    emulated.emulator.set_fault(status=403, message="Certificate revoked")

    with pytest.raises(CertificateRevokedError) as caught:
        client.get_caller_identity()
    assert isinstance(caught.value, HelperError)
    with pytest.raises(UsageError, match="missing: --certificate"):
        rolesanywhere_helper.boto3_session(role_arn="arn:aws:iam::111122223333:role/Role")
    with pytest.raises(TypeError):
        rolesanywhere_helper.boto3_session(sesion="deploy")  # type: ignore[call-arg] # mistyped


def test_what_is_valid_is_used_when_a_renewal_fails(emulated: Emulated) -> None:
    client = sts(emulated, arguments(emulated, no_cache=True))
    first = client.get_caller_identity()["Arn"]
    emulated.emulator.set_fault(status=403, message="Certificate revoked")
    age(client, 3000)

    assert client.get_caller_identity()["Arn"] == first
    assert client.get_caller_identity()["Arn"] == first
    assert operations(emulated).count("CreateSession") == 2  # not for each call


@pytest.mark.promise(84)
@pytest.mark.parametrize("chain", [False, True])
def test_a_default_profile_that_asks_us_is_no_loop(
    emulated: Emulated, clean_environment: dict[str, str], helper: Path, *, chain: bool
) -> None:
    told = json.loads(Path(str(emulated.announcement["adminCredentials"])).read_text())
    other = f"arn:aws:iam::{told['otherAccount']['account']}:role/Consultant"
    mark, folder = Path(clean_environment["HOME"]) / "asked", Path(clean_environment["HOME"]) / ".aws"
    folder.mkdir()
    again = shlex.join([str(helper), "credential-process", *emulated.flags()])
    (folder / "config").write_text(f"[default]\ncredential_process = sh -c 'touch {mark}; {again}'\n")
    given = arguments(emulated, assume_role_arn=other if chain else None)
    words = [sys.executable, "-W", "ignore", "-c", LOOP, json.dumps(given)]
    done = subprocess.run(words, env=clean_environment, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    assert f":assumed-role/{'Consultant' if chain else 'EmulatorRole'}/" in done.stdout
    assert not mark.exists()


def test_importing_the_package_imports_nothing_else(clean_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], env=clean_environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "['rolesanywhere_helper']\n"


def test_the_library_is_imported_when_it_is_used(clean_environment: dict[str, str]) -> None:
    script = (
        "import sys, threading, signal, os\nfrom rolesanywhere_helper import boto3_session, credentials\n"
        "assert not {'boto3', 'cryptography', 'requests', 'asyncio'} & set(sys.modules)\n"
        "assert threading.active_count() == 1 and not os.listdir(os.environ['HOME'])\n"
        "import rolesanywhere_helper, logging\nassert not logging.getLogger('rolesanywhere_helper').handlers\n"
        "try: rolesanywhere_helper.boto4_session\nexcept AttributeError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean_environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "boto4_session" in done.stdout
