"""What the container route answers, without a server around it."""

from __future__ import annotations

import json

import pytest

from rolesanywhere_helper.domain.serving import AccessPolicy, Peer
from rolesanywhere_helper.protocol.container import ContainerEndpoint, ContainerRoute, ContainerTokens
from rolesanywhere_helper.protocol.http import Request, Response
from tests.fakes.serving import ALLOWED, REMOTE, STRANGER, UNKNOWN, FakeAudit, FakeView, new_set
from tests.fakes.sessions import ROLE_ARN, SECRET, TOKEN

TOKEN_1 = "canary-token-1"


class Endpoints:
    """Two endpoints with a session and a token each."""

    def __init__(self) -> None:
        self.view, self.other, self.audit = FakeView(), FakeView("other"), FakeAudit()
        self.tokens = ContainerTokens("canary-token-1")
        self.route = ContainerRoute(
            [
                ContainerEndpoint("customer", self.view, lambda: self.tokens),
                ContainerEndpoint("other", self.other, lambda: ContainerTokens("canary-token-other")),
            ],
            self.audit,
        )

    def get(
        self,
        path: str = "/customer",
        token: str | None = TOKEN_1,
        *,
        peer: Peer = ALLOWED,
        method: str = "GET",
    ) -> Response:
        fields = () if token is None else (("authorization", token),)
        return self.route.answer(Request(method, path, fields, peer))


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


@pytest.mark.parametrize("path", ["/customer", "/customer/"])
def test_the_document_has_what_sdks_demand(endpoints: Endpoints, path: str) -> None:
    answer = endpoints.get(path)

    assert (answer.status, answer.content_type) == (200, "application/json")
    assert json.loads(answer.body) == {
        "AccessKeyId": "ASIAEXAMPLE",
        "SecretAccessKey": SECRET,
        "Token": TOKEN,
        "Expiration": "2027-01-15T09:00:00Z",
        "AccountId": "111122223333",
        "RoleArn": ROLE_ARN,
    }
    assert endpoints.audit.grants == [("deploy", ALLOWED, "ASIAEXAMPLE")]


@pytest.mark.parametrize(
    "token", [None, "", "canary-token-2", "canary-token-other", "Bearer canary-token-1", "canary-token-1 ", "é"]
)
def test_only_its_own_token_opens_an_endpoint(endpoints: Endpoints, token: str | None) -> None:
    assert endpoints.get(token=token).status == 401
    assert endpoints.audit.refusals == [("deploy", ALLOWED, "token")]
    assert endpoints.get().status == 200


def test_a_token_is_accepted_until_the_rotation_after_next(endpoints: Endpoints) -> None:
    endpoints.tokens = endpoints.tokens.rotated("canary-token-2")
    assert endpoints.get(token="canary-token-1").status == endpoints.get(token="canary-token-2").status == 200
    endpoints.tokens = endpoints.tokens.rotated("canary-token-3")
    assert endpoints.get(token="canary-token-1").status == 401
    assert endpoints.get(token="canary-token-2").status == endpoints.get(token="canary-token-3").status == 200


@pytest.mark.parametrize("path", ["/", "/nobody", "/customer/x", "/customer?x", "/Customer", "customer"])
def test_what_is_not_there_is_not_found(endpoints: Endpoints, path: str) -> None:
    assert endpoints.get(path).status == 404


@pytest.mark.promise(10)
def test_a_wrong_method_is_told_the_right_one(endpoints: Endpoints) -> None:
    answer = endpoints.get(method="PUT")
    assert (answer.status, answer.headers) == (405, (("Allow", "GET"),))


def test_a_refusal_is_said_in_json(endpoints: Endpoints) -> None:
    """The SDK for Go prints code and message; of anything else it says only that it is no JSON."""
    answer = endpoints.get(token="wrong")
    message = "the Authorization header must be the endpoint's token"
    assert (answer.status, answer.content_type, answer.refusal) == (401, "application/json", "token")
    assert json.loads(answer.body) == {"code": "token", "message": message}
    assert json.loads(endpoints.get("/nobody").body) == {"code": "path", "message": "not found"}
    assert "code" not in json.loads(endpoints.get().body)


@pytest.mark.promise(26, 27)
@pytest.mark.parametrize("peer", [STRANGER, UNKNOWN])
def test_a_token_alone_does_not_make_up_for_a_user_who_is_not_allowed(endpoints: Endpoints, peer: Peer) -> None:
    assert endpoints.get(peer=peer).status == 403
    assert endpoints.audit.refusals == [("deploy", peer, "user")]
    endpoints.view.policy = AccessPolicy(frozenset(), everyone=True)
    assert endpoints.get(peer=peer).status == 200


@pytest.mark.promise(16, 27)
def test_from_another_machine_the_token_decides_unless_users_are_named(endpoints: Endpoints) -> None:
    assert endpoints.get(peer=REMOTE).status == 200
    assert endpoints.get(token="wrong", peer=REMOTE).status == 401
    endpoints.view.policy = AccessPolicy(frozenset({0}), is_stated=True)
    assert endpoints.get(peer=REMOTE).status == 403


@pytest.mark.promise(68)
def test_without_a_set_there_is_no_success(endpoints: Endpoints) -> None:
    endpoints.view.held = None
    assert endpoints.get().status == 503


def test_an_answer_holds_until_something_changes(endpoints: Endpoints) -> None:
    answer = endpoints.get()
    assert answer.still_holds is not None
    assert answer.still_holds()
    endpoints.tokens = endpoints.tokens.rotated("canary-token-2")
    assert not answer.still_holds()
    again = endpoints.get()
    assert again.still_holds is not None
    endpoints.view.held = new_set()
    assert not again.still_holds()


def test_secrets_are_in_no_repr(endpoints: Endpoints) -> None:
    assert "canary" not in repr(endpoints.tokens) + repr(endpoints.get())
