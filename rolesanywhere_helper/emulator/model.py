"""The management API as botocore's own service model describes it: routes, and the parameters in path, query and body.

The model is loaded with the first management call, because reading it takes longer than everything else at the start.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rolesanywhere_helper.emulator import constraints
from rolesanywhere_helper.emulator.answers import Refusal, invalid

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape, StructureShape

    from rolesanywhere_helper.emulator.arrival import Arrival


@dataclass(frozen=True, slots=True)
class Routed:
    """A request whose method and path are those of an operation. ``in_path`` holds the path's parameters, decoded."""

    operation: str
    status: int
    in_path: dict[str, str]


def service_model() -> ServiceModel:
    """Load botocore's model of Roles Anywhere."""
    return constraints.service_model("rolesanywhere")


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
    value, problem = constraints.read(shape, sent)
    if problem is not None:
        raise invalid(problem)
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
