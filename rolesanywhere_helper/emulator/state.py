"""What the emulator's accounts hold, as frozen values: trust anchors, profiles, CRLs, subjects and IAM roles.

A change makes a new :class:`State`. Points in time are in seconds since the epoch. A resource belongs to the account
and the region that its ARN names.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from rolesanywhere_helper.emulator import trust_policies

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_SESSION = 43_200
DEFAULT_SESSION = 3_600
# User guide, "Certificate attribute mapping": what a new profile maps.
DEFAULT_MAPPINGS = (
    ("x509Issuer", ("*",)),
    ("x509SAN", ("DNS", "URI", "Name/*")),
    ("x509Subject", ("*",)),
)
_ID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

Tags: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NotificationSetting:
    """A customised setting of a trust anchor; ``threshold`` is in days."""

    event: str
    enabled: bool
    threshold: int | None = None
    channel: str = "ALL"
    configured_by: str = ""


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """A CA, or a bundle of them.

    ``bundle_pem`` is what certificates are checked against: the source's own data, or (``AWS_ACM_PCA``) the certificate
    of the CA that stands in for the one that ``acm_pca_arn`` names. ``source`` is the file that the bundle is read
    from at every start, if any.
    """

    arn: str
    name: str
    bundle_pem: str
    enabled: bool = True
    source: str | None = None
    source_type: str = "CERTIFICATE_BUNDLE"
    acm_pca_arn: str | None = None
    crl_dp_revocation_enabled: bool | None = None
    notification_settings: tuple[NotificationSetting, ...] = ()
    alias_name: str | None = None
    tags: Tags = ()
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """Which roles may be asked for, and how. ``duration_seconds`` is both the default and the upper bound.

    ``attribute_mappings`` are (certificate field, specifiers).
    """

    arn: str
    name: str
    role_arns: tuple[str, ...]
    enabled: bool = True
    duration_seconds: int = DEFAULT_SESSION
    accept_role_session_name: bool = False
    require_instance_properties: bool = False
    session_policy: str | None = None
    managed_policy_arns: tuple[str, ...] = ()
    attribute_mappings: tuple[tuple[str, tuple[str, ...]], ...] = DEFAULT_MAPPINGS
    alias_name: str | None = None
    tags: Tags = ()
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Crl:
    """A revocation list, as it was imported: PEM or DER."""

    arn: str
    name: str
    trust_anchor_arn: str
    data: bytes = field(repr=False)
    enabled: bool = True
    alias_name: str | None = None
    tags: Tags = ()
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SeenCertificate:
    """A certificate that a subject authenticated with, and how the last attempt ended."""

    serial_number: str
    issuer: str
    pem: str
    seen_at: float
    failed: bool


@dataclass(frozen=True, slots=True)
class SeenProperties:
    """Instance properties that a subject sent."""

    properties: Tags
    seen_at: float
    failed: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """Who authenticated: one for each subject name of an account, with what it was last seen with."""

    arn: str
    x509_subject: str
    created_at: float
    last_seen_at: float
    enabled: bool = True
    certificates: tuple[SeenCertificate, ...] = ()
    instance_properties: tuple[SeenProperties, ...] = ()
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class Role:
    """An IAM role of one of the accounts. ``trust_policy`` is a JSON document.

    The policies that say what a session may do are kept and not evaluated: ``inline_policies`` are (name, document).
    """

    arn: str
    role_id: str
    trust_policy: str
    max_session_seconds: int = DEFAULT_SESSION
    description: str | None = None
    inline_policies: Tags = ()
    attached_policies: tuple[str, ...] = ()
    permissions_boundary: str | None = None
    tags: Tags = ()
    created_at: float = 0.0

    @property
    def account(self) -> str:
        """The twelve digits of the account that it lives in."""
        return self.arn.split(":")[4]

    @property
    def name(self) -> str:
        """The name without its path, as in the ARN of a session."""
        return self.arn.rpartition("/")[2]

    @property
    def path(self) -> str:
        """The path, with a slash at both ends."""
        return self.arn.partition(":role")[2].removesuffix(self.name)

    def session_arn(self, session_name: str) -> str:
        """Build the ARN that STS gives to a session of this role."""
        partition = self.arn.split(":")[1]
        return f"arn:{partition}:sts::{self.account}:assumed-role/{self.name}/{session_name}"


@dataclass(frozen=True, slots=True)
class PrivateAuthority:
    """The certificate that stands in for a private CA of AWS (ACM-PCA)."""

    arn: str
    certificate_pem: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What the accounts are made with, and keep through a reset: the ids of the first resources."""

    trust_anchor_arn: str
    profile_arn: str
    role_arn: str
    role_id: str
    other_role_arn: str
    other_role_id: str


@dataclass(frozen=True, slots=True)
class State:
    """Everything that outlives a run.

    ``sealing_key`` (hexadecimal) is what issued and administrators' credentials are derived from, so that a restarted
    emulator knows them. ``own_ca_pem`` is the certificate of ``ca.pem``.
    """

    partition: str
    region: str
    account: str
    sealing_key: str = field(repr=False)
    origin: Origin
    own_ca_pem: str = ""
    trust_anchors: tuple[TrustAnchor, ...] = ()
    profiles: tuple[Profile, ...] = ()
    crls: tuple[Crl, ...] = ()
    subjects: tuple[Subject, ...] = ()
    roles: tuple[Role, ...] = ()
    private_authorities: tuple[PrivateAuthority, ...] = ()

    @property
    def accounts(self) -> tuple[str, str]:
        """The first account and the other one."""
        return self.account, account_of(self.origin.other_role_arn)

    def arn(self, account: str, resource: str) -> str:
        """Build the ARN of a Roles Anywhere resource in this region."""
        return f"arn:{self.partition}:rolesanywhere:{self.region}:{account}:{resource}"

    def subject_arn(self, account: str, subject: bytes) -> str:
        """Return the ARN of the subject (its DER) that authenticates: the same one every time."""
        return self.arn(account, f"subject/{uuid.uuid5(uuid.NAMESPACE_OID, f'{account}:{subject.hex()}')}")

    def find_anchor(self, arn: str) -> TrustAnchor | None:
        """Find a trust anchor by its ARN or alias ARN."""
        return find(self.trust_anchors, arn)

    def find_profile(self, arn: str) -> Profile | None:
        """Find a profile by its ARN or alias ARN."""
        return find(self.profiles, arn)

    def find_role(self, arn: str) -> Role | None:
        """Find a role by its ARN."""
        return next((role for role in self.roles if role.arn == arn), None)

    def certificate_of_private_authority(self, arn: str) -> str:
        """Return the PEM that stands in for a private CA: the emulator's own CA unless another one was registered."""
        return next((known.certificate_pem for known in self.private_authorities if known.arn == arn), self.own_ca_pem)


Aliased: TypeAlias = TrustAnchor | Profile | Crl
Resource: TypeAlias = TrustAnchor | Profile | Crl | Subject | Role

_AliasedKind = TypeVar("_AliasedKind", TrustAnchor, Profile, Crl)
_COLLECTIONS: dict[type[Resource], str] = {
    TrustAnchor: "trust_anchors",
    Profile: "profiles",
    Crl: "crls",
    Subject: "subjects",
    Role: "roles",
}
_NOUNS: dict[type[Resource], str] = {TrustAnchor: "trust-anchor", Profile: "profile", Crl: "crl", Subject: "subject"}


def noun(kind: type[Resource]) -> str:
    """Return the word that ARNs have for a kind of Roles Anywhere resource."""
    return _NOUNS[kind]


def account_of(arn: str) -> str:
    """Return the account that an ARN names."""
    return arn.split(":")[4]


def region_of(arn: str) -> str:
    """Return the region that an ARN names."""
    return arn.split(":")[3]


def identifier_of(arn: str) -> str:
    """Return the UUID at the end of an ARN."""
    return arn.rpartition("/")[2]


def alias_arn(resource: Aliased) -> str | None:
    """Build the alias ARN of a resource; None if it has no alias."""
    if not resource.alias_name:
        return None
    before = ":".join(resource.arn.split(":")[:5])
    return f"{before}:alias/{_NOUNS[type(resource)]}/{resource.alias_name}"


def find(resources: Iterable[_AliasedKind], arn: str) -> _AliasedKind | None:
    """Find a resource by its ARN or its alias ARN."""
    return next((resource for resource in resources if arn in {resource.arn, alias_arn(resource)}), None)


def put(state: State, resource: Resource) -> State:
    """Add a resource, or put it in the place of the one with its ARN."""
    collection = _COLLECTIONS[type(resource)]
    kept: tuple[Resource, ...] = getattr(state, collection)
    if all(other.arn != resource.arn for other in kept):
        return _with(state, collection, (*kept, resource))
    return _with(state, collection, tuple(resource if other.arn == resource.arn else other for other in kept))


def remove(state: State, resource: Resource) -> State:
    """Take a resource away."""
    collection = _COLLECTIONS[type(resource)]
    kept: tuple[Resource, ...] = getattr(state, collection)
    return _with(state, collection, tuple(other for other in kept if other.arn != resource.arn))


def with_private_authority(state: State, arn: str, pem: str) -> State:
    """Let a certificate stand in for a private CA, also in the trust anchors that name it already."""
    others = (known for known in state.private_authorities if known.arn != arn)
    anchors = (
        replace(anchor, bundle_pem=pem) if anchor.acm_pca_arn == arn else anchor for anchor in state.trust_anchors
    )
    return replace(state, private_authorities=(*others, PrivateAuthority(arn, pem)), trust_anchors=tuple(anchors))


def new_role(arn: str, trust_policy: str = trust_policies.ROLES_ANYWHERE, *, seconds: int = LONGEST_SESSION) -> Role:
    """Make a role with an id of its own, which a certificate's holder can have for ``seconds`` at most."""
    return Role(arn, "AROA" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(17)), trust_policy, seconds)


def new_other_role(account: str) -> Role:
    """Make the role of the second account. Role chaining is mostly about crossing accounts."""
    other_account = f"{(int(account) + 333_333_333_333) % 10**12:012}"
    return new_role(f"arn:aws:iam::{other_account}:role/Consultant")


def new_state(region: str, account: str, now: float, own_ca_pem: str = "") -> State:
    """Make an account with a trust anchor, a profile and a role, and a second account with a role.

    The first account's role may assume itself and the second account's.
    """
    role = new_role(f"arn:aws:iam::{account}:role/EmulatorRole")
    other = new_other_role(account)
    beginning = f"arn:aws:rolesanywhere:{region}:{account}"
    origin = Origin(
        f"{beginning}:trust-anchor/{uuid.uuid4()}",
        f"{beginning}:profile/{uuid.uuid4()}",
        role.arn,
        role.role_id,
        other.arn,
        other.role_id,
    )
    return as_made(State("aws", region, account, secrets.token_hex(32), origin, own_ca_pem), now)


def _trusts_own_account(account: str) -> str:
    service, root = {"Service": trust_policies.SERVICE}, {"AWS": [f"arn:aws:iam::{account}:root"]}
    return trust_policies.document(trust_policies.statement(service), trust_policies.statement(root))


def as_made(state: State, now: float, from_files: tuple[TrustAnchor, ...] = ()) -> State:
    """Return the accounts as a first start makes them: the same ids and secrets, and nothing that was done since.

    ``from_files`` are the trust anchors whose certificates the user gave as files.
    """
    origin = state.origin
    anchor = TrustAnchor(
        origin.trust_anchor_arn, "emulator", state.own_ca_pem, alias_name="emulator", created_at=now, updated_at=now
    )
    profile = Profile(
        origin.profile_arn,
        "emulator",
        (origin.role_arn,),
        duration_seconds=LONGEST_SESSION,
        accept_role_session_name=True,
        alias_name="emulator",
        created_at=now,
        updated_at=now,
    )
    trusts_first = trust_policies.for_principals((origin.role_arn,))
    return replace(
        state,
        trust_anchors=(anchor, *from_files),
        profiles=(profile,),
        crls=(),
        subjects=(),
        roles=(
            Role(origin.role_arn, origin.role_id, _trusts_own_account(state.account), LONGEST_SESSION, created_at=now),
            Role(origin.other_role_arn, origin.other_role_id, trusts_first, LONGEST_SESSION, created_at=now),
        ),
        private_authorities=(),
    )


def _with(state: State, collection: str, resources: tuple[Resource, ...]) -> State:
    changes: dict[str, Any] = {collection: resources}
    return replace(state, **changes)
