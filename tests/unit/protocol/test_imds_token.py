"""Tokens are signed, of one endpoint, and end by a clock that nobody sets."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.protocol.imds_token import ImdsTokens, parse_ttl

KEY = bytes(range(32))
BOOTTIME = 5_000.25


def tokens(endpoint: str = "main", key: bytes = KEY) -> ImdsTokens:
    numbers = itertools.count()
    return ImdsTokens(key, endpoint, lambda: next(numbers).to_bytes(8, "big"))


@pytest.mark.promise(21)
@pytest.mark.parametrize(
    "text",
    [None, "", "0", "-1", "21601", "1e3", " 60", "60 ", "+60", "6_0", "000060", "99999", "٦٠", "60\n", "0x10", "1.0"],
)
def test_a_ttl_that_is_none_is_refused(text: str | None) -> None:
    assert parse_ttl(text) is None


@pytest.mark.parametrize(("text", "seconds"), [("1", 1), ("60", 60), ("00060", 60), ("21600", 21_600)])
def test_a_ttl_in_range_is_read(text: str, seconds: int) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.promise(23)
def test_a_token_ends_when_its_ttl_is_over() -> None:
    issuer = tokens()
    token = issuer.issue(60, BOOTTIME)

    assert issuer.ends_at(token, BOOTTIME) == BOOTTIME + 60
    assert issuer.ends_at(token, BOOTTIME + 59.9) == BOOTTIME + 60
    assert issuer.ends_at(token, BOOTTIME + 60) is None


@pytest.mark.promise(24)
def test_a_token_of_one_endpoint_is_refused_at_another() -> None:
    token = tokens("main").issue(60, BOOTTIME)

    assert tokens("other").ends_at(token, BOOTTIME) is None
    assert tokens("main").ends_at(token, BOOTTIME) is not None


def test_a_token_survives_a_restart_with_the_same_key_and_no_other() -> None:
    token = tokens().issue(60, BOOTTIME)

    assert tokens().ends_at(token, BOOTTIME + 1) is not None
    assert tokens(key=bytes(32)).ends_at(token, BOOTTIME + 1) is None


def test_a_key_that_outlives_a_reboot_brings_no_token_back_with_a_longer_life() -> None:
    """BOOTTIME begins anew: a token of late in the last boot would be valid for days."""
    token = tokens().issue(60, 400_000.0)

    assert tokens().ends_at(token, 100.0) is None


@pytest.mark.promise(23)
@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [(".$", ""), ("$", "A"), (".*", ""), ("^.", "é"), (".$", "="), ("$", "\n"), ("^.", "+"), (".$", "/")],
)
def test_a_token_of_another_form_is_refused(pattern: str, replacement: str) -> None:
    issuer = tokens()
    changed = re.sub(pattern, replacement, issuer.issue(60, BOOTTIME), count=1)

    assert issuer.ends_at(changed, BOOTTIME) is None


@given(position=st.integers(0, 63), other=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0189-_"))
def test_a_changed_token_is_refused(position: int, other: str) -> None:
    issuer = tokens()
    token = issuer.issue(60, BOOTTIME)
    changed = token[:position] + other + token[position + 1 :]

    assert (issuer.ends_at(changed, BOOTTIME) is None) == (changed != token)


def test_no_two_tokens_are_alike_and_all_are_equally_long() -> None:
    issuer = tokens()
    issued = [issuer.issue(ttl, BOOTTIME) for ttl in (1, 1, 60, 21_600)]

    assert len(set(issued)) == len(issued)
    assert {len(token) for token in issued} == {64}


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        tokens(key=b"short")
