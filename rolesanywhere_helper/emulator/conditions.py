"""The condition operators of IAM's policy language (IAM user guide, "IAM JSON policy elements: Condition operators").

Every operator but ``BinaryEquals`` is evaluated, with ``ForAnyValue:``, ``ForAllValues:`` and ``…IfExists``, and so are
policy variables without a default (``${aws:PrincipalTag/team}``).
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    _Test: TypeAlias = Callable[[str, str], bool]

# Keys are in lower case, because IAM does not tell their cases apart.
Context: TypeAlias = "Mapping[str, tuple[str, ...]]"

_OPERATOR = re.compile(r"(?:(?P<quantifier>ForAnyValue|ForAllValues):)?(?P<base>[A-Za-z]+?)(?P<if_exists>IfExists)?")
_VARIABLE = re.compile(r"\$\{(?P<key>[^}]*)\}")
_ARN_PARTS = 6


class UnevaluatedError(ValueError):
    """The policy uses what this emulator does not evaluate; the text says what."""


def is_operator(name: str) -> bool:
    """Tell whether IAM knows an operator of this name, evaluated here or not."""
    match = _OPERATOR.fullmatch(name)
    if match is None:
        return False
    if match["base"] == "Null":
        return not match["quantifier"] and not match["if_exists"]
    return match["base"] in _TESTS or match["base"] in _NEGATED or match["base"] == "BinaryEquals"


def holds(operator: str, key: str, wanted: Iterable[str], context: Context, *, has_variables: bool = True) -> bool:
    """Tell whether the context's values of a key are as wanted.

    Without ``has_variables`` a ``${…}`` is no variable, but the text that it is.

    Raises:
        UnevaluatedError: this operator, or a policy variable in a value, is not evaluated here.

    """
    match = _OPERATOR.fullmatch(operator)
    base = match["base"] if match else ""
    there = context.get(key.lower())
    if base == "Null":
        return (there is None) == any(value.lower() == "true" for value in wanted)
    positive = _NEGATED.get(base, base)
    if match is None or positive not in _TESTS:
        raise UnevaluatedError(f"the condition operator {operator}")
    is_negated, quantifier = base in _NEGATED, match["quantifier"]
    if there is None:
        return bool(match["if_exists"]) or quantifier == "ForAllValues" or (is_negated and quantifier is None)
    if has_variables:
        values = [text for text in (_substituted(value, context) for value in wanted) if text is not None]
    else:
        values = list(wanted)
    test = _TESTS[positive]

    def fits(value: str) -> bool:
        return any(test(value, one) for one in values) != is_negated

    if quantifier == "ForAllValues" or (is_negated and quantifier is None):
        return all(map(fits, there))
    return any(map(fits, there))


def matches_pattern(value: str, pattern: str) -> bool:
    """Compare with a pattern in which ``*`` is any text and ``?`` any one character."""
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"([*?])", pattern))
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def _substituted(text: str, context: Context) -> str | None:
    """Put the context's values where variables are; None if one has no single value, for then nothing matches.

    No wildcard can come in: no session tag, ARN or account has one in it.
    """
    keys = [match["key"] for match in _VARIABLE.finditer(text)]
    if any("," in key or key in {"*", "?", "$"} for key in keys):
        raise UnevaluatedError(f"a policy variable with a default, or one for a character: {text}")
    if any(len(context.get(key.lower(), ())) != 1 for key in keys):
        return None
    return _VARIABLE.sub(lambda match: context[match["key"].lower()][0], text)


def _is_same_arn(value: str, pattern: str) -> bool:
    """Compare ARNs part by part: a star does not reach over a colon, but in the last part."""
    values, patterns = value.split(":", _ARN_PARTS - 1), pattern.split(":", _ARN_PARTS - 1)
    if len(values) != _ARN_PARTS or len(patterns) != _ARN_PARTS:
        return False
    return all(map(matches_pattern, values, patterns))


def _numeric(compare: Callable[[float, float], bool]) -> _Test:
    def test(value: str, wanted: str) -> bool:
        try:
            return compare(float(value), float(wanted))
        except ValueError:
            return False

    return test


def _date(compare: Callable[[float, float], bool]) -> _Test:
    def test(value: str, wanted: str) -> bool:
        try:
            return compare(_seconds(value), _seconds(wanted))
        except ValueError:
            return False

    return test


def _seconds(text: str) -> float:
    """Read a date as IAM takes them: ISO 8601, or seconds since the epoch."""
    if re.fullmatch(r"\d{5,}(\.\d+)?", text, re.ASCII):
        return float(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _is_in_network(value: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


_TESTS: Mapping[str, _Test] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringEqualsIgnoreCase": lambda value, wanted: value.casefold() == wanted.casefold(),
    "StringLike": matches_pattern,
    "ArnEquals": _is_same_arn,
    "ArnLike": _is_same_arn,
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
    "IpAddress": _is_in_network,
    "NumericEquals": _numeric(lambda value, wanted: value == wanted),
    "NumericLessThan": _numeric(lambda value, wanted: value < wanted),
    "NumericLessThanEquals": _numeric(lambda value, wanted: value <= wanted),
    "NumericGreaterThan": _numeric(lambda value, wanted: value > wanted),
    "NumericGreaterThanEquals": _numeric(lambda value, wanted: value >= wanted),
    "DateEquals": _date(lambda value, wanted: value == wanted),
    "DateLessThan": _date(lambda value, wanted: value < wanted),
    "DateLessThanEquals": _date(lambda value, wanted: value <= wanted),
    "DateGreaterThan": _date(lambda value, wanted: value > wanted),
    "DateGreaterThanEquals": _date(lambda value, wanted: value >= wanted),
}
_NEGATED: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
}
