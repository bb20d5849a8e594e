"""As much of IAM as a closed loop needs: roles with their trust policies, tags and (kept, not evaluated) permissions.

The query protocol, version 2010-05-08. Texts are those that IAM gives, as far as they are known.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from rolesanywhere_helper.emulator import policy_documents, trust_policies
from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.query import invalid, read_tags
from rolesanywhere_helper.emulator.state import DEFAULT_SESSION, new_role, put, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rolesanywhere_helper.emulator.state import Role, State, Tags

VERSION = "2010-05-08"
SERVICE = "iam"
NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
_PAGE = 100
# IAM user guide, "IAM and AWS STS quotas", as an account has them from the beginning.
_MOST_TAGS = 50
_MOST_ATTACHED = 10
_LONGEST_TRUST_POLICY = 2_048
_LONGEST_INLINE_POLICIES = 10_240

Result: TypeAlias = "dict[str, object] | None"
Outcome: TypeAlias = "tuple[State, Result]"


@dataclass(frozen=True, slots=True)
class Call:
    """One call: on which accounts, for which of them, with which parameters, and when (seconds since the epoch)."""

    state: State
    account: str
    asked: Mapping[str, Any]
    now: float

    def role(self) -> Role:
        """Find the role that ``RoleName`` names.

        Raises:
            Refusal: NoSuchEntity.

        """
        name = self.asked["RoleName"]
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
    name, path = call.asked["RoleName"], call.asked.get("Path", "/")
    if any(role.name.lower() == name.lower() for role in call.roles()):
        raise Refusal("EntityAlreadyExists", f"Role with name {name} already exists.", 409)
    boundary = call.asked.get("PermissionsBoundary")
    if boundary is not None:
        _require_policy_arn(boundary)
    policy = _trust_policy(call, "AssumeRolePolicyDocument")
    role = replace(
        new_role(f"arn:{call.state.partition}:iam::{call.account}:role{path}{name}", policy),
        max_session_seconds=call.asked.get("MaxSessionDuration", DEFAULT_SESSION),
        description=call.asked.get("Description"),
        permissions_boundary=boundary,
        tags=_merged((), _tags_asked(call)),
        created_at=call.now,
    )
    return call.changed(role), {"Role": _shown(role)}


def _get_role(call: Call) -> Outcome:
    return call.state, {"Role": _shown(call.role())}


def _list_roles(call: Call) -> Outcome:
    before = call.asked.get("PathPrefix", "/")
    roles = sorted((role for role in call.roles() if role.path.startswith(before)), key=lambda role: role.name)
    return call.state, _page(call, "Roles", [_shown(role, in_list=True) for role in roles])


def _update_role(call: Call) -> Outcome:
    role = call.role()
    seconds = call.asked.get("MaxSessionDuration", role.max_session_seconds)
    description = call.asked.get("Description", role.description)
    return call.changed(replace(role, max_session_seconds=seconds, description=description)), {}


def _update_role_description(call: Call) -> Outcome:
    role = replace(call.role(), description=call.asked["Description"])
    return call.changed(role), {"Role": _shown(role)}


def _update_trust_policy(call: Call) -> Outcome:
    return call.changed(replace(call.role(), trust_policy=_trust_policy(call, "PolicyDocument"))), None


def _delete_role(call: Call) -> Outcome:
    role = call.role()
    if role.attached_policies:
        raise Refusal("DeleteConflict", "Cannot delete entity, must detach all policies first.", 409)
    if role.inline_policies:
        raise Refusal("DeleteConflict", "Cannot delete entity, must delete policies first.", 409)
    return remove(call.state, role), None


def _put_role_policy(call: Call) -> Outcome:
    role, name, document = call.role(), call.asked["PolicyName"], call.asked["PolicyDocument"]
    try:
        policy_documents.require_identity_policy(document)
    except policy_documents.MalformedPolicyError as error:
        raise _malformed(error) from None
    policies = {**dict(role.inline_policies), name: document}
    if sum(map(policy_documents.size_of, policies.values())) > _LONGEST_INLINE_POLICIES:
        raise _exceeded(f"Maximum policy size of {_LONGEST_INLINE_POLICIES} bytes exceeded for role {role.name}")
    return call.changed(replace(role, inline_policies=tuple(policies.items()))), None


def _get_role_policy(call: Call) -> Outcome:
    role, name = call.role(), call.asked["PolicyName"]
    document = _inline(role, name)
    return call.state, {"RoleName": role.name, "PolicyName": name, "PolicyDocument": quote(document, safe="")}


def _delete_role_policy(call: Call) -> Outcome:
    role, name = call.role(), call.asked["PolicyName"]
    _inline(role, name)
    kept = tuple((other, document) for other, document in role.inline_policies if other != name)
    return call.changed(replace(role, inline_policies=kept)), None


def _list_role_policies(call: Call) -> Outcome:
    return call.state, _page(call, "PolicyNames", [name for name, _ in call.role().inline_policies])


def _attach_role_policy(call: Call) -> Outcome:
    role, arn = call.role(), call.asked["PolicyArn"]
    _require_policy_arn(arn)
    attached = tuple(dict.fromkeys((*role.attached_policies, arn)))
    if len(attached) > _MOST_ATTACHED:
        raise _exceeded(f"Cannot exceed quota for PoliciesPerRole: {_MOST_ATTACHED}")
    return call.changed(replace(role, attached_policies=attached)), None


def _detach_role_policy(call: Call) -> Outcome:
    role, arn = call.role(), call.asked["PolicyArn"]
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
    return call.changed(replace(role, tags=_merged(role.tags, _tags_asked(call)))), None


def _untag_role(call: Call) -> Outcome:
    role, gone = call.role(), {key.lower() for key in call.asked["TagKeys"]}
    kept = tuple((key, value) for key, value in role.tags if key.lower() not in gone)
    return call.changed(replace(role, tags=kept)), None


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
        first = int(base64.b64decode(call.asked.get("Marker", ""), validate=True) or b"0")
    except (ValueError, binascii.Error):
        first = -1
    if first < 0:
        raise invalid("Invalid Marker.")
    most = call.asked.get("MaxItems", _PAGE)
    after = first + most
    is_truncated = after < len(items)
    marker = {"Marker": base64.b64encode(str(after).encode("ascii")).decode("ascii")} if is_truncated else {}
    return {name: list(items[first:after]), "IsTruncated": is_truncated, **marker}


def _tags(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags]


def _tags_asked(call: Call) -> Tags:
    return read_tags(call.asked.get("Tags", ()), "InvalidInput")


def _merged(tags: Tags, added: Tags) -> Tags:
    """Add tags to others; a new one takes the place of an old one, also if the old one's key has other cases."""
    replaced = {key.lower() for key, _ in added}
    together = (*((key, value) for key, value in tags if key.lower() not in replaced), *added)
    if len(together) > _MOST_TAGS:
        raise _exceeded(f"The number of tags has reached the maximum limit of {_MOST_TAGS}.")
    return together


def _inline(role: Role, name: str) -> str:
    document = dict(role.inline_policies).get(name)
    if document is None:
        raise Refusal("NoSuchEntity", f"The role policy with name {name} cannot be found.", 404)
    return document


def _trust_policy(call: Call, name: str) -> str:
    text: str = call.asked[name]
    if policy_documents.size_of(text) > _LONGEST_TRUST_POLICY:
        raise _exceeded(f"Cannot exceed quota for ACLSizePerRole: {_LONGEST_TRUST_POLICY}")
    try:
        trust_policies.require_well_formed(text)
        trust_policies.require_principals(text, partial(_may_be_there, call.state))
    except policy_documents.MalformedPolicyError as error:
        raise _malformed(error) from None
    return text


def _may_be_there(state: State, principal: str) -> bool:
    """Tell whether there may be a principal: of the roles of the accounts that are played here it is known."""
    account, _, resource = principal.removeprefix("arn:").partition("::")[2].partition(":")
    kind, _, name = resource.partition("/")
    roles = [role for role in state.roles if role.account == account]
    if account not in state.accounts or kind not in {"role", "assumed-role"}:
        return True
    if kind == "role":
        return any(role.arn == principal for role in roles)
    return any(role.name == name.partition("/")[0] for role in roles)


def _require_policy_arn(arn: str) -> None:
    if not policy_documents.MANAGED_POLICY.fullmatch(arn):
        raise Refusal("InvalidInput", f"ARN {arn} is not valid.", 400)


def _malformed(error: policy_documents.MalformedPolicyError) -> Refusal:
    return Refusal("MalformedPolicyDocument", str(error), 400)


def _exceeded(message: str) -> Refusal:
    return Refusal("LimitExceeded", message, 409)


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
