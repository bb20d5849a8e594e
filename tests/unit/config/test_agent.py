"""Which daemon is asked: the one that is named, or those at the usual places."""

from __future__ import annotations

import pytest

from rolesanywhere_helper.config.agent import AgentSockets, find_agent_sockets
from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.errors import ConfigurationError

FILE = "/etc/rolesanywhere-helper/config.toml"
NAMED = "[serve.agent]\nsocket = '/file.sock'\n"
VARIABLE = "ROLESANYWHERE_HELPER_AGENT_SOCKET"
SYSTEM = "/run/rolesanywhere-helper/agent.sock"


def find(flags: dict[str, object], environment: dict[str, str], text: str | None) -> AgentSockets:
    def read(path: str, _what: str) -> bytes | None:
        return text.encode() if text is not None and path == FILE else None

    return find_agent_sockets(flags, Surroundings(environment, "/here"), read)


@pytest.mark.parametrize(
    ("flags", "environment", "text", "expected"),
    [
        ({"agent-socket": "flag.sock"}, {VARIABLE: "/e"}, NAMED, "/here/flag.sock"),
        ({"agent-socket": ""}, {VARIABLE: "e"}, NAMED, "/here/e"),
        ({}, {VARIABLE: ""}, NAMED, "/file.sock"),
        ({"agent-socket": "/a"}, {}, "this is not TOML", "/a"),
    ],
)
def test_the_first_that_is_named_is_asked_alone(
    flags: dict[str, object], environment: dict[str, str], text: str, expected: str
) -> None:
    assert find(flags, environment, text) == AgentSockets((expected,), is_named=True)


@pytest.mark.parametrize("text", [None, "[serve.imds.main]\n"])
def test_the_usual_places_are_those_of_the_system_and_of_the_user(text: str | None) -> None:
    own = "/run/user/7/rolesanywhere-helper/agent.sock"

    assert find({}, {"XDG_RUNTIME_DIR": "/run/user/7"}, text) == AgentSockets((SYSTEM, own), is_named=False)
    assert find({}, {"XDG_RUNTIME_DIR": "relative"}, text) == AgentSockets((SYSTEM,), is_named=False)


def test_a_file_without_meaning_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="is not TOML"):
        find({}, {}, "this is not TOML")
