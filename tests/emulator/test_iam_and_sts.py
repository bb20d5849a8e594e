"""IAM roles and STS: enough for a closed loop, evaluated by the same trust policies as CreateSession."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.emulator.signing import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.emulator.conftest import Account, Accounts

    ErrorOf = Callable[[Callable[[], Any]], tuple[int, str, str]]

ALL = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]


def policy(principal: Any, actions: list[str] | None = None, condition: dict[str, Any] | None = None) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": actions or ALL}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


SERVICE = policy({"Service": "rolesanywhere.amazonaws.com"})


@pytest.fixture
def iam(accounts: Accounts) -> Any:
    return accounts.iam


@pytest.fixture
def session(accounts: Accounts) -> Account:
    """Return a session of the first account's role."""
    return accounts.session(roleSessionName="deploy")


def credentials_of(answer: Any, endpoint: str, kind: type[Account]) -> Account:
    made = answer["Credentials"]
    return kind(endpoint, made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])


# IAM


def test_a_role_is_made_shown_changed_and_deleted(iam: Any, accounts: Accounts, error_of: ErrorOf) -> None:
    tags = [{"Key": "team", "Value": "build"}]
    made = iam.create_role(
        RoleName="New", Path="/a/b/", AssumeRolePolicyDocument=SERVICE, Description="d <&>", Tags=tags
    )["Role"]
    assert made["Arn"] == "arn:aws:iam::111122223333:role/a/b/New"
    assert made["AssumeRolePolicyDocument"] == json.loads(SERVICE)
    assert (made["MaxSessionDuration"], made["Description"]) == (3600, "d <&>")
    assert iam.get_role(RoleName="New")["Role"] == made
    iam.update_role(RoleName="New", MaxSessionDuration=7200, Description="e")
    iam.untag_role(RoleName="New", TagKeys=["team"])
    iam.tag_role(RoleName="New", Tags=[{"Key": "x", "Value": "y"}])
    shown = iam.get_role(RoleName="New")["Role"]
    assert (shown["MaxSessionDuration"], shown["Description"]) == (7200, "e")
    assert iam.list_role_tags(RoleName="New")["Tags"] == shown["Tags"] == [{"Key": "x", "Value": "y"}]
    assert iam.update_role_description(RoleName="New", Description="f")["Role"]["Description"] == "f"
    assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == ["EmulatorRole", "New"]
    assert [role["RoleName"] for role in iam.list_roles(PathPrefix="/a/")["Roles"]] == ["New"]
    assert iam.list_instance_profiles_for_role(RoleName="New")["InstanceProfiles"] == []
    taken = error_of(lambda: iam.create_role(RoleName="new", AssumeRolePolicyDocument=SERVICE))
    assert taken[:2] == (409, "EntityAlreadyExists")
    iam.delete_role(RoleName="New")
    assert error_of(lambda: iam.get_role(RoleName="New"))[:2] == (404, "NoSuchEntity")
    assert accounts.last()["operation"] == "GetRole"


def test_policies_are_kept_and_must_go_before_the_role(iam: Any, error_of: ErrorOf) -> None:
    managed = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    role = {"RoleName": "EmulatorRole"}
    document = {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_role_policy(**role, PolicyName="p", PolicyDocument=json.dumps(document))
    iam.attach_role_policy(**role, PolicyArn=managed)
    assert iam.list_role_policies(**role)["PolicyNames"] == ["p"]
    assert iam.get_role_policy(**role, PolicyName="p")["PolicyDocument"] == document
    attached = iam.list_attached_role_policies(**role)["AttachedPolicies"]
    assert attached == [{"PolicyName": "ReadOnlyAccess", "PolicyArn": managed}]
    assert error_of(lambda: iam.delete_role(**role))[:2] == (409, "DeleteConflict")
    iam.detach_role_policy(**role, PolicyArn=managed)
    assert error_of(lambda: iam.delete_role(**role))[:2] == (409, "DeleteConflict")
    iam.delete_role_policy(**role, PolicyName="p")
    for act in (
        lambda: iam.detach_role_policy(**role, PolicyArn=managed),
        lambda: iam.delete_role_policy(**role, PolicyName="p"),
        lambda: iam.get_role_policy(**role, PolicyName="p"),
    ):
        assert error_of(act)[:2] == (404, "NoSuchEntity")
    iam.delete_role(**role)


def test_roles_come_in_pages(iam: Any) -> None:
    for number in range(4):
        iam.create_role(RoleName=f"r{number}", AssumeRolePolicyDocument=SERVICE)
    pages = list(iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["Roles"]) for page in pages] == [2, 2, 1]


@pytest.mark.parametrize(
    "document",
    [
        "no JSON",
        "[]",
        '{"Statement": []}',
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"}]}',
        SERVICE.replace('"Effect"', '"Resource": "*", "Effect"'),
        SERVICE.replace("Allow", "Maybe"),
        SERVICE.replace('"Allow"', '{"Allow": 1}'),
        SERVICE.replace("sts:AssumeRole", "s3:GetObject"),
        SERVICE.replace('"Service"', '"Servant"'),
        policy({"AWS": "somebody"}),
        policy({"AWS": "111122223333"}, None, {"StringSame": {"a": "b"}}),
        SERVICE.replace("2012-10-17", "2020-01-01"),
    ],
    ids=lambda text: text[:50],
)
def test_a_document_that_is_no_trust_policy_is_malformed(iam: Any, error_of: ErrorOf, document: str) -> None:
    refused = error_of(lambda: iam.update_assume_role_policy(RoleName="EmulatorRole", PolicyDocument=document))
    assert refused[:2] == (400, "MalformedPolicyDocument")
    iam.update_assume_role_policy(RoleName="EmulatorRole", PolicyDocument=SERVICE)


def test_every_account_has_its_own_roles(accounts: Accounts, error_of: ErrorOf) -> None:
    other = accounts.administrator(other=True).client("iam")
    assert [role["RoleName"] for role in other.list_roles()["Roles"]] == ["Consultant"]
    assert error_of(lambda: other.get_role(RoleName="EmulatorRole"))[:2] == (404, "NoSuchEntity")
    other.delete_role(RoleName="Consultant")
    assert other.list_roles()["Roles"] == []
    assert accounts.iam.get_role(RoleName="EmulatorRole")


def test_an_action_that_is_not_played_is_an_invalid_one(accounts: Accounts, iam: Any, error_of: ErrorOf) -> None:
    assert error_of(iam.list_users)[:2] == (400, "InvalidAction")
    bare = call(accounts.endpoint, "GET", "/?Action=ListRoles&Version=2010-05-08")
    assert (bare.status, b"<Code>MissingAuthenticationToken</Code>" in bare.body) == (403, True)


def test_a_closed_loop_from_nothing(accounts: Accounts) -> None:
    """Trust anchor, role and profile are made through the APIs alone, and lead to a session that STS knows."""
    anchors, iam = accounts.roles_anywhere, accounts.iam
    data = {"x509CertificateData": accounts.authority.pem.decode()}
    source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": data}
    anchor = anchors.create_trust_anchor(name="loop", source=source, enabled=True)["trustAnchor"]["trustAnchorArn"]
    condition = {"ArnEquals": {"aws:SourceArn": anchor}, "StringEquals": {"aws:PrincipalTag/x509Subject/CN": "client"}}
    document = policy({"Service": "rolesanywhere.amazonaws.com"}, ALL, condition)
    role = iam.create_role(RoleName="Loop", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    profile = anchors.create_profile(name="loop", roleArns=[role], enabled=True)["profile"]["profileArn"]
    asked = {"trustAnchorArn": anchor, "profileArn": profile, "roleArn": role}
    identity = accounts.session(**asked).client("sts").get_caller_identity()
    assert ":assumed-role/Loop/" in identity["Arn"]
    assert accounts.create_session(accounts.leaf(subject=(("CN", "other"),)), **asked).status == 403
    assert accounts.create_session(**{**asked, "trustAnchorArn": accounts.arns["trustAnchorArn"]}).status == 403


# STS


def test_an_administrator_is_a_user_of_its_account(accounts: Accounts) -> None:
    for other, account in ((False, "111122223333"), (True, accounts.emulator.state.accounts[1])):
        identity = accounts.administrator(other=other).client("sts").get_caller_identity()
        assert identity["Account"] == account
        assert identity["Arn"] == f"arn:aws:iam::{account}:user/EmulatorAdministrator"
        assert identity["UserId"].startswith("AIDA")
        assert (
            accounts.administrator(other=other).access_key_id == accounts.emulator.administrators[other].access_key_id
        )


def test_an_administrators_key_with_a_session_token_is_none(accounts: Accounts, error_of: ErrorOf) -> None:
    key = accounts.administrator()
    mixed = type(key)(key.endpoint, key.access_key_id, key.secret_access_key, "x")
    assert error_of(mixed.client("sts").get_caller_identity)[:2] == (403, "InvalidClientTokenId")


@pytest.mark.parametrize(
    "principal",
    [
        {"AWS": "arn:aws:iam::111122223333:role/EmulatorRole"},
        {"AWS": "arn:aws:iam::111122223333:root"},
        {"AWS": "111122223333"},
        {"AWS": ["444455556666", "arn:aws:sts::111122223333:assumed-role/EmulatorRole/deploy"]},
        {"AWS": "*"},
        "*",
    ],
    ids=str,
)
def test_a_caller_has_several_names(accounts: Accounts, session: Account, principal: Any, error_of: ErrorOf) -> None:
    other = accounts.administrator(other=True).client("iam")
    arn = other.get_role(RoleName="Consultant")["Role"]["Arn"]

    def assume() -> Any:
        return session.client("sts").assume_role(RoleArn=arn, RoleSessionName="chained")

    other.update_assume_role_policy(RoleName="Consultant", PolicyDocument=policy(principal))
    assert assume()["AssumedRoleUser"]["Arn"].endswith("/Consultant/chained")
    nobody = policy({"AWS": "arn:aws:iam::111122223333:user/Nobody"})
    other.update_assume_role_policy(RoleName="Consultant", PolicyDocument=nobody)
    assert error_of(assume)[:2] == (403, "AccessDenied")


@pytest.fixture
def target(accounts: Accounts) -> Callable[..., str]:
    """Give the other account's role a trust policy for the first account, and return its ARN."""

    def trusting(actions: list[str] | None = None, condition: dict[str, Any] | None = None) -> str:
        other = accounts.administrator(other=True).client("iam")
        document = policy({"AWS": "111122223333"}, actions, condition)
        other.update_assume_role_policy(RoleName="Consultant", PolicyDocument=document)
        return str(other.get_role(RoleName="Consultant")["Role"]["Arn"])

    return trusting


def test_conditions_see_who_calls_and_what_is_asked(
    accounts: Accounts, session: Account, target: Callable[..., str], error_of: ErrorOf
) -> None:
    sts = session.client("sts")
    right: list[dict[str, Any]] = [
        {"StringEquals": {"sts:ExternalId": "secret"}},
        {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/EmulatorRole"}},
        {"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "client"}},
        {"StringLike": {"sts:RoleSessionName": "chain*", "aws:userid": "AROA*:deploy"}},
        {"StringEquals": {"aws:SourceIdentity": "CN=client"}},
        {"StringEquals": {"aws:PrincipalType": "AssumedRole", "aws:PrincipalAccount": "111122223333"}},
        {"StringEquals": {"sts:SourceIdentity": "${aws:SourceIdentity}"}},
    ]
    wrong: list[dict[str, Any]] = [
        {"StringEquals": {"sts:ExternalId": "another"}},
        {"ArnEquals": {"aws:SourceArn": accounts.arns["trustAnchorArn"]}},
        {"StringEquals": {"aws:RequestTag/x509Subject/CN": "client"}},
    ]
    for condition in (*right, *wrong):
        arn = target(None, condition)
        asked = {"RoleArn": arn, "RoleSessionName": "chained", "ExternalId": "secret"}
        if condition in right:
            assert sts.assume_role(**asked), condition
        else:
            assert error_of(partial(sts.assume_role, **asked))[:2] == (403, "AccessDenied"), condition


def test_transitive_tags_go_along_the_chain_and_others_do_not(
    accounts: Accounts, session: Account, target: Callable[..., str], error_of: ErrorOf
) -> None:
    accounts.iam.create_role(RoleName="Last", AssumeRolePolicyDocument=policy({"AWS": "*"}))
    last = "arn:aws:iam::111122223333:role/Last"
    tags = [{"Key": "team", "Value": "build"}, {"Key": "step", "Value": "1"}]
    answer = session.client("sts").assume_role(
        RoleArn=target(), RoleSessionName="first", Tags=tags, TransitiveTagKeys=["team"]
    )
    second = credentials_of(answer, accounts.endpoint, type(session)).client("sts")

    def needs(key: str) -> Any:
        document = policy({"AWS": "*"}, ALL, {"Null": {f"aws:RequestTag/{key}": "false"}})
        accounts.iam.update_assume_role_policy(RoleName="Last", PolicyDocument=document)
        return second.assume_role(RoleArn=last, RoleSessionName="second")

    assert needs("team")["SourceIdentity"] == "CN=client"
    assert error_of(lambda: needs("step"))[:2] == (403, "AccessDenied")
    again = error_of(lambda: second.assume_role(RoleArn=last, RoleSessionName="again", Tags=tags[:1]))
    assert again[:2] == (400, "InvalidParameterValue")


def test_tags_and_source_identities_need_their_own_permission(
    session: Account, target: Callable[..., str], error_of: ErrorOf
) -> None:
    sts = session.client("sts")
    asked = {"RoleSessionName": "me", "Tags": [{"Key": "a", "Value": "b"}]}
    for missing in ALL:
        arn = target([action for action in ALL if action != missing])
        status, code, message = error_of(partial(sts.assume_role, RoleArn=arn, **asked))
        assert (status, code) == (403, "AccessDenied")
        assert f"is not authorized to perform: {missing} on" in message
    assert sts.assume_role(RoleArn=target(), **asked)


@pytest.mark.parametrize(
    "asked",
    [
        {"Tags": [{"Key": "a", "Value": "*"}]},
        {"Tags": [{"Key": "a", "Value": "b"}], "TransitiveTagKeys": ["c"]},
        {"DurationSeconds": 3601},
    ],
    ids=str,
)
def test_what_sts_does_not_take_is_refused(
    session: Account, target: Callable[..., str], error_of: ErrorOf, asked: dict[str, Any]
) -> None:
    sts, arn = session.client("sts"), target()
    assert error_of(lambda: sts.assume_role(RoleArn=arn, RoleSessionName="me", **asked))[0] == 400
    assert sts.assume_role(RoleArn=arn, RoleSessionName="me")


def test_only_a_chained_session_is_bound_to_an_hour(accounts: Accounts, error_of: ErrorOf) -> None:
    accounts.iam.create_role(
        RoleName="Long", AssumeRolePolicyDocument=policy({"AWS": "111122223333"}), MaxSessionDuration=7200
    )
    asked = {"RoleArn": "arn:aws:iam::111122223333:role/Long", "RoleSessionName": "me"}
    sts = accounts.administrator().client("sts")
    answer = sts.assume_role(**asked, DurationSeconds=7200)
    assert "SourceIdentity" not in answer
    assert error_of(lambda: sts.assume_role(**asked, DurationSeconds=7201))[:2] == (400, "ValidationError")
