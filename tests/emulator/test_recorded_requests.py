"""What the official helper once put on the wire, sent again to the account and in the hour that it was meant for."""

from __future__ import annotations

import calendar
import http.client
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from rolesanywhere_helper.emulator.server import Running, running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.emulator.state import Profile, State, TrustAnchor, new_role, put

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED = json.loads((Path(__file__).parents[1] / "vectors/official-helper-1.8.0.json").read_text(encoding="utf-8"))
REQUESTS = RECORDED["requests"]
ACCOUNT = "123456789012"
ARNS = f"arn:aws:rolesanywhere:us-east-1:{ACCOUNT}"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Settings(tmp_path_factory.mktemp("recorded") / "state", account=ACCOUNT)) as emulator:
        emulator.change_state(_as_recorded)
        yield emulator


def _as_recorded(state: State) -> State:
    anchor = TrustAnchor(f"{ARNS}:trust-anchor/11111111-1111-1111-1111-111111111111", "recorded", RECORDED["ca"])
    role = new_role(f"arn:aws:iam::{ACCOUNT}:role/path/TestRole")
    profile = Profile(
        f"{ARNS}:profile/22222222-2222-2222-2222-222222222222", "recorded", (role.arn,), accept_role_session_name=True
    )
    for resource in (anchor, role, replace(profile, duration_seconds=43_200)):
        state = put(state, resource)
    return state


def sent_at(recorded: Any) -> int:
    return calendar.timegm(time.strptime(dict(recorded["headers"])["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))


def send(emulator: Running, recorded: Any, *, late: float = 0) -> tuple[int, Any]:
    """Send the request byte for byte as it was, so many seconds after the moment of its date."""
    emulator.set_clock_offset(sent_at(recorded) + late - time.time())
    connection = http.client.HTTPConnection(urlsplit(emulator.endpoint).netloc, timeout=10)
    connection.putrequest(recorded["method"], recorded["target"], skip_host=True, skip_accept_encoding=True)
    for name, value in recorded["headers"]:
        connection.putheader(name, value)
    connection.endheaders(recorded["body"].encode())
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


def changed(recorded: Any, name: str, value: str) -> Any:
    return recorded | {"headers": [[key, value if key == name else before] for key, before in recorded["headers"]]}


@pytest.mark.parametrize("recorded", REQUESTS, ids=lambda recorded: recorded["name"])
def test_a_recorded_request_is_accepted_within_its_date(emulator: Running, recorded: Any) -> None:
    for late in (0, 240):  # and no earlier: the leaf was made in the same minute
        status, document = send(emulator, recorded, late=late)
        assert status == 201, document
        assert document["credentialSet"][0]["roleArn"] == f"arn:aws:iam::{ACCOUNT}:role/path/TestRole"


@pytest.mark.parametrize("recorded", REQUESTS, ids=lambda recorded: recorded["name"])
def test_outside_of_it_or_with_a_byte_changed_it_is_not(emulator: Running, recorded: Any) -> None:
    said = dict(recorded["headers"])
    another = next(dict(each["headers"])["X-Amz-X509"] for each in REQUESTS if each is not recorded)
    refused = [
        send(emulator, recorded, late=-310),
        send(emulator, recorded, late=310),
        send(emulator, recorded | {"body": recorded["body"].replace(":", " ", 1)}),
        send(emulator, changed(recorded, "X-Amz-X509", another)),
        send(emulator, changed(recorded, "Authorization", said["Authorization"][:-1] + "0")),
        send(emulator, changed(recorded, "Authorization", said["Authorization"][:-1] + "1")),
    ]

    # One of the two last ones is the right signature, if it ended so.
    assert [status for status, _ in refused[:4]] == [403] * 4, refused
    assert 403 in [status for status, _ in refused[4:]]
