"""Which SVID is meant, and where its agent is."""

from __future__ import annotations

import pytest

from rolesanywhere_helper.domain.workload_reference import WorkloadReference, endpoint_path, parse_workload_reference
from rolesanywhere_helper.errors import UsageError


@pytest.mark.parametrize(
    ("text", "spiffe_id", "socket"),
    [
        ("spiffe:", None, None),
        ("spiffe://example.org", "spiffe://example.org", None),
        ("spiffe://example.org/ns/a_B.c-1/sa", "spiffe://example.org/ns/a_B.c-1/sa", None),
        ("SPIFFE://example.org/a", "spiffe://example.org/a", None),
        ("spiffe:unix:/run/agent.sock", None, "/run/agent.sock"),
        ("spiffe:unix:///run/agent.sock", None, "/run/agent.sock"),
        ("spiffe://example.org/a?socket=/run/agent.sock", "spiffe://example.org/a", "/run/agent.sock"),
        ("spiffe://example.org/..a/...", "spiffe://example.org/..a/...", None),
    ],
)
def test_what_is_meant(text: str, spiffe_id: str | None, socket: str | None) -> None:
    assert parse_workload_reference(text) == WorkloadReference(spiffe_id, socket)


@pytest.mark.parametrize(
    "text",
    [
        "spiffe:x",
        "spiffe:/run/agent.sock",
        "spiffe:///path",
        "spiffe://Example.org/a",
        "spiffe://example.org/",
        "spiffe://example.org//a",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/.",
        "spiffe://example.org/a b",
        "spiffe://example.org:8081/a",
        "spiffe://example.org/a?x=y",
        "spiffe://example.org/a?socket=",
        "spiffe://example.org/a?socket=run/agent.sock",
        "spiffe://example.org/" + "a" * 2048,
        "spiffe:unix:agent.sock",
        "spiffe:unix:",
        "spiffe:tcp://127.0.0.1:8081",
    ],
)
def test_what_means_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        parse_workload_reference(text)


@pytest.mark.parametrize(
    "address", ["/run/a.sock", "tcp://127.0.0.1:80", "unix://run/a.sock", "unix:////a", "unix:/a\0"]
)
def test_an_address_that_is_no_unix_socket(address: str) -> None:
    with pytest.raises(UsageError, match="SPIFFE_ENDPOINT_SOCKET"):
        endpoint_path(address, "SPIFFE_ENDPOINT_SOCKET")
