"""The management operations on profiles, and on their attribute mappings."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from rolesanywhere_helper.emulator import documents
from rolesanywhere_helper.emulator.answers import access_denied, invalid
from rolesanywhere_helper.emulator.managing import page, tags_of, with_alias
from rolesanywhere_helper.emulator.policy_documents import MANAGED_POLICY
from rolesanywhere_helper.emulator.state import DEFAULT_SESSION, Profile, account_of, put, remove

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.managing import Input, Managing, Outcome

_MOST = 250  # user guide, "Quotas"
_NAME_PART = r"(?:\*|[A-Za-z][\w-]*|\d+(?:\.\d+)+)"
_SPECIFIERS = {
    "x509Subject": re.compile(_NAME_PART, re.ASCII),
    "x509Issuer": re.compile(_NAME_PART, re.ASCII),
    "x509SAN": re.compile(f"DNS|URI|Name/{_NAME_PART}", re.ASCII),
}


def create(managing: Managing, asked: Input) -> Outcome:
    """CreateProfile."""
    state = managing.state
    managing.require_room(state.profiles, _MOST, "profiles")
    profile = Profile(
        managing.new_arn(Profile),
        asked["name"],
        _own_roles(managing, asked["roleArns"]),
        asked.get("enabled", False),
        asked.get("durationSeconds", DEFAULT_SESSION),
        asked.get("acceptRoleSessionName", False),
        asked.get("requireInstanceProperties", False),
        _session_policy(asked.get("sessionPolicy")),
        _managed_policies(asked.get("managedPolicyArns", [])),
        alias_name=managing.alias(state.profiles, asked.get("aliasName")),
        tags=tags_of(asked.get("tags")),
        created_at=managing.now,
        updated_at=managing.now,
    )
    return _changed(managing, profile)


def get(managing: Managing, asked: Input) -> Outcome:
    """GetProfile."""
    return managing.state, {"profile": documents.profile(_find(managing, asked))}


def list_all(managing: Managing, asked: Input) -> Outcome:
    """ListProfiles."""
    return managing.state, page(managing.own(managing.state.profiles), asked, "profiles", documents.profile)


def update(managing: Managing, asked: Input) -> Outcome:
    """UpdateProfile: what is not given stays."""
    before = _find(managing, asked)
    profile = replace(
        before,
        name=asked.get("name", before.name),
        role_arns=_own_roles(managing, asked["roleArns"]) if "roleArns" in asked else before.role_arns,
        duration_seconds=asked.get("durationSeconds", before.duration_seconds),
        accept_role_session_name=asked.get("acceptRoleSessionName", before.accept_role_session_name),
        session_policy=_session_policy(asked.get("sessionPolicy", before.session_policy)),
        managed_policy_arns=_managed_policies(asked.get("managedPolicyArns", before.managed_policy_arns)),
        alias_name=managing.alias(managing.state.profiles, asked.get("aliasName"), before),
        updated_at=managing.now,
    )
    state, answer = _changed(managing, profile)
    return state, {"profile": with_alias(answer["profile"], before, profile)}


def delete(managing: Managing, asked: Input) -> Outcome:
    """DeleteProfile."""
    profile = _find(managing, asked)
    return remove(managing.state, profile), {"profile": documents.profile(profile)}


def enable(managing: Managing, asked: Input) -> Outcome:
    """EnableProfile."""
    return _changed(managing, replace(_find(managing, asked), enabled=True, updated_at=managing.now))


def disable(managing: Managing, asked: Input) -> Outcome:
    """DisableProfile."""
    return _changed(managing, replace(_find(managing, asked), enabled=False, updated_at=managing.now))


def put_attribute_mapping(managing: Managing, asked: Input) -> Outcome:
    """PutAttributeMapping: attach rules to those that a field has already (user guide, "Put attribute mappings")."""
    profile, field = _find(managing, asked), asked["certificateField"]
    added = [rule["specifier"] for rule in asked["mappingRules"]]
    if not added or not all(_SPECIFIERS[field].fullmatch(specifier) for specifier in added):
        raise invalid(f"These are no specifiers of {field}")
    mappings = dict(profile.attribute_mappings)
    mappings[field] = tuple(dict.fromkeys((*mappings.get(field, ()), *added)))
    return _mapped(managing, profile, mappings)


def delete_attribute_mapping(managing: Managing, asked: Input) -> Outcome:
    """DeleteAttributeMapping: take rules of a field away, or all of them if no specifier is given."""
    profile, field = _find(managing, asked), asked["certificateField"]
    mappings = dict(profile.attribute_mappings)
    there, gone = mappings.get(field, ()), asked.get("specifiers") or mappings.get(field, ())
    missing = [specifier for specifier in gone if specifier not in there]
    if missing:
        raise invalid(f"{field} has no mapping rule with the specifier {missing[0]}")
    mappings[field] = tuple(specifier for specifier in there if specifier not in gone)
    return _mapped(managing, profile, mappings)


def _find(managing: Managing, asked: Input) -> Profile:
    return managing.find(managing.state.profiles, Profile, asked["profileId"])


def _changed(managing: Managing, profile: Profile) -> Outcome:
    return put(managing.state, profile), {"profile": documents.profile(profile)}


def _mapped(managing: Managing, profile: Profile, mappings: dict[str, tuple[str, ...]]) -> Outcome:
    kept = tuple((field, specifiers) for field, specifiers in mappings.items() if specifiers)
    return _changed(managing, replace(profile, attribute_mappings=kept, updated_at=managing.now))


def _own_roles(managing: Managing, arns: list[str]) -> tuple[str, ...]:
    """Require roles of the caller's account: IAM lets nobody pass another account's role to a service."""
    if any(account_of(arn) != managing.account for arn in arns):
        raise access_denied("Cross-account pass role is not allowed.")
    return tuple(arns)


def _session_policy(text: str | None) -> str | None:
    """Require a policy to be JSON; what it says is kept and not evaluated."""
    if text is None:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise invalid("sessionPolicy is not a JSON policy document")
    return text


def _managed_policies(arns: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    if not all(MANAGED_POLICY.fullmatch(arn) for arn in arns):
        raise invalid("managedPolicyArns must be ARNs of managed policies")
    return tuple(arns)
