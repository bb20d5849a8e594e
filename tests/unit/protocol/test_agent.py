"""What the agent's route answers, without a socket around it."""

from __future__ import annotations

import json

import pytest

from rolesanywhere_helper.domain.serving import AccessPolicy, Peer
from rolesanywhere_helper.protocol.agent import AgentRoute
from rolesanywhere_helper.protocol.http import Request, Response
from tests.fakes.serving import FakeAudit, FakeView, new_set

MEMBER = Peer("unix", 2000, frozenset({50}), 17)
STRANGER = Peer("unix", 4711, frozenset({4711}), 18)
ROOT = Peer("unix", 0, frozenset({0}), 19)


class Agent:
    """Two sessions: one for a group, one for root."""

    def __init__(self) -> None:
        self.deploy = FakeView(policy=AccessPolicy(frozenset({0}), frozenset({50}), is_stated=True))
        self.backup = FakeView("backup", policy=AccessPolicy(frozenset({0})))
        self.audit = FakeAudit()
        self.errors: dict[str, tuple[str, str, str]] = {}
        self.route = AgentRoute(
            [self.deploy, self.backup], lambda peer: b'{"uid": %d}' % (peer.uid or 0), self.last_error, self.audit
        )

    def last_error(self, name: str, peer: Peer) -> tuple[str, str, str] | None:
        assert peer == MEMBER
        return self.errors.get(name)

    def get(self, path: str, peer: Peer = MEMBER, method: str = "GET") -> Response:
        return self.route.answer(Request(method, path, (), peer))


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.mark.parametrize("path", ["/v1/sessions/deploy", "/v1/sessions/deploy/"])
def test_a_session_is_a_credential_process_document(agent: Agent, path: str) -> None:
    answer = agent.get(path)

    assert (answer.status, answer.content_type) == (200, "application/json")
    assert json.loads(answer.body)["Version"] == 1
    assert agent.audit.grants == [("deploy", MEMBER, "ASIAEXAMPLE")]


@pytest.mark.promise(26)
def test_each_session_has_its_own_users(agent: Agent) -> None:
    assert agent.get("/v1/sessions/backup").status == 403
    assert agent.audit.refusals == [("backup", MEMBER, "user")]
    assert agent.get("/v1/sessions/backup", ROOT).status == 200


def test_who_may_have_nothing_does_not_learn_what_there_is(agent: Agent) -> None:
    there, not_there = agent.get("/v1/sessions/deploy", STRANGER), agent.get("/v1/sessions/none", STRANGER)

    assert there == not_there
    assert there.status == 403
    assert agent.get("/v1/sessions/none").status == 404


def test_the_status_is_told_as_far_as_the_peer_may_see_it(agent: Agent) -> None:
    assert agent.get("/v1/status").body == b'{"uid": 2000}'


@pytest.mark.promise(68)
def test_without_a_set_there_is_no_success(agent: Agent) -> None:
    agent.deploy.held = None
    assert agent.get("/v1/sessions/deploy").status == 503


def test_who_may_have_it_is_told_why_there_is_none(agent: Agent) -> None:
    agent.deploy.held = agent.backup.held = None
    assert b"error" not in agent.get("/v1/sessions/deploy").body
    agent.errors = {"deploy": ("throttled", "too many calls", "wait"), "backup": ("tls", "no", "none")}
    agent.route = AgentRoute([agent.deploy, agent.backup], lambda _: b"", agent.last_error, agent.audit)

    answer = agent.get("/v1/sessions/deploy")

    assert (answer.status, answer.content_type) == (503, "application/json")
    assert json.loads(answer.body) == {"error": {"code": "throttled", "message": "too many calls", "hint": "wait"}}
    assert (agent.get("/v1/sessions/backup").status, b"tls" in agent.get("/v1/sessions/backup").body) == (403, False)


@pytest.mark.promise(10)
@pytest.mark.parametrize("path", ["/v1/sessions/deploy", "/v1/status"])
def test_a_wrong_method_is_told_the_right_one(agent: Agent, path: str) -> None:
    assert agent.get(path, method="POST").headers == (("Allow", "GET"),)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/sessions", "/v2/status", "/v1/status?x"])
def test_what_is_not_there_is_not_found(agent: Agent, path: str) -> None:
    assert agent.get(path).status == 404


def test_an_answer_holds_until_something_changes(agent: Agent) -> None:
    answer = agent.get("/v1/sessions/deploy")
    assert answer.still_holds is not None
    assert answer.still_holds()
    agent.deploy.held = new_set("ASIAOTHER")
    assert not answer.still_holds()
    again = agent.get("/v1/sessions/deploy")
    assert again.still_holds is not None
    agent.deploy.policy = AccessPolicy(frozenset({0}))
    assert not again.still_holds()
