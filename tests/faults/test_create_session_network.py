"""CreateSession against servers, names and networks that misbehave: what is sent, how long it takes, what is said.

Each fault stands beside the same set-up unharmed, which must succeed.
"""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import json
import socket
import ssl
import threading
import time
import warnings
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rolesanywhere_helper.domain.endpoint import parse_endpoint
from rolesanywhere_helper.errors import (
    BadAnswerError,
    BadExpirationError,
    ClockSkewError,
    ConnectionFailedError,
    DeadlineExceededError,
    HelperError,
    InvalidSignatureError,
    NetworkError,
    RedirectRefusedError,
    ServiceUnavailableError,
    ThrottledError,
    TlsError,
    WrongRoleError,
)
from rolesanywhere_helper.mint.deadline import THREAD_NAME
from rolesanywhere_helper.mint.minter import MOST_ATTEMPTS, SessionMinter
from rolesanywhere_helper.transport.requests_transport import LONGEST_BODY, RequestsTransport
from tests.fakes.answers import created, http_date, refused, session_document
from tests.fakes.clock import FakeClock, FixedRandomness
from tests.fakes.http_server import Connection, Requests, ScriptedServer, black_hole, wire
from tests.fakes.identity import FakeIdentity
from tests.fakes.sessions import ROLE_ARN, SECRET, TOKEN, spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import HttpResponse

NOW = 1_800_000_000
GOOD = wire(created(NOW + 3600))
# Far less than a trickled answer takes, far more than a whole one does.
DEADLINE = 0.6
TRICKLE_INTERVAL = 0.1
# What a busy machine may add before a test fails.
LENIENCE = 5.0


@dataclass
class Mint:
    """Mints at a URL, on a clock that stands still but for the sleep between attempts."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    deadline: float = 10.0

    def at(self, url: str, transport: RequestsTransport | None = None) -> Credentials:
        return SessionMinter(
            load_identity=FakeIdentity,
            transport=transport or RequestsTransport(),
            endpoint=parse_endpoint(url),
            spec=spec(),
            clock=self.clock,
            randomness=FixedRandomness(0.5),
            deadline_seconds=self.deadline,
        ).mint()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _abandoned_calls_end() -> Iterator[None]:
    """Wait for what a deadline gave up on: with the fault gone it must end by itself."""
    yield
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def seen() -> Requests:
    return Requests()


@contextlib.contextmanager
def given_up_after_the_deadline() -> Iterator[pytest.ExceptionInfo[DeadlineExceededError]]:
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError) as caught:
        yield caught
    assert DEADLINE * 0.9 <= time.monotonic() - began < DEADLINE + LENIENCE


# 58: one deadline for everything


def hang_while(held: threading.Event, resolve: Callable[..., object], *args: object, **kwargs: object) -> object:
    held.wait()
    return resolve(*args, **kwargs)


@pytest.mark.promise(58)
def test_dns_hung(monkeypatch: pytest.MonkeyPatch, seen: Requests) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", partial(hang_while, answered, socket.getaddrinfo))

    with ScriptedServer(seen.answering(GOOD)) as server:
        with given_up_after_the_deadline() as caught:
            Mint(deadline=DEADLINE).at(server.url)
        assert "0.6 s" in caught.value.what
        assert "127.0.0.1" in caught.value.what
        answered.set()
        assert Mint().at(server.url).secret_access_key == SECRET


@pytest.mark.promise(58)
def test_a_connection_that_is_black_holed(seen: Requests) -> None:
    with black_hole() as port, given_up_after_the_deadline():
        Mint(deadline=DEADLINE).at(f"http://127.0.0.1:{port}")

    with ScriptedServer(seen.answering(GOOD)) as server:
        assert Mint(deadline=DEADLINE + LENIENCE).at(server.url).secret_access_key == SECRET


@pytest.mark.promise(58)
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 20", GOOD.partition(b"\r\n\r\n")[0], GOOD[:-1]])
def test_an_answer_that_stalls(sent: bytes, seen: Requests) -> None:
    def stall(connection: Connection) -> None:
        connection.send(sent)
        connection.hang()

    with ScriptedServer(seen.then(stall), seen.answering(GOOD)) as server:
        with given_up_after_the_deadline():
            Mint(deadline=DEADLINE).at(server.url)
        assert Mint().at(server.url).secret_access_key == SECRET


@pytest.mark.promise(58)
@pytest.mark.parametrize("at_once", [b"", GOOD.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"], ids=["head", "body"])
def test_an_answer_that_is_trickled_outlives_every_timeout_but_not_the_deadline(at_once: bytes, seen: Requests) -> None:
    def trickle(interval: float, connection: Connection) -> None:
        connection.send(at_once)
        connection.trickle(GOOD[len(at_once) :], interval)

    scripts = [seen.then(partial(trickle, interval)) for interval in (TRICKLE_INTERVAL, 0.0)]
    with ScriptedServer(*scripts) as server:
        with given_up_after_the_deadline() as caught:
            Mint(deadline=DEADLINE).at(server.url)
        assert caught.value.what == "no session within 0.6 s; gave up while talking to 127.0.0.1 (attempt 1 of 3)"
        assert Mint().at(server.url).secret_access_key == SECRET


@pytest.mark.promise(58)
def test_a_tls_handshake_that_stalls(authority: Authority) -> None:
    with ScriptedServer(Connection.hang) as server, given_up_after_the_deadline():
        Mint(deadline=DEADLINE).at(f"https://127.0.0.1:{server.port}", RequestsTransport(ca_bundle=authority.bundle))


# 59: trying again


@pytest.mark.promise(59)
@pytest.mark.parametrize(
    "trouble",
    [
        refused("Rate exceeded", 429, "ThrottlingException"),
        refused("Rate exceeded", 400, "ThrottlingException"),
        refused("busy", 500, ""),
        refused("busy", 503, ""),
    ],
)
def test_trouble_that_passes(trouble: HttpResponse, seen: Requests) -> None:
    mint = Mint()
    with ScriptedServer(seen.answering(wire(trouble)), seen.answering(wire(trouble)), seen.answering(GOOD)) as server:
        assert mint.at(server.url).secret_access_key == SECRET
        assert server.connections == 3

    assert mint.clock.slept == [0.25, 0.5]  # the middle of [0, 0.5] and [0, 1]


@pytest.mark.promise(59)
def test_a_connection_that_breaks_is_tried_again_with_a_new_signature(seen: Requests) -> None:
    mint = Mint()
    scripts = [seen.then(Connection.reset), seen.then(lambda _: None), seen.answering(GOOD)]
    mint.clock.while_asleep = lambda: mint.clock.advance(1)
    with ScriptedServer(*scripts) as server:
        assert mint.at(server.url).secret_access_key == SECRET

    dates = [dict(seen.headers(index))["X-Amz-Date"] for index in range(3)]
    signatures = {dict(seen.headers(index))["Authorization"] for index in range(3)}
    assert dates == ["20270115T080000Z", "20270115T080001Z", "20270115T080002Z"]
    assert len(signatures) == 3


@pytest.mark.promise(59)
@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (refused("Rate exceeded", 429, "ThrottlingException"), ThrottledError),
        (refused("busy", 503, ""), ServiceUnavailableError),
    ],
)
def test_trouble_that_stays(trouble: HttpResponse, kind: type[HelperError], seen: Requests) -> None:
    with ScriptedServer(seen.answering(wire(trouble))) as server, pytest.raises(kind):
        Mint().at(server.url)

    assert server.connections == MOST_ATTEMPTS


@pytest.mark.promise(59)
def test_a_refusal_is_not_tried_again(seen: Requests) -> None:
    trouble = refused("Invalid signature")
    with ScriptedServer(seen.answering(wire(trouble)), seen.answering(GOOD)) as server:
        with pytest.raises(InvalidSignatureError):
            Mint().at(server.url)
        assert server.connections == 1


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1 refuses connections"):
        Mint().at(f"http://127.0.0.1:{port}")


# 46, 47, 61, 66: answers that cannot be trusted


@pytest.mark.promise(61)
@pytest.mark.parametrize(
    "sent",
    [
        wire(replace(created(NOW + 3600), body=b"{not json")),
        wire(replace(created(NOW + 3600), body=b"")),
        wire(replace(created(NOW + 3600), body=b'{"credentialSet": []}')),
        wire(replace(created(NOW + 3600), body=b'{"credentialSet": [{"credentials": {}}]}')),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 201 Created\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 201 Created\r\na: " + b"b" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\nabcde",
    ],
    ids=["garbage", "empty", "no set", "no field", "no http", "no status", "many fields", "long field", "two lengths"],
)
def test_an_answer_that_makes_no_sense(sent: bytes, seen: Requests) -> None:
    with ScriptedServer(seen.answering(sent), seen.answering(GOOD)) as server:
        with pytest.raises(BadAnswerError):
            Mint().at(server.url)
        assert server.connections == 1
        assert Mint().at(server.url).secret_access_key == SECRET


@pytest.mark.promise(61)
@pytest.mark.parametrize(
    "sent",
    [
        GOOD[:-1],
        GOOD.partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    ],
    ids=["a byte short", "no body", "cut chunk", "no last chunk"],
)
def test_an_answer_that_is_cut_off(sent: bytes, seen: Requests) -> None:
    with ScriptedServer(seen.answering(sent)) as server:
        with pytest.raises(ConnectionFailedError, match="in the middle of its answer"):
            Mint().at(server.url)
        assert server.connections == MOST_ATTEMPTS


@pytest.mark.promise(61)
def test_a_chunked_answer_is_as_good_as_one_of_known_length(seen: Requests) -> None:
    body = GOOD.partition(b"\r\n\r\n")[2]
    chunked = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

    with ScriptedServer(seen.answering(chunked)) as server:
        assert Mint().at(server.url).secret_access_key == SECRET


@pytest.mark.promise(46)
def test_a_clock_that_is_off_is_named(seen: Requests) -> None:
    def at_service_time(service_now: float) -> bytes:
        return wire(refused("Invalid signature", date=http_date(service_now)))

    with ScriptedServer(seen.answering(at_service_time(NOW + 1864)), seen.answering(at_service_time(NOW))) as server:
        with pytest.raises(ClockSkewError, match="31 minutes 4 seconds behind"):
            Mint().at(server.url)
        with pytest.raises(InvalidSignatureError):
            Mint().at(server.url)


@pytest.mark.promise(47)
@pytest.mark.parametrize("expires_at", [NOW - 1, NOW, NOW + 3600 + 301, NOW + 10**8])
def test_an_expiration_that_cannot_be_is_one_call(expires_at: int, seen: Requests) -> None:
    with ScriptedServer(seen.answering(wire(created(expires_at))), seen.answering(GOOD)) as server:
        with pytest.raises(BadExpirationError):
            Mint().at(server.url)
        assert server.connections == 1
        assert Mint().at(server.url).secret_access_key == SECRET


@pytest.mark.promise(66)
def test_credentials_for_another_role(seen: Requests) -> None:
    document = session_document(NOW + 3600)
    document["credentialSet"][0]["roleArn"] = ROLE_ARN.replace("Deploy", "Admin")
    other = wire(replace(created(NOW + 3600), body=json.dumps(document).encode()))

    with ScriptedServer(seen.answering(other), seen.answering(GOOD)) as server:
        with pytest.raises(WrongRoleError):
            Mint().at(server.url)
        assert Mint().at(server.url).role_arn == ROLE_ARN


# 62: size


def padded(size: int) -> bytes:
    body = GOOD.partition(b"\r\n\r\n")[2]
    return body + b" " * (size - len(body))


@pytest.mark.promise(62)
@pytest.mark.parametrize("size", [len(GOOD), LONGEST_BODY])
def test_an_answer_up_to_the_limit(size: int, seen: Requests) -> None:
    with ScriptedServer(seen.answering(b"HTTP/1.1 201 Created\r\n\r\n" + padded(size))) as server:
        assert Mint().at(server.url).secret_access_key == SECRET


@pytest.mark.promise(62)
@pytest.mark.parametrize(
    "head",
    [b"", b"Content-Length: %d\r\n" % (LONGEST_BODY + 1), b"Content-Length: 1" + b"0" * 30 + b"\r\n"],
    ids=["not announced", "announced", "announced beyond all"],
)
def test_an_answer_over_the_limit(head: bytes, seen: Requests) -> None:
    data = b"HTTP/1.1 201 Created\r\n" + head + b"\r\n" + padded(LONGEST_BODY + 1)

    with ScriptedServer(seen.answering(data)) as server:
        with pytest.raises(BadAnswerError, match="longer than 256 KiB"):
            Mint().at(server.url)
        assert server.connections == 1


@pytest.mark.promise(62)
def test_an_answer_announced_too_long_is_not_waited_for(seen: Requests) -> None:
    def announce(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 1000000\r\n\r\n")
        connection.hang()

    with ScriptedServer(seen.then(announce)) as server, pytest.raises(BadAnswerError, match="longer than 256 KiB"):
        Mint().at(server.url)


@pytest.mark.promise(62)
def test_an_endless_answer(seen: Requests) -> None:
    def pour(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            connection.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    with ScriptedServer(seen.then(pour)) as server, pytest.raises(BadAnswerError, match="longer than 256 KiB"):
        Mint().at(server.url)


@pytest.mark.promise(62)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP"])
def test_a_compressed_answer_is_not_even_looked_into(encoding: str, seen: Requests) -> None:
    bomb = gzip.compress(padded(10 * 1024 * 1024))
    assert len(bomb) < LONGEST_BODY
    head = f"HTTP/1.1 201 Created\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n"

    with ScriptedServer(seen.answering(head.encode() + bomb)) as server:
        with pytest.raises(BadAnswerError, match="compressed"):
            Mint().at(server.url)
        assert server.connections == 1


# 63: redirects


@pytest.mark.promise(63)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
@pytest.mark.parametrize("to_itself", [True, False])
def test_a_redirect_is_refused(status: int, to_itself: bool, seen: Requests) -> None:  # noqa: FBT001 - a parameter of the table
    elsewhere = Requests()
    with (
        ScriptedServer(elsewhere.answering(GOOD)) as other,
        ScriptedServer(seen.then(lambda connection: connection.send(moved)), seen.answering(GOOD)) as server,
    ):
        target = f"http://user:{SECRET}@127.0.0.1:{(server if to_itself else other).port}/sessions?token={TOKEN}"
        moved = f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
        with pytest.raises(RedirectRefusedError, match=r"redirect to 127\.0\.0\.1$"):
            Mint().at(server.url)
        assert (server.connections, other.connections) == (1, 0)
        assert Mint().at(server.url).secret_access_key == SECRET


@pytest.mark.promise(63)
@pytest.mark.parametrize("location", ["", "/elsewhere", "http://[broken", "//", "\x1b[31m"])
def test_a_redirect_to_nowhere_is_refused_too(location: str, seen: Requests) -> None:
    moved = f"HTTP/1.1 302 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()

    with ScriptedServer(seen.answering(moved)) as server, pytest.raises(RedirectRefusedError) as caught:
        Mint().at(server.url)

    assert caught.value.what == "the endpoint answered with a redirect"


# 64: TLS


@dataclass(frozen=True)
class Authority:
    """A throwaway CA, and servers with certificates of it."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def bundle(self) -> Path:
        return self.folder / "ca.pem"

    def server(
        self,
        *,
        name: str = "server",
        days: tuple[int, int] = (-1, 1),
        hosts: tuple[str, ...] = ("127.0.0.1", "localhost"),
        oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = issue(key, name, self.key, self.certificate.subject, days, hosts)
        chain = self.folder / f"{name}.pem"
        chain.write_bytes(pem(certificate) + pem_key(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        set_versions(context, oldest, newest)
        return context


def set_versions(context: ssl.SSLContext, oldest: ssl.TLSVersion, newest: ssl.TLSVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.1 is what a test is about
        context.minimum_version, context.maximum_version = oldest, newest
    if newest < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")


def issue(  # noqa: PLR0913, PLR0917 - the fields of a certificate
    key: ec.EllipticCurvePrivateKey,
    name: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name | None,
    days: tuple[int, int],
    hosts: tuple[str, ...] = (),
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(general_name, hosts))), critical=False)
    return builder.sign(issuer_key, SHA256())


def general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_authority(folder: Path, name: str = "CA") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    made = Authority(folder, key, issue(key, name, key, None, (-1000, 1000)))
    made.bundle.write_bytes(pem(made.certificate))
    return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.promise(64)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_good_certificate(host: str, version: ssl.TLSVersion, authority: Authority, seen: Requests) -> None:
    context = authority.server(oldest=version, newest=version)

    with ScriptedServer(seen.answering(GOOD), context=context) as server:
        made = Mint().at(f"https://{host}:{server.port}", RequestsTransport(ca_bundle=authority.bundle))

    assert made.secret_access_key == SECRET


@pytest.mark.promise(64)
@pytest.mark.parametrize(
    ("days", "hosts", "text"),
    [
        ((-30, -1), ("127.0.0.1",), "has expired"),
        ((1, 30), ("127.0.0.1",), "is not yet valid"),
        ((-1, 30), ("127.0.0.2", "other.example"), r"is not for 127\.0\.0\.1"),
        ((-1, 30), (), r"is not for 127\.0\.0\.1"),
    ],
    ids=["expired", "not yet valid", "wrong host", "no host"],
)
def test_a_bad_certificate(
    days: tuple[int, int], hosts: tuple[str, ...], text: str, authority: Authority, seen: Requests
) -> None:
    context = authority.server(days=days, hosts=hosts)

    with ScriptedServer(seen.answering(GOOD), context=context) as server:
        with pytest.raises(TlsError, match=text):
            Mint().at(server.url, RequestsTransport(ca_bundle=authority.bundle))
        assert server.connections == 1  # not tried again

    assert seen.received == []  # nothing was sent to who could not prove who it is


@pytest.mark.promise(64)
@pytest.mark.parametrize("name", ["CA", "another CA"])
def test_a_certificate_of_an_unknown_ca(name: str, authority: Authority, tmp_path: Path, seen: Requests) -> None:
    other = new_authority(tmp_path, name)

    with ScriptedServer(seen.answering(GOOD), context=authority.server()) as server:
        for transport in (RequestsTransport(ca_bundle=other.bundle), RequestsTransport()):
            with pytest.raises(TlsError, match="unknown CA") as caught:
                Mint().at(server.url, transport)
            assert "--ca-bundle" in caught.value.hint

    assert seen.received == []


@pytest.mark.promise(64)
def test_a_server_below_tls_1_2(authority: Authority, seen: Requests) -> None:
    context = authority.server(oldest=ssl.TLSVersion.TLSv1_1, newest=ssl.TLSVersion.TLSv1_1)

    with ScriptedServer(seen.answering(GOOD), context=context) as server:
        with pytest.raises(TlsError, match=r"does not speak TLS 1\.2 or newer"):
            Mint().at(server.url, RequestsTransport(ca_bundle=authority.bundle))
        assert seen.received == []
        assert version_spoken_by_an_old_client(server.port, authority) == "TLSv1.1"


def version_spoken_by_an_old_client(port: int, authority: Authority) -> str | None:
    context = ssl.create_default_context(cafile=authority.bundle)
    set_versions(context, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        return stream.version()


@pytest.mark.promise(64)
def test_a_server_that_speaks_no_tls(authority: Authority) -> None:
    def misunderstand(connection: Connection) -> None:
        connection.receive()
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with ScriptedServer(misunderstand) as server, pytest.raises(TlsError, match="does not speak TLS at this port"):
        Mint().at(f"https://127.0.0.1:{server.port}", RequestsTransport(ca_bundle=authority.bundle))


@pytest.mark.promise(64)
def test_only_an_explicit_switch_believes_every_certificate(authority: Authority, seen: Requests) -> None:
    context = authority.server(days=(-30, -1), hosts=("other.example",))

    with ScriptedServer(seen.answering(GOOD), context=context) as server:
        assert Mint().at(server.url, RequestsTransport(verify=False)).secret_access_key == SECRET
        with pytest.raises(TlsError):
            Mint().at(server.url, RequestsTransport())


@pytest.mark.promise(64)
def test_without_verification_tls_1_2_is_still_asked_for(authority: Authority, seen: Requests) -> None:
    context = authority.server(oldest=ssl.TLSVersion.TLSv1_1, newest=ssl.TLSVersion.TLSv1_1)

    with ScriptedServer(seen.answering(GOOD), context=context) as server, pytest.raises(TlsError):
        Mint().at(server.url, RequestsTransport(verify=False))


# 65: nothing from the environment


@pytest.fixture
def hostile_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Return a function that points everything requests would read at a proxy's URL."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login somebody password {SECRET}\n", encoding="utf-8")
    netrc.chmod(0o600)

    def point_at(proxy: str) -> None:
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
        monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "missing.pem"))
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)

    return point_at


@pytest.mark.promise(65)
@pytest.mark.parametrize("is_tls", [False, True])
def test_proxies_netrc_and_bundles_of_the_environment_are_not_used(
    is_tls: bool,  # noqa: FBT001 - a parameter of the table
    authority: Authority,
    hostile_environment: Callable[[str], None],
    seen: Requests,
) -> None:
    context = authority.server() if is_tls else None
    with (
        ScriptedServer(Requests().answering(b"HTTP/1.1 502 No\r\n\r\n")) as proxy,
        ScriptedServer(seen.answering(GOOD), context=context) as server,
    ):
        hostile_environment(proxy.url)
        made = Mint().at(server.url, RequestsTransport(ca_bundle=authority.bundle))
        assert made.secret_access_key == SECRET
        assert proxy.connections == 0

    assert dict(seen.headers())["Authorization"].startswith("AWS4-X509-ECDSA-SHA256 ")


@pytest.mark.promise(65)
def test_the_same_environment_is_used_by_requests_itself(hostile_environment: Callable[[str], None]) -> None:
    seen_by_proxy = Requests()
    answer = seen_by_proxy.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with ScriptedServer(answer) as proxy:
        hostile_environment(proxy.url)
        requests.get("http://host.example/", timeout=5)

    assert seen_by_proxy.received[0].startswith(b"GET http://host.example/ ")
    assert dict(seen_by_proxy.headers())["Authorization"].startswith("Basic ")


@pytest.mark.promise(65)
def test_a_proxy_that_was_given_is_used(seen: Requests) -> None:
    with ScriptedServer(seen.answering(GOOD)) as proxy:
        made = Mint().at("http://127.0.0.1:9", RequestsTransport(proxy=f"http://user:{SECRET}@127.0.0.1:{proxy.port}"))

    assert made.secret_access_key == SECRET
    assert seen.received[0].startswith(b"POST http://127.0.0.1:9/sessions HTTP/1.1\r\n")
    assert dict(seen.headers())["Proxy-Authorization"].startswith("Basic ")


@pytest.mark.promise(65)
def test_through_a_proxy_tls_is_spoken_with_the_endpoint(authority: Authority, seen: Requests) -> None:
    tunnelled = Requests()

    def tunnel(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        connection.upgrade(authority.server(hosts=("host.example",)))
        tunnelled.answering(GOOD)(connection)

    with ScriptedServer(seen.then(tunnel)) as proxy:
        url = f"http://user:{SECRET}@127.0.0.1:{proxy.port}"
        made = Mint().at("https://host.example", RequestsTransport(proxy=url, ca_bundle=authority.bundle))
        with pytest.raises(TlsError, match=r"is not for other\.example"):
            Mint().at("https://other.example", RequestsTransport(proxy=url, ca_bundle=authority.bundle))

    assert made.secret_access_key == SECRET
    assert seen.received[0].startswith(b"CONNECT host.example:443 HTTP/1.")
    assert tunnelled.received[0].startswith(b"POST /sessions HTTP/1.1\r\n")
    assert b"Proxy-Authorization" not in tunnelled.received[0]
    assert b"Amz-X509" not in seen.received[0]


@pytest.mark.promise(65)
def test_a_proxy_that_refuses_is_named_without_its_password(seen: Requests) -> None:
    no = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with ScriptedServer(seen.answering(no)) as proxy, pytest.raises(NetworkError) as caught:
        Mint().at("https://host.example", RequestsTransport(proxy=f"http://user:{SECRET}@127.0.0.1:{proxy.port}"))

    assert caught.value.what == ("the proxy 127.0.0.1 does not let us through: 407 Proxy Authentication Required")
    assert proxy.connections == 1
