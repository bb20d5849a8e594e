"""The STS calls that are needed to use what CreateSession issues: GetCallerIdentity and AssumeRole."""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.emulator import circumstances, policy_documents, trust_policies
from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.issuing import Grant, new_access_key_id
from rolesanywhere_helper.emulator.query import invalid, read_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.emulator.create_session import Moment
    from rolesanywhere_helper.emulator.issuing import IssuedCredentials
    from rolesanywhere_helper.emulator.state import Role, State

VERSION = "2011-06-15"
SERVICE = "sts"
# STS checks only that it looks like an ARN; whether there is such a role it does not tell.
_ARN = re.compile(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+", re.DOTALL)
# IAM user guide, "Roles terms and concepts": role chaining limits the session to one hour.
_LONGEST_CHAINED_SECONDS = 3_600
_DEFAULT_SECONDS = 3_600
_MOST_TAGS = 50
# STS API reference, AssumeRole.
_MOST_POLICY_ARNS = 10
_LONGEST_POLICY = 2_048


def caller_identity(grant: Grant) -> dict[str, object]:
    """Build the result of GetCallerIdentity."""
    return {
        "Arn": grant.session_arn,
        "UserId": grant.user_id,
        "Account": grant.account,
    }


def assume_role(state: State, caller: Grant, asked: Mapping[str, Any], moment: Moment) -> Grant:
    """Decide whether the caller gets a role's session; for a role's session that is role chaining.

    Raises:
        Refusal: it does not.

    """
    arn, name = asked["RoleArn"], asked["RoleSessionName"]
    if not _ARN.fullmatch(arn):
        raise invalid(f"{arn} is invalid")
    seconds = asked.get("DurationSeconds", _DEFAULT_SECONDS)
    _require_session_policies(asked)
    role = state.find_role(arn)
    if role is None:
        raise _denied(caller, trust_policies.ASSUME_ROLE, arn, "there is no such role")
    request = _request(state, caller, role, asked, moment)
    _require_trust(caller, request)
    if caller.role_arn and seconds > _LONGEST_CHAINED_SECONDS:
        raise invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        )
    if seconds > role.max_session_seconds:
        raise invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    return Grant(
        access_key_id=new_access_key_id(),
        role_arn=role.arn,
        role_id=role.role_id,
        session_arn=role.session_arn(name),
        session_name=name,
        source_identity=request.source_identity,
        expires_at=int(moment.now) + seconds,
        tags=request.tags,
        transitive_tag_keys=request.transitive_tag_keys,
    )


def assumed(grant: Grant, credentials: IssuedCredentials, expiration: str) -> dict[str, object]:
    """Build the result of AssumeRole."""
    inherited = {"SourceIdentity": grant.source_identity} if grant.source_identity else {}
    return {
        "AssumedRoleUser": {"AssumedRoleId": grant.user_id, "Arn": grant.session_arn},
        "Credentials": {
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "SessionToken": credentials.session_token,
            "Expiration": expiration,
        },
        **inherited,
    }


def _require_session_policies(asked: Mapping[str, Any]) -> None:
    """Require session policies that STS would take; what they say is not evaluated."""
    arns = [descriptor.get("arn", "") for descriptor in asked.get("PolicyArns", ())]
    if len(arns) > _MOST_POLICY_ARNS:
        raise invalid(
            "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: "
            f"Member must have length less than or equal to {_MOST_POLICY_ARNS}"
        )
    for arn in arns:
        if not policy_documents.MANAGED_POLICY.fullmatch(arn):
            raise invalid(f"{arn} is invalid")
    text = asked.get("Policy")
    if text is None:
        return
    try:
        policy_documents.require_identity_policy(text)
    except policy_documents.MalformedPolicyError as error:
        raise Refusal("MalformedPolicyDocument", str(error), 400) from None
    if len(text) > _LONGEST_POLICY:
        share = ceil(100 * len(text) / _LONGEST_POLICY)
        message = f"Packed policy consumes {share}% of allotted space, please use smaller policy."
        raise Refusal("PackedPolicyTooLarge", message, 400)


def _request(
    state: State, caller: Grant, role: Role, asked: Mapping[str, Any], moment: Moment
) -> circumstances.Request:
    """Read what is asked for, with what a chained session inherits: transitive tags and the source identity."""
    inherited = tuple((key, value) for key, value in caller.tags if key in caller.transitive_tag_keys)
    tags = read_tags(asked.get("Tags", ()), "InvalidParameterValue")
    keys, passed_on = {key.lower() for key, _ in tags}, {key.lower() for key in asked.get("TransitiveTagKeys", ())}
    if keys & {key.lower() for key, _ in inherited}:
        raise _wrong_value(
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from "
            "the calling session."
        )
    if passed_on - keys:
        raise _wrong_value("The specified transitive tag key must be included in the requested tags.")
    if len(inherited) + len(tags) > _MOST_TAGS:
        raise _wrong_value(f"A session can have {_MOST_TAGS} tags, with those of the calling session.")
    return circumstances.Request(
        role,
        asked["RoleSessionName"],
        moment.now,
        state.region,
        moment.remote,
        asked.get("SourceIdentity", caller.source_identity),
        (*inherited, *tags),
        (*(key for key, _ in inherited), *(key for key, _ in tags if key.lower() in passed_on)),
        asked.get("ExternalId"),
    )


def _wrong_value(message: str) -> Refusal:
    return Refusal("InvalidParameterValue", message, 400)


def _require_trust(caller: Grant, request: circumstances.Request) -> None:
    arn = request.role.arn
    if caller.source_identity is not None and request.source_identity != caller.source_identity:
        # It is handed on and cannot be changed (IAM user guide, "Monitor and control actions").
        raise _denied(caller, trust_policies.SET_SOURCE_IDENTITY, arn, "the source identity cannot be changed")
    actions = [trust_policies.ASSUME_ROLE]
    if request.tags:
        actions.append(trust_policies.TAG_SESSION)
    if request.source_identity is not None:
        actions.append(trust_policies.SET_SOURCE_IDENTITY)
    call = circumstances.of_caller(request, caller)
    for action in actions:
        reason = trust_policies.why_not(request.role.trust_policy, call, (action,))
        if reason is not None:
            raise _denied(caller, action, arn, reason)


def _denied(caller: Grant, action: str, arn: str, reason: str) -> Refusal:
    message = f"User: {caller.session_arn} is not authorized to perform: {action} on resource: {arn}"
    return Refusal("AccessDenied", message, reason=reason)
