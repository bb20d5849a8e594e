"""From flags, environment and file to a daemon: what is served, where, to whom, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.config.environment import DAEMON_VARIABLES, VARIABLES, Surroundings
from rolesanywhere_helper.config.load import load_session
from rolesanywhere_helper.config.serve import load_serve
from rolesanywhere_helper.config.serve_keys import SERVE_KEYS
from rolesanywhere_helper.config.serve_settings import (
    AccessSettings,
    AgentSettings,
    ContainerSettings,
    ImdsSettings,
    Listener,
    UpdateSettings,
)
from rolesanywhere_helper.errors import ConfigurationError, InvalidParameterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.config.serve_settings import ServeSettings

ANCHOR = "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/11111111-2222-3333-4444-555555555555"
PROFILE = "arn:aws:rolesanywhere:eu-central-1:111122223333:profile/11111111-2222-3333-4444-555555555555"
ROLE = "arn:aws:iam::111122223333:role/Deploy"
FILE = "/etc/rolesanywhere-helper/config.toml"
Flags = dict[str, object]

HOST = """
[identity.host]
certificate = "/etc/pki/tls/host.pem"
private-key = "/etc/pki/tls/host.key"
"""


def session(name: str, more: str = "") -> str:
    return f"""
[session.{name}]
identity = "host"
trust-anchor-arn = "{ANCHOR}"
profile-arn = "{PROFILE}"
role-arn = "{ROLE}"
{more}
"""


ONE = HOST + session("deploy")
TWO = ONE + session("other")

# As the specification of the command line shows it.
EXAMPLE = """
[identity.host]
certificate = "/etc/pki/tls/host.pem"        # a full chain is fine
private-key = "/etc/pki/tls/host.key"

[session.deploy]
identity = "host"
trust-anchor-arn = "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/…"
profile-arn = "arn:aws:rolesanywhere:eu-central-1:111122223333:profile/…"
role-arn = "arn:aws:iam::111122223333:role/Deploy"
duration = "1h"
allow-users = ["gitlab-runner"]

[session.customer]
source = "deploy"
assume-role-arn = "arn:aws:iam::444455556666:role/Consultant"
external-id = "agreed-4711"

[serve.imds.main]
session = "deploy"
listen = ["127.0.0.1:9911"]

[serve.container.customer]
session = "customer"
token-file = "/run/rolesanywhere-helper/customer.token"
token-group = "customer-app"

[serve.agent]
socket = "/run/rolesanywhere-helper/agent.sock"

[update.legacy-agent]
session = "deploy"
file = "/var/lib/agent/credentials"
profile = "default"
"""


def load(
    flags: Flags | None = None,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    is_root: bool = False,
    passed: tuple[str, ...] = (),
) -> ServeSettings:
    variables = {"HOME": "/home/me"} | dict(environment or {})

    def read(path: str, _what: str) -> bytes | None:
        return text.encode() if text is not None and path == FILE else None

    surroundings = Surroundings(variables, "/here", is_root=is_root)
    return load_serve(flags or {}, surroundings, read, passed=frozenset(passed))


def names(settings: ServeSettings) -> list[str]:
    return [served.name for served in settings.sessions]


def addresses(settings: ServeSettings) -> list[tuple[str, int]]:
    return [(listener.host, listener.port) for endpoint in settings.imds for listener in endpoint.listeners]


# Flags alone


def test_flags_alone_serve_imds_on_loopback(complete: Flags) -> None:
    settings = load(complete)

    assert names(settings) == ["default"]
    assert settings.imds == (ImdsSettings("default", "default", (Listener("127.0.0.1", 9911),)),)
    assert settings.sessions[0].settings.identity.private_key == "/here/host.key"
    assert settings.sessions[0].access == AccessSettings()
    assert (settings.containers, settings.agent, settings.metrics, settings.ready_file) == ((), None, None, None)
    assert settings.consulted == ()
    assert settings.warnings == ()


def test_what_flags_can_say(complete: Flags) -> None:
    typed: Flags = {
        "port": "0",
        "bind": ["127.0.0.1", "::1", "[::1]"],
        "hop-limit": "2",
        "container-port": "9000",
        "agent-socket": "agent.sock",
        "allow-user": ["alice", "1000"],
        "allow-group": ["deployers"],
        "metrics-port": "9100",
        "ready-file": "ready.json",
        "start-jitter": "5m",
    }

    settings = load(complete | typed, environment={"XDG_RUNTIME_DIR": "/run/user/7"})

    assert addresses(settings) == [("127.0.0.1", 0), ("::1", 0)]
    assert settings.imds[0].listeners[0].hop_limit == 2
    assert settings.containers == (
        ContainerSettings("default", "default", "/run/user/7/rolesanywhere-helper/default.token"),
    )
    assert settings.container_listeners == (
        Listener("127.0.0.1", 9000, hop_limit=2),
        Listener("::1", 9000, hop_limit=2),
    )
    assert settings.agent == AgentSettings("/here/agent.sock")
    assert settings.sessions[0].access == AccessSettings(("alice", "1000"), ("deployers",))
    assert settings.metrics == Listener("127.0.0.1", 9100, hop_limit=2)
    assert settings.ready_file == "/here/ready.json"
    assert settings.start_jitter_seconds == 300


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ({"port": "65536"}, "--port is not a port: '65536'"),
        ({"port": "http"}, "--port is not a port"),
        ({"port": "-1"}, "--port is not a port"),
        ({"container-port": "x"}, "--container-port is not a port"),
        ({"metrics-port": "1e3"}, "--metrics-port is not a port"),
        ({"bind": ["example.com"]}, "--bind is not an address: 'example.com'"),
        ({"bind": ["127.0.0.1:80"]}, "--bind is not an address"),
        ({"bind": ["224.0.0.1"]}, "--bind is not an address"),
        ({"bind": ["fe80::1%eth0"]}, "--bind is not an address"),
        ({"bind": ["::ffff:127.0.0.1"]}, "an IPv4 address in the form of IPv6"),
        ({"hop-limit": "0"}, "--hop-limit is not a hop limit"),
        ({"hop-limit": "256"}, "--hop-limit is not a hop limit"),
        ({"hop-limit": "many"}, "--hop-limit is not a number"),
        ({"start-jitter": "soon"}, "not a duration"),
        ({"start-jitter": "25h"}, "cannot be put off"),
        ({"allow-group": ["*"]}, "names the group *"),
        ({"agent-socket": "/" + "x" * 107}, "--agent-socket is too long"),
        ({"agent-socket": "a\0b"}, "--agent-socket is not the path"),
        ({"ready-file": "\0"}, "--ready-file is not the path"),
        ({"port": "9911", "metrics-port": "9911"}, "metrics and IMDS endpoint default would both listen at 127.0.0.1"),
        ({"container-port": "9911"}, "the container endpoint and IMDS endpoint default would both listen"),
    ],
)
def test_a_flag_that_has_no_meaning_is_refused(flags: Flags, what: str, complete: Flags) -> None:
    with pytest.raises(UsageError) as caught:
        load(complete | flags)

    assert what in caught.value.what
    assert caught.value.hint


def test_the_longest_socket_path_is_taken(complete: Flags) -> None:
    assert load(complete | {"agent-socket": "/" + "x" * 106}).agent is not None


def test_two_endpoints_that_each_pick_a_free_port_do_not_collide(complete: Flags) -> None:
    assert load(complete | {"port": "0", "container-port": "0", "metrics-port": "0"}).metrics is not None


def test_what_a_session_lacks_is_named(complete: Flags) -> None:
    with pytest.raises(UsageError, match="missing: --certificate"):
        load({name: value for name, value in complete.items() if name != "certificate"})


# Keys that the serving process would hold


@pytest.mark.parametrize("key", ["env:KEY", "fd:3", "ENV:KEY"])
def test_a_key_that_only_the_serving_process_could_read_is_refused(key: str, complete: Flags) -> None:
    with pytest.raises(UsageError, match="must not hold the key") as caught:
        load(complete | {"private-key": key})
    assert "LoadCredential=" in caught.value.hint
    assert key not in caught.value.what
    rest = {name: value for name, value in complete.items() if name != "private-key"}
    with pytest.raises(UsageError, match="private-key of session default"):
        load(rest, environment={"ROLESANYWHERE_HELPER_PRIVATE_KEY": key})
    with pytest.raises(UsageError, match="private-key of session deploy"):
        load(text=ONE.replace("/etc/pki/tls/host.key", key))
    with pytest.raises(UsageError, match="certificate of session deploy"):
        load(text=HOST + session("deploy", f"certificate = '{key}'"))
    assert load(complete | {"private-key": "command:/bin/x"}).sessions[0].settings.identity.private_key


# A file without endpoints


def test_a_file_with_one_session_serves_it_on_imds() -> None:
    settings = load(text=ONE)

    assert settings.imds == (ImdsSettings("deploy", "deploy", (Listener("127.0.0.1", 9911),)),)
    assert settings.consulted[-1].path == FILE


def test_of_several_sessions_one_must_be_chosen_or_given_an_endpoint() -> None:
    with pytest.raises(UsageError) as caught:
        load(text=TWO)

    assert "deploy, other" in caught.value.what
    assert "--session" in caught.value.hint
    assert names(load({"session": "other"}, TWO)) == ["other"]
    assert names(load(text=TWO, environment={"ROLESANYWHERE_HELPER_SESSION": "other"})) == ["other"]


def test_an_agent_alone_serves_all_sessions() -> None:
    for settings in (load({"agent-socket": "/a"}, TWO), load(text=TWO + "[serve.agent]\nsocket = '/a'\n")):
        assert names(settings) == ["deploy", "other"]
        assert settings.imds == ()
        assert settings.agent == AgentSettings("/a")


def test_containers_for_all_sessions() -> None:
    settings = load({"container-port": "0"}, TWO, is_root=True)

    assert [container.token_file for container in settings.containers] == [
        "/run/rolesanywhere-helper/deploy.token",
        "/run/rolesanywhere-helper/other.token",
    ]
    assert settings.imds == ()


def test_a_session_that_is_not_there_is_met_with_its_neighbour() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"session": "deplyo"}, ONE)

    assert caught.value.hint == "did you mean deploy?"


# A file with endpoints


def test_the_example_of_the_specification() -> None:
    settings = load(text=EXAMPLE)

    assert names(settings) == ["deploy", "customer"]
    assert settings.imds == (ImdsSettings("main", "deploy", (Listener("127.0.0.1", 9911),)),)
    assert settings.sessions[0].access == AccessSettings(("gitlab-runner",))
    assert settings.sessions[0].settings == settings.sessions[1].settings.source
    assert settings.agent == AgentSettings("/run/rolesanywhere-helper/agent.sock")
    assert [endpoint.session for endpoint in settings.containers] == ["customer"]
    assert names(load({"session": "deploy"}, EXAMPLE)) == ["deploy"]
    assert settings.updates == (UpdateSettings("legacy-agent", "deploy", "/var/lib/agent/credentials", "default"),)


def test_a_file_is_enough_to_serve_a_session_and_opens_no_endpoint() -> None:
    settings = load(text=ONE + "[update.x]\nfile = '~/.aws/credentials'\n")

    assert (names(settings), settings.imds) == (["deploy"], ())
    assert settings.updates == (UpdateSettings("x", "deploy", "/home/me/.aws/credentials", "default"),)


@pytest.mark.parametrize(
    ("update", "error"),
    [
        ("[update.x]\nprofile = 'p'\n", "[update.x] of /etc/rolesanywhere-helper/config.toml has no file"),
        ("[update.x]\nfile = '/f'\nprofile = '[p]'\n", "cannot be the name of a profile"),
        ("[update.x]\nfile = '/f'\nsession = 'none'\n", "names the session 'none'"),
        ("[update.'a/b']\nfile = '/f'\n", "cannot be served under this name"),
        ("[update.x]\nfile = '/f'\n[update.y]\nfile = '/f'\n", "are the same profile default of /f"),
    ],
)
def test_a_file_that_has_no_meaning_is_refused(update: str, error: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(text=ONE + update)

    assert error in str(caught.value)


def test_who_may_have_the_first_session_may_not_have_the_one_that_goes_on_from_it() -> None:
    settings = load(text=EXAMPLE)

    assert settings.sessions[1].access == AccessSettings()


def test_only_what_an_endpoint_hands_out_is_kept_warm() -> None:
    imds = "[serve.imds.main]\nsession = 'other'\n"

    assert names(load(text=TWO + imds)) == ["other"]
    assert names(load(text=TWO + imds + "[serve.agent]\nsocket = '/a'\n")) == ["deploy", "other"]


def test_choosing_a_session_leaves_the_endpoints_of_others_out() -> None:
    text = TWO + "[serve.imds.a]\nsession = 'deploy'\n[serve.imds.b]\nsession = 'other'\nlisten = ['127.0.0.1:1']\n"

    assert [endpoint.name for endpoint in load(text=text).imds] == ["a", "b"]
    assert load({"session": "other"}, text).imds == (ImdsSettings("b", "other", (Listener("127.0.0.1", 1),)),)


def test_a_chosen_session_without_an_endpoint_of_its_own_gets_imds() -> None:
    text = TWO + "[serve.imds.a]\nsession = 'deploy'\nlisten = ['127.0.0.1:1']\n"

    assert load({"session": "other"}, text).imds == (ImdsSettings("other", "other", (Listener("127.0.0.1", 9911),)),)


EVERYTHING = f"""
{ONE}
[serve]
container-listen = ["localhost:1000", "[::1]"]
container-allowed-hosts = ["Host.Docker.Internal"]
hop-limit = 3
start-jitter = 60
ready-file = "ready.json"
log-format = "json"
log-file = "~/log"

[serve.imds.main]
listen = ["127.0.0.1:1001", "[::1]:1002"]
hop-limit = 4
allowed-hosts = ["a", "a"]

[serve.container.app]
token-group = "app"

[serve.agent]
socket = "~/agent.sock"

[serve.metrics]
listen = "127.0.0.1"
socket = "metrics.sock"
allowed-hosts = ["m"]
"""


# Sockets that systemd passed


@pytest.mark.promise(79)
def test_passed_sockets_are_enough_to_serve_the_only_session(complete: Flags) -> None:
    passed = ("imds-main", "container", "agent", "metrics")
    served = load(text=ONE, passed=passed)

    assert [(each.name, each.session) for each in served.imds] == [("main", "deploy")]
    assert served.containers == (ContainerSettings("deploy", "deploy", served.containers[0].token_file),)
    assert served.agent == AgentSettings(None)
    assert served.metrics == Listener("127.0.0.1", 0)
    of_flags = load(complete, passed=passed)
    assert [(each.name, each.session) for each in of_flags.imds] == [("main", "default")]
    assert of_flags.agent == AgentSettings(None)

    alone = load(text=ONE)  # the negative control
    assert [each.name for each in alone.imds] == ["deploy"]
    assert (alone.containers, alone.agent, alone.metrics) == ((), None, None)


@pytest.mark.promise(79)
def test_a_passed_socket_takes_the_place_of_the_endpoint_that_is_there_by_default() -> None:
    assert load(text=ONE, passed=("agent",)).imds == ()
    assert load(text=ONE, passed=("container",)).imds == ()
    assert addresses(load(text=ONE, passed=("imds-main",))) == [("127.0.0.1", 0)]
    # Nobody has credentials of the metrics, and a port that was typed is asked for.
    assert addresses(load(text=ONE, passed=("metrics",))) == [("127.0.0.1", 9911)]
    assert addresses(load({"port": "9921"}, ONE, passed=("agent",))) == [("127.0.0.1", 9921)]


@pytest.mark.promise(79)
def test_of_several_sessions_a_passed_imds_socket_names_one() -> None:
    named = load(text=TWO, passed=("imds-other", "imds-elsewhere", "imds-.."))
    assert [(each.name, each.session) for each in named.imds] == [("other", "other")]
    with pytest.raises(UsageError, match="nothing says which one to serve"):
        load(text=TWO, passed=("imds-elsewhere",))
    # What is for a session that was not chosen is not for the one that was, and a table knows best.
    table = '[serve.imds.main]\nsession = "other"\n'
    chosen = load({"session": "deploy"}, TWO + table, passed=("imds-main", "imds-other", "agent"))
    assert (chosen.imds, names(chosen)) == ((), ["deploy"])
    assert [each.session for each in load(text=TWO + table, passed=("imds-main",)).imds] == ["other"]


@pytest.mark.promise(79)
def test_a_passed_container_socket_has_each_session_or_those_of_its_tables() -> None:
    assert [each.name for each in load(text=TWO, passed=("container",)).containers] == ["deploy", "other"]
    table = '[serve]\ncontainer-allow-from = ["10.0.0.0/8"]\n[serve.container.app]\nsession = "other"\n'
    served = load(text=TWO + table, passed=("container",))
    assert [(each.name, each.session) for each in served.containers] == [("app", "other")]
    assert served.container_listeners == (Listener("127.0.0.1", 0, ("10.0.0.0/8",)),)


@pytest.mark.promise(79)
def test_a_table_without_an_address_is_enough_beside_a_passed_socket() -> None:
    tables = "[serve.imds.a]\n[serve.imds.b]\n[serve.agent]\n[serve.metrics]\nallowed-hosts = ['monitor']\n"
    served = load(text=ONE + tables, passed=("imds-a", "imds-b", "agent", "metrics"))
    assert [each.name for each in served.imds] == ["a", "b"]
    assert served.agent == AgentSettings(None)
    assert served.metrics == Listener("127.0.0.1", 0, allowed_hosts=("monitor",))
    without_imds = ONE + tables.partition("[serve.agent]")[1] + "\n"
    with pytest.raises(ConfigurationError, match="has no socket"):
        load(text=without_imds)
    with pytest.raises(UsageError, match="would both listen"):
        load(text=ONE + tables.partition("[serve.agent]")[0])


def test_what_the_file_can_say() -> None:
    settings = load(text=EVERYTHING, environment={"RUNTIME_DIRECTORY": "/run/x:/run/y"})

    assert settings.imds[0].listeners == (
        Listener("127.0.0.1", 1001, allowed_hosts=("a",), hop_limit=4),
        Listener("::1", 1002, allowed_hosts=("a",), hop_limit=4),
    )
    assert settings.containers == (ContainerSettings("app", "deploy", "/run/x/app.token", "app"),)
    assert settings.container_listeners == (
        Listener("127.0.0.1", 1000, allowed_hosts=("host.docker.internal",), hop_limit=3),
        Listener("::1", 9912, allowed_hosts=("host.docker.internal",), hop_limit=3),
    )
    assert settings.agent == AgentSettings("/home/me/agent.sock")
    assert settings.metrics == Listener("127.0.0.1", 9913, allowed_hosts=("m",), hop_limit=3)
    assert settings.metrics_socket == "/etc/rolesanywhere-helper/metrics.sock"
    assert settings.start_jitter_seconds == 60
    assert settings.ready_file == "/etc/rolesanywhere-helper/ready.json"
    assert (settings.log_format, settings.log_file) == ("json", "/home/me/log")
    assert settings.runtime_directory == "/run/x"


def test_a_flag_wins_over_the_file() -> None:
    flags: Flags = {
        "port": "2000",
        "hop-limit": "9",
        "container-port": "2001",
        "agent-socket": "/b",
        "metrics-port": "2002",
        "ready-file": "/r",
        "start-jitter": "0",
        "allow-user": ["bob"],
    }

    settings = load(flags, EVERYTHING.replace("[serve]\n", "[serve]\n") + "")

    assert addresses(settings) == [("127.0.0.1", 2000), ("::1", 2000)]
    assert {listener.hop_limit for listener in settings.imds[0].listeners} == {9}
    assert [(each.host, each.port) for each in settings.container_listeners] == [("127.0.0.1", 2001), ("::1", 2001)]
    assert settings.containers[0].name == "app"
    assert settings.agent == AgentSettings("/b")
    assert settings.metrics is not None
    assert settings.metrics.port == 2002
    assert (settings.ready_file, settings.start_jitter_seconds) == ("/r", 0)
    assert settings.sessions[0].access == AccessSettings(("bob",))


def test_bind_keeps_the_files_port_and_rules() -> None:
    text = ONE + (
        "[serve.imds.main]\nlisten = ['127.0.0.1:1']\nallow-from = ['10.0.0.0/8']\nserve-imds-to-the-network = true\n"
    )

    assert load({"bind": ["10.1.1.1"]}, text).imds[0].listeners == (
        Listener("10.1.1.1", 1, ("10.0.0.0/8",), allow_imds_from_network=True),
    )


@pytest.mark.parametrize("flags", [{"port": "1"}, {"bind": ["::1"]}])
def test_one_address_cannot_be_typed_for_two_endpoints(flags: Flags) -> None:
    text = ONE + "[serve.imds.a]\n[serve.imds.b]\nlisten = ['127.0.0.1:1']\n"

    with pytest.raises(UsageError, match="for one IMDS endpoint, but there are 2: a, b"):
        load(flags, text)


@pytest.mark.parametrize(
    "flags",
    [{"role-session-name": "someone"}, {"allow-user": ["x"]}, {"allow-group": ["x"]}, {"role-arn": ROLE}],
)
def test_what_is_typed_for_one_session_is_not_meant_for_all(flags: Flags) -> None:
    text = TWO + "[serve.agent]\nsocket = '/a'\n"
    environment = {"ROLESANYWHERE_HELPER_CONFIG": FILE}

    with pytest.raises(UsageError, match="is for one session, but 2 are served: deploy, other"):
        load(flags, text, environment)
    assert names(load(flags | {"session": "other"}, text, environment)) == ["other"]


def test_an_endpoint_typed_for_all_sessions_is_for_all() -> None:
    settings = load({"endpoint": "http://127.0.0.1:1"}, TWO + "[serve.agent]\nsocket = '/a'\n")

    assert {str(each.settings.connection.endpoint) for each in settings.sessions} == {"http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("[serve.imds.a]\nsession = 'deplyo'\n", "names the session 'deplyo'", "did you mean deploy?"),
        ("[serve.container.a]\nsession = 'x'\n", "names the session 'x'", "there is: deploy, other"),
        ("[serve.imds.a]\n", "[serve.imds.a] of /etc/rolesanywhere-helper/config.toml names no session", "deploy"),
        ("[serve.imds.a]\nsession = 3\n", "session in [serve.imds.a]", ""),
        ("[serve.imds.'a/b']\nsession = 'deploy'\n", "cannot be served under this name", "letters"),
        ("[serve.container.'..']\nsession = 'deploy'\n", "cannot be served under this name", "letters"),
        ("[serve.container.'a b']\nsession = 'deploy'\n", "cannot be served under this name", "letters"),
        ("[serve.agent]\n", "[serve.agent] of /etc/rolesanywhere-helper/config.toml has no socket", "socket ="),
        ("[serve.metrics]\n", "has neither listen nor socket", "listen ="),
        ("[serve.imds.a]\nsession = 'deploy'\nlisten = []\n", "listen in [serve.imds.a] of", "127.0.0.1:9911"),
        ("[serve.imds.a]\nsession = 'deploy'\nlisten = 9911\n", "must be a list of strings", ""),
        ("[serve.imds.a]\nsession = 'deploy'\nlisten = ['a:1']\n", "is not an address: 'a'", "127.0.0.1"),
        ("[serve.imds.a]\nsession = 'deploy'\nlisten = ['[::1']\n", "is not an address: '[::1'", ""),
        ("[serve.imds.a]\nsession = 'deploy'\nlisten = ['[::1]1']\n", "is not an address", ""),
        ("[serve.imds.a]\nsession = 'deploy'\nlisten = ['127.0.0.1:']\n", "is not a port", "65535"),
        ("[serve.imds.a]\nsession = 'deploy'\nallow-from = ['x']\n", "is not a network: 'x'", "10.0.0.0/8"),
        ("[serve.imds.a]\nsession = 'deploy'\nallow-from = ['10.0.0.1/8']\n", "inside a network", "write 10.0.0.0/8"),
        ("[serve.imds.a]\nsession = 'deploy'\nallowed-hosts = ['*']\n", "not the name of a host", "wildcards"),
        ("[serve.imds.a]\nsession = 'deploy'\nallowed-hosts = ['a:1']\n", "not the name of a host", "port"),
        ("[serve.imds.a]\nsession = 'deploy'\nhop-limit = 0\n", "hop-limit in [serve.imds.a]", "255"),
        ("[serve.imds.a]\nsession = 'deploy'\nhop-limit = '1'\n", "must be a whole number", ""),
        ("[serve.imds.a]\nsession = 'deploy'\nserve-imds-to-the-network = 1\n", "must be true or false", ""),
        ("[serve.metrics]\nlisten = ['127.0.0.1:1', '[::1]:1']\n[serve.agent]\nsocket = '/a'\n", "one address", ""),
        ("[serve]\nstart-jitter = -1\n[serve.agent]\nsocket = '/a'\n", "cannot be put off by -1 seconds", ""),
        ("[serve]\nstart-jitter = true\n[serve.agent]\nsocket = '/a'\n", "must be a whole number", ""),
        ("[serve]\nlog-format = 'xml'\n[serve.agent]\nsocket = '/a'\n", "must be one of: text, json", ""),
        (f"[serve.agent]\nsocket = '/{'x' * 107}'\n", "socket in [serve.agent] of", "107"),
        ("[serve.agent]\nsocket = '/a'\n[serve.metrics]\nsocket = '/a'\n", "are the same file: /a", "its own"),
        (
            "[serve.imds.a]\nsession = 'deploy'\n[serve.imds.b]\nsession = 'other'\n",
            "IMDS endpoint b and IMDS endpoint a would both listen at 127.0.0.1:9911",
            "port of its own",
        ),
        (
            "".join(f"[serve.container.{name}]\nsession = 'deploy'\ntoken-file = '/t'\n" for name in "ab"),
            "are the same file: /t",
            "its own",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, what: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(text=TWO + text, is_root=True)

    assert what in caught.value.what
    assert hint in caught.value.hint


def test_a_wildcard_address_takes_the_port_of_all_others() -> None:
    open_imds = "allow-from = ['10.0.0.0/8']\nserve-imds-to-the-network = true\n"
    text = TWO + f"[serve.imds.a]\nsession = 'deploy'\nlisten = ['0.0.0.0:1']\n{open_imds}"

    with pytest.raises(UsageError, match="would both listen"):
        load(text=text + "[serve.imds.b]\nsession = 'other'\nlisten = ['127.0.0.1:1']\n")
    # IPv6 listeners are for IPv6 alone
    assert load(text=text + "[serve.imds.b]\nsession = 'other'\nlisten = ['[::1]:1']\n").imds


def test_a_session_whose_name_cannot_be_in_a_path_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be served under this name"):
        load(text=HOST + session("'a b'"))


def test_a_name_cannot_be_given_twice() -> None:
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load(text=ONE + "[serve.container.a]\n[serve.container.a]\n")


@pytest.mark.parametrize("key", SERVE_KEYS, ids=lambda key: f"{key.table}-{key.name}")
def test_every_example_in_the_table_is_accepted(key: object) -> None:
    table, name, example = key.table, key.name, key.example  # type: ignore[attr-defined]
    tables = {
        "session.NAME": session("deploy"),
        "serve": "[serve]\n",
        "serve.imds.NAME": "[serve.imds.main]\n",
        "serve.container.NAME": "[serve.container.main]\n",
        "serve.agent": "[serve.agent]\n",
        "serve.metrics": "[serve.metrics]\n",
        "serve.load-credential": "[serve.load-credential]\n"
        + ("socket = '/s'\n" if name == "units" else "units = { 'app.service' = 'NAME' }\n"),
        "update.NAME": "[update.main]\n" + ("" if name == "file" else "file = '/f'\n"),
    }
    tables[table] += f"{name} = {example}\n"
    if table == "serve.metrics" and name not in {"listen", "socket"}:
        tables[table] += 'listen = "127.0.0.1:9913"\n'
    kept = [text for title, text in tables.items() if title in {table, "session.NAME"}]
    if table == "serve.load-credential":
        kept.append("[serve.container.NAME]\n")

    assert load(text=HOST + "\n".join(kept), is_root=True).sessions
    with pytest.raises(UsageError):
        load(text=HOST + "\n".join(kept).replace(f"{name} = {example}", f"{name} = 1979-05-27"), is_root=True)


# LoadCredential=

UNITS = """
[serve.container.app]
session = "deploy"
token-file = "/t"
[serve.container.two]
session = "other"
token-file = "/u"
[serve.load-credential]
socket = "credentials.sock"
units = { "app.service" = "app", "worker@blue.service" = "two" }
"""


def test_units_are_given_tokens_of_container_endpoints_that_are_served() -> None:
    made = load(text=TWO + UNITS).load_credential
    one = load({"session": "deploy"}, text=TWO + UNITS).load_credential

    assert made is not None
    assert one is not None
    assert made.socket == "/etc/rolesanywhere-helper/credentials.sock"
    assert made.units == (("app.service", "app"), ("worker@blue.service", "two"))
    assert one.units == (("app.service", "app"),)
    assert load(text=TWO + UNITS.partition("[serve.load")[0]).load_credential is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('socket = "credentials.sock"', "", "has no socket"),
        ('socket = "credentials.sock"', "socket = '/t'", "are the same file"),
        ('socket = "credentials.sock"', f"socket = '/{'s' * 108}'", "too long"),
        ('{ "app.service" = "app", "worker@blue.service" = "two" }', "{}", "has no units"),
        ('= "app",', '= "ap",', "no .serve.container.ap."),
        ('= "app",', "= 1,", "must be a table of strings"),
        ('"app.service"', '"app"', "no unit"),
        ('"app.service"', '"*.service"', "no unit"),
        ('"app.service"', '"a/b.service"', "no unit"),
        ("units", "unit", "unknown key"),
    ],
)
def test_what_units_cannot_be_given_is_told(old: str, new: str, said: str) -> None:
    assert old in UNITS
    with pytest.raises(UsageError, match=said):
        load(text=TWO + UNITS.replace(old, new, 1))


# The network (promise 16)


@pytest.mark.promise(16)
@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "[::]", "[2001:db8::1]", "169.254.170.2", "169.254.169.254"])  # noqa: S104 - it is to be refused
def test_who_may_connect_from_the_network_must_be_said(host: str, complete: Flags) -> None:
    with pytest.raises(UsageError, match="nothing says who may connect") as caught:
        load(complete | {"bind": [host]})
    assert "allow-from = " in caught.value.hint

    for text, key in (
        (f"[serve.imds.main]\nlisten = ['{host}:9911']\n", "allow-from"),
        (f"[serve]\ncontainer-listen = ['{host}:9912']\n[serve.container.main]\n", "container-allow-from"),
        (f"[serve.metrics]\nlisten = '{host}:9913'\n", "allow-from"),
    ):
        for networks in ("", f"\n{key} = []"):
            open_ended = text.replace("']", "']" + networks).replace("'\n", "'" + networks + "\n")
            with pytest.raises(UsageError, match="nothing says who may connect") as caught:
                load(text=ONE + open_ended, is_root=True)
            assert f"{key} = " in caught.value.hint


@pytest.mark.promise(16)
def test_imds_on_the_network_must_be_said_twice() -> None:
    text = ONE + "[serve.imds.main]\nlisten = ['10.1.2.3:9911', '127.0.0.1:9911']\nallow-from = ['10.0.0.0/8']\n"

    with pytest.raises(UsageError, match=r"would give credentials to other machines at 10\.1\.2\.3:9911") as caught:
        load(text=text)
    assert "serve-imds-to-the-network = true" in caught.value.hint
    settings = load(text=text + "serve-imds-to-the-network = true\n")
    assert settings.imds[0].listeners == (
        Listener("10.1.2.3", 9911, ("10.0.0.0/8",), allow_imds_from_network=True),
        Listener("127.0.0.1", 9911),
    )
    assert "OTHER MACHINES at 10.1.2.3" in settings.warnings[0]


@pytest.mark.promise(16)
def test_the_container_endpoint_and_metrics_need_only_the_networks() -> None:
    text = f"""{ONE}
[serve]
container-listen = ["169.254.170.2:80"]
container-allow-from = ["169.254.170.2", "fd00::/8"]
[serve.container.main]
[serve.metrics]
listen = "10.1.2.3:9913"
allow-from = ["10.0.0.0/8", "10.0.0.0/8"]
"""
    settings = load(text=text, is_root=True)

    assert settings.container_listeners == (Listener("169.254.170.2", 80, ("169.254.170.2/32", "fd00::/8")),)
    assert settings.metrics == Listener("10.1.2.3", 9913, ("10.0.0.0/8",))


# Who may have a session


def test_who_is_let_in_can_be_names_and_numbers() -> None:
    more = "allow-users = ['alice', 1000]\nallow-groups = 'deployers'"

    assert load(text=HOST + session("deploy", more)).sessions[0].access == AccessSettings(
        ("alice", "1000"), ("deployers",)
    )


@pytest.mark.parametrize(
    "more",
    ["allow-users = true", "allow-users = ['']", "allow-users = [-1]", "allow-groups = [1.5]", "allow-groups = ['*']"],
)
def test_who_is_let_in_must_be_named(more: str) -> None:
    with pytest.raises(UsageError, match="allow-"):
        load(text=HOST + session("deploy", more))


@pytest.mark.promise(26)
def test_a_session_for_everybody_is_told(complete: Flags) -> None:
    for settings in (
        load(complete | {"allow-user": ["*"]}),
        load(text=HOST + session("deploy", "allow-users = ['*']")),
    ):
        assert settings.sessions[0].access.users == ("*",)
        assert "every user of this machine" in settings.warnings[0]


# What else a session brings


@pytest.mark.parametrize(("duration", "is_short"), [("2699", True), ("45m", False), ("1h", False), ("900", True)])
def test_a_short_session_on_imds_is_warned_of(duration: str, is_short: bool, complete: Flags) -> None:  # noqa: FBT001 - a column
    settings = load(complete | {"session-duration": duration})

    assert any("botocore" in warning for warning in settings.warnings) is is_short
    agent_alone = load(
        text=TWO.replace("[session.other]", "[session.other]\nduration = 900"), flags={"agent-socket": "/a"}
    )
    assert agent_alone.warnings == ()


def test_the_region_that_is_answered() -> None:
    text = HOST + session("deploy", "region = 'eu-west-1'")

    assert load(text=ONE).sessions[0].region == "eu-central-1"
    assert load(text=text).sessions[0].region == "eu-west-1"
    served = load(text=text, environment={"AWS_REGION": "us-east-1"}).sessions[0]
    assert served.region == "us-east-1"
    assert served.settings.spec.region == "eu-west-1"
    with pytest.raises(InvalidParameterError, match="AWS_REGION"):
        load(text=text, environment={"AWS_REGION": "mars\r\n"})


def test_a_sessions_warnings_and_notes_name_it() -> None:
    settings = load({"no-verify-ssl": True, "with-proxy": True}, ONE, {"HTTPS_PROXY": "http://u:p@proxy:1"})

    assert settings.warnings[0].startswith("session deploy: the endpoint's TLS certificate is NOT verified")
    assert settings.notes == ("session deploy: CreateSession goes through the proxy http://proxy:1 (--with-proxy)",)


# Directories


@pytest.mark.parametrize(
    ("environment", "is_root", "expected"),
    [
        ({"RUNTIME_DIRECTORY": "/a:/b", "XDG_RUNTIME_DIR": "/x"}, True, "/a"),
        ({"RUNTIME_DIRECTORY": "a", "XDG_RUNTIME_DIR": "/x"}, False, "/x/rolesanywhere-helper"),
        ({"XDG_RUNTIME_DIR": "/x/"}, True, "/x/rolesanywhere-helper"),
        ({"XDG_RUNTIME_DIR": "x"}, True, "/run/rolesanywhere-helper"),
        ({"XDG_RUNTIME_DIR": "x"}, False, "/home/me/.cache/rolesanywhere-helper/run"),
        ({"ROLESANYWHERE_HELPER_CACHE_DIR": "/c"}, False, "/c/run"),
        ({"HOME": ""}, False, None),
    ],
)
def test_where_the_runtime_directory_is(
    environment: dict[str, str],
    is_root: bool,  # noqa: FBT001 - a column
    expected: str | None,
) -> None:
    assert load(text=ONE, environment=environment, is_root=is_root).runtime_directory == expected


def test_a_token_file_needs_a_place(complete: Flags) -> None:
    with pytest.raises(UsageError, match="no place for the token file"):
        load(complete | {"container-port": "0"}, environment={"HOME": ""})
    text = ONE + "[serve.container.a]\ntoken-file = '/t'\n"
    assert load(text=text, environment={"HOME": ""}).containers[0].token_file == "/t"


def test_no_variable_is_read_that_is_not_declared() -> None:
    read: set[str] = set()

    class Watched(dict[str, str]):
        def get(self, key: str, default: object = None) -> str:
            read.add(key)
            return super().get(key, default)  # type: ignore[arg-type]

    load_serve({}, Surroundings(Watched(HOME="/home/me"), "/"), lambda path, _: ONE.encode() if path == FILE else None)

    assert read <= VARIABLES | DAEMON_VARIABLES
    assert read >= DAEMON_VARIABLES


def test_one_session_is_the_same_to_both_loaders() -> None:
    surroundings = Surroundings({}, "/")

    served = load_serve({}, surroundings, lambda _path, _what: ONE.encode(), FILE).sessions[0].settings

    assert served == load_session({}, surroundings, lambda _path, _what: ONE.encode(), FILE).settings
