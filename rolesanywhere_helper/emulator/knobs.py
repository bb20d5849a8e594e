"""Knobs: how the services behave as a whole, as ``POST /_emulator/knobs`` sets it.

======================  ==========================================================================================
``lenient``             accept, and only note, what the service flags in CloudTrail
``quotaPerSecond``      throttle CreateSession at so many requests a second for each account; ``null``: not at all
``clockOffsetSeconds``  let the clock go ahead by so much; behind, if negative
======================  ==========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LARGEST_QUOTA = 1_000_000
# Some thirty years: any clock that is off leaves dates that every client and library can read.
_LARGEST_OFFSET = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Knobs:
    """Where the knobs are. ``clock_offset_seconds`` is added to the real time."""

    lenient: bool = False
    quota_per_second: float | None = None
    clock_offset_seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """Show them under the names that JSON has for them."""
        return {name: getattr(self, field) for name, field in _FIELDS.items()}

    def turned(self, given: Mapping[str, Any]) -> Knobs:
        """Return the knobs with those turned that are given, by the names that JSON has for them.

        Raises:
            ValueError: nothing is given, an unknown knob, or a value that makes no sense; the text says all of it.

        """
        unknown = sorted(set(given) - set(_FIELDS))
        if unknown or not given:
            raise ValueError(f"known knobs: {', '.join(_FIELDS)}")
        wanted = {**self.document(), **given}
        problems = [f"{name} has to be {_WANTED[name]}" for name, value in wanted.items() if not _FITS[name](value)]
        if problems:
            raise ValueError("; ".join(problems))
        return Knobs(**{_FIELDS[name]: value for name, value in wanted.items()})


_FIELDS = {
    "lenient": "lenient",
    "quotaPerSecond": "quota_per_second",
    "clockOffsetSeconds": "clock_offset_seconds",
}


def _is_number(value: object) -> bool:
    return type(value) in {int, float}


def _is_quota(value: Any) -> bool:
    return value is None or (_is_number(value) and 0 < value <= _LARGEST_QUOTA)


def _is_offset(value: Any) -> bool:
    return _is_number(value) and -_LARGEST_OFFSET <= value <= _LARGEST_OFFSET


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "lenient": lambda value: isinstance(value, bool),
    "quotaPerSecond": _is_quota,
    "clockOffsetSeconds": _is_offset,
}
_WANTED = {
    "lenient": "true or false",
    "quotaPerSecond": f"a number above 0, up to {_LARGEST_QUOTA}, or null",
    "clockOffsetSeconds": f"a number from -{_LARGEST_OFFSET} to {_LARGEST_OFFSET}",
}
