from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from rolesanywhere_helper.emulator import trust_policies
from tests.unit.emulator.signing import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_sts import STSClient

    from tests.unit.emulator.conftest import Bench


def _issued(bench: Bench, **body: Any) -> dict[str, str]:
    reply = bench.create(body=body)
    assert reply.status == 201
    issued: dict[str, str] = reply.json["credentialSet"][0]["credentials"]
    return issued


def _client(bench: Bench, issued: dict[str, str]) -> STSClient:
    session = boto3.Session(
        issued["accessKeyId"], issued["secretAccessKey"], issued["sessionToken"], region_name="eu-central-1"
    )
    return session.client(
        "sts",
        endpoint_url=bench.endpoint,
        config=Config(retries={"total_max_attempts": 1}, proxies={}, connect_timeout=5, read_timeout=5),
    )


@pytest.fixture
def refusal_of() -> Callable[[Callable[[], Any]], tuple[int, str, str]]:
    def refusal(act: Callable[[], Any]) -> tuple[int, str, str]:
        with pytest.raises(ClientError) as caught:
            act()
        answer = caught.value.response
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]

    return refusal


# Signed by hand, so that it can be wrong


def _signed(bench: Bench, issued: dict[str, str], method: str = "POST") -> Request:
    form = urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"})
    url = f"{bench.endpoint}/" + (f"?{form}" if method == "GET" else "")
    data = form.encode() if method == "POST" else b""
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {}
    request = AWSRequest(method, url, headers, data)
    credentials = Credentials(issued["accessKeyId"], issued["secretAccessKey"], issued["sessionToken"])
    SigV4Auth(credentials, "sts", "us-east-1").add_auth(request)
    named = [("Host", bench.endpoint.removeprefix("http://")), *request.headers.items()]
    return Request(method, url.removeprefix(bench.endpoint), tuple(named), data)


def _code(reply: Reply) -> tuple[int, str]:
    text = reply.body.decode()
    return reply.status, text.partition("<Code>")[2].partition("</Code>")[0]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_caller_is_who_the_session_belongs_to(bench: Bench, method: str) -> None:
    issued = _issued(bench, roleSessionName="deploy")
    reply = bench.send(_signed(bench, issued, method))
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/xml"
    assert b"<Arn>arn:aws:sts::111122223333:assumed-role/EmulatorRole/deploy</Arn>" in reply.body
    seen = bench.last()
    assert (seen["operation"], seen["status"], seen["roleSessionName"]) == ("GetCallerIdentity", 200, "deploy")


def test_boto3_gets_the_callers_identity(bench: Bench) -> None:
    identity = _client(bench, _issued(bench, roleSessionName="deploy")).get_caller_identity()
    assert identity["Account"] == "111122223333"
    assert identity["Arn"] == "arn:aws:sts::111122223333:assumed-role/EmulatorRole/deploy"
    assert identity["UserId"].startswith("AROA")
    assert identity["UserId"].endswith(":deploy")


def _body(request: Request) -> Request:
    return Request(request.method, request.target, request.headers, request.body + b"&x=1")


def _date(request: Request) -> Request:
    date = request.header("X-Amz-Date")
    return request.with_header("X-Amz-Date", date[:-2] + ("0" if date[-2] != "0" else "1") + "Z")


def _signature(request: Request) -> Request:
    text = request.header("Authorization")
    return request.with_header("Authorization", text[:-1] + ("0" if text[-1] != "0" else "1"))


@pytest.mark.parametrize("tamper", [_body, _date, _signature], ids=lambda tamper: tamper.__name__.strip("_"))
def test_a_changed_byte_does_not_match(bench: Bench, tamper: Callable[[Request], Request]) -> None:
    request = _signed(bench, _issued(bench))
    assert _code(bench.send(tamper(request))) == (403, "SignatureDoesNotMatch")
    assert bench.send(request).status == 200


def test_unknown_or_mixed_credentials_are_no_token(bench: Bench) -> None:
    first, second = _issued(bench), _issued(bench)
    mixed = _signed(bench, {**first, "sessionToken": second["sessionToken"]})
    longer = _signed(bench, {**first, "sessionToken": first["sessionToken"][:-4] + "AAAA"})
    stranger = _signed(bench, {**first, "accessKeyId": "ASIAAAAAAAAAAAAAAAAA"})
    garbage = _signed(bench, {**first, "sessionToken": "x"})
    for request in (mixed, longer, stranger, garbage):
        assert _code(bench.send(request)) == (403, "InvalidClientTokenId")
    assert bench.send(_signed(bench, first)).status == 200


def test_a_wrong_secret_does_not_match(bench: Bench) -> None:
    issued = _issued(bench)
    request = _signed(bench, {**issued, "secretAccessKey": issued["secretAccessKey"][::-1]})
    assert _code(bench.send(request)) == (403, "SignatureDoesNotMatch")


def test_credentials_expire_to_the_second(bench: Bench) -> None:
    bench.emulator.set_fault(expiresInSeconds=240, times=1)
    issued = _issued(bench)
    bench.clock.advance(239)
    assert bench.send(_signed(bench, issued)).status == 200
    bench.clock.advance(1.5)
    assert _code(bench.send(_signed(bench, issued))) == (403, "ExpiredToken")


def test_a_clock_that_is_off_does_not_match(bench: Bench) -> None:
    request = _signed(bench, _issued(bench))
    bench.clock.advance(310)
    assert _code(bench.send(request)) == (403, "SignatureDoesNotMatch")


def test_without_a_signature_or_with_another_action_nothing_is_said(bench: Bench) -> None:
    request = _signed(bench, _issued(bench))
    bare = Request(request.method, request.target, (("Host", request.header("Host")),), request.body)
    other = Request(request.method, request.target, request.headers, b"Action=GetUser&Version=2010-05-08")
    assert _code(bench.send(bare)) == (403, "MissingAuthenticationToken")
    assert _code(bench.send(other)) == (400, "InvalidAction")


@pytest.mark.parametrize(
    ("changed", "to", "expected"),
    [
        ("Signature=", "Signature=0x", (400, "IncompleteSignature")),
        ("Signature=", "Signature=0", (400, "IncompleteSignature")),
        ("/aws4_request", "", (400, "IncompleteSignature")),
        ("/sts/", "/s3/", (403, "SignatureDoesNotMatch")),
        ("HMAC-SHA256", "HMAC-SHA512", (403, "SignatureDoesNotMatch")),
        ("host;", "", (403, "SignatureDoesNotMatch")),
        ("host;", "absent;host;", (403, "SignatureDoesNotMatch")),
        ("host;", "Host;", (403, "SignatureDoesNotMatch")),
    ],
)
def test_an_authorization_of_another_form_has_its_error(
    bench: Bench, changed: str, to: str, expected: tuple[int, str]
) -> None:
    request = _signed(bench, _issued(bench))
    text = request.header("Authorization")
    assert changed in text
    assert _code(bench.send(request.with_header("Authorization", text.replace(changed, to, 1)))) == expected
    assert bench.send(request).status == 200


@pytest.mark.parametrize("stamp", ["20261323T000000Z", "2026-11-23", ""])
def test_a_date_that_is_none_does_not_match(bench: Bench, stamp: str) -> None:
    request = _signed(bench, _issued(bench))
    assert _code(bench.send(request.with_header("X-Amz-Date", stamp))) == (403, "SignatureDoesNotMatch")


# Role chaining


def test_a_role_of_another_account_is_reached_from_the_first(bench: Bench) -> None:
    before = int(bench.clock())
    other = bench.emulator.state.roles[1]
    assert other.account != bench.emulator.state.account
    answer = _client(bench, _issued(bench)).assume_role(RoleArn=other.arn, RoleSessionName="chained")
    credentials = answer["Credentials"]
    assert answer["AssumedRoleUser"]["Arn"] == other.session_arn("chained")
    assert answer["SourceIdentity"] == "CN=client"
    assert credentials["Expiration"] == datetime.fromtimestamp(before + 3600, UTC)
    chained = {
        "accessKeyId": credentials["AccessKeyId"],
        "secretAccessKey": credentials["SecretAccessKey"],
        "sessionToken": credentials["SessionToken"],
    }
    assert _client(bench, chained).get_caller_identity()["Account"] == other.account
    seen = bench.emulator.requests()
    assert [entry["operation"] for entry in seen] == ["CreateSession", "AssumeRole", "GetCallerIdentity"]


def test_only_a_trusted_caller_with_the_external_id_gets_in(bench: Bench, refusal_of: Any) -> None:
    client = _client(bench, _issued(bench, roleSessionName="deploy"))
    other, own = bench.emulator.state.roles[1], bench.emulator.state.roles[0]
    assert client.assume_role(RoleArn=own.arn, RoleSessionName="me"), "it trusts its own account"
    bench.change_role(0, trust_policy=trust_policies.ROLES_ANYWHERE)
    condition = {"StringEquals": {"sts:ExternalId": "secret-handshake"}}
    bench.change_role(1, trust_policy=trust_policies.for_principals((own.arn,), condition))
    caller = "arn:aws:sts::111122223333:assumed-role/EmulatorRole/deploy"
    for role in (own, other):
        status, code, message = refusal_of(lambda role=role: client.assume_role(RoleArn=role.arn, RoleSessionName="me"))
        assert (status, code) == (403, "AccessDenied")
        assert message == f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role.arn}"
    assert client.assume_role(RoleArn=other.arn, RoleSessionName="me", ExternalId="secret-handshake")


@pytest.mark.parametrize("seconds", [3601, 43_200])
def test_a_chained_session_lasts_an_hour_at_most(bench: Bench, refusal_of: Any, seconds: int) -> None:
    client = _client(bench, _issued(bench))
    arn = bench.emulator.state.roles[1].arn
    status, code, _ = refusal_of(lambda: client.assume_role(RoleArn=arn, RoleSessionName="me", DurationSeconds=seconds))
    assert (status, code) == (400, "ValidationError")
    assert client.assume_role(RoleArn=arn, RoleSessionName="me", DurationSeconds=900)


def test_a_source_identity_cannot_be_changed_on_the_way(bench: Bench, refusal_of: Any) -> None:
    client = _client(bench, _issued(bench))
    arn = bench.emulator.state.roles[1].arn
    refused = refusal_of(lambda: client.assume_role(RoleArn=arn, RoleSessionName="me", SourceIdentity="somebody"))
    assert refused[:2] == (403, "AccessDenied")
    assert client.assume_role(RoleArn=arn, RoleSessionName="me", SourceIdentity="CN=client")
