"""The way to a server, one step at a time."""

from __future__ import annotations

import base64
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    NetworkError,
    TlsError,
    UnresolvedHostError,
)
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Issued, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from rolesanywhere_helper.transport.probe import Way, addresses, certificate, connect
from tests.fakes.http_server import Requests, ScriptedServer, black_hole

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.http_server import Connection

SECONDS = 5.0
AUTHORITY = CertificateAuthority.root("Probe", Validity.days(time.time(), 5), KeyKind.P_256)
SECRET = "canary"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(AUTHORITY.pem)
    return path


@pytest.fixture
def leaf() -> Issued:
    days = Validity.days(time.time(), 5)
    return AUTHORITY.issue(
        LeafRequest(days, (("CN", "server"),), KeyKind.P_256, names=("localhost", "127.0.0.1"), server=True)
    )


@pytest.fixture
def context(leaf: Issued, tmp_path: Path) -> ssl.SSLContext:
    chain = tmp_path / "server.pem"
    chain.write_bytes(leaf.pem + leaf.key_pem())
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(chain)
    return made


def nothing(connection: Connection) -> None:
    connection.receive()


def test_a_name_has_addresses_or_is_unknown() -> None:
    assert addresses(Way("127.0.0.1", 1)) == ("127.0.0.1",)
    with pytest.raises(UnresolvedHostError, match=r"no-such-host\.invalid"):
        addresses(Way("no-such-host.invalid", 1))
    # With a proxy it is the proxy's name that is needed here.
    assert addresses(Way("no-such-host.invalid", 1, "http://127.0.0.1:3128")) == ("127.0.0.1",)


def test_a_connection_comes_about_or_not() -> None:
    with ScriptedServer(nothing) as server:
        assert connect(Way("127.0.0.1", server.port), SECONDS) == "127.0.0.1"
        assert connect(Way("elsewhere.invalid", 1, server.url), SECONDS) == "127.0.0.1"
    with pytest.raises(ConnectionFailedError, match="refuses connections"):
        connect(Way("127.0.0.1", 1), SECONDS)


def test_a_silent_peer_is_given_up() -> None:
    with black_hole() as port, pytest.raises(DeadlineExceededError):
        connect(Way("127.0.0.1", port), 0.1)


def test_the_certificate_is_shown_to_who_can_verify_it(leaf: Issued, context: ssl.SSLContext, bundle: Path) -> None:
    with ScriptedServer(nothing, context=context) as server:
        way = Way("127.0.0.1", server.port)
        assert certificate(way, bundle, SECONDS) == leaf.der
        with pytest.raises(TlsError, match="unknown CA"):
            certificate(way, None, SECONDS)
        assert certificate(way, None, SECONDS, verify=False) == leaf.der


def test_a_proxy_is_asked_for_a_tunnel_with_its_user(leaf: Issued, context: ssl.SSLContext, bundle: Path) -> None:
    seen = Requests()

    def tunnel(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        connection.upgrade(context)
        connection.receive()

    with ScriptedServer(seen.then(tunnel)) as proxy:
        way = Way("localhost", 443, f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
        assert certificate(way, bundle, SECONDS) == leaf.der

    assert seen.received[0].startswith(b"CONNECT localhost:443 HTTP/1.")
    user = base64.b64encode(f"user:{SECRET}".encode()).decode()
    assert dict(seen.headers())["Proxy-Authorization"] == f"Basic {user}"
    assert SECRET not in repr(way)


def test_a_proxy_that_refuses_says_why() -> None:
    with ScriptedServer(Requests().answering(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")) as proxy:
        way = Way("localhost", 443, f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
        with pytest.raises(NetworkError, match="does not let us through: 403 No") as caught:
            certificate(way, None, SECONDS)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "first", "is_tls"),
    [
        (None, ("host", 443), False),
        ("http://proxy", ("proxy", 80), False),
        ("https://proxy", ("proxy", 443), True),
        ("http://user:secret@proxy:3128", ("proxy", 3128), False),
    ],
)
def test_who_is_met_first(proxy: str | None, first: tuple[str, int], *, is_tls: bool) -> None:
    way = Way("host", 443, proxy)

    assert (way.first, way.has_tls_proxy, way.proxy_host) == (first, is_tls, None if proxy is None else first[0])
