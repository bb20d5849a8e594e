"""One step from role to role: what AssumeRole is asked for, checked before anything is sent.

Bounds: STS API reference, "AssumeRole" and "Tag"; IAM user guide, "Roles terms and concepts" (role chaining) and "Pass
session tags in AWS STS".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.arn import is_region, parse_role_arn
from rolesanywhere_helper.errors import InvalidParameterError
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.arn import Arn

# A session that was reached from another role's lasts an hour at most, whatever the role allows.
LONGEST_SECONDS = 3_600
SHORTEST_SECONDS = 900
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_MOST_TAGS = 50
_LONGEST_TAG_KEY, _LONGEST_TAG_VALUE = 128, 256
# Besides letters, numbers and separators of any script (Unicode's categories L, N, Z).
_IN_A_TAG = frozenset("_.:/=+-@")
_RESERVED_PREFIX = "aws:"


@dataclass(frozen=True, slots=True)
class RoleHop:
    """One AssumeRole. Make it with :func:`role_hop`, which checks it.

    ``name`` is the name of its session in the configuration file, if it has one. ``session_name`` is None for the
    default (see :mod:`rolesanywhere_helper.aws.assume_role`). ``sts_endpoint`` is a URL, or None for the region's.
    ``proxy`` is the URL on the way there, which may hold a password, or None.
    """

    role_arn: Arn
    region: str
    name: str | None = None
    external_id: str | None = None
    duration_seconds: int = LONGEST_SECONDS
    session_name: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    transitive_tag_keys: tuple[str, ...] = ()
    sts_endpoint: str | None = None
    use_fips: bool = False
    use_dualstack: bool = False
    proxy: str | None = field(default=None, repr=False)

    @property
    def asked(self) -> tuple[object, ...]:
        """Everything that decides who is asked for what, which the name of a session does not."""
        tags = (*self.tags, *self.transitive_tag_keys)
        return (
            self.role_arn,
            self.region,
            self.external_id,
            self.duration_seconds,
            self.session_name,
            tags,
            self.sts_endpoint,
            self.use_fips,
            self.use_dualstack,
            self.proxy,
        )


def role_hop(  # noqa: PLR0913 - the parameters of AssumeRole, each by name
    *,
    role_arn: str,
    region: str,
    name: str | None = None,
    external_id: str | None = None,
    duration_seconds: int | None = None,
    session_name: str | None = None,
    tags: tuple[tuple[str, str], ...] = (),
    transitive_tag_keys: tuple[str, ...] = (),
    sts_endpoint: str | None = None,
    use_fips: bool = False,
    use_dualstack: bool = False,
) -> RoleHop:
    """Check what one step was asked to be, by the rules of the service, and freeze it.

    Raises:
        InvalidArnError: the ARN is not that of a role.
        InvalidParameterError: region, duration, external ID, session name or tags break a documented rule.

    """
    seconds = LONGEST_SECONDS if duration_seconds is None else duration_seconds
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise InvalidParameterError(
            f"a session that is reached from another role's cannot last {seconds} seconds",
            f"ask for {SHORTEST_SECONDS} (15 minutes) to {LONGEST_SECONDS} (1 hour), the limit of role chaining",
        )
    if not is_region(region):
        raise InvalidParameterError(f"this is not the name of an AWS region: {region!a}", "for example: eu-central-1")
    if external_id is not None and not _EXTERNAL_ID.fullmatch(external_id):
        raise InvalidParameterError("this cannot be an external ID", "2 to 1224 letters, digits or any of _+=,.@:/-")
    if session_name is not None and not _SESSION_NAME.fullmatch(session_name):
        raise InvalidParameterError(
            f"this cannot be a role session name: {session_name!a}", "2 to 64 letters, digits or any of _+=,.@-"
        )
    _check_tags(tags, transitive_tag_keys)
    return RoleHop(
        parse_role_arn(role_arn),
        region,
        name,
        external_id,
        seconds,
        session_name,
        tags,
        transitive_tag_keys,
        sts_endpoint,
        use_fips,
        use_dualstack,
    )


def _check_tags(tags: tuple[tuple[str, str], ...], transitive: tuple[str, ...]) -> None:
    if len(tags) > _MOST_TAGS:
        raise InvalidParameterError(f"{len(tags)} session tags are too many", f"give at most {_MOST_TAGS}")
    for key, value in tags:
        _check_tag(key, value)
    _check_keys([key for key, _ in tags])
    unknown = [key for key in transitive if key not in dict(tags)]
    if unknown:
        raise InvalidParameterError(
            f"{unknown[0]!a} is to be transitive, but is no session tag of this session", "give it among session-tags"
        )


def _check_tag(key: str, value: str) -> None:
    if not 1 <= len(key) <= _LONGEST_TAG_KEY or len(value) > _LONGEST_TAG_VALUE:
        raise InvalidParameterError(
            f"the session tag {key[:40]!a} is too long, or has no key",
            f"keys have 1 to {_LONGEST_TAG_KEY} characters, values at most {_LONGEST_TAG_VALUE}",
        )
    for what, text in (("the key", key), ("the value", value)):
        stranger = next((each for each in text if not _is_in_a_tag(each)), None)
        if stranger is not None:
            raise InvalidParameterError(
                f"{what} of the session tag {key!a} has a character that STS does not take: {stranger!a}",
                f"letters, numbers, spaces and any of {''.join(sorted(_IN_A_TAG))}",
            )


def _check_keys(keys: list[str]) -> None:
    seen: dict[str, str] = {}
    for key in keys:
        same = key.lower()
        if same.startswith(_RESERVED_PREFIX):
            raise InvalidParameterError(
                f"the session tag {key!a} cannot be given: {_RESERVED_PREFIX} is reserved", "give it another name"
            )
        if same in seen:
            raise InvalidParameterError(
                f"STS takes the session tags {seen[same]!a} and {key!a} for the same one", "leave one of them out"
            )
        seen[same] = key


def _is_in_a_tag(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character == " " or character in _IN_A_TAG
    from unicodedata import category  # noqa: PLC0415 - hardly anybody needs it

    return category(character)[0] in "LNZ"
