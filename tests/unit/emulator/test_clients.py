"""Clients that others wrote must get what they ask for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from iam_rolesanywhere_session import IAMRolesAnywhereSession

from rolesanywhere_helper.emulator.arrival import Arrival
from rolesanywhere_helper.emulator.service import Service
from rolesanywhere_helper.emulator.state import Profile, TrustAnchor, new_role, new_state
from rolesanywhere_helper.pki.certificates import Digest, Validity
from rolesanywhere_helper.pki.keys import KeyKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.emulator.conftest import Bench

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/official-helper-1.8.0.json").read_text())
RECORDED_AT = 1_795_457_680  # 2026-11-23T18:14:40Z


def _recorded_service(now: float) -> Service:
    account = "arn:aws:rolesanywhere:us-east-1:123456789012"
    anchor = TrustAnchor(f"{account}:trust-anchor/11111111-1111-1111-1111-111111111111", "recorded", VECTORS["ca"])
    role = new_role("arn:aws:iam::123456789012:role/path/TestRole")
    profile = Profile(
        f"{account}:profile/22222222-2222-2222-2222-222222222222",
        "recorded",
        (role.arn,),
        duration_seconds=43_200,
        accept_role_session_name=True,
    )
    made = new_state("us-east-1", "123456789012", now)
    state = replace(made, trust_anchors=(anchor,), profiles=(profile,), roles=(role,))
    return Service(state, lambda: now, lambda _: None)


def _arrival(recorded: Any, change: Callable[[str, str], str] = lambda _, value: value) -> Arrival:
    headers = tuple((name.encode(), change(name, value).encode()) for name, value in recorded["headers"])
    return Arrival(recorded["method"], recorded["target"], headers, recorded["body"].encode())


@pytest.mark.parametrize("recorded", VECTORS["requests"], ids=lambda recorded: recorded["name"])
def test_recorded_requests_of_the_official_helper_verify(recorded: Any) -> None:
    reply = _recorded_service(RECORDED_AT).handle(_arrival(recorded))
    assert reply.answer.status == 201
    granted = json.loads(reply.answer.body)["credentialSet"][0]
    assert granted["roleArn"] == "arn:aws:iam::123456789012:role/path/TestRole"
    assert granted["assumedRoleUser"]["arn"].startswith("arn:aws:sts::123456789012:assumed-role/TestRole/")


@pytest.mark.parametrize("recorded", VECTORS["requests"], ids=lambda recorded: recorded["name"])
def test_recorded_requests_do_not_verify_once_a_byte_is_changed_or_time_has_passed(recorded: Any) -> None:
    changed = _arrival(recorded, lambda name, value: value.upper() if name == "Amz-Sdk-Request" else value)
    assert b"Invalid signature" in _recorded_service(RECORDED_AT).handle(changed).answer.body
    assert b"Invalid signature" in _recorded_service(RECORDED_AT + 301).handle(_arrival(recorded)).answer.body


def _session_package(bench: Bench, **leaf: Any) -> Any:
    issuer = bench.authority.intermediate("between", Validity.days(bench.clock(), 1), KeyKind.P_256)
    issued = replace(bench, authority=issuer).leaf(**leaf)
    return IAMRolesAnywhereSession(
        trust_anchor_arn=bench.anchor_arn,
        profile_arn=bench.arns["profileArn"],
        role_arn=bench.arns["roleArn"],
        certificate=issued.pem,
        private_key=issued.key_pem(),
        certificate_chain=issued.intermediates_pem,
        region="us-east-1",
        endpoint=urlsplit(bench.endpoint).netloc,
        verify=bench.emulator.announcement["tlsCaCertificate"],
    )


@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.P_384], ids=lambda kind: kind.value)
def test_the_session_package_gets_credentials_that_work(open_bench: Callable[..., Bench], kind: KeyKind) -> None:
    bench = open_bench(tls=True)
    session = _session_package(bench, key=kind).get_session()
    identity = session.client("sts", endpoint_url=bench.endpoint).get_caller_identity()
    assert identity["Arn"].startswith("arn:aws:sts::111122223333:assumed-role/EmulatorRole/")
    assert [entry["status"] for entry in bench.emulator.requests()] == [201, 200]


def test_the_session_package_announces_the_issuers_hash_which_needs_lenience(open_bench: Callable[..., Bench]) -> None:
    strict = open_bench(tls=True)
    refused = _session_package(strict, digest=Digest.SHA384).get_session()
    with pytest.raises(Exception, match="algorithmMismatch"):
        refused.client("sts", endpoint_url=strict.endpoint).get_caller_identity()
    lenient = open_bench(tls=True, lenient=True)
    session = _session_package(lenient, digest=Digest.SHA384).get_session()
    assert session.client("sts", endpoint_url=lenient.endpoint).get_caller_identity()["Account"] == "111122223333"
    assert lenient.emulator.requests()[0]["flags"] == ["algorithmMismatch"]
