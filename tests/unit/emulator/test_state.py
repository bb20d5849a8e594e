"""How the accounts are written down and read, also those of an earlier release."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator import state_file
from rolesanywhere_helper.emulator.directory import prepare
from rolesanywhere_helper.emulator.issuing import Issuer
from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.emulator.state import (
    Crl,
    NotificationSetting,
    PrivateAuthority,
    SeenCertificate,
    SeenProperties,
    Subject,
    as_made,
    new_state,
    put,
    remove,
)
from tests.unit.emulator.signing import send
from tests.unit.emulator.test_directory import _own_request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.emulator.conftest import FakeClock

NOW = 1_795_000_000.0
BEGINNING = "arn:aws:rolesanywhere:us-east-1:111122223333"
ANCHOR_ID = "cabd4ff6-db9f-4c0c-9bf9-442002f43ac9"
ROLE = "arn:aws:iam::111122223333:role/EmulatorRole"
# As release 0.1.0 wrote it, but for the certificate.
FIRST_FORMAT: dict[str, Any] = {
    "format": 1,
    "partition": "aws",
    "region": "us-east-1",
    "account": "111122223333",
    "sealing_key": "a1de02fa4548af8e810fa6f44cdb1e4929aa5fb5081c45e66cdcddbc21ad9858",
    "trust_anchors": [
        {"identifier": ANCHOR_ID, "name": "emulator", "bundle_pem": "", "enabled": True, "source": None},
        {"identifier": ANCHOR_ID[::-1], "name": "mine", "bundle_pem": "", "enabled": True, "source": "/ca.pem"},
    ],
    "profiles": [
        {
            "identifier": "af813fd3-6282-43dc-b24c-b0374d996e35",
            "name": "emulator",
            "role_arns": [ROLE],
            "enabled": True,
            "duration_seconds": 1234,
            "accept_role_session_name": True,
            "require_instance_properties": False,
        }
    ],
    "roles": [
        {
            "arn": ROLE,
            "role_id": "AROASOY64NVOCAXUB2RHM",
            "max_session_seconds": 43200,
            "trusts_roles_anywhere": True,
            "trusted_anchors": [f"{BEGINNING}:trust-anchor/{ANCHOR_ID}"],
            "trusted_roles": [],
            "external_id": None,
        },
        {
            "arn": "arn:aws:iam::444422226666:role/EmulatorOtherAccountRole",
            "role_id": "AROAT3H2Q7OCJBWUJSX2I",
            "max_session_seconds": 43200,
            "trusts_roles_anywhere": False,
            "trusted_anchors": [],
            "trusted_roles": [ROLE],
            "external_id": "secret handshake",
        },
        {
            "arn": "arn:aws:iam::111122223333:role/Nobodys",
            "role_id": "AROAT3H2Q7OCJBWUJSX3I",
            "max_session_seconds": 3600,
            "trusts_roles_anywhere": False,
            "trusted_anchors": [],
            "trusted_roles": [],
            "external_id": None,
        },
    ],
}


def _full_state() -> Any:
    state = new_state("us-east-1", "111122223333", NOW, "PEM")
    anchor = replace(
        state.trust_anchors[0],
        notification_settings=(NotificationSetting("CA_CERTIFICATE_EXPIRY", True, 3),),
        tags=(("a", "b"),),
        crl_dp_revocation_enabled=True,
    )
    subject = Subject(
        f"{BEGINNING}:subject/{ANCHOR_ID}",
        "CN=host",
        NOW,
        NOW + 0.5,
        certificates=(SeenCertificate("5", "CN=CA", "PEM", NOW, failed=True),),
        instance_properties=(SeenProperties((("host", "a"),), NOW, failed=False),),
    )
    crl = Crl(f"{BEGINNING}:crl/{ANCHOR_ID}", "crl", anchor.arn, b"\x00\xff", tags=(("c", "d"),))
    role = replace(state.roles[0], inline_policies=(("p", "{}"),), attached_policies=("arn",), description="d")
    for resource in (anchor, subject, crl, role):
        state = put(state, resource)
    return replace(state, private_authorities=(PrivateAuthority("arn", "PEM"),))


def test_what_is_written_is_read_again() -> None:
    state = _full_state()
    assert state_file.from_json(state_file.to_json(state)) == state


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("region",), 5),
        (("profiles", 0, "enabled"), "yes"),
        (("profiles", 0, "tags"), [["a"]]),
        (("profiles", 0, "created_at"), "now"),
        (("crls", 0, "data"), "%"),
        (("roles", 0, "unknown"), 1),
        (("trust_anchors",), {}),
        (("origin",), None),
    ],
    ids=str,
)
def test_what_is_of_another_type_is_not_read(path: tuple[Any, ...], value: Any) -> None:
    document = json.loads(state_file.to_json(_full_state()))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ValueError, match="other fields"):
        state_file.from_json(json.dumps(document).encode())


def test_a_reset_keeps_ids_and_secrets_only() -> None:
    state = new_state("us-east-1", "111122223333", NOW, "PEM")
    changed = remove(remove(_with_key_of(state), state.roles[0]), state.profiles[0])
    assert as_made(changed, NOW) == state


def _with_key_of(state: Any) -> Any:
    return replace(_full_state(), sealing_key=state.sealing_key, origin=state.origin, roles=state.roles)


def test_the_first_format_is_read() -> None:
    state = state_file.from_json(json.dumps(FIRST_FORMAT).encode())
    assert state.trust_anchors[0].arn == f"{BEGINNING}:trust-anchor/{ANCHOR_ID}"
    assert (state.profiles[0].duration_seconds, state.profiles[0].accept_role_session_name) == (1234, True)
    first, other, nobodys = (json.loads(role.trust_policy)["Statement"] for role in state.roles)
    assert first[0]["Condition"] == {"ArnEquals": {"aws:SourceArn": [state.trust_anchors[0].arn]}}
    assert first[0]["Principal"] == {"Service": "rolesanywhere.amazonaws.com"}
    assert other[0]["Principal"] == {"AWS": [ROLE]}
    assert other[0]["Condition"] == {"StringEquals": {"sts:ExternalId": "secret handshake"}}
    assert nobodys[0]["Effect"] == "Deny"
    assert state.accounts == ("111122223333", "444422226666")


def test_a_directory_of_the_first_format_goes_on_working(tmp_path: Path, clock: FakeClock) -> None:
    directory = tmp_path / "emulator"
    directory.mkdir(mode=0o700)
    (directory / "state.json").write_text(json.dumps(FIRST_FORMAT))
    with running(Settings(directory), clock) as emulator:
        told = emulator.announcement
        assert told["trustAnchorArn"] == f"{BEGINNING}:trust-anchor/{ANCHOR_ID}"
        assert send(emulator.endpoint, _own_request(told, clock())).status == 201
        assert [anchor.name for anchor in emulator.state.trust_anchors] == ["emulator"], "what --ca added is not kept"
    assert json.loads((directory / "state.json").read_text())["format"] == state_file.FORMAT
    issuer = Issuer(bytes.fromhex(FIRST_FORMAT["sealing_key"]))
    key = json.loads((directory / "admin-credentials.json").read_text())
    assert key["secretAccessKey"] == issuer.secret_access_key(key["accessKeyId"])


@pytest.mark.parametrize("missing", ["roles", "profiles", "trust_anchors", "sealing_key"])
def test_a_first_format_with_something_missing_is_an_error(missing: str) -> None:
    document = {key: value for key, value in FIRST_FORMAT.items() if key != missing}
    with pytest.raises(ValueError, match="other fields"):
        state_file.from_json(json.dumps(document).encode())
    assert state_file.from_json(json.dumps(FIRST_FORMAT).encode()).account == "111122223333"


def test_names_of_ca_files_become_names_and_aliases_that_the_model_allows(tmp_path: Path) -> None:
    _, state = prepare(Settings(tmp_path / "emulator"), NOW)
    for name in ("my ca (1)", "9", "emulator"):
        (tmp_path / f"{name}.pem").write_text(state.own_ca_pem)
    files = tuple(str(tmp_path / f"{name}.pem") for name in ("my ca (1)", "9", "emulator"))
    _, state = prepare(Settings(tmp_path / "emulator", extra_cas=files), NOW)
    named = [(anchor.name, anchor.alias_name) for anchor in state.trust_anchors]
    assert named == [("emulator", "emulator"), ("my-ca--1-", "my-ca--1-"), ("9", None), ("emulator", None)]
