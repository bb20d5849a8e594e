"""One head in, one answer out: the parser and the renderer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.protocol.http import Response
from rolesanywhere_helper.protocol.http_rules import early_refusal
from rolesanywhere_helper.vend.http.answers import render
from rolesanywhere_helper.vend.http.parser import parse


def test_a_head_is_taken_apart() -> None:
    head = parse(b"PUT //a?b HTTP/1.0\r\nHost: localhost\r\nX-Empty:\r\nX-Two: a: b\r\n\r\n")

    assert head is not None
    assert (head.method, head.target, head.path, head.minor) == ("PUT", "//a?b", "/a?b", 0)
    assert head.fields == (("host", "localhost"), ("x-empty", ""), ("x-two", "a: b"))


@pytest.mark.parametrize("method", ["GET", "CONNECT", "FETCH", "PROPFIND"])
def test_a_method_is_read_whoever_knows_it(method: str) -> None:
    head = parse(f"{method} /a HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    # llhttp takes nothing but an authority after CONNECT.
    assert method == "CONNECT" or (head is not None and head.method == method)


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/1.1\r\nX(: a\r\n\r\n", b"GET / HTTP/1.1\r\nX\r\n\r\n", b"GET / HTTP/1.1\r\nX: a\r\n"]
)
def test_what_is_no_whole_head_is_none(raw: bytes) -> None:
    assert parse(raw) is None


@given(fields=st.lists(st.tuples(st.from_regex(rb"[A-Za-z-]{1,9}", fullmatch=True),
                                 st.from_regex(rb"[!-~]{1,9}", fullmatch=True)), max_size=9))  # fmt: skip
def test_fields_come_out_as_they_went_in(fields: list[tuple[bytes, bytes]]) -> None:
    special = {b"content-length", b"transfer-encoding", b"connection", b"upgrade"}
    plain = [(name, value) for name, value in fields if name.lower() not in special]
    raw = b"GET / HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in plain) + b"\r\n"

    assert early_refusal(raw) is None
    head = parse(raw)
    assert head is not None
    assert head.fields == tuple((name.decode().lower(), value.decode()) for name, value in plain)


def test_padding_is_no_part_of_a_value_but_of_a_ttl() -> None:
    """Who turns the line end of a token file into a space is understood; a TTL is taken to the letter."""
    head = parse(b"GET / HTTP/1.1\r\nAuthorization:\t a b \t \r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 60 \r\n\r\n")

    assert head is not None
    assert head.fields == (("authorization", "a b"), ("x-aws-ec2-metadata-token-ttl-seconds", "60 "))


@pytest.mark.promise(18)
def test_an_answer_tells_its_length_and_is_not_stored() -> None:
    answer = render(Response(405, b"no", headers=(("Allow", "GET"),)), closes=True)

    assert answer.decode().split("\r\n") == [
        "HTTP/1.1 405 Method Not Allowed",
        "Content-Type: text/plain",
        "Content-Length: 2",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Allow: GET",
        "Connection: close",
        "",
        "no",
    ]
    without = render(Response(405, b"no"), closes=False, without_body=True)
    assert without.endswith(b"nosniff\r\n\r\n")
    assert b"Content-Length: 2\r\n" in without
