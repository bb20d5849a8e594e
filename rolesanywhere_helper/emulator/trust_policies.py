"""Trust policies of roles: the documents that say who may assume a role, read and evaluated.

Only trust policies are evaluated here, and of them everything but ``NotPrincipal`` and ``BinaryEquals``. What a
caller's own account would have to allow in an identity policy counts as allowed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from rolesanywhere_helper.emulator.conditions import UnevaluatedError, holds, is_operator, matches_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rolesanywhere_helper.emulator.conditions import Context

SERVICE = "rolesanywhere.amazonaws.com"
ASSUME_ROLE = "sts:AssumeRole"
TAG_SESSION = "sts:TagSession"
SET_SOURCE_IDENTITY = "sts:SetSourceIdentity"
_ACTIONS = (ASSUME_ROLE, TAG_SESSION, SET_SOURCE_IDENTITY)
_EFFECTS = ("Allow", "Deny")
_VERSIONS = ("2012-10-17", "2008-10-17")
# IAM user guide, "IAM JSON policy elements: Version": without one it is the older, which knows no variables.
_WITH_VARIABLES, _DEFAULT_VERSION = _VERSIONS
_ELEMENTS = frozenset(("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"))
_PRINCIPALS = frozenset(("AWS", "Service", "Federated", "CanonicalUser"))
_LONGEST = 4_096  # IAM user guide, "IAM quotas": 2048, or up to 4096 on request

Statement: TypeAlias = dict[str, Any]


class MalformedPolicyError(ValueError):
    """A text is no trust policy; it says why, as IAM would."""


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
    return json.dumps({"Version": _VERSIONS[0], "Statement": list(statements)})


def for_roles_anywhere(condition: Mapping[str, object] | None = None) -> str:
    """Write the trust policy of a role for Roles Anywhere, under a condition if one is given."""
    return document(statement({"Service": SERVICE}, condition))


def for_principals(arns: Iterable[str], condition: Mapping[str, object] | None = None) -> str:
    """Write a trust policy for roles, users or accounts."""
    return document(statement({"AWS": list(arns)}, condition))


ROLES_ANYWHERE = for_roles_anywhere()
NOBODY = document({"Effect": "Deny", "Principal": "*", "Action": "sts:*"})


def require_well_formed(text: str) -> None:
    """Check a document as IAM does when it is stored.

    Raises:
        MalformedPolicyError: it is no trust policy.

    """
    if len(text) > _LONGEST:
        raise MalformedPolicyError(f"Cannot exceed quota for ACLSizePerRole: {_LONGEST}")
    _read(text)


def why_not(text: str, call: Call, actions: Iterable[str]) -> str | None:
    """Say why a policy does not let a caller do all of these actions; None if it does."""
    try:
        version, every = _read(text)
        statements = [one for one in every if _is_about(one, call)]
        for action in actions:
            effects = {
                one["Effect"] for one in statements if _covers(one, action) and _is_met(one, call.context, version)
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


def _read(text: str) -> tuple[str, list[Statement]]:
    """Return the version of a document, and its statements."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedPolicyError("This policy contains invalid Json") from None
    if not isinstance(found, dict) or found.get("Version", _DEFAULT_VERSION) not in _VERSIONS:
        raise MalformedPolicyError("Syntax errors in policy.")
    statements = found.get("Statement")
    several: list[Any] = statements if isinstance(statements, list) else [statements]
    if set(found) - {"Version", "Id", "Statement"} or not several or not all(isinstance(one, dict) for one in several):
        raise MalformedPolicyError("Syntax errors in policy.")
    for one in several:
        _require_well_formed(one)
    return found.get("Version", _DEFAULT_VERSION), several


def _require_well_formed(one: Statement) -> None:
    unknown = sorted(set(one) - _ELEMENTS)
    if unknown:
        raise MalformedPolicyError(f"Has prohibited field {unknown[0]}")
    if one.get("Effect") not in _EFFECTS:
        raise MalformedPolicyError("Missing required field Effect")
    for name, negated in (("Principal", "NotPrincipal"), ("Action", "NotAction")):
        if (name in one) == (negated in one):
            raise MalformedPolicyError(f"Missing required field {name}")
    _require_principal(one.get("Principal", one.get("NotPrincipal")))
    for action in _texts(one.get("Action", one.get("NotAction"))):
        if action != "*" and not action.lower().startswith("sts:"):
            raise MalformedPolicyError("AssumeRole policy may only specify STS AssumeRole actions.")
    for operator, keys in _conditions(one):
        if not is_operator(operator):
            raise MalformedPolicyError(f"Invalid Condition type : {operator}")
        for value in keys.values():
            _texts(value)


def _require_principal(principal: object) -> None:
    if principal == "*":
        return
    if not isinstance(principal, dict) or not principal or set(principal) - _PRINCIPALS:
        raise MalformedPolicyError("Syntax error in policy.")
    for name in _texts(principal.get("AWS", [])):
        if name != "*" and not name.startswith("arn:") and not (name.isdecimal() and len(name) == len("111122223333")):
            raise MalformedPolicyError(f'Invalid principal in policy: "AWS":"{name}"')
    for names in principal.values():
        _texts(names)


def _is_about(one: Statement, call: Call) -> bool:
    if "NotPrincipal" in one:
        raise UnevaluatedError("NotPrincipal")
    principal = one.get("Principal")
    if principal == "*":
        return True
    if not isinstance(principal, dict):
        raise MalformedPolicyError("Syntax error in policy.")
    named = {(kind, name) for kind, names in principal.items() for name in _texts(names)}
    return bool(named & call.principals) or ("AWS", "*") in named


def _covers(one: Statement, action: str) -> bool:
    if "Action" not in one:
        return not _is_one_of(action, one.get("NotAction"))
    return _is_one_of(action, one["Action"])


def _is_one_of(action: str, patterns: object) -> bool:
    return any(matches_pattern(action.lower(), pattern.lower()) for pattern in _texts(patterns))


def _is_met(one: Statement, context: Context, version: str) -> bool:
    # All of them, so that what is not evaluated is found although something before it does not hold.
    met = [
        holds(operator, key, _texts(wanted), context, has_variables=version == _WITH_VARIABLES)
        for operator, keys in _conditions(one)
        for key, wanted in keys.items()
    ]
    return all(met)


def _conditions(one: Statement) -> list[tuple[str, dict[str, object]]]:
    conditions = one.get("Condition", {})
    if not isinstance(conditions, dict) or not all(isinstance(keys, dict) for keys in conditions.values()):
        raise MalformedPolicyError("Syntax errors in policy.")
    return list(conditions.items())


def _texts(value: object) -> list[str]:
    """Read a value that may stand alone or in a list; numbers and booleans are written as JSON writes them."""
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) for one in several):
        raise MalformedPolicyError("Syntax errors in policy.")
    return [one if isinstance(one, str) else json.dumps(one) for one in several]
