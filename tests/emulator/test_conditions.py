"""Condition operators, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from rolesanywhere_helper.emulator.conditions import UnevaluatedError, holds, is_operator

CONTEXT = {
    "k": ("Value",),
    "n": ("10",),
    "d": ("2026-06-01T00:00:00Z",),
    "ip": ("192.0.2.7",),
    "arn": ("arn:aws:iam::111122223333:role/a/b",),
    "b": ("true",),
    "many": ("a", "b"),
}
HOLD = [
    ("StringEquals", "K", ["x", "Value"]),
    ("StringEqualsIgnoreCase", "k", ["VALUE"]),
    ("StringNotEquals", "k", ["value"]),
    ("StringNotEqualsIgnoreCase", "k", ["other"]),
    ("StringLike", "k", ["V?l*"]),
    ("StringNotLike", "k", ["v*"]),
    ("ArnEquals", "arn", ["arn:aws:iam::*:role/a/*"]),
    ("ArnLike", "arn", ["arn:*:iam::1111*:role/?/b"]),
    ("ArnNotEquals", "arn", ["arn:aws:iam::2*:role/*"]),
    ("ArnNotLike", "arn", ["arn:aws:*"]),
    ("NumericEquals", "n", ["10.0"]),
    ("NumericNotEquals", "n", ["9"]),
    ("NumericLessThan", "n", ["11"]),
    ("NumericLessThanEquals", "n", ["10"]),
    ("NumericGreaterThan", "n", ["9"]),
    ("NumericGreaterThanEquals", "n", ["10"]),
    ("DateEquals", "d", ["2026-06-01"]),
    ("DateNotEquals", "d", ["2026-06-02"]),
    ("DateLessThan", "d", ["2026-06-01T00:00:01Z"]),
    ("DateLessThanEquals", "d", ["1780272000"]),
    ("DateGreaterThan", "d", ["2026-05-31T23:59:59Z"]),
    ("DateGreaterThanEquals", "d", ["2026-06-01T00:00:00Z"]),
    ("Bool", "b", ["True"]),
    ("IpAddress", "ip", ["10.0.0.0/8", "192.0.2.0/24"]),
    ("NotIpAddress", "ip", ["10.0.0.0/8"]),
    ("Null", "missing", ["true"]),
    ("Null", "k", ["false"]),
    ("StringEqualsIfExists", "missing", ["x"]),
    ("ForAnyValue:StringEquals", "many", ["b", "c"]),
    ("ForAllValues:StringEquals", "many", ["a", "b", "c"]),
    ("ForAllValues:StringEquals", "missing", ["a"]),
    ("StringNotEquals", "missing", ["a"]),
    ("StringEquals", "k", ["${k}"]),
    ("StringLike", "k", ["*${K}"]),
]
DO_NOT_HOLD = [
    ("StringEquals", "k", ["value"]),
    ("StringEquals", "missing", ["x"]),
    ("StringNotEquals", "k", ["x", "Value"]),
    ("StringLike", "k", ["alue"]),
    ("ArnLike", "arn", ["arn:aws:*:role/a/b"]),
    ("ArnEquals", "k", ["*"]),
    ("NumericEquals", "k", ["1"]),
    ("NumericLessThan", "n", ["10"]),
    ("DateLessThan", "d", ["soon"]),
    ("Bool", "b", ["false"]),
    ("IpAddress", "ip", ["2001:db8::/32"]),
    ("NotIpAddress", "ip", ["192.0.2.0/24"]),
    ("Null", "k", ["true"]),
    ("StringEqualsIfExists", "k", ["x"]),
    ("ForAnyValue:StringEquals", "many", ["c"]),
    ("ForAnyValue:StringEquals", "missing", ["a"]),
    ("ForAllValues:StringEquals", "many", ["a"]),
    ("StringEquals", "k", ["${missing}"]),
    ("StringEquals", "k", ["${many}"]),
    ("StringEquals", "k", []),
]


@pytest.mark.parametrize("condition", HOLD, ids=str)
def test_it_holds(condition: tuple[str, str, list[str]]) -> None:
    assert holds(*condition, CONTEXT)
    assert is_operator(condition[0])


@pytest.mark.parametrize("condition", DO_NOT_HOLD, ids=str)
def test_it_does_not_hold(condition: tuple[str, str, list[str]]) -> None:
    assert not holds(*condition, CONTEXT)


def test_without_variables_they_are_text() -> None:
    context = {"k": ("Value",), "text": ("${k}",)}
    assert holds("StringEquals", "k", ["${k}"], context)
    assert not holds("StringEquals", "k", ["${k}"], context, has_variables=False)
    assert holds("StringEquals", "text", ["${k}"], context, has_variables=False)


@pytest.mark.parametrize(
    "condition",
    [("BinaryEquals", "k", ["x"]), ("StringSame", "k", ["x"]), ("StringEquals", "k", ["${k, 'x'}"])],
    ids=str,
)
def test_what_is_not_evaluated_is_said(condition: tuple[str, str, Any]) -> None:
    with pytest.raises(UnevaluatedError):
        holds(*condition, CONTEXT)


@pytest.mark.parametrize(
    "name", ["StringSame", "stringequals", "ForAnyValue:Null", "NullIfExists", "String Equals", ""]
)
def test_what_iam_does_not_know_is_no_operator(name: str) -> None:
    assert not is_operator(name)
    assert is_operator("BinaryEquals")
