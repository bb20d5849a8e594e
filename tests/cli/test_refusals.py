"""Whatever goes wrong: one line that says what, one that says what to do, an exit code, and nothing on stdout.

From outside, the installed command against an emulator that verifies; then a raw client, which sends what the command
would not.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_helper import errors
from rolesanywhere_helper.domain.endpoint import parse_endpoint
from rolesanywhere_helper.domain.session import session_spec
from rolesanywhere_helper.emulator import trust_policies
from rolesanywhere_helper.identity.keyed import KeyedIdentity
from rolesanywhere_helper.identity.software import SoftwareKey
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity, certificates_pem
from rolesanywhere_helper.pki.forgery import of_version_1, signed_with_sha1
from rolesanywhere_helper.pki.keys import KeyKind
from rolesanywhere_helper.protocol import create_session, sigv4_x509
from tests.fakes.answers import http_date, refused
from tests.fakes.http_server import Connection, Requests, ScriptedServer, wire
from tests.unit.emulator import signing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rolesanywhere_helper.domain.ports import HttpRequest
    from rolesanywhere_helper.emulator.state import Profile, Role
    from rolesanywhere_helper.pki.certificates import Issued
    from tests.conftest import Finished, RunHelper
    from tests.plugins.emulated import Emulated

TWO_LINES = re.compile(r"error: .+\nhint: .+\n")
OTHER_ID = "00000000-0000-4000-8000-000000000000"


LeafCase: TypeAlias = "tuple[Callable[[CertificateAuthority], Issued], type[errors.HelperError], str]"
Arrangement: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]


def assert_refused(done: Finished, error: type[errors.HelperError], said: str) -> None:
    """Require the error's own hint, its exit code, and nothing where credentials would be."""
    assert done.stdout == b""
    assert TWO_LINES.fullmatch(done.err), done.err
    what, hint = done.err.splitlines()
    assert said in what
    assert hint == f"hint: {error.default_hint}"
    assert done.exit_code == error.exit_code


def assert_accepted(done: Finished) -> dict[str, Any]:
    assert (done.exit_code, done.err) == (0, "")
    document: dict[str, Any] = json.loads(done.out)
    return document


# Certificates


def validity(days: int = 30) -> Validity:
    return Validity.days(time.time(), days)


@pytest.fixture
def authority(emulated: Emulated) -> CertificateAuthority:
    """Return the CA that the emulator's trust anchor holds."""
    files = emulated.emulator.directory
    return CertificateAuthority.from_pem(files.file("ca.pem").read_bytes(), files.file("ca.key").read_bytes())


def another_ca() -> CertificateAuthority:
    return CertificateAuthority.root("Other CA", validity(), KeyKind.P_256)


def expired(authority: CertificateAuthority) -> Issued:
    return authority.issue(LeafRequest(validity(-1)))


def not_yet_valid(authority: CertificateAuthority) -> Issued:
    now = int(time.time())
    return authority.issue(LeafRequest(Validity(now + 3_600, now + 7_200)))


def without_digital_signature(authority: CertificateAuthority) -> Issued:
    return authority.issue(LeafRequest(validity(), digital_signature=False))


def ca_leaf(authority: CertificateAuthority) -> Issued:
    return authority.issue(LeafRequest(validity(), is_ca=True))


def version_1(authority: CertificateAuthority) -> Issued:
    return of_version_1(authority.issue(LeafRequest(validity())), authority)


def with_sha1(authority: CertificateAuthority) -> Issued:
    return signed_with_sha1(authority.issue(LeafRequest(validity())), authority)


def of_another_ca(_: CertificateAuthority) -> Issued:
    return another_ca().issue(LeafRequest(validity()))


def written(folder: Path, issued: Issued, *, certificate: bytes | None = None) -> dict[str, str]:
    """Write certificate and key; return the flags that name them."""
    leaf, key = folder / "leaf.pem", folder / "leaf.key"
    leaf.write_bytes(issued.full_chain_pem if certificate is None else certificate)
    key.touch(mode=0o600)
    key.write_bytes(issued.key_pem())
    return {"certificate": str(leaf), "private_key": str(key)}


def test_a_good_leaf_is_accepted(
    run_helper: RunHelper, emulated: Emulated, authority: CertificateAuthority, tmp_path: Path
) -> None:
    """The control of every refusal below."""
    good = written(tmp_path, authority.issue(LeafRequest(validity())))
    assert_accepted(run_helper("credential-process", *emulated.flags(**good)))


@pytest.mark.parametrize(
    "case",
    [
        (expired, errors.LeafExpiredError, "the certificate CN=client expired at 20"),
        (not_yet_valid, errors.LeafNotYetValidError, "the certificate CN=client is not valid before 20"),
        (without_digital_signature, errors.LeafLacksDigitalSignatureError, "lacks digitalSignature"),
        (ca_leaf, errors.LeafIsCaError, "the certificate CN=client is a CA certificate"),
        (version_1, errors.LeafVersionError, "the certificate CN=client is X.509 v1"),
    ],
)
def test_a_leaf_that_cannot_be_used_is_refused_here_and_nothing_is_sent(
    run_helper: RunHelper, emulated: Emulated, authority: CertificateAuthority, tmp_path: Path, case: LeafCase
) -> None:
    make, error, said = case
    files = written(tmp_path, make(authority))
    assert_refused(run_helper("credential-process", *emulated.flags(**files)), error, said)
    assert emulated.create_session_calls() == []


def test_a_key_of_another_certificate_is_refused_here(
    run_helper: RunHelper, emulated: Emulated, authority: CertificateAuthority, tmp_path: Path
) -> None:
    one, other = (authority.issue(LeafRequest(validity())) for _ in range(2))
    files = written(tmp_path, one, certificate=other.pem)
    done = run_helper("credential-process", *emulated.flags(**files))
    assert_refused(done, errors.KeyMismatchError, "the private key does not belong to the certificate CN=client")
    assert emulated.create_session_calls() == []


def test_a_leaf_of_another_ca_is_refused_by_the_service(
    run_helper: RunHelper, emulated: Emulated, authority: CertificateAuthority, tmp_path: Path
) -> None:
    files = written(tmp_path, of_another_ca(authority))
    done = run_helper("credential-process", *emulated.flags(**files))
    assert_refused(done, errors.UntrustedCertificateError, "the service refused: Untrusted signing certificate")
    assert len(emulated.create_session_calls()) == 1, "a refusal is not tried again"


# Trust anchor, profile, role


@contextmanager
def profile_changed(emulated: Emulated, **knobs: Any) -> Iterator[None]:
    """Change the first profile, and change it back."""
    before = emulated.emulator.state

    def changed(profile: Profile) -> Profile:
        return replace(profile, **knobs)

    emulated.emulator.change_state(lambda state: replace(state, profiles=tuple(map(changed, state.profiles))))
    try:
        yield
    finally:
        emulated.emulator.change_state(lambda _: before)


@contextmanager
def role_changed(emulated: Emulated, **knobs: Any) -> Iterator[None]:
    """Change the roles, and change them back."""
    before = emulated.emulator.state

    def changed(role: Role) -> Role:
        return replace(role, **knobs)

    emulated.emulator.change_state(lambda state: replace(state, roles=tuple(map(changed, state.roles))))
    try:
        yield
    finally:
        emulated.emulator.change_state(lambda _: before)


def another(emulated: Emulated, name: str) -> str:
    """Return the ARN of a role, profile or trust anchor beside the one that there is."""
    known = {"role": "roleArn", "profile": "profileArn", "trust_anchor": "trustAnchorArn"}
    beginning = str(emulated.announcement[known[name]]).rpartition("/")[0]
    return f"{beginning}/{'Nobody' if name == 'role' else OTHER_ID}"


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("role", errors.RoleNotInProfileError, "Requested Role isn't one of those listed in the Profile"),
        ("profile", errors.InvalidProfileError, "Invalid or empty profile provided"),
        ("trust_anchor", errors.TrustAnchorNotFoundError, "Specified Trust Anchor wasn't found"),
    ],
)
def test_what_the_account_does_not_have_is_refused(
    run_helper: RunHelper, emulated: Emulated, name: str, error: type[errors.HelperError], said: str
) -> None:
    done = run_helper("credential-process", *emulated.flags(**{f"{name}_arn": another(emulated, name)}))
    assert_refused(done, error, f"the service refused: {said}")


@pytest.mark.parametrize("knobs", [{"enabled": False}, {"role_arns": ()}])
def test_a_disabled_or_empty_profile_is_refused(
    run_helper: RunHelper, emulated: Emulated, knobs: dict[str, object]
) -> None:
    with profile_changed(emulated, **knobs):
        done = run_helper("credential-process", *emulated.flags())
    assert_refused(done, errors.InvalidProfileError, "the service refused: Invalid or empty profile provided")


def test_a_role_session_name_needs_the_profiles_leave(run_helper: RunHelper, emulated: Emulated) -> None:
    flags = emulated.flags(role_session_name="deploy")
    with profile_changed(emulated, accept_role_session_name=False):
        done = run_helper("credential-process", *flags)
        assert_refused(done, errors.RoleSessionNameRefusedError, "Not authorized to set roleSessionName")
        assert_accepted(run_helper("credential-process", *emulated.flags()))
    assert_accepted(run_helper("credential-process", "--no-cache", *flags))


def test_a_session_longer_than_the_roles_maximum_is_refused(run_helper: RunHelper, emulated: Emulated) -> None:
    with role_changed(emulated, max_session_seconds=3_600):
        done = run_helper("credential-process", *emulated.flags(session_duration="3601"))
        assert_refused(done, errors.DurationTooLongError, "exceeds the MaxSessionDuration set for this role")
        assert_accepted(run_helper("credential-process", *emulated.flags(session_duration="3600")))


def test_a_role_that_does_not_trust_roles_anywhere_is_refused(run_helper: RunHelper, emulated: Emulated) -> None:
    with role_changed(emulated, trust_policy=trust_policies.NOBODY):
        done = run_helper("credential-process", *emulated.flags())
    role = emulated.announcement["roleArn"]
    assert_refused(done, errors.AssumeRoleDeniedError, f"the service refused: Unable to assume role for {role}")


def test_what_cannot_become_a_session_tag_is_refused(
    run_helper: RunHelper, emulated: Emulated, authority: CertificateAuthority, tmp_path: Path
) -> None:
    strange = authority.issue(LeafRequest(validity(), subject=(("CN", "client"), ("OU", "a*b"))))
    done = run_helper("credential-process", *emulated.flags(**written(tmp_path, strange)))
    assert_refused(done, errors.SessionTagMappingError, "Some attributes failed to be mapped into session tags")


# Answers


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ({"message": "Certificate revoked"}, errors.CertificateRevokedError, "Certificate revoked"),
        ({"message": "Invalid signature"}, errors.InvalidSignatureError, "Invalid signature"),
        (
            {"message": "Untrusted certificate. Insufficient certificate"},
            errors.InsufficientCertificateError,
            "Untrusted certificate. Insufficient certificate",
        ),
        (
            {"message": "Not authorized to set roleSessionName."},
            errors.RoleSessionNameRefusedError,
            "Not authorized to set roleSessionName",
        ),
        ({"message": "Something new"}, errors.RefusedError, "the service refused: Something new"),
        ({"status": 400, "message": "1 validation error"}, errors.RefusedError, "1 validation error"),
        ({"status": 404, "message": "Specified Trust Anchor wasn't found."}, errors.TrustAnchorNotFoundError, "wasn't"),
        ({"status": 429, "message": "Rate exceeded"}, errors.ThrottledError, "fewer calls: Rate exceeded"),
        (
            {"status": 400, "type": "ThrottlingException", "message": "Rate exceeded"},
            errors.ThrottledError,
            "fewer calls: Rate exceeded",
        ),
        ({"status": 500}, errors.ServiceUnavailableError, "the service failed with HTTP 500"),
        ({"status": 503}, errors.ServiceUnavailableError, "the service failed with HTTP 503"),
        ({"body": "<html>sign in to the network</html>"}, errors.BadAnswerError, "is not a JSON object"),
        ({"body": ""}, errors.BadAnswerError, "is not a JSON object"),
        ({"body": '{"credentialSet": []}'}, errors.BadAnswerError, "holds no credentials"),
        ({"expiresInSeconds": -60}, errors.BadExpirationError, "the credentials had expired"),
        ({"expiresInSeconds": 7200}, errors.BadExpirationError, "but the credentials last"),
    ],
)
@pytest.mark.promise(47, 61)
def test_an_answer_that_holds_no_good_credentials(
    run_helper: RunHelper, emulated: Emulated, fault: dict[str, Any], error: type[errors.HelperError], said: str
) -> None:
    emulated.emulator.set_fault(**fault)
    assert_refused(run_helper("credential-process", *emulated.flags()), error, said)
    is_repeated = error in {errors.ThrottledError, errors.ServiceUnavailableError}
    assert len(emulated.create_session_calls()) == (3 if is_repeated else 1)


@pytest.mark.promise(66)
def test_credentials_of_another_role_are_refused(run_helper: RunHelper, emulated: Emulated) -> None:
    told = assert_accepted(run_helper("credential-process", "--no-cache", *emulated.flags()))
    role = str(emulated.announcement["roleArn"])
    wrong = role.replace("/EmulatorRole", "/Administrator")
    entry = {
        "credentials": {
            "accessKeyId": told["AccessKeyId"],
            "secretAccessKey": told["SecretAccessKey"],
            "sessionToken": told["SessionToken"],
            "expiration": told["Expiration"],
        },
        "roleArn": role,
    }
    emulated.emulator.set_fault(body=json.dumps({"credentialSet": [entry]}), times=1)
    assert_accepted(run_helper("credential-process", "--no-cache", *emulated.flags()))
    emulated.emulator.set_fault(body=json.dumps({"credentialSet": [entry | {"roleArn": wrong}]}))
    done = run_helper("credential-process", *emulated.flags())
    assert_refused(done, errors.WrongRoleError, f"asked for {role}, but was given credentials for {wrong}")
    assert told["SecretAccessKey"] not in done.err


@pytest.mark.promise(61)
def test_half_an_answer_is_none(run_helper: RunHelper, emulated: Emulated) -> None:
    emulated.emulator.set_fault(truncate=True)
    done = run_helper("credential-process", *emulated.flags())
    assert_refused(done, errors.TruncatedAnswerError, "127.0.0.1")
    assert done.exit_code == 1, "something was reached"


@pytest.mark.parametrize("minutes", [-30, 30])
def test_a_clock_that_is_wrong_is_named_with_how_much(run_helper: RunHelper, emulated: Emulated, minutes: int) -> None:
    """The service says no word about time; its Date header does."""
    answer = refused("Invalid signature", date=http_date(time.time() - minutes * 61))
    with ScriptedServer(Requests().answering(wire(answer))) as server:
        done = run_helper("credential-process", *emulated.flags(endpoint=server.url))
    assert_refused(done, errors.ClockSkewError, "30 minutes")
    assert ("ahead" if minutes > 0 else "behind") in done.err


def test_a_clock_that_is_nearly_right_is_not_blamed(run_helper: RunHelper, emulated: Emulated) -> None:
    answer = refused("Invalid signature", date=http_date(time.time() - 200))
    with ScriptedServer(Requests().answering(wire(answer))) as server:
        done = run_helper("credential-process", *emulated.flags(endpoint=server.url))
    assert_refused(done, errors.InvalidSignatureError, "Invalid signature")


# The network, and what is refused before anything is sent


@pytest.mark.promise(63)
@pytest.mark.parametrize(("status", "to"), [(301, "elsewhere"), (307, "elsewhere"), (308, "the same place")])
def test_a_redirect_is_not_followed(run_helper: RunHelper, emulated: Emulated, status: int, to: str) -> None:
    place = emulated.endpoint if to == "the same place" else "https://elsewhere.example"
    emulated.emulator.set_fault(status=status, headers={"Location": f"{place}/sessions"})
    done = run_helper("credential-process", *emulated.flags())
    assert_refused(done, errors.RedirectRefusedError, "redirect")
    assert done.exit_code == 1, "something was reached"
    assert len(emulated.create_session_calls()) == 1


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_nothing_that_listens_is_a_network_failure(run_helper: RunHelper, emulated: Emulated) -> None:
    done = run_helper("credential-process", *emulated.flags(endpoint=f"http://127.0.0.1:{closed_port()}"))
    assert_refused(done, errors.ConnectionFailedError, "127.0.0.1")
    assert done.exit_code == 3


def test_a_connection_that_breaks_is_a_network_failure(run_helper: RunHelper, emulated: Emulated) -> None:
    with ScriptedServer(Requests().then(Connection.reset)) as server:
        done = run_helper("credential-process", *emulated.flags(endpoint=server.url))
    assert_refused(done, errors.ConnectionFailedError, "127.0.0.1")
    assert server.connections == 3, "it may pass, so it is tried again"


def test_a_name_without_an_address_is_a_network_failure(run_helper: RunHelper, emulated: Emulated) -> None:
    done = run_helper("credential-process", *emulated.flags(endpoint="https://rolesanywhere.invalid"))
    assert_refused(done, errors.UnresolvedHostError, "rolesanywhere.invalid")


def test_a_server_without_tls_is_a_failure_of_what_was_reached(run_helper: RunHelper, emulated: Emulated) -> None:
    done = run_helper("credential-process", *emulated.flags(endpoint=emulated.endpoint.replace("http:", "https:")))
    assert (done.exit_code, done.stdout) == (1, b""), "something was reached"
    assert TWO_LINES.fullmatch(done.err)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trust_anchor_arn": "arn:aws:iam::111122223333:role/Deploy"}, "trust anchor"),
        ({"role_arn": "EmulatorRole"}, "role"),
        ({"session_duration": "899"}, "a session cannot last 899 seconds"),
        ({"session_duration": "12h1s"}, "a session cannot last 43201 seconds"),
        ({"role_session_name": "two words"}, "this cannot be a role session name"),
        ({"region": "mars"}, "this is not the name of an AWS region: 'mars'"),
        ({"endpoint": "http://rolesanywhere.example"}, "http"),
        ({"endpoint": "ftp://rolesanywhere.example"}, "this is not an endpoint"),
        ({"instance_properties": "novalue"}, "--instance-properties is not a list of properties"),
        ({"profile_arn": "arn:aws:rolesanywhere:eu-west-1:111122223333:profile/p"}, "not in the same region"),
        ({"certificate": ""}, "missing: --certificate"),
    ],
)
def test_what_the_service_would_refuse_anyway_is_not_sent(
    run_helper: RunHelper, emulated: Emulated, changed: dict[str, str], said: str
) -> None:
    done = run_helper("credential-process", *emulated.flags(**changed))
    assert (done.exit_code, done.stdout) == (2, b"")
    assert TWO_LINES.fullmatch(done.err), done.err
    assert said in done.err.splitlines()[0]
    assert emulated.create_session_calls() == []


# A raw client: the project's signing, and what the command would never send


def holder(issued: Issued) -> KeyedIdentity:
    """Return an identity without the checks that loading it makes."""
    return KeyedIdentity(
        leaf_der=issued.der,
        chain_der=tuple(above.public_bytes(Encoding.DER) for above in issued.intermediates),
        serial=issued.certificate.serial_number,
        key_type=SoftwareKey(issued.private_key).key_type,  # type: ignore[arg-type]  # it is RSA
        not_after=int(issued.certificate.not_valid_after_utc.timestamp()),
        _key=SoftwareKey(issued.private_key),  # type: ignore[arg-type]  # the same
    )


def signed(emulated: Emulated, issued: Issued, at: float | None = None) -> HttpRequest:
    told = emulated.announcement
    spec = session_spec(
        trust_anchor_arn=told["trustAnchorArn"], profile_arn=told["profileArn"], role_arn=told["roleArn"]
    )
    request = create_session.build(spec, parse_endpoint(emulated.endpoint))
    moment = int(time.time() if at is None else at)
    return sigv4_x509.sign_request(request, holder(issued), region=spec.region, at=moment)


def sent(emulated: Emulated, request: HttpRequest) -> tuple[int, str]:
    """Send it as it is; return status and message."""
    headers = tuple((name, value) for name, value in request.headers if name != "Content-Length")
    reply = signing.send(emulated.endpoint, signing.Request(request.method, request.target, headers, request.body))
    return reply.status, reply.json.get("message", "")


def changed_header(request: HttpRequest, name: str, change: Callable[[str], str]) -> HttpRequest:
    headers = tuple((each, change(value) if each == name else value) for each, value in request.headers)
    return replace(request, headers=headers)


def next_character(text: str) -> str:
    """Change the last character by one; a digit stays a digit, and what is hexadecimal stays so."""
    return text[:-1] + {"9": "8", "f": "e"}.get(text[-1], chr(ord(text[-1]) + 1))


def a_minute_later(stamp: str) -> str:
    minute = (int(stamp[11:13]) + 1) % 60
    return f"{stamp[:11]}{minute:02}{stamp[13:]}"


TAMPERINGS: dict[str, Callable[[HttpRequest], HttpRequest]] = {
    "a byte of the body": lambda request: replace(request, body=request.body.replace(b"3600", b"3601")),
    "the role in the body": lambda request: replace(request, body=request.body.replace(b":role/E", b":role/F")),
    "a byte of a header": lambda request: changed_header(request, "Content-Type", next_character),
    "the host": lambda request: changed_header(request, "Host", lambda host: host.replace("127.0.0.1", "localhost")),
    "the date": lambda request: changed_header(request, "X-Amz-Date", a_minute_later),
    "the signature": lambda request: changed_header(request, "Authorization", next_character),
    "the signature's length": lambda request: changed_header(request, "Authorization", lambda text: text[:-2]),
    "the serial": lambda request: changed_header(
        request, "Authorization", lambda text: text.replace("Credential=", "Credential=1", 1)
    ),
    "the region": lambda request: changed_header(
        request, "Authorization", lambda text: text.replace("/us-east-1/", "/us-east-2/")
    ),
    "a parameter more": lambda request: replace(request, target=f"{request.target}?durationSeconds=43200"),
}


@pytest.fixture
def leaf(authority: CertificateAuthority) -> Issued:
    return authority.issue(LeafRequest(validity()))


def test_the_raw_client_is_accepted(emulated: Emulated, leaf: Issued) -> None:
    """The control of every tampering below."""
    assert sent(emulated, signed(emulated, leaf)) == (201, "")


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_what_was_changed_after_signing_is_refused(emulated: Emulated, leaf: Issued, tampering: str) -> None:
    request = signed(emulated, leaf)
    changed = TAMPERINGS[tampering](request)
    assert changed != request
    assert sent(emulated, changed) == (403, "Invalid signature")


@pytest.mark.parametrize("minutes", [-31, -6, 6, 31])
def test_a_date_outside_the_window_is_refused(emulated: Emulated, leaf: Issued, minutes: int) -> None:
    assert sent(emulated, signed(emulated, leaf, time.time() + minutes * 60)) == (403, "Invalid signature")
    assert sent(emulated, signed(emulated, leaf, time.time() + minutes // abs(minutes) * 240))[0] == 201


def test_another_certificate_under_the_same_signature_is_refused(
    emulated: Emulated, leaf: Issued, authority: CertificateAuthority
) -> None:
    other_leaf = authority.issue(LeafRequest(validity(), serial=leaf.certificate.serial_number))
    swapped = changed_header(signed(emulated, leaf), "X-Amz-X509", lambda _: base64.b64encode(other_leaf.der).decode())
    assert sent(emulated, swapped) == (403, "Invalid signature")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of_another_ca, "Untrusted signing certificate"),
        (expired, "Untrusted certificate. Insufficient certificate"),
        (not_yet_valid, "Untrusted certificate. Insufficient certificate"),
        (without_digital_signature, "Untrusted certificate. Insufficient certificate"),
        (ca_leaf, "Untrusted certificate. Insufficient certificate"),
        (version_1, "Untrusted certificate. Insufficient certificate"),
        (with_sha1, "Untrusted certificate. Insufficient certificate"),
    ],
)
def test_a_leaf_that_the_command_would_not_send_is_refused_by_the_emulator_too(
    emulated: Emulated, authority: CertificateAuthority, make: Callable[[CertificateAuthority], Issued], message: str
) -> None:
    assert sent(emulated, signed(emulated, make(authority))) == (403, message)


# The chain: what is sent of what the files hold


@dataclass(frozen=True)
class Hierarchy:
    """A leaf below two intermediates below a root, and a CA that has nothing to do with them."""

    root: CertificateAuthority
    upper: CertificateAuthority
    lower: CertificateAuthority
    unrelated: CertificateAuthority
    leaf: Issued

    def pem(self, names: tuple[str, ...]) -> bytes:
        return certificates_pem(*(getattr(self, name).certificate for name in names))


@pytest.fixture
def hierarchy(authority: CertificateAuthority) -> Hierarchy:
    upper = authority.intermediate("Upper", validity(), KeyKind.P_256)
    lower = upper.intermediate("Lower", validity(), KeyKind.P_256)
    return Hierarchy(authority, upper, lower, another_ca(), lower.issue(LeafRequest(validity(), key=KeyKind.P_256)))


def written_as(
    folder: Path, hierarchy: Hierarchy, in_leaf_file: tuple[str, ...], beside: tuple[str, ...]
) -> dict[str, str]:
    files = written(folder, hierarchy.leaf, certificate=hierarchy.pem(in_leaf_file))
    if beside:
        (folder / "above.pem").write_bytes(hierarchy.pem(beside))
        files["intermediates"] = str(folder / "above.pem")
    return files


ARRANGEMENTS: list[Arrangement] = [
    *((order, ()) for order in itertools.permutations(("leaf", "lower", "upper"))),
    (("root", "unrelated", "upper", "leaf", "lower"), ()),
    (("leaf",), ("lower", "upper")),
    (("leaf",), ("upper", "root", "unrelated", "lower")),
    (("leaf", "lower"), ("upper",)),
    (("leaf", "upper", "lower"), ("lower", "leaf", "upper")),
]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=lambda files: " beside ".join(map("+".join, files)))
def test_the_chain_is_sent_from_the_leaf_upwards_whatever_the_files_hold(
    run_helper: RunHelper, emulated: Emulated, hierarchy: Hierarchy, tmp_path: Path, arrangement: Arrangement
) -> None:
    files = written_as(tmp_path, hierarchy, *arrangement)
    arrived = Requests()
    with ScriptedServer(arrived.answering(wire(refused("Certificate revoked")))) as server:
        run_helper("credential-process", *emulated.flags(**files, endpoint=server.url))
    headers = dict(arrived.headers())
    assert decoded(headers["X-Amz-X509"]) == [hierarchy.leaf.certificate]
    assert decoded(headers["X-Amz-X509-Chain"]) == [hierarchy.lower.certificate, hierarchy.upper.certificate]
    assert "x-amz-x509;x-amz-x509-chain" in headers["Authorization"]


def test_with_its_intermediates_the_leaf_is_accepted(
    run_helper: RunHelper, emulated: Emulated, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    files = written_as(tmp_path, hierarchy, ("upper", "leaf"), ("unrelated", "root", "lower"))
    assert_accepted(run_helper("credential-process", *emulated.flags(**files)))


def test_without_its_intermediates_the_leaf_is_refused(
    run_helper: RunHelper, emulated: Emulated, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    """The control: the emulator knows only the root, and takes the way from what is sent."""
    files = written_as(tmp_path, hierarchy, ("leaf", "upper", "root"), ("unrelated",))
    done = run_helper("credential-process", *emulated.flags(**files))
    assert_refused(done, errors.UntrustedCertificateError, "Untrusted signing certificate")


def test_a_leaf_of_the_root_is_sent_without_a_chain(
    run_helper: RunHelper, emulated: Emulated, leaf: Issued, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    files = written(tmp_path, leaf, certificate=leaf.pem + hierarchy.pem(("root", "lower", "upper", "unrelated")))
    arrived = Requests()
    with ScriptedServer(arrived.answering(wire(refused("Certificate revoked")))) as server:
        run_helper("credential-process", *emulated.flags(**files, endpoint=server.url))
    assert "X-Amz-X509-Chain" not in dict(arrived.headers())


def decoded(header: str) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(base64.b64decode(part)) for part in header.split(",")]
