"""The daemon of ``exec``: one session, one endpoint, and who is asked for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.exec import identities, serve_one
from rolesanywhere_helper.config.load import load_session
from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from rolesanywhere_helper.config.settings import LoadedSettings

ARN = "arn:aws:rolesanywhere:eu-central-1:111122223333"
FLAGS = {
    "certificate": "/host.pem",
    "private-key": "/host.key",
    "trust-anchor-arn": f"{ARN}:trust-anchor/11111111-2222-3333-4444-555555555555",
    "profile-arn": f"{ARN}:profile/11111111-2222-3333-4444-555555555555",
    "role-arn": "arn:aws:iam::111122223333:role/Deploy",
}


def loaded(**flags: str | list[str]) -> LoadedSettings:
    given = FLAGS | {name.replace("_", "-"): value for name, value in flags.items()}
    return load_session(given, Surroundings({"HOME": "/home/me"}, "/"), lambda _path, _what: None)


def named(settings: LoadedSettings, *, agent: str | None = None, source_agent: str | None = None) -> LoadedSettings:
    own = replace(settings.settings, name="customer", first_name="first")
    return replace(settings, settings=own, agent_socket=agent, source_agent_socket=source_agent)


def test_it_is_one_session_at_one_endpoint_on_this_machine_for_this_user() -> None:
    made = serve_one(loaded(), "/run/x/token", tells_users=True)

    [session], [endpoint], [listener] = made.sessions, made.containers, made.container_listeners
    assert (endpoint.session, endpoint.token_file) == (session.name, "/run/x/token")
    assert (listener.host, listener.port) == ("127.0.0.1", 0)
    assert (session.access.users, session.access.groups) == ((), ())
    assert not any((made.imds, made.agent, made.metrics, made.updates, made.ready_file))


def test_where_users_cannot_be_told_the_token_decides() -> None:
    made = serve_one(loaded(assume_role_arn=["arn:aws:iam::444455556666:role/Next"]), "/token", tells_users=False)

    assert [session.access.users for session in made.sessions] == [("*",), ("*",)]
    assert [session.is_source_only for session in made.sessions] == [False, True]


def test_the_session_before_a_role_that_was_typed_has_a_name_of_its_own() -> None:
    chain = named(loaded(assume_role_arn=["arn:aws:iam::444455556666:role/Next"]), source_agent="/run/a.sock")
    same = replace(chain, settings=replace(chain.settings, name="first"))

    made = serve_one(same, "/token", tells_users=True)

    assert [session.name for session in made.sessions] == ["first", "first/0"]
    assert made.agents_to_ask == (("first/0", "first", "/run/a.sock"),)


def test_the_variables_of_certificate_and_key_reach_the_process_that_signs() -> None:
    made = serve_one(loaded(private_key="env:KEY", certificate="env:CERTIFICATE"), "/token", tells_users=True)

    assert made.identity_variables == {"KEY", "CERTIFICATE"}
    assert serve_one(loaded(), "/token", tells_users=True).identity_variables == frozenset()


def test_what_can_be_read_once_is_refused() -> None:
    with pytest.raises(UsageError, match="can be read once"):
        identities(loaded(private_key="fd:3"))


def test_a_daemon_is_asked_for_what_it_knows_by_name() -> None:
    chain = loaded(assume_role_arn=["arn:aws:iam::444455556666:role/Next"])

    assert serve_one(loaded(), "/token", tells_users=True).agents_to_ask == ()
    whole = named(chain, agent="/run/a.sock")
    assert serve_one(whole, "/token", tells_users=True).agents_to_ask == (("customer", "customer", "/run/a.sock"),)
    begun = named(chain, source_agent="/run/a.sock")
    assert serve_one(begun, "/token", tells_users=True).agents_to_ask == (("first", "first", "/run/a.sock"),)
