"""CreateSession: ``POST /sessions``, from the request as it arrived to a session or the documented refusal.

The order of the checks: the signature over what arrived, the parameters, the trust anchor and the path to it,
revocation, the leaf, then profile, session name, session tags, the role's trust policy and the duration. Texts are
those of the live service where one is known. The HTTP status of an unknown trust anchor is not; it is 403 here, like
everything else. Trust anchor, profile and role are of one account: the service looks for a profile nowhere else, and
cannot be handed another account's role.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rolesanywhere_helper.emulator import certificates, circumstances, revocation, session_tags, trust_policies
from rolesanywhere_helper.emulator.answers import Refusal, access_denied, invalid
from rolesanywhere_helper.emulator.issuing import Grant, new_access_key_id
from rolesanywhere_helper.emulator.state import account_of, region_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.issuing import IssuedCredentials
    from rolesanywhere_helper.emulator.state import Profile, State, TrustAnchor

ARN_NAMES = ("trustAnchorArn", "profileArn", "roleArn")
SHORTEST_SECONDS = 900
LONGEST_SECONDS = 43_200
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_MOST_PROPERTIES = 50
_LONGEST_PROPERTY = 200
_LONGEST_CN_WITH_PREFIX = 61
_SOURCE_IDENTITY = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)  # STS API reference, AssumeRole
SELF_SIGNED = "SELF_SIGNED_REPOSITORY"


@dataclass(frozen=True, slots=True)
class Moment:
    """When, in seconds since the epoch, and from which address a request came."""

    now: float
    remote: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """What was asked for, in form. ``duration_seconds`` and ``role_session_name`` are None if not asked for."""

    trust_anchor_arn: str
    profile_arn: str
    role_arn: str
    duration_seconds: int | None
    role_session_name: str | None
    instance_properties: Mapping[str, str]


def read_parameters(arrival: Arrival) -> Parameters:
    """Read the parameters, with the ARNs from the query or the JSON body.

    Which wins is not documented, so a request that gives an ARN in both places must give the same.

    Raises:
        Refusal: ValidationException; one is missing, malformed, or given twice with different values.

    """
    body = _read_body(arrival.body)
    query = _read_query(arrival.query)
    arns = {name: _one_arn(name, query.get(name), body.get(name)) for name in ARN_NAMES}
    return Parameters(
        arns["trustAnchorArn"],
        arns["profileArn"],
        arns["roleArn"],
        _duration(body.get("durationSeconds")),
        _role_session_name(body.get("roleSessionName")),
        _instance_properties(body.get("instanceProperties")),
    )


def account_asked_for(parameters: Parameters) -> str:
    """Return the account whose quota a request counts against: that of the trust anchor's ARN."""
    parts = parameters.trust_anchor_arn.split(":")
    return parts[4] if len(parts) > len(("arn", "partition", "service", "region")) else ""


def trusted_anchor(
    state: State, parameters: Parameters, leaf: x509.Certificate, chain: tuple[x509.Certificate, ...], now: float
) -> TrustAnchor:
    """Return the trust anchor, to which a path leads from the leaf. ``now`` is in seconds since the epoch.

    Raises:
        Refusal: there is no such anchor, or no path to it.

    """
    anchor = state.find_anchor(parameters.trust_anchor_arn)
    if anchor is None or not anchor.enabled:
        reason = None if anchor is None else "the trust anchor is disabled"
        raise access_denied("Specified Trust Anchor wasn't found.", reason)
    if certificates.is_weak(leaf):
        # A weak signature is no step of any path: the leaf's own fault must be named first.
        certificates.require_usable_leaf(leaf, now)
    bundle = _bundle(anchor)
    if not _is_in_repository(leaf, anchor, bundle):
        certificates.require_path(leaf, chain, bundle, now)
    return anchor


def require_unrevoked(
    state: State, leaf: x509.Certificate, chain: tuple[x509.Certificate, ...], anchor: TrustAnchor, now: float
) -> None:
    """Require a path to the anchor on which no certificate is revoked. ``now`` is in seconds since the epoch.

    Raises:
        Refusal: there is none.

    """
    bundle = _bundle(anchor)
    if _is_in_repository(leaf, anchor, bundle):
        return
    lists = [crl.data for crl in state.crls if crl.trust_anchor_arn == anchor.arn and crl.enabled]
    unrevoked = [certificate for certificate in chain if not revocation.is_revoked(certificate, lists)]
    if revocation.is_revoked(leaf, lists) or not certificates.has_path(leaf, unrevoked, bundle, now):
        raise access_denied("Certificate revoked")


def authorize(
    state: State, parameters: Parameters, leaf: x509.Certificate, anchor: TrustAnchor, moment: Moment
) -> Grant:
    """Decide whether the holder of a leaf that leads to the anchor gets the session.

    Raises:
        Refusal: it does not.

    """
    certificates.require_usable_leaf(leaf, moment.now)
    profile = _require_profile(state, parameters, anchor)
    seconds = min(profile.duration_seconds, parameters.duration_seconds or profile.duration_seconds)
    session_name = parameters.role_session_name or f"{leaf.serial_number:x}"
    failure = session_tags.unmappable(leaf, profile.attribute_mappings)
    if failure is not None:
        raise _cannot_assume(parameters.role_arn, failure)
    role = state.find_role(parameters.role_arn)
    if role is None:
        raise _cannot_assume(parameters.role_arn, reason="there is no such role")
    if role.account != account_of(profile.arn):
        raise _cannot_assume(role.arn, reason="the role is another account's than the profile")
    tags = session_tags.mapped(leaf, profile.attribute_mappings)
    request = circumstances.Request(
        role, session_name, moment.now, state.region, moment.remote, source_identity(leaf), tags
    )
    _require_trust(request, anchor)
    if seconds > role.max_session_seconds:
        raise _cannot_assume(
            role.arn, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    return Grant(
        access_key_id=new_access_key_id(),
        role_arn=role.arn,
        role_id=role.role_id,
        session_arn=role.session_arn(session_name),
        session_name=session_name,
        source_identity=request.source_identity,
        expires_at=int(moment.now) + seconds,
        tags=tags,
    )


def source_identity(leaf: x509.Certificate) -> str:
    """Derive the source identity from the leaf's CN, or from its serial if it has none."""
    name = certificates.common_name(leaf)
    if name:
        return f"CN={name}" if len(name) <= _LONGEST_CN_WITH_PREFIX else name
    serial = f"{leaf.serial_number:x}"
    return f"ID={serial.zfill(len(serial) + len(serial) % 2)}"


def doubt_about(identity: str) -> str | None:
    """Return what is not known about a source identity: the service's documentation and that of STS disagree on it."""
    if _SOURCE_IDENTITY.fullmatch(identity):
        return None
    return f"STS takes no such source identity from callers ({identity!a}); what the service makes of it is not known"


def response(grant: Grant, credentials: IssuedCredentials, expiration: str, subject_arn: str) -> dict[str, Any]:
    """Build the document of the 201 answer."""
    return {
        "credentialSet": [
            {
                "assumedRoleUser": {
                    "arn": grant.session_arn,
                    "assumedRoleId": grant.user_id,
                },
                "credentials": {
                    "accessKeyId": credentials.access_key_id,
                    "expiration": expiration,
                    "secretAccessKey": credentials.secret_access_key,
                    "sessionToken": credentials.session_token,
                },
                "packedPolicySize": 42,
                "roleArn": grant.role_arn,
                "sourceIdentity": grant.source_identity,
            }
        ],
        "subjectArn": subject_arn,
    }


def _bundle(anchor: TrustAnchor) -> list[x509.Certificate]:
    return certificates.bundle_of(anchor.bundle_pem) if anchor.bundle_pem else []


def _is_in_repository(leaf: x509.Certificate, anchor: TrustAnchor, bundle: list[x509.Certificate]) -> bool:
    return anchor.source_type == SELF_SIGNED and leaf in bundle


def _require_profile(state: State, parameters: Parameters, anchor: TrustAnchor) -> Profile:
    profile = state.find_profile(parameters.profile_arn)
    reason = _why_no_profile(profile, anchor)
    if profile is None or reason is not None:
        raise access_denied("Invalid or empty profile provided.", reason)
    if parameters.role_arn not in profile.role_arns:
        raise access_denied("Requested Role isn't one of those listed in the Profile.")
    if parameters.role_session_name is not None and not profile.accept_role_session_name:
        raise access_denied("Not authorized to set roleSessionName")
    if profile.require_instance_properties and not parameters.instance_properties:
        raise invalid("The profile requires instanceProperties")
    return profile


def _why_no_profile(profile: Profile | None, anchor: TrustAnchor) -> str | None:
    if profile is None:
        return "there is no such profile"
    if (account_of(profile.arn), region_of(profile.arn)) != (account_of(anchor.arn), region_of(anchor.arn)):
        return "the profile is in another account or region than the trust anchor"
    return None if profile.enabled and profile.role_arns else "the profile is disabled, or lists no role"


def _require_trust(request: circumstances.Request, anchor: TrustAnchor) -> None:
    if len(request.tags) > session_tags.MOST_TAGS:
        raise _cannot_assume(request.role.arn, reason=f"more than {session_tags.MOST_TAGS} session tags")
    tagging = (trust_policies.TAG_SESSION,) if request.tags else ()
    actions = (trust_policies.ASSUME_ROLE, *tagging, trust_policies.SET_SOURCE_IDENTITY)
    call = circumstances.of_service(request, anchor.arn)
    reason = trust_policies.why_not(request.role.trust_policy, call, actions)
    if reason is not None:
        raise _cannot_assume(request.role.arn, reason=reason)


def _cannot_assume(role_arn: str, why: str = "", reason: str | None = None) -> Refusal:
    return access_denied(f"Unable to assume role for {role_arn}. {why}".rstrip(), reason)


def _read_body(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise invalid("The body is not JSON") from None
    if not isinstance(document, dict):
        raise invalid("The body is not a JSON object")
    return document


def _read_query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if name in ARN_NAMES and found.setdefault(name, unquote(value)) != unquote(value):
            raise invalid(f"{name} is in the query twice, with different values")
    return found


def _one_arn(name: str, in_query: str | None, in_body: object) -> str:
    value = in_body if in_query is None else in_query
    if in_query is not None and in_body is not None and in_body != in_query:
        raise invalid(f"{name} differs between query and body")
    if not isinstance(value, str) or not value.startswith("arn:"):
        raise invalid(f"{name} is missing or not an ARN")
    return value


def _duration(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not SHORTEST_SECONDS <= value <= LONGEST_SECONDS:
        raise invalid(f"durationSeconds must be a number from {SHORTEST_SECONDS} to {LONGEST_SECONDS}")
    return value


def _role_session_name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _SESSION_NAME.fullmatch(value):
        raise invalid(r"roleSessionName must be 2 to 64 of [\w+=,.@-]")
    return value


def _instance_properties(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MOST_PROPERTIES:
        raise invalid(f"instanceProperties must be a map of at most {_MOST_PROPERTIES} entries")
    for key, text in value.items():
        if (
            not isinstance(text, str)
            or not 1 <= len(key) <= _LONGEST_PROPERTY
            or not 1 <= len(text) <= _LONGEST_PROPERTY
        ):
            raise invalid(f"keys and values of instanceProperties must have 1 to {_LONGEST_PROPERTY} characters")
    return value
