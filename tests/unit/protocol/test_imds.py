"""What the instance-metadata route answers, without a server around it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rolesanywhere_helper.domain.serving import AccessPolicy, Peer
from rolesanywhere_helper.protocol.http import Request, Response
from rolesanywhere_helper.protocol.imds import REGION_PATH, ROLES_PATH, TOKEN_HEADER, TTL_HEADER, ImdsRoute
from tests.fakes.serving import ALLOWED, REMOTE, STRANGER, UNKNOWN, FakeAudit, FakeClocks, FakeView, new_set
from tests.fakes.sessions import SECRET, TOKEN

ROLE_PATH = f"{ROLES_PATH}/Deploy"
Fields = tuple[tuple[str, str], ...]


class Endpoint:
    """A route, and what it was given."""

    def __init__(self, *, serves_network: bool = False) -> None:
        self.view, self.clocks, self.audit = FakeView(), FakeClocks(), FakeAudit()
        self.route = ImdsRoute(
            self.view,
            "main",
            bytes(32),
            self.clocks,
            self.audit,
            new_nonce=lambda: bytes(8),
            serves_network=serves_network,
        )

    def ask(self, path: str, *, method: str = "GET", peer: Peer = ALLOWED, fields: Fields = ()) -> Response:
        return self.route.answer(Request(method, path, fields, peer))

    def token(self, ttl: str = "21600") -> str:
        return self.ask("/latest/api/token", method="PUT", fields=((TTL_HEADER, ttl),)).body.decode()

    def get(self, path: str, *, peer: Peer = ALLOWED) -> Response:
        return self.ask(path, peer=peer, fields=((TOKEN_HEADER, self.token()),))


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.mark.parametrize("path", ["/latest/api/token", "/latest/api/token/"])
def test_the_answer_with_a_token_tells_its_ttl(endpoint: Endpoint, path: str) -> None:
    answer = endpoint.ask(path, method="PUT", fields=((TTL_HEADER, "300"),))

    assert (answer.status, answer.headers) == (200, ((TTL_HEADER, "300"),))
    assert len(answer.body) == 64


@pytest.mark.promise(11, 12)
def test_a_role_may_be_asked_for_with_its_characters_escaped(endpoint: Endpoint) -> None:
    endpoint.view.role_name = "a+b=c,d@e.f-g"
    for name in ("a+b=c,d@e.f-g", "a%2Bb=c,d@e.f-g", "a%2bb%3Dc%2Cd%40e.f-g", "a%2Bb%3dc%2cd@e.f-g"):
        assert endpoint.get(f"{ROLES_PATH}/{name}").status == 200, name
    for name in ("a b=c,d@e.f-g", "a%252Bb=c,d@e.f-g", "a+b=c,d@e%2Ef-g", "a+b=c,d@e.f%2Dg", "a%20b=c,d@e.f-g"):
        assert endpoint.get(f"{ROLES_PATH}/{name}").status == 404, name


@pytest.mark.promise(11)
def test_nothing_but_the_role_may_be_escaped(endpoint: Endpoint) -> None:
    endpoint.view.region = "a+b"
    assert endpoint.get(REGION_PATH).status == 200
    for path in (REGION_PATH.replace("-", "%2D"), ROLE_PATH + "%2B", ROLES_PATH.replace("iam/", "iam%2B/") + "/Deploy"):
        assert endpoint.get(path).status == 404


@pytest.mark.promise(21)
@pytest.mark.parametrize("ttl", ["0", "-1", "21601", "1e3", " 60", ""])
def test_a_put_with_a_wrong_ttl_or_none_is_refused(endpoint: Endpoint, ttl: str) -> None:
    assert endpoint.ask("/latest/api/token", method="PUT", fields=((TTL_HEADER, ttl),)).status == 400
    assert endpoint.ask("/latest/api/token", method="PUT").status == 400
    assert endpoint.ask("/latest/api/token", method="PUT", fields=((TTL_HEADER, "60"),)).status == 200


@pytest.mark.parametrize("path", [ROLES_PATH, ROLES_PATH + "/"])
def test_the_listing_is_one_bare_name(endpoint: Endpoint, path: str) -> None:
    assert endpoint.get(path).body == b"Deploy"


@pytest.mark.promise(18)
@pytest.mark.parametrize("path", [ROLE_PATH, ROLE_PATH + "/"])
def test_the_document_has_what_sdks_demand(endpoint: Endpoint, path: str) -> None:
    answer = endpoint.get(path)

    assert (answer.status, answer.content_type) == (200, "application/json")
    assert json.loads(answer.body) == {
        "Code": "Success",
        "LastUpdated": "2027-01-15T08:00:00Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIAEXAMPLE",
        "SecretAccessKey": SECRET,
        "Token": TOKEN,
        "Expiration": "2027-01-15T09:00:00Z",
    }
    assert endpoint.audit.grants == [("deploy", ALLOWED, "ASIAEXAMPLE")]


def test_the_region_is_told_where_it_is_known(endpoint: Endpoint) -> None:
    assert endpoint.get(REGION_PATH).body == b"eu-central-1"
    endpoint.view.region = None
    assert endpoint.get(REGION_PATH).status == 404


@pytest.mark.promise(12)
@pytest.mark.parametrize(
    "path",
    [
        f"{ROLES_PATH}/Other",
        f"{ROLES_PATH}/deploy",
        f"{ROLES_PATH}/Deploy/more",
        f"{ROLES_PATH}//",
        "/latest/meta-data/iam/security-credentials-extended/",
        "/latest/meta-data/",
        "/latest/dynamic/instance-identity/document",
        "/latest/meta-data/placement/availability-zone",
        f"{ROLE_PATH}?x=1",
        "/",
    ],
)
def test_what_is_not_there_is_not_found(endpoint: Endpoint, path: str) -> None:
    assert endpoint.get(path).status == 404


def test_version_1_is_never_answered(endpoint: Endpoint) -> None:
    for path in (ROLES_PATH, ROLE_PATH, REGION_PATH, "/latest/meta-data/"):
        assert endpoint.ask(path).status == 401


@pytest.mark.promise(23)
@pytest.mark.parametrize("token", ["", "A" * 63, "A" * 64, "A" * 65, "é" * 64])
def test_a_wrong_token_is_refused(endpoint: Endpoint, token: str) -> None:
    assert endpoint.ask(ROLE_PATH, fields=((TOKEN_HEADER, token),)).status == 401


@pytest.mark.promise(23, 24)
def test_only_the_clock_that_nobody_sets_ends_a_token(endpoint: Endpoint) -> None:
    token = endpoint.token("60")
    endpoint.clocks.wall -= 3600
    endpoint.clocks.uptime += 59
    assert endpoint.ask(ROLE_PATH, fields=((TOKEN_HEADER, token),)).status == 200
    endpoint.clocks.uptime += 1
    assert endpoint.ask(ROLE_PATH, fields=((TOKEN_HEADER, token),)).status == 401


@pytest.mark.promise(68)
def test_without_a_set_there_is_no_success(endpoint: Endpoint) -> None:
    endpoint.view.held = None

    for path in (ROLES_PATH, ROLE_PATH):
        answer = endpoint.get(path)
        assert answer.status == 503
        assert b"{" not in answer.body


@pytest.mark.promise(10)
@pytest.mark.parametrize("method", ["POST", "DELETE", "HEAD", "OPTIONS", "PUT"])
def test_a_wrong_method_is_told_the_right_one(endpoint: Endpoint, method: str) -> None:
    assert endpoint.ask(ROLE_PATH, method=method).headers == (("Allow", "GET"),)
    assert endpoint.ask("/latest/api/token", method="GET").headers == (("Allow", "PUT"),)
    assert (
        endpoint.ask(ROLE_PATH, method=method).status == endpoint.ask("/latest/api/token", method="GET").status == 405
    )


@pytest.mark.promise(26, 27)
@pytest.mark.parametrize("peer", [STRANGER, UNKNOWN, REMOTE])
def test_who_is_not_allowed_gets_neither_token_nor_name(endpoint: Endpoint, peer: Peer) -> None:
    assert endpoint.ask("/latest/api/token", method="PUT", peer=peer, fields=((TTL_HEADER, "60"),)).status == 403
    for path in (ROLES_PATH, ROLE_PATH):
        answer = endpoint.get(path, peer=peer)
        assert answer.status == 403
        assert b"Deploy" not in answer.body
    assert endpoint.audit.refusals[0] == ("deploy", peer, "user")
    assert endpoint.audit.grants == []
    endpoint.view.policy = AccessPolicy(frozenset(), everyone=True)
    if peer is not REMOTE:
        assert endpoint.get(ROLE_PATH, peer=peer).status == 200


@pytest.mark.promise(16)
def test_other_machines_are_served_only_by_the_loud_setting() -> None:
    assert Endpoint().get(ROLES_PATH, peer=REMOTE).status == 403
    assert Endpoint(serves_network=True).get(ROLES_PATH, peer=REMOTE).status == 200


def test_an_answer_holds_until_something_changes(endpoint: Endpoint) -> None:
    answer = endpoint.get(ROLE_PATH)
    assert answer.still_holds is not None
    assert answer.still_holds()
    endpoint.clocks.uptime += 21_600
    assert not answer.still_holds()
    endpoint.clocks.uptime -= 21_600
    endpoint.view.policy = dataclasses.replace(endpoint.view.policy)
    assert not answer.still_holds()

    again = endpoint.get(ROLE_PATH)
    assert again.still_holds is not None
    assert again.still_holds()
    assert again.body is answer.body
    endpoint.view.held = new_set("ASIAOTHER")
    assert not again.still_holds()
    assert b"ASIAOTHER" in endpoint.get(ROLE_PATH).body
    endpoint.view.held = None
    assert not again.still_holds()


def test_secrets_are_in_no_repr(endpoint: Endpoint) -> None:
    assert SECRET not in repr(endpoint.get(ROLE_PATH))
