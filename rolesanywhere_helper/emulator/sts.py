"""The STS calls that are needed to use what CreateSession issues: GetCallerIdentity and AssumeRole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from rolesanywhere_helper.emulator import circumstances, session_tags, trust_policies
from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.issuing import Grant, new_access_key_id

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.create_session import Moment
    from rolesanywhere_helper.emulator.issuing import IssuedCredentials
    from rolesanywhere_helper.emulator.state import Role, State, Tags

VERSION = "2011-06-15"
SERVICE = "sts"
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_SHORTEST_SECONDS = 900
_LONGEST_SECONDS = 43_200
# IAM user guide, "Roles terms and concepts": role chaining limits the session to one hour.
_LONGEST_CHAINED_SECONDS = 3_600
_DEFAULT_SECONDS = 3_600
_MOST_TAGS = 50
_TAG_KEY = re.compile(r"[\w .:/=+@-]{1,128}")


def read_form(arrival: Arrival) -> dict[str, str]:
    """Read the parameters: from a form-encoded body, or from the query of a GET."""
    text = arrival.query if arrival.method == "GET" else arrival.body.decode("utf-8", "replace")
    return dict(parse_qsl(text, keep_blank_values=True))


def members(form: Mapping[str, str], name: str) -> list[str]:
    """Read a list of the query protocol: ``Name.member.1``, ``Name.member.2`` and so on."""
    return _numbered(form, f"{name}.member.", "")


def tags_in(form: Mapping[str, str]) -> Tags:
    """Read ``Tags.member.1.Key`` and ``Tags.member.1.Value``, and so on."""
    keys, values = _numbered(form, "Tags.member.", ".Key"), _numbered(form, "Tags.member.", ".Value")
    return tuple(zip(keys, values, strict=False))


def _numbered(form: Mapping[str, str], before: str, after: str) -> list[str]:
    found: list[str] = []
    while (name := f"{before}{len(found) + 1}{after}") in form:
        found.append(form[name])
    return found


def require_action(form: Mapping[str, str], known: Collection[str], wanted: str = VERSION) -> str:
    """Return the action that was asked for.

    Raises:
        Refusal: it is none of those known, or of another version.

    """
    action, version = form.get("Action", ""), form.get("Version", "")
    if action not in known or version != wanted:
        raise Refusal("InvalidAction", f"Could not find operation {action} for version {version or 'NO_VERSION'}", 400)
    return action


def caller_identity(grant: Grant) -> dict[str, object]:
    """Build the result of GetCallerIdentity."""
    return {
        "Arn": grant.session_arn,
        "UserId": grant.user_id,
        "Account": grant.account,
    }


def assume_role(state: State, caller: Grant, form: Mapping[str, str], moment: Moment) -> Grant:
    """Decide whether the caller gets a role's session; for a role's session that is role chaining.

    Raises:
        Refusal: it does not.

    """
    arn, name = form.get("RoleArn", ""), form.get("RoleSessionName", "")
    if not arn.startswith("arn:") or not _SESSION_NAME.fullmatch(name):
        raise _invalid(r"RoleArn must be an ARN and RoleSessionName 2 to 64 of [\w+=,.@-]")
    seconds = _seconds(form.get("DurationSeconds"))
    role = state.find_role(arn)
    if role is None:
        raise _denied(caller, trust_policies.ASSUME_ROLE, arn, "there is no such role")
    request = _request(state, caller, role, form, moment)
    _require_trust(caller, request)
    if caller.role_arn and seconds > _LONGEST_CHAINED_SECONDS:
        raise _invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        )
    if seconds > role.max_session_seconds:
        raise _invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
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


def _request(state: State, caller: Grant, role: Role, form: Mapping[str, str], moment: Moment) -> circumstances.Request:
    """Read what is asked for, with what a chained session inherits: transitive tags and the source identity."""
    inherited = tuple((key, value) for key, value in caller.tags if key in caller.transitive_tag_keys)
    asked = tags_in(form)
    transitive = tuple(members(form, "TransitiveTagKeys"))
    if len(asked) > _MOST_TAGS or any(
        not _TAG_KEY.fullmatch(key) or not session_tags.is_value(value) for key, value in asked
    ):
        raise _invalid(f"Tags must be at most {_MOST_TAGS}, with keys and values of the documented form")
    if {key.lower() for key, _ in asked} & {key.lower() for key, _ in inherited}:
        raise Refusal("InvalidParameterValue", "One of the specified transitive tag keys can't be set", 400)
    if set(transitive) - {key for key, _ in asked}:
        raise Refusal("InvalidParameterValue", "The specified transitive tag key must be included in the tags", 400)
    return circumstances.Request(
        role,
        form["RoleSessionName"],
        moment.now,
        state.region,
        moment.remote,
        form.get("SourceIdentity", caller.source_identity),
        (*inherited, *asked),
        (*(key for key, _ in inherited), *transitive),
        form.get("ExternalId"),
    )


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


def _seconds(text: str | None) -> int:
    if text is None:
        return _DEFAULT_SECONDS
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not _SHORTEST_SECONDS <= int(text) <= _LONGEST_SECONDS:
        raise _invalid(f"DurationSeconds must be a number from {_SHORTEST_SECONDS} to {_LONGEST_SECONDS}")
    return int(text)


def _invalid(message: str) -> Refusal:
    return Refusal("ValidationError", message, 400)
