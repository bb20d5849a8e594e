"""Set-ups that are broken in one way each: ``doctor`` names it first, and what its hint says mends it."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.doctor.conftest import Patient
from tests.emulator.crl import crl_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import RunHelper

    Complaint = dict[str, Any]
    Break = Callable[[Patient], None]
    # Does what a hint says; the complaint holds the hints.
    Cure = Callable[[Patient, Complaint], None]

ALIEN = "arn:aws:iam::444455556666:role/Elsewhere"


@dataclass(frozen=True)
class Case:
    name: str
    step: str
    code: str
    ruin: Break
    cure: Cure
    exit_code: int = 1


def typed(number: int, words: str) -> Cure:
    """Type the command of a hint as it is."""

    def cure(patient: Patient, complaint: Complaint) -> None:
        hint = complaint["hints"][number]
        assert words in f"{hint['text']} {hint['command']}"
        assert hint["command"] is not None
        patient.type_in(hint["command"])

    return cure


def done(words: str, act: Break) -> Cure:
    """Make the change that a hint names with these words."""

    def cure(patient: Patient, complaint: Complaint) -> None:
        assert any(words in hint["text"] for hint in complaint["hints"]), complaint["hints"]
        act(patient)

    return cure


def first(words: str, act: Break) -> Cure:
    """Make the change that the first hint names with these words."""

    def cure(patient: Patient, complaint: Complaint) -> None:
        assert words in complaint["hints"][0]["text"]
        act(patient)

    return cure


def looked(words: str, shown: str, number: int, command: str) -> Cure:
    """Look at what the first hint lists, which tells its causes apart, and type the command of the one that it is."""

    def cure(patient: Patient, complaint: Complaint) -> None:
        told = complaint["hints"][0]
        assert words in told["text"]
        assert shown in patient.type_in(told["command"])
        typed(number, command)(patient, complaint)

    return cure


def session(**changes: Any) -> Break:
    """Change keys of the session; None takes one out."""

    def act(patient: Patient) -> None:
        for name, value in changes.items():
            key = name.replace("_", "-")
            if value is None:
                patient.session.pop(key, None)
            else:
                patient.session[key] = value

    return act


def variable(**changes: str) -> Break:
    return lambda patient: patient.env.update(changes)


def as_at_first(patient: Patient) -> None:
    told = patient.emulator.announcement
    patient.give(Path(told["certificate"]).read_bytes(), Path(told["privateKey"]).read_bytes())


# The rows of the service's errors


def clock(seconds: float) -> Break:
    return lambda patient: patient.emulator.set_clock_offset(seconds)


def fault(message: str) -> Break:
    return lambda patient: patient.emulator.set_fault(status=403, message=message, type="AccessDeniedException")


def no_faults(patient: Patient) -> None:
    patient.emulator.clear_faults()


def intermediate(patient: Patient) -> CertificateAuthority:
    return patient.authority.intermediate("Issuing CA", Validity.days(time.time(), 90), KeyKind.P_256)


def without_intermediate(patient: Patient) -> None:
    leaf = patient.leaf(intermediate(patient))
    patient.hold(leaf, with_chain=False)
    patient.file("chain.pem", leaf.intermediates_pem)


def give_intermediates(patient: Patient) -> None:
    patient.identity["intermediates"] = str(patient.folder / "chain.pem")


def of_another_ca(patient: Patient) -> None:
    issuing = CertificateAuthority.root("Another CA", Validity.days(time.time(), 90), KeyKind.P_256)
    # The trust anchor that holds it has another ARN.
    source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": issuing.pem.decode()}}
    patient.client("rolesanywhere").create_trust_anchor(name="other", source=source, enabled=True)
    patient.hold(patient.leaf(issuing))


def anchor_of_the_issuer(patient: Patient, complaint: Complaint) -> None:
    assert "CN=Another CA" in complaint["hints"][0]["text"]
    assert "give as --trust-anchor-arn the anchor that holds it" in complaint["hints"][0]["text"]
    shown = json.loads(patient.type_in(complaint["hints"][0]["command"]))
    assert shown["trustAnchor"]["trustAnchorArn"] == patient.session["trust-anchor-arn"]  # and it holds another CA
    anchors = patient.client("rolesanywhere").list_trust_anchors()["trustAnchors"]
    patient.session["trust-anchor-arn"] = next(each["trustAnchorArn"] for each in anchors if each["name"] == "other")


def revoke(patient: Patient) -> None:
    leaf = patient.leaf()
    patient.hold(leaf)
    patient.client("rolesanywhere").import_crl(
        name="crl",
        crlData=crl_of(patient.authority, leaf.certificate.serial_number),
        enabled=True,
        trustAnchorArn=patient.session["trust-anchor-arn"],
    )


def disable_the_crl(patient: Patient, complaint: Complaint) -> None:
    listed = patient.type_in(complaint["hints"][1]["command"]).split()
    assert "disable-crl --crl-id ID" in complaint["hints"][1]["text"]
    patient.type_in(f"aws rolesanywhere disable-crl --crl-id {listed[0]}")


def new_leaf(patient: Patient) -> None:
    patient.hold(patient.leaf())


def unwanted_name(patient: Patient) -> None:
    patient.client("rolesanywhere").update_profile(profileId=patient.profile_id(), acceptRoleSessionName=False)
    patient.session["role-session-name"] = "host-7"


def disabled_profile(patient: Patient) -> None:
    patient.client("rolesanywhere").disable_profile(profileId=patient.profile_id())


def wrong_id(key: str) -> Break:
    def act(patient: Patient) -> None:
        beginning = str(patient.session[key]).rpartition("/")[0]
        patient.session[key] = f"{beginning}/00000000-1111-2222-3333-444444444444"

    return act


def compared(key: str, words: str) -> Cure:
    """Type the command that lists what there is, and give that."""

    def cure(patient: Patient, complaint: Complaint) -> None:
        hint = complaint["hints"][0]
        assert f"compare {words}" in hint["text"]
        assert "is not among them" in hint["text"]
        patient.session[key] = patient.type_in(hint["command"]).split()[0]

    return cure


def without_roles(patient: Patient) -> None:
    patient.client("rolesanywhere").update_profile(profileId=patient.profile_id(), roleArns=[])


def other_roles(patient: Patient) -> None:
    role = str(patient.session["role-arn"])
    patient.client("rolesanywhere").update_profile(profileId=patient.profile_id(), roleArns=[f"{role}Too"])


def role_is_added(patient: Patient, complaint: Complaint) -> None:
    typed(0, "add the role")(patient, complaint)
    found = patient.client("rolesanywhere").get_profile(profileId=patient.profile_id())["profile"]["roleArns"]
    assert found == [f"{patient.session['role-arn']}Too", patient.session["role-arn"]]  # nobody else lost theirs


def disabled_anchor(patient: Patient) -> None:
    patient.client("rolesanywhere").disable_trust_anchor(trustAnchorId=patient.anchor_id())


def trust(*statements: dict[str, Any]) -> Break:
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return lambda patient: patient.client("iam").update_assume_role_policy(
        RoleName="EmulatorRole", PolicyDocument=policy
    )


def give_the_statement(patient: Patient, complaint: Complaint) -> None:
    assert "whose conditions fit this certificate" in complaint["hints"][0]["text"]
    statement = json.loads(complaint["hints"][0]["text"].partition(": ")[2])
    # Not every certificate of the CA is let in.
    leaf = x509.load_pem_x509_certificate(patient.certificate.read_bytes())
    [name] = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert statement["Condition"]["StringEquals"] == {"aws:PrincipalTag/x509Subject/CN": name.value}
    patient.type_in(complaint["hints"][0]["command"])
    trust(statement)(patient)


EC2 = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
ANOTHER_ANCHOR = {
    "Effect": "Allow",
    "Principal": {"Service": "rolesanywhere.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
    "Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/another"}},
}
ANOTHER_SUBJECT = {
    **{key: ANOTHER_ANCHOR[key] for key in ("Effect", "Principal", "Action")},
    "Condition": {"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "somebody-else"}},
}


def unmappable_name(patient: Patient) -> None:
    patient.hold(patient.leaf(names=("*.example.com",)))


def unmappable_subject(patient: Patient) -> None:
    patient.hold(patient.leaf(subject=(("CN", "client"), ("OU", "R&D"))))


def short_role(patient: Patient) -> None:
    patient.client("iam").update_role(RoleName="EmulatorRole", MaxSessionDuration=3600)
    patient.client("rolesanywhere").update_profile(profileId=patient.profile_id(), durationSeconds=43200)
    patient.session["duration"] = "2h"


ROWS = (
    Case("the clock is half an hour behind", "clock", "clock-skew", clock(1800), first("clock", clock(0))),
    Case("the clock is half an hour ahead", "clock", "clock-skew", clock(-1800), first("clock", clock(0))),
    Case(
        "a gateway changes the request",
        "create-session",
        "invalid-signature",
        fault("Invalid signature"),
        first("something on the way changes the request", no_faults),
    ),
    Case(
        "the intermediate is missing",
        "create-session",
        "untrusted-certificate",
        without_intermediate,
        first("give the certificate of CN=Issuing CA with --intermediates FILE", give_intermediates),
    ),
    Case("the CA is another one", "create-session", "untrusted-certificate", of_another_ca, anchor_of_the_issuer),
    Case(
        "the service misses something in the leaf",
        "create-session",
        "insufficient-certificate",
        fault("Untrusted certificate. Insufficient certificate"),
        first("re-issue the certificate with keyUsage", no_faults),
    ),
    Case("revoked", "create-session", "certificate-revoked", revoke, first("request a new certificate", new_leaf)),
    Case("revoked by mistake", "create-session", "certificate-revoked", revoke, disable_the_crl),
    Case(
        "a session name that the profile does not accept",
        "create-session",
        "role-session-name-refused",
        unwanted_name,
        first("leave --role-session-name out", session(role_session_name=None)),
    ),
    Case(
        "a session name, and the profile is changed",
        "create-session",
        "role-session-name-refused",
        unwanted_name,
        typed(1, "let the profile accept one"),
    ),
    Case(
        "the profile is disabled",
        "create-session",
        "invalid-profile",
        disabled_profile,
        looked("is disabled (False)", "\tFalse\t", 1, "enable-profile"),
    ),
    Case(
        "the profile does not exist",
        "create-session",
        "invalid-profile",
        wrong_id("profile-arn"),
        compared("profile-arn", "--profile-arn"),
    ),
    Case(
        "the profile is empty",
        "create-session",
        "invalid-profile",
        without_roles,
        looked("lists no role (None)", "\tTrue\tNone", 2, "it lists no role"),
    ),
    Case("the role is not in the profile", "create-session", "role-not-in-profile", other_roles, role_is_added),
    Case(
        "the trust anchor is disabled",
        "create-session",
        "trust-anchor-not-found",
        disabled_anchor,
        looked("is disabled (False)", "\tFalse", 1, "enable-trust-anchor"),
    ),
    Case(
        "the trust anchor does not exist",
        "create-session",
        "trust-anchor-not-found",
        wrong_id("trust-anchor-arn"),
        compared("trust-anchor-arn", "--trust-anchor-arn"),
    ),
    Case("the role trusts EC2 alone", "create-session", "assume-role-denied", trust(EC2), give_the_statement),
    Case(
        "the role trusts another trust anchor",
        "create-session",
        "assume-role-denied",
        trust(ANOTHER_ANCHOR),
        give_the_statement,
    ),
    Case(
        "the role trusts another certificate",
        "create-session",
        "assume-role-denied",
        trust(ANOTHER_SUBJECT),
        give_the_statement,
    ),
    Case(
        "a wildcard name, which no tag can hold",
        "create-session",
        "session-tag-mapping",
        unmappable_name,
        typed(0, "DNS of the certificate's SAN"),
    ),
    Case(
        "a subject that no tag can hold",
        "create-session",
        "session-tag-mapping",
        unmappable_subject,
        typed(0, "OU of the certificate's Subject"),
    ),
    Case(
        "longer than the role allows, and less is asked",
        "create-session",
        "duration-too-long",
        short_role,
        first("--session-duration 3600", session(duration="3600s")),
    ),
    Case(
        "longer than the role allows, and it is changed",
        "create-session",
        "duration-too-long",
        short_role,
        typed(1, "let the role last 7200 seconds"),
    ),
)


# What is broken on the host


def mode(bits: int) -> Break:
    return lambda patient: patient.key.chmod(bits)


def key_of_another(patient: Patient) -> None:
    patient.file("old.key", patient.key.read_bytes())
    patient.key.write_bytes(patient.leaf().key_pem())


def the_right_key(patient: Patient) -> None:
    patient.key.write_bytes((patient.folder / "old.key").read_bytes())


def leaf_with(**request: Any) -> Break:
    return lambda patient: patient.hold(patient.leaf(**request))


def not_yet_valid(patient: Patient) -> None:
    now = int(time.time())
    patient.hold(patient.leaf(validity=Validity(now + 3600, now + 90 * 86_400)))


def nearly_over(patient: Patient) -> None:
    now = int(time.time())
    patient.hold(patient.leaf(validity=Validity(now - 85 * 86_400, now + 5 * 86_400)))


def the_ca_itself(patient: Patient) -> None:
    authority = patient.authority
    patient.give(authority.pem, authority.key_pem())


def swapped(patient: Patient) -> None:
    identity = patient.identity
    identity["certificate"], identity["private-key"] = identity["private-key"], identity["certificate"]


def encrypted(patient: Patient) -> None:
    leaf = patient.leaf()
    patient.give(leaf.pem, leaf.key_pem(passphrase=b"open sesame"))


def give_the_passphrase(patient: Patient) -> None:
    patient.identity["pkcs8-password-file"] = str(patient.file("passphrase", "open sesame"))


def secret_in_the_file(patient: Patient) -> None:
    encrypted(patient)
    patient.identity["pkcs8-password"] = "open sesame"


def secret_in_a_file_of_its_own(patient: Patient) -> None:
    del patient.identity["pkcs8-password"]
    give_the_passphrase(patient)


def wrong_passphrase(patient: Patient) -> None:
    encrypted(patient)
    patient.identity["pkcs8-password-file"] = str(patient.file("passphrase", "close sesame"))


def two_sessions(patient: Patient) -> None:
    patient.after = '[session.another]\nidentity = "host"'


def choose(patient: Patient) -> None:
    patient.flags = ["--session", "default"]


def old_chain(patient: Patient) -> None:
    now = int(time.time())
    issuing = patient.authority.intermediate("Issuing CA", Validity(now - 9_000, now - 3_600), KeyKind.P_256)
    patient.hold(patient.leaf(issuing))


def new_chain(patient: Patient) -> None:
    patient.hold(patient.leaf(intermediate(patient)))


def no_such_file(patient: Patient) -> None:
    patient.identity["certificate"] = str(patient.folder / "hosts.pem")


def the_right_path(patient: Patient) -> None:
    patient.identity["certificate"] = str(patient.certificate)


def another_region(patient: Patient) -> None:
    patient.session["profile-arn"] = str(patient.session["profile-arn"]).replace("us-east-1", "eu-west-1")


def the_same_region(patient: Patient) -> None:
    patient.session["profile-arn"] = str(patient.session["profile-arn"]).replace("eu-west-1", "us-east-1")


def own_endpoint(patient: Patient) -> None:
    patient.session["endpoint"] = patient.emulator.endpoint


def own_role(patient: Patient) -> None:
    patient.session["role-arn"] = patient.emulator.announcement["roleArn"]


def unread(patient: Patient) -> None:
    patient.flags = ["--session", "deploi"]


def read_again(patient: Patient) -> None:
    patient.flags = ["--session", "default"]


def typing_error(patient: Patient) -> None:
    patient.session["role-session-nam"] = "host"


def shadowed(patient: Patient) -> None:
    patient.session["duration"] = "1h"
    patient.env["ROLESANYWHERE_HELPER_SESSION_DURATION"] = "900"


def no_typing_error(patient: Patient) -> None:
    del patient.session["role-session-nam"]


def open_cache(patient: Patient) -> None:
    cache = patient.home / ".cache" / "rolesanywhere-helper"
    cache.mkdir(parents=True)
    cache.chmod(0o755)


def remembered_failure(patient: Patient) -> None:
    disabled_profile(patient)
    patient.write()
    failed = patient.run("credential-process", "--config", patient.config)
    assert failed.exit_code == 1
    patient.client("rolesanywhere").enable_profile(profileId=patient.profile_id())


def no_cache(patient: Patient) -> None:
    patient.flags = ["--no-cache"]


def daemon_that_is_not(patient: Patient) -> None:
    patient.after = f'[serve.agent]\nsocket = "{patient.folder}/agent.sock"'


def no_daemon(patient: Patient) -> None:
    patient.after = ""


def untrusting_customer(patient: Patient) -> None:
    patient.client("iam", other=True).update_assume_role_policy(
        RoleName="EmulatorOtherAccountRole", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [EC2]})
    )
    account = patient.emulator.administrators[1]
    patient.session["assume-role-arn"] = f"arn:aws:iam::{account.account}:role/EmulatorOtherAccountRole"


def trusting_customer(patient: Patient) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": patient.session["role-arn"]},
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
    }
    patient.client("iam", other=True).update_assume_role_policy(
        RoleName="EmulatorOtherAccountRole",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )


def without(name: str) -> Break:
    return lambda patient: patient.session.pop(name) and None


HOST = (
    Case("everybody can read the key", "files", "key-permissions", mode(0o644), typed(0, "chmod o-r"), exit_code=0),
    Case("the group can write the key", "files", "unsafe-file", mode(0o660), typed(0, "chmod go-w")),
    Case(
        "the certificate was renewed, the key was not",
        "key",
        "key-mismatch",
        key_of_another,
        done("give the key that the certificate was requested with", the_right_key),
    ),
    Case("expired", "expiry", "leaf-expired", leaf_with(days=-1), done("renew the certificate", new_leaf)),
    Case("not yet valid", "expiry", "leaf-not-yet-valid", not_yet_valid, done("wait until", new_leaf)),
    Case("expires soon", "expiry", "expires-soon", nearly_over, done("renew", new_leaf), exit_code=0),
    Case("a CA's certificate", "leaf", "leaf-is-ca", the_ca_itself, done("use an end-entity certificate", new_leaf)),
    Case(
        "no digitalSignature",
        "leaf",
        "leaf-lacks-digital-signature",
        leaf_with(digital_signature=False),
        done("keyUsage = critical, digitalSignature", new_leaf),
    ),
    Case("no subject", "leaf", "unusable-leaf", leaf_with(subject=(), names=("a",)), done("with a subject", new_leaf)),
    Case("swapped", "certificate", "unreadable-certificate", swapped, done("are swapped", swapped)),
    Case("encrypted", "key", "encrypted-key", encrypted, done("--pkcs8-password-file", give_the_passphrase)),
    Case("a wrong passphrase", "key", "wrong-secret", wrong_passphrase, done("check the file", give_the_passphrase)),
    Case(
        "a passphrase in the configuration file",
        "configuration",
        "setting",
        secret_in_the_file,
        done("use pkcs8-password-file", secret_in_a_file_of_its_own),
        exit_code=0,
    ),
    Case(
        "an intermediate that has expired",
        "create-session",
        "untrusted-certificate",
        old_chain,
        first("CN=Issuing CA is valid only from", new_chain),
    ),
    Case(
        "two sessions, and none is chosen",
        "configuration",
        "usage",
        two_sessions,
        done("choose one with --session: default, another", choose),
        exit_code=2,
    ),
    Case("no such file", "files", "unreadable-file", no_such_file, done("check the path", the_right_path)),
    Case(
        "two regions",
        "configuration",
        "invalid-arn",
        another_region,
        done("copy the two ARNs from the same console page", the_same_region),
        exit_code=2,
    ),
    Case(
        "signed for another region",
        "arns",
        "region-mismatch",
        session(region="eu-west-1"),
        done("leave --region out", session(region=None)),
        exit_code=2,
    ),
    Case(
        "a role of another account",
        "arns",
        "account-mismatch",
        session(role_arn=ALIEN),
        done(f"--assume-role-arn {ALIEN}", own_role),
        exit_code=2,
    ),
    Case(
        "an endpoint whose name nobody knows",
        "dns",
        "unresolved-host",
        session(endpoint="https://rolesanywhere.us-east-1.invalid"),
        done("check the region and --endpoint", own_endpoint),
        exit_code=3,
    ),
    Case(
        "nobody listens",
        "tcp",
        "connection-failed",
        session(endpoint="http://127.0.0.1:1"),
        done("start what is to answer there", own_endpoint),
        exit_code=3,
    ),
    Case(
        "no such session", "configuration", "configuration", unread, done("there is: default", read_again), exit_code=2
    ),
    Case(
        "a typing error",
        "configuration",
        "configuration",
        typing_error,
        done("did you mean role-session-name?", no_typing_error),
        exit_code=2,
    ),
    Case(
        "something is missing",
        "configuration",
        "usage",
        without("role-arn"),
        done("give --role-arn", own_role),
        exit_code=2,
    ),
    Case(
        "a variable shadows the file",
        "environment",
        "shadowed-setting",
        shadowed,
        typed(0, "unset"),
        exit_code=0,
    ),
    Case(
        "a variable that nobody reads",
        "environment",
        "unknown-variable",
        variable(ROLESANYWHERE_HELPER_ROLE="arn"),
        typed(0, "ROLESANYWHERE_HELPER_ROLE_ARN"),
        exit_code=0,
    ),
    Case(
        "others can enter the cache", "cache", "cache-directory", open_cache, typed(0, "take the others'"), exit_code=0
    ),
    Case(
        "a failure is remembered",
        "cache",
        "failure-remembered",
        remembered_failure,
        done("--no-cache", no_cache),
        exit_code=0,
    ),
    Case("no daemon", "daemon", "no-daemon", daemon_that_is_not, done("start it", no_daemon), exit_code=0),
    Case(
        "the customer's role does not trust",
        "role-chaining",
        "hop-refused",
        untrusting_customer,
        done("must name arn:aws:iam::111122223333:role/EmulatorRole as a principal", trusting_customer),
    ),
)


# What is broken in the AWS files


def profile(text: str, **env: str) -> Break:
    """Write the AWS config file; ``{process}`` is the line that works, ``{words}`` its arguments."""

    def act(patient: Patient) -> None:
        words = patient.process.partition(" ")[2]
        program = patient.process.partition(" ")[0]
        patient.aws_config(text.format(process=patient.process, words=words, program=program))
        patient.flags = ["--profile", "deploy"]
        patient.env |= env

    return act


GOOD = "[profile deploy]\ncredential_process = {process}\n"
rewritten = profile(GOOD)


def keys_in_the_credentials_file(patient: Patient) -> None:
    rewritten(patient)
    patient.file("home/.aws/credentials", "[deploy]\naws_access_key_id = AKIACANARY\naws_secret_access_key = canary\n")


def keys_in_the_config_file(patient: Patient) -> None:
    profile(f"{GOOD}aws_access_key_id = AKIACANARY\naws_secret_access_key = canary\n")(patient)


def no_keys(patient: Patient) -> None:
    patient.file("home/.aws/credentials", "[deploy]\nregion = us-east-1\n")


def elsewhere(patient: Patient) -> None:
    rewritten(patient)
    patient.env["AWS_CONFIG_FILE"] = str(patient.file("elsewhere", "[profile another]\nregion = us-east-1\n"))


def nowhere(patient: Patient) -> None:
    rewritten(patient)
    patient.env["AWS_CONFIG_FILE"] = str(patient.folder / "nowhere")


def nowhere_and_nobody_asks(patient: Patient) -> None:
    patient.env["AWS_CONFIG_FILE"] = str(patient.folder / "nowhere")


def misspelt_variable(patient: Patient) -> None:
    rewritten(patient)
    patient.flags = []
    patient.env["AWS_PROFILE"] = "deploi"


AWS = (
    Case(
        "a backslash at the end of the line",
        "aws-config",
        "continued-line",
        profile("[profile deploy]\ncredential_process = {program} \\\n  {words}\n"),
        done("write it as one line", rewritten),
        exit_code=2,
    ),
    Case(
        "a line that goes on without an indent",
        "aws-config",
        "unreadable-aws-file",
        profile("[profile deploy]\ncredential_process = {program} \\\n{words}\n"),
        done("a credential_process is one line", rewritten),
        exit_code=2,
    ),
    Case(
        "flags on lines of their own",
        "aws-config",
        "continued-line",
        profile("[profile deploy]\ncredential_process = {process}\n--role-session-name=host\n"),
        done("into the one line", rewritten),
        exit_code=2,
    ),
    Case(
        "a relative path",
        "aws-config",
        "relative-path",
        profile("[profile deploy]\ncredential_process = {program} credential-process --config config.toml\n"),
        done("write absolute paths", rewritten),
        exit_code=2,
    ),
    Case(
        "a path below the home directory",
        "aws-config",
        "unexpanded-path",
        profile("[profile deploy]\ncredential_process = {process} --intermediates ~/chain.pem\n"),
        done("write absolute paths", rewritten),
        exit_code=2,
    ),
    Case(
        "a program that is not there",
        "aws-config",
        "program-not-there",
        profile("[profile deploy]\ncredential_process = /opt/rolesanywhere-helper {words}\n"),
        done("write its absolute path", rewritten),
        exit_code=2,
    ),
    Case(
        "no profile before the name",
        "aws-config",
        "unread-profile",
        profile("[deploy]\ncredential_process = {process}\n"),
        done("write [profile deploy]", rewritten),
        exit_code=2,
    ),
    Case(
        "a role beside the process",
        "aws-config",
        "shadowed-process",
        profile("[profile deploy]\ncredential_process = {process}\nrole_arn = arn:aws:iam::1:role/x\n"),
        done("remove role_arn", rewritten),
        exit_code=2,
    ),
    Case(
        "keys in the credentials file",
        "aws-config",
        "shadowed-process",
        keys_in_the_credentials_file,
        done("remove aws_access_key_id", no_keys),
        exit_code=2,
    ),
    Case(
        "keys beside the process, which botocore asks first",
        "aws-config",
        "shadowed-process",
        keys_in_the_config_file,
        first("remove aws_access_key_id", rewritten),
        exit_code=0,
    ),
    Case(
        "keys in the environment",
        "aws-config",
        "shadowed-process",
        profile(GOOD, AWS_ACCESS_KEY_ID="AKIACANARY", AWS_SECRET_ACCESS_KEY="canary"),
        typed(0, "unset AWS_ACCESS_KEY_ID"),
        exit_code=2,
    ),
    Case(
        "another profile in the environment",
        "aws-config",
        "another-profile",
        profile(GOOD, AWS_PROFILE="admin"),
        typed(0, "export AWS_PROFILE=deploy"),
        exit_code=0,
    ),
    Case(
        "a misspelt profile in the environment",
        "aws-config",
        "unknown-profile",
        misspelt_variable,
        typed(0, "export AWS_PROFILE=deploy"),
        exit_code=2,
    ),
    Case("the file is elsewhere", "aws-config", "aws-config-elsewhere", elsewhere, typed(0, "unset"), exit_code=2),
    Case("the file is nowhere", "aws-config", "aws-config-elsewhere", nowhere, typed(0, "unset"), exit_code=2),
    Case(
        "the file is nowhere, and nobody has asked for a profile",
        "aws-config",
        "aws-config-elsewhere",
        nowhere_and_nobody_asks,
        typed(0, "unset"),
        exit_code=0,
    ),
    Case(
        "another command in the line",
        "aws-config",
        "usage",
        profile("[profile deploy]\ncredential_process = {program} serve\n"),
        done("write credential-process", rewritten),
        exit_code=2,
    ),
    Case(
        "a flag in the line that does not exist",
        "aws-config",
        "usage",
        profile("[profile deploy]\ncredential_process = {process} --rolearn x\n"),
        done("did you mean --role-arn?", rewritten),
        exit_code=2,
    ),
)


def test_there_are_enough_of_them() -> None:
    assert len({case.name for case in (*ROWS, *HOST, *AWS)}) >= 25


@pytest.mark.parametrize("case", [*ROWS, *HOST, *AWS], ids=lambda case: case.name)
def test_it_is_found_and_the_hint_mends_it(patient: Patient, case: Case) -> None:
    case.ruin(patient)
    report = patient.examine()

    assert report.complaints, "nothing was found"
    complaint = report.complaints[0]
    assert (complaint["step"], complaint["code"]) == (case.step, case.code), report.complaints
    assert report.done.exit_code == report.document["exitCode"] == case.exit_code
    assert complaint["hints"]

    case.cure(patient, complaint)
    mended = patient.examine()

    assert mended.complaints == []
    assert (mended.done.exit_code, mended.document["verdict"]) == (0, "ok")


def test_the_null_device_is_an_empty_file(patient: Patient) -> None:
    rewritten(patient)
    patient.env["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    assert (patient.examine().complaints, patient.examine().done.exit_code) == ([], 0)

    patient.env["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/zero"
    assert patient.examine().complaints[0]["code"] == "unreadable-aws-file"


@pytest.mark.parametrize("start", ["'{folder}/a place/rolesanywhere-helper'", "{python} -m rolesanywhere_helper"])
def test_however_the_program_is_started_its_session_is_the_one_looked_at(patient: Patient, start: str) -> None:
    program, _, words = patient.process.partition(" ")
    quoted = patient.folder / "a place" / "rolesanywhere-helper"
    quoted.parent.mkdir()
    quoted.symlink_to(program)
    command = start.format(folder=patient.folder, python=sys.executable)
    patient.flags = ["--profile", "deploy"]

    patient.aws_config(f"[profile deploy]\ncredential_process = {command} {words}\n")
    report = patient.examine()
    assert (report.complaints, report.of("aws-config")["facts"]["profile"]) == ([], "deploy")
    assert report.of("create-session")["severity"] == "ok"

    patient.aws_config(f"[profile deploy]\ncredential_process = {sys.executable} -m another {words}\n")
    assert "another program" in patient.examine().of("aws-config")["what"]


def test_the_chain_is_compared_with_the_trust_anchor_that_was_given(patient: Patient) -> None:
    without_intermediate(patient)
    anchor = patient.emulator.announcement["caCertificate"]

    told = patient.examine("--trust-anchor-certificate", anchor).of("chain")

    assert told["code"] == "untrusted-certificate"
    assert "issued by CN=Issuing CA" in told["what"]
    give_intermediates(patient)
    mended = patient.examine("--trust-anchor-certificate", anchor)
    assert (mended.of("chain")["severity"], mended.complaints) == ("ok", [])
    assert mended.of("chain")["facts"]["intermediates"] == 1


def test_a_trust_anchor_of_the_same_name_with_another_key_is_told_apart(patient: Patient) -> None:
    again = CertificateAuthority.root("rolesanywhere-helper emulator CA", Validity.days(time.time(), 30), KeyKind.P_256)
    file = patient.file("renewed.pem", again.pem)

    report = patient.examine("--trust-anchor-certificate", str(file))

    assert "not the key that signed" in report.of("chain")["what"]
    assert report.of("create-session")["severity"] == "ok"  # the service has the right one


def test_tls_with_an_unknown_ca_names_who_issued(run_helper: RunHelper, tmp_path: Path) -> None:
    with running(Settings(tmp_path / "emulator", tls=True)) as emulator:
        patient = Patient(emulator, run_helper, tmp_path)
        report = patient.examine()

        complaint = report.complaints[0]
        assert (complaint["step"], complaint["code"], report.done.exit_code) == ("tls", "tls", 3)
        assert "CN=rolesanywhere-helper emulator TLS CA" in complaint["hints"][0]["text"]
        assert "--ca-bundle FILE" in complaint["hints"][0]["text"]
        assert {report.of(step)["severity"] for step in ("clock", "create-session")} == {"skipped"}
        # Certificate and key are looked at all the same.
        assert report.of("expiry")["severity"] == "ok"

        patient.session["ca-bundle"] = emulator.announcement["tlsCaCertificate"]
        mended = patient.examine()
        assert mended.complaints == []
        assert mended.of("tls")["facts"]["issuer"] == "CN=rolesanywhere-helper emulator TLS CA"


def test_a_proxy_that_is_set_and_not_used_is_thought_of(patient: Patient) -> None:
    # An address of TEST-NET-1: nobody answers there.
    patient.session["endpoint"] = "https://192.0.2.1"
    patient.env["HTTPS_PROXY"] = "http://user:canary@127.0.0.1:1"

    told = patient.examine().of("tcp")
    assert "--with-proxy" in told["hints"][0]["text"]

    patient.session["with-proxy"] = True
    report = patient.examine()
    assert report.of("tcp")["severity"] == "problem"
    assert "the proxy http://127.0.0.1:1" in report.of("tcp")["hints"][0]["text"]
    assert b"canary" not in report.done.stdout + report.done.stderr
