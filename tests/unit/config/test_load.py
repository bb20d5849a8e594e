"""Precedence, paths, the configuration file and what is read on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.config.environment import VARIABLES, Surroundings
from rolesanywhere_helper.config.flags import REQUIRED, SESSION_FLAGS, Flag, Kind
from rolesanywhere_helper.config.load import load_session
from rolesanywhere_helper.domain.identity_reference import SecretSource
from rolesanywhere_helper.errors import ConfigurationError, InvalidParameterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rolesanywhere_helper.config.settings import LoadedSettings

ANCHOR = "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/11111111-2222-3333-4444-555555555555"
PROFILE = "arn:aws:rolesanywhere:eu-central-1:111122223333:profile/11111111-2222-3333-4444-555555555555"
ROLE = "arn:aws:iam::111122223333:role/Deploy"
OWN_FILE = "/home/me/.config/rolesanywhere-helper/config.toml"
SYSTEM_FILE = "/etc/rolesanywhere-helper/config.toml"
Flags = dict[str, str | bool | list[str]]

SESSION = f"""
trust-anchor-arn = "{ANCHOR}"
profile-arn = "{PROFILE}"
role-arn = "{ROLE}"
"""
ONE = f"""
[identity.host]
certificate = "tls/host.pem"
private-key = "~/host.key"

[session.deploy]
identity = "host"
{SESSION}
"""


class Files:
    """Stands in for the disk, and notes what was asked for."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.asked: list[str] = []

    def __call__(self, path: str, what: str) -> bytes | None:
        assert what in {"configuration file", "CA bundle"}
        self.asked.append(path)
        return self.files[path].encode() if path in self.files else None


class Watched(dict[str, str]):
    """An environment that notes which names are looked up, and refuses to be walked through."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def get(self, key: str, default: object = None) -> str:
        self.read.add(key)
        return super().get(key, default)  # type: ignore[arg-type]

    def __getitem__(self, key: str) -> str:
        self.read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the loader must not walk through the environment")


def load(
    flags: Flags,
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    config: str | None = None,
) -> LoadedSettings:
    variables = {"HOME": "/home/me"} | dict(environment or {})
    return load_session(flags, Surroundings(variables, "/here"), Files(files or {}), config)


# Flags, environment, file


def test_flags_alone_are_enough_and_no_file_is_looked_at(complete: Flags) -> None:
    files = Files({OWN_FILE: "this is not TOML"})

    loaded = load_session(complete, Surroundings({"HOME": "/home/me"}, "/here"), files)

    assert loaded.settings.identity.certificate == "/here/host.pem"
    assert loaded.settings.identity.private_key == "/here/host.key"
    assert str(loaded.settings.spec.role_arn) == ROLE
    assert loaded.settings.spec.region == "eu-central-1"
    assert loaded.settings.spec.duration_seconds == 3600
    assert str(loaded.settings.connection.endpoint) == "https://rolesanywhere.eu-central-1.amazonaws.com"
    assert loaded.settings.use_cache
    assert loaded.consulted == ()
    assert files.asked == []


def test_a_flag_wins_over_the_environment_and_that_over_the_file() -> None:
    flags: Flags = {"session": "deploy", "role-session-name": "flag"}
    environment = {
        "ROLESANYWHERE_HELPER_ROLE_SESSION_NAME": "environment",
        "ROLESANYWHERE_HELPER_SESSION_DURATION": "30m",
    }
    text = ONE + 'role-session-name = "file"\nduration = "2h"\nregion = "eu-west-1"\n'

    spec = load(flags, environment, {OWN_FILE: text}).settings.spec

    assert spec.role_session_name == "flag"
    assert spec.duration_seconds == 1800
    assert spec.region == "eu-west-1"


def test_a_session_wins_over_its_identity() -> None:
    text = ONE + 'certificate = "/other.pem"\n'

    identity = load({"session": "deploy"}, None, {OWN_FILE: text}).settings.identity

    assert identity.certificate == "/other.pem"
    assert identity.private_key == "/home/me/host.key"


def test_a_switch_of_the_command_line_turns_off_what_the_file_turned_on() -> None:
    files = {OWN_FILE: ONE + "no-cache = true\n"}

    assert not load({"session": "deploy"}, None, files).settings.use_cache
    assert load({"session": "deploy", "no-cache": False}, None, files).settings.use_cache


def test_an_empty_flag_is_as_good_as_none(complete: Flags) -> None:
    empty: Flags = {"endpoint": "", "role-session-name": "", "intermediates": "", "session": ""}

    assert load(complete | empty).settings == load(complete).settings
    with pytest.raises(UsageError, match="missing: --role-arn"):
        load(complete | {"role-arn": ""})
    # The official helper refuses what is no number, and nobody asks for a length and means none.
    with pytest.raises(UsageError, match="not a duration: ''"):
        load(complete | {"session-duration": ""})
    assert load(complete, {"ROLESANYWHERE_HELPER_SESSION_DURATION": ""}).settings == load(complete).settings


def test_an_empty_variable_is_as_good_as_none(complete: Flags) -> None:
    assert (
        load(complete, {"ROLESANYWHERE_HELPER_REGION": "", "AWS_CA_BUNDLE": ""}).settings.connection.ca_bundle is None
    )


TYPED = {
    "region": "eu-west-1",
    "endpoint": "http://127.0.0.1:1",
    "role-session-name": "someone",
    "trust-anchor-arn": ANCHOR,
    "profile-arn": PROFILE,
    "role-arn": ROLE,
    "session-duration": "900",
    "instance-properties": "a=b",
    "assume-role-arn": "arn:aws:iam::444455556666:role/Consultant",
    "session-tags": "a=b",
    "transitive-tag-keys": "a",
    "sts-endpoint": "http://127.0.0.1:2",
    "cert-selector": "Key=x509Subject,Value=CN=host",
}
# What has a meaning only beside something else.
BESIDE = {
    "cert-selector": {"cert-directory": "/certificates"},
    "external-id": {"assume-role-arn": "arn:aws:iam::444455556666:role/Consultant"},
    "session-tags": {"assume-role-arn": "arn:aws:iam::444455556666:role/Consultant"},
    "transitive-tag-keys": {"assume-role-arn": "arn:aws:iam::444455556666:role/Consultant", "session-tags": "a=c"},
    "sts-endpoint": {"assume-role-arn": "arn:aws:iam::444455556666:role/Consultant"},
}
NEEDED = frozenset({*REQUIRED, "cert-directory"}) - {"private-key"}
NOT_HERE = frozenset({"session", "system-store-name"})


@pytest.mark.parametrize(
    "flag", [flag for flag in SESSION_FLAGS if flag.name not in NOT_HERE], ids=lambda flag: flag.name
)
def test_every_flag_can_come_from_its_variable(flag: Flag, complete: Flags) -> None:
    is_switch = flag.kind is Kind.SWITCH
    text = "true" if is_switch else TYPED.get(flag.name, "/x")
    in_the_way = {flag.name} | ({"certificate"} if flag.name in {"cert-selector", "cert-directory"} else set())
    rest = {name: value for name, value in complete.items() if name not in in_the_way} | BESIDE.get(flag.name, {})
    if flag.name == "use-fips-endpoint":  # which not every region has
        rest["region"] = "us-east-1"
    environment = {"HTTPS_PROXY": "http://proxy:3128"}
    files = {"/x": ""}

    from_flag = load(rest | {flag.name: True if is_switch else text}, environment, files).settings
    from_variable = load(rest, environment | {flag.variable: text}, files).settings

    assert from_flag == from_variable
    assert flag.name in NEEDED or from_flag != load(rest, environment, files).settings


@pytest.mark.parametrize(
    ("variable", "value", "endpoint"),
    [
        ("AWS_USE_FIPS_ENDPOINT", "true", "https://rolesanywhere-fips.us-east-1.amazonaws.com"),
        ("AWS_USE_FIPS_ENDPOINT", "false", "https://rolesanywhere.us-east-1.amazonaws.com"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true", "https://rolesanywhere.us-east-1.api.aws"),
        ("AWS_ENDPOINT_URL_ROLESANYWHERE", "http://127.0.0.1:4566", "http://127.0.0.1:4566"),
        ("AWS_REGION", "eu-west-3", "https://rolesanywhere.us-east-1.amazonaws.com"),
        ("AWS_DEFAULT_REGION", "eu-west-3", "https://rolesanywhere.us-east-1.amazonaws.com"),
    ],
)
def test_what_the_variables_of_aws_mean(variable: str, value: str, endpoint: str, complete: Flags) -> None:
    loaded = load(complete | {"region": "us-east-1"}, {variable: value})

    assert str(loaded.settings.connection.endpoint) == endpoint


def test_our_variable_wins_over_that_of_aws(complete: Flags) -> None:
    environment = {
        "AWS_ENDPOINT_URL_ROLESANYWHERE": "http://127.0.0.1:1",
        "ROLESANYWHERE_HELPER_ENDPOINT": "http://127.0.0.1:2",
    }

    assert load(complete, environment).settings.connection.endpoint.port == 2


def test_fips_is_never_given_up_in_silence(complete: Flags) -> None:
    with pytest.raises(InvalidParameterError, match="no FIPS endpoint in eu-central-1"):
        load(complete | {"use-fips-endpoint": True})


# What is missing


@pytest.mark.parametrize("name", [name for name in REQUIRED if name != "private-key"])
def test_what_is_missing_is_named_in_three_ways(name: str, complete: Flags) -> None:
    with pytest.raises(UsageError) as caught:
        load({key: value for key, value in complete.items() if key != name})

    assert caught.value.what == f"missing: --{name}"
    assert f"ROLESANYWHERE_HELPER_{name.upper().replace('-', '_')}" in caught.value.hint
    assert f"has {name} in" in caught.value.hint


def test_everything_that_is_missing_is_one_error() -> None:
    with pytest.raises(UsageError) as caught:
        load({})

    assert all(f"--{name}" in caught.value.what for name in REQUIRED)


# The configuration file


def test_paths_in_the_file_are_relative_to_it() -> None:
    identity = load({"session": "deploy"}, None, {"/srv/x.toml": ONE}, "/srv/x.toml").settings.identity

    assert identity.certificate == "/srv/tls/host.pem"
    assert identity.private_key == "/home/me/host.key"


def test_a_tilde_without_a_home_is_an_error() -> None:
    surroundings = Surroundings({}, "/here")

    with pytest.raises(ConfigurationError, match="HOME is not set"):
        load_session({"session": "deploy"}, surroundings, Files({SYSTEM_FILE: ONE}))


def test_every_place_looked_at_is_told() -> None:
    loaded = load({"session": "deploy"}, None, {SYSTEM_FILE: ONE})

    assert [(file.path, file.content is None) for file in loaded.consulted] == [(OWN_FILE, True), (SYSTEM_FILE, False)]
    assert loaded.consulted[-1].content == ONE.encode()


def test_the_first_file_wins_whole() -> None:
    loaded = load({"session": "deploy"}, None, {OWN_FILE: ONE, SYSTEM_FILE: "[session.deploy]\n"})

    assert [file.path for file in loaded.consulted] == [OWN_FILE]


@pytest.mark.parametrize(
    ("config", "environment", "expected"),
    [
        ("a.toml", {"ROLESANYWHERE_HELPER_CONFIG": "b.toml"}, "/here/a.toml"),
        (None, {"ROLESANYWHERE_HELPER_CONFIG": "b.toml"}, "/here/b.toml"),
        (None, {"XDG_CONFIG_HOME": "/xdg"}, "/xdg/rolesanywhere-helper/config.toml"),
        (None, {"XDG_CONFIG_HOME": "relative"}, OWN_FILE),
    ],
)
def test_where_the_file_is_looked_for(config: str | None, environment: dict[str, str], expected: str) -> None:
    loaded = load({"session": "deploy"}, environment, {expected: ONE}, config)

    assert loaded.consulted[-1].path == expected


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(ConfigurationError, match=r"no configuration file /here/mine\.toml"):
        load({"session": "deploy"}, None, {OWN_FILE: ONE}, "mine.toml")


def test_the_only_session_is_the_one_that_is_meant() -> None:
    loaded = load({}, None, {OWN_FILE: ONE})

    assert loaded.settings.name == "deploy"


def test_of_several_sessions_one_must_be_chosen() -> None:
    with pytest.raises(UsageError) as caught:
        load({}, None, {OWN_FILE: f"{ONE}\n[session.other]\n{SESSION}"})

    assert "more than one session" in caught.value.what
    assert caught.value.hint == "choose one with --session: deploy, other"


def test_an_arn_on_the_command_line_never_mixes_with_a_session_that_was_not_asked_for() -> None:
    with pytest.raises(UsageError, match="missing: --certificate, --private-key, --trust-anchor-arn, --profile-arn"):
        load({"role-arn": ROLE}, None, {OWN_FILE: ONE})


def test_a_session_that_is_not_there_is_met_with_its_neighbour() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"session": "deplyo"}, None, {OWN_FILE: ONE})

    assert caught.value.hint == "did you mean deploy?"


def test_a_session_without_any_file_names_where_it_was_looked_for() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"session": "deploy"})

    assert OWN_FILE in caught.value.hint
    assert SYSTEM_FILE in caught.value.hint


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("[sesion.x]\n", "unknown key 'sesion' at the top level", "did you mean session?"),
        ("[session.deploy]\nrole_arn = 'x'\n", "unknown key 'role_arn' at [session.deploy]", "did you mean role-arn?"),
        ("[serve]\nimsd = {}\n", "unknown key 'imsd' at [serve]", "did you mean imds?"),
        ("[serve.imds.main]\nlisten-on = []\n", "unknown key 'listen-on' at [serve.imds.main]", "did you mean listen?"),
        ("[serve.container.x]\ntoken = ''\n", "unknown key 'token' at [serve.container.x]", "did you mean token-"),
        ("[serve.container.x]\nlisten = []\n", "unknown key 'listen' at [serve.container.x]", "container-listen"),
        ("[serve.container.x]\nallow-from = []\n", "unknown key 'allow-from'", "write container-allow-from in [serve]"),
        ("[serve.agent]\nsokcet = ''\n", "unknown key 'sokcet' at [serve.agent]", "did you mean socket?"),
        ("[serve.metrics]\nport = 1\n", "unknown key 'port' at [serve.metrics]", "there is: "),
        ("[update.x]\nfiel = ''\n", "unknown key 'fiel' at [update.x]", "did you mean file?"),
        ("serve = 1\n", "serve in /c.toml must be a table", "[serve]"),
        ("serve.agent = 1\n", "serve.agent in /c.toml must be a table", "[serve.agent]"),
        ("serve.imds = 1\n", "serve.imds in /c.toml must be tables with a name", "[serve.imds.NAME]"),
        ("[identity.host]\nrole-arn = 'x'\n", "unknown key 'role-arn' at [identity.host]", "there is: "),
        ("[session.other]\nzzz = 1\n", "unknown key 'zzz' at [session.other]", "there is: "),
        ("session = 3\n", "session in /c.toml must be tables with a name", "[session.NAME]"),
        ("[session]\nrole-arn = 'x'\n", "session in /c.toml must be tables with a name", "[session.NAME]"),
        ("[session.deploy\n", "/c.toml is not TOML", "correct"),
        ("[session.deploy]\nwith-proxy = 'yes'\n", "with-proxy in [session.deploy]", ""),
        ("[session.deploy]\nrole-arn = 3\n", "role-arn in [session.deploy] of /c.toml must be a string", ""),
        ("[session.deploy]\nduration = true\n", "duration in [session.deploy] of /c.toml must be seconds", ""),
        ("[session.deploy]\nduration = 900\nsession-duration = 900\n", "sets both duration and session-duration", ""),
        ("[session.deploy]\ninstance-properties = {a = 1}\n", "must be a table of strings", ""),
        ("[session.deploy]\nidentity = 'hots'\n[identity.host]\n", "names the identity 'hots'", "did you mean host?"),
        ("[session.deploy]\nidentity = 3\n", "must be the name of an identity", ""),
        ("a = " + "[" * 5000, "/c.toml", ""),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, what: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"session": "deploy"}, None, {"/c.toml": text}, "/c.toml")

    assert what in caught.value.what
    assert hint in caught.value.hint


CUSTOMER = "arn:aws:iam::444455556666:role/Consultant"
CHAINED = f"{ONE}\n[session.customer]\nsource = 'deploy'\nassume-role-arn = '{CUSTOMER}'\n"


def test_a_session_may_go_on_from_another_one() -> None:
    text = CHAINED + "external-id = 'x-1'\nduration = '30m'\nsession-tags = { team = 'blue' }\n"
    further = "[session.further]\nsource = 'customer'\nassume-role-arn = 'arn:aws:iam::777788889999:role/Last'\n"

    settings = load({"session": "further"}, None, {OWN_FILE: text + further}).settings

    first, last = settings.hops
    assert (str(first.role_arn), first.name, first.external_id, first.duration_seconds) == (
        CUSTOMER,
        "customer",
        "x-1",
        1800,
    )
    assert first.tags == (("team", "blue"),)
    assert (last.name, last.duration_seconds, last.sts_endpoint) == ("further", 3600, None)
    assert (str(settings.role_arn), settings.duration_seconds) == ("arn:aws:iam::777788889999:role/Last", 3600)
    assert settings.source is not None
    assert settings.source.hops == (first,)
    deploy = load({"session": "deploy"}, None, {OWN_FILE: text}).settings
    assert (settings.spec, settings.identity, deploy.hops) == (deploy.spec, deploy.identity, ())


def test_roles_that_were_typed_come_after_those_that_are_written(complete: Flags) -> None:
    further = [f"arn:aws:iam::{digit * 12}:role/R" for digit in "12"]
    typed: Flags = {"session": "customer", "assume-role-arn": further}

    hops = load(typed | {"external-id": "last"}, None, {OWN_FILE: CHAINED}).settings.hops

    assert [hop.role_arn.account for hop in hops] == ["444455556666", "1" * 12, "2" * 12]
    assert [hop.external_id for hop in hops] == [None, None, "last"]
    assert load(complete | {"assume-role-arn": [CUSTOMER]}).settings.hops[0].name is None


def test_roles_that_the_first_session_names_itself_come_first() -> None:
    own = f"assume-role-arn = '{CUSTOMER}'\nexternal-id = 'of-the-customer'\n"
    further = "[session.further]\nsource = 'deploy'\nassume-role-arn = 'arn:aws:iam::777788889999:role/Last'\n"
    text = f"{ONE}\n{own}{further}"
    typed = "arn:aws:iam::999988887777:role/Typed"

    hops = load({"session": "further"}, None, {OWN_FILE: text}).settings.hops
    on_top = load({"session": "deploy", "assume-role-arn": [typed]}, None, {OWN_FILE: text}).settings.hops

    assert [hop.role_arn.account for hop in hops] == ["444455556666", "777788889999"]
    assert [hop.external_id for hop in hops] == ["of-the-customer", None]
    assert [hop.role_arn.account for hop in on_top] == ["444455556666", "999988887777"]
    assert [hop.external_id for hop in on_top] == ["of-the-customer", None], "no other account is told it"


def test_sts_is_reached_as_the_service_is(complete: Flags) -> None:
    flags = complete | {"assume-role-arn": [CUSTOMER], "region": "us-east-1", "use-fips-endpoint": True}

    (hop,) = load(flags).settings.hops

    assert (hop.use_fips, hop.use_dualstack) == (True, False)


@pytest.mark.parametrize(
    ("environment", "typed", "region", "sts_endpoint"),
    [
        ({}, {}, "eu-central-1", None),
        ({"AWS_REGION": "eu-west-3"}, {}, "eu-west-3", None),
        ({"AWS_REGION": "eu-west-3"}, {"region": "eu-west-1"}, "eu-west-1", None),
        ({"AWS_REGION": "eu-west-3", "ROLESANYWHERE_HELPER_REGION": "eu-west-1"}, {}, "eu-west-1", None),
        ({}, {"endpoint": "http://127.0.0.1:4566"}, "eu-central-1", "http://127.0.0.1:4566"),
        (
            {"AWS_ENDPOINT_URL_STS": "https://sts.example"},
            {"endpoint": "http://127.0.0.1:4566"},
            "eu-central-1",
            "https://sts.example",
        ),
    ],
)
def test_where_sts_is(
    environment: dict[str, str], typed: Flags, region: str, sts_endpoint: str | None, complete: Flags
) -> None:
    (hop,) = load(complete | {"assume-role-arn": [CUSTOMER]} | typed, environment).settings.hops

    assert (hop.region, hop.sts_endpoint) == (region, sts_endpoint)


def test_what_is_written_of_sts_for_one_step_goes_before_the_environment_and_after_what_was_typed() -> None:
    text = f"{CHAINED}region = 'eu-south-1'\nsts-endpoint = 'https://written.example'\n"
    environment = {"AWS_REGION": "eu-west-3", "AWS_ENDPOINT_URL_STS": "https://environment.example"}

    (written,) = load({"session": "customer"}, environment, {OWN_FILE: text}).settings.hops
    typed: Flags = {"session": "customer", "sts-endpoint": "https://typed.example"}
    (changed,) = load(typed, environment, {OWN_FILE: text}).settings.hops

    assert (written.region, written.sts_endpoint) == ("eu-south-1", "https://written.example")
    assert (changed.region, changed.sts_endpoint) == ("eu-south-1", "https://typed.example")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (CHAINED.replace("source = 'deploy'", "source = 'nobody'"), "there is no [session.nobody]"),
        (CHAINED.replace("source = 'deploy'", "source = 'customer'"), "does not lead back here"),
        (CHAINED.replace("source = 'deploy'", "source = 1"), "must be the name of another session"),
        (CHAINED.replace(f"assume-role-arn = '{CUSTOMER}'\n", ""), "but no assume-role-arn"),
        (CHAINED + "certificate = '/x'\n", "certificate in [session.customer]"),
        (CHAINED + "identity = 'host'\n", "identity in [session.customer]"),
        (CHAINED + "duration = '2h'\n", "cannot last 7200 seconds"),
        (CHAINED + "duration = 60\n", "cannot last 60 seconds"),
        (CHAINED + "external-id = 'a b'\n", "external ID"),
        (CHAINED + "transitive-tag-keys = ['team']\n", "'team' is to be transitive"),
        (CHAINED.replace(CUSTOMER, "arn:aws:iam::444455556666:user/Me"), "user/Me"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(text: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        load({"session": "customer"}, None, {OWN_FILE: text})

    assert what in caught.value.what


def test_what_is_for_a_further_role_needs_one(complete: Flags) -> None:
    with pytest.raises(UsageError, match="--external-id is for a role to go on to"):
        load(complete | {"external-id": "x-1"})


@pytest.mark.parametrize("line", ["external-id = 'x-1'", "session-tags = {a = 'b'}", "transitive-tag-keys = ['a']"])
def test_what_is_written_for_a_further_role_needs_one_too(line: str) -> None:
    further = f"\n[session.further]\nsource = 'deploy'\nassume-role-arn = '{CUSTOMER}'\n"
    for session in ("deploy", "further"):
        with pytest.raises(ConfigurationError, match=r"in \[session\.deploy\] is for a role to go on to") as caught:
            load({"session": session}, None, {OWN_FILE: f"{ONE}\n{line}\n{further}"})
        assert "assume-role-arn" in caught.value.hint
    own = f"{ONE}\nassume-role-arn = '{CUSTOMER}'\nsession-tags = {{a = 'b'}}\n"
    assert load({"session": "deploy"}, None, {OWN_FILE: own}).settings.hops[0].tags, "the negative control"


def test_what_is_written_for_a_role_that_is_typed_is_for_that_one() -> None:
    text = f"{ONE}\nexternal-id = 'written'\n"
    typed: Flags = {"session": "deploy", "assume-role-arn": [CUSTOMER]}

    assert load(typed, None, {OWN_FILE: text}).settings.hops[0].external_id == "written"
    assert load(typed | {"external-id": "typed"}, None, {OWN_FILE: text}).settings.hops[0].external_id == "typed"


def test_what_belongs_to_the_daemon_is_let_pass() -> None:
    text = ONE + "allow-users = ['me']\n[serve.imds.main]\nsession = 'deploy'\n[update.x]\nfile = 'y'\n"

    assert load({"session": "deploy"}, None, {OWN_FILE: text}).settings.name == "deploy"


# The daemon's socket


AGENT = "[serve.agent]\nsocket = 'agent.sock'\n"


@pytest.mark.parametrize(
    ("flags", "environment", "text", "expected"),
    [
        ({"session": "deploy"}, {}, ONE, None),
        ({"session": "deploy"}, {}, ONE + AGENT, "/home/me/.config/rolesanywhere-helper/agent.sock"),
        ({}, {}, ONE + AGENT, "/home/me/.config/rolesanywhere-helper/agent.sock"),
        ({"session": "deploy"}, {"ROLESANYWHERE_HELPER_AGENT_SOCKET": "/e"}, ONE + AGENT, "/e"),
        ({"session": "deploy", "agent-socket": "a"}, {"ROLESANYWHERE_HELPER_AGENT_SOCKET": "/e"}, ONE, "/here/a"),
        ({"session": "deploy", "agent-socket": "/a"}, {"AWS_ENDPOINT_URL_ROLESANYWHERE": "http://[::1]:1"}, ONE, "/a"),
        ({"session": "deploy", "agent-socket": "/a", "role-arn": ROLE}, {}, ONE, None),
        ({"session": "deploy", "agent-socket": "/a"}, {"ROLESANYWHERE_HELPER_REGION": "eu-west-1"}, ONE, None),
    ],
)
def test_which_daemon_is_asked_first(
    flags: Flags, environment: dict[str, str], text: str, expected: str | None
) -> None:
    assert load(flags, environment, {OWN_FILE: text}).agent_socket == expected


def test_a_session_without_a_name_is_asked_of_nobody(complete: Flags) -> None:
    assert load(complete | {"agent-socket": "/a"}).agent_socket is None


def test_the_log_says_why_the_daemon_is_not_asked() -> None:
    loaded = load({"session": "deploy", "agent-socket": "/a", "role-arn": ROLE}, None, {OWN_FILE: ONE})

    assert loaded.notes == ("the daemon at /a is not asked: role-arn was given besides the session's name",)
    assert load({"session": "deploy", "agent-socket": "/a"}, None, {OWN_FILE: ONE}).notes == ()


@pytest.mark.parametrize("socket", ["''", "3", "'a\\u0000b'"])
def test_a_socket_that_is_no_path_is_refused(socket: str) -> None:
    text = ONE + f"[serve.agent]\nsocket = {socket}\n".replace("'a\\", '"a\\').replace("b'", 'b"')

    with pytest.raises(UsageError, match=r"socket in \[serve\.agent\]"):
        load({"session": "deploy"}, None, {OWN_FILE: text})


@pytest.mark.parametrize(
    "reference", ["pkcs11:token=x", "handle:0x81", "env:KEY", "fd:3", "command:x y", "spiffe:x", "credential:key"]
)
def test_keys_that_are_no_files_stay_as_they_are_written(reference: str, complete: Flags) -> None:
    assert load(complete | {"private-key": reference}).settings.identity.private_key == reference


@pytest.mark.parametrize("reference", ["https://host/key", "file:x", "prompt:", "PKCS12:x"])
def test_a_scheme_that_there_is_not_is_refused(reference: str, complete: Flags) -> None:
    with pytest.raises(UsageError, match="there is no such scheme") as caught:
        load(complete | {"private-key": reference})

    assert reference.partition(":")[2] in {"", "x"} or reference.partition(":")[2] not in caught.value.what
    assert load(complete | {"private-key": f"./{reference}"}).settings.identity.private_key.endswith(reference)


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({"certificate": "pkcs11:token=x"}, True),
        ({"private-key": "pkcs11:token=x"}, True),
        ({"certificate": "spiffe:"}, True),
        ({"certificate": "/host.p12"}, True),
        ({"cert-directory": "/certificates"}, True),
        ({"certificate": "/host.pem"}, True),
        ({"private-key": "handle:0x81000001"}, False),
        ({"certificate": "env:CERTIFICATE"}, True),
        ({"private-key": "/host.key"}, False),
    ],
)
def test_what_a_source_brings_along_need_not_be_named(
    given: Flags,
    needed: bool,  # noqa: FBT001 - a column of the table
    complete: Flags,
) -> None:
    rest = {name: value for name, value in complete.items() if name not in {"certificate", "private-key"}}

    if needed:
        assert load(rest | given).settings.identity.certificate == given.get("certificate", "")
    else:
        with pytest.raises(UsageError, match="missing: --"):
            load(rest | given)


def test_the_platforms_store_is_an_error_that_says_so(complete: Flags) -> None:
    with pytest.raises(UsageError, match="certificate store of Windows") as caught:
        load(complete | {"system-store-name": "MY"})
    assert "--cert-directory" in caught.value.hint
    with pytest.raises(UsageError, match="certificate store of Windows or macOS") as caught:
        load(complete | {"cert-selector": "Key=x509Subject,Value=CN=x"})
    assert "--cert-directory" in caught.value.hint


# Passphrases and PINs


def test_a_secret_that_others_may_read_is_warned_of(complete: Flags) -> None:
    typed = load(complete | {"pkcs8-password": "canary"})
    (warning,) = typed.warnings

    assert "--pkcs8-password-file" in warning
    assert "canary" not in warning + repr(typed)
    assert load(complete, {"ROLESANYWHERE_HELPER_PKCS8_PASSWORD": "canary"}).warnings == ()
    assert load(complete | {"pkcs8-password": "env:PASSWORD"}).warnings == ()
    assert load(complete | {"pkcs8-password-file": "/secret"}).warnings == ()
    (warning,) = load({"session": "deploy"}, None, {OWN_FILE: ONE + "pkcs8-password = 'canary'\n"}).warnings
    assert "pkcs8-password-file" in warning


@pytest.mark.parametrize(
    ("flag", "value", "source"),
    [
        ("pkcs11-pin", "1234", SecretSource(text="1234")),
        ("pkcs11-pin", "env:PIN", SecretSource("env:PIN")),
        ("pkcs11-pin-file", "/pin", SecretSource("/pin")),
        ("pkcs11-pin-file", "prompt:", SecretSource("prompt:")),
        ("pkcs11-pin-file", "credential:pin", SecretSource("credential:pin")),
    ],
)
def test_where_a_secret_comes_from(flag: str, value: str, source: SecretSource, complete: Flags) -> None:
    identity = load(complete | {flag: value}).settings.identity

    assert identity.secret("pkcs11-pin") == source
    assert identity.secret("pkcs8-password") is None


def test_a_secret_has_one_source(complete: Flags) -> None:
    with pytest.raises(UsageError, match="--pkcs8-password and --pkcs8-password-file are both given"):
        load(complete | {"pkcs8-password": "x", "pkcs8-password-file": "/x"})


# Values


@pytest.mark.parametrize("text", ["team=blue,stage=prod", '{"stage": "prod", "team": "blue"}', "stage=prod,team=blue"])
def test_instance_properties_have_two_forms(text: str, complete: Flags) -> None:
    spec = load(complete | {"instance-properties": text}).settings.spec

    assert spec.instance_properties == (("stage", "prod"), ("team", "blue"))


def test_instance_properties_are_a_table_in_the_file() -> None:
    text = ONE + "instance-properties = {team = 'blue', stage = 'prod'}\n"

    spec = load({}, None, {OWN_FILE: text}).settings.spec

    assert spec.instance_properties == (("stage", "prod"), ("team", "blue"))


@pytest.mark.parametrize("text", ["a", "=b", "a=b,,", '{"a": 1}', "{", '{"a": "1", "a": "2"}', "a=1,a=2"])
def test_malformed_instance_properties_are_refused(text: str, complete: Flags) -> None:
    with pytest.raises(InvalidParameterError, match="--instance-properties"):
        load(complete | {"instance-properties": text})


@given(st.text())
def test_no_switch_but_the_words_of_go(text: str) -> None:
    environment = {"ROLESANYWHERE_HELPER_NO_CACHE": text}
    words = {"1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False", ""}
    flags: Flags = {"certificate": "c", "private-key": "k", "trust-anchor-arn": ANCHOR}
    flags |= {"profile-arn": PROFILE, "role-arn": ROLE}

    if text in words:
        assert load(flags, environment).settings.use_cache is (text[:1] not in {"1", "t", "T"})
    else:
        with pytest.raises(InvalidParameterError):
            load(flags, environment)


def test_no_verify_ssl_is_a_loud_warning(complete: Flags) -> None:
    loaded = load(complete | {"no-verify-ssl": True})

    assert not loaded.settings.connection.verify_tls
    assert "NOT verified" in loaded.warnings[0]
    assert load(complete).warnings == ()


def test_the_ca_bundle_is_read_only_where_there_is_tls(complete: Flags) -> None:
    files = Files({"/ca.pem": "x"})
    surroundings = Surroundings({"AWS_CA_BUNDLE": "/ca.pem"}, "/here")

    assert load_session(complete, surroundings, files).settings.connection.ca_bundle == "/ca.pem"
    assert files.asked == ["/ca.pem"]
    plain = load_session(complete | {"endpoint": "http://127.0.0.1:1"}, surroundings, Files({}))
    assert plain.settings.connection.ca_bundle is None


def test_a_ca_bundle_that_is_not_there_is_an_error(complete: Flags) -> None:
    with pytest.raises(UsageError, match=r"there is no CA bundle /here/ca\.pem"):
        load(complete | {"ca-bundle": "ca.pem"})


# What is read


def test_no_variable_is_read_that_is_not_declared(complete: Flags) -> None:
    environment = Watched({"HOME": "/home/me"})

    load_session({}, Surroundings(environment, "/here"), Files({OWN_FILE: ONE + "with-proxy = true\n"}))
    load_session(complete | {"with-proxy": True}, Surroundings(environment, "/here"), Files({}))

    assert environment.read <= VARIABLES
    assert {"HOME", "XDG_CONFIG_HOME", "https_proxy", "ROLESANYWHERE_HELPER_CONFIG"} <= environment.read


def test_the_watched_environment_does_notice() -> None:
    environment = Watched({"SOMETHING": "x"})

    assert environment.get("SOMETHING") == "x"
    assert "OTHER" not in environment
    assert environment.read == {"SOMETHING", "OTHER"}
    with pytest.raises(AssertionError):
        list(environment)


def test_the_fast_path_keys_on_every_variable_that_is_read() -> None:
    known = {name.decode() for name in fastpath.VARIABLES}

    assert {name for name in VARIABLES if not name.startswith("ROLESANYWHERE_HELPER_")} <= known


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ROLESANYWHERE_HELPER_CACHE_DIR": "/a", "CACHE_DIRECTORY": "/b"}, "/a"),
        ({"CACHE_DIRECTORY": "/b:/c", "XDG_CACHE_HOME": "/d"}, "/b"),
        ({"XDG_CACHE_HOME": "/d", "HOME": "/home/me"}, "/d/rolesanywhere-helper"),
        ({"XDG_CACHE_HOME": "d", "HOME": "/home/me"}, "/home/me/.cache/rolesanywhere-helper"),
        ({"HOME": "/home/me"}, "/home/me/.cache/rolesanywhere-helper"),
        ({}, None),
    ],
)
def test_where_the_cache_is(environment: dict[str, str], expected: str | None) -> None:
    assert Surroundings(environment, "/here").cache_directory == expected
