"""The S3 stub believes nobody who is not right: what is signed by botocore is accepted, and refused once spoilt."""

from __future__ import annotations

import http.client
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rolesanywhere_helper.emulator.issuing import Grant, Issuer, new_access_key_id
from tests.peers.s3_stub import CONTENT, S3Stub, s3_stub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEALING_KEY = "5e" * 32
SESSION_ARN = "arn:aws:sts::111122223333:assumed-role/R/somebody"
OBJECT = "/bucket/greeting.txt"


class Clock:
    """The stub's clock: the real time, and so many seconds off it."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@dataclass(frozen=True)
class Request:
    """A request that is signed when it is sent, and may be spoilt after."""

    credentials: Credentials
    method: str = "GET"
    target: str = OBJECT
    signer: type[SigV4Auth] = S3SigV4Auth
    service: str = "s3"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent_target: str | None = None
    sent_headers: dict[str, str] = field(default_factory=dict)

    def send(self, stub: S3Stub) -> tuple[int, str]:
        """Return status, and the code of a refusal or the body."""
        host = stub.url.removeprefix("http://")
        signed = AWSRequest(self.method, stub.url + self.target, data=self.body, headers=dict(self.headers))
        self.signer(self.credentials, self.service, "us-east-1").add_auth(signed)
        connection = http.client.HTTPConnection(host, timeout=10)
        try:
            headers = {**dict(signed.headers), **self.sent_headers}
            connection.request(self.method, self.sent_target or self.target, self.body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        code = re.search("<Code>(.+)</Code>", text)
        return answer.status, code[1] if code else text


def issued(sealing_key: str = SEALING_KEY) -> Credentials:
    grant = Grant(new_access_key_id(), "arn:aws:iam::1:role/R", "AROA", SESSION_ARN, "me", None, int(time.time()) + 900)
    made = Issuer(bytes.fromhex(sealing_key)).issue(grant)
    return Credentials(made.access_key_id, made.secret_access_key, made.session_token)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stub(clock: Clock) -> Iterator[S3Stub]:
    with s3_stub(SEALING_KEY, clock) as listening:
        yield listening


def test_who_signs_with_issued_credentials_is_served(stub: S3Stub) -> None:
    request = Request(issued())

    assert request.send(stub) == (200, CONTENT.decode())
    assert replace(request, method="HEAD").send(stub) == (200, "")
    assert replace(request, sent_headers={"Range": "bytes=5-11"}).send(stub) == (206, "morning")
    assert "<Name>bucket</Name>" in replace(request, target="/").send(stub)[1]
    assert "<Key>greeting.txt</Key>" in replace(request, target="/bucket?list-type=2&prefix=gre").send(stub)[1]
    assert "<Key>" not in replace(request, target="/bucket?list-type=2&prefix=x").send(stub)[1]
    assert replace(request, target="/bucket/none").send(stub) == (404, "NoSuchKey")
    assert replace(request, method="PUT", body=b"x").send(stub) == (405, "MethodNotAllowed")
    assert stub.callers == {SESSION_ARN, None}
    assert [seen.refusal for seen in stub.seen if seen.refusal] == ["NoSuchKey", "MethodNotAllowed"]


def tampered(credentials: Credentials) -> Credentials:
    other = "A" if credentials.secret_key[0] != "A" else "B"
    return Credentials(credentials.access_key, other + credentials.secret_key[1:], credentials.token)


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (lambda right: replace(right, credentials=tampered(right.credentials)), "SignatureDoesNotMatch"),
        (
            lambda right: replace(
                right, credentials=Credentials(right.credentials.access_key, right.credentials.secret_key)
            ),
            "InvalidClientTokenId",
        ),
        (
            lambda right: replace(
                right,
                credentials=Credentials(right.credentials.access_key, right.credentials.secret_key, issued().token),
            ),
            "InvalidClientTokenId",
        ),
        (lambda right: replace(right, credentials=issued("5f" * 32)), "InvalidClientTokenId"),
        (lambda right: replace(right, sent_target="/bucket/other"), "SignatureDoesNotMatch"),
        (lambda right: replace(right, sent_target=f"{OBJECT}?versionId=1"), "SignatureDoesNotMatch"),
        (lambda right: replace(right, service="sts"), "SignatureDoesNotMatch"),
        (lambda right: replace(right, sent_headers={"Authorization": "AWS4"}), "IncompleteSignature"),
        (lambda right: replace(right, signer=SigV4Auth), "XAmzContentSHA256Mismatch"),
        (
            lambda right: replace(right, signer=SigV4Auth, sent_headers={"x-amz-content-sha256": "0" * 64}),
            "XAmzContentSHA256Mismatch",
        ),
        (
            lambda right: replace(right, signer=SigV4Auth, sent_headers={"x-amz-content-sha256": EMPTY}),
            "AccessDenied",
        ),
        (lambda right: replace(right, sent_headers={"x-amz-acl": "public-read"}), "AccessDenied"),
    ],
    ids=[
        "another secret",
        "no session token",
        "another set's session token",
        "credentials of somebody else",
        "another path",
        "another query",
        "another service",
        "another form",
        "no digest",
        "a wrong digest",
        "a digest that is not signed",
        "a header that is not signed",
    ],
)
def test_what_is_spoilt_is_refused(stub: S3Stub, spoil: Callable[[Request], Request], refusal: str) -> None:
    right = Request(issued())

    assert spoil(right).send(stub)[1] == refusal
    assert right.send(stub)[0] == 200


def test_what_is_too_late_is_refused(stub: S3Stub, clock: Clock) -> None:
    request = Request(issued())

    clock.offset = 310
    assert request.send(stub) == (403, "SignatureDoesNotMatch")
    clock.offset = 0
    assert request.send(stub)[0] == 200


def test_credentials_that_have_expired_are_refused(stub: S3Stub) -> None:
    grant = Grant(new_access_key_id(), "arn:aws:iam::1:role/R", "AROA", SESSION_ARN, "me", None, int(time.time()) - 1)
    made = Issuer(bytes.fromhex(SEALING_KEY)).issue(grant)

    expired = Credentials(made.access_key_id, made.secret_access_key, made.session_token)
    assert Request(expired).send(stub) == (403, "ExpiredToken")


def test_who_does_not_sign_is_refused(stub: S3Stub) -> None:
    connection = http.client.HTTPConnection(stub.url.removeprefix("http://"), timeout=10)
    connection.request("GET", OBJECT)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 403
    assert b"MissingAuthenticationToken" in text
