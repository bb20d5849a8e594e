"""IAM's policy language: what is the same for trust policies and for those that say what may be done.

The texts are IAM's, as far as they are known; all of them come with ``MalformedPolicyDocument``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from rolesanywhere_helper.emulator.conditions import is_operator

if TYPE_CHECKING:
    from collections.abc import Iterable

Statement: TypeAlias = dict[str, Any]

VERSIONS = ("2012-10-17", "2008-10-17")
# IAM user guide, "IAM JSON policy elements: Version": without one it is the older, which knows no variables.
WITH_VARIABLES, DEFAULT_VERSION = VERSIONS
SYNTAX = "Syntax errors in policy."
NO_VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
_EFFECTS = ("Allow", "Deny")
_COMMON = ("Sid", "Effect", "Action", "NotAction", "Condition")
_IDENTITY_ELEMENTS = frozenset((*_COMMON, "Resource", "NotResource"))
TRUST_ELEMENTS = frozenset((*_COMMON, "Principal", "NotPrincipal"))
MANAGED_POLICY = re.compile(r"arn:aws[a-z-]*:iam::(aws|\d{12}):policy/[\w+=,.@/-]+", re.ASCII)
_SID = re.compile(r"[0-9A-Za-z]*", re.ASCII)
_VENDOR = re.compile(r"[A-Za-z0-9.-]+|\*", re.ASCII)
_ACTION = re.compile(r"[A-Za-z0-9*?]+", re.ASCII)
_SPACES = re.compile(r"[\t\n\r ]+")


class MalformedPolicyError(ValueError):
    """A text is no policy; it says why, as IAM would."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy document that has been read: its statements, and whether ``${…}`` in them is a variable."""

    statements: tuple[Statement, ...]
    has_variables: bool


def read(text: str, elements: frozenset[str]) -> Policy:
    """Read a document whose statements have these elements; their principals and resources are not looked at.

    Raises:
        MalformedPolicyError: it is no policy.

    """
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MalformedPolicyError("This policy contains invalid Json") from None
    if not isinstance(found, dict) or set(found) - {"Version", "Id", "Statement"}:
        raise MalformedPolicyError(SYNTAX)
    version = found.get("Version", DEFAULT_VERSION)
    if version not in VERSIONS:
        raise MalformedPolicyError("The policy must contain a valid version string.")
    statements = found.get("Statement")
    several: list[Any] = statements if isinstance(statements, list) else [statements]
    if not several or not all(isinstance(one, dict) for one in several):
        raise MalformedPolicyError(SYNTAX)
    for one in several:
        _require_well_formed(one, elements)
    _require_unique(several)
    return Policy(tuple(several), has_variables=version == WITH_VARIABLES)


def require_identity_policy(text: str) -> None:
    """Check a policy that says what may be done: a role's inline policy, or a session's.

    Raises:
        MalformedPolicyError: it is none.

    """
    for one in read(text, _IDENTITY_ELEMENTS).statements:
        resources = one_of(one, "Resource", "NotResource", "Policy statement must contain resources.")
        for resource in resources:
            if resource != "*" and not resource.startswith("arn:"):
                raise MalformedPolicyError(f'Resource {resource} must be in ARN format or "*".')


def size_of(text: str) -> int:
    """Count the characters that count against a quota: white space does not."""
    return len(_SPACES.sub("", text))


def one_of(one: Statement, name: str, negated: str, missing: str) -> list[str]:
    """Return the texts of an element that a statement must have, either as it is or negated.

    Raises:
        MalformedPolicyError: it has neither, with ``missing`` for a text, or both.

    """
    if name in one and negated in one:
        raise MalformedPolicyError(SYNTAX)
    values = texts(one.get(name, one.get(negated, [])))
    if not values:
        raise MalformedPolicyError(missing)
    return values


def texts(value: object) -> list[str]:
    """Read a text that may stand alone or in a list.

    Raises:
        MalformedPolicyError: it is something else.

    """
    several: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in several):
        raise MalformedPolicyError(SYNTAX)
    return several


def wanted_values(value: object) -> list[str]:
    """Read the values of a condition: as texts, but numbers and booleans may be written as JSON writes them.

    Raises:
        MalformedPolicyError: it is something else.

    """
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) for one in several):
        raise MalformedPolicyError(SYNTAX)
    return [one if isinstance(one, str) else json.dumps(one) for one in several]


def conditions(one: Statement) -> list[tuple[str, dict[str, object]]]:
    """Return a statement's condition operators, with the keys and values under each.

    Raises:
        MalformedPolicyError: they have another form.

    """
    found = one.get("Condition", {})
    if not isinstance(found, dict) or not all(isinstance(keys, dict) for keys in found.values()):
        raise MalformedPolicyError(SYNTAX)
    return list(found.items())


def _require_well_formed(one: Statement, elements: frozenset[str]) -> None:
    _require_known(set(one) - elements)
    if "Effect" not in one:
        raise MalformedPolicyError("Missing required field Effect")
    sid = one.get("Sid", "")
    if one["Effect"] not in _EFFECTS or not isinstance(sid, str):
        raise MalformedPolicyError(SYNTAX)
    if not _SID.fullmatch(sid):
        raise MalformedPolicyError(
            "Statement IDs (SID) must be alpha-numeric. "
            "Check that your input satisfies the regular expression [0-9A-Za-z]*"
        )
    for action in one_of(one, "Action", "NotAction", "Policy statement must contain actions."):
        _require_action(action)
    _require_conditions(one)


def _require_known(others: set[str]) -> None:
    if others & {"Principal", "NotPrincipal"}:
        raise MalformedPolicyError("Policy document should not specify a principal.")
    if others:
        name = min(others)
        raise MalformedPolicyError(f"Has prohibited field {name}" if name in _IDENTITY_ELEMENTS else SYNTAX)


def _require_action(action: str) -> None:
    if action == "*":
        return
    vendor, colon, name = action.partition(":")
    if not colon:
        raise MalformedPolicyError(NO_VENDOR)
    if ":" in name:
        raise MalformedPolicyError("Actions/Condition can contain only one colon.")
    if not _VENDOR.fullmatch(vendor):
        raise MalformedPolicyError(f"Vendor {vendor} is not valid")
    if not _ACTION.fullmatch(name):
        raise MalformedPolicyError(SYNTAX)


def _require_conditions(one: Statement) -> None:
    for operator, keys in conditions(one):
        if not is_operator(operator):
            raise MalformedPolicyError(f"Invalid Condition type : {operator}")
        for key, value in keys.items():
            if ":" not in key:
                raise MalformedPolicyError(NO_VENDOR)
            wanted_values(value)


def _require_unique(statements: Iterable[Statement]) -> None:
    names = [one["Sid"] for one in statements if one.get("Sid")]
    if len(set(names)) != len(names):
        raise MalformedPolicyError("Statement IDs (SID) in a single policy must be unique.")


def _refuse(constant: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``, which are numbers to Python's parser only."""
    raise ValueError(constant)
