"""The daemon's status, written and read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.domain.serving import SessionStatus
from rolesanywhere_helper.protocol.status import DaemonStatus, parse, render, rfc3339

FULL = SessionStatus(
    "deploy",
    has_credentials=True,
    expires_at=1_900_000_000,
    next_attempt_at=1_899_999_000.75,
    last_attempt_at=1_899_990_000.0,
    last_success_at=1_899_998_000.5,
    last_error=("refused", "no", "ask"),
    certificate_not_after=253_402_300_799,
    clock_skew_seconds=-0.25,
    attempts=3,
)
EMPTY = SessionStatus("other", has_credentials=False)
OUTLETS = {"imds": {"main": "http://127.0.0.1:9911"}, "agent": "/run/a.sock"}


def test_the_document() -> None:
    document = json.loads(render(DaemonStatus("1.2.3", (FULL, EMPTY), OUTLETS)))

    assert document == {
        "version": "1.2.3",
        "sessions": {
            "deploy": {
                "hasCredentials": True,
                "expiresAt": "2030-03-17T17:46:40Z",
                "nextRefreshAt": "2030-03-17T17:30:00Z",
                "lastSuccessAt": "2030-03-17T17:13:20Z",
                "lastError": {"code": "refused", "message": "no", "hint": "ask"},
                "certificateNotAfter": "9999-12-31T23:59:59Z",
                "clockSkewSeconds": -0.25,
            },
            "other": {
                "hasCredentials": False,
                "expiresAt": None,
                "nextRefreshAt": None,
                "lastSuccessAt": None,
                "lastError": None,
                "certificateNotAfter": None,
                "clockSkewSeconds": None,
            },
        },
        "outlets": OUTLETS,
    }


def test_what_is_written_is_read() -> None:
    read = parse(render(DaemonStatus("1.2.3", (FULL, EMPTY), OUTLETS)))

    assert (read.version, read.outlets) == ("1.2.3", OUTLETS)
    assert read.session("other") == EMPTY
    assert read.session("none") is None
    assert read.session("deploy") == SessionStatus(
        "deploy",
        has_credentials=True,
        expires_at=1_900_000_000,
        next_attempt_at=1_899_999_000,
        last_success_at=1_899_998_000,
        last_error=("refused", "no", "ask"),
        certificate_not_after=253_402_300_799,
        clock_skew_seconds=-0.25,
    )


def test_what_another_version_adds_is_passed_over() -> None:
    document = b'{"version": "9", "more": 1, "sessions": {"a": {"hasCredentials": true, "more": {}}}}'

    assert parse(document).sessions == (SessionStatus("a", has_credentials=True),)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"version": "1", "sessions": []}',
        b'{"version": "1", "sessions": {"a": 1}}',
        b'{"version": "1", "sessions": {"a": {}}}',
        b'{"version": "1", "sessions": {"a": {"hasCredentials": true, "expiresAt": 5}}}',
        b'{"version": "1", "sessions": {"a": {"hasCredentials": true, "expiresAt": "soon"}}}',
        b'{"version": "1", "sessions": {"a": {"hasCredentials": true, "lastError": {}}}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_anything_else_is_refused_as_one_error(document: bytes) -> None:
    with pytest.raises(ValueError):
        parse(document)


@given(st.integers(0, 253_402_300_799))
def test_moments_keep_their_second(moment: int) -> None:
    text = rfc3339(moment)

    assert parse(
        json.dumps({"version": "1", "sessions": {"a": {"hasCredentials": True, "expiresAt": text}}}).encode()
    ).sessions == (SessionStatus("a", has_credentials=True, expires_at=moment),)
