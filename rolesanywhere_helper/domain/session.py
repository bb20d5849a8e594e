"""What one session is: everything that CreateSession is asked for, checked before anything is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.arn import is_region, parse_profile_arn, parse_role_arn, parse_trust_anchor_arn
from rolesanywhere_helper.errors import InvalidArnError, InvalidParameterError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.arn import Arn

# CreateSession's documented bounds (API reference, "CreateSession").
SHORTEST_SECONDS = 900
LONGEST_SECONDS = 43_200
DEFAULT_SECONDS = 3_600
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_MOST_PROPERTIES = 50
_LONGEST_PROPERTY = 200
_DURATION = re.compile(r"(?:(\d{1,3})h)?(?:(\d{1,4})m)?(?:(\d{1,6})s?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """One session as asked for. Make it with :func:`session_spec`, which checks it."""

    trust_anchor_arn: Arn
    profile_arn: Arn
    role_arn: Arn
    region: str
    duration_seconds: int = DEFAULT_SECONDS
    role_session_name: str | None = None
    instance_properties: tuple[tuple[str, str], ...] = ()


def session_spec(  # noqa: PLR0913 - the parameters of CreateSession, each by name
    *,
    trust_anchor_arn: str,
    profile_arn: str,
    role_arn: str,
    region: str | None = None,
    duration_seconds: int = DEFAULT_SECONDS,
    role_session_name: str | None = None,
    instance_properties: tuple[tuple[str, str], ...] = (),
) -> SessionSpec:
    """Check what was asked for, by the rules of the service, and freeze it.

    The region is the trust anchor's unless one is given.

    Raises:
        InvalidArnError: an ARN is not one, or trust anchor and profile lie apart.
        InvalidParameterError: region, duration, role session name or instance properties break a documented rule.

    """
    anchor, profile = parse_trust_anchor_arn(trust_anchor_arn), parse_profile_arn(profile_arn)
    role = parse_role_arn(role_arn)
    _check_neighbours(anchor, profile, role)
    _check_duration(duration_seconds)
    if region is not None and not is_region(region):
        raise InvalidParameterError(f"this is not the name of an AWS region: {region!a}", "for example: eu-central-1")
    if role_session_name is not None and not _SESSION_NAME.fullmatch(role_session_name):
        raise InvalidParameterError(
            f"this cannot be a role session name: {role_session_name!a}",
            "2 to 64 letters, digits or any of _+=,.@-",
        )
    _check_properties(instance_properties)
    return SessionSpec(
        anchor, profile, role, region or anchor.region, duration_seconds, role_session_name, instance_properties
    )


def parse_duration(text: str) -> int:
    """Read a duration: seconds (``3600``), or hours, minutes and seconds (``1h``, ``90m``, ``1h30m``).

    Raises:
        InvalidParameterError: it is neither.

    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise InvalidParameterError(f"this is not a duration: {text!a}", "seconds, or for example 1h, 90m, 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _check_neighbours(anchor: Arn, profile: Arn, role: Arn) -> None:
    if (anchor.region, anchor.account) != (profile.region, profile.account):
        raise InvalidArnError(
            f"trust anchor ({anchor.region}, {anchor.account}) and profile ({profile.region}, {profile.account}) "
            "are not in the same region and account",
            "Roles Anywhere needs both side by side: copy the two ARNs from the same console page",
        )
    if len({anchor.partition, profile.partition, role.partition}) > 1:
        raise InvalidArnError(
            f"the ARNs name more than one partition: {anchor.partition}, {profile.partition}, {role.partition}",
            "trust anchor, profile and role must be in one partition (aws, aws-cn, aws-us-gov …)",
        )


def _check_duration(seconds: int) -> None:
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise InvalidParameterError(
            f"a session cannot last {seconds} seconds",
            f"ask for {SHORTEST_SECONDS} (15 minutes) to {LONGEST_SECONDS} (12 hours)",
        )


def _check_properties(properties: tuple[tuple[str, str], ...]) -> None:
    if len(properties) > _MOST_PROPERTIES:
        raise InvalidParameterError(f"{len(properties)} instance properties are too many", "the service takes 50")
    for key, value in properties:
        if not (1 <= len(key) <= _LONGEST_PROPERTY and 1 <= len(value) <= _LONGEST_PROPERTY):
            raise InvalidParameterError(
                f"instance property {key[:40]!a} is empty or too long", "keys and values have 1 to 200 characters"
            )
