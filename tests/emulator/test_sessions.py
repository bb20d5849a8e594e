"""CreateSession against what the management API has set up."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator import trust_policies
from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.emulator.throttle import Throttle
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.emulator.conftest import Accounts
from tests.emulator.crl import crl_of
from tests.unit.emulator.signing import Request, Signing, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.emulator.signing import Reply

DENIED = "AccessDeniedException"


def cannot_assume(accounts: Accounts) -> tuple[int, str, str]:
    return 403, DENIED, f"Unable to assume role for {accounts.arns['roleArn']}."


def allow(condition: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """Build a trust policy for Roles Anywhere with one thing changed."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "rolesanywhere.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        **({"Condition": condition} if condition else {}),
        **changed,
    }
    return {"Version": "2012-10-17", "Statement": [{key: value for key, value in statement.items() if value}]}


# What is disabled


def test_a_disabled_trust_anchor_is_as_good_as_none(accounts: Accounts) -> None:
    client, arn = accounts.roles_anywhere, accounts.arns["trustAnchorArn"]
    client.disable_trust_anchor(trustAnchorId=arn)
    assert accounts.create_session().refusal == (403, DENIED, "Specified Trust Anchor wasn't found.")
    assert accounts.last()["reason"] == "the trust anchor is disabled"
    client.enable_trust_anchor(trustAnchorId=arn)
    assert accounts.create_session().status == 201


def test_a_disabled_or_deleted_profile_is_invalid(accounts: Accounts) -> None:
    client, arn = accounts.roles_anywhere, accounts.arns["profileArn"]
    client.disable_profile(profileId=arn)
    assert accounts.create_session().refusal == (403, DENIED, "Invalid or empty profile provided.")
    client.enable_profile(profileId=arn)
    assert accounts.create_session().status == 201
    client.delete_profile(profileId=arn)
    assert accounts.create_session().refusal == (403, DENIED, "Invalid or empty profile provided.")


def test_an_alias_arn_names_the_profile_that_has_the_alias_now(accounts: Accounts) -> None:
    client, arn = accounts.roles_anywhere, accounts.arns["profileArn"]
    alias = client.update_profile(profileId=arn, aliasName="build/servers")["profile"]["aliasArn"]
    assert accounts.create_session(profileArn=alias).status == 201
    client.update_profile(profileId=arn, aliasName="")
    assert accounts.create_session(profileArn=alias).status == 403


# Profiles


def test_a_new_profile_has_the_services_defaults(accounts: Accounts) -> None:
    client = accounts.roles_anywhere
    roles = [accounts.arns["roleArn"]]
    made = client.create_profile(name="x", roleArns=roles, enabled=True)["profile"]
    assert accounts.create_session(profileArn=made["profileArn"]).status == 201
    refused = accounts.create_session(profileArn=made["profileArn"], roleSessionName="deploy")
    assert refused.refusal == (403, DENIED, "Not authorized to set roleSessionName")
    client.update_profile(profileId=made["profileId"], acceptRoleSessionName=True)
    assert accounts.create_session(profileArn=made["profileArn"], roleSessionName="deploy").status == 201


def test_trust_anchor_profile_and_role_are_of_one_account(accounts: Accounts) -> None:
    other = accounts.administrator(other=True)
    client, role = other.client("rolesanywhere"), accounts.emulator.state.origin.other_role_arn
    name = role.rpartition("/")[2]
    other.client("iam").update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(allow()))
    source = {
        "sourceType": "CERTIFICATE_BUNDLE",
        "sourceData": {"x509CertificateData": accounts.authority.pem.decode()},
    }
    anchor = client.create_trust_anchor(name="x", source=source, enabled=True)["trustAnchor"]["trustAnchorArn"]
    profile = client.create_profile(name="x", roleArns=[role], enabled=True, aliasName="x")["profile"]

    for arn in (profile["profileArn"], profile["aliasArn"]):
        refused = accounts.create_session(profileArn=arn, roleArn=role)
        assert refused.refusal == (403, DENIED, "Invalid or empty profile provided.")
        assert accounts.last()["reason"] == "the profile is in another account or region than the trust anchor"
        assert accounts.create_session(trustAnchorArn=anchor, profileArn=arn, roleArn=role).status == 201

    accounts.change_profile(role_arns=(accounts.arns["roleArn"], role))  # CreateProfile would not have it
    assert accounts.create_session(roleArn=role).refusal == (403, DENIED, f"Unable to assume role for {role}.")
    assert accounts.last()["reason"] == "the role is another account's than the profile"
    assert accounts.create_session().status == 201


def test_instance_properties_can_be_required(accounts: Accounts) -> None:
    client = accounts.roles_anywhere
    roles = [accounts.arns["roleArn"]]
    arn = client.create_profile(name="x", roleArns=roles, enabled=True, requireInstanceProperties=True)["profile"][
        "profileArn"
    ]
    assert accounts.create_session(profileArn=arn).refusal[:2] == (400, "ValidationException")
    assert accounts.create_session(profileArn=arn, instanceProperties={"host": "a"}).status == 201


@pytest.mark.parametrize(("profile", "asked", "lasts"), [(900, None, 900), (1800, 3600, 1800), (3600, 1000, 1000)])
def test_a_session_lasts_as_long_as_profile_and_request_allow(
    accounts: Accounts, profile: int, asked: int | None, lasts: int
) -> None:
    accounts.roles_anywhere.update_profile(profileId=accounts.arns["profileArn"], durationSeconds=profile)
    before = int(time.time())
    body: dict[str, Any] = {} if asked is None else {"durationSeconds": asked}
    reply = accounts.create_session(**body)
    expiration = reply.json["credentialSet"][0]["credentials"]["expiration"]
    assert _seconds(expiration) - before in {lasts, lasts + 1}


def test_the_roles_own_maximum_is_an_error_and_not_a_bound(accounts: Accounts) -> None:
    accounts.iam.update_role(RoleName="EmulatorRole", MaxSessionDuration=3600)
    refused = accounts.create_session(durationSeconds=3601)
    assert refused.refusal[2].endswith(
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    )
    assert accounts.create_session(durationSeconds=3600).status == 201


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


# Revocation


@pytest.mark.parametrize("pem", [True, False], ids=["PEM", "DER"])
def test_a_crl_is_effective_at_once_and_while_it_is_enabled(accounts: Accounts, pem: bool) -> None:  # noqa: FBT001 - a parameter of the test
    client, anchor = accounts.roles_anywhere, accounts.arns["trustAnchorArn"]
    leaf, other = accounts.leaf(serial=77), accounts.leaf(serial=78)
    assert accounts.create_session(leaf).status == 201
    data = crl_of(accounts.authority, 77, pem=pem)
    crl = client.import_crl(name="x", crlData=data, trustAnchorArn=anchor, enabled=True)["crl"]["crlId"]
    assert accounts.create_session(leaf).refusal == (403, DENIED, "Certificate revoked")
    assert accounts.create_session(other).status == 201
    client.update_crl(crlId=crl, crlData=crl_of(accounts.authority, 78, pem=pem))
    assert (accounts.create_session(leaf).status, accounts.create_session(other).status) == (201, 403)
    client.disable_crl(crlId=crl)
    assert accounts.create_session(other).status == 201
    client.enable_crl(crlId=crl)
    assert accounts.create_session(other).status == 403
    client.delete_crl(crlId=crl)
    assert accounts.create_session(other).status == 201


def test_a_revoked_intermediate_leads_nowhere(accounts: Accounts) -> None:
    client, anchor = accounts.roles_anywhere, accounts.arns["trustAnchorArn"]
    between = accounts.authority.intermediate("between", Validity.days(time.time(), 1), KeyKind.P_256)
    leaf = accounts.leaf(between)
    request = Signing.of(leaf, time.time(), chain=between.chain).request(accounts.endpoint, accounts.arns)
    assert send(accounts.endpoint, request).status == 201
    data = crl_of(accounts.authority, between.certificate.serial_number)
    client.import_crl(name="x", crlData=data, trustAnchorArn=anchor, enabled=True)
    assert send(accounts.endpoint, request).refusal[2] == "Certificate revoked"


# Attribute mapping


def test_what_is_not_mapped_cannot_fail_to_be_mapped(accounts: Accounts) -> None:
    client, profile = accounts.roles_anywhere, accounts.arns["profileArn"]
    leaf = accounts.leaf(subject=(("O", "Examp|e"), ("CN", "host")), names=("good.example", "*.example"))
    parts = "Issuer: [  ]; Subject: [ O ]; SAN: [ DNS/2 ]"
    failure = f"{cannot_assume(accounts)[2]} Some attributes failed to be mapped into session tags. {parts}"
    assert accounts.create_session(leaf).refusal == (403, DENIED, failure)
    client.delete_attribute_mapping(profileId=profile, certificateField="x509SAN", specifiers=["DNS"])
    client.delete_attribute_mapping(profileId=profile, certificateField="x509Subject")
    assert accounts.create_session(leaf).status == 201
    client.put_attribute_mapping(
        profileId=profile, certificateField="x509Subject", mappingRules=[{"specifier": "CN"}, {"specifier": "O"}]
    )
    assert accounts.create_session(leaf).refusal[2].endswith("Subject: [ O ]; SAN: [  ]")


def test_a_mapping_that_is_not_there_cannot_be_deleted(
    accounts: Accounts, error_of: Callable[[Callable[[], Any]], tuple[int, str, str]]
) -> None:
    client, profile = accounts.roles_anywhere, accounts.arns["profileArn"]
    refused = error_of(
        lambda: client.delete_attribute_mapping(profileId=profile, certificateField="x509SAN", specifiers=["Name/CN"])
    )
    assert refused[:2] == (400, "ValidationException")
    rules = [{"specifier": "*"}]
    refused = error_of(
        lambda: client.put_attribute_mapping(profileId=profile, certificateField="x509SAN", mappingRules=rules)
    )
    assert refused[:2] == (400, "ValidationException")


# Trust policies

HOST = (("O", "Example"), ("CN", "host"))
CONDITIONS: list[tuple[dict[str, Any], bool]] = [
    ({"ArnEquals": {"aws:SourceArn": "$ANCHOR"}}, True),
    ({"ArnEquals": {"aws:SourceArn": "$ANCHOR-not"}}, False),
    ({"ArnLike": {"aws:SourceArn": "arn:aws:rolesanywhere:*:111122223333:trust-anchor/*"}}, True),
    ({"StringEquals": {"aws:SourceAccount": "111122223333"}}, True),
    ({"StringEquals": {"aws:SourceAccount": "444455556666"}}, False),
    ({"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "host"}}, True),
    ({"StringEquals": {"aws:principaltag/X509SUBJECT/cn": ["other", "host"]}}, True),
    ({"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "other"}}, False),
    ({"StringEquals": {"aws:PrincipalTag/x509Subject/OU": "any"}}, False),
    ({"StringEqualsIfExists": {"aws:PrincipalTag/x509Subject/OU": "any"}}, True),
    ({"StringNotEquals": {"aws:PrincipalTag/x509Subject/OU": "any"}}, True),
    ({"StringLike": {"aws:RequestTag/x509SAN/DNS": "*.build.example"}}, True),
    ({"StringNotLike": {"aws:RequestTag/x509SAN/DNS": "*.build.example"}}, False),
    ({"Null": {"aws:PrincipalTag/x509Subject/OU": "true"}}, True),
    ({"Null": {"aws:PrincipalTag/x509Subject/CN": "true"}}, False),
    ({"StringEquals": {"sts:SourceIdentity": "CN=host"}}, True),
    ({"StringEquals": {"sts:RoleSessionName": "1234"}}, True),
    ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["x509Subject/CN"]}}, True),
    ({"ForAllValues:StringLike": {"aws:TagKeys": ["x509Subject/*"]}}, False),
    ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
    ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
    ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, True),
    ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False),
    ({"Bool": {"aws:SecureTransport": "true"}}, True),
    ({"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "host", "aws:SourceAccount": "1"}}, False),
    ({"StringEquals": {"aws:SourceAccount": "111122223333"}, "Bool": {"aws:SecureTransport": "false"}}, False),
]


@pytest.mark.parametrize(("condition", "is_met"), CONDITIONS, ids=lambda value: json.dumps(value)[:70])
def test_the_roles_trust_policy_decides(accounts: Accounts, condition: dict[str, Any], *, is_met: bool) -> None:
    text = json.dumps(allow(condition)).replace("$ANCHOR", accounts.arns["trustAnchorArn"])
    accounts.trust(text)
    leaf = accounts.leaf(subject=HOST, serial=0x1234, names=("a.build.example",))
    reply = accounts.create_session(leaf)
    if is_met:
        assert reply.status == 201, reply.body
    else:
        assert reply.refusal == cannot_assume(accounts)
        assert "trust policy" in accounts.last()["reason"]


@pytest.mark.parametrize(
    ("version", "is_met"), [({"Version": "2012-10-17"}, True), ({"Version": "2008-10-17"}, False), ({}, False)], ids=str
)
def test_only_the_newer_version_knows_variables(accounts: Accounts, version: dict[str, str], *, is_met: bool) -> None:
    wanted = {"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "${aws:PrincipalTag/x509Subject/CN}"}}
    accounts.trust({**version, "Statement": allow(wanted)["Statement"]})
    assert (accounts.create_session(accounts.leaf(subject=HOST)).status == 201) is is_met
    accounts.trust({**version, "Statement": allow()["Statement"]})
    assert accounts.create_session(accounts.leaf(subject=HOST)).status == 201


@pytest.mark.parametrize("missing", ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"])
def test_each_of_the_three_actions_is_needed(accounts: Accounts, missing: str) -> None:
    accounts.trust(allow())
    assert accounts.create_session().status == 201
    accounts.trust(allow(Action=sorted({"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"} - {missing})))
    assert accounts.create_session().refusal == cannot_assume(accounts)
    assert missing in accounts.last()["reason"]


@pytest.mark.parametrize(
    "policy",
    [
        allow(Principal={"Service": "ec2.amazonaws.com"}),
        allow(Principal={"AWS": "111122223333"}),
        {"Statement": [*allow()["Statement"], {"Effect": "Deny", "Principal": "*", "Action": "sts:Tag*"}]},
    ],
    ids=["another service", "an account", "a denial"],
)
def test_a_policy_for_others_or_with_a_denial_is_none(accounts: Accounts, policy: dict[str, Any]) -> None:
    accounts.trust(policy)
    assert accounts.create_session().refusal == cannot_assume(accounts)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (allow({"BinaryEquals": {"aws:SourceAccount": "QQ=="}}), "BinaryEquals"),
        (allow(Principal=None, NotPrincipal={"AWS": "111122223333"}), "NotPrincipal"),
        (allow({"StringEquals": {"aws:SourceAccount": "${aws:x, 'y'}"}}), "policy variable"),
    ],
    ids=["operator", "NotPrincipal", "variable"],
)
def test_what_is_not_evaluated_is_refused_and_the_list_says_so(
    accounts: Accounts, policy: dict[str, Any], said: str
) -> None:
    accounts.trust(policy)
    assert accounts.create_session().refusal == cannot_assume(accounts)
    assert accounts.last()["reason"].startswith("the emulator does not evaluate")
    assert said in accounts.last()["reason"]


def test_a_role_without_trust_in_the_service_is_assumed_by_nobody(accounts: Accounts) -> None:
    accounts.trust(trust_policies.NOBODY)
    assert accounts.create_session().refusal == cannot_assume(accounts)
    assert accounts.last()["reason"].startswith("the trust policy denies")


# Subjects


def test_a_subject_remembers_certificates_properties_and_how_it_ended(accounts: Accounts) -> None:
    client = accounts.roles_anywhere
    leaf = accounts.leaf(subject=HOST, serial=5)
    assert client.list_subjects()["subjects"] == []
    accounts.session(leaf, instanceProperties={"host": "a"})
    accounts.trust(trust_policies.NOBODY)
    assert (
        accounts.create_session(accounts.leaf(subject=HOST, serial=6), instanceProperties={"host": "b"}).status == 403
    )
    (summary,) = client.list_subjects()["subjects"]
    subject = client.get_subject(subjectId=summary["subjectId"])["subject"]
    assert subject["x509Subject"] == "CN=host,O=Example"
    seen = [(one["serialNumber"], one["failed"], one["enabled"]) for one in subject["credentials"]]
    assert seen == [("5", False, True), ("6", True, True)]
    assert subject["credentials"][0]["x509CertificateData"] == leaf.pem.decode()
    properties = [(one["properties"], one["failed"]) for one in subject["instanceProperties"]]
    assert properties == [({"host": "a"}, False), ({"host": "b"}, True)]


def test_a_subject_remembers_that_its_certificate_was_refused_as_revoked(accounts: Accounts) -> None:
    client, leaf = accounts.roles_anywhere, accounts.leaf(serial=5)

    def credential() -> Any:
        (summary,) = client.list_subjects()["subjects"]
        subject = client.get_subject(subjectId=summary["subjectId"])["subject"]
        (seen,) = subject["credentials"]
        assert seen["seenAt"] == subject["lastSeenAt"]
        return seen

    assert accounts.create_session(leaf).status == 201
    before = credential()
    data, anchor = crl_of(accounts.authority, 5), accounts.arns["trustAnchorArn"]
    crl = client.import_crl(name="x", crlData=data, trustAnchorArn=anchor, enabled=True)["crl"]["crlId"]
    assert accounts.create_session(leaf).refusal[2] == "Certificate revoked"
    after = credential()
    assert (before["failed"], after["failed"]) == (False, True)
    assert before["seenAt"] < after["seenAt"]
    client.disable_crl(crlId=crl)
    assert accounts.create_session(leaf).status == 201
    assert credential()["failed"] is False


def test_who_leads_to_no_trust_anchor_is_no_subject(accounts: Accounts, stranger: Any) -> None:
    assert accounts.create_session(accounts.leaf(stranger)).status == 403
    assert accounts.roles_anywhere.list_subjects()["subjects"] == []


@pytest.mark.parametrize(("name", "is_doubted"), [("Build server 7", True), ("build/7", True), ("build-7@a", False)])
def test_a_source_identity_that_sts_would_not_take_is_given_and_doubted(
    accounts: Accounts,
    name: str,
    is_doubted: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    granted = accounts.create_session(accounts.leaf(subject=(("CN", name),)))
    assert granted.json["credentialSet"][0]["sourceIdentity"] == f"CN={name}"
    assert (name in (accounts.last()["reason"] or "")) is is_doubted


# Quota, clock, strictness


def test_the_quota_throttles_and_says_when_to_come_again(accounts: Accounts) -> None:
    assert accounts.control("POST", "knobs", {"quotaPerSecond": 0.01}).json["quotaPerSecond"] == 0.01
    assert accounts.create_session().status == 201
    throttled = accounts.create_session()
    assert throttled.refusal == (429, "ThrottlingException", "Rate exceeded")
    assert 90 <= int(throttled.headers["Retry-After"]) <= 100
    accounts.emulator.set_quota(None)
    assert [accounts.create_session().status for _ in range(12)] == [201] * 12


def test_the_services_quota_is_ten_a_second_for_each_account() -> None:
    throttle = Throttle(10)

    def passed(account: str, now: float) -> int:
        for count in range(100):
            try:
                throttle.take(account, now)
            except Refusal as refusal:
                assert refusal.headers == (("Retry-After", "1"),)  # noqa: PT017 - how many came before it counts, too
                return count
        return 100

    assert passed("111122223333", 1000.0) == 10
    assert passed("444455556666", 1000.0) == 10
    assert passed("111122223333", 1000.5) == 5
    assert passed("111122223333", 2000.0) == 10
    Throttle(None).take("111122223333", 0)


def test_a_quota_of_almost_nothing_is_no_wait_without_end() -> None:
    throttle = Throttle(1e-320)
    throttle.take("111122223333", 1000.0)
    with pytest.raises(Refusal) as caught:
        throttle.take("111122223333", 1000.0)
    assert caught.value.headers == (("Retry-After", "86400"),)


def test_the_services_clock_can_be_set_apart(accounts: Accounts) -> None:
    issued = accounts.session(durationSeconds=900)
    accounts.control("POST", "knobs", {"clockOffsetSeconds": 1000})
    assert accounts.create_session().refusal[2] == "Invalid signature"
    assert re.search(r"-100\d seconds off", accounts.last()["reason"])
    assert accounts.create_session(now=time.time() + 1000).status == 201
    accounts.emulator.set_clock_offset(0)
    assert accounts.create_session().status == 201
    assert issued.client("sts").get_caller_identity()["Account"] == "111122223333"


@pytest.mark.parametrize("flag", ["missingSignedHeaders", "algorithmMismatch"])
def test_strictness_is_a_knob_and_the_list_has_the_flags(accounts: Accounts, flag: str) -> None:
    ways: dict[str, dict[str, Any]] = {
        "missingSignedHeaders": {"unsigned": ("content-type",)},
        "algorithmMismatch": {"algorithm": "AWS4-X509-RSA-SHA256"},
    }
    how = ways[flag]

    def ask() -> Reply:
        return send(
            accounts.endpoint, Signing.of(accounts.leaf(), time.time(), **how).request(accounts.endpoint, accounts.arns)
        )

    assert flag in ask().refusal[2]
    assert accounts.control("POST", "knobs", {"lenient": True}).json["lenient"] is True
    assert ask().status == 201
    assert accounts.last()["flags"] == [flag]
    accounts.emulator.set_lenient(False)
    assert ask().status == 403


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({}, "known knobs: lenient"),
        ({"unknown": 1}, "known knobs: lenient"),
        ([], "no JSON object"),
        ({"lenient": 1, "clockOffsetSeconds": 5}, "lenient has to be true or false"),
        ({"lenient": None}, "lenient has to be"),
        ({"quotaPerSecond": 0}, "quotaPerSecond has to be a number above 0, up to 1000000, or null"),
        ({"quotaPerSecond": 1e7}, "quotaPerSecond has to be"),
        ({"quotaPerSecond": True}, "quotaPerSecond has to be"),
        ({"clockOffsetSeconds": "1"}, "clockOffsetSeconds has to be a number from -1000000000 to 1000000000"),
        ({"clockOffsetSeconds": float("nan")}, "clockOffsetSeconds has to be"),
        ({"clockOffsetSeconds": -1e10, "quotaPerSecond": -1}, "null; clockOffsetSeconds has to be"),
    ],
    ids=str,
)
def test_a_knob_that_makes_no_sense_is_refused_and_turns_nothing(accounts: Accounts, knobs: Any, said: str) -> None:
    before = accounts.control("GET", "knobs").json
    refused = accounts.control("POST", "knobs", knobs)
    assert refused.status == 400
    assert said in refused.json["message"]
    assert accounts.control("GET", "knobs").json == before


@pytest.mark.parametrize("ahead", [1_000_000_000, -1_000_000_000])
def test_the_furthest_clock_and_expiry_are_good_for_a_session(accounts: Accounts, ahead: int) -> None:
    ages = Validity(1, 4_000_000_000)
    authority = CertificateAuthority.root("Ages", ages, KeyKind.P_256)
    source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": authority.pem.decode()}}
    made = accounts.roles_anywhere.create_trust_anchor(name="x", source=source, enabled=True)
    anchor = made["trustAnchor"]["trustAnchorArn"]
    issued = authority.issue(LeafRequest(ages, key=KeyKind.P_256))
    accounts.emulator.set_clock_offset(ahead)
    for seconds in (315_360_000, -315_360_000):
        accounts.emulator.set_fault(expiresInSeconds=seconds)
        granted = accounts.create_session(issued, now=time.time() + ahead, trustAnchorArn=anchor)
        expiration = _seconds(granted.json["credentialSet"][0]["credentials"]["expiration"])
        assert expiration == pytest.approx(time.time() + ahead + seconds, abs=10)
    with pytest.raises(ValueError, match="clockOffsetSeconds has to be"):
        accounts.emulator.set_clock_offset(ahead * 1000)
    with pytest.raises(ValueError, match="quotaPerSecond has to be"):
        accounts.emulator.set_quota(0)
    assert accounts.control("GET", "knobs").json["clockOffsetSeconds"] == ahead


# Ten kinds of tampering


def _header(name: str, change: Callable[[str], str]) -> Callable[[Request], Request]:
    return lambda request: request.with_header(name, change(request.header(name)))


def _next(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


TAMPERINGS: dict[str, Callable[[Request], Request]] = {
    "body": lambda request: replace(request, body=request.body.replace(b"arn:aws", b"arn:awt", 1)),
    "query": lambda request: replace(request, target=request.target + "?durationSeconds=43200"),
    "path": lambda request: replace(request, target="/sessions/../sessions?x"),
    "method": lambda request: replace(request, method="PUT"),
    "host": _header("Host", lambda _: "rolesanywhere.us-east-1.amazonaws.com"),
    "content type": _header("Content-Type", lambda text: text + "x"),
    "date": _header("X-Amz-Date", lambda text: text[:-2] + ("0" if text[-2] != "0" else "1") + "Z"),
    "certificate": _header("X-Amz-X509", lambda text: text[:-8] + ("A" if text[-8] != "A" else "B") + text[-7:]),
    "serial": _header("Authorization", lambda text: text.replace("Credential=", "Credential=1", 1)),
    "region": _header("Authorization", lambda text: text.replace("us-east-1", "us-east-2")),
    "signature": _header("Authorization", _next),
    "a header twice": lambda request: replace(request, headers=(*request.headers, request.headers[2])),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_what_was_changed_on_the_way_is_refused(accounts: Accounts, tampering: str) -> None:
    request = Signing.of(accounts.leaf(), time.time()).request(accounts.endpoint, accounts.arns)
    assert send(accounts.endpoint, TAMPERINGS[tampering](request)).status in {403, 404}
    assert send(accounts.endpoint, request).status == 201


# What stays, and what goes


def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    with running(Settings(tmp_path / "emulator")) as emulator:
        accounts = Accounts(emulator)
        client = accounts.roles_anywhere
        data = crl_of(accounts.authority, 77)
        client.import_crl(name="x", crlData=data, trustAnchorArn=accounts.arns["trustAnchorArn"], enabled=True)
        client.tag_resource(resourceArn=accounts.arns["profileArn"], tags=[{"key": "a", "value": "b"}])
        made = accounts.iam.create_role(RoleName="New", AssumeRolePolicyDocument=json.dumps(allow()))["Role"]
        accounts.session(instanceProperties={"host": "a"})
        before = emulator.state
    with running(Settings(tmp_path / "emulator")) as emulator:
        accounts = Accounts(emulator)
        assert emulator.state == before
        assert accounts.iam.get_role(RoleName="New")["Role"]["RoleId"] == made["RoleId"]
        assert accounts.create_session(accounts.leaf(serial=77)).refusal[2] == "Certificate revoked"
        assert len(accounts.roles_anywhere.list_subjects()["subjects"]) == 1


def test_what_is_kept_in_memory_only_is_gone_with_the_next_start(tmp_path: Path) -> None:
    for _ in range(2):
        with running(Settings(tmp_path / "emulator", in_memory=True)) as emulator:
            client = Accounts(emulator).roles_anywhere
            assert [one["name"] for one in client.list_profiles()["profiles"]] == ["emulator"]
            client.create_profile(name="mine", roleArns=[])
            Accounts(emulator).session()


def test_a_reset_leads_back_to_the_beginning(accounts: Accounts, tmp_path: Path, stranger: Any) -> None:
    (tmp_path / "stranger.pem").write_bytes(stranger.pem)
    with running(Settings(tmp_path / "emulator", extra_cas=(str(tmp_path / "stranger.pem"),))) as emulator:
        accounts = Accounts(emulator)
        before = accounts.administrator()
        client, iam = accounts.roles_anywhere, accounts.iam
        for anchor in client.list_trust_anchors()["trustAnchors"]:
            client.delete_trust_anchor(trustAnchorId=anchor["trustAnchorId"])
        client.delete_profile(profileId=accounts.arns["profileArn"])
        iam.delete_role(RoleName="EmulatorRole")
        accounts.administrator(other=True).client("iam").delete_role(RoleName="Consultant")
        accounts.control("POST", "knobs", {"lenient": True, "quotaPerSecond": 1, "clockOffsetSeconds": 1})
        emulator.set_fault(status=500)
        assert [role.name for role in emulator.state.roles] == []
        assert accounts.control("POST", "reset").status == 200
        assert accounts.control("GET", "requests").json == []
        assert accounts.control("GET", "knobs").json == {
            "lenient": False,
            "quotaPerSecond": None,
            "clockOffsetSeconds": 0.0,
        }
        assert accounts.create_session().status == 201
        extra = list(emulator.announcement["trustAnchors"].values())[1]
        assert accounts.create_session(accounts.leaf(stranger), trustAnchorArn=extra).status == 201
        assert accounts.administrator() == before
        assert [role.name for role in emulator.state.roles] == ["EmulatorRole", "Consultant"]
        assert json.loads(emulator.directory.file("state.json").read_text())["subjects"] == []
