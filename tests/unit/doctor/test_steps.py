"""Single steps over doors that a test holds."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.load import load_session
from rolesanywhere_helper.doctor import (
    agreement,
    aws_files,
    causes,
    command_lines,
    daemon,
    files,
    holder,
    network,
    resting,
    walk,
)
from rolesanywhere_helper.doctor.configuration import Asked, Configured, warning_of_text
from rolesanywhere_helper.doctor.findings import (
    Finding,
    Hint,
    Severity,
    Step,
    hint_of,
    ok,
    problem,
    problem_of,
    skipped,
    warning,
)
from rolesanywhere_helper.domain.endpoint import parse_endpoint
from rolesanywhere_helper.domain.identity_reference import IdentityReference
from rolesanywhere_helper.domain.ports import HttpResponse
from rolesanywhere_helper.errors import (
    AssumeRoleDeniedError,
    BadAnswerError,
    DeadlineExceededError,
    HelperError,
    InvalidProfileError,
    InvalidSignatureError,
    LeafIsCaError,
    RefusedError,
    TlsError,
    UnreadableCertificateError,
    UnresolvedHostError,
    UntrustedCertificateError,
)
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from rolesanywhere_helper.protocol.ini_text import read_sections
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rolesanywhere_helper.config.settings import ConnectionSettings, LoadedSettings
    from rolesanywhere_helper.domain.ports import Clock

ANCHOR = "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/11111111-2222-3333-4444-555555555555"
PROFILE = ANCHOR.replace("trust-anchor", "profile")
ROLE = "arn:aws:iam::111122223333:role/path/Deploy"
HERE = Surroundings({"HOME": "/nonexistent"}, "/")
EVERYTHING = {
    "certificate": "/nonexistent/host.pem",
    "private-key": "/nonexistent/host.key",
    "trust-anchor-arn": ANCHOR,
    "profile-arn": PROFILE,
    "role-arn": ROLE,
}


def loaded(**flags: object) -> LoadedSettings:
    given = {**EVERYTHING, **{name.replace("_", "-"): value for name, value in flags.items()}}
    return load_session(given, HERE, lambda _path, _what: b"")


def authority(organization: str) -> CertificateAuthority:
    return CertificateAuthority.root(organization, Validity.days(time.time(), 5), KeyKind.P_256)


@dataclass
class FakeDoors:
    """Doors that give what they are told to, or raise it."""

    clock: Clock = field(default_factory=FakeClock)
    found: dict[str, Any] = field(default_factory=dict)

    def _give(self, name: str, default: Any) -> Any:
        value = self.found.get(name, default)
        if isinstance(value, HelperError):
            raise value
        return value

    def load(self, reference: IdentityReference, *, accept_unusable: bool = False) -> Any:
        del reference
        return self._give("load anyway" if accept_unusable else "load", None)

    def attended(self, call: Callable[[], Any]) -> Any:
        return call()

    def certificate(self, reference: IdentityReference) -> Any:
        del reference
        return self._give("certificate", None)

    def addresses(self, connection: ConnectionSettings) -> tuple[str, ...]:
        del connection
        return tuple(self._give("addresses", ("192.0.2.1",)))

    def connect(self, connection: ConnectionSettings) -> str:
        del connection
        return str(self._give("connect", "192.0.2.1"))

    def tls_certificate(self, connection: ConnectionSettings, *, verify: bool) -> bytes:
        del connection
        return bytes(self._give("verified" if verify else "shown", b""))

    def transport(self, settings: object) -> Any:
        del settings
        return self

    def send(self, request: object, timeout: float) -> HttpResponse:
        del request, timeout
        return HttpResponse(404, self._give("headers", {}), b"")

    def caller(self, credentials: object, settings: object) -> str:
        del credentials, settings
        return str(self._give("caller", "arn"))

    def assume(self, hop: object, source: Any, connection: object) -> Any:
        del hop, connection
        return self._give("assume", source)

    def daemon_status(self, path: str, *, is_named: bool) -> bytes | None:
        del path, is_named
        given: bytes | None = self._give("status", None)
        return given

    def cache_key(self, settings: object) -> str | None:
        del settings
        return None


def looked(doors: FakeDoors, connection: ConnectionSettings | None = None, **variables: str) -> dict[Step, Finding]:
    asked = Asked({}, None, Surroundings(variables, "/"))
    return {each.step: each for each in network.look(connection or loaded().settings.connection, asked, doors)}


# Findings


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("run: chmod 600 /x (or accept it)", "chmod 600 /x"),
        ("run: openssl rehash /x", "openssl rehash /x"),
        ("in GitLab CI copy it first: …; elsewhere run: chmod 600 /x", None),
        ("check the path", None),
    ],
)
def test_a_hint_s_command_is_what_can_be_typed(text: str, command: str | None) -> None:
    assert hint_of(text) == Hint(text, command)


def test_a_warning_s_bracket_is_its_hint() -> None:
    found = warning_of_text(Step.FILES, "code", "the key /a (b)/c can be read (run: chmod o-r /c)")

    assert found.what == "the key /a (b)/c can be read"
    assert found.hints[0].command == "chmod o-r /c"


def test_the_first_problem_decides_the_exit_code() -> None:
    fine, soon = ok(Step.DNS, "x"), warning(Step.EXPIRY, "x", "y")
    network_fails = problem_of(Step.DNS, UnresolvedHostError("x"))
    misconfigured = problem(Step.ARNS, "x", "y", exit_code=2)

    assert walk.verdict([fine, soon], is_strict=False) == 0
    assert walk.verdict([fine, soon], is_strict=True) == 1
    assert walk.verdict([fine, skipped(Step.TCP, "x")], is_strict=True) == 0
    assert walk.verdict([soon, network_fails, misconfigured], is_strict=True) == 3
    assert walk.verdict([misconfigured, network_fails], is_strict=False) == 2


# The network


def test_what_comes_after_a_step_that_failed_is_not_looked_at() -> None:
    found = looked(FakeDoors(found={"addresses": UnresolvedHostError("no")}))

    assert [each.severity for each in found.values()] == [Severity.PROBLEM, Severity.SKIPPED, Severity.SKIPPED]


def test_a_firewall_is_thought_of_and_a_proxy_that_is_set() -> None:
    doors = FakeDoors(found={"connect": DeadlineExceededError("no connection")})

    assert "firewall" in looked(doors)[Step.TCP].hints[0].text
    unresolved = looked(FakeDoors(found={"addresses": UnresolvedHostError("no")}), HTTPS_PROXY="http://proxy:1")
    assert "HTTPS_PROXY is set" in unresolved[Step.DNS].hints[0].text
    with_proxy = looked(doors, HTTPS_PROXY="http://user:canary@proxy:1")[Step.TCP].hints
    assert "HTTPS_PROXY is set" in with_proxy[0].text
    assert "canary" not in repr(with_proxy)


def test_amazon_s_own_certificate_is_no_inspection() -> None:
    leaf = CertificateAuthority.root("x", Validity.days(time.time(), 5), KeyKind.P_256)
    stranger = leaf.issue(LeafRequest(Validity.days(time.time(), 5), key=KeyKind.P_256)).der

    inspected = looked(FakeDoors(found={"verified": stranger}))[Step.TLS]
    assert (inspected.severity, inspected.code) == (Severity.WARNING, "tls-inspection")

    own = replace(loaded().settings.connection, endpoint=parse_endpoint("https://gateway.example"))
    assert looked(FakeDoors(found={"verified": stranger}), own)[Step.TLS].severity is Severity.OK

    unverified = replace(own, verify_tls=False)
    assert looked(FakeDoors(found={"verified": stranger}), unverified)[Step.TLS].code == "tls-not-verified"


@pytest.mark.parametrize(
    ("flags", "variables", "is_noted"),
    [
        ({"use-fips-endpoint": True}, {}, True),
        ({}, {"AWS_USE_FIPS_ENDPOINT": "true"}, True),
        ({}, {"AWS_USE_FIPS_ENDPOINT": "false"}, False),
        ({}, {}, False),
    ],
)
def test_that_an_endpoint_comes_before_the_fips_one_is_noted(
    flags: dict[str, object], variables: dict[str, str], *, is_noted: bool
) -> None:
    endpoint = {"endpoint": "https://gateway.example"}
    asked = Asked({**EVERYTHING, **endpoint, **flags}, None, Surroundings(variables, "/"))
    codes = [each.code for each in agreement.look(loaded(**endpoint).settings, asked)]

    assert ("fips-not-used" in codes) is is_noted


def test_another_tls_error_keeps_its_own_hint() -> None:
    shown = authority("Someone").issue(LeafRequest(Validity.days(time.time(), 5), key=KeyKind.P_256)).der
    expired = TlsError("the TLS certificate of x has expired", "check this machine's clock")
    hints = looked(FakeDoors(found={"verified": expired, "shown": shown}))[Step.TLS].hints
    assert [hint.text for hint in hints] == ["the certificate was issued by CN=Someone: check this machine's clock"]

    both = looked(FakeDoors(found={"verified": TlsError("issued by an unknown CA"), "shown": expired}))[Step.TLS].hints
    assert [hint.text for hint in both] == [TlsError.default_hint]


def test_a_proxy_that_speaks_tls_is_not_taken_apart() -> None:
    connection = replace(loaded().settings.connection, proxy="https://user:canary@proxy:3128")
    found = looked(FakeDoors(), connection)[Step.TLS]

    assert (found.severity, found.what) == (
        Severity.SKIPPED,
        "not looked at: the proxy https://proxy:3128 speaks TLS itself",
    )


@pytest.mark.parametrize(
    ("ahead", "severity"),
    [(0, "ok"), (59, "ok"), (-61, "warning"), (300, "warning"), (301, "problem"), (-400, "problem")],
)
def test_the_clock_is_judged(ahead: int, severity: str) -> None:
    clock = FakeClock(1_800_000_000 + ahead)
    doors = FakeDoors(clock, {"headers": {"date": "Fri, 15 Jan 2027 08:00:00 GMT"}})

    found, skew = network.look_at_clock(loaded().settings, doors)

    assert (found.severity.value, skew) == (severity, ahead)


def test_without_a_date_nothing_is_said_of_the_clock() -> None:
    found, skew = network.look_at_clock(loaded().settings, FakeDoors())

    assert (found.severity, skew) == (Severity.SKIPPED, None)


@pytest.mark.parametrize(
    ("flags", "codes"),
    [
        ({}, [None]),
        ({"endpoint": "https://rolesanywhere.eu-west-1.amazonaws.com"}, ["endpoint-mismatch"]),
        ({"endpoint": "https://vpce-1.rolesanywhere.eu-central-1.vpce.amazonaws.com"}, [None]),
        ({"endpoint": "https://vpce-1.rolesanywhere.eu-west-1.vpce.amazonaws.com"}, ["endpoint-mismatch"]),
        ({"endpoint": "https://gateway.example"}, [None]),
        ({"region": "eu-west-1"}, ["region-mismatch"]),
        ({"endpoint": "https://gateway.example", "use-fips-endpoint": True}, ["fips-not-used"]),
        (
            {"endpoint": "https://rolesanywhere-fips.us-east-1.amazonaws.com", "use-fips-endpoint": True},
            ["endpoint-mismatch"],
        ),
        ({"role_arn": "arn:aws:iam::444455556666:role/x"}, ["account-mismatch"]),
    ],
)
def test_whether_arns_and_endpoint_agree(flags: dict[str, str], codes: list[str | None]) -> None:
    assert [each.code for each in agreement.look(loaded(**flags).settings, Asked(flags, None, HERE))] == codes


# The identity


def test_what_the_daemon_holds_need_not_be_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: str) -> None:
        raise PermissionError(13, os.strerror(13), path)

    monkeypatch.setattr(files, "read_input", forbidden)
    asked = Asked(EVERYTHING | {"session": None}, None, HERE)
    status = b'{"version": "1", "sessions": {"deploy": {"hasCredentials": true}}, "outlets": {}}'
    settings = replace(loaded(), agent_socket="/run/rolesanywhere-helper/agent.sock")
    settings = replace(settings, settings=replace(settings.settings, name="deploy"))
    doors = FakeDoors(found={"status": status})

    answered = daemon.ask(asked, settings, doors)
    assert answered.serves_session
    configured = Configured((), settings, settings.settings.identity)
    served = list(walk._identity(configured, doors, is_served=True))
    assert {each.severity for each in served} == {Severity.SKIPPED}

    alone = list(walk._identity(configured, doors, is_served=False))
    assert [each.code for each in alone if each.severity is Severity.PROBLEM] == ["unreadable-file"] * 2


def test_what_was_well_before_the_failure_is_told() -> None:
    found = holder.hold(
        IdentityReference("/a", "/b"), FakeDoors(found={"load": UntrustedCertificateError("x")})
    ).findings
    assert [each.step for each in found] == [Step.CERTIFICATE, Step.KEY, Step.LEAF, Step.EXPIRY]
    assert [each.severity.value for each in found] == ["skipped", "problem", "skipped", "skipped"]


def test_a_leaf_that_cannot_be_shown_to_the_service_either_is_told_once() -> None:
    found = {"load": LeafIsCaError("a CA"), "load anyway": UnreadableCertificateError("gone meanwhile")}
    held = holder.hold(IdentityReference("/a", "/b"), FakeDoors(found=found))

    assert held.identity is None
    assert [each.code for each in held.findings if each.severity is Severity.PROBLEM] == ["leaf-is-ca"]


# The daemon, the cache


def test_what_answers_and_is_no_daemon_is_told() -> None:
    found = daemon.ask(Asked({}, None, HERE), None, FakeDoors(found={"status": b"{}"})).findings

    assert [each.code for each in found] == ["no-daemon"]


def test_a_daemon_that_tells_nothing_is_a_warning() -> None:
    found = daemon.ask(Asked({}, None, HERE), None, FakeDoors(found={"status": HelperError("tells nothing")})).findings

    assert [(each.severity, each.code) for each in found] == [(Severity.WARNING, "error")]


def test_a_cache_that_cannot_be_is_told(tmp_path: Path) -> None:
    plain = tmp_path / "file"
    plain.touch()

    def codes(path: str | None) -> list[str | None]:
        return [each.code for each in resting.look(None, path, FakeDoors())]

    assert codes(None) == ["no-cache-directory"]
    assert codes(str(plain)) == ["cache-directory"]
    assert codes(f"{plain}/below") == ["cache-directory"]
    assert {each.severity for each in resting.look(None, str(plain), FakeDoors())} == {Severity.WARNING}
    assert codes(str(tmp_path / "new")) == [None]
    assert not (tmp_path / "new").exists()
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    [told] = resting.look(None, None, FakeDoors(), str(home))
    assert told.hints[0].command == f"export ROLESANYWHERE_HELPER_CACHE_DIR={home}/.cache/rolesanywhere-helper"
    (home / ".cache").touch()
    [told] = resting.look(None, f"{home}/.cache/rolesanywhere-helper", FakeDoors(), str(home))
    assert told.hints[0].command == f"export ROLESANYWHERE_HELPER_CACHE_DIR={home}/.rolesanywhere-helper/cache"
    off = loaded(no_cache=True).settings
    assert [each.severity for each in resting.look(off, None, FakeDoors())] == [Severity.SKIPPED]


# Causes


def circumstances(**changes: Any) -> causes.Circumstances:
    return causes.Circumstances(loaded(**changes).settings, top_issuer="CN=Issuing")


def test_a_signature_is_explained_by_what_is_known_of_the_clock() -> None:
    error = InvalidSignatureError("Invalid signature")

    assert "check this machine's clock" in causes.hints(error, circumstances())[0].text
    known = replace(circumstances(), skew_seconds=1.0)
    assert "something on the way changes the request" in causes.hints(error, known)[0].text


@pytest.mark.parametrize(
    ("endpoint", "error", "is_thought_of"),
    [
        ("http://127.0.0.1:1", DeadlineExceededError("no answer"), True),
        ("http://127.0.0.1:1", BadAnswerError("HTML"), True),
        ("http://127.0.0.1:1", RefusedError("the service refused with HTTP 400 and no message"), True),
        ("http://127.0.0.1:1", RefusedError("the service refused: x"), False),
        ("https://127.0.0.1:1", BadAnswerError("HTML"), False),
    ],
)
def test_the_scheme_is_thought_of_where_plain_http_meets_no_answer(
    endpoint: str, error: HelperError, *, is_thought_of: bool
) -> None:
    told = causes.hints(error, circumstances(endpoint=endpoint))[0].text
    assert ("https://127.0.0.1:1" in told) is is_thought_of


def test_a_ca_that_must_not_issue_what_is_below_it_is_told_with_what_is_sent() -> None:
    root = authority("Root")
    valid = Validity.days(time.time(), 5)
    upper = root.intermediate("Upper", valid, KeyKind.P_256, path_length=0)
    lower = upper.intermediate("Lower", valid, KeyKind.P_256)

    def fault(chain: tuple[Any, ...], *warnings: str) -> HelperError | None:
        identity: Any = SimpleNamespace(chain_der=tuple(each.public_bytes(Encoding.DER) for each in chain))
        return holder.fault_of_chain(identity, warnings, time.time())

    found = fault(lower.chain)
    assert found is not None
    assert "CN=Upper allows 0 CAs below it" in found.what
    assert fault(upper.chain) is None
    assert fault(lower.chain, f"the intermediate certificate {found.what.removeprefix('the CA ')}") is None


def test_an_untrusted_certificate_is_explained_by_what_is_sent() -> None:
    error = UntrustedCertificateError("Untrusted signing certificate")

    assert "--intermediates" in causes.hints(error, circumstances())[0].text
    assert "--trust-anchor-arn" in causes.hints(error, replace(circumstances(), intermediates=1))[0].text
    checked = causes.hints(error, replace(circumstances(), is_way_checked=True))[0].text
    assert "is not the one of this trust anchor" in checked


def test_commands_name_an_alias_by_its_arn_and_other_resources_by_their_id() -> None:
    alias = PROFILE.replace("profile/11111111-2222-3333-4444-555555555555", "alias/profile/web")
    told = [
        causes.hints(InvalidProfileError("x"), circumstances(profile_arn=arn))[1].command for arn in (PROFILE, alias)
    ]

    assert told == [
        "aws --region eu-central-1 rolesanywhere enable-profile --profile-id 11111111-2222-3333-4444-555555555555",
        f"aws --region eu-central-1 rolesanywhere enable-profile --profile-id {alias}",
    ]


def test_a_certificate_without_a_common_name_is_offered_no_statement_for_all() -> None:
    error = AssumeRoleDeniedError("Unable to assume role")
    told = causes.hints(error, replace(circumstances(), subject="O=Example"))

    assert "does not fit the certificate (O=Example)" in told[0].text
    assert not any("ArnEquals" in hint.text for hint in told)
    named = causes.hints(error, replace(circumstances(), common_name="host-7"))
    assert '{"aws:PrincipalTag/x509Subject/CN": "host-7"}' in named[0].text


def test_an_error_that_nobody_translates_keeps_its_hint() -> None:
    assert causes.hints(HelperError("x", "do this"), circumstances()) == (Hint("do this"),)
    asked: Any = Asked({}, None, HERE)
    assert causes.hints_for_hop(HelperError("x", "do this"), asked, asked, asked) == (Hint("do this"),)


# The AWS files


def of_aws(
    config: str, credentials: str = "", asked: str | None = "deploy", **variables: str
) -> list[tuple[str | None, str]]:
    paths = aws_files.AwsPaths("/home/me/.aws/config", "/home/me/.aws/credentials")
    taken_apart = aws_files.AwsFiles(paths, read_sections(config), read_sections(credentials), is_config_there=True)
    chosen = aws_files.selected(asked, variables)
    return [(each.code, each.severity.value) for each in aws_files.look(taken_apart, chosen, variables)]


def line(words: str, name: str = "profile deploy") -> str:
    return f"[{name}]\ncredential_process = {words}\n"


OURS = "/usr/bin/env"  # is there on every machine
BORROWED = "[profile deploy]\nrole_arn = arn:aws:iam::111122223333:role/x\n"


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_lines, "PROGRAMS", frozenset({"env", "rolesanywhere-helper"}))


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (line(f"{OURS} credential-process --certificate /a --private-key=/b"), (None, "ok")),
        (line(f"{OURS} --certificate pkcs11:token=x --private-key env:KEY"), (None, "ok")),
        (line(f"{OURS} --certificate 'a b.pem'"), ("relative-path", "problem")),
        (line(f"{OURS} --private-key=$HOME/x.key"), ("unexpanded-path", "problem")),
        (line(f"{OURS} --certificate '/a"), ("broken-line", "problem")),
        (line("~/bin/rolesanywhere-helper x"), ("unexpanded-path", "problem")),
        (line("/nonexistent/rolesanywhere-helper x"), ("program-not-there", "problem")),
        (line("'/opt/a b/rolesanywhere-helper' x"), ("program-not-there", "problem")),
        (line("/usr/bin/python3 -m rolesanywhere_helper --private-key=k"), ("relative-path", "problem")),
        (line("/usr/bin/python3 -m other --private-key=k"), ("another-program", "warning")),
        (line("other-program-of-nobody --token canary"), ("program-not-there", "problem")),
        (line("./other-program"), ("program-not-there", "problem")),
        (line(f'"{OURS} credential-process"'), ("quoted-line", "problem")),
        (line("/opt/rolesanywhere_helper x"), ("program-not-there", "problem")),
        (line(f"X=canary {OURS} credential-process"), ("line-for-a-shell", "problem")),
        (line(f"{OURS} credential-process # prod"), ("line-for-a-shell", "problem")),
        (line(f"{OURS} credential-process 2>/dev/null"), ("line-for-a-shell", "problem")),
        (line(f"{OURS} credential-process | jq ."), ("line-for-a-shell", "problem")),
        (line(f"{OURS} credential-process --pkcs8-password '#canary' --pkcs8-password=\\>x"), (None, "ok")),
        (line(f"/bin/sh -c '{OURS} credential-process | jq .'"), (None, "ok")),
        (line(""), ("program-not-there", "problem")),
        (f"[profile deploy]\nregion = x\n  credential_process = {OURS}\n", ("no-process", "problem")),
        (f"[profile deploy]\ncredential-process = {OURS}\n", ("no-process", "problem")),
        (f"[profile deploy]\ncredentials_process = {OURS}\n", ("no-process", "problem")),
        (f"{BORROWED}source_profile = a\n{line(OURS, 'profile a')}", (None, "ok")),
        (f"{BORROWED}source_profile = a\n{line('/no/program', 'profile a')}", ("program-not-there", "problem")),
        (f"{BORROWED}source_profile = b\n{line(OURS, 'profile a')}", ("unknown-profile", "problem")),
        (f"{BORROWED}source_profile = deploy\n", ("no-process", "problem")),
        (f"{BORROWED}credential_source = Environment\n", ("no-process", "problem")),
        (line(OURS) + "aws_access_key_id = x\n", ("shadowed-process", "warning")),
        (line(OURS, 'profile "deploy"'), (None, "ok")),
        (line(OURS, "profile another"), ("unknown-profile", "problem")),
        (line(OURS) + "sso_session = x\n", ("shadowed-process", "problem")),
        (line(OURS) + "region = us-east-1\n", (None, "ok")),
        ("[profile deploy]\nregion = us-east-1\n", ("no-process", "problem")),
    ],
)
def test_a_profile_s_line_is_read_as_aws_clients_do(config: str, expected: tuple[str | None, str]) -> None:
    assert of_aws(config) == [expected]


@pytest.mark.usefixtures("ours")
def test_the_environment_comes_before_the_profile() -> None:
    good = line(OURS)

    assert of_aws(good, asked=None, AWS_PROFILE="deploy") == [(None, "ok")]
    # botocore looks at the older name first.
    both = of_aws(good + line(OURS, "profile old"), asked=None, AWS_PROFILE="deploy", AWS_DEFAULT_PROFILE="old")
    assert both == [("another-profile", "warning")]
    token = of_aws(good, AWS_WEB_IDENTITY_TOKEN_FILE="/t", AWS_ROLE_ARN="arn")
    assert token == [("shadowed-process", "problem")]
    assert of_aws(good, AWS_WEB_IDENTITY_TOKEN_FILE="/t") == [(None, "ok")]
    other = f"{good}[profile x]\nregion = us-east-1\n"
    assert of_aws(other, asked=None, AWS_PROFILE="x") == [("another-profile", "warning")]
    assert of_aws("[profile x]\nregion = us-east-1\n", asked=None, AWS_PROFILE="x") == [(None, "skipped")]


@pytest.mark.usefixtures("ours")
def test_a_line_of_the_credentials_file_counts_too() -> None:
    assert of_aws("", line(OURS, "deploy")) == [(None, "ok")]
    assert of_aws("", line(OURS, "profile deploy")) == [("unread-profile", "problem"), ("unknown-profile", "problem")]


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("header", [" profile deploy ", "Profile deploy", "PROFILE\tdeploy", "deploy", " 'deploy'"])
def test_a_header_that_is_nearly_right_is_put_right(header: str) -> None:
    paths = aws_files.AwsPaths("/c", None)
    chosen = aws_files.selected("deploy", {})

    def told(section: str) -> list[Finding]:
        files = aws_files.AwsFiles(paths, read_sections(line(OURS, section)), is_config_there=True)
        return list(aws_files.look(files, chosen, {}))

    hint = told(header)[0].hints[0].text
    assert (told(header)[0].code, hint) == ("unread-profile", "in this file write [profile deploy]")
    assert [each.code for each in told(hint.partition("[")[2].rstrip("]"))] == [None]


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://user:canary@127.0.0.1:1/?canary", "its endpoint_url sends AWS clients to 127.0.0.1:1 for"),
        ("http://[canary", "to what cannot be read for"),
        ("", ""),
    ],
)
def test_another_endpoint_of_a_profile_is_told(url: str, told: str) -> None:
    written = read_sections(line(OURS) + f"endpoint_url = {url}\n")
    files = aws_files.AwsFiles(aws_files.AwsPaths("/c", None), written, is_config_there=True)
    [found] = aws_files.look(files, aws_files.selected("deploy", {}), {})

    assert (found.severity, "endpoint_url" in found.what, told in found.what) == (Severity.OK, bool(told), True)
    assert "canary" not in found.what


@pytest.mark.usefixtures("ours")
def test_roles_that_are_gone_on_to_from_a_source_profile_are_flags() -> None:
    chain = "[profile a]\nrole_arn = A\nsource_profile = b\n[profile b]\nrole_arn = B\nsource_profile = c\n"
    origin = line(OURS, "profile c")

    def flags(text: str) -> Any:
        files = aws_files.AwsFiles(aws_files.AwsPaths("/c", None), read_sections(text))
        return files.roles_after("a")

    assert flags(chain + origin) == {"assume-role-arn": ["B", "A"]}
    last = chain.replace("= A", "= A\nexternal_id = x")
    assert flags(last + origin) == {"assume-role-arn": ["B", "A"], "external-id": "x"}
    assert flags(chain.replace("= B", "= B\nexternal_id = x") + origin) is None
    assert flags(chain.replace("= B", "= B\nmfa_serial = x") + origin) is None
    assert flags(line(OURS, "profile a")) == {}
    assert flags(chain) == {"assume-role-arn": ["B", "A"]}  # whatever c is, it is told that it is not there


@pytest.mark.usefixtures("ours")
def test_the_line_of_the_credentials_file_comes_first() -> None:
    both = of_aws(line(OURS), line("/bin/false", "deploy"))
    assert both == [("shadowed-process", "problem")]
    assert of_aws(line("/no/program"), line(OURS, "deploy")) == [("shadowed-process", "problem")]


@pytest.mark.parametrize(
    ("content", "runs"),
    [
        ("#!/bin/sh\n", True),
        ("#!/usr/bin/env sh\n", True),
        ("#!/usr/bin/env -S sh -e\n", True),
        ("\x7fELF\x02\x01\x01\0\0", True),
        ("#!/opt/gone/bin/python3\n", False),
        ("#!/usr/bin/env python-of-nobody\n", False),
        ("#!\n", False),
        ("exec rolesanywhere-helper credential-process\n", False),
        ("", False),
    ],
)
def test_a_program_that_the_system_would_not_run_is_told(tmp_path: Path, content: str, *, runs: bool) -> None:
    program = tmp_path / "program"
    program.write_text(content)
    program.chmod(0o755)

    assert of_aws(line(str(program))) == [("another-program", "warning") if runs else ("program-not-there", "problem")]


def test_a_file_that_this_user_may_not_read_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    read = aws_files.read_files(aws_files.AwsPaths(str(directory), str(tmp_path / "none")))

    assert [path for path, _ in read.broken] == [str(directory)]
    assert aws_files.read_files(aws_files.AwsPaths(str(tmp_path / "none"), None)).broken == ()
