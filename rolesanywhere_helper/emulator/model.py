"""The management API as botocore's own service model describes it: routes, and the validation of what arrives.

Nothing about an operation's parameters is written down here: what boto3 can send is what is taken. The model is loaded
with the first management call, because reading it takes longer than everything else at the start.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rolesanywhere_helper.emulator.answers import Refusal, invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StringShape, StructureShape

    from rolesanywhere_helper.emulator.arrival import Arrival


@dataclass(frozen=True, slots=True)
class Routed:
    """A request whose method and path are those of an operation. ``in_path`` holds the path's parameters, decoded."""

    operation: str
    status: int
    in_path: dict[str, str]


@cache
def service_model() -> ServiceModel:
    """Load botocore's model of Roles Anywhere."""
    from botocore.loaders import create_loader  # noqa: PLC0415 - only when a management call comes
    from botocore.model import ServiceModel  # noqa: PLC0415 - the same

    return ServiceModel(create_loader().load_service_model("rolesanywhere", "service-2"), "rolesanywhere")


def operation_names() -> tuple[str, ...]:
    """Return the names of all management operations."""
    return tuple(service_model().operation_names)


def route(method: str, path: str) -> Routed | None:
    """Find the operation of a request; None if there is none with this method and path.

    The path is matched as it was sent, so that an ARN in it (``arn%3Aaws…%2F…``) is one segment.
    """
    sent = path.split("/")
    for name in service_model().operation_names:
        operation = service_model().operation_model(name)
        template = operation.http["requestUri"].split("/")
        if operation.http["method"] == method and len(template) == len(sent):
            pairs = list(zip(template, sent, strict=True))
            if all(wanted == given or (wanted.startswith("{") and given) for wanted, given in pairs):
                in_path = {wanted[1:-1]: unquote(given) for wanted, given in pairs if wanted.startswith("{")}
                return Routed(name, int(operation.http.get("responseCode", 200)), in_path)
    return None


def read_input(arrival: Arrival, routed: Routed) -> dict[str, Any]:
    """Read an operation's parameters from path, query and body, validated. Blobs become bytes.

    Raises:
        Refusal: ValidationException; the text names every constraint that is not satisfied, as the service does.

    """
    operation = service_model().operation_model(routed.operation)
    shape = operation.input_shape
    if shape is None:
        return {}
    sent = {**_body(arrival, operation, shape), **_query(arrival, shape), **routed.in_path}
    problems: list[str] = []
    value = _structure(shape, sent, "", problems)
    if problems:
        plural = "" if len(problems) == 1 else "s"
        raise invalid(f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}")
    return value


def _body(arrival: Arrival, operation: OperationModel, shape: StructureShape) -> dict[str, Any]:
    if operation.http["method"] in {"GET", "DELETE"} or not arrival.body:
        return {}
    try:
        document = json.loads(arrival.body)
    except (ValueError, RecursionError):
        raise Refusal("SerializationException", "The body is not JSON", 400) from None
    if not isinstance(document, dict):
        raise Refusal("SerializationException", "The body is not a JSON object", 400)
    # What belongs into path or query is not taken from here, and null is as good as absent.
    in_body = {name for name, member in shape.members.items() if "location" not in member.serialization}
    return {name: value for name, value in document.items() if name in in_body and value is not None}


def _query(arrival: Arrival, shape: StructureShape) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for parameter in filter(None, arrival.query.split("&")):
        name, _, value = parameter.partition("=")
        found.setdefault(unquote(name), []).append(unquote(value))
    members = {
        name: member for name, member in shape.members.items() if member.serialization.get("location") == "querystring"
    }
    return {
        name: found[name] if member.type_name == "list" else _scalar(member, found[name][-1])
        for name, member in members.items()
        if name in found
    }


def _scalar(shape: Shape, text: str) -> object:
    if shape.type_name == "integer" and re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        return int(text)
    return text


def _structure(shape: StructureShape, value: object, where: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        problems.append(_problem(where, "Member must be an object"))
        return {}
    path = f"{where}." if where else ""
    problems += [
        _problem(f"{path}{name}", "Member must not be null")
        for name in shape.required_members
        if value.get(name) is None
    ]
    known = {name: part for name, part in value.items() if name in shape.members and part is not None}
    if shape.is_tagged_union and len(known) != 1:
        problems.append(_problem(where, "Exactly one member must be set"))
    return {name: _value(shape.members[name], part, f"{path}{name}", problems) for name, part in known.items()}


def _value(shape: Shape, value: object, where: str, problems: list[str]) -> Any:
    return _READERS[shape.type_name](shape, value, where, problems)


def _list(shape: ListShape, value: object, where: str, problems: list[str]) -> list[Any]:
    if not isinstance(value, list):
        problems.append(_problem(where, "Member must be a list"))
        return []
    _require_size(shape, len(value), where, problems)
    return [_value(shape.member, part, f"{where}.{place}.member", problems) for place, part in enumerate(value, 1)]


def _map(shape: MapShape, value: object, where: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        problems.append(_problem(where, "Member must be a map"))
        return {}
    _require_size(shape, len(value), where, problems)
    return {
        _value(shape.key, key, f"{where}.key", problems): _value(shape.value, part, f"{where}.{key}.value", problems)
        for key, part in value.items()
    }


def _string(shape: StringShape, value: object, where: str, problems: list[str]) -> str:
    if not isinstance(value, str):
        problems.append(_problem(where, "Member must be a string"))
        return ""
    _require_size(shape, len(value), where, problems)
    pattern, allowed = shape.metadata.get("pattern"), shape.enum
    if pattern is not None and not _compiled(pattern).fullmatch(value):
        problems.append(_problem(where, f"Member must satisfy regular expression pattern: {pattern}"))
    if allowed and value not in allowed:
        problems.append(_problem(where, f"Member must satisfy enum value set: [{', '.join(allowed)}]"))
    return value


def _integer(shape: Shape, value: object, where: str, problems: list[str]) -> int:
    if type(value) is not int:
        problems.append(_problem(where, "Member must be an integer"))
        return 0
    least, most = shape.metadata.get("min", -math.inf), shape.metadata.get("max", math.inf)
    if value < least:
        problems.append(_problem(where, f"Member must have value greater than or equal to {least}"))
    if value > most:
        problems.append(_problem(where, f"Member must have value less than or equal to {most}"))
    return value


def _boolean(_: Shape, value: object, where: str, problems: list[str]) -> bool:
    if not isinstance(value, bool):
        problems.append(_problem(where, "Member must be a boolean"))
    return value is True


def _blob(shape: Shape, value: object, where: str, problems: list[str]) -> bytes:
    try:
        content = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        content = None
    if content is None:
        problems.append(_problem(where, "Member must be base64"))
        return b""
    _require_size(shape, len(content), where, problems)
    return content


def _require_size(shape: Shape, size: int, where: str, problems: list[str]) -> None:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", math.inf)
    if size < least:
        problems.append(_problem(where, f"Member must have length greater than or equal to {least}"))
    if size > most:
        problems.append(_problem(where, f"Member must have length less than or equal to {most}"))


def _problem(where: str, constraint: str) -> str:
    return f"Value at '{where}' failed to satisfy constraint: {constraint}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_READERS: dict[str, Callable[[Any, object, str, list[str]], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _integer,
    "boolean": _boolean,
    "blob": _blob,
}
