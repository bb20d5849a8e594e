"""Amazon resource names, as far as this program needs to take them apart."""

from __future__ import annotations

import re

from rolesanywhere_helper.errors import InvalidArnError
from rolesanywhere_helper.frozen import dataclass

_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+){1,3}-\d{1,2}", re.ASCII)
_PARTITION = re.compile(r"aws(?:-[a-z]+)*", re.ASCII)
_ROLE = re.compile(r"role/(?:[\x21-\x7e]+/)?[\w+=,.@-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Arn:
    """``arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`` (AWS general reference, "Amazon Resource Names")."""

    partition: str
    service: str
    region: str
    account: str
    resource: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"


def is_region(text: str) -> bool:
    """Tell whether this looks like the name of an AWS region (``eu-central-1``, ``us-iso-east-1`` …)."""
    return _REGION.fullmatch(text) is not None


def parse_trust_anchor_arn(text: str) -> Arn:
    """Parse the ARN of a trust anchor or of its alias.

    Raises:
        InvalidArnError: it is not one.

    """
    return _roles_anywhere_arn(text, "trust-anchor", "trust anchor")


def parse_profile_arn(text: str) -> Arn:
    """Parse the ARN of a Roles Anywhere profile or of its alias.

    Raises:
        InvalidArnError: it is not one.

    """
    return _roles_anywhere_arn(text, "profile", "profile")


def parse_role_arn(text: str) -> Arn:
    """Parse the ARN of an IAM role, with or without a path.

    Raises:
        InvalidArnError: it is not one.

    """
    example = "arn:aws:iam::111122223333:role/NAME"
    arn = _split(text, "role", example)
    if arn.service != "iam" or arn.region or not _ROLE.fullmatch(arn.resource):
        raise _wrong(text, "role", example)
    return arn


def parse_caller_arn(text: str) -> Arn:
    """Parse the ARN of who calls AWS, as GetCallerIdentity tells it: a user, the root user, a session of a role.

    Raises:
        InvalidArnError: it is not one.

    """
    return _split(text, "caller", "arn:aws:iam::111122223333:user/NAME")


def _roles_anywhere_arn(text: str, kind: str, called: str) -> Arn:
    example = f"arn:aws:rolesanywhere:eu-central-1:111122223333:{kind}/UUID"
    arn = _split(text, called, example)
    is_resource = re.fullmatch(rf"(?:alias/)?{kind}/[^/\s]+", arn.resource)
    if arn.service != "rolesanywhere" or not is_region(arn.region) or not is_resource:
        raise _wrong(text, called, example)
    return arn


def _split(text: str, called: str, example: str) -> Arn:
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or not _PARTITION.fullmatch(parts[1]) or not _ACCOUNT.fullmatch(parts[4]):  # noqa: PLR2004 - the six fields of every ARN
        raise _wrong(text, called, example)
    return Arn(*parts[1:])


def _wrong(text: str, called: str, example: str) -> InvalidArnError:
    shown = text if len(text) <= 200 and text.isprintable() else f"{text[:200]!a}…"  # noqa: PLR2004 - long enough for any ARN
    return InvalidArnError(f"this is not the ARN of a {called}: {shown}", f"it looks like {example}")
