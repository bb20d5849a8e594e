"""What ``doctor`` says of a set-up that works, what it costs, and what it never says."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import tempfile
import time
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PublicFormat,
    load_der_public_key,
    pkcs12,
)

from rolesanywhere_helper import errors
from rolesanywhere_helper.doctor.findings import Step
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.doctor import test_broken_setups as broken
from tests.doctor.conftest import SEVERITIES, Patient
from tests.fakes.daemon import OUTLETS, Daemon, owned
from tests.fakes.http_server import Requests, ScriptedServer
from tests.fakes.soft_token import PIN, SoftTokens, Spy
from tests.fakes.terminal import at_a_terminal
from tests.plugins.emulated import Emulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.doctor.conftest import Report
    from tests.fakes.http_server import Connection

DOCUMENT = Path(__file__).parents[2] / "docs" / "doctor.md"
CANARY = "canary-sesame-4711"
AWS_HOST = "rolesanywhere.us-east-1.amazonaws.com"


def known_codes() -> set[str]:
    classes: list[type[errors.HelperError]] = [errors.HelperError]
    for known in classes:  # the list grows while it is read: a walk of the whole tree
        classes.extend(known.__subclasses__())
    return {known.code for known in classes}


# A set-up that works


def test_all_is_well_where_all_is_well(patient: Patient) -> None:
    report = patient.examine("--trust-anchor-certificate", patient.emulator.announcement["caCertificate"])

    assert report.complaints == []
    assert (report.done.exit_code, report.done.err) == (0, "")
    assert {each["step"] for each in report.findings} == {step.value for step in Step}
    severities = {each["step"]: each["severity"] for each in report.findings}
    assert {step for step, severity in severities.items() if severity == "skipped"} == {
        "aws-config",
        "daemon",
        "tls",
        "role-chaining",
    }
    assert report.of("caller-identity")["facts"]["arn"].startswith("arn:aws:sts::111122223333:assumed-role/Emulator")


def test_a_profile_says_which_session_is_meant(patient: Patient) -> None:
    broken.rewritten(patient)

    report = patient.examine()

    assert report.complaints == []
    assert report.of("aws-config")["facts"] == {"profile": "deploy"}
    assert report.of("configuration")["facts"]["session"] == "default"


def test_profiles_that_nobody_has_chosen_are_named(patient: Patient) -> None:
    broken.rewritten(patient)
    patient.flags = []

    told = patient.examine().of("aws-config")

    assert (told["severity"], told["facts"]) == ("ok", {"profiles": ["deploy"]})


def test_roles_that_are_gone_on_to_are_tried(patient: Patient) -> None:
    account = patient.emulator.administrators[1].account
    patient.session["assume-role-arn"] = f"arn:aws:iam::{account}:role/Consultant"

    report = patient.examine()

    assert report.complaints == []
    assert report.of("role-chaining")["severity"] == "ok"


def test_it_asks_for_one_session_and_leaves_nothing_behind(patient: Patient) -> None:
    patient.emulator.forget_requests()
    patient.examine()

    assert [seen["operation"] for seen in patient.emulator.requests()].count("CreateSession") == 1
    assert not (patient.home / ".cache").exists()


def test_a_refusal_is_not_asked_for_again(patient: Patient) -> None:
    patient.emulator.set_fault(status=503)
    patient.emulator.forget_requests()

    report = patient.examine()

    assert report.complaints[0]["code"] == "service-unavailable"
    assert len(patient.emulator.requests()) == 2  # the one for the date, and CreateSession


def test_a_throttled_account_is_told_so(patient: Patient) -> None:
    patient.emulator.set_fault(status=429, type="ThrottlingException", message="Rate exceeded")

    assert patient.examine().complaints[0]["code"] == "throttled"


# How it is told


def test_the_lines_for_people(patient: Patient) -> None:
    patient.key.chmod(0o644)
    patient.write()

    done = patient.run("doctor", "--config", patient.config)

    lines = done.out.splitlines()
    assert done.exit_code == 0
    assert lines[-1] == "0 problems, 1 warning; there is no secret in this report"
    told = next(index for index, line in enumerate(lines) if line.startswith("warning"))
    assert "can be read by every user" in lines[told]
    assert lines[told + 1] == f"         hint: run: chmod o-r {patient.key}"
    assert any(line.startswith("ok       create-session") for line in lines)
    assert any(line.startswith("-        tls              not looked at: ") for line in lines)
    assert "\x1b" not in done.out  # no terminal


def test_a_warning_fails_where_that_is_wanted(patient: Patient) -> None:
    patient.key.chmod(0o644)

    assert patient.examine("--strict").done.exit_code == 1
    assert patient.examine().done.exit_code == 0


@pytest.mark.promise(30)
def test_a_key_that_everybody_can_read_is_a_finding(patient: Patient) -> None:
    patient.key.chmod(0o644)
    assert patient.examine().of("files")["severity"] == "warning"

    patient.identity["strict-key-permissions"] = True  # type: ignore[assignment] # a switch
    assert patient.examine().of("files")["code"] == "unsafe-file"

    patient.key.chmod(0o640)
    assert patient.examine().complaints == []


def test_the_document_is_as_it_is_written_down(patient: Patient) -> None:
    patient.key.chmod(0o644)
    report = patient.examine()
    text = DOCUMENT.read_text(encoding="utf-8")

    assert {key for key in report.document if f"`{key}`" not in text} == set()
    assert report.document["schema"] == 1
    for finding in report.findings:
        assert list(finding) == ["step", "severity", "code", "what", "hints", "facts"]
        assert finding["severity"] in SEVERITIES
        assert (finding["code"] is None) == (finding["severity"] in {"ok", "skipped"})
        assert all(list(hint) == ["text", "command"] for hint in finding["hints"])


def test_every_step_and_code_is_written_down() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    source = Path(broken.__file__).parents[2] / "rolesanywhere_helper" / "doctor"
    own = {
        code
        for file in source.glob("*.py")
        for code in re.findall(r'(?:warning|problem|_wrong)\(\s*(?:Step\.\w+,\s*)?"([a-z-]+)"', file.read_text())
    }

    assert len(own) > 15
    assert {code for code in own - known_codes() if f"`{code}`" not in text} == set()
    assert {step.value for step in Step if f"`{step.value}`" not in text} == set()


# What it never says


def test_secrets_are_not_in_it(patient: Patient) -> None:
    leaf = patient.leaf()
    patient.give(leaf.pem, leaf.key_pem(passphrase=CANARY.encode()))
    patient.identity["pkcs8-password"] = CANARY
    patient.env |= {
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_ACCESS_KEY_ID": "AKIACANARY",
        "AWS_SESSION_TOKEN": CANARY,
        "HTTPS_PROXY": f"http://user:{CANARY}@127.0.0.1:1",
        "ROLESANYWHERE_HELPER_TPM_KEY_PASWORD": CANARY,
        "AWS_PROFILE": "deploy",
    }
    line = f"{patient.process} --pkcs8-password {CANARY}\n--pkcs12-password {CANARY} --x=1"
    patient.aws_config(f"[profile deploy]\ncredential_process = {line}\naws_secret_access_key = {CANARY}\n")
    patient.file("home/.aws/credentials", f"[deploy]\naws_access_key_id = AKIA\naws_secret_access_key = {CANARY}\n")

    report = patient.examine()
    for_people = patient.run("doctor", "--debug", "--config", patient.config, env=patient.env)
    of_the_profile = patient.run("doctor", "--debug", "--profile", "deploy", env=patient.env)

    assert report.of("create-session")["severity"] == "ok"  # the secrets were used
    assert len(report.complaints) >= 4
    for done in (report.done, for_people, of_the_profile):
        said = done.stdout + done.stderr
        assert CANARY.encode() not in said
        assert b"SecretAccessKey" not in said
        assert b"PRIVATE KEY" not in said


def test_credentials_that_were_made_are_not_in_it(patient: Patient) -> None:
    patient.write()
    body = json.dumps(
        {
            "credentialSet": [
                {
                    "assumedRoleUser": {"arn": "arn:aws:sts::111122223333:assumed-role/EmulatorRole/x"},
                    "credentials": {
                        "accessKeyId": f"ASIA{CANARY}",
                        "secretAccessKey": CANARY,
                        "sessionToken": CANARY,
                        "expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
                    },
                    "roleArn": patient.session["role-arn"],
                }
            ]
        }
    )
    patient.emulator.set_fault(status=201, body=body)

    done = patient.run("doctor", "--debug", "--config", patient.config)

    assert "PROBLEM  caller-identity" in done.out  # the emulator does not know them
    assert CANARY.encode() not in done.stdout + done.stderr


# On the way


def inspected(authority: CertificateAuthority, folder: Path) -> Callable[[Connection], None]:
    """Return a proxy that answers in the service's place, with a certificate of its own CA."""
    leaf = authority.issue(
        LeafRequest(Validity.days(time.time(), 5), (("CN", AWS_HOST),), KeyKind.P_256, names=(AWS_HOST,), server=True)
    )
    chain = folder / "server.pem"
    chain.write_bytes(leaf.full_chain_pem + leaf.key_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    def tunnel(connection: Connection) -> None:
        connection.receive_request()
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        connection.upgrade(context)
        if connection.receive_request():
            date = formatdate(time.time() - 90, usegmt=True).encode()
            body = b'{"message":"Requested Role isn\'t one of those listed in the Profile."}'
            head = b"HTTP/1.1 403 Forbidden\r\nDate: %b\r\nContent-Length: %d\r\n\r\n" % (date, len(body))
            connection.send(head + body)

    return tunnel


def test_tls_inspection_behind_a_proxy_is_named_and_a_clock_that_drifts(patient: Patient) -> None:
    authority = CertificateAuthority.root("Corporate Inspection", Validity.days(time.time(), 5), KeyKind.P_256)
    bundle = patient.file("corporate.pem", authority.pem)
    del patient.session["endpoint"]
    patient.session["with-proxy"] = True
    with ScriptedServer(inspected(authority, patient.folder)) as proxy:
        patient.env["HTTPS_PROXY"] = f"http://user:{CANARY}@127.0.0.1:{proxy.port}"
        unknown = patient.examine()
        patient.session["ca-bundle"] = str(bundle)
        known = patient.examine()

    assert [each["step"] for each in unknown.complaints] == ["tls"]
    assert "CN=Corporate Inspection" in unknown.complaints[0]["hints"][0]["text"]
    assert unknown.done.exit_code == 1
    assert known.of("tls")["code"] == "tls-inspection"
    assert known.of("tls")["facts"] == {"issuer": "CN=Corporate Inspection"}
    assert known.of("clock")["code"] == "clock-drifts"
    assert known.complaints[0]["code"] == "role-not-in-profile"
    assert CANARY.encode() not in unknown.done.stdout + known.done.stdout


def test_a_gateway_that_answers_nothing_but_sessions_is_no_problem(patient: Patient) -> None:
    with ScriptedServer(Requests().then(lambda _: None)) as server:
        patient.session["endpoint"] = f"http://127.0.0.1:{server.port}"
        report = patient.examine()

    assert report.of("clock")["severity"] == "skipped"
    assert report.complaints[0]["step"] == "create-session"


# The daemon and a token


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose path is short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="doctor-"))
    yield made
    shutil.rmtree(made)


def of_daemon(patient: Patient, daemon: Daemon) -> Report:
    done = patient.run("doctor", "--json", "--config", daemon.config, "--session", "default", env=daemon.environment)
    report = json.loads(done.stdout)
    return type(patient.examine())(done, report)


def test_what_the_daemon_says_is_told(patient: Patient, helper: Path, folder: Path) -> None:
    with owned(Daemon(helper, folder, Emulated(patient.emulator))) as daemon:
        daemon.start()
        well = of_daemon(patient, daemon)

        assert well.complaints == []
        assert well.of("daemon")["facts"] == {"sessions": ["default"]}
        assert "lasts until" in well.of("cache")["what"]

        broken.disabled_profile(patient)
        daemon.stop()
        for file in daemon.cache.iterdir():
            if file.is_file():
                file.unlink()
        daemon.start(wait=False)
        daemon.await_listening()
        failing = of_daemon(patient, daemon)
        for _ in range(100):
            if any(each["step"] == "daemon" and each["code"] == "invalid-profile" for each in failing.findings):
                break
            failing = of_daemon(patient, daemon)

        told = next(each for each in failing.findings if each["step"] == "daemon")
        assert (told["severity"], told["code"]) == ("warning", "invalid-profile")
        assert "it has no credentials" in told["what"]
        assert failing.complaints[0]["code"] == "invalid-profile"
        patient.client("rolesanywhere").enable_profile(profileId=patient.profile_id())


def test_a_session_that_the_daemon_does_not_give_this_user_is_told(
    patient: Patient, helper: Path, folder: Path
) -> None:
    patient.after = f'[serve.agent]\nsocket = "{folder}/run/agent.sock"'
    with owned(Daemon(helper, folder, Emulated(patient.emulator))) as daemon:
        outlets = OUTLETS.replace('session = "default"', 'session = "another"')
        daemon.configure(name="another", outlets=outlets)
        daemon.start()
        report = patient.examine()

    told = report.complaints[0]
    assert (told["step"], told["code"], len(report.complaints)) == ("daemon", "session-not-allowed", 1)
    assert "allow-users of [session.default]" in told["hints"][0]["text"]


@pytest.fixture
def held(peer: Callable[[str], Path], tmp_path: Path) -> SoftTokens:
    """Return a token that is empty."""
    for package in ("softhsm2", "opensc", "p11-kit", "p11-kit-modules"):
        peer(package)
    made = SoftTokens.make(tmp_path / "softhsm")
    made.add("host")
    return made


def test_a_wrong_pin_is_tried_once(
    patient: Patient, held: SoftTokens, tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    spy = Spy(tmp_path / "spy.log")
    leaf = patient.leaf()
    held.put_key_file("host", str(patient.file("made.key", leaf.key_pem())))
    held.put_certificate("host", leaf.certificate)
    patient.identity["certificate"] = "pkcs11:token=host;object=host;type=cert"
    patient.identity["private-key"] = "pkcs11:token=host;id=%01;type=private"
    patient.identity["pkcs11-pin-file"] = str(patient.file("pin", CANARY))
    patient.identity["pkcs11-lib"] = spy.module
    patient.env |= {**spy.environment, **held.environment, **clean_environment}

    first, second = patient.examine(), patient.examine()

    assert first.complaints[0]["code"] == second.complaints[0]["code"] == "pin-refused"
    assert first.complaints[0]["step"] == "key"
    assert "pin-remembered" in {each["code"] for each in second.complaints}
    assert spy.logins() == 1
    assert CANARY.encode() not in first.done.stdout + second.done.stdout


def test_a_key_in_a_token_is_looked_at_though_the_session_is_not_whole(patient: Patient, held: SoftTokens) -> None:
    leaf = patient.leaf(subject=(("CN", "in-a-token"),))
    held.put_key_file("host", str(patient.file("made.key", leaf.key_pem())))
    held.put_certificate("host", leaf.certificate)
    del patient.identity["certificate"]
    patient.identity["private-key"] = "pkcs11:token=host;id=%01;type=private"
    patient.identity["pkcs11-pin-file"] = str(patient.file("pin", PIN))
    del patient.session["role-arn"]
    patient.env |= held.environment

    report = patient.examine()

    assert report.complaints[0]["step"] == "configuration"
    assert "in-a-token" in report.of("certificate")["what"]


def test_a_key_of_another_pair_in_a_token_is_told_of_the_key(patient: Patient, held: SoftTokens) -> None:
    leaf, another = patient.leaf(), patient.leaf()
    held.put_key_file("host", str(patient.file("made.key", another.key_pem())))
    public = leaf.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    file = str(patient.file("public.der", public))
    held.tool(
        "--token-label", "host", "--login", "--pin", PIN, "--write-object", file, "--type", "pubkey", "--id", "01"
    )
    held.put_certificate("host", leaf.certificate)
    patient.identity["certificate"] = "pkcs11:token=host;object=host;type=cert"
    patient.identity["private-key"] = "pkcs11:token=host;id=%01;type=private"
    patient.identity["pkcs11-pin-file"] = str(patient.file("pin", PIN))
    patient.env |= held.environment

    report = patient.examine()

    assert {(each["step"], each["code"]) for each in report.complaints} == {("key", "token")}
    assert "of one pair" in report.complaints[0]["hints"][0]["text"]
    assert report.of("create-session")["severity"] == "skipped"

    held.remove("host", "privkey")
    held.put_key_file("host", str(patient.file("made.key", leaf.key_pem())))
    assert patient.examine().complaints == []


# Somebody at the terminal


def at_terminal(
    patient: Patient, helper: Path, environment: dict[str, str], *answers: tuple[str, str]
) -> tuple[int, str]:
    patient.write()
    command: list[str | Path] = [helper, "doctor", "--config", patient.config]
    with at_a_terminal(command, environment | patient.env, patient.folder) as asked:
        for question, answer in answers:
            asked.terminal.wait_for(question)
            asked.terminal.type(f"{answer}\n")
        code, out, err = asked.finish()
        shown = asked.terminal.shown.decode()
    assert shown.count(": ") == len(answers), shown
    assert all(answer not in shown + out.decode() + err.decode() for _, answer in answers)
    return code, out.decode()


def test_a_key_that_asks_before_each_signature_is_asked_about_once_more(
    patient: Patient, held: SoftTokens, helper: Path, clean_environment: dict[str, str]
) -> None:
    held.generate("host", "EC:prime256v1", "--always-auth")
    public = patient.folder / "public.der"
    held.tool("--token-label", "host", "--read-object", "--type", "pubkey", "--id", "01", "-o", str(public))
    request = LeafRequest(Validity.days(time.time(), 90))
    leaf = patient.authority.certify(request, load_der_public_key(public.read_bytes()))  # type: ignore[arg-type] # an EC key
    patient.certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
    patient.identity["private-key"] = "pkcs11:token=host;id=%01;type=private"
    patient.env |= held.environment

    code, out = at_terminal(patient, helper, clean_environment, ("PIN of the token: ", PIN), ("for the signature", PIN))

    assert code == 0, out
    assert "\nok       create-session" in out


def test_two_secrets_are_asked_for_once_each(patient: Patient, helper: Path, clean_environment: dict[str, str]) -> None:
    leaf, another = patient.leaf(), patient.leaf()
    locked = BestAvailableEncryption(CANARY.encode())
    container = pkcs12.serialize_key_and_certificates(None, None, leaf.certificate, None, locked)
    patient.certificate.write_bytes(container)
    patient.key.write_bytes(leaf.key_pem(passphrase=b"open sesame"))
    answers = (("PKCS#12 file: ", CANARY), ("private key: ", "open sesame"))

    code, out = at_terminal(patient, helper, clean_environment, *answers)
    assert code == 0, out

    patient.key.write_bytes(another.key_pem(passphrase=b"open sesame"))
    code, out = at_terminal(patient, helper, clean_environment, *answers)
    # The certificate is looked at alone after that, with the password that is known.
    assert (code, out.count("PROBLEM")) == (1, 1)
    assert "\nok       certificate" in out
    assert "does not belong to the certificate" in out
