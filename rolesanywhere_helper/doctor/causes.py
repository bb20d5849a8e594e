"""A refusal of the service, translated: what most likely caused it, in order, and what mends each.

The texts of the service are told apart in :mod:`rolesanywhere_helper.protocol.create_session`; here the circumstances
that were found on the way decide which cause comes first.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from rolesanywhere_helper.doctor.findings import Hint, hint_of
from rolesanywhere_helper.errors import (
    AssumeRoleDeniedError,
    CertificateRevokedError,
    ClockSkewError,
    DurationTooLongError,
    InvalidProfileError,
    InvalidSignatureError,
    RoleNotInProfileError,
    RoleSessionNameRefusedError,
    SessionTagMappingError,
    TrustAnchorNotFoundError,
    UntrustedCertificateError,
)
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.domain.arn import Arn
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.role_hop import RoleHop
    from rolesanywhere_helper.errors import HelperError

_UNMAPPED = re.compile(r"(Issuer|Subject|SAN): \[ ([^\]]*) \]")
# What the service lets a role's trust policy allow to it (user guide, "Roles Anywhere trust model").
_ACTIONS = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
_LONGEST_DEFAULT_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What was found before the service was asked.

    ``skew_seconds`` is by how much this machine's clock is ahead, None if unknown; ``top_issuer`` who issued the last
    certificate that is sent; ``intermediates`` how many are sent; ``is_way_checked`` whether the way to the trust
    anchor's certificate was found to be whole; ``warnings`` what loading the identity had to say; ``common_name`` is
    that of the certificate, empty if it has none or several.
    """

    settings: SessionSettings
    skew_seconds: float | None = None
    subject: str = ""
    top_issuer: str = ""
    intermediates: int = 0
    is_way_checked: bool = False
    warnings: tuple[str, ...] = ()
    common_name: str = ""


def hints(error: HelperError, found: Circumstances) -> tuple[Hint, ...]:
    """Return the likely causes and what mends them, the most likely first."""
    translate = _TRANSLATIONS.get(type(error))
    return (hint_of(error.hint),) if translate is None else tuple(translate(error, found))


def hints_for_hop(error: HelperError, hop: RoleHop, before: Credentials) -> tuple[Hint, ...]:
    """Return what lets STS go on from one role to the next."""
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
    if found.skew_seconds is None:
        yield Hint("check this machine's clock: more than five minutes off gives this very message", "timedatectl")
    else:
        yield Hint(
            f"the clocks agree ({found.skew_seconds:+.0f} s) and the key belongs to the certificate: something on the "
            "way changes the request, such as a proxy or a gateway; try without it"
        )
    yield Hint(f"the request is signed for {found.settings.spec.region}: leave --region out, if it is given")


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


def _revoked(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    yield hint_of(error.hint)
    anchor = found.settings.spec.trust_anchor_arn
    query = f"crls[?trustAnchorArn=='{anchor}'].[crlId,name,enabled]"
    yield Hint(
        "if it was revoked by mistake, find the CRL, and disable-crl --crl-id ID",
        _aws(anchor, f"rolesanywhere list-crls --query {shlex.quote(query)} --output text"),
    )


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
    yield Hint("the role does not exist: check --role-arn", f"aws iam get-role --role-name {name} --query Role.Arn")


def _tags(error: HelperError, found: Circumstances) -> Iterable[Hint]:
    profile = found.settings.spec.profile_arn
    for field, names in _UNMAPPED.findall(error.what):
        attributes = [each.strip().partition("/")[0] for each in names.split(",") if each.strip()]
        if not attributes:
            continue
        # Subject and issuer are mapped by a star unless somebody has changed that.
        specifiers = attributes if field == "SAN" else ["*"]
        command = (
            f"rolesanywhere delete-attribute-mapping --profile-id {_id(profile)} --certificate-field x509{field} "
            f"--specifiers {' '.join(map(shlex.quote, specifiers))}"
        )
        kept = "" if field == "SAN" else " (and map those that a policy uses again: put-attribute-mapping)"
        yield Hint(
            f"{', '.join(attributes)} of the certificate's {field} has characters that no session tag can hold: let "
            f"the profile map it no longer{kept}",
            _aws(profile, command),
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


def _add_role(profile: Arn, role: Arn) -> str:
    """The list is replaced as a whole: those that are in it must be named again."""
    there = _aws(
        profile, f"rolesanywhere get-profile --profile-id {_id(profile)} --query 'profile.roleArns[]' --output text"
    )
    return _aws(profile, f"rolesanywhere update-profile --profile-id {_id(profile)} --role-arns $({there}) {role}")
