"""A cached ``credential-process`` prints what the slow way would: whatever could change the answer is noticed.

Each test asks twice, so that the second answer comes from the cache, changes one thing, and asks again: the answer must
be another one, made by another call or an error. Then the thing is changed back, and the cache answers as before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.config.environment import VARIABLES
from rolesanywhere_helper.config.flags import SECRETS, SESSION_FLAGS, flag_named
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.fakes.answers import created, session_document
from tests.fakes.http_server import Connection, ScriptedServer, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rolesanywhere_helper.domain.ports import HttpResponse
    from rolesanywhere_helper.pki.certificates import Issued
    from tests.plugins.emulated import Emulated


@dataclass(frozen=True)
class Answer:
    """What one call printed: an access key id, or none and an error."""

    key: str
    error: str
    calls: int


@dataclass(frozen=True)
class Ask:
    """One way of asking: a command line, its environment and the directory it is run in. ``calls`` counts mints."""

    helper: Path
    calls: Callable[[], int]
    folder: Path
    environment: dict[str, str]
    flags: dict[str, str] = field(default_factory=dict)
    switches: tuple[str, ...] = ()

    def __call__(self) -> Answer:
        before = self.calls()
        words = [word for name, value in self.flags.items() for word in (f"--{name}", value)]
        done = subprocess.run(
            [str(self.helper), "credential-process", *words, *self.switches],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0 or done.stdout == b""
        key = json.loads(done.stdout)["AccessKeyId"] if done.stdout else ""
        return Answer(key, done.stderr.decode(), self.calls() - before)

    def with_flag(self, name: str, value: str) -> Ask:
        return replace(self, flags={**self.flags, name: value})

    def with_switches(self, *switches: str) -> Ask:
        return replace(self, switches=(*self.switches, *switches))

    def with_variables(self, **variables: str) -> Ask:
        return replace(self, environment={**self.environment, **variables})

    def from_environment(self) -> Ask:
        """Say the same in variables."""
        said = {flag_named(name).variable: value for name, value in self.flags.items()}
        return replace(self.with_variables(**said), flags={})


def cached(ask: Ask) -> str:
    """Ask until the answer comes from the cache, and return its access key id."""
    first = ask()
    assert first.key, first.error
    assert ask() == Answer(first.key, "", 0)
    return first.key


def is_noticed(key: str, answer: Answer) -> bool:
    """Tell whether an answer is another one than the cached: other credentials, or an error."""
    return answer.key != key and (bool(answer.key) or answer.error.startswith("error: "))


def assert_noticed(before: Ask, changed: Ask) -> None:
    """Require that a change is noticed, and that the unchanged call is still answered from the cache."""
    key = cached(before)
    answer = changed()
    assert is_noticed(key, answer), answer
    assert before() == Answer(key, "", 0)


# The user, whose certificate is her own copy


def validity() -> Validity:
    return Validity.days(time.time(), 30)


@pytest.fixture
def authority(emulated: Emulated) -> CertificateAuthority:
    files = emulated.emulator.directory
    return CertificateAuthority.from_pem(files.file("ca.pem").read_bytes(), files.file("ca.key").read_bytes())


def write(folder: Path, issued: Issued, name: str = "leaf") -> None:
    """Write NAME.pem and NAME.key."""
    (folder / f"{name}.pem").write_bytes(issued.pem)
    key = folder / f"{name}.key"
    key.touch(mode=0o600)
    key.write_bytes(issued.key_pem())


@pytest.fixture
def ask(
    helper: Path, emulated: Emulated, authority: CertificateAuthority, clean_environment: dict[str, str], tmp_path: Path
) -> Ask:
    write(tmp_path, authority.issue(LeafRequest(validity(), key=KeyKind.P_256)))
    write(tmp_path, authority.issue(LeafRequest(validity(), key=KeyKind.P_256)), "other")
    (tmp_path / "above.pem").write_bytes(authority.pem)
    shutil.copy(tmp_path / "leaf.key", tmp_path / "copy.key")
    words = emulated.flags(certificate=str(tmp_path / "leaf.pem"), private_key=str(tmp_path / "leaf.key"))
    flags = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
    return Ask(helper, lambda: len(emulated.create_session_calls()), tmp_path, clean_environment, flags)


def test_the_unchanged_call_is_answered_from_the_cache(ask: Ask) -> None:
    cached(ask)
    assert ask.calls() == 1


@pytest.mark.parametrize("how", ["a variable without meaning", "a newer date", "the same content, newly written"])
def test_the_negative_control_what_cannot_change_the_answer_does_not(ask: Ask, how: str) -> None:
    """The tests below tell the cached answer from another one: here nothing is noticed."""
    key, certificate = cached(ask), ask.folder / "leaf.pem"
    if how == "a variable without meaning":
        ask = ask.with_variables(EDITOR="vi", AWS_REGION="eu-west-1")
    elif how == "a newer date":
        os.utime(certificate, (1, 1))
    else:
        content = certificate.read_bytes()
        certificate.unlink()
        certificate.write_bytes(content)
    answer = ask()
    assert answer == Answer(key, "", 0)
    assert not is_noticed(key, answer)


def test_every_variable_that_has_a_meaning_is_in_the_routes_name() -> None:
    def name(**variables: str) -> bytes:
        environment = {variable.encode(): value.encode() for variable, value in variables.items()}
        return fastpath.route_name([], environment, b"/")

    assert name(AWS_PROFILE="x") == name(), "the negative control: what is not listed is not looked at"
    assert [variable for variable in VARIABLES if name(**{variable: "x"}) == name()] == []
    assert [variable for variable in VARIABLES if name(**{variable: "x"}) == name(**{variable: "y"})] == []


# Session flags, on the command line and as variables

CHANGED = {
    "certificate": "other.pem",  # with the key of the first: an error
    "private-key": "copy.key",
    "intermediates": "above.pem",
    "trust-anchor-arn": "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/other",
    "profile-arn": "arn:aws:rolesanywhere:us-east-1:111122223333:profile/other",
    "role-arn": "arn:aws:iam::111122223333:role/Other",
    "session-duration": "900",
    "role-session-name": "deploy",
    "instance-properties": "team=blue",
    "region": "eu-west-1",
    "endpoint": "",  # the same one by another name
    "session": "deploy",
    "assume-role-arn": "arn:aws:iam::444455556666:role/Nobody",
}
# What has no meaning for the key in a file that is asked with here; each has tests where it has one.
OF_OTHER_KEYS = {
    *SECRETS, *(f"{name}-file" for name in SECRETS), "no-tpm-key-password", "pkcs11-lib", "reuse-pin", "cert-selector",
    "cert-directory", "use-latest-expiring-certificate", "system-store-name",
}  # fmt: skip
# What is said of a role to go on to, beside that.
OF_A_HOP = {
    "external-id": "other",
    "session-tags": "team=blue",
    "transitive-tag-keys": "team",
    "sts-endpoint": "http://127.0.0.1:1",
}
# Their meaning is in the connection, and shown with a server that has one to look at, or in a test of their own.
ELSEWHERE = {
    "use-fips-endpoint", "use-dualstack-endpoint", "ca-bundle", "with-proxy", "no-verify-ssl",
    "strict-key-permissions", "accept-insecure-private-key-file", "no-cache",
}  # fmt: skip


def test_every_session_flag_has_a_test() -> None:
    assert {flag.name for flag in SESSION_FLAGS} == set(CHANGED) | ELSEWHERE | OF_OTHER_KEYS | set(OF_A_HOP)


@pytest.mark.promise(40)
@pytest.mark.parametrize("name", CHANGED)
def test_a_flag_changes_the_answer_on_the_command_line_and_as_a_variable(ask: Ask, name: str) -> None:
    value = ask.flags[name].replace("127.0.0.1", "localhost") if name == "endpoint" else CHANGED[name]
    assert_noticed(ask, ask.with_flag(name, value))
    said = ask.from_environment()
    assert_noticed(said, said.with_variables(**{flag_named(name).variable: value}))


@pytest.mark.promise(40)
@pytest.mark.parametrize("name", OF_A_HOP)
def test_what_is_said_of_a_role_to_go_on_to_changes_the_answer(ask: Ask, emulated: Emulated, name: str) -> None:
    other = next(role.arn for role in emulated.emulator.state.roles if role.arn != emulated.announcement["roleArn"])
    going_on = ask.with_flag("assume-role-arn", other)
    if name == "transitive-tag-keys":
        going_on = going_on.with_flag("session-tags", "team=blue")
    assert_noticed(going_on, going_on.with_flag(name, OF_A_HOP[name]))


def test_a_session_without_a_cache_is_made_each_time(ask: Ask) -> None:
    assert_noticed(ask, ask.with_switches("--no-cache"))
    assert_noticed(ask, ask.with_variables(ROLESANYWHERE_HELPER_NO_CACHE="true"))
    assert cached(ask) == ask.with_variables(ROLESANYWHERE_HELPER_NO_CACHE="false")().key


def test_the_endpoints_aws_variable_changes_the_answer(ask: Ask) -> None:
    endpoint = ask.flags["endpoint"]
    bare = replace(ask, flags={name: value for name, value in ask.flags.items() if name != "endpoint"})
    said = bare.with_variables(AWS_ENDPOINT_URL_ROLESANYWHERE=endpoint)
    assert_noticed(said, said.with_variables(AWS_ENDPOINT_URL_ROLESANYWHERE=endpoint.replace("127.0.0.1", "localhost")))


@pytest.mark.promise(84)
def test_the_guard_against_loops_is_never_answered_from_the_cache(ask: Ask) -> None:
    assert_noticed(ask, ask.with_variables(ROLESANYWHERE_HELPER_INSIDE_AWS_CLIENT="1"))


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME", "CACHE_DIRECTORY", "ROLESANYWHERE_HELPER_CACHE_DIR"])
def test_another_cache_directory_is_another_cache(ask: Ask, variable: str) -> None:
    place = ask.folder / "elsewhere"
    place.mkdir(mode=0o700)
    assert_noticed(ask, ask.with_variables(**{variable: str(place)}))


# Files


def test_a_certificate_replaced_by_one_of_the_same_size_and_date_is_noticed(
    ask: Ask, authority: CertificateAuthority
) -> None:
    """A renewal that kept its key, put back to the date of the old one."""
    issued, path = authority.issue(LeafRequest(validity(), serial=1 << 150)), ask.folder / "leaf.pem"
    renewed = authority.issue(LeafRequest(validity(), serial=(1 << 150) + 1), issued.private_key)
    write(ask.folder, issued)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    before = path.stat()
    with undone(ask) as key:
        path.write_bytes(renewed.pem)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        after = path.stat()
        assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
        assert is_noticed(key, ask())
        path.write_bytes(issued.pem)


@contextmanager
def undone(ask: Ask) -> Iterator[str]:
    """Hand out the cached key; what the caller changed and changed back must leave it where it was."""
    key = cached(ask)
    yield key
    assert ask() == Answer(key, "", 0)


def test_a_certificate_that_is_gone_is_noticed(ask: Ask) -> None:
    with undone(ask) as key:
        (ask.folder / "leaf.pem").rename(ask.folder / "away.pem")
        assert is_noticed(key, ask())
        (ask.folder / "away.pem").rename(ask.folder / "leaf.pem")


def test_a_link_that_leads_elsewhere_is_noticed(ask: Ask) -> None:
    """As Kubernetes swaps a secret: the paths stay, the folder behind them is another one."""
    for number, name in enumerate(("leaf", "other")):
        (ask.folder / f"data{number}").mkdir()
        for ending in ("pem", "key"):
            shutil.copy(ask.folder / f"{name}.{ending}", ask.folder / f"data{number}" / f"tls.{ending}")
    link = ask.folder / "data"
    link.symlink_to("data0")
    linked = ask.with_flag("certificate", f"{link}/tls.pem").with_flag("private-key", f"{link}/tls.key")
    with undone(linked) as key:
        link.unlink()
        link.symlink_to("data1")
        assert is_noticed(key, linked())
        link.unlink()
        link.symlink_to("data0")


def test_changed_intermediates_are_noticed(ask: Ask, authority: CertificateAuthority) -> None:
    path = ask.folder / "above.pem"
    above = ask.with_flag("intermediates", str(path))
    with undone(above) as key:
        path.write_bytes(authority.intermediate("More", validity(), KeyKind.P_256).pem + authority.pem)
        assert is_noticed(key, above())
        path.write_bytes(authority.pem)


@pytest.mark.parametrize("how", ["flags", "variables"])
def test_a_relative_path_is_of_the_working_directory(ask: Ask, how: str) -> None:
    for name, source in (("here", "leaf"), ("there", "other")):
        (ask.folder / name).mkdir()
        for ending in ("pem", "key"):
            shutil.copy(ask.folder / f"{source}.{ending}", ask.folder / name / f"host.{ending}")
    relative = ask.with_flag("certificate", "host.pem").with_flag("private-key", "host.key")
    if how == "variables":
        relative = relative.from_environment()
    assert_noticed(replace(relative, folder=ask.folder / "here"), replace(relative, folder=ask.folder / "there"))


# The configuration file


@pytest.fixture
def configured(ask: Ask) -> Ask:
    """Say all of it in a configuration file with two sessions, at its usual place."""
    home = Path(ask.environment["HOME"])
    file = home / ".config" / "rolesanywhere-helper" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(configuration(ask))
    return replace(ask, flags={"session": "deploy"})


def configuration(ask: Ask, duration: str = "1h") -> str:
    values = "".join(f'{name} = "{value}"\n' for name, value in ask.flags.items())
    return f'[session.deploy]\n{values}duration = "{duration}"\n\n[session.other]\n{values}duration = "15m"\n'


def configuration_file(configured: Ask) -> Path:
    return Path(configured.environment["HOME"]) / ".config" / "rolesanywhere-helper" / "config.toml"


def test_another_session_of_the_configuration_file_is_another_answer(configured: Ask) -> None:
    assert_noticed(configured, configured.with_flag("session", "other"))
    said = configured.from_environment()
    assert_noticed(said, said.with_variables(ROLESANYWHERE_HELPER_SESSION="other"))


CHANGES: dict[str, Callable[[Path, Ask], object]] = {
    "content": lambda file, ask: file.write_text(configuration(ask, "30m")),
    "nonsense": lambda file, _: file.write_text("certificat = 1\n"),
    "writable by others": lambda file, _: file.chmod(0o666),
    "gone": lambda file, _: file.unlink(),
}


@pytest.mark.promise(81)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_configuration_file_is_noticed(ask: Ask, configured: Ask, change: str) -> None:
    file = configuration_file(configured)
    with undone(configured) as key:
        CHANGES[change](file, ask)
        assert is_noticed(key, configured())
        file.unlink(missing_ok=True)
        file.write_text(configuration(ask))


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "ROLESANYWHERE_HELPER_CONFIG"])
def test_another_configuration_file_is_another_answer(ask: Ask, configured: Ask, variable: str) -> None:
    place = ask.folder / "etc" / "rolesanywhere-helper"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(configuration(ask, "30m"))
    value = place.parent if variable == "XDG_CONFIG_HOME" else place / "config.toml"
    assert_noticed(configured, configured.with_variables(**{variable: str(value)}))


def test_a_configuration_file_named_on_the_command_line_is_another_answer(ask: Ask, configured: Ask) -> None:
    (ask.folder / "mine.toml").write_text(configuration(ask, "30m"))
    assert_noticed(configured, configured.with_switches("--config", "mine.toml"))
    (ask.folder / "there").mkdir()
    (ask.folder / "there" / "mine.toml").write_text(configuration(ask, "45m"))
    mine = configured.with_switches("--config", "mine.toml")
    assert_noticed(mine, replace(mine, folder=ask.folder / "there"))


def test_a_configuration_file_that_appears_is_noticed(tmp_path: Path) -> None:
    """Where one of the system was used, one of the user's own comes first: its absence is part of the evidence."""
    system, own = tmp_path / "system.toml", tmp_path / "own" / "config.toml"
    system.write_text("")
    paths = [os.fsencode(own), os.fsencode(system)]
    before = fastpath.evidence(paths)
    assert fastpath.evidence(paths) == before
    own.parent.mkdir()
    assert fastpath.evidence(paths) == before, "the negative control: the folder alone says nothing"
    own.write_text("")
    assert fastpath.evidence(paths) != before


# The key's permissions, where the user asks for them


@pytest.mark.promise(30)
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_strictness_is_not_answered_from_what_was_made_without_it(ask: Ask, how: str) -> None:
    (ask.folder / "leaf.key").chmod(0o644)
    if how == "flag":
        strict = ask.with_switches("--strict-key-permissions")
    else:
        strict = ask.with_variables(ROLESANYWHERE_HELPER_STRICT_KEY_PERMISSIONS="true")
    assert_noticed(ask, strict)


@pytest.mark.promise(30)
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_what_was_made_with_an_insecure_key_is_not_for_who_does_not_accept_it(ask: Ask, how: str) -> None:
    (ask.folder / "leaf.key").chmod(0o666)
    if how == "flag":
        careless = ask.with_switches("--accept-insecure-private-key-file")
    else:
        careless = ask.with_variables(ROLESANYWHERE_HELPER_ACCEPT_INSECURE_PRIVATE_KEY_FILE="true")
    assert_noticed(careless, ask)


# The connection: a proxy on this machine that plays every host it is asked for


HOST = "rolesanywhere.invalid"
NAMES = (
    HOST,
    "rolesanywhere.us-east-1.amazonaws.com",
    "rolesanywhere-fips.us-east-1.amazonaws.com",
    "rolesanywhere.us-east-1.api.aws",
)


class Proxy:
    """Takes CONNECT, speaks TLS as the host that was asked for, and answers CreateSession with a new set each time."""

    def __init__(self, context: SSLContext) -> None:
        self._context = context
        self.hosts: list[str] = []

    def __call__(self, connection: Connection) -> None:
        host = connection.receive_request().split(b" ")[1].partition(b":")[0].decode()
        connection.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        connection.upgrade(self._context)
        if connection.receive_request():
            self.hosts.append(host)
            connection.send(wire(self._answer()))

    def _answer(self) -> HttpResponse:
        made = created(time.time() + 3_600)
        document = session_document(time.time() + 3_600)
        document["credentialSet"][0]["credentials"]["accessKeyId"] = f"ASIAEXAMPLE{len(self.hosts)}"
        return replace(made, body=json.dumps(document).encode())


@dataclass(frozen=True)
class Behind:
    """A machine that reaches everything through a proxy, and only so."""

    ask: Ask
    proxy: Proxy
    url: str

    @property
    def asks(self) -> Ask:
        """Ask for a host that has no address anywhere else."""
        return self.ask.with_flag("endpoint", f"https://{HOST}")


@pytest.fixture
def behind(ask: Ask) -> Iterator[Behind]:
    root = CertificateAuthority.root("TLS CA", validity(), KeyKind.P_256)
    issued = root.issue(LeafRequest(validity(), key=KeyKind.P_256, names=NAMES, server=True))
    write(ask.folder, issued, "server")
    for name in ("tls.pem", "same.pem"):
        (ask.folder / name).write_bytes(root.pem)
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ask.folder / "server.pem", ask.folder / "server.key")
    proxy = Proxy(context)
    with ScriptedServer(proxy) as server:
        beside = "arn:aws:rolesanywhere:us-east-1:111122223333"
        flags = ask.flags | {
            "trust-anchor-arn": f"{beside}:trust-anchor/a",
            "profile-arn": f"{beside}:profile/p",
            "role-arn": "arn:aws:iam::111122223333:role/Deploy",
            "ca-bundle": str(ask.folder / "tls.pem"),
        }
        del flags["endpoint"]
        with_proxy = replace(ask, flags=flags, calls=lambda: len(proxy.hosts)).with_switches("--with-proxy")
        yield Behind(with_proxy.with_variables(HTTPS_PROXY=server.url), proxy, server.url)


@pytest.mark.parametrize("how", ["flag", "variable", "AWS variable"])
@pytest.mark.parametrize(("switch", "host"), [("use-fips-endpoint", NAMES[2]), ("use-dualstack-endpoint", NAMES[3])])
def test_another_kind_of_endpoint_is_another_answer(behind: Behind, switch: str, host: str, how: str) -> None:
    flag = flag_named(switch)
    if how == "flag":
        changed = behind.ask.with_switches(flag.option)
    else:
        variable = flag.aws_variable if how == "AWS variable" else flag.variable
        changed = behind.ask.with_variables(**{str(variable): "true"})
    assert_noticed(behind.ask, changed)
    assert behind.proxy.hosts == [NAMES[1], host]


@pytest.mark.promise(65)
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_going_without_the_proxy_is_another_answer(behind: Behind, how: str) -> None:
    """The other answer is that the host has no address."""
    if how == "flag":
        assert_noticed(behind.asks, behind.asks.with_switches("--with-proxy=false"))
        return
    said = replace(behind.asks, switches=()).with_variables(ROLESANYWHERE_HELPER_WITH_PROXY="true")
    assert_noticed(said, said.with_variables(ROLESANYWHERE_HELPER_WITH_PROXY="false"))


@pytest.mark.promise(65)
@pytest.mark.parametrize(
    ("before", "changed"),
    [
        ("HTTPS_PROXY", {"HTTPS_PROXY": "other"}),
        ("HTTPS_PROXY", {"https_proxy": "other"}),
        ("HTTPS_PROXY", {"NO_PROXY": HOST}),
        ("HTTPS_PROXY", {"no_proxy": "*"}),
        ("ALL_PROXY", {"ALL_PROXY": "other"}),
        ("ALL_PROXY", {"all_proxy": "other"}),
        ("ALL_PROXY", {"HTTPS_PROXY": "other"}),
    ],
)
def test_another_proxy_is_another_answer(behind: Behind, before: str, changed: dict[str, str]) -> None:
    environment = {name: value for name, value in behind.ask.environment.items() if name != "HTTPS_PROXY"}
    asks = replace(behind.asks, environment={**environment, before: behind.url})
    other = behind.url.replace("127.0.0.1", "localhost")
    assert_noticed(
        asks, asks.with_variables(**{name: other if value == "other" else value for name, value in changed.items()})
    )


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_an_unverified_endpoint_is_another_answer(behind: Behind, how: str) -> None:
    if how == "flag":
        assert_noticed(behind.asks, behind.asks.with_switches("--no-verify-ssl"))
    else:
        assert_noticed(behind.asks, behind.asks.with_variables(ROLESANYWHERE_HELPER_NO_VERIFY_SSL="true"))


@pytest.mark.parametrize("variable", ["", "AWS_CA_BUNDLE", "ROLESANYWHERE_HELPER_CA_BUNDLE"])
def test_another_ca_bundle_is_another_answer(behind: Behind, variable: str) -> None:
    asks, other = behind.asks, str(behind.ask.folder / "same.pem")
    if not variable:
        assert_noticed(asks, asks.with_flag("ca-bundle", other))
        return
    without = replace(asks, flags={name: value for name, value in asks.flags.items() if name != "ca-bundle"})
    said = without.with_variables(**{variable: asks.flags["ca-bundle"]})
    assert_noticed(said, said.with_variables(**{variable: other}))


@pytest.mark.promise(81)
@pytest.mark.parametrize("change", ["writable by others", "gone"])
def test_a_ca_bundle_that_would_be_refused_is_noticed(behind: Behind, change: str) -> None:
    asks, bundle = behind.asks, behind.ask.folder / "tls.pem"
    content = bundle.read_bytes()
    with undone(asks) as key:
        if change == "gone":
            bundle.unlink()
        else:
            bundle.chmod(0o666)
        assert is_noticed(key, asks())
        bundle.unlink(missing_ok=True)
        bundle.write_bytes(content)
