"""What an AWS account needs for certificates of one CA to become sessions of one role: wanted, found, left to do.

:func:`plan` compares and says what is left to do. Who does one step knows the account a little better, and asks again:
what a dry run shows and what is done are the same plan. An empty plan is the end, and a second run finds it so.

Nothing is changed that somebody else has made: what differs and lacks our tag is a conflict. The one exception is the
revocation list of a local CA: whoever has signed it may always bring the newest one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from enum import Enum
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.errors import InvalidParameterError, UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rolesanywhere_helper.domain.arn import Arn

TAG_KEY = "rolesanywhere-helper:setup"
"""The tag of everything that is made here; its value is :attr:`Wanted.name`."""
ATTRIBUTES = ("CN", "OU", "O")
"""The parts of a subject that a condition can be about, as session tags name them (``x509Subject/CN``)."""
SERVICE = "rolesanywhere.amazonaws.com"
ACTIONS = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
SHORTEST_ROLE_SECONDS = 3_600  # IAM, "CreateRole": MaxSessionDuration
UNKNOWN_ARN = "(the ARN of the new trust anchor)"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_POLICY = re.compile(r"arn:aws[a-z-]*:iam::(?:aws|\d{12}):policy/[\x21-\x7e]{1,512}", re.ASCII)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_CRL = re.compile(rb"-----BEGIN X509 CRL-----(.*?)-----END X509 CRL-----", re.DOTALL)
_LONGEST_VALUE = 256  # of a session tag


class Action(Enum):
    """What a step does; the value is how it is told."""

    CREATE_ANCHOR = "create trust anchor"
    CHANGE_ANCHOR = "replace the certificates of trust anchor"
    ENABLE_ANCHOR = "enable trust anchor"
    IMPORT_CRL = "import the revocation list of trust anchor"
    REPLACE_CRL = "replace the revocation list of trust anchor"
    ENABLE_CRL = "enable the revocation list of trust anchor"
    CREATE_ROLE = "create role"
    CHANGE_TRUST_POLICY = "replace the trust policy of role"
    CHANGE_LONGEST_SESSION = "change the longest session of role"
    ATTACH_POLICY = "attach policy to role"
    CREATE_PROFILE = "create profile"
    CHANGE_PROFILE = "change profile"
    ENABLE_PROFILE = "enable profile"


@dataclass(frozen=True, slots=True)
class Step:
    """One call to AWS: ``target`` is the name of what it changes, ``details`` are lines for a reader."""

    action: Action
    target: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join((f"{self.action.value} {self.target}", *(f"    {line}" for line in self.details)))


@dataclass(frozen=True, slots=True)
class SubjectRule:
    """Which values an attribute of the certificate's subject may have; ``*`` and ``?`` stand for what is not known."""

    attribute: str
    values: tuple[str, ...]

    @property
    def operator(self) -> str:
        """The condition operator that reads them."""
        return "StringLike" if any("*" in value or "?" in value for value in self.values) else "StringEquals"

    @property
    def key(self) -> str:
        """The condition key: the session tag that Roles Anywhere makes of the attribute."""
        return f"aws:PrincipalTag/x509Subject/{self.attribute}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be there. Make it with :func:`wanted`, which checks it; ``bundle`` are certificates as PEM.

    ``crl`` is what the CA has revoked, as PEM; None where that is not ours to say, or nothing is revoked.
    """

    name: str
    role_name: str
    bundle: str
    subjects: tuple[SubjectRule, ...]
    duration_seconds: int
    policy_arns: tuple[str, ...] = ()
    crl: str | None = None

    @property
    def longest_role_seconds(self) -> int:
        """The longest session that the role must allow."""
        return max(SHORTEST_ROLE_SECONDS, self.duration_seconds)


@dataclass(frozen=True, slots=True)
class FoundAnchor:
    """A trust anchor as it is; ``bundle`` is empty where its source is none of certificates."""

    arn: str
    bundle: str
    is_enabled: bool
    is_ours: bool


@dataclass(frozen=True, slots=True)
class FoundRole:
    """A role as it is; ``trust_policy`` is the document, read."""

    arn: str
    trust_policy: Any
    longest_seconds: int
    is_ours: bool
    policy_arns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """A profile as it is."""

    arn: str
    role_arns: tuple[str, ...]
    duration_seconds: int
    is_enabled: bool
    is_ours: bool


@dataclass(frozen=True, slots=True)
class FoundCrl:
    """The revocation list of a trust anchor as it is."""

    identifier: str
    content: bytes
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class Account:
    """What an account has under the names in question; ``caller`` is the ARN of who asks."""

    caller: Arn
    region: str
    anchor: FoundAnchor | None = None
    role: FoundRole | None = None
    profile: FoundProfile | None = None
    crl: FoundCrl | None = None

    def role_arn(self, name: str) -> str:
        """Return the ARN of the role: the one that there is, or the one that it will have."""
        if self.role is not None:
            return self.role.arn
        return f"arn:{self.caller.partition}:iam::{self.caller.account}:role/{name}"


def wanted(  # noqa: PLR0913 - what a set-up is made of, each by name
    *,
    name: str,
    role_name: str,
    bundle: str,
    subjects: Mapping[str, Sequence[str]],
    duration_seconds: int,
    policy_arns: Sequence[str] = (),
    crl: str | None = None,
) -> Wanted:
    """Check what was asked for; ``subjects`` are the values of ``CN``, ``OU`` and ``O`` that may come in.

    Raises:
        InvalidParameterError: a name, value or ARN breaks a rule of AWS.
        UsageError: no subject was given.

    """
    if not _NAME.fullmatch(name):
        raise InvalidParameterError(f"this cannot be a name: {name!a}", "1 to 64 letters, digits, _ or -")
    if not _ROLE_NAME.fullmatch(role_name):
        raise InvalidParameterError(
            f"this cannot be the name of a role: {role_name!a}", "1 to 64 letters, digits or any of _+=,.@-"
        )
    for arn in policy_arns:
        if not _POLICY.fullmatch(arn) or "{{" in arn:  # the beginning of a reference to CloudFormation
            raise InvalidParameterError(
                f"this is not the ARN of a policy: {arn!a}", "for example: arn:aws:iam::aws:policy/ReadOnlyAccess"
            )
    rules = tuple(
        SubjectRule(attribute, tuple(dict.fromkeys(_checked(value, attribute) for value in subjects[attribute])))
        for attribute in ATTRIBUTES
        if subjects.get(attribute)
    )
    if not rules:
        raise UsageError(
            "nothing says which certificates may have the role",
            "add --subject-cn NAME (may be repeated, and hold *), --subject-ou or --subject-o",
        )
    return Wanted(name, role_name, bundle, rules, duration_seconds, tuple(dict.fromkeys(policy_arns)), crl)


def trust_policy(anchor_arn: Any, subjects: Sequence[SubjectRule]) -> dict[str, Any]:
    """Return the document that lets sessions of these subjects, vouched for by this trust anchor, have a role.

    ``anchor_arn`` may be what another language has in its place.
    """
    conditions: dict[str, dict[str, Any]] = {"ArnEquals": {"aws:SourceArn": anchor_arn}}
    for rule in subjects:
        values = rule.values[0] if len(rule.values) == 1 else list(rule.values)
        conditions.setdefault(rule.operator, {})[rule.key] = values
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": SERVICE},
                "Action": list(ACTIONS),
                "Condition": conditions,
            }
        ],
    }


def plan(asked: Wanted, found: Account) -> tuple[Step, ...]:
    """Say what is left to do, in the order in which it can be done.

    Raises:
        UsageError: something of this name is not ours, and differs.

    """
    return (*_anchor_steps(asked, found), *_role_steps(asked, found), *_profile_steps(asked, found))


def certificates_in(pem: str) -> frozenset[bytes]:
    """Return the certificates of a PEM text as DER; what cannot be decoded is left out."""
    return frozenset(_decoded(pem))


def _decoded(pem: str) -> Iterator[bytes]:
    for body in _CERTIFICATE.findall(pem):
        try:
            yield base64.b64decode("".join(body.split()), validate=True)
        except binascii.Error:
            continue


def crl_steps(name: str, wanted: str | None, found: FoundCrl | None) -> Iterator[Step]:
    """Say what is left to do for a trust anchor to know what its CA has revoked."""
    if wanted is None:
        return
    if found is None:
        yield Step(Action.IMPORT_CRL, name)
        return
    if _crl_der(found.content) != _crl_der(wanted.encode()):
        yield Step(Action.REPLACE_CRL, name)
    if not found.is_enabled:
        yield Step(Action.ENABLE_CRL, name)


def _crl_der(content: bytes) -> bytes:
    """Return a list as DER, in whichever of its two forms the service gives it back."""
    armoured = _CRL.search(content)
    return content if armoured is None else base64.b64decode(armoured[1])


def _anchor_steps(asked: Wanted, found: Account) -> Iterator[Step]:
    anchor = found.anchor
    if anchor is None:
        yield Step(Action.CREATE_ANCHOR, asked.name, (f"{len(certificates_in(asked.bundle))} CA certificate(s)",))
        yield from crl_steps(asked.name, asked.crl, None)
        return
    if certificates_in(anchor.bundle) != certificates_in(asked.bundle):
        _require_ours(anchor.is_ours, f"trust anchor {asked.name}", "its certificates differ", "--name")
        yield Step(Action.CHANGE_ANCHOR, asked.name, ("leaves of the CA before are refused from then on",))
    # Before anything that lets leaves in: what was revoked must not come back.
    yield from crl_steps(asked.name, asked.crl, found.crl)
    if not anchor.is_enabled:
        _require_ours(anchor.is_ours, f"trust anchor {asked.name}", "it is disabled", "--name")
        yield Step(Action.ENABLE_ANCHOR, asked.name)


def _role_steps(asked: Wanted, found: Account) -> Iterator[Step]:
    role, what = found.role, f"role {asked.role_name}"
    policy = trust_policy(UNKNOWN_ARN if found.anchor is None else found.anchor.arn, asked.subjects)
    seconds = asked.longest_role_seconds
    if role is None:
        yield Step(Action.CREATE_ROLE, asked.role_name, (*_shown(policy), f"longest session: {seconds} s"))
    else:
        if _normal(role.trust_policy) != _normal(policy):
            _require_ours(role.is_ours, what, "its trust policy differs", "--role-name")
            yield Step(Action.CHANGE_TRUST_POLICY, asked.role_name, _shown(policy))
        if role.longest_seconds != seconds:
            _require_ours(role.is_ours, what, f"its longest session is {role.longest_seconds} s", "--role-name")
            yield Step(Action.CHANGE_LONGEST_SESSION, asked.role_name, (f"{role.longest_seconds} s → {seconds} s",))
    attached = () if role is None else role.policy_arns
    for arn in asked.policy_arns:
        if arn not in attached:
            _require_ours(role is None or role.is_ours, what, "it lacks a policy", "--role-name")
            yield Step(Action.ATTACH_POLICY, asked.role_name, (arn,))


def _profile_steps(asked: Wanted, found: Account) -> Iterator[Step]:
    profile, role_arn = found.profile, found.role_arn(asked.role_name)
    seconds = asked.duration_seconds
    if profile is None:
        yield Step(Action.CREATE_PROFILE, asked.name, (f"role: {role_arn}", f"sessions of at most {seconds} s"))
        return
    changes = (
        *(() if role_arn in profile.role_arns else (f"role: {role_arn}",)),
        *(() if profile.duration_seconds == seconds else (f"sessions: {profile.duration_seconds} s → {seconds} s",)),
    )
    if changes:
        _require_ours(profile.is_ours, f"profile {asked.name}", "its roles or its duration differ", "--name")
        yield Step(Action.CHANGE_PROFILE, asked.name, changes)
    if not profile.is_enabled:
        _require_ours(profile.is_ours, f"profile {asked.name}", "it is disabled", "--name")
        yield Step(Action.ENABLE_PROFILE, asked.name)


def _require_ours(is_ours: bool, what: str, why: str, flag: str) -> None:  # noqa: FBT001 - the question itself
    if not is_ours:
        raise UsageError(
            f"there is a {what} already that this set-up has not made, and {why}",
            f"give another {flag}; to let it be changed, tag it with {TAG_KEY} = the value of --name",
        )


def _checked(value: str, attribute: str) -> str:
    flag = f"--subject-{attribute.lower()}"
    if not 0 < len(value) <= _LONGEST_VALUE or not value.isprintable():
        raise InvalidParameterError(
            f"{flag} is not a value of a subject: {value!a}", f"1 to {_LONGEST_VALUE} printable characters"
        )
    if "${" in value:
        raise InvalidParameterError(
            f"{flag} holds ${{, which IAM reads as the beginning of a variable", "write ? in its place"
        )
    if "{{" in value:
        raise InvalidParameterError(
            f"{flag} holds {{{{, which CloudFormation reads as the beginning of a reference", "write ? in its place"
        )
    return value


def _shown(policy: Mapping[str, Any]) -> tuple[str, ...]:
    conditions: Mapping[str, Mapping[str, Any]] = policy["Statement"][0]["Condition"]
    return tuple(
        f"only if {key} {operator} {json.dumps(value, ensure_ascii=False)}"
        for operator, keys in conditions.items()
        for key, value in keys.items()
    )


def _normal(document: Any) -> Any:
    """Return a policy as IAM understands it: a list of one text is the text, and the order of texts is none."""
    if isinstance(document, dict):
        return {key: _normal(value) for key, value in document.items()}
    if isinstance(document, list):
        if all(isinstance(each, str) for each in document):
            return document[0] if len(document) == 1 else sorted(document)
        return [_normal(each) for each in document]
    return document
