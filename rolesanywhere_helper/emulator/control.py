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
_LARGEST = 1e9
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]]+))(?::\d{1,5})?", re.ASCII)


def answer(arrival: Arrival, service: Service) -> Answer:
    """Answer a control request."""
    try:
        _require_local(arrival)
        return _answer(arrival, service)
    except Refusal as refusal:
        return json_refusal(refusal)


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
            return json_answer(200, _knobs(service))
        case ("POST", "knobs"):
            _turn(arrival, service)
            return json_answer(200, _knobs(service))
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


def _knobs(service: Service) -> dict[str, object]:
    return {
        "lenient": service.lenient,
        "quotaPerSecond": service.throttle.per_second,
        "clockOffsetSeconds": service.clock_offset_seconds,
    }


def _turn(arrival: Arrival, service: Service) -> None:
    """Set the knobs that are given, or none of them if one makes no sense."""
    given = _object(arrival)
    unknown = sorted(set(given) - set(_knobs(service)))
    if unknown or not given:
        raise invalid(f"known knobs: {', '.join(_knobs(service))}")
    lenient, quota = given.get("lenient", service.lenient), given.get("quotaPerSecond", service.throttle.per_second)
    offset = given.get("clockOffsetSeconds", service.clock_offset_seconds)
    if not isinstance(lenient, bool) or not (quota is None or (_is_number(quota) and quota > 0)):
        raise invalid("lenient is true or false, quotaPerSecond a number above 0, or null")
    if not _is_number(offset):
        raise invalid("clockOffsetSeconds is a number")
    service.lenient, service.clock_offset_seconds = lenient, offset
    if "quotaPerSecond" in given:
        service.throttle.set(quota)


def _register_authority(arrival: Arrival, service: Service) -> None:
    """Let a CA's certificate stand in for the private CA of an ARN, also where that is a trust anchor already."""
    given = _object(arrival)
    arn, pem = given.get("arn"), given.get("certificate")
    if not isinstance(arn, str) or not isinstance(pem, str):
        raise invalid("arn and certificate (PEM) are needed")
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


def _is_number(value: object) -> bool:
    return type(value) in {int, float} and abs(value) < _LARGEST  # type: ignore[arg-type]  # a number, as was looked


def _require_local(arrival: Arrival) -> None:
    match = _HOST.fullmatch(arrival.value("host") or "")
    is_named = match is not None and is_loopback(match["six"] or match["name"])
    if not is_named or not is_loopback(arrival.remote) or arrival.values("origin"):
        raise access_denied("Only for programs on this machine")
