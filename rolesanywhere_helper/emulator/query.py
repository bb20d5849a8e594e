"""The query protocol that IAM and STS speak: a form's parameters, read and validated by botocore's models.

A list is ``Name.member.1``, ``Name.member.2`` and so on, a structure in it ``Name.member.1.Key``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from rolesanywhere_helper.emulator import constraints
from rolesanywhere_helper.emulator.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from botocore.model import ListShape, Shape, StructureShape

    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.state import Tags

_RESERVED_TAG = "aws:"


def read_form(arrival: Arrival) -> dict[str, str]:
    """Read the parameters: from a form-encoded body, or from the query of a GET."""
    text = arrival.query if arrival.method == "GET" else arrival.body.decode("utf-8", "replace")
    return dict(parse_qsl(text, keep_blank_values=True))


def require_action(form: Mapping[str, str], known: Collection[str], wanted: str) -> str:
    """Return the action that was asked for.

    Raises:
        Refusal: it is none of those known, or of another version.

    """
    action, version = form.get("Action", ""), form.get("Version", "")
    if action not in known or version != wanted:
        raise Refusal("InvalidAction", f"Could not find operation {action} for version {version or 'NO_VERSION'}", 400)
    return action


def read_input(service: str, action: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Read an action's parameters.

    Raises:
        Refusal: ValidationError; the text names every constraint that is not satisfied.

    """
    shape = constraints.service_model(service).operation_model(action).input_shape
    if shape is None:
        return {}
    asked, problem = constraints.read(shape, _structure(shape, form))
    if problem is not None:
        raise invalid(problem)
    return asked


def read_tags(given: Iterable[Mapping[str, str]], kind: str) -> Tags:
    """Read tags of a role or a session, whose keys' cases do not matter and are kept.

    Raises:
        Refusal: of this kind; a key is there twice, or reserved.

    """
    tags = tuple((tag["Key"], tag["Value"]) for tag in given)
    if len({key.lower() for key, _ in tags}) != len(tags):
        raise Refusal(kind, "Duplicate tag keys found. Please note that Tag keys are case insensitive.", 400)
    if any(key.lower().startswith(_RESERVED_TAG) for key, _ in tags):
        raise Refusal(kind, f"Tag keys that start with {_RESERVED_TAG} are reserved for system use.", 400)
    return tags


def invalid(message: str) -> Refusal:
    """Refuse a malformed parameter: 400 ValidationError."""
    return Refusal("ValidationError", message, 400)


def _structure(shape: StructureShape, form: Mapping[str, str], before: str = "") -> dict[str, Any]:
    found = {name: _value(member, form, f"{before}{name}") for name, member in shape.members.items()}
    return {name: value for name, value in found.items() if value is not None}


def _value(shape: Shape, form: Mapping[str, str], name: str) -> object:
    """Read one parameter; None if it was not sent."""
    match shape.type_name:
        case "structure":
            return _structure(shape, form, f"{name}.") or None  # type: ignore[arg-type]  # as its type name says
        case "list":
            return _list(shape, form, name)  # type: ignore[arg-type]  # as its type name says
        case "integer" if re.fullmatch(r"[+-]?\d{1,18}", form.get(name, ""), re.ASCII):
            return int(form[name])
        case "boolean" if form.get(name) in {"true", "false"}:
            return form[name] == "true"
    return form.get(name)


def _list(shape: ListShape, form: Mapping[str, str], name: str) -> list[object] | None:
    place = re.compile(rf"{re.escape(name)}\.member\.([1-9]\d{{0,3}})(?:\..*)?", re.ASCII)
    places = sorted({int(match[1]) for match in map(place.fullmatch, form) if match})
    # An empty list is sent as an empty text of its name.
    return [_value(shape.member, form, f"{name}.member.{number}") for number in places] or (
        [] if name in form else None
    )
