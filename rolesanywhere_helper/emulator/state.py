"""The account that the emulator plays: trust anchors, profiles and roles, as frozen values.

A change makes a new :class:`State`. What has an ARN keeps it for as long as the directory lives.
"""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_FORMAT = 1
_LONGEST_SESSION = 43_200


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """A CA, or a bundle of them. ``source`` is the file that the bundle is read from at every start, if any."""

    identifier: str
    name: str
    bundle_pem: str
    enabled: bool = True
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """Which roles may be asked for, and how. ``duration_seconds`` is both the default and the upper bound."""

    identifier: str
    name: str
    role_arns: tuple[str, ...]
    enabled: bool = True
    duration_seconds: int = _LONGEST_SESSION
    accept_role_session_name: bool = True
    require_instance_properties: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """An IAM role, of this account or another one, with the part of its trust policy that matters here.

    ``trusted_anchors`` narrows ``trusts_roles_anywhere`` to some trust anchors (the policy's condition on
    ``aws:SourceArn``), none means all. ``trusted_roles`` may assume it (role chaining), with ``external_id`` if set.
    """

    arn: str
    role_id: str
    max_session_seconds: int = _LONGEST_SESSION
    trusts_roles_anywhere: bool = True
    trusted_anchors: tuple[str, ...] = ()
    trusted_roles: tuple[str, ...] = ()
    external_id: str | None = None

    @property
    def account(self) -> str:
        """The twelve digits of the account that it lives in."""
        return self.arn.split(":")[4]

    @property
    def name(self) -> str:
        """The name without its path, as in the ARN of a session."""
        return self.arn.rpartition("/")[2]

    def session_arn(self, session_name: str) -> str:
        """Build the ARN that STS gives to a session of this role."""
        partition = self.arn.split(":")[1]
        return f"arn:{partition}:sts::{self.account}:assumed-role/{self.name}/{session_name}"


@dataclass(frozen=True, slots=True)
class State:
    """Everything that outlives a run. The first anchor, profile and role are those that the directory was made with.

    ``sealing_key`` (hexadecimal) is what issued credentials are derived from, so that a restarted emulator knows them.
    """

    partition: str
    region: str
    account: str
    sealing_key: str = field(repr=False)
    trust_anchors: tuple[TrustAnchor, ...] = ()
    profiles: tuple[Profile, ...] = ()
    roles: tuple[Role, ...] = ()

    def anchor_arn(self, anchor: TrustAnchor) -> str:
        """Return a trust anchor's ARN."""
        return self._arn(f"trust-anchor/{anchor.identifier}")

    def profile_arn(self, profile: Profile) -> str:
        """Return a profile's ARN."""
        return self._arn(f"profile/{profile.identifier}")

    def subject_arn(self, subject: bytes) -> str:
        """Return the ARN of the subject (its DER) that authenticates: the same one every time."""
        return self._arn(f"subject/{uuid.uuid5(uuid.NAMESPACE_OID, f'{self.account}:{subject.hex()}')}")

    def find_anchor(self, arn: str) -> TrustAnchor | None:
        """Find a trust anchor by its ARN or alias ARN."""
        for anchor in self.trust_anchors:
            if arn in {self.anchor_arn(anchor), self._arn(f"alias/trust-anchor/{anchor.name}")}:
                return anchor
        return None

    def find_profile(self, arn: str) -> Profile | None:
        """Find a profile by its ARN or alias ARN."""
        for profile in self.profiles:
            if arn in {self.profile_arn(profile), self._arn(f"alias/profile/{profile.name}")}:
                return profile
        return None

    def find_role(self, arn: str) -> Role | None:
        """Find a role by its ARN."""
        return next((role for role in self.roles if role.arn == arn), None)

    def _arn(self, resource: str) -> str:
        return f"arn:{self.partition}:rolesanywhere:{self.region}:{self.account}:{resource}"


def new_role(arn: str, **knobs: Any) -> Role:
    """Make a role with an id of its own; ``knobs`` are fields of :class:`Role`."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return Role(arn, "AROA" + "".join(secrets.choice(alphabet) for _ in range(17)), **knobs)


def new_state(region: str, account: str, anchor: TrustAnchor) -> State:
    """Make an account with one profile and one role, and a second account's role that the first may assume."""
    # Another account than the first, whichever that is: role chaining is mostly about crossing accounts.
    other_account = f"{(int(account) + 333_300_003_333) % 10**12:012}"
    role = new_role(f"arn:aws:iam::{account}:role/EmulatorRole")
    other = new_role(
        f"arn:aws:iam::{other_account}:role/EmulatorOtherAccountRole",
        trusts_roles_anywhere=False,
        trusted_roles=(role.arn,),
    )
    profile = Profile(str(uuid.uuid4()), "emulator", (role.arn,))
    return State("aws", region, account, secrets.token_hex(32), (anchor,), (profile,), (role, other))


def to_json(state: State) -> bytes:
    """Write a state down; it holds a secret."""
    return json.dumps({"format": _FORMAT, **asdict(state)}, indent=2).encode("utf-8")


def from_json(text: bytes) -> State:
    """Read what :func:`to_json` wrote.

    Raises:
        ValueError: it is not that, or of another version.

    """
    document = json.loads(text)
    if not isinstance(document, dict) or document.pop("format", None) != _FORMAT:
        raise ValueError("a state of another version")
    try:
        return State(
            **document
            | {
                "trust_anchors": _read_all(TrustAnchor, document["trust_anchors"]),
                "profiles": _read_all(Profile, document["profiles"]),
                "roles": _read_all(Role, document["roles"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise ValueError("a state with other fields") from error


_Value = TypeVar("_Value")


def _read_all(kind: Callable[..., _Value], documents: Iterable[Mapping[str, Any]]) -> tuple[_Value, ...]:
    # JSON knows no tuples.
    return tuple(
        kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in document.items()})
        for document in documents
    )
