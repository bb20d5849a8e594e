"""One exchange: exactly the bytes that were given go out, and what comes back is an answer or one of our errors."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import traceback
from typing import TYPE_CHECKING

import pytest
import requests.exceptions
import urllib3.exceptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolesanywhere_helper.domain.endpoint import parse_endpoint
from rolesanywhere_helper.domain.ports import HttpRequest, HttpResponse
from rolesanywhere_helper.errors import (
    BadAnswerError,
    ConfigurationError,
    ConnectionFailedError,
    DeadlineExceededError,
    HelperError,
    NetworkError,
    TlsError,
    TruncatedAnswerError,
    UnresolvedHostError,
)
from rolesanywhere_helper.protocol.create_session import build
from rolesanywhere_helper.transport.failures import meaning_of
from rolesanywhere_helper.transport.requests_transport import RequestsTransport
from tests.fakes.http_server import Connection, Requests, ScriptedServer
from tests.fakes.sessions import SECRET, spec

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.ports import Transport

OK = b"HTTP/1.1 200 OK\r\nX-One: a\r\nx-one: b\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture(scope="module")
def transport() -> Transport:
    return RequestsTransport()


@pytest.fixture
def seen() -> Requests:
    return Requests()


def request_to(url: str, target: str = "/sessions", body: bytes = b"{}") -> HttpRequest:
    headers = (("Host", "host.example:1"), ("Content-Length", str(len(body))), ("X-Odd-CASE", "a  b"))
    return HttpRequest("POST", f"{url}{target}", target, headers, body)


# What goes out


def test_exactly_the_request_is_sent(transport: Transport, seen: Requests) -> None:
    with ScriptedServer(seen.answering(OK)) as server:
        transport.send(request_to(server.url), 5)

    assert seen.received == [
        b"POST /sessions HTTP/1.1\r\nHost: host.example:1\r\nContent-Length: 2\r\nX-Odd-CASE: a  b\r\n\r\n{}"
    ]


def test_of_a_create_session_every_header_is_ours(transport: Transport, seen: Requests) -> None:
    with ScriptedServer(seen.answering(OK)) as server:
        request = build(spec(), parse_endpoint(f"{server.url}/prefix"))
        transport.send(request, 5)

    assert seen.received[0].startswith(b"POST /prefix/sessions HTTP/1.1\r\n")
    assert tuple(seen.headers()) == request.headers
    assert seen.body() == request.body


@pytest.mark.parametrize("target", ["/sessions?a=b&c=%2F%20~", "/a/../b", "/a//b", "/a;b"])
def test_the_target_arrives_as_it_was_signed(target: str, transport: Transport, seen: Requests) -> None:
    with ScriptedServer(seen.answering(OK)) as server:
        transport.send(request_to(server.url, target), 5)

    assert seen.received[0].partition(b"\r\n")[0] == f"POST {target} HTTP/1.1".encode()


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"x" * 100_000])
def test_the_body_arrives_as_it_was_signed(body: bytes, transport: Transport, seen: Requests) -> None:
    with ScriptedServer(seen.answering(OK)) as server:
        transport.send(request_to(server.url, body=body), 5)

    assert seen.body() == body


def test_each_exchange_has_a_connection_of_its_own(transport: Transport, seen: Requests) -> None:
    with ScriptedServer(seen.answering(OK)) as server:
        transport.send(request_to(server.url), 5)
        transport.send(request_to(server.url), 5)
        assert server.connections == 2


# What comes back


def test_an_answer(transport: Transport, seen: Requests) -> None:
    with ScriptedServer(seen.answering(OK)) as server:
        answer = transport.send(request_to(server.url), 5)

    assert answer == HttpResponse(200, {"x-one": "a, b", "content-length": "2"}, b"hi")


@pytest.mark.parametrize("status", [201, 204, 400, 403, 404, 429, 500, 503])
def test_every_status_but_a_redirect_is_an_answer(status: int, transport: Transport, seen: Requests) -> None:
    with ScriptedServer(seen.answering(b"HTTP/1.1 %d Said\r\nContent-Length: 0\r\n\r\n" % status)) as server:
        assert transport.send(request_to(server.url), 5).status == status


def test_cookies_do_not_come_back(transport: Transport, seen: Requests) -> None:
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    with ScriptedServer(seen.answering(cookie)) as server:
        transport.send(request_to(server.url), 5)
        transport.send(request_to(server.url), 5)

    assert b"Cookie" not in seen.received[1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=80)
    | st.lists(
        st.sampled_from(
            [
                b"HTTP/1.1 201 OK\r\n",
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"Content-Length: 3\r\n",
                b"Content-Length: x\r\n",
                b"Content-Length: -1\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Location: //[\r\n",
                b"Set-Cookie: \xff=\x00; expires=never\r\n",
                b"\r\n",
                b" folded\r\n",
                b": no name\r\n",
                b"zz\r\n",
                b"-1\r\n",
                b"3\r\nabc\r\n",
                b"0\r\n\r\n",
            ]
        ),
        max_size=8,
    ).map(b"".join)
)
def test_whatever_is_answered_only_our_errors_come_out(data: bytes, transport: Transport) -> None:
    with ScriptedServer(Requests().answering(data)) as server:
        try:
            transport.send(request_to(server.url), 5)
        except (NetworkError, BadAnswerError) as error:
            assert error.what.isprintable()  # noqa: PT017 - one of two ends is an error


def test_a_traceback_shows_no_library_and_no_request(transport: Transport, seen: Requests) -> None:
    request = HttpRequest("POST", "", "/sessions", (("Host", "x"), ("X-Secret", SECRET)), SECRET.encode())
    with ScriptedServer(seen.then(Connection.reset)) as server:
        url = f"{server.url}/sessions"
        with pytest.raises(ConnectionFailedError) as caught:
            transport.send(HttpRequest("POST", url, "/sessions", request.headers, request.body), 5)

    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_a_read_that_takes_too_long(transport: Transport, seen: Requests) -> None:
    with (
        ScriptedServer(seen.then(Connection.hang)) as server,
        pytest.raises(DeadlineExceededError, match=r"127\.0\.0\.1 was silent for 0\.2 s"),
    ):
        transport.send(request_to(server.url), 0.2)


def test_a_name_without_an_address(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(UnresolvedHostError, match=r"host\.example could not be resolved"):
        transport.send(request_to("https://host.example"), 5)
    with pytest.raises(UnresolvedHostError, match=r"proxy\.example could not be resolved"):
        RequestsTransport(proxy="http://proxy.example:3128").send(request_to("https://host.example"), 5)


@pytest.mark.parametrize(
    "proxy",
    ["", "proxy.example", "ftp://proxy.example", "http://", "http://[", f"http://u:{SECRET}@p:99999", "http://p:0"],
)
def test_a_proxy_that_is_no_url(proxy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RequestsTransport(proxy=proxy)

    assert SECRET not in caught.value.what + caught.value.hint


# What a failure means


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (socket.gaierror(-2, "unknown"), UnresolvedHostError, "h could not be resolved"),
        (UnicodeError("label too long"), UnresolvedHostError, "h could not be resolved"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), ConnectionFailedError, "h refuses connections"),
        (ConnectionResetError(errno.ECONNRESET, "no"), ConnectionFailedError, "closed the connection without"),
        (http.client.RemoteDisconnected("x"), ConnectionFailedError, "closed the connection without"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), ConnectionFailedError, "h cannot be reached: No route"),
        (http.client.IncompleteRead(b""), TruncatedAnswerError, "in the middle"),
        (TimeoutError("timed out"), DeadlineExceededError, "h was silent for 3 s"),
        (urllib3.exceptions.ConnectTimeoutError(), DeadlineExceededError, "no connection to h within 3 s"),
        (http.client.BadStatusLine("x"), BadAnswerError, "not HTTP"),
        (http.client.LineTooLong("header"), BadAnswerError, "not HTTP"),
        (ValueError("x"), BadAnswerError, "not HTTP"),
        (ssl.SSLError(1, "[SSL: SOMETHING] x"), TlsError, "handshake with h failed"),
    ],
)
@pytest.mark.parametrize("depth", range(4))
def test_what_is_wrapped_is_found(error: Exception, kind: type[HelperError], text: str, depth: int) -> None:
    for _ in range(depth):
        wrapper = requests.exceptions.RequestException(error)
        wrapper.__cause__ = error
        error = wrapper

    meaning = meaning_of(error, "h", None, 3)

    assert type(meaning) is kind
    assert text in meaning.what


def test_exceptions_that_point_at_each_other_end() -> None:
    one, other = OSError("one"), OSError("other")
    one.__context__, other.__context__ = other, one

    assert type(meaning_of(one, "h", None, 3)) is BadAnswerError
