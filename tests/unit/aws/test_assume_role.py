"""Going on from role to role: what STS is asked, and what its answers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from rolesanywhere_helper.aws.assume_role import SESSION_NAME, StsConnection, assume_role
from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.domain.role_hop import RoleHop, role_hop
from rolesanywhere_helper.errors import (
    BadAnswerError,
    BadExpirationError,
    ConnectionFailedError,
    HelperError,
    HopRefusedError,
    NetworkError,
    ServiceUnavailableError,
    ThrottledError,
    WrongRoleError,
)
from tests.fakes.answers import rfc3339
from tests.fakes.http_server import Connection, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_800_000_000
SECRET = "canary-secret-of-the-answer"
ROLE = "arn:aws:iam::444455556666:role/path/Consultant"
USER = "arn:aws:sts::444455556666:assumed-role/Consultant/rolesanywhere-helper"
SOURCE = Credentials("ASIASOURCE", "s" * 40, "token", NOW, NOW + 3600, "arn:aws:iam::111122223333:role/Deploy")
NAMESPACE = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'


def answer(expires_at: float = NOW + 3600, user: str = USER, key: str = "ASIANEXT") -> str:
    return (
        f"<AssumeRoleResponse {NAMESPACE}><AssumeRoleResult>"
        f"<AssumedRoleUser><AssumedRoleId>AROAX:x</AssumedRoleId><Arn>{user}</Arn></AssumedRoleUser>"
        f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
        f"<SessionToken>token</SessionToken><Expiration>{rfc3339(expires_at)}</Expiration></Credentials>"
        "</AssumeRoleResult></AssumeRoleResponse>"
    )


def refusal(code: str, message: str = "no") -> str:
    return f"<ErrorResponse {NAMESPACE}><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"


def replying(body: str, status: int = 200, seen: list[bytes] | None = None) -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        request = connection.receive_request()
        if seen is not None:
            seen.append(request)
        head = f"HTTP/1.1 {status} x\r\nContent-Type: text/xml\r\nContent-Length: {len(body.encode())}\r\n"
        connection.send(f"{head}Connection: close\r\n\r\n{body}".encode())

    return script


def hop(server: ScriptedServer, **knobs: object) -> RoleHop:
    return role_hop(role_arn=ROLE, region="eu-central-1", sts_endpoint=server.url, **knobs)  # type: ignore[arg-type]


def test_what_is_asked_and_what_is_made_of_the_answer() -> None:
    seen: list[bytes] = []
    with ScriptedServer(replying(answer(NOW + 900), seen=seen)) as server:
        asked = hop(
            server,
            external_id="agreed-4711",
            duration_seconds=900,
            tags=(("team", "blue"),),
            transitive_tag_keys=("team",),
        )
        made = assume_role(asked, SOURCE, StsConnection(), NOW)

    assert made == Credentials("ASIANEXT", SECRET, "token", NOW, NOW + 900, ROLE)
    form = {name: values[0] for name, values in parse_qs(seen[0].partition(b"\r\n\r\n")[2].decode()).items()}
    assert form["Action"] == "AssumeRole"
    assert (form["RoleArn"], form["RoleSessionName"]) == (ROLE, SESSION_NAME)
    assert (form["ExternalId"], form["DurationSeconds"]) == ("agreed-4711", "900")
    assert (form["Tags.member.1.Key"], form["Tags.member.1.Value"]) == ("team", "blue")
    assert form["TransitiveTagKeys.member.1"] == "team"
    assert b"ASIASOURCE" in seen[0], "signed with the credentials of the role before"


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    seen: list[bytes] = []
    with ScriptedServer(replying(answer(), seen=seen)) as server:
        assume_role(hop(server), SOURCE, StsConnection(), NOW)

    for name in (b"ExternalId", b"Tags", b"SourceIdentity", b"Policy"):
        assert name not in seen[0]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (refusal("AccessDenied", "User: x is not authorized"), 403, HopRefusedError),
        (refusal("ExpiredToken"), 403, HopRefusedError),
        (refusal("ValidationError", "line\n\u202eone"), 400, HopRefusedError),
        (refusal("ValidationError", "\x1b[31mred"), 400, BadAnswerError),
        (answer()[:-20], 200, BadAnswerError),
        (refusal("MovedPermanently"), 301, BadAnswerError),
        (refusal("Throttling"), 400, ThrottledError),
        (refusal("InternalFailure"), 500, ServiceUnavailableError),
        (answer(user=USER.replace("Consultant", "Other")), 200, WrongRoleError),
        (answer(user=USER.replace("444455556666", "111122223333")), 200, WrongRoleError),
        (answer(key=""), 200, BadAnswerError),
        (answer(NOW - 1), 200, BadExpirationError),
        (answer(NOW + 3600 + 301), 200, BadExpirationError),
    ],
)
def test_what_is_wrong_with_an_answer(body: str, status: int, error: type[HelperError]) -> None:
    with ScriptedServer(replying(body, status)) as server, pytest.raises(error) as caught:
        assume_role(hop(server), SOURCE, StsConnection(), NOW)

    told = f"{caught.value.what} {caught.value.hint}"
    assert ROLE in told
    assert SECRET not in told
    assert told.isprintable()


def test_a_refusal_names_both_roles() -> None:
    with ScriptedServer(replying(refusal("AccessDenied", "because"), 403)) as server:
        with pytest.raises(HopRefusedError) as caught:
            assume_role(hop(server), SOURCE, StsConnection(), NOW)
        assert "because" in caught.value.what
        assert SOURCE.role_arn in caught.value.what
        assert ROLE in caught.value.what


@pytest.mark.parametrize(
    ("code", "status", "hint"),
    [
        ("AccessDenied", 403, "trust policy"),
        ("ExpiredToken", 403, "ask again"),
        ("SignatureDoesNotMatch", 403, "clock"),
        ("InvalidClientTokenId", 403, "--region"),
        ("RegionDisabledException", 403, "activate STS"),
        ("PackedPolicyTooLarge", 400, "session tags"),
        ("ValidationError", 400, "which parameter"),
        ("SomethingNew", 400, "what STS says"),
        ("MovedPermanently", 301, "proxy"),
    ],
)
def test_the_hint_is_about_the_refusal(code: str, status: int, hint: str) -> None:
    with ScriptedServer(replying(refusal(code), status)) as server, pytest.raises(HelperError) as caught:
        assume_role(hop(server), SOURCE, StsConnection(), NOW)

    assert hint in caught.value.hint
    assert ("trust policy" in caught.value.hint) == (code == "AccessDenied")


def test_nobody_there_is_a_network_error() -> None:
    with ScriptedServer(lambda connection: connection.close()) as server:
        asked = hop(server)
        with pytest.raises(NetworkError):
            assume_role(asked, SOURCE, StsConnection(), NOW)
    with pytest.raises(ConnectionFailedError, match="cannot be reached"):
        assume_role(asked, SOURCE, StsConnection(), NOW)
