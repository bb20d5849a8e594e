from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator import trust_policies
from rolesanywhere_helper.emulator.state import new_role
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Digest, Issued, LeafRequest, Validity
from rolesanywhere_helper.pki.forgery import of_version_1, signed_with_sha1
from rolesanywhere_helper.pki.keys import KeyKind, ml_dsa_available
from tests.unit.emulator.signing import Request, Signing, call

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.emulator.conftest import Bench

DENIED = "AccessDeniedException"
UNTRUSTED = (403, DENIED, "Untrusted signing certificate")
INSUFFICIENT = (403, DENIED, "Untrusted certificate. Insufficient certificate")
INVALID_SIGNATURE = (403, DENIED, "Invalid signature")

KINDS = [
    kind
    for kind in KeyKind
    if kind not in {KeyKind.RSA_3072, KeyKind.RSA_4096} and (ml_dsa_available() or not kind.value.startswith("ML"))
]


# What is granted


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_every_kind_of_key_gets_a_session(bench: Bench, kind: KeyKind) -> None:
    reply = bench.create(bench.leaf(key=kind))
    assert reply.status == 201


def test_the_answer_is_the_documented_one(bench: Bench) -> None:
    leaf = bench.leaf(subject=(("O", "Example"), ("CN", "host")), serial=0x1000)
    reply = bench.create(leaf, {"durationSeconds": 3600})
    (granted,) = reply.json["credentialSet"]
    credentials = granted["credentials"]
    role_id = granted["assumedRoleUser"]["assumedRoleId"].partition(":")[0]
    assert reply.headers["Content-Type"] == "application/json"
    assert re.fullmatch(r"ASIA[A-Z2-7]{16}", credentials["accessKeyId"])
    assert len(credentials["secretAccessKey"]) == 40
    assert len(credentials["sessionToken"]) >= 300
    expires = datetime.strptime(credentials["expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert expires.timestamp() == int(bench.clock()) + 3600
    assert granted["assumedRoleUser"] == {
        "arn": "arn:aws:sts::111122223333:assumed-role/EmulatorRole/1000",
        "assumedRoleId": f"{role_id}:1000",
    }
    assert re.fullmatch(r"AROA[A-Z2-7]{17}", role_id)
    assert granted["roleArn"] == bench.arns["roleArn"]
    assert granted["sourceIdentity"] == "CN=host"
    assert isinstance(granted["packedPolicySize"], int)
    assert re.fullmatch(r"arn:aws:rolesanywhere:us-east-1:111122223333:subject/[0-9a-f-]{36}", reply.json["subjectArn"])
    assert parsedate_to_datetime(reply.headers["Date"]).timestamp() == int(bench.clock())


def test_every_session_has_credentials_of_its_own_and_a_subject_has_one_arn(bench: Bench) -> None:
    first, second, other = bench.create(), bench.create(), bench.create(bench.leaf(subject=(("CN", "other"),)))
    keys = {reply.json["credentialSet"][0]["credentials"]["accessKeyId"] for reply in (first, second, other)}
    assert len(keys) == 3
    assert first.json["subjectArn"] == second.json["subjectArn"] != other.json["subjectArn"]


@pytest.mark.parametrize(
    ("subject", "serial", "expected"),
    [
        ((("CN", "a" * 61),), 1, "CN=" + "a" * 61),
        ((("CN", "a" * 62),), 1, "a" * 62),
        ((("O", "nameless"),), 0xABC, "ID=0abc"),
    ],
)
def test_source_identity(bench: Bench, subject: Any, serial: int, expected: str) -> None:
    reply = bench.create(bench.leaf(subject=subject, serial=serial))
    assert reply.json["credentialSet"][0]["sourceIdentity"] == expected


def test_arns_may_be_in_the_query_with_the_rest_in_the_body(bench: Bench) -> None:
    leaf = bench.leaf()
    request = bench.signed(leaf, in_query=bench.arns)
    assert "trustAnchorArn=arn%3Aaws" in request.target
    assert bench.send(request).status == 201


def test_arns_that_differ_between_query_and_body_are_a_validation_error(bench: Bench) -> None:
    other = {**bench.arns, "roleArn": "arn:aws:iam::111122223333:role/Other"}
    status, kind, message = bench.create(in_query=other).refusal
    assert (status, kind) == (400, "ValidationException")
    assert "roleArn" in message


def test_alias_arns_name_the_same_things(bench: Bench) -> None:
    prefix = "arn:aws:rolesanywhere:us-east-1:111122223333:alias"
    aliases = {"trustAnchorArn": f"{prefix}/trust-anchor/tests-ca", "profileArn": f"{prefix}/profile/emulator"}
    assert bench.create(body=aliases).status == 201
    assert bench.create(body={"profileArn": f"{prefix}/profile/nobody"}).status == 403


def test_the_profile_bounds_the_duration_and_is_the_default(bench: Bench) -> None:
    bench.change_profile(duration_seconds=1800)
    for body in ({}, {"durationSeconds": 7200}):
        reply = bench.create(body=body)
        text = reply.json["credentialSet"][0]["credentials"]["expiration"]
        expires = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        assert expires.timestamp() == int(bench.clock()) + 1800


def test_a_role_session_name_is_taken_and_unknown_parameters_are_ignored(bench: Bench) -> None:
    reply = bench.create(body={"roleSessionName": "deploy@host", "sessionName": "x", "instanceProperties": {"a": "b"}})
    assert reply.json["credentialSet"][0]["assumedRoleUser"]["arn"].endswith("assumed-role/EmulatorRole/deploy@host")


# Signature, scope, time


def _in_body(request: Request) -> Request:
    return Request(request.method, request.target, request.headers, request.body.replace(b"3600", b"3601"))


def _in_query(request: Request) -> Request:
    return Request(request.method, request.target + "&x=1", request.headers, request.body)


def _in_header(request: Request) -> Request:
    return request.with_header("Content-Type", "application/jsom")


def _in_certificate(request: Request) -> Request:
    text = request.header("X-Amz-X509")
    return request.with_header("X-Amz-X509", text[:-6] + ("A" if text[-6] != "A" else "B") + text[-5:])


def _in_host(request: Request) -> Request:
    return request.with_header("Host", "rolesanywhere.us-east-1.amazonaws.com")


def _in_date(request: Request) -> Request:
    date = request.header("X-Amz-Date")
    return request.with_header("X-Amz-Date", date[:-2] + ("0" if date[-2] != "0" else "1") + "Z")


def _in_signature(request: Request) -> Request:
    text = request.header("Authorization")
    return request.with_header("Authorization", text[:-1] + ("0" if text[-1] != "0" else "1"))


def _twice(request: Request) -> Request:
    return Request(request.method, request.target, (*request.headers, request.headers[3]), request.body)


@pytest.mark.parametrize(
    "tamper",
    [_in_body, _in_query, _in_header, _in_certificate, _in_host, _in_date, _in_signature, _twice],
    ids=lambda tamper: tamper.__name__.strip("_"),
)
@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.P_384], ids=lambda kind: kind.value)
def test_a_changed_byte_is_an_invalid_signature(
    bench: Bench, kind: KeyKind, tamper: Callable[[Request], Request]
) -> None:
    request = bench.signed(bench.leaf(key=kind), {"durationSeconds": 3600}, in_query=bench.arns)
    assert bench.send(tamper(request)).refusal == INVALID_SIGNATURE
    assert bench.send(request).status == 201


def test_another_key_than_the_certificates_is_an_invalid_signature(bench: Bench) -> None:
    mixed = Issued(bench.leaf().certificate, bench.leaf().private_key)
    assert bench.create(mixed).refusal == INVALID_SIGNATURE


@pytest.mark.parametrize(
    "how",
    [
        {"region": "eu-central-1"},
        {"service": "sts"},
        {"scope_date": "20200101"},
        {"serial": "1"},
        {"serial": "0x10"},
        {"algorithm": "AWS4-HMAC-SHA256"},
    ],
    ids=str,
)
def test_another_scope_serial_or_algorithm_is_an_invalid_signature(bench: Bench, how: dict[str, Any]) -> None:
    assert bench.create(**how).refusal == INVALID_SIGNATURE
    assert bench.last()["reason"]


@pytest.mark.parametrize("skew", [-301, 301, -1800])
def test_a_clock_that_is_off_is_an_invalid_signature_and_the_list_says_why(bench: Bench, skew: int) -> None:
    leaf = bench.leaf(validity=Validity.days(bench.clock() - 7200, 2))
    request = bench.signed(leaf)
    bench.clock.advance(-skew)
    reply = bench.send(request)
    assert reply.refusal == INVALID_SIGNATURE
    assert "seconds off" in bench.last()["reason"]
    assert parsedate_to_datetime(reply.headers["Date"]).timestamp() == int(bench.clock())


@pytest.mark.parametrize("skew", [-299, 299])
def test_a_clock_that_is_nearly_right_is_accepted(bench: Bench, skew: int) -> None:
    request = bench.signed()
    bench.clock.advance(skew)
    assert bench.send(request).status == 201


def test_without_a_signature_there_is_no_session(bench: Bench) -> None:
    request = bench.signed()
    headers = tuple((name, value) for name, value in request.headers if name != "Authorization")
    reply = bench.send(Request("POST", "/sessions", headers, request.body))
    assert reply.refusal == (403, "MissingAuthenticationTokenException", "Missing Authentication Token")


# Certificates


def test_another_ca_is_untrusted(bench: Bench) -> None:
    # The same name, so that only the signature tells them apart.
    other = CertificateAuthority.root("tests CA", Validity.days(bench.clock(), 1), KeyKind.P_256)
    leaf = other.issue(LeafRequest(Validity.days(bench.clock(), 1), key=KeyKind.P_256))
    assert bench.create(leaf).refusal == UNTRUSTED
    assert bench.create(leaf, chain=(other.certificate,)).refusal == UNTRUSTED
    assert bench.create(body={"trustAnchorArn": bench.emulator.announcement["trustAnchorArn"]}).refusal == UNTRUSTED


def _tower(bench: Bench, height: int) -> CertificateAuthority:
    authority = bench.authority
    for storey in range(height):
        authority = authority.intermediate(f"storey {storey}", Validity.days(bench.clock(), 1), KeyKind.P_256)
    return authority


@pytest.mark.parametrize("order", ["up", "down", "with the leaf", "with the root and a stranger"])
def test_a_chain_in_any_order_leads_to_the_anchor(bench: Bench, order: str) -> None:
    issuer = _tower(bench, 3)
    leaf = issuer.issue(LeafRequest(Validity.days(bench.clock(), 1), key=KeyKind.P_256))
    stranger = CertificateAuthority.root("stranger", Validity.days(bench.clock(), 1), KeyKind.P_256)
    chains = {
        "up": issuer.chain,
        "down": issuer.chain[::-1],
        "with the leaf": (issuer.chain[1], leaf.certificate, issuer.chain[0], issuer.chain[2]),
        "with the root and a stranger": (bench.authority.certificate, *issuer.chain, stranger.certificate),
    }
    assert bench.create(leaf, chain=chains[order]).status == 201


def test_a_missing_link_or_too_long_a_chain_is_refused(bench: Bench) -> None:
    issuer = _tower(bench, 5)
    leaf = issuer.issue(LeafRequest(Validity.days(bench.clock(), 1), key=KeyKind.P_256))
    assert bench.create(leaf, chain=issuer.chain).status == 201
    assert bench.create(leaf, chain=issuer.chain[:2] + issuer.chain[3:]).refusal == UNTRUSTED
    assert bench.create(leaf).refusal == UNTRUSTED
    assert bench.create(leaf, chain=(*issuer.chain, bench.authority.certificate)).refusal == INVALID_SIGNATURE


def test_a_leaf_cannot_issue_and_path_length_counts(bench: Bench) -> None:
    validity = Validity.days(bench.clock(), 1)
    leaf = bench.leaf()
    below_leaf = CertificateAuthority(leaf.certificate, leaf.private_key, (leaf.certificate,))
    child = below_leaf.issue(LeafRequest(validity, key=KeyKind.P_256))
    assert bench.create(child, chain=child.intermediates).refusal == UNTRUSTED
    narrow = bench.authority.intermediate("narrow", validity, KeyKind.P_256, path_length=0)
    deeper = narrow.intermediate("deeper", validity, KeyKind.P_256)
    assert bench.create(narrow.issue(LeafRequest(validity)), chain=narrow.chain).status == 201
    assert bench.create(deeper.issue(LeafRequest(validity)), chain=deeper.chain).refusal == UNTRUSTED


def test_an_expired_intermediate_or_anchor_is_untrusted(bench: Bench) -> None:
    expired = bench.authority.intermediate("expired", Validity.days(bench.clock(), -1), KeyKind.P_256)
    leaf = expired.issue(LeafRequest(Validity.days(bench.clock(), 1), key=KeyKind.P_256))
    assert bench.create(leaf, chain=leaf.intermediates).refusal == UNTRUSTED
    long_lived = bench.leaf(validity=Validity.days(bench.clock(), 100))
    bench.clock.advance(31 * 86_400)
    assert bench.create(long_lived).refusal == UNTRUSTED


@pytest.mark.parametrize(
    "request_",
    [
        {"validity": Validity(1_000_000_000, 1_100_000_000)},
        {"validity": Validity(4_000_000_000, 4_100_000_000)},
        {"digital_signature": False},
        {"is_ca": True},
        {"subject": ()},
    ],
    ids=["expired", "not yet valid", "no digitalSignature", "CA", "no subject"],
)
def test_a_leaf_that_the_service_does_not_take_is_insufficient(bench: Bench, request_: dict[str, Any]) -> None:
    assert bench.create(bench.leaf(**request_)).refusal == INSUFFICIENT


def test_weak_hashes_and_version_1_are_refused(bench: Bench) -> None:
    leaf = bench.leaf()
    assert bench.create(signed_with_sha1(leaf, bench.authority)).refusal == INSUFFICIENT
    assert bench.create(of_version_1(leaf, bench.authority)).refusal == INSUFFICIENT
    weak = bench.authority.intermediate("weak", Validity.days(bench.clock(), 1), KeyKind.P_256)
    forged = signed_with_sha1(Issued(weak.certificate, weak.private_key), bench.authority)
    child = weak.issue(LeafRequest(Validity.days(bench.clock(), 1), key=KeyKind.P_256))
    assert bench.create(child, chain=(forged.certificate,)).refusal == UNTRUSTED
    assert bench.create(child, chain=(weak.certificate,)).status == 201


def test_the_algorithm_follows_the_key_and_not_the_issuers_hash(bench: Bench) -> None:
    leaf = bench.leaf(digest=Digest.SHA384)
    assert bench.create(leaf).status == 201
    status, _, message = bench.create(leaf, algorithm="AWS4-X509-ECDSA-SHA384").refusal
    assert status == 403
    assert "algorithmMismatch" in message


# Anchor, profile, role, parameters

REGION = "arn:aws:rolesanywhere:us-east-1:111122223333"
NOBODY = "00000000-0000-0000-0000-000000000000"


def test_an_unknown_anchor_or_profile_has_its_message(bench: Bench) -> None:
    anchor = bench.create(body={"trustAnchorArn": f"{REGION}:trust-anchor/{NOBODY}"})
    profile = bench.create(body={"profileArn": f"{REGION}:profile/{NOBODY}"})
    assert anchor.refusal == (403, DENIED, "Specified Trust Anchor wasn't found.")
    assert profile.refusal == (403, DENIED, "Invalid or empty profile provided.")


@pytest.mark.parametrize("knobs", [{"enabled": False}, {"role_arns": ()}], ids=str)
def test_a_disabled_or_empty_profile_is_invalid(bench: Bench, knobs: dict[str, Any]) -> None:
    bench.change_profile(**knobs)
    assert bench.create().refusal == (403, DENIED, "Invalid or empty profile provided.")


def test_a_role_outside_the_profile_has_its_message(bench: Bench) -> None:
    reply = bench.create(body={"roleArn": "arn:aws:iam::111122223333:role/Other"})
    assert reply.refusal == (403, DENIED, "Requested Role isn't one of those listed in the Profile.")


def test_a_role_session_name_needs_the_profiles_consent(bench: Bench) -> None:
    bench.change_profile(accept_role_session_name=False)
    refused = bench.create(body={"roleSessionName": "deploy"})
    assert refused.refusal == (403, DENIED, "Not authorized to set roleSessionName")
    assert bench.create().status == 201


def test_a_profile_can_require_instance_properties(bench: Bench) -> None:
    bench.change_profile(require_instance_properties=True)
    assert bench.create().refusal[:2] == (400, "ValidationException")
    assert bench.create(body={"instanceProperties": {"host": "a"}}).status == 201


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Amz-Date", "20261323T000000Z"),
        ("X-Amz-Date", "yesterday"),
        ("X-Amz-X509", "noise"),
        ("X-Amz-X509-Chain", "noise"),
        ("Authorization", "AWS4-X509-ECDSA-SHA256 Credential=1"),
        ("Authorization", "Bearer x"),
    ],
)
def test_a_malformed_header_is_an_invalid_signature(bench: Bench, header: str, value: str) -> None:
    request = bench.signed()
    assert bench.send(request.with_header(header, value)).refusal == INVALID_SIGNATURE
    assert bench.send(request).status == 201


@pytest.mark.parametrize(
    "policy",
    [
        trust_policies.NOBODY,
        trust_policies.for_roles_anywhere({"ArnEquals": {"aws:SourceArn": f"{REGION}:trust-anchor/{NOBODY}"}}),
    ],
    ids=["nobody", "another trust anchor"],
)
def test_a_role_that_does_not_trust_cannot_be_assumed(bench: Bench, policy: str) -> None:
    bench.change_role(trust_policy=policy)
    assert bench.create().refusal == (403, DENIED, f"Unable to assume role for {bench.arns['roleArn']}.")


def test_a_role_that_does_not_exist_cannot_be_assumed(bench: Bench) -> None:
    missing = "arn:aws:iam::111122223333:role/Deleted"
    bench.change_profile(role_arns=(missing,))
    assert bench.create(body={"roleArn": missing}).refusal == (403, DENIED, f"Unable to assume role for {missing}.")
    bench.emulator.change_state(lambda state: type(state)(**{**_fields(state), "roles": (new_role(missing),)}))
    assert bench.create(body={"roleArn": missing}).status == 201


def _fields(state: Any) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


def _cannot_assume(bench: Bench) -> str:
    return f"Unable to assume role for {bench.arns['roleArn']}."


def test_more_than_the_roles_maximum_has_its_message(bench: Bench) -> None:
    bench.change_role(max_session_seconds=3600)
    reply = bench.create(body={"durationSeconds": 3601})
    assert reply.refusal == (
        403,
        DENIED,
        f"{_cannot_assume(bench)} The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    )
    assert bench.create(body={"durationSeconds": 3600}).status == 201


def test_what_no_session_tag_can_hold_has_its_message(bench: Bench) -> None:
    leaf = bench.leaf(subject=(("O", "Examp|e"), ("CN", "host")), names=("good.example", "*.example"))
    parts = "Issuer: [  ]; Subject: [ O ]; SAN: [ DNS/2 ]"
    assert bench.create(leaf).refusal == (
        403,
        DENIED,
        f"{_cannot_assume(bench)} Some attributes failed to be mapped into session tags. {parts}",
    )


@pytest.mark.parametrize(
    "body",
    [
        {"durationSeconds": 899},
        {"durationSeconds": 43_201},
        {"durationSeconds": "3600"},
        {"durationSeconds": True},
        {"roleSessionName": "x"},
        {"roleSessionName": "not allowed"},
        {"roleSessionName": 5},
        {"instanceProperties": {"": "x"}},
        {"instanceProperties": {"x": "y" * 201}},
        {"instanceProperties": {str(number): "x" for number in range(51)}},
        {"instanceProperties": []},
        {"profileArn": None},
        {"roleArn": ["arn:"]},
        {"trustAnchorArn": "here"},
    ],
    ids=lambda body: str(body)[:50],
)
def test_malformed_parameters_are_validation_errors(bench: Bench, body: dict[str, Any]) -> None:
    status, kind, _ = bench.create(body=body).refusal
    assert (status, kind) == (400, "ValidationException")


@pytest.mark.parametrize("body", [b"[]", b"{", b"[" * 100_000, b"\xff"], ids=["list", "cut", "deep", "no text"])
def test_a_body_that_is_no_object_is_a_validation_error(bench: Bench, body: bytes) -> None:
    request = Signing.of(bench.leaf(), bench.clock()).request(bench.endpoint, body)
    assert bench.send(request).refusal[:2] == (400, "ValidationException")


def test_unknown_operations_are_404(bench: Bench) -> None:
    assert call(bench.endpoint, "GET", "/sessions").status == 404
    assert call(bench.endpoint, "POST", "/elsewhere", {}).refusal[1] == "UnknownOperationException"


# What the service tolerates and flags


def _empty_body(bench: Bench) -> Request:
    return Signing.of(bench.leaf(), bench.clock(), in_query=bench.arns).request(bench.endpoint, b"")


DEVIATIONS: dict[str, Callable[[Bench], Request]] = {
    "missingSignedHeaders": lambda bench: bench.signed(unsigned=("host",)),
    "algorithmMismatch": lambda bench: bench.signed(algorithm="AWS4-X509-RSA-SHA256"),
    "postEmptyBody": _empty_body,
}


@pytest.mark.parametrize("flag", DEVIATIONS)
def test_the_strict_mode_refuses_what_the_service_flags_and_the_lenient_notes_it(
    open_bench: Callable[..., Bench], flag: str
) -> None:
    strict = open_bench()
    status, _, message = strict.send(DEVIATIONS[flag](strict)).refusal
    assert (status, strict.last()["flags"]) == (403, [flag])
    assert flag in message
    lenient = open_bench(lenient=True)
    assert lenient.send(DEVIATIONS[flag](lenient)).status == 201
    assert lenient.last()["flags"] == [flag]
    assert lenient.create().status == 201
    assert lenient.last()["flags"] == []


@pytest.mark.parametrize("header", ["host", "content-type", "x-amz-date", "x-amz-x509", "x-amz-x509-chain"])
def test_every_header_that_must_be_signed_is_missed(bench: Bench, header: str) -> None:
    issuer = bench.authority.intermediate("between", Validity.days(bench.clock(), 1), KeyKind.P_256)
    leaf = issuer.issue(LeafRequest(Validity.days(bench.clock(), 1), key=KeyKind.P_256))
    status, _, message = bench.create(leaf, chain=leaf.intermediates, unsigned=(header,)).refusal
    assert status == 403
    assert message.endswith(f"missingSignedHeaders: {header}")
    assert bench.create(leaf, chain=leaf.intermediates).status == 201


def test_a_long_chain_of_large_certificates_fits_into_its_header(bench: Bench) -> None:
    kind = KeyKind.ML_DSA_87 if ml_dsa_available() else KeyKind.RSA_4096
    issuer = bench.authority
    for storey in range(5):
        issuer = issuer.intermediate(f"storey {storey}", Validity.days(bench.clock(), 1), kind)
    leaf = issuer.issue(LeafRequest(Validity.days(bench.clock(), 1), key=kind))
    assert bench.create(leaf, chain=issuer.chain).status == 201
    assert bench.create(leaf, chain=issuer.chain[1:]).refusal == UNTRUSTED
