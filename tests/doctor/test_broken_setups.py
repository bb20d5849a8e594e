"""Set-ups that are broken in one way each: ``doctor`` names it first, and what its hint says mends it."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12
from cryptography.x509.oid import NameOID

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.doctor.configuration import Asked, configure
from rolesanywhere_helper.doctor.findings import Severity
from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.doctor.conftest import Patient
from tests.emulator.crl import crl_of
from tests.fakes.http_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import RunHelper
    from tests.fakes.http_server import Connection

    Complaint = dict[str, Any]
    Break = Callable[[Patient], None]
    # Does what a hint says; the complaint holds the hints.
    Cure = Callable[[Patient, Complaint], None]

# Every row of the service's errors, as far as its words go.
SIGNATURE = "Invalid signature"
UNTRUSTED = "Untrusted signing certificate"
INSUFFICIENT = "Untrusted certificate. Insufficient certificate"
REVOKED = "Certificate revoked"
NO_NAME = "Not authorized to set roleSessionName"
NO_PROFILE = "Invalid or empty profile provided."
NOT_LISTED = "Requested Role isn't one of those listed in the Profile."
NO_ANCHOR = "Specified Trust Anchor wasn't found."
DENIED = "Unable to assume role for arn:aws:iam::111122223333:role/EmulatorRole."
UNMAPPED = "Some attributes failed to be mapped into session tags."
TOO_LONG = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
TABLE = {
    SIGNATURE,
    UNTRUSTED,
    INSUFFICIENT,
    REVOKED,
    NO_NAME,
    NO_PROFILE,
    NOT_LISTED,
    NO_ANCHOR,
    DENIED,
    UNMAPPED,
    TOO_LONG,
}
ANCHOR = "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/a1b2"
PROFILE = "arn:aws:rolesanywhere:eu-central-1:111122223333:profile/c3d4"
ROLE = "arn:aws:iam::111122223333:role/Deploy"
ALIEN = "arn:aws:iam::777788889999:role/Elsewhere"


@dataclass(frozen=True)
class Case:
    name: str
    step: str
    code: str
    ruin: Break
    cure: Cure
    exit_code: int = 1
    row: str = ""
    """The service's own words, which the set-up made it say."""


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


def gateway(patient: Patient) -> None:
    """Put a gateway before the service that passes requests on under another Host, as many do unless they are told."""
    there = urlsplit(patient.emulator.endpoint)

    def pass_on(connection: Connection) -> None:
        request = connection.receive_request()
        if not request:  # who only looks whether somebody listens
            return
        here = urlsplit(patient.session["endpoint"]).netloc
        with socket.create_connection((there.hostname or "", there.port or 0)) as beyond:
            beyond.sendall(request.replace(f"Host: {here}".encode(), f"Host: {there.netloc}".encode(), 1))
            while piece := beyond.recv(65_536):
                connection.send(piece)

    patient.session["endpoint"] = patient.around.enter_context(ScriptedServer(pass_on)).url


def without_the_gateway(patient: Patient, complaint: Complaint) -> None:
    first("a gateway must pass on Host", own_endpoint)(patient, complaint)
    assert complaint["hints"][1]["text"] == "leave endpoint out of the session in the configuration file"


def weakly_signed(patient: Patient) -> None:
    good, authority = patient.leaf(), patient.authority
    builder = x509.CertificateBuilder(
        authority.certificate.subject,
        good.certificate.subject,
        good.certificate.public_key(),
        good.certificate.serial_number,
        good.certificate.not_valid_before_utc,
        good.certificate.not_valid_after_utc,
        list(good.certificate.extensions),
    )
    weak = builder.sign(authority.private_key, hashes.SHA224())
    patient.give(weak.public_bytes(Encoding.PEM), good.key_pem())


def too_young_for_the_service(patient: Patient) -> None:
    now = int(time.time())
    patient.hold(patient.leaf(validity=Validity(now - 60, now + 90 * 86_400)))
    clock(-200)(patient)


def properties_required(patient: Patient) -> None:
    made = patient.client("rolesanywhere").create_profile(
        name="asks", roleArns=[patient.session["role-arn"]], enabled=True, requireInstanceProperties=True
    )
    patient.session["profile-arn"] = made["profile"]["profileArn"]


def properties_given(patient: Patient) -> None:
    patient.flags = ["--instance-properties", "host=client"]


def another_profile_is_made(patient: Patient, complaint: Complaint) -> None:
    assert "make such a profile" in complaint["hints"][2]["text"]
    patient.session["profile-arn"] = patient.type_in(complaint["hints"][2]["command"]).strip()


def profile_that_asks_nothing(patient: Patient, complaint: Complaint) -> None:
    assert "one that does not require them" in complaint["hints"][1]["text"]
    listed = patient.type_in(complaint["hints"][1]["command"]).split()
    assert patient.session["profile-arn"] not in listed
    patient.session["profile-arn"] = listed[0]


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


def revoked_ca(patient: Patient) -> None:
    issuing = intermediate(patient)
    patient.hold(patient.leaf(issuing))
    patient.client("rolesanywhere").import_crl(
        name="crl",
        crlData=crl_of(patient.authority, issuing.certificate.serial_number, pem=False),
        enabled=True,
        trustAnchorArn=patient.session["trust-anchor-arn"],
    )


def leaf_of_another_ca(patient: Patient, complaint: Complaint) -> None:
    """Look at which one is on the list: not the leaf, and so another leaf of that CA would not do."""
    revoked = x509.load_pem_x509_certificates(patient.certificate.read_bytes())[1]
    shown = patient.type_in(complaint["hints"][0]["command"])
    assert [int(line.rpartition(" ")[2], 16) for line in shown.splitlines()] == [revoked.serial_number]
    assert "request a new certificate" not in complaint["hints"][0]["text"]
    done("let another CA below the trust anchor issue one", new_leaf)(patient, complaint)


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


DENYING = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "sts:AssumeRole",
    "Condition": {"StringNotEquals": {"aws:PrincipalTag/x509Subject/OU": "ops"}},
}


def of_the_subject(patient: Patient) -> dict[str, Any]:
    """Return a statement as ``setup`` writes it, for this certificate alone."""
    leaf = x509.load_pem_x509_certificate(patient.certificate.read_bytes())
    [name] = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return ANOTHER_SUBJECT | {"Condition": {"StringEquals": {"aws:PrincipalTag/x509Subject/CN": name.value}}}


def denied_by_name(patient: Patient) -> None:
    trust(of_the_subject(patient), DENYING)(patient)


def denied_no_longer(patient: Patient) -> None:
    trust(of_the_subject(patient))(patient)


def unmapped(patient: Patient) -> None:
    denied_no_longer(patient)
    patient.client("rolesanywhere").delete_attribute_mapping(
        profileId=patient.profile_id(), certificateField="x509Subject"
    )


def mapped_again(patient: Patient, complaint: Complaint) -> None:
    told = next(each for each in complaint["hints"] if "maps the subject no longer" in each["text"])
    assert "x509Issuer" in patient.type_in(told["command"])
    assert "x509Subject" not in patient.type_in(told["command"])
    typed(complaint["hints"].index(told) + 1, "let it again")(patient, complaint)


def short_way(patient: Patient) -> None:
    upper = patient.authority.intermediate("Upper CA", Validity.days(time.time(), 90), KeyKind.P_256, path_length=0)
    patient.hold(patient.leaf(upper.intermediate("Lower CA", Validity.days(time.time(), 90), KeyKind.P_256)))


def renewed_ca(patient: Patient) -> None:
    name = "rolesanywhere-helper emulator CA"
    patient.hold(patient.leaf(CertificateAuthority.root(name, Validity.days(time.time(), 90), KeyKind.P_256)))
    patient.file("trust-anchor.pem", b"")


def both_cas(patient: Patient, complaint: Complaint) -> None:
    """Hold what the trust anchor has against the CA's new certificate, as the hint says."""
    told = next(each for each in complaint["hints"] if "renewed with another key" in each["text"])
    patient.type_in(told["command"])
    anchor = patient.folder / "trust-anchor.pem"
    chain = patient.examine("--trust-anchor-certificate", str(anchor)).of("chain")
    assert "not the key that signed" in chain["what"]
    further = complaint["hints"][complaint["hints"].index(told) + 1]["text"]
    new_leaf(patient)  # the old CA's leaf, for who cannot have the new CA's certificate here
    assert "put the CA's new certificate beside the old one" in further
    patient.type_in(further.partition("trust-anchor.pem, and ")[2])


def unmappable_name(patient: Patient) -> None:
    patient.hold(patient.leaf(names=("*.example.com",)))


def unmappable_subject(patient: Patient) -> None:
    patient.hold(patient.leaf(subject=(("CN", "client"), ("OU", "R&D"))))
    denied_no_longer(patient)  # what maps the OU no longer must go on to map the name


def short_role(patient: Patient) -> None:
    patient.client("iam").update_role(RoleName="EmulatorRole", MaxSessionDuration=3600)
    patient.client("rolesanywhere").update_profile(profileId=patient.profile_id(), durationSeconds=43200)
    patient.session["duration"] = "2h"


def leaf_with(**request: Any) -> Break:
    return lambda patient: patient.hold(patient.leaf(**request))


def the_ca_itself(patient: Patient) -> None:
    authority = patient.authority
    patient.give(authority.pem, authority.key_pem())


def own_endpoint(patient: Patient) -> None:
    patient.session["endpoint"] = patient.emulator.endpoint


ROWS = (
    Case(
        "the clock is half an hour behind",
        "clock",
        "clock-skew",
        clock(1800),
        first("clock", clock(0)),
        row=SIGNATURE,
    ),
    Case(
        "the clock is half an hour ahead",
        "clock",
        "clock-skew",
        clock(-1800),
        first("clock", clock(0)),
        row=SIGNATURE,
    ),
    Case(
        "a gateway changes the request",
        "create-session",
        "invalid-signature",
        gateway,
        without_the_gateway,
        row=SIGNATURE,
    ),
    Case(
        "the intermediate is missing",
        "create-session",
        "untrusted-certificate",
        without_intermediate,
        first("give the certificate of CN=Issuing CA with --intermediates FILE", give_intermediates),
        row=UNTRUSTED,
    ),
    Case(
        "the CA is another one",
        "create-session",
        "untrusted-certificate",
        of_another_ca,
        anchor_of_the_issuer,
        row=UNTRUSTED,
    ),
    Case(
        "no digitalSignature",
        "leaf",
        "leaf-lacks-digital-signature",
        leaf_with(digital_signature=False),
        first("keyUsage = critical, digitalSignature", new_leaf),
        row=INSUFFICIENT,
    ),
    Case(
        "a CA's certificate",
        "leaf",
        "leaf-is-ca",
        the_ca_itself,
        first("use an end-entity certificate", new_leaf),
        row=INSUFFICIENT,
    ),
    Case(
        "no subject",
        "leaf",
        "unusable-leaf",
        leaf_with(subject=(), names=("a",)),
        first("with a subject", new_leaf),
        row=INSUFFICIENT,
    ),
    Case(
        "signed with SHA-224",
        "leaf",
        "unusable-leaf",
        weakly_signed,
        first("SHA-256 or stronger", new_leaf),
        row=INSUFFICIENT,
    ),
    Case(
        "issued a minute ago, and this machine's clock is ahead",
        "create-session",
        "insufficient-certificate",
        too_young_for_the_service,
        first("the certificate is not valid yet: let this machine's clock be set by the network", clock(0)),
        row=INSUFFICIENT,
    ),
    Case(
        "revoked",
        "create-session",
        "certificate-revoked",
        revoke,
        first("request a new certificate", new_leaf),
        row=REVOKED,
    ),
    Case(
        "a CA that is sent is revoked",
        "create-session",
        "certificate-revoked",
        revoked_ca,
        leaf_of_another_ca,
        row=REVOKED,
    ),
    Case("revoked by mistake", "create-session", "certificate-revoked", revoke, disable_the_crl, row=REVOKED),
    Case(
        "the profile wants to know something of the host, and is told",
        "create-session",
        "refused",
        properties_required,
        first("--instance-properties KEY=VALUE", properties_given),
    ),
    Case(
        "the profile wants to know something of the host, and another one is taken",
        "create-session",
        "refused",
        properties_required,
        profile_that_asks_nothing,
    ),
    Case(
        "the profile wants to know something of the host, and another one is made",
        "create-session",
        "refused",
        properties_required,
        another_profile_is_made,
    ),
    Case(
        "a session name that the profile does not accept",
        "create-session",
        "role-session-name-refused",
        unwanted_name,
        first("leave --role-session-name out", session(role_session_name=None)),
        row=NO_NAME,
    ),
    Case(
        "a session name, and the profile is changed",
        "create-session",
        "role-session-name-refused",
        unwanted_name,
        typed(1, "let the profile accept one"),
        row=NO_NAME,
    ),
    Case(
        "the profile is disabled",
        "create-session",
        "invalid-profile",
        disabled_profile,
        looked("is disabled (False)", "\tFalse\t", 1, "enable-profile"),
        row=NO_PROFILE,
    ),
    Case(
        "the profile does not exist",
        "create-session",
        "invalid-profile",
        wrong_id("profile-arn"),
        compared("profile-arn", "--profile-arn"),
        row=NO_PROFILE,
    ),
    Case(
        "the profile is empty",
        "create-session",
        "invalid-profile",
        without_roles,
        looked("lists no role (None)", "\tTrue\tNone", 2, "it lists no role"),
        row=NO_PROFILE,
    ),
    Case(
        "the role is not in the profile",
        "create-session",
        "role-not-in-profile",
        other_roles,
        role_is_added,
        row=NOT_LISTED,
    ),
    Case(
        "the trust anchor is disabled",
        "create-session",
        "trust-anchor-not-found",
        disabled_anchor,
        looked("is disabled (False)", "\tFalse", 1, "enable-trust-anchor"),
        row=NO_ANCHOR,
    ),
    Case(
        "the trust anchor does not exist",
        "create-session",
        "trust-anchor-not-found",
        wrong_id("trust-anchor-arn"),
        compared("trust-anchor-arn", "--trust-anchor-arn"),
        row=NO_ANCHOR,
    ),
    Case(
        "the role trusts EC2 alone", "create-session", "assume-role-denied", trust(EC2), give_the_statement, row=DENIED
    ),
    Case(
        "the role trusts another trust anchor",
        "create-session",
        "assume-role-denied",
        trust(ANOTHER_ANCHOR),
        give_the_statement,
        row=DENIED,
    ),
    Case(
        "the role trusts another certificate",
        "create-session",
        "assume-role-denied",
        trust(ANOTHER_SUBJECT),
        give_the_statement,
        row=DENIED,
    ),
    Case(
        "the profile maps the subject no longer",
        "create-session",
        "assume-role-denied",
        unmapped,
        mapped_again,
        row=DENIED,
    ),
    Case(
        "a statement that denies",
        "create-session",
        "assume-role-denied",
        denied_by_name,
        done("a statement with Effect Deny fits this certificate", denied_no_longer),
        row=DENIED,
    ),
    Case(
        "more CAs than one of them allows below it",
        "create-session",
        "untrusted-certificate",
        short_way,
        first("the CA CN=Upper CA allows 0 CAs below it, and there are 1: let a CA higher up issue", new_leaf),
        row=UNTRUSTED,
    ),
    Case(
        "the CA was renewed with another key",
        "create-session",
        "untrusted-certificate",
        renewed_ca,
        both_cas,
        row=UNTRUSTED,
    ),
    Case(
        "a wildcard name, which no tag can hold",
        "create-session",
        "session-tag-mapping",
        unmappable_name,
        typed(0, "DNS of the certificate's SAN"),
        row=UNMAPPED,
    ),
    Case(
        "a subject that no tag can hold",
        "create-session",
        "session-tag-mapping",
        unmappable_subject,
        typed(0, "OU of the certificate's Subject"),
        row=UNMAPPED,
    ),
    Case(
        "longer than the role allows, and less is asked",
        "create-session",
        "duration-too-long",
        short_role,
        first("--session-duration 3600", session(duration="3600s")),
        row=TOO_LONG,
    ),
    Case(
        "longer than the role allows, and it is changed",
        "create-session",
        "duration-too-long",
        short_role,
        typed(1, "let the role last 7200 seconds"),
        row=TOO_LONG,
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


def not_yet_valid(patient: Patient) -> None:
    now = int(time.time())
    patient.hold(patient.leaf(validity=Validity(now + 3600, now + 90 * 86_400)))


def nearly_over(patient: Patient) -> None:
    now = int(time.time())
    patient.hold(patient.leaf(validity=Validity(now - 85 * 86_400, now + 5 * 86_400)))


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


def own_role(patient: Patient) -> None:
    patient.session["role-arn"] = patient.emulator.announcement["roleArn"]


def half_a_certificate(patient: Patient) -> None:
    patient.certificate.write_bytes(patient.certificate.read_bytes()[:500])


def a_request(patient: Patient) -> None:
    leaf = patient.leaf()
    request = x509.CertificateSigningRequestBuilder().subject_name(leaf.certificate.subject)
    signed = request.sign(patient.authority.private_key, hashes.SHA256())
    patient.give(signed.public_bytes(Encoding.PEM), leaf.key_pem())


def another_password(patient: Patient) -> None:
    leaf, locked = patient.leaf(), BestAvailableEncryption(b"open sesame")
    container = pkcs12.serialize_key_and_certificates(None, leaf.private_key, leaf.certificate, None, locked)  # type: ignore[arg-type] # an EC key
    patient.certificate.write_bytes(container)
    patient.certificate.chmod(0o600)
    del patient.identity["private-key"]
    patient.identity["pkcs12-password-file"] = str(patient.file("password", "close sesame"))


def the_right_password(patient: Patient) -> None:
    patient.file("password", "open sesame")


def stale_sts(patient: Patient) -> None:
    patient.session["assume-role-arn"] = f"arn:aws:iam::{patient.other_account}:role/Consultant"
    patient.env["AWS_ENDPOINT_URL_STS"] = "http://127.0.0.1:1"


def stale_emulator(patient: Patient) -> None:
    """Let a variable that was meant for a test yesterday say where to."""
    patient.env |= {"ROLESANYWHERE_HELPER_ENDPOINT": "http://127.0.0.1:1"}


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


def cache_in_a_file(patient: Patient) -> None:
    patient.file("home/.cache", "")


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
        RoleName="Consultant", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [EC2]})
    )
    patient.session["assume-role-arn"] = f"arn:aws:iam::{patient.other_account}:role/Consultant"


def trusting_customer(patient: Patient) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": patient.session["role-arn"]},
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
    }
    patient.client("iam", other=True).update_assume_role_policy(
        RoleName="Consultant",
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
    Case(
        "half a certificate, of a renewal that was interrupted",
        "certificate",
        "unreadable-certificate",
        half_a_certificate,
        first("write the whole file again", as_at_first),
    ),
    Case(
        "a signing request that no CA has seen",
        "files",
        "unreadable-certificate",
        a_request,
        first("send it to the CA", as_at_first),
    ),
    Case(
        "a PKCS#12 file with another password",
        "certificate",
        "wrong-secret",
        another_password,
        first("check the file", the_right_password),
    ),
    Case(
        "the STS of yesterday in a variable",
        "role-chaining",
        "connection-failed",
        stale_sts,
        typed(0, "AWS_ENDPOINT_URL_STS sets it"),
        exit_code=3,
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
        first("leave region out of the session in the configuration file", session(region=None)),
        exit_code=2,
        row=SIGNATURE,
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
        done("check the region and the endpoint", own_endpoint),
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
        "an endpoint of yesterday in a variable",
        "tcp",
        "connection-failed",
        stale_emulator,
        typed(2, "ROLESANYWHERE_HELPER_ENDPOINT sets it"),
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
        "a file where the cache is to be",
        "cache",
        "cache-directory",
        cache_in_a_file,
        typed(0, "name a directory that only this user can write"),
        exit_code=0,
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


def moved_environment(patient: Patient) -> None:
    script = patient.file("rolesanywhere-helper", "#!/opt/gone/bin/python3 -sE\n")
    script.chmod(0o755)
    profile(f"[profile deploy]\ncredential_process = {script} {{words}}\n")(patient)


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


def program_that_is_there(patient: Patient) -> None:
    """Stand in for another program, whose name is like no name of ours."""
    patient.file("token-printer", "#!/bin/sh\n").chmod(0o755)


def line_in_both_files(patient: Patient) -> None:
    rewritten(patient)
    program_that_is_there(patient)
    other = patient.folder / "token-printer"
    patient.file("home/.aws/credentials", f"[deploy]\ncredential_process = {other}\n")


def other_profile_chosen(patient: Patient) -> None:
    profile(f"{GOOD}[profile x]\nregion = us-east-1\n", AWS_PROFILE="x")(patient)
    patient.flags = []


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
        "a program whose environment has been moved",
        "aws-config",
        "program-not-there",
        moved_environment,
        first("write the path of one that runs", rewritten),
        exit_code=2,
    ),
    Case(
        "the whole line in quotes",
        "aws-config",
        "quoted-line",
        profile('[profile deploy]\ncredential_process = "{process}"\n'),
        first("take the quotes out", rewritten),
        exit_code=2,
    ),
    Case(
        "a typing error in the program's name",
        "aws-config",
        "program-not-there",
        profile("[profile deploy]\ncredential_process = /usr/bin/roleanywhere-helper {words}\n"),
        first("did you mean rolesanywhere-helper?", rewritten),
        exit_code=2,
    ),
    Case(
        "a line that ends as in a shell",
        "aws-config",
        "line-for-a-shell",
        profile("[profile deploy]\ncredential_process = {process} 2>/dev/null # prod\n"),
        first("take that out", rewritten),
        exit_code=2,
    ),
    Case(
        "an indented line",
        "aws-config",
        "no-process",
        profile("[profile deploy]\nregion = us-east-1\n  credential_process = {process}\n"),
        first("begin where the others begin", rewritten),
        exit_code=2,
    ),
    Case(
        "a line in the credentials file too",
        "aws-config",
        "shadowed-process",
        line_in_both_files,
        done("remove credential_process from [deploy]", no_keys),
        exit_code=2,
    ),
    Case(
        "a profile in the environment that is there, and another one's",
        "aws-config",
        "another-profile",
        other_profile_chosen,
        typed(0, "export AWS_PROFILE=deploy"),
        exit_code=0,
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
        "a line that prints help",
        "aws-config",
        "usage",
        profile("[profile deploy]\ncredential_process = {process} --help\n"),
        done("take it out of the line", rewritten),
        exit_code=2,
    ),
    Case(
        "a variable that is set in the line alone",
        "aws-config",
        "line-sets-variables",
        profile("[profile deploy]\ncredential_process = env ROLESANYWHERE_HELPER_DEBUG=canary {process}\n"),
        done("give flags in the line instead of variables", rewritten),
        exit_code=0,
    ),
    Case(
        "a program behind another one that is not there",
        "aws-config",
        "program-not-there",
        profile("[profile deploy]\ncredential_process = nice /opt/rolesanywhere-helper {words}\n"),
        done("write its absolute path", rewritten),
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


def test_there_are_enough_of_them_and_every_row_is_among_them() -> None:
    cases = (*ROWS, *HOST, *AWS)
    assert len({case.name for case in cases}) >= 25
    assert {case.row for case in cases if case.row} == TABLE


@pytest.mark.parametrize("case", [*ROWS, *HOST, *AWS], ids=lambda case: case.name)
def test_it_is_found_and_the_hint_mends_it(patient: Patient, case: Case) -> None:
    case.ruin(patient)
    patient.emulator.forget_requests()
    report = patient.examine()

    if case.row:  # said for its own reason, and not because a test ordered it
        asked = [seen for seen in patient.emulator.requests() if seen["operation"] == "CreateSession"]
        assert [(case.row in seen["error"], seen["reason"] == "a fault") for seen in asked] == [(True, False)]
    assert report.complaints, "nothing was found"
    complaint = report.complaints[0]
    assert (complaint["step"], complaint["code"]) == (case.step, case.code), report.complaints
    told = [each["what"] for each in report.complaints]
    assert len(told) == len(set(told)), "one problem is told twice"
    assert report.done.exit_code == report.document["exitCode"] == case.exit_code
    assert complaint["hints"]

    case.cure(patient, complaint)
    mended = patient.examine_here()

    assert mended.complaints == []
    assert (mended.done.exit_code, mended.document["verdict"]) == (0, "ok")


def test_the_null_device_is_an_empty_file(patient: Patient) -> None:
    rewritten(patient)
    patient.env["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    assert (patient.examine().complaints, patient.examine().done.exit_code) == ([], 0)

    patient.env["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/zero"
    assert patient.examine().complaints[0]["code"] == "unreadable-aws-file"


def test_however_the_program_is_started_its_session_is_the_one_looked_at(patient: Patient) -> None:
    program, _, words = patient.process.partition(" ")
    quoted = patient.folder / "a place" / "rolesanywhere-helper"
    quoted.parent.mkdir()
    quoted.symlink_to(program)
    patient.flags = ["--profile", "deploy"]

    for start in (f"'{quoted}'", f"{sys.executable} -I -m rolesanywhere_helper", f"/usr/bin/nice -n 5 {program}"):
        patient.aws_config(f"[profile deploy]\ncredential_process = {start} {words}\n")
        report = patient.examine()
        assert (report.complaints, report.of("aws-config")["facts"]["profile"]) == ([], "deploy")
        assert report.of("create-session")["severity"] == "ok"

    patient.aws_config(f"[profile deploy]\ncredential_process = {sys.executable} -I -m another {words}\n")
    assert "another program" in patient.examine().of("aws-config")["what"]


def test_the_line_of_a_source_profile_says_which_session_is_meant(patient: Patient) -> None:
    role = f"arn:aws:iam::{patient.other_account}:role/Consultant"
    patient.flags = ["--profile", "deploy"]
    taken = f"[profile deploy]\nrole_arn = {role}\nsource_profile = base\n"
    base = f"[profile base]\ncredential_process = {patient.process}\n"
    patient.aws_config(f"{taken}{base}")

    report = patient.examine()

    assert (report.complaints, report.of("create-session")["severity"]) == ([], "ok")
    assert "with a role of its own, which is tried here too" in report.of("aws-config")["what"]
    assert role in report.of("role-chaining")["what"]
    untrusting_customer(patient)
    del patient.session["assume-role-arn"]
    assert patient.examine_here().complaints[0]["code"] == "hop-refused"
    patient.aws_config(f"{taken}mfa_serial = x\n{base}")
    report = patient.examine_here()
    assert report.complaints == []
    assert "which is not looked at here" in report.of("aws-config")["what"]
    patient.aws_config(f"{taken}[profile bas]\ncredential_process = {patient.process}\n")
    lost = patient.examine().complaints[0]
    assert (lost["code"], lost["hints"][0]["text"]) == ("unknown-profile", "there is: deploy, bas")


def test_a_line_is_judged_though_the_session_is_named(patient: Patient) -> None:
    patient.flags = ["--profile", "deploy", "--config", str(patient.config), "--session", "default"]
    patient.aws_config(f"[profile deploy]\ncredential_process = {patient.process}\n")
    assert patient.examine().complaints == []

    patient.aws_config(f"[profile deploy]\ncredential_process = {patient.process} --rolearn x\n")
    report = patient.examine()
    assert [(each["step"], each["code"]) for each in report.complaints] == [("aws-config", "usage")]
    assert report.of("create-session")["severity"] == "ok"


def test_what_an_endpoint_ends_with_is_not_told(patient: Patient) -> None:
    alone = "without user, query or fragment"
    for endpoint, hint in (
        ("http://127.0.0.1:1/?token=canary", alone),
        ("http://127.0.0.1:1/#canary", alone),
        ("http://127.0.0.1:1?a=b@canary", alone),
        ("https://user:canary@127.0.0.1:1", alone),
        ("https://user:canary@127.0.0.1:none", "for example: https://"),
        ("https://user:canary?pass@127.0.0.1", "for example: https://"),
        ("http://127.0.0.1:1/sessions", "leave /sessions out"),
        ("http://127.0.0.1:1/stage/sessions/", "leave /sessions out"),
    ):
        report = patient.examine_here("--endpoint", endpoint)
        assert (report.of("configuration")["code"], report.done.exit_code) == ("invalid-parameter", 2)
        assert hint in report.of("configuration")["hints"][0]["text"]
        assert b"canary" not in report.done.stdout
    assert patient.examine_here("--endpoint", f"{patient.emulator.endpoint}/").complaints == []


def test_a_shell_keeps_its_words_to_itself(patient: Patient) -> None:
    patient.flags = ["--profile", "deploy"]
    patient.aws_config(f"[profile deploy]\ncredential_process = sh -c 'exec {patient.process}'\n")
    assert patient.examine().of("create-session")["severity"] == "ok"

    patient.aws_config(f"[profile deploy]\ncredential_process = sh -c '{patient.process} 2>/dev/null'\n")
    assert "give doctor the session's flags" in patient.examine().of("aws-config")["what"]
    assert patient.examine("--config", str(patient.config)).of("create-session")["severity"] == "ok"


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


def test_a_trust_anchor_that_has_expired_is_found_with_what_a_hint_fetches(patient: Patient) -> None:
    now = int(time.time())
    old = CertificateAuthority.root("Old CA", Validity(now - 9_000, now - 60), KeyKind.P_256)
    source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": old.pem.decode()}}
    made = patient.client("rolesanywhere").create_trust_anchor(name="old", source=source, enabled=True)
    patient.session["trust-anchor-arn"] = made["trustAnchor"]["trustAnchorArn"]
    patient.hold(patient.leaf(old))

    refused = patient.examine().complaints[0]
    assert "--trust-anchor-certificate trust-anchor.pem tells" in refused["hints"][1]["text"]
    patient.type_in(refused["hints"][1]["command"])
    told = patient.examine("--trust-anchor-certificate", str(patient.folder / "trust-anchor.pem")).complaints[0]

    assert (told["step"], told["code"]) == ("chain", "untrusted-certificate")
    assert "the CA CN=Old CA is valid only from" in told["what"]


@pytest.mark.parametrize(
    ("flags", "environment", "hint"),
    [
        (
            {"trust-anchor-arn": PROFILE, "profile-arn": ANCHOR},
            {},
            "it belongs to --profile-arn: are the ARNs swapped?",
        ),
        ({"role-arn": f"{ROLE} "}, {}, "it has a blank at its beginning or end"),
        (
            {"role-arn": "arn:aws:sts::111122223333:assumed-role/Deploy/me"},
            {},
            f"it is that of a session; the role's is {ROLE}",
        ),
        ({}, {"AWS_USE_FIPS_ENDPOINT": "true"}, "AWS_USE_FIPS_ENDPOINT sets it: take that out of the environment"),
        ({"use-fips-endpoint": True}, {}, "leave --use-fips-endpoint out"),
        ({"trust-anchor-arn": "arn:aws:iam::1:x/y"}, {}, "it looks like arn:aws:rolesanywhere:"),
    ],
)
def test_what_was_mistaken_for_something_else_is_said_first(
    flags: dict[str, object], environment: dict[str, str], hint: str
) -> None:
    given = {
        "certificate": "/a",
        "private-key": "/b",
        "trust-anchor-arn": ANCHOR,
        "profile-arn": PROFILE,
        "role-arn": ROLE,
    }
    found = configure(Asked({**given, **flags}, None, Surroundings(environment, "/", is_root=False)))

    assert found.findings[0].severity is Severity.PROBLEM
    assert found.findings[0].hints[0].text.startswith(hint)


def test_a_trust_anchor_of_the_same_name_with_another_key_is_told_apart(patient: Patient) -> None:
    again = CertificateAuthority.root("rolesanywhere-helper emulator CA", Validity.days(time.time(), 30), KeyKind.P_256)
    file = patient.file("renewed.pem", again.pem)

    report = patient.examine("--trust-anchor-certificate", str(file))

    assert "not the key that signed" in report.of("chain")["what"]
    assert report.of("create-session")["severity"] == "ok"  # the service has the right one


def test_tls_with_an_unknown_ca_names_who_issued(run_helper: RunHelper, tmp_path: Path) -> None:
    with running(Settings(tmp_path / "emulator", tls=True)) as emulator:
        patient = Patient(emulator, run_helper, tmp_path)
        patient.session["endpoint"] = emulator.endpoint.replace("https:", "http:")
        plain = patient.examine().of("create-session")
        assert f"the endpoint is {emulator.endpoint}" in plain["hints"][0]["text"]
        patient.session["endpoint"] = emulator.endpoint
        report = patient.examine()

        complaint = report.complaints[0]
        assert (complaint["step"], complaint["code"], report.done.exit_code) == ("tls", "tls", 1)
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
