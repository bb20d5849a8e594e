"""The routes under ``/_emulator/``: faults and the request list.

They are for tests on this machine. A browser that was lured to a name pointing here (DNS rebinding), or to a page that
posts here, must not reach them: Host has to be loopback, and Origin absent.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING

from rolesanywhere_helper.emulator.answers import Answer, Refusal, access_denied, invalid, json_answer, json_refusal
from rolesanywhere_helper.emulator.faults import parse_fault

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.service import Service

PREFIX = "/_emulator/"
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
        case _:
            raise Refusal("UnknownOperationException", "known: faults (POST, DELETE), requests (GET, DELETE)", 404)
    return json_answer(200, {})


def _add_fault(arrival: Arrival, service: Service) -> None:
    try:
        service.faults.add(parse_fault(json.loads(arrival.body)))
    except (ValueError, RecursionError) as error:
        raise invalid(str(error)) from None


def _require_local(arrival: Arrival) -> None:
    match = _HOST.fullmatch(arrival.value("host") or "")
    if match is None or not is_loopback(match["six"] or match["name"]) or arrival.values("origin"):
        raise access_denied("Only for programs on this machine")
