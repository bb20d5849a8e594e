"""What a trust policy is evaluated against: who asks for a role, and the condition keys of the request.

The keys are those of the IAM user guide ("AWS global condition context keys", "IAM and AWS STS condition context keys")
that a request to the emulator has a value for; any other key counts as absent. Their cases do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rolesanywhere_helper.emulator.trust_policies import SERVICE, Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rolesanywhere_helper.emulator.issuing import Grant
    from rolesanywhere_helper.emulator.state import Role, Tags


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a role's session. ``now`` is in seconds since the epoch."""

    role: Role
    session_name: str
    now: float
    region: str
    remote: str
    source_identity: str | None = None
    tags: Tags = ()
    transitive_tag_keys: tuple[str, ...] = ()
    external_id: str | None = None


def of_service(request: Request, trust_anchor_arn: str) -> Call:
    """Describe a call that Roles Anywhere makes for who holds a certificate.

    The certificate's attributes are both the tags that are requested and, as the user guide's examples use them, those
    of the principal.
    """
    keys = {
        **_common(request),
        **_tags("aws:PrincipalTag", request.tags),
        "aws:SourceArn": (trust_anchor_arn,),
        "aws:SourceAccount": (trust_anchor_arn.split(":")[4],),
        "aws:PrincipalIsAWSService": ("true",),
        "aws:PrincipalServiceName": (SERVICE,),
        "aws:PrincipalServiceNamesList": (SERVICE,),
    }
    return Call(frozenset({("Service", SERVICE)}), _lowered(keys))


def of_caller(request: Request, caller: Grant) -> Call:
    """Describe a call of AssumeRole by a role's session, or by an administrator."""
    arn = caller.role_arn or caller.session_arn
    partition = arn.split(":")[1]
    names = (caller.session_arn, arn, caller.account, f"arn:{partition}:iam::{caller.account}:root")
    keys = {
        **_common(request),
        **_tags("aws:PrincipalTag", caller.tags),
        "aws:PrincipalArn": (arn,),
        "aws:PrincipalAccount": (caller.account,),
        "aws:PrincipalType": ("AssumedRole" if caller.role_arn else "User",),
        "aws:userid": (caller.user_id,),
        "aws:PrincipalIsAWSService": ("false",),
        **_given("aws:SourceIdentity", caller.source_identity),
    }
    return Call(frozenset(("AWS", name) for name in names), _lowered(keys))


def _common(request: Request) -> dict[str, tuple[str, ...]]:
    moment = datetime.fromtimestamp(request.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = tuple(key for key, _ in request.tags)
    return {
        "aws:CurrentTime": (moment,),
        "aws:EpochTime": (str(int(request.now)),),
        "aws:SecureTransport": ("true",),  # the service has no other; plain http is this emulator's own
        "aws:SourceIp": (request.remote,),
        "aws:RequestedRegion": (request.region,),
        "sts:RoleSessionName": (request.session_name,),
        **_given("sts:SourceIdentity", request.source_identity),
        **_given("sts:ExternalId", request.external_id),
        **_tags("aws:RequestTag", request.tags),
        **_tags("aws:ResourceTag", request.role.tags),
        **_tags("iam:ResourceTag", request.role.tags),
        **({"aws:TagKeys": keys} if keys else {}),
        **({"sts:TransitiveTagKeys": request.transitive_tag_keys} if request.transitive_tag_keys else {}),
    }


def _tags(key: str, tags: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    return {f"{key}/{name}": (value,) for name, value in tags}


def _given(key: str, value: str | None) -> dict[str, tuple[str, ...]]:
    return {} if value is None else {key: (value,)}


def _lowered(keys: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {key.lower(): values for key, values in keys.items()}
