"""Faults that a test orders: what the service shall do wrong.

``POST /_emulator/faults`` adds one; every fault that is set applies, a later one over an earlier one, until its
``times`` are used up or ``DELETE`` clears all. The keys of a fault combine:

====================  ======================================================================================
``status``            from 300 on: answer an error with this status, without looking at the request;
                      below: the status of the ordinary answer
``message, type``     text and type of that error (alone they mean status 403)
``delaySeconds``      answer so much later, a day at most; the request is judged and listed when it arrives
``body``              answer with this text instead
``headers``           add these to the answer (``{"Retry-After": "2"}``)
``truncate``          break the connection after half of the body
``expiresInSeconds``  credentials expire after so many seconds, whatever was asked for: up to ten years, and less
                      than none if negative
``times``             for so many requests; until cleared if absent
``operation``         ``CreateSession`` (if absent), or any other operation that is played here
====================  ======================================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.emulator import iam, management

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPERATIONS = ("CreateSession", "AssumeRole", "GetCallerIdentity", *management.OPERATIONS, *iam.ACTIONS)
_KINDS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_FIRST_ERROR = 300
_LONGEST_DELAY = 86_400
_LONGEST_TYPE = 256
_FURTHEST_EXPIRY = 315_360_000  # ten years, which leaves a date that every client can read
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # RFC 9110, 5.6.2
_FRAMING = ("content-length", "transfer-encoding")  # what the server itself has to say, or nobody could read the answer
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; None leaves the ordinary behaviour."""

    operation: str = OPERATIONS[0]
    times: int | None = None
    status: int | None = None
    message: str | None = None
    kind: str | None = None
    delay_seconds: float | None = None
    body: str | None = None
    headers: tuple[tuple[str, str], ...] | None = None
    truncate: bool | None = None
    expires_in_seconds: int | None = None

    @property
    def error_status(self) -> int | None:
        """The status to answer without looking at the request; None if the request is to be judged."""
        if self.status is None:
            return None if self.message is None and self.kind is None else 403
        return self.status if self.status >= _FIRST_ERROR else None

    @property
    def error_kind(self) -> str:
        """The error's type, from the status if none is given."""
        return self.kind or _KINDS.get(self.error_status or 0, "InternalServerException")

    def over(self, earlier: Fault) -> Fault:
        """Combine with an earlier fault: what this one says counts."""
        said = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(earlier, **{name: value for name, value in said.items() if value is not None})


class Faults:
    """The faults that are set, in order."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Set one more."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget all."""
        self._faults.clear()

    def take(self, operation: str) -> Fault:
        """Return what applies to this request, and count it."""
        taken, kept = Fault(operation), []
        for fault in self._faults:
            if fault.operation != operation:
                kept.append(fault)
                continue
            taken = fault.over(taken)
            if fault.times is None:
                kept.append(fault)
            elif fault.times > 1:
                kept.append(replace(fault, times=fault.times - 1))
        self._faults = kept
        return taken


def parse_fault(document: object) -> Fault:
    """Read a fault from JSON.

    Raises:
        ValueError: an unknown key, or a value that makes no sense; the text says which.

    """
    if not isinstance(document, dict) or not document:
        raise ValueError("a fault is a JSON object with at least one key")
    unknown = sorted(set(document) - set(_KEYS))
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(unknown)}; known: {', '.join(_KEYS)}")
    problems = [f"{key} has to be {_KEYS[key].wanted}" for key, value in document.items() if not _KEYS[key].fits(value)]
    if problems:
        raise ValueError("; ".join(problems))
    values: dict[str, Any] = {_KEYS[key].field: value for key, value in document.items()}
    if "headers" in values:
        values["headers"] = tuple(values["headers"].items())
    return Fault(**values)


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of the JSON form: the field that it sets, what fits into it, and that in words."""

    field: str
    fits: Callable[[Any], bool]
    wanted: str


def _whole(field: str, least: int, most: int) -> _Key:
    return _Key(
        field, lambda value: type(value) is int and least <= value <= most, f"a whole number from {least} to {most}"
    )


def _is_text(value: Any) -> bool:
    """Tell whether this is text that can be sent: half of a surrogate pair, which JSON can hold, cannot."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def _is_type(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_TYPE and value.isprintable() and value.isascii()


def _is_delay(value: Any) -> bool:
    return type(value) in {int, float} and 0 <= value <= _LONGEST_DELAY


def _is_operation(value: Any) -> bool:
    return isinstance(value, str) and value in OPERATIONS


def _are_headers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _HEADER.fullmatch(name)
        and name.lower() not in _FRAMING
        and isinstance(text, str)
        and text.isprintable()
        and text.isascii()
        for name, text in value.items()
    )


_KEYS: Mapping[str, _Key] = {
    "operation": _Key("operation", _is_operation, "the name of an operation that is played here"),
    "times": _whole("times", 1, 1_000_000),
    "status": _whole("status", 200, 599),
    "message": _Key("message", _is_text, "text"),
    "type": _Key("kind", _is_type, f"1 to {_LONGEST_TYPE} printable ASCII characters"),
    "delaySeconds": _Key("delay_seconds", _is_delay, f"a number from 0 to {_LONGEST_DELAY}"),
    "body": _Key("body", _is_text, "text"),
    "headers": _Key(
        "headers", _are_headers, f"names and values of headers, printable ASCII, other than {' and '.join(_FRAMING)}"
    ),
    "truncate": _Key("truncate", lambda value: isinstance(value, bool), "true or false"),
    "expiresInSeconds": _whole("expires_in_seconds", -_FURTHEST_EXPIRY, _FURTHEST_EXPIRY),
}
