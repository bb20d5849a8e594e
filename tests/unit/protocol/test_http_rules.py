"""Which heads are heard; what a socket adds is tested in tests/faults/test_http_edge.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.protocol.http_rules import Head, HostRule, early_refusal, plain_address, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = HostRule(frozenset({"10.0.0.5", "fd00:ec2::23", "host.docker.internal"}), 9911)
GOOD = b"GET /latest/ HTTP/1.1\r\nHost: 127.0.0.1:9911\r\nUser-Agent: x/1\r\nX-Tab:\ta\r\n\r\n"


def head(target: str = "/", method: str = "GET", minor: int = 1, *, fields: Mapping[str, str] | None = None) -> Head:
    return Head(method, target, minor, (("host", "localhost"), *(fields or {}).items()))


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:9911",
        "127.255.0.9",
        "localhost",
        "LocalHost:9911",
        "[::1]",
        "[::1]:9911",
        "[0:0:0:0:0:0:0:1]",
        "10.0.0.5:9911",
        "[fd00:ec2:0::23]:9911",
        "host.docker.internal",
        "HOST.docker.internal:9911",
    ],
)
def test_a_host_of_ours_is_right(host: str) -> None:
    assert OURS.allows(host)


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:9911",
        "localhost:80",
        "localhost:",
        "localhost.",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.1",
        "0x7f.0.0.1",
        "127.0.0.01",
        "127.0.0.256",
        "2130706433",
        "128.0.0.1",
        "::1",
        "[::1",
        "[::2]",
        "[::ffff:128.0.0.1]",
        "10.0.0.6",
        "127.0.0.1:9911:9911",
        "user@127.0.0.1",
        "127.0.0.1 ",
        "127.0.0.1,evil.example",
        "localhost:99110000",
        "lócalhost",
    ],
)
def test_any_other_host_is_wrong(host: str) -> None:
    assert not OURS.allows(host)


def test_on_a_unix_socket_any_well_formed_host_is_right() -> None:
    rule = HostRule(frozenset(), None)
    assert rule.allows("localhost")
    assert rule.allows("agent:80")
    assert not rule.allows("a b")


@pytest.mark.promise(13)
@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "via", "x-real-ip"])
@pytest.mark.parametrize("target", ["/", "/latest/api/token", "/nowhere", "/a/../b"])
def test_what_was_forwarded_is_refused_everywhere(name: str, target: str) -> None:
    refused = refusal(head(target, fields={name: ""}), OURS)
    assert refused is not None
    assert (refused.status, refused.refusal) == (403, "forwarded")


@pytest.mark.promise(15)
@pytest.mark.parametrize("name", ["origin", "referer", "sec-fetch-site", "sec-fetch-dest", "sec-fetch-user"])
def test_what_a_web_page_sends_is_refused(name: str) -> None:
    refused = refusal(head(fields={name: "null"}), OURS)
    assert refused is not None
    assert (refused.status, refused.refusal) == (403, "origin")
    assert refusal(head(fields={"sec-fetch-mode": "cors"}), OURS) is None


@pytest.mark.promise(11)
@pytest.mark.parametrize(
    "target",
    [
        *("/a/../b", "/..", "/./a", "/a//b", "///a", "/a//", "/%2e%2e/a", "/a%2fb", "/%00", "/%252e", "/a/.", "/%41"),
        *("/a%2B%41", "/a%252B", "/a%2", "/a%", "/a%3", "/a%4 ", "/a%2%42", "/a?%2e"),
    ],
)
def test_a_path_that_would_need_tidying_is_not_found(target: str) -> None:
    refused = refusal(head(target), OURS)
    assert refused is not None
    assert refused.status == 404


@pytest.mark.promise(11)
@pytest.mark.parametrize("target", ["/a%2Bb", "/a%2b", "/%3D%3d%40%2C%2c"])
def test_what_a_role_may_be_called_may_be_escaped(target: str) -> None:
    assert refusal(head(target), OURS) is None


@pytest.mark.promise(11)
def test_exactly_one_leading_double_slash_is_forgiven() -> None:
    assert head("//latest/x").path == "/latest/x"
    assert head("///latest/x").path == "///latest/x"
    assert refusal(head("//latest/x"), OURS) is None
    assert refusal(head("/role/a..b"), OURS) is None


@pytest.mark.promise(9)
@pytest.mark.parametrize("target", ["http://127.0.0.1/", "127.0.0.1:80", "*", "/a#b"])
def test_other_forms_of_target_are_malformed(target: str) -> None:
    refused = refusal(head(target), OURS)
    assert refused is not None
    assert refused.status == 400


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head(fields={"content-length": "0"}), None),
        (head(fields={"content-length": "1"}), 400),
        (head(fields={"content-length": "00"}), 400),
        (head(fields={"content-length": "+0"}), 400),
        (head(fields={"transfer-encoding": "chunked"}), 400),
        (head("/latest/api/token", "PUT", fields={"transfer-encoding": "chunked"}), None),
        (head("/latest/api/token/", "PUT", fields={"transfer-encoding": "chunked"}), None),
        (head("/other", "PUT", fields={"transfer-encoding": "chunked"}), 400),
        (head("/latest/api/token", "PUT", fields={"transfer-encoding": "gzip, chunked"}), 400),
        (head("/latest/api/token", "PUT", fields={"transfer-encoding": "chunked", "content-length": "0"}), 400),
        (head("/latest/api/token", "PUT", 0, fields={"transfer-encoding": "chunked"}), 400),
    ],
)
def test_a_body_is_refused_but_for_the_two_empty_ones(request_head: Head, status: int | None) -> None:
    refused = refusal(request_head, OURS)
    assert (refused and refused.status) == status


def test_only_one_expectation_is_known() -> None:
    assert refusal(head(fields={"expect": "100-Continue"}), OURS) is None
    refused = refusal(head(fields={"expect": "200-maybe"}), OURS)
    assert refused is not None
    assert refused.status == 417


@given(cut=st.integers(1, len(GOOD)))
def test_the_beginning_of_a_good_head_is_not_refused(cut: int) -> None:
    assert early_refusal(GOOD[:cut]) is None


@pytest.mark.promise(7, 9)
@pytest.mark.parametrize(
    "received",
    [
        b"\r\nGET / HTTP/1.1\r\n",
        b" GET / HTTP/1.1\r\n",
        b"get / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"GET /\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET / HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\rb\r\n",
        b"GET / HTTP/1.1\r\nHost: a\x00b",
        b"GET / HTTP/1.1\r\nHost: \xe9",
        b"GET / HTTP/1.1\r\nx-aws-ec2-metadata-token: a\r\nX: \xe9",
        b"GET / HTTP/1.1\r\nx-aws-ec2-metadata-token-ttl-seconds: \xe9",
        b"GET / HTTP/1.1\r\nX-\xe9: a",
        b"GET /\xe9 HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded",
        b"GET / HTTP/1.1\r\nHost : a",
        b"GET / HTTP/1.1\r\n: a",
        b"GET / HTTP/1.1\r\nX: a\x7f",
        b"PUT / HTTP/1.1\r\nX-AWS-EC2-Metadata-Token-TTL-Seconds:  60",
    ],
)
def test_what_cannot_become_a_request_is_refused_at_once(received: bytes) -> None:
    refused = early_refusal(received)
    assert refused is not None
    assert refused.status == 400


@pytest.mark.promise(3, 4)
def test_the_limits_are_where_they_are_said_to_be() -> None:
    line = b"GET /" + b"a" * (2048 - 14) + b" HTTP/1.1"
    assert len(line) == 2048
    assert early_refusal(line) is early_refusal(line + b"\r\nHost: a\r\n\r\n") is None
    longer = early_refusal(line.replace(b"aa", b"aaa", 1))
    fields = b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 64
    assert early_refusal(fields) is early_refusal(fields + b"\r\n") is None
    more = early_refusal(fields + b"X: a\r\n")
    filled = b"GET / HTTP/1.1\r\nX: ".ljust(8192 - 4, b"a") + b"\r\n\r\n"
    assert early_refusal(filled) is None
    larger = early_refusal(b"GET / HTTP/1.1\r\nX: ".ljust(8193, b"a"))
    assert [refused and refused.status for refused in (longer, more, larger)] == [414, 431, 431]


def test_addresses_are_compared_in_one_form() -> None:
    assert plain_address("::ffff:10.0.0.5") == "10.0.0.5"
    assert plain_address("fe80:0::1%eth0") == "fe80::1"
    assert plain_address("not an address") == "not an address"
