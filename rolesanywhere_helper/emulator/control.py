"""The routes under ``/_emulator/``: faults, knobs, the request list, and back to the beginning.

They are for tests on this machine. A browser that was lured to a name pointing here (DNS rebinding), or to a page that
posts here, must not reach them: Host has to be loopback, and Origin absent. Another machine can write what it likes
into Host, so that the connection has to come from loopback too.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.emulator import certificates
from rolesanywhere_helper.emulator.answers import Answer, Refusal, access_denied, invalid, json_answer, json_refusal
from rolesanywhere_helper.emulator.faults import parse_fault
from rolesanywhere_helper.emulator.state import with_private_authority

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.service import Service

PREFIX = "/_emulator/"
_KNOWN = "faults (POST, DELETE), requests (GET, DELETE), knobs (GET, POST), private-authorities (POST), reset (POST)"
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]]+))(?::\d{1,5})?", re.ASCII)


def answer(arrival: Arrival, service: Service) -> Answer:
    """Answer a control request."""
    try:
        _require_local(arrival)
        return _answer(arrival, service)
    except Refusal as refusal:
        return json_refusal(refusal)
    except OSError as error:
        message = f"the accounts could not be written: {error.strerror}"
        return json_refusal(Refusal("ServiceUnavailableException", message, 503))


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _answer(arrival: Arrival, service: Service) -> Answer:
    match (arrival.method, arrival.path.removeprefix(PREFIX)):
        case ("GET", "requests"):
            return json_answer(200, service.journal.documents())
        case ("DELETE", "requests"):
            service.journal.clear()
        case ("POST", "faults"):
            _add_fault(arrival, service)
        case ("DELETE", "faults"):
            service.faults.clear()
        case ("GET", "knobs"):
            return json_answer(200, service.knobs.document())
        case ("POST", "knobs"):
            _turn(arrival, service)
            return json_answer(200, service.knobs.document())
        case ("POST", "private-authorities"):
            _register_authority(arrival, service)
        case ("POST", "reset"):
            service.reset()
        case _:
            raise Refusal("UnknownOperationException", f"known: {_KNOWN}", 404)
    return json_answer(200, {})


def _add_fault(arrival: Arrival, service: Service) -> None:
    try:
        service.faults.add(parse_fault(json.loads(arrival.body)))
    except (ValueError, RecursionError) as error:
        raise invalid(str(error)) from None


def _turn(arrival: Arrival, service: Service) -> None:
    """Set the knobs that are given, or none of them if one makes no sense."""
    given = _object(arrival)
    try:
        service.turn(given)
    except ValueError as error:
        raise invalid(str(error)) from None


def _register_authority(arrival: Arrival, service: Service) -> None:
    """Let a CA's certificate stand in for the private CA of an ARN, also where that is a trust anchor already."""
    given = _object(arrival)
    arn, pem = given.get("arn"), given.get("certificate")
    if not isinstance(arn, str) or not isinstance(pem, str):
        raise invalid("arn and certificate (PEM) are needed")
    certificates.require_no_private_key(pem.encode("utf-8", "replace"))
    for certificate in certificates.bundle_of(pem):
        certificates.require_ca(certificate)
    service.change_state(lambda state: with_private_authority(state, arn, pem))


def _object(arrival: Arrival) -> dict[str, Any]:
    try:
        given = json.loads(arrival.body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise invalid("the body is no JSON object")
    return given


def _require_local(arrival: Arrival) -> None:
    match = _HOST.fullmatch(arrival.value("host") or "")
    is_named = match is not None and is_loopback(match["six"] or match["name"])
    if not is_named or not is_loopback(arrival.remote) or arrival.values("origin"):
        raise access_denied("Only for programs on this machine")
