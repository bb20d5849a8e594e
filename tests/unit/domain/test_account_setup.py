"""What is left to do in an account: planned from what is wanted and what is found, without asking anybody."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rolesanywhere_helper.domain.account_setup import (
    UNKNOWN_ARN,
    Account,
    Action,
    FoundAnchor,
    FoundCrl,
    FoundProfile,
    FoundRole,
    Wanted,
    plan,
    trust_policy,
    wanted,
)
from rolesanywhere_helper.domain.arn import Arn, parse_caller_arn
from rolesanywhere_helper.errors import InvalidArnError, InvalidParameterError, UsageError

BUNDLE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
CRL = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
ANCHOR = "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/1"
ROLE = "arn:aws:iam::111122223333:role/build"
CALLER = Arn("aws", "iam", "", "111122223333", "user/me")
NOTHING = Account(CALLER, "eu-central-1")


def asked(**changed: Any) -> Wanted:
    values: dict[str, Any] = {
        "name": "build",
        "role_name": "build",
        "bundle": BUNDLE,
        "subjects": {"CN": ["build-7"]},
        "duration_seconds": 3600,
    }
    return wanted(**(values | changed))


def complete(wanted: Wanted, *, is_ours: bool = True) -> Account:
    return replace(
        NOTHING,
        anchor=FoundAnchor(ANCHOR, wanted.bundle, is_enabled=True, is_ours=is_ours),
        role=FoundRole(ROLE, trust_policy(ANCHOR, wanted.subjects), 3600, is_ours, wanted.policy_arns),
        profile=FoundProfile("arn:p", (ROLE,), 3600, is_enabled=True, is_ours=is_ours),
    )


def actions(wanted: Wanted, account: Account) -> list[Action]:
    return [step.action for step in plan(wanted, account)]


def test_in_an_empty_account_everything_is_to_be_made_in_this_order() -> None:
    steps = plan(asked(policy_arns=["arn:aws:iam::aws:policy/X"]), NOTHING)

    assert [step.action for step in steps] == [
        Action.CREATE_ANCHOR,
        Action.CREATE_ROLE,
        Action.ATTACH_POLICY,
        Action.CREATE_PROFILE,
    ]
    assert UNKNOWN_ARN in str(steps[1])


@pytest.mark.parametrize("is_ours", [True, False])
def test_where_everything_is_there_nothing_is_to_be_done(is_ours: bool) -> None:  # noqa: FBT001 - a parameter
    assert plan(asked(), complete(asked(), is_ours=is_ours)) == ()


def test_a_policy_that_iam_writes_otherwise_is_the_same_policy() -> None:
    wanted = asked(subjects={"CN": ["a", "b"]})
    account = complete(wanted)
    assert account.role is not None
    document = json.loads(json.dumps(trust_policy(ANCHOR, wanted.subjects)))
    [statement] = document["Statement"]
    statement["Action"].reverse()
    statement["Principal"]["Service"] = [statement["Principal"]["Service"]]
    statement["Condition"]["StringEquals"]["aws:PrincipalTag/x509Subject/CN"].reverse()
    same = replace(account, role=replace(account.role, trust_policy=document))
    assert plan(wanted, same) == ()

    statement["Action"].pop()
    assert actions(wanted, same) == [Action.CHANGE_TRUST_POLICY]


def test_line_ends_of_a_bundle_are_no_difference_and_another_certificate_is() -> None:
    account = complete(asked())
    assert account.anchor is not None
    other_lines = replace(account, anchor=replace(account.anchor, bundle=BUNDLE.replace("\n", "\r\n")))
    assert plan(asked(), other_lines) == ()
    assert actions(asked(bundle=BUNDLE.replace("AAAA", "BBBB")), account) == [Action.CHANGE_ANCHOR]


def test_a_new_trust_anchor_changes_the_policy_of_a_role_that_there_is() -> None:
    account = replace(complete(asked()), anchor=None)
    assert actions(asked(), account) == [Action.CREATE_ANCHOR, Action.CHANGE_TRUST_POLICY]


def test_a_revocation_list_is_imported_before_anybody_is_let_in() -> None:
    both = asked(crl=CRL)
    assert actions(both, NOTHING)[:3] == [Action.CREATE_ANCHOR, Action.IMPORT_CRL, Action.CREATE_ROLE]
    account = complete(both)
    assert account.anchor is not None
    disabled = replace(account, anchor=replace(account.anchor, is_enabled=False))
    assert actions(both, disabled) == [Action.IMPORT_CRL, Action.ENABLE_ANCHOR]
    # Also for a trust anchor that others have made: the list is the CA's.
    assert actions(both, complete(both, is_ours=False)) == [Action.IMPORT_CRL]


@pytest.mark.parametrize(
    ("content", "is_enabled", "left"),
    [
        (CRL.encode(), True, []),
        (b"\0\0\0", True, []),  # as DER
        (CRL.replace("\n", "\r\n").encode(), True, []),
        (CRL.encode(), False, [Action.ENABLE_CRL]),
        (b"\1", False, [Action.REPLACE_CRL, Action.ENABLE_CRL]),
    ],
)
def test_a_revocation_list_that_is_there_is_compared(content: bytes, is_enabled: bool, left: list[Action]) -> None:  # noqa: FBT001 - a parameter
    account = replace(complete(asked()), crl=FoundCrl("1", content, is_enabled))
    assert actions(asked(crl=CRL), account) == left
    assert actions(asked(), account) == []


def test_a_role_under_a_path_is_listed_as_it_is() -> None:
    account = complete(asked())
    assert account.role is not None
    moved = replace(account, role=replace(account.role, arn=ROLE.replace("role/", "role/ci/")))
    [step] = plan(asked(), moved)
    assert (step.action, step.details) == (Action.CHANGE_PROFILE, ("role: arn:aws:iam::111122223333:role/ci/build",))


@pytest.mark.parametrize(
    "changed",
    [
        {"bundle": BUNDLE.replace("AAAA", "BBBB")},
        {"subjects": {"CN": ["build-8"]}},
        {"duration_seconds": 7200},
        {"policy_arns": ["arn:aws:iam::aws:policy/X"]},
    ],
)
def test_what_is_not_ours_is_never_changed(changed: dict[str, Any]) -> None:
    assert plan(asked(**changed), complete(asked()))
    with pytest.raises(UsageError, match="this set-up has not made"):
        plan(asked(**changed), complete(asked(), is_ours=False))


def test_wildcards_need_the_operator_that_reads_them() -> None:
    conditions = trust_policy(ANCHOR, asked(subjects={"CN": ["a*"], "O": ["E"], "OU": ["b", "c"]}).subjects)
    assert conditions["Statement"][0]["Condition"] == {
        "ArnEquals": {"aws:SourceArn": ANCHOR},
        "StringLike": {"aws:PrincipalTag/x509Subject/CN": "a*"},
        "StringEquals": {
            "aws:PrincipalTag/x509Subject/OU": ["b", "c"],
            "aws:PrincipalTag/x509Subject/O": "E",
        },
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "two words"},
        {"name": ""},
        {"role_name": "a/b"},
        {"subjects": {"CN": ["x" * 257]}},
        {"subjects": {"CN": ["${aws:username}"]}},
        {"policy_arns": ["arn:aws:iam::aws:policy/{{resolve:ssm:x}}"]},
        {"subjects": {"OU": ["{{resolve:ssm:x}}"]}},
    ],
)
def test_what_aws_would_refuse_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError):
        asked(**changed)


def test_a_caller_is_a_user_a_session_or_the_root_user() -> None:
    for text in ("arn:aws:iam::111122223333:root", "arn:aws-cn:sts::111122223333:assumed-role/Admin/me"):
        assert str(parse_caller_arn(text)) == text
    with pytest.raises(InvalidArnError):
        parse_caller_arn("111122223333")
