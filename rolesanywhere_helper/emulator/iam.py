"""As much of IAM as a closed loop needs: roles with their trust policies, tags and (kept, not evaluated) permissions.

The query protocol, version 2010-05-08. Texts are those that IAM gives, as far as they are known.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from rolesanywhere_helper.emulator import trust_policies
from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.state import DEFAULT_SESSION, LONGEST_SESSION, new_role, put, remove
from rolesanywhere_helper.emulator.sts import members, tags_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rolesanywhere_helper.emulator.state import Role, State, Tags

VERSION = "2010-05-08"
SERVICE = "iam"
NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_POLICY_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
_PATH = re.compile(r"/|/[!-\x7f]{1,510}/", re.ASCII)
_POLICY_ARN = re.compile(r"arn:[\w-]+:iam::(aws|\d{12}):policy/[\w+=,.@/-]+", re.ASCII)
_SHORTEST_MAXIMUM = 3_600
_MOST_TAGS = 50
_PAGE = 100
_LARGEST_PAGE = 1_000

Result: TypeAlias = "dict[str, object] | None"
Outcome: TypeAlias = "tuple[State, Result]"


@dataclass(frozen=True, slots=True)
class Call:
    """One call: on which accounts, for which of them, with which parameters, and when (seconds since the epoch)."""

    state: State
    account: str
    form: Mapping[str, str]
    now: float

    def text(self, name: str) -> str:
        """Return a parameter.

        Raises:
            Refusal: ValidationError; it is missing.

        """
        value = self.form.get(name)
        if value is None:
            raise _invalid(
                f"Value null at '{name[0].lower()}{name[1:]}' failed to satisfy constraint: Member must not be null"
            )
        return value

    def role(self) -> Role:
        """Find the role that ``RoleName`` names.

        Raises:
            Refusal: NoSuchEntity.

        """
        name = self.text("RoleName")
        for role in self.roles():
            if role.name.lower() == name.lower():
                return role
        raise Refusal("NoSuchEntity", f"The role with name {name} cannot be found.", 404)

    def roles(self) -> list[Role]:
        """Return the account's roles."""
        return [role for role in self.state.roles if role.account == self.account]

    def changed(self, role: Role) -> State:
        """Return the state with a role changed."""
        return put(self.state, role)


def perform(action: str, call: Call) -> Outcome:
    """Carry out an action; the result is None where IAM's answer has none.

    Raises:
        Refusal: IAM says no.

    """
    return ACTIONS[action](call)


def _create_role(call: Call) -> Outcome:
    name, path = call.text("RoleName"), call.form.get("Path", "/")
    if not _NAME.fullmatch(name) or not _PATH.fullmatch(path):
        raise _invalid("The specified value for roleName or path is invalid.")
    if any(role.name.lower() == name.lower() for role in call.roles()):
        raise Refusal("EntityAlreadyExists", f"Role with name {name} already exists.", 409)
    policy = _trust_policy(call.text("AssumeRolePolicyDocument"))
    role = replace(
        new_role(f"arn:{call.state.partition}:iam::{call.account}:role{path}{name}", policy),
        max_session_seconds=_maximum(call) or DEFAULT_SESSION,
        description=call.form.get("Description"),
        permissions_boundary=call.form.get("PermissionsBoundary"),
        tags=_merged((), tags_in(call.form)),
        created_at=call.now,
    )
    return call.changed(role), {"Role": _shown(role)}


def _get_role(call: Call) -> Outcome:
    return call.state, {"Role": _shown(call.role())}


def _list_roles(call: Call) -> Outcome:
    before = call.form.get("PathPrefix", "/")
    roles = sorted((role for role in call.roles() if role.path.startswith(before)), key=lambda role: role.name)
    return call.state, _page(call, "Roles", [_shown(role, in_list=True) for role in roles])


def _update_role(call: Call) -> Outcome:
    role = call.role()
    seconds, description = _maximum(call), call.form.get("Description", role.description)
    changed = replace(role, max_session_seconds=seconds or role.max_session_seconds, description=description)
    return call.changed(changed), {}


def _update_role_description(call: Call) -> Outcome:
    role = replace(call.role(), description=call.text("Description"))
    return call.changed(role), {"Role": _shown(role)}


def _update_trust_policy(call: Call) -> Outcome:
    return call.changed(replace(call.role(), trust_policy=_trust_policy(call.text("PolicyDocument")))), None


def _delete_role(call: Call) -> Outcome:
    role = call.role()
    if role.attached_policies:
        raise Refusal("DeleteConflict", "Cannot delete entity, must detach all policies first.", 409)
    if role.inline_policies:
        raise Refusal("DeleteConflict", "Cannot delete entity, must delete policies first.", 409)
    return remove(call.state, role), None


def _put_role_policy(call: Call) -> Outcome:
    role, name = call.role(), call.text("PolicyName")
    if not _POLICY_NAME.fullmatch(name):
        raise _invalid("The specified value for policyName is invalid.")
    policies = {**dict(role.inline_policies), name: call.text("PolicyDocument")}
    return call.changed(replace(role, inline_policies=tuple(policies.items()))), None


def _get_role_policy(call: Call) -> Outcome:
    role, name = call.role(), call.text("PolicyName")
    document = _inline(role, name)
    return call.state, {"RoleName": role.name, "PolicyName": name, "PolicyDocument": quote(document, safe="")}


def _delete_role_policy(call: Call) -> Outcome:
    role, name = call.role(), call.text("PolicyName")
    _inline(role, name)
    kept = tuple((other, document) for other, document in role.inline_policies if other != name)
    return call.changed(replace(role, inline_policies=kept)), None


def _list_role_policies(call: Call) -> Outcome:
    return call.state, _page(call, "PolicyNames", [name for name, _ in call.role().inline_policies])


def _attach_role_policy(call: Call) -> Outcome:
    role, arn = call.role(), call.text("PolicyArn")
    if not _POLICY_ARN.fullmatch(arn):
        raise Refusal("InvalidInput", f"ARN {arn} is not valid.", 400)
    return call.changed(replace(role, attached_policies=tuple(dict.fromkeys((*role.attached_policies, arn))))), None


def _detach_role_policy(call: Call) -> Outcome:
    role, arn = call.role(), call.text("PolicyArn")
    if arn not in role.attached_policies:
        raise Refusal("NoSuchEntity", f"Policy {arn} was not found.", 404)
    return call.changed(
        replace(role, attached_policies=tuple(one for one in role.attached_policies if one != arn))
    ), None


def _list_attached_role_policies(call: Call) -> Outcome:
    attached = [{"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn} for arn in call.role().attached_policies]
    return call.state, _page(call, "AttachedPolicies", attached)


def _list_instance_profiles_for_role(call: Call) -> Outcome:
    call.role()
    return call.state, _page(call, "InstanceProfiles", [])


def _tag_role(call: Call) -> Outcome:
    role = call.role()
    return call.changed(replace(role, tags=_merged(role.tags, tags_in(call.form)))), None


def _untag_role(call: Call) -> Outcome:
    role, keys = call.role(), members(call.form, "TagKeys")
    return call.changed(replace(role, tags=tuple((key, value) for key, value in role.tags if key not in keys))), None


def _list_role_tags(call: Call) -> Outcome:
    return call.state, _page(call, "Tags", _tags(call.role().tags))


def _shown(role: Role, *, in_list: bool = False) -> dict[str, object]:
    """Show a role; a list of roles leaves tags and the permissions boundary out."""
    boundary = {
        "PermissionsBoundaryType": "PermissionsBoundaryPolicy",
        "PermissionsBoundaryArn": role.permissions_boundary,
    }
    more = {
        **({"Tags": _tags(role.tags)} if role.tags else {}),
        **({"PermissionsBoundary": boundary} if role.permissions_boundary else {}),
    }
    return {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.role_id,
        "Arn": role.arn,
        "CreateDate": datetime.fromtimestamp(role.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "AssumeRolePolicyDocument": quote(role.trust_policy, safe=""),
        "Description": role.description,
        "MaxSessionDuration": role.max_session_seconds,
        **({} if in_list else more),
    }


def _page(call: Call, name: str, items: Sequence[object]) -> dict[str, object]:
    """Show a page: ``Marker`` and ``MaxItems`` in, ``IsTruncated`` and the next ``Marker`` out."""
    try:
        first = int(base64.b64decode(call.form.get("Marker", ""), validate=True) or b"0")
        most = int(call.form.get("MaxItems", str(_PAGE)))
    except (ValueError, binascii.Error):
        raise _invalid("Invalid Marker or MaxItems.") from None
    if not 1 <= most <= _LARGEST_PAGE or first < 0:
        raise _invalid("Invalid Marker or MaxItems.")
    after = first + most
    is_truncated = after < len(items)
    marker = {"Marker": base64.b64encode(str(after).encode("ascii")).decode("ascii")} if is_truncated else {}
    return {name: list(items[first:after]), "IsTruncated": is_truncated, **marker}


def _tags(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags]


def _merged(tags: Tags, added: Tags) -> Tags:
    together = tuple({**dict(tags), **dict(added)}.items())
    if len(together) > _MOST_TAGS:
        raise Refusal("LimitExceeded", f"The number of tags has reached the maximum limit of {_MOST_TAGS}.", 409)
    return together


def _inline(role: Role, name: str) -> str:
    document = dict(role.inline_policies).get(name)
    if document is None:
        raise Refusal("NoSuchEntity", f"The role policy with name {name} cannot be found.", 404)
    return document


def _trust_policy(text: str) -> str:
    try:
        trust_policies.require_well_formed(text)
    except trust_policies.MalformedPolicyError as error:
        raise Refusal("MalformedPolicyDocument", str(error), 400) from None
    return text


def _maximum(call: Call) -> int | None:
    text = call.form.get("MaxSessionDuration")
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not _SHORTEST_MAXIMUM <= int(text) <= LONGEST_SESSION:
        raise _invalid(f"MaxSessionDuration must be from {_SHORTEST_MAXIMUM} to {LONGEST_SESSION}")
    return int(text)


def _invalid(message: str) -> Refusal:
    return Refusal("ValidationError", message, 400)


ACTIONS: Mapping[str, Callable[[Call], Outcome]] = {
    "CreateRole": _create_role,
    "GetRole": _get_role,
    "ListRoles": _list_roles,
    "UpdateRole": _update_role,
    "UpdateRoleDescription": _update_role_description,
    "UpdateAssumeRolePolicy": _update_trust_policy,
    "DeleteRole": _delete_role,
    "PutRolePolicy": _put_role_policy,
    "GetRolePolicy": _get_role_policy,
    "DeleteRolePolicy": _delete_role_policy,
    "ListRolePolicies": _list_role_policies,
    "AttachRolePolicy": _attach_role_policy,
    "DetachRolePolicy": _detach_role_policy,
    "ListAttachedRolePolicies": _list_attached_role_policies,
    "ListInstanceProfilesForRole": _list_instance_profiles_for_role,
    "TagRole": _tag_role,
    "UntagRole": _untag_role,
    "ListRoleTags": _list_role_tags,
}
