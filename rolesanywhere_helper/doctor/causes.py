"""A refusal of the service, translated: what most likely caused it, in order, and what mends each.

The texts of the service are told apart in :mod:`rolesanywhere_helper.protocol.create_session`; here the circumstances
that were found on the way decide which cause comes first.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from rolesanywhere_helper.doctor.configuration import leave_out
from rolesanywhere_helper.doctor.findings import Hint, hint_of
from rolesanywhere_helper.doctor.network import is_of_aws
from rolesanywhere_helper.errors import (
    AssumeRoleDeniedError,
    BadAnswerError,
    CertificateRevokedError,
    ClockSkewError,
    DurationTooLongError,
    InsufficientCertificateError,
    InvalidProfileError,
    InvalidSignatureError,
    NetworkError,
    RefusedError,
    RoleNotInProfileError,
    RoleSessionNameRefusedError,
    SessionTagMappingError,
    TrustAnchorNotFoundError,
    UntrustedCertificateError,
)
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.doctor.configuration import Asked
    from rolesanywhere_helper.domain.arn import Arn
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.role_hop import RoleHop
    from rolesanywhere_helper.errors import HelperError

_UNMAPPED = re.compile(r"(Issuer|Subject|SAN): \[ ([^\]]*) \]")
# What the service lets a role's trust policy allow to it (user guide, "Roles Anywhere trust model").
_ACTIONS = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
# The names of what a distinguished name is made of (RFC 4514); those that have none are numbers.
_ATTRIBUTE = re.compile(r"(?:^|(?<!\\)[,+])([A-Za-z]+)=")
_LONGEST_DEFAULT_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What was found before the service was asked.

    ``skew_seconds`` is by how much this machine's clock is ahead, None if unknown; ``top_issuer`` who issued the last
    certificate that is sent; ``intermediates`` how many are sent; ``is_way_checked`` whether the way to the trust
    anchor's certificate was found to be whole; ``warnings`` what loading the identity had to say; ``common_name`` is
    that of the certificate, empty if it has none or several. ``fault`` is what is wrong with the leaf; it is valid from
    ``not_before`` until ``not_after``, seconds since the epoch, and ``now`` is this machine's clock.
    ``without_endpoint`` is how to ask the service itself. ``issuer`` issued the leaf; ``sent`` are the certificates
    that are sent, the leaf first, each with its serial number; ``fault_of_chain`` is what is wrong with one above it.
    """

    settings: SessionSettings
    skew_seconds: float | None = None
    subject: str = ""
    top_issuer: str = ""
    intermediates: int = 0
    is_way_checked: bool = False
    warnings: tuple[str, ...] = ()
    common_name: str = ""
    fault: HelperError | None = None
    not_before: int = 0
    not_after: int = 0
    now: float = 0.0
    without_endpoint: Hint | None = None
    issuer: str = ""
    sent: tuple[tuple[str, int], ...] = ()
    fault_of_chain: HelperError | None = None


def hints(error: HelperError, found: Circumstances) -> tuple[Hint, ...]:
    """Return the likely causes and what mends them, the most likely first."""
    translate = _TRANSLATIONS.get(type(error))
    own = (hint_of(error.hint),) if translate is None else tuple(translate(error, found))
    endpoint = found.settings.connection.endpoint
    # A server of TLS closes the connection, sends an alert, or says in HTML what it thinks of plain HTTP.
    is_no_answer = isinstance(error, NetworkError | BadAnswerError) or "and no message" in error.what
    if endpoint.scheme != "http" or not is_no_answer:
        return own
    return (
        Hint(f"check the scheme: if what listens there speaks TLS, the endpoint is https://{endpoint.authority}"),
        *own,
    )


def hints_for_hop(error: HelperError, hop: RoleHop, before: Credentials, asked: Asked) -> tuple[Hint, ...]:
    """Return what lets STS go on from one role to the next."""
    if isinstance(error, NetworkError) and hop.sts_endpoint is not None:
        return (leave_out(asked, "sts-endpoint"), hint_of(error.hint))
    if error.code != "hop-refused":
        return (hint_of(error.hint),)
    name = hop.role_arn.resource.rpartition("/")[2]
    condition = "" if hop.external_id is None else ", with the condition on sts:ExternalId that fits --external-id"
    return (
        Hint(
            f"the trust policy of {hop.role_arn} must name {before.role_arn} as a principal for sts:AssumeRole"
            f"{condition}",
            f"aws iam get-role --role-name {name} --query Role.AssumeRolePolicyDocument",
        ),
        Hint(f"a policy of {before.role_arn} must allow sts:AssumeRole on {hop.role_arn}"),
    )


# One for each refusal


def _clock(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    del found
    yield Hint("let this machine's clock be set by the network", "timedatectl set-ntp true")
    yield hint_of(error.hint)


def _signature(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    del error
    spec = found.settings.spec
    if spec.region != spec.trust_anchor_arn.region:
        yield Hint(
            f"the request is signed for {spec.region}, and the trust anchor is in {spec.trust_anchor_arn.region}: "
            "leave --region out"
        )
    if found.skew_seconds is None:
        yield Hint("check this machine's clock: more than five minutes off gives this very message", "timedatectl")
    else:
        connection = found.settings.connection
        if connection.proxy_shown is not None:
            what = f"most likely the proxy {connection.proxy_shown}: try without --with-proxy"
        elif is_of_aws(connection.endpoint):
            what = "such as what inspects TLS (the step tls tells who issued the certificate)"
        else:
            what = (
                f"most likely what answers at {connection.endpoint}: a gateway must pass on Host, X-Amz-… and the body "
                "as they came"
            )
        yield Hint(
            f"the clocks agree ({found.skew_seconds:+.0f} s) and the key belongs to the certificate: something on the "
            f"way changes the request, {what}"
        )
        if found.without_endpoint is not None and not is_of_aws(connection.endpoint):
            yield found.without_endpoint


def _untrusted(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    del error
    anchor = found.settings.spec.trust_anchor_arn
    sees = _aws(anchor, f"rolesanywhere get-trust-anchor --trust-anchor-id {_id(anchor)}")
    compare = Hint(
        f"compare the trust anchor's certificate with {found.top_issuer}, which issued what is sent; give as "
        "--trust-anchor-arn the anchor that holds it",
        sees,
    )
    missing = Hint(
        f"give the certificate of {found.top_issuer} with --intermediates FILE, if it is an intermediate CA below the "
        "trust anchor"
    )
    for text in found.warnings:
        yield Hint(f"{text}: replace it")
    if found.fault_of_chain is not None:
        yield Hint(f"{found.fault_of_chain.what}: {found.fault_of_chain.hint}")
    if found.is_way_checked:
        yield Hint("the certificate given with --trust-anchor-certificate is not the one of this trust anchor", sees)
        yield compare
    elif found.intermediates:
        yield compare
        yield missing
    else:
        # What was sent does not tell a missing intermediate from another CA; the trust anchor's certificate does.
        yield Hint(
            f"compare the trust anchor's certificate with {found.top_issuer}, which issued what is sent: if that is an "
            f"intermediate CA below it, give the certificate of {found.top_issuer} with --intermediates FILE; if not, "
            "give as --trust-anchor-arn the anchor that holds it",
            sees,
        )
    if not found.is_way_checked:
        data = "--query trustAnchor.source.sourceData.x509CertificateData --output text"
        yield Hint(
            "if it is the same one: it may have expired, or have been renewed with another key; with what this writes "
            "doctor --trust-anchor-certificate trust-anchor.pem tells",
            f"{sees} {data} > trust-anchor.pem",
        )
        yield Hint(
            "if it has, put the CA's new certificate beside the old one (a trust anchor holds two): add it to "
            f"trust-anchor.pem, and {_new_bundle(anchor, 'trust-anchor.pem')}"
        )


def _insufficient(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    if found.fault is not None:
        yield Hint(f"{found.fault.what}: {found.fault.hint}")
        return
    # By the service's clock the leaf may be expired or not yet valid, though it is not by this machine's.
    there = found.now - (found.skew_seconds or 0.0)
    ahead = "ahead of" if (found.skew_seconds or 0.0) > 0 else "behind"
    away = f"this machine's clock is {abs(found.skew_seconds or 0.0):.0f} seconds {ahead} the service's, by which"
    if there < found.not_before:
        yield Hint(
            f"{away} the certificate is not valid yet: let this machine's clock be set by the network (or wait "
            f"{found.not_before - there:.0f} seconds)",
            "timedatectl set-ntp true",
        )
    elif there > found.not_after:
        yield Hint(f"{away} the certificate has expired: renew it")
    yield hint_of(error.hint)


def _revoked(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    del error
    anchor = found.settings.spec.trust_anchor_arn
    if len(found.sent) > 1:
        yield from _revoked_one_of(found.sent, anchor)
    else:
        yield Hint("request a new certificate, with a new key: this one is on a CRL of the trust anchor")
    query = f"crls[?trustAnchorArn=='{anchor}'].[crlId,name,enabled]"
    yield Hint(
        "if it was revoked by mistake, find the CRL, and disable-crl --crl-id ID",
        _aws(anchor, f"rolesanywhere list-crls --query {shlex.quote(query)} --output text"),
    )


def _revoked_one_of(sent: Sequence[tuple[str, int]], anchor: Arn) -> Iterator[Hint]:
    """A certificate below a revoked CA is refused in the same words: the CRLs tell which one it is."""
    names = [f"{subject} (serial {_serial(serial)})" for subject, serial in sent]
    numbers = "|".join(f"{_serial(serial)}$" for _, serial in sent)
    listed = _aws(
        anchor,
        f"rolesanywhere list-crls --query \"crls[?trustAnchorArn=='{anchor}' && enabled].crlId\" --output text",
    )
    read = _aws(anchor, "rolesanywhere get-crl --crl-id $id --query crl.crlData --output text")
    yield Hint(
        f"a CRL of the trust anchor names {names[0]}, or a CA that is sent with it: {', '.join(names[1:])}; this shows "
        "the serial number of the one that it is",
        f"for id in $({listed}); do {read} | base64 -d | openssl crl -noout -text; done | "
        f"grep -E {shlex.quote(numbers)}",
    )
    yield Hint(f"if it is {names[0]}: request a new certificate, with a new key")
    yield Hint(
        "if it is a CA: a new leaf of the same CA is refused too; let another CA below the trust anchor issue one, and "
        "give that CA's certificate with --intermediates FILE"
    )


def _serial(number: int) -> str:
    """Write a serial number as OpenSSL does: whole bytes in capital letters."""
    text = f"{number:X}"
    return text if len(text) % 2 == 0 else f"0{text}"


def _session_name(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    profile = found.settings.spec.profile_arn
    yield hint_of(error.hint)
    yield Hint(
        "or let the profile accept one",
        _aws(profile, f"rolesanywhere update-profile --profile-id {_id(profile)} --accept-role-session-name"),
    )


def _profile(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    del error
    profile = found.settings.spec.profile_arn
    role = found.settings.spec.role_arn
    yield Hint(
        f"compare --profile-arn with those that there are in {profile.region}: it is not among them, or is disabled "
        "(False), or lists no role (None)",
        _aws(
            profile, "rolesanywhere list-profiles --query 'profiles[].[profileArn,enabled,roleArns[0]]' --output text"
        ),
    )
    yield Hint(
        "if it is disabled: enable it", _aws(profile, f"rolesanywhere enable-profile --profile-id {_id(profile)}")
    )
    yield Hint("if it lists no role: add the one that is asked for", _add_role(profile, role))


def _role(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    del error
    profile, role = found.settings.spec.profile_arn, found.settings.spec.role_arn
    yield Hint("add the role to those of the profile", _add_role(profile, role))
    yield Hint(
        "or ask for one that is in it: --role-arn",
        _aws(
            profile,
            f"rolesanywhere get-profile --profile-id {_id(profile)} --query profile.roleArns --output text",
        ),
    )


def _refused(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    yield hint_of(error.hint)
    if "instanceproperties" not in error.what.casefold():
        return
    profile, role = found.settings.spec.profile_arn, found.settings.spec.role_arn
    without = "profiles[?requireInstanceProperties!=`true`].[profileArn,name]"
    yield Hint(
        "or give as --profile-arn one that does not require them",
        _aws(profile, f"rolesanywhere list-profiles --query {shlex.quote(without)} --output text"),
    )
    yield Hint(
        "or make such a profile: in one that there is it cannot be changed",
        _aws(
            profile,
            f"rolesanywhere create-profile --name without-instance-properties --role-arns {role} --enabled --query "
            "profile.profileArn --output text",
        ),
    )


def _anchor(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    del error
    anchor = found.settings.spec.trust_anchor_arn
    yield Hint(
        f"compare --trust-anchor-arn with those that there are in {anchor.region}: it is not among them, or is "
        "disabled (False)",
        _aws(
            anchor, "rolesanywhere list-trust-anchors --query 'trustAnchors[].[trustAnchorArn,enabled]' --output text"
        ),
    )
    yield Hint(
        "if it is disabled: enable it",
        _aws(anchor, f"rolesanywhere enable-trust-anchor --trust-anchor-id {_id(anchor)}"),
    )


def _denied(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    del error
    spec = found.settings.spec
    name = spec.role_arn.resource.rpartition("/")[2]
    show = f"aws iam get-role --role-name {name} --query Role.AssumeRolePolicyDocument"
    subject = Hint(
        f"a condition on aws:PrincipalTag/x509Subject/… does not fit the certificate ({found.subject}), or one on "
        f"aws:SourceArn not the trust anchor {spec.trust_anchor_arn}",
        show,
    )
    # Without a condition on the subject the role would be open to every certificate of the CA.
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "rolesanywhere.amazonaws.com"},
        "Action": list(_ACTIONS),
        "Condition": {
            "ArnEquals": {"aws:SourceArn": str(spec.trust_anchor_arn)},
            "StringEquals": {"aws:PrincipalTag/x509Subject/CN": found.common_name},
        },
    }
    if found.common_name:
        yield Hint(
            "the role's trust policy must have a statement whose conditions fit this certificate, such as this one: "
            f"{json.dumps(statement, ensure_ascii=False)}",
            show,
        )
        yield subject
    else:
        yield subject
        yield Hint(
            f"or no statement of the role's trust policy allows {', '.join(_ACTIONS)} to rolesanywhere.amazonaws.com",
            show,
        )
    profile = spec.profile_arn
    mapped = _aws(
        profile,
        f"rolesanywhere get-profile --profile-id {_id(profile)} --query "
        "'profile.attributeMappings[].[certificateField,mappingRules[].specifier]' --output text",
    )
    yield Hint(
        "or the policy has such a statement, and the profile maps the subject no longer (this shows what it maps, * is "
        "everything of a field): then no condition on aws:PrincipalTag/x509Subject/… can hold",
        mapped,
    )
    yield Hint("if it does not map x509Subject: let it again", _aws(profile, _map(profile, "x509Subject", ["*"])))
    yield Hint(
        f"or a statement with Effect Deny fits this certificate ({found.subject}): it outweighs all others", show
    )
    yield Hint("the role does not exist: check --role-arn", f"aws iam get-role --role-name {name} --query Role.Arn")


def _tags(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    profile = found.settings.spec.profile_arn
    for field, names in _UNMAPPED.findall(error.what):
        attributes = [each.strip().partition("/")[0] for each in names.split(",") if each.strip()]
        if not attributes:
            continue
        # Subject and issuer are mapped by a star unless somebody has changed that.
        specifiers = attributes if field == "SAN" else ["*"]
        command = _aws(
            profile,
            f"rolesanywhere delete-attribute-mapping --profile-id {_id(profile)} --certificate-field x509{field} "
            f"--specifiers {' '.join(map(shlex.quote, specifiers))}",
        )
        # What the star has mapped besides is what policies have conditions on, the subject's common name above all.
        named = {"Subject": found.subject, "Issuer": found.issuer}.get(field, "")
        kept = [each for each in dict.fromkeys(_ATTRIBUTE.findall(named)) if each not in attributes]
        as_before = f", but {', '.join(kept)} as before" if kept else ""
        if kept:
            command += f" && {_aws(profile, _map(profile, f'x509{field}', kept))}"
        yield Hint(
            f"{', '.join(attributes)} of the certificate's {field} has characters that no session tag can hold: let "
            f"the profile map it no longer{as_before}",
            command,
        )
    yield hint_of(error.hint)


def _duration(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    del error
    settings = found.settings
    asked, name = settings.spec.duration_seconds, settings.spec.role_arn.resource.rpartition("/")[2]
    if asked > _LONGEST_DEFAULT_SECONDS:
        yield Hint(f"ask for less: --session-duration {_LONGEST_DEFAULT_SECONDS} is what every role allows")
    yield Hint(
        f"or let the role last {asked} seconds",
        f"aws iam update-role --role-name {name} --max-session-duration {asked}",
    )


_TRANSLATIONS: Mapping[type[HelperError], Callable[[HelperError, Circumstances], Iterable[Hint]]] = {
    ClockSkewError: _clock,
    InvalidSignatureError: _signature,
    InsufficientCertificateError: _insufficient,
    RefusedError: _refused,
    UntrustedCertificateError: _untrusted,
    CertificateRevokedError: _revoked,
    RoleSessionNameRefusedError: _session_name,
    InvalidProfileError: _profile,
    RoleNotInProfileError: _role,
    TrustAnchorNotFoundError: _anchor,
    AssumeRoleDeniedError: _denied,
    SessionTagMappingError: _tags,
    DurationTooLongError: _duration,
}


# Commands


def _aws(resource: Arn, words: str) -> str:
    return f"aws --region {resource.region} {words}"


def _id(resource: Arn) -> str:
    """Name a resource as every version of the AWS CLI takes it: by its UUID, or the ARN of an alias."""
    kind, _, name = resource.resource.partition("/")
    return shlex.quote(str(resource) if kind == "alias" else name)


def _map(profile: Arn, field: str, specifiers: Iterable[str]) -> str:
    rules = " ".join(shlex.quote(f"specifier={each}") for each in specifiers)
    return (
        f"rolesanywhere put-attribute-mapping --profile-id {_id(profile)} --certificate-field {field} "
        f"--mapping-rules {rules}"
    )


def _new_bundle(anchor: Arn, file: str) -> str:
    source = f'"sourceType=CERTIFICATE_BUNDLE,sourceData={{x509CertificateData=$(cat {file})}}"'
    return _aws(anchor, f"rolesanywhere update-trust-anchor --trust-anchor-id {_id(anchor)} --source {source}")


def _add_role(profile: Arn, role: Arn) -> str:
    """The list is replaced as a whole: those that are in it must be named again."""
    there = _aws(
        profile, f"rolesanywhere get-profile --profile-id {_id(profile)} --query 'profile.roleArns[]' --output text"
    )
    return _aws(profile, f"rolesanywhere update-profile --profile-id {_id(profile)} --role-arns $({there}) {role}")
