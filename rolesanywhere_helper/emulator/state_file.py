"""How the accounts are written down as JSON, and read again: this format (2), and that of earlier releases (1)."""

from __future__ import annotations

import base64
import json
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from rolesanywhere_helper.emulator import trust_policies
from rolesanywhere_helper.emulator.state import (
    Origin,
    Profile,
    Role,
    State,
    TrustAnchor,
    new_other_role,
)

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.policy_documents import Statement

FORMAT = 2
_FIRST_FORMAT = 1
_SCALARS = (str, int, bool, NoneType)

_Value = TypeVar("_Value")


def to_json(state: State) -> bytes:
    """Write the accounts down; the text holds a secret."""
    return json.dumps({"format": FORMAT, **_plain(state)}, indent=2).encode("utf-8")


def from_json(text: bytes) -> State:
    """Read what :func:`to_json` wrote, now or in an earlier release.

    Raises:
        ValueError: it is not that, or of a later version.

    """
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("no state")  # noqa: TRY004 - a text of another form, as documented
    version = document.pop("format", None)
    try:
        if version == FORMAT:
            return _read(State, document)
        if version == _FIRST_FORMAT:
            return _from_first_format(document)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ValueError("a state with other fields") from error
    raise ValueError("a state of another version")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _read(kind: type[_Value], document: Any) -> _Value:
    """Read a value of a frozen class, checked against its annotations."""
    hints = get_type_hints(kind)
    return kind(**{name: _typed(hints[name], value) for name, value in document.items()})


def _typed(hint: Any, value: Any) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return _read(hint, value)
    if get_origin(hint) in {UnionType, Union}:
        return None if value is None else _typed(next(kind for kind in get_args(hint) if kind is not NoneType), value)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value)
    if hint is bytes:
        return base64.b64decode(value, validate=True)
    if hint is float and type(value) in {int, float}:
        return float(value)
    if hint in _SCALARS and type(value) is hint:
        return value
    raise TypeError(f"no {hint}")


def _tuple(parts: tuple[Any, ...], values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise TypeError("no list")
    if parts[-1] is Ellipsis:
        return tuple(_typed(parts[0], value) for value in values)
    return tuple(_typed(part, value) for part, value in zip(parts, values, strict=True))


def _from_first_format(document: dict[str, Any]) -> State:
    """Read a state whose resources had an id for an ARN, a name for an alias, and knobs for a trust policy."""
    beginning = f"arn:{document['partition']}:rolesanywhere:{document['region']}:{document['account']}"
    anchors = tuple(
        TrustAnchor(
            f"{beginning}:trust-anchor/{old['identifier']}",
            old["name"],
            old["bundle_pem"],
            old["enabled"],
            old["source"],
            alias_name=old["name"],
        )
        for old in document["trust_anchors"]
    )
    profiles = tuple(
        Profile(
            f"{beginning}:profile/{old['identifier']}",
            old["name"],
            tuple(old["role_arns"]),
            old["enabled"],
            old["duration_seconds"],
            old["accept_role_session_name"],
            old["require_instance_properties"],
            alias_name=old["name"],
        )
        for old in document["profiles"]
    )
    roles = tuple(
        Role(old["arn"], old["role_id"], _policy(old), old["max_session_seconds"]) for old in document["roles"]
    )
    role, other = roles[0], next((role for role in roles[1:] if role.account != document["account"]), None)
    if other is None:
        other = new_other_role(document["account"])
    origin = Origin(anchors[0].arn, profiles[0].arn, role.arn, role.role_id, other.arn, other.role_id)
    return State(
        document["partition"],
        document["region"],
        document["account"],
        document["sealing_key"],
        origin,
        anchors[0].bundle_pem,
        anchors,
        profiles,
        roles=roles,
    )


def _policy(old: dict[str, Any]) -> str:
    """Write the trust policy that says what the first format's knobs said."""
    external_id, anchors = old["external_id"], tuple(old["trusted_anchors"])
    statements: tuple[Statement, ...] = ()
    if old["trusts_roles_anywhere"]:
        condition = {"ArnEquals": {"aws:SourceArn": list(anchors)}} if anchors else {}
        statements += (trust_policies.statement({"Service": trust_policies.SERVICE}, condition),)
    if old["trusted_roles"]:
        condition = {"StringEquals": {"sts:ExternalId": external_id}} if external_id is not None else {}
        statements += (trust_policies.statement({"AWS": list(old["trusted_roles"])}, condition),)
    return trust_policies.document(*statements) if statements else trust_policies.NOBODY
