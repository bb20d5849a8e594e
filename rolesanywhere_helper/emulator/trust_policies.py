"""Trust policies of roles: the documents that say who may assume a role, read and evaluated.

Only trust policies are evaluated here, and of them everything but ``NotPrincipal`` and ``BinaryEquals``. What a
caller's own account would have to allow in an identity policy counts as allowed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rolesanywhere_helper.emulator.conditions import UnevaluatedError, holds, matches_pattern
from rolesanywhere_helper.emulator.policy_documents import (
    SYNTAX,
    TRUST_ELEMENTS,
    VERSIONS,
    MalformedPolicyError,
    conditions,
    one_of,
    read,
    texts,
    wanted_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rolesanywhere_helper.emulator.conditions import Context
    from rolesanywhere_helper.emulator.policy_documents import Policy, Statement

SERVICE = "rolesanywhere.amazonaws.com"
ASSUME_ROLE = "sts:AssumeRole"
TAG_SESSION = "sts:TagSession"
SET_SOURCE_IDENTITY = "sts:SetSourceIdentity"
_ACTIONS = (ASSUME_ROLE, TAG_SESSION, SET_SOURCE_IDENTITY)
# IAM and STS service authorization reference: every action that a role's trust policy can be about.
_KNOWN_ACTIONS = (*_ACTIONS, "sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity", "sts:SetContext")
_INVALID_PRINCIPAL = 'Invalid principal in policy: "{}":"{}"'
_PRINCIPALS = frozenset(("AWS", "Service", "Federated", "CanonicalUser"))
# IAM user guide, "AWS JSON policy elements: Principal": no part of a name can be a wildcard, but everybody is a star.
_NAME = r"[\w+=,.@-]+"
_AWS_PRINCIPAL = re.compile(
    r"\*|\d{12}|arn:aws[a-z-]*:(?:iam::\d{12}:(?:root|(?:user|role)/(?:[!-)+->@-~]+/)?" + _NAME + ")"
    r"|sts::\d{12}:(?:assumed-role/" + _NAME + "/" + _NAME + "|federated-user/" + _NAME + "))",
    re.ASCII,
)
_HOST_NAME = r"[a-z0-9-]+(?:\.[a-z0-9-]+)+"
_SERVICE_PRINCIPAL = re.compile(_HOST_NAME, re.ASCII)
_FEDERATED_PRINCIPAL = re.compile(
    rf"{_HOST_NAME}|arn:aws[a-z-]*:iam::\d{{12}}:(?:saml|oidc)-provider/[^\s*?]+", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and under which circumstances.

    ``principals`` are all names that a policy can have for the caller: (``Service`` or ``AWS``, name).
    """

    principals: frozenset[tuple[str, str]]
    context: Context


def statement(principal: Mapping[str, object], condition: Mapping[str, object] | None = None) -> Statement:
    """Make a statement that lets somebody assume the role, tag the session and set its source identity."""
    more = {"Condition": dict(condition)} if condition else {}
    return {"Effect": "Allow", "Principal": dict(principal), "Action": list(_ACTIONS), **more}


def document(*statements: Statement) -> str:
    """Write a policy document."""
    return json.dumps({"Version": VERSIONS[0], "Statement": list(statements)})


def for_roles_anywhere(condition: Mapping[str, object] | None = None) -> str:
    """Write the trust policy of a role for Roles Anywhere, under a condition if one is given."""
    return document(statement({"Service": SERVICE}, condition))


def for_principals(arns: Iterable[str], condition: Mapping[str, object] | None = None) -> str:
    """Write a trust policy for roles, users or accounts."""
    return document(statement({"AWS": list(arns)}, condition))


ROLES_ANYWHERE = for_roles_anywhere()
NOBODY = document({"Effect": "Deny", "Principal": "*", "Action": "sts:*"})


def require_well_formed(text: str) -> None:
    """Check a document as IAM does when it is stored, but for :func:`require_principals`.

    Raises:
        MalformedPolicyError: it is no trust policy.

    """
    _read(text)


def require_principals(text: str, is_there: Callable[[str], bool]) -> None:
    """Require that there are all principals of the type AWS that a well-formed document names.

    Raises:
        MalformedPolicyError: one is not there.

    """
    for one in _read(text).statements:
        principal = one.get("Principal", one.get("NotPrincipal"))
        for name in texts(principal.get("AWS", []) if isinstance(principal, dict) else []):
            if not is_there(name):
                raise MalformedPolicyError(_INVALID_PRINCIPAL.format("AWS", name))


def why_not(text: str, call: Call, actions: Iterable[str]) -> str | None:
    """Say why a policy does not let a caller do all of these actions; None if it does."""
    try:
        policy = _read(text)
        statements = [one for one in policy.statements if _is_about(one, call)]
        for action in actions:
            effects = {
                one["Effect"] for one in statements if _covers(one, action) and _is_met(one, call.context, policy)
            }
            if "Deny" in effects:
                return f"the trust policy denies {action}"
            if "Allow" not in effects:
                return f"no statement of the trust policy allows {action} to this caller under these conditions"
    except UnevaluatedError as error:
        return f"the emulator does not evaluate {error}"
    except MalformedPolicyError as error:
        return f"the trust policy is malformed: {error}"
    return None


def _read(text: str) -> Policy:
    policy = read(text, TRUST_ELEMENTS)
    for one in policy.statements:
        _require_principals(one)
        for action in one_of(one, "Action", "NotAction", SYNTAX):
            if not any(matches_pattern(known.lower(), action.lower()) for known in _KNOWN_ACTIONS):
                raise MalformedPolicyError("AssumeRole policy may only specify STS AssumeRole actions.")
    return policy


def _require_principals(one: Statement) -> None:
    given = [one[name] for name in ("Principal", "NotPrincipal") if name in one]
    if not given:
        raise MalformedPolicyError("Missing required field Principal")
    principal = given[0]
    if len(given) > 1 or not (principal == "*" or (isinstance(principal, dict) and principal)):
        raise MalformedPolicyError(SYNTAX)
    if principal == "*":
        return
    if set(principal) - _PRINCIPALS:
        raise MalformedPolicyError(SYNTAX)
    for kind, names in principal.items():
        for name in texts(names):
            _require_principal(kind, name)


def _require_principal(kind: str, name: str) -> None:
    if kind == "Federated" and not _FEDERATED_PRINCIPAL.fullmatch(name):
        raise MalformedPolicyError("Federated principals must be valid domain names or SAML metadata ARNs")
    known = {"AWS": _AWS_PRINCIPAL, "Service": _SERVICE_PRINCIPAL}.get(kind)
    if known is not None and not known.fullmatch(name):
        raise MalformedPolicyError(_INVALID_PRINCIPAL.format(kind.upper(), name))


def _is_about(one: Statement, call: Call) -> bool:
    if "NotPrincipal" in one:
        raise UnevaluatedError("NotPrincipal")
    principal = one.get("Principal")
    if principal == "*":
        return True
    if not isinstance(principal, dict):
        raise MalformedPolicyError(SYNTAX)
    named = {(kind, name) for kind, names in principal.items() for name in texts(names)}
    return bool(named & call.principals) or ("AWS", "*") in named


def _covers(one: Statement, action: str) -> bool:
    if "Action" not in one:
        return not _is_one_of(action, one.get("NotAction"))
    return _is_one_of(action, one["Action"])


def _is_one_of(action: str, patterns: object) -> bool:
    return any(matches_pattern(action.lower(), pattern.lower()) for pattern in texts(patterns))


def _is_met(one: Statement, context: Context, policy: Policy) -> bool:
    # All of them, so that what is not evaluated is found although something before it does not hold.
    met = [
        holds(operator, key, wanted_values(wanted), context, has_variables=policy.has_variables)
        for operator, keys in conditions(one)
        for key, wanted in keys.items()
    ]
    return all(met)
