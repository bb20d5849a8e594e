"""Faults that a test orders: what the service shall do wrong.

``POST /_emulator/faults`` adds one; every fault that is set applies, a later one over an earlier one, until its
``times`` are used up or ``DELETE`` clears all. The keys of a fault combine:

====================  ======================================================================================
``status``            from 300 on: answer an error with this status, without looking at the request;
                      below: the status of the ordinary answer
``message, type``     text and type of that error (alone they mean status 403)
``delaySeconds``      answer so much later; the request is judged and listed when it arrives
``body``              answer with this text instead
``headers``           add these to the answer (``{"Retry-After": "2"}``)
``truncate``          break the connection after half of the body
``expiresInSeconds``  credentials expire after so many seconds, whatever was asked for; may be negative
``times``             for so many requests; until cleared if absent
``operation``         ``CreateSession`` (if absent), or any other operation that is played here
====================  ======================================================================================
"""

from __future__ import annotations

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
    unknown = sorted(set(document) - set(_READERS))
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(unknown)}; known: {', '.join(_READERS)}")
    values: dict[str, Any] = {}
    for key, value in document.items():
        name, fits = _READERS[key]
        if not fits(value):
            raise ValueError(f"this makes no sense as {key}")
        values[name] = tuple(value.items()) if key == "headers" else value
    return Fault(**values)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_headers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(text, str) and text.isprintable() and text.isascii() for text in (*value, *value.values())
    )


_READERS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "operation": ("operation", OPERATIONS.__contains__),
    "times": ("times", lambda value: _is_whole(value) and value > 0),
    "status": ("status", lambda value: _is_whole(value) and 200 <= value <= 599),  # noqa: PLR2004 - the final statuses of HTTP
    "message": ("message", _is_text),
    "type": ("kind", _is_text),
    "delaySeconds": ("delay_seconds", lambda value: type(value) in {int, float} and 0 <= value < float("inf")),
    "body": ("body", _is_text),
    "headers": ("headers", _is_headers),
    "truncate": ("truncate", lambda value: isinstance(value, bool)),
    "expiresInSeconds": ("expires_in_seconds", _is_whole),
}
