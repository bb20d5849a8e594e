"""The STS calls that are needed to use what CreateSession issues: GetCallerIdentity and AssumeRole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.issuing import Grant, new_access_key_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.issuing import IssuedCredentials
    from rolesanywhere_helper.emulator.state import Role, State

VERSION = "2011-06-15"
SERVICE = "sts"
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_SHORTEST_SECONDS = 900
_LONGEST_SECONDS = 43_200
# IAM user guide, "Roles terms and concepts": role chaining limits the session to one hour.
_LONGEST_CHAINED_SECONDS = 3_600
_DEFAULT_SECONDS = 3_600


def read_form(arrival: Arrival) -> dict[str, str]:
    """Read the parameters: from a form-encoded body, or from the query of a GET."""
    text = arrival.query if arrival.method == "GET" else arrival.body.decode("utf-8", "replace")
    return dict(parse_qsl(text, keep_blank_values=True))


def require_action(form: Mapping[str, str], known: tuple[str, ...]) -> str:
    """Return the action that was asked for.

    Raises:
        Refusal: it is none of those known, or of another version.

    """
    action, version = form.get("Action", ""), form.get("Version", "")
    if action not in known or version != VERSION:
        raise Refusal("InvalidAction", f"Could not find operation {action} for version {version or 'NO_VERSION'}", 400)
    return action


def caller_identity(grant: Grant) -> dict[str, object]:
    """Build the result of GetCallerIdentity."""
    return {
        "Arn": grant.session_arn,
        "UserId": f"{grant.role_id}:{grant.session_name}",
        "Account": grant.session_arn.split(":")[4],
    }


def assume_role(state: State, caller: Grant, form: Mapping[str, str], now: float) -> Grant:
    """Decide whether the caller, itself a role's session, gets another role's (role chaining).

    Raises:
        Refusal: it does not.

    """
    arn, name = form.get("RoleArn", ""), form.get("RoleSessionName", "")
    if not arn.startswith("arn:") or not _SESSION_NAME.fullmatch(name):
        raise _invalid(r"RoleArn must be an ARN and RoleSessionName 2 to 64 of [\w+=,.@-]")
    seconds = _seconds(form.get("DurationSeconds"))
    role = _require_trust(state.find_role(arn), caller, arn, form)
    if seconds > _LONGEST_CHAINED_SECONDS:
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
        source_identity=caller.source_identity,
        expires_at=int(now) + seconds,
    )


def assumed(grant: Grant, credentials: IssuedCredentials, expiration: str) -> dict[str, object]:
    """Build the result of AssumeRole."""
    inherited = {"SourceIdentity": grant.source_identity} if grant.source_identity else {}
    return {
        "AssumedRoleUser": {"AssumedRoleId": f"{grant.role_id}:{grant.session_name}", "Arn": grant.session_arn},
        "Credentials": {
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "SessionToken": credentials.session_token,
            "Expiration": expiration,
        },
        **inherited,
    }


def _require_trust(role: Role | None, caller: Grant, arn: str, form: Mapping[str, str]) -> Role:
    # A source identity is handed on and cannot be changed (IAM user guide, "Monitor and control actions").
    changes_identity = form.get("SourceIdentity", caller.source_identity) != caller.source_identity
    if (
        role is None
        or caller.role_arn not in role.trusted_roles
        or (role.external_id is not None and form.get("ExternalId") != role.external_id)
        or changes_identity
    ):
        raise Refusal(
            "AccessDenied",
            f"User: {caller.session_arn} is not authorized to perform: sts:AssumeRole on resource: {arn}",
        )
    return role


def _seconds(text: str | None) -> int:
    if text is None:
        return _DEFAULT_SECONDS
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not _SHORTEST_SECONDS <= int(text) <= _LONGEST_SECONDS:
        raise _invalid(f"DurationSeconds must be a number from {_SHORTEST_SECONDS} to {_LONGEST_SECONDS}")
    return int(text)


def _invalid(message: str) -> Refusal:
    return Refusal("ValidationError", message, 400)
