"""Setting an account up through boto3: looking at what is there, and doing one step after the other.

The administrator's credentials are found as every AWS client finds them (environment, profile, instance), for that is
what an administrator expects; nothing of it is kept.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from rolesanywhere_helper.domain.account_setup import (
    TAG_KEY,
    Account,
    Action,
    FoundAnchor,
    FoundCrl,
    FoundProfile,
    FoundRole,
    Step,
    Wanted,
    certificates_in,
    crl_steps,
    trust_policy,
)
from rolesanywhere_helper.domain.arn import parse_caller_arn
from rolesanywhere_helper.errors import BadAnswerError, NetworkError, RefusedError, UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 10, 30, 4
_ABSENT = "NoSuchEntity"
_LONGEST_MESSAGE = 500
_CRL_ACTIONS: Mapping[Action, str] = {
    Action.IMPORT_CRL: "imported",
    Action.REPLACE_CRL: "replaced",
    Action.ENABLE_CRL: "enabled",
}
_CREDENTIALS_HINT = (
    "give an administrator's credentials as to every AWS client: --aws-profile NAME, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; --print cloudformation and --print terraform need none"
)


@dataclass(frozen=True, slots=True)
class NamedAnchor:
    """A trust anchor, found by the CA that it trusts."""

    name: str
    found: FoundAnchor


class AwsAccount:
    """An account and a region, seen by an administrator.

    Args:
        profile: A profile of the AWS configuration; None for what the environment says.
        region: The region; None for that of the environment or the profile.

    Raises:
        UsageError: there is no such profile, no region or no credentials.

    """

    def __init__(self, profile: str | None, region: str | None) -> None:
        with _told("looking for credentials"):
            session: Any = boto3.Session(profile_name=profile, region_name=region)
            if session.region_name is None:
                raise NoRegionError
            config = Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            )
            self._roles_anywhere, self._iam, self._sts = (
                session.client(service, config=config) for service in ("rolesanywhere", "iam", "sts")
            )
        self._region = str(session.region_name)

    @property
    def region(self) -> str:
        """The region that is meant."""
        return self._region

    @property
    def endpoint(self) -> str:
        """The URL of Roles Anywhere that is used."""
        return str(self._roles_anywhere.meta.endpoint_url)

    def look(self, asked: Wanted) -> Account:
        """Find what is there under the names in question.

        Raises:
            RefusedError: the administrator may not look.
            UsageError: there are several of one name, or no credentials.
            NetworkError: AWS gave no answer.

        """
        with _told("GetCallerIdentity"):
            caller = parse_caller_arn(str(self._sts.get_caller_identity()["Arn"]))
        anchor = self._anchor(asked.name)
        crl = None if anchor is None or asked.crl is None else self.crl(NamedAnchor(asked.name, anchor))
        return Account(caller, self._region, anchor, self._role(asked), self._profile(asked.name), crl)

    def do(self, step: Step, asked: Wanted, before: Account) -> Account:
        """Do one step, and return the account as it is then.

        Raises:
            RefusedError: AWS says no; the steps before it are done.
            NetworkError: AWS gave no answer.

        """
        acts: Mapping[Action, Callable[[Step, Wanted, Account], Account]] = {
            Action.CREATE_ANCHOR: self._create_anchor,
            Action.CHANGE_ANCHOR: self._change_anchor,
            Action.ENABLE_ANCHOR: self._enable_anchor,
            **dict.fromkeys(_CRL_ACTIONS, self._bring_crl),
            Action.CREATE_ROLE: self._create_role,
            Action.CHANGE_TRUST_POLICY: self._change_trust_policy,
            Action.CHANGE_LONGEST_SESSION: self._change_longest_session,
            Action.ATTACH_POLICY: self._attach_policy,
            Action.CREATE_PROFILE: self._create_profile,
            Action.CHANGE_PROFILE: self._change_profile,
            Action.ENABLE_PROFILE: self._enable_profile,
        }
        with _told(f"{step.action.value} {step.target}"):
            return acts[step.action](step, asked, before)

    def anchors_of(self, ca: str) -> tuple[NamedAnchor, ...]:
        """Find every trust anchor of the region that trusts a CA (PEM), whatever its name and whoever has made it.

        Raises:
            RefusedError: the administrator may not look.
            UsageError: there are no credentials.
            NetworkError: AWS gave no answer.

        """
        with _told("look for the trust anchors of the CA"):
            pages = self._roles_anywhere.get_paginator("list_trust_anchors").paginate()
            named = [
                NamedAnchor(each["name"], _found_anchor(each, is_ours=False))
                for page in pages
                for each in page["trustAnchors"]
            ]
        return tuple(each for each in named if certificates_in(ca) & certificates_in(each.found.bundle))

    def crl(self, anchor: NamedAnchor) -> FoundCrl | None:
        """Return the revocation list that a trust anchor has under its own name.

        Raises:
            RefusedError: the administrator may not look.
            NetworkError: AWS gave no answer.

        """
        with _told(f"look for the revocation list of trust anchor {anchor.name}"):
            pages = self._roles_anywhere.get_paginator("list_crls").paginate()
            found = (
                _found_crl(each)
                for page in pages
                for each in page["crls"]
                if (each["name"], each["trustAnchorArn"]) == (anchor.name, anchor.found.arn)
            )
            return next(found, None)

    def publish_crl(self, anchor: NamedAnchor, crl: str, found: FoundCrl | None) -> str:
        """Give a trust anchor the revocation list of its CA (PEM), enabled; return what was done.

        ``found`` is the one that it has.

        Raises:
            RefusedError: AWS says no.
            NetworkError: AWS gave no answer.

        """
        arn, done = anchor.found.arn, []
        for step in crl_steps(anchor.name, crl, found):
            with _told(f"{step.action.value} {anchor.name}"):
                found = self._do_crl(step.action, anchor.name, arn, crl, found)
            done.append(_CRL_ACTIONS[step.action])
        return " and ".join(done) or "unchanged"

    # What is there

    def _anchor(self, name: str) -> FoundAnchor | None:
        found = self._named("list_trust_anchors", "trustAnchors", name, "trust anchor", "trustAnchorArn")
        return None if found is None else _found_anchor(found[0], is_ours=found[1])

    def _profile(self, name: str) -> FoundProfile | None:
        found = self._named("list_profiles", "profiles", name, "profile", "profileArn")
        return None if found is None else _found_profile(found[0], is_ours=found[1])

    def _named(self, operation: str, member: str, name: str, noun: str, arn: str) -> tuple[Any, bool] | None:
        """Find the one resource of a name, and tell whether it has our tag; of several, the one that has it."""
        with _told(f"look for the {noun} {name}"):
            pages = self._roles_anywhere.get_paginator(operation).paginate()
            found = [
                (each, self._is_ours(each[arn], name))
                for page in pages
                for each in page[member]
                if each["name"] == name
            ]
        best = [each for each in found if each[1]] or found
        if len(best) > 1:
            raise UsageError(
                f"there are {len(best)} {noun}s with the name {name}",
                f"give another --name, or tag the one that is meant with {TAG_KEY} = {name}",
            )
        return best[0] if best else None

    def _is_ours(self, arn: str, name: str) -> bool:
        tags = self._roles_anywhere.list_tags_for_resource(resourceArn=arn).get("tags", [])
        return any((tag["key"], tag["value"]) == (TAG_KEY, name) for tag in tags)

    def _role(self, asked: Wanted) -> FoundRole | None:
        with _told(f"look for the role {asked.role_name}"):
            try:
                role = self._iam.get_role(RoleName=asked.role_name)["Role"]
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == _ABSENT:
                    return None
                raise
            pages = self._iam.get_paginator("list_attached_role_policies").paginate(RoleName=asked.role_name)
            attached = tuple(each["PolicyArn"] for page in pages for each in page["AttachedPolicies"])
        is_ours = any((tag["Key"], tag["Value"]) == (TAG_KEY, asked.name) for tag in role.get("Tags", []))
        return FoundRole(role["Arn"], role["AssumeRolePolicyDocument"], role["MaxSessionDuration"], is_ours, attached)

    # One step each

    def _create_anchor(self, _: Step, asked: Wanted, before: Account) -> Account:
        made = self._roles_anywhere.create_trust_anchor(
            name=asked.name, enabled=True, source=_source(asked), tags=_tags(asked)
        )
        return replace(before, anchor=_found_anchor(made["trustAnchor"], is_ours=True))

    def _change_anchor(self, _: Step, asked: Wanted, before: Account) -> Account:
        identifier = _id(_there(before.anchor).arn)
        changed = self._roles_anywhere.update_trust_anchor(trustAnchorId=identifier, source=_source(asked))
        return replace(before, anchor=_found_anchor(changed["trustAnchor"], is_ours=True))

    def _enable_anchor(self, _: Step, __: Wanted, before: Account) -> Account:
        enabled = self._roles_anywhere.enable_trust_anchor(trustAnchorId=_id(_there(before.anchor).arn))
        return replace(before, anchor=_found_anchor(enabled["trustAnchor"], is_ours=True))

    def _bring_crl(self, step: Step, asked: Wanted, before: Account) -> Account:
        arn, crl = _there(before.anchor).arn, _there(asked.crl)
        return replace(before, crl=self._do_crl(step.action, asked.name, arn, crl, before.crl))

    def _create_role(self, _: Step, asked: Wanted, before: Account) -> Account:
        policy = trust_policy(_there(before.anchor).arn, asked.subjects)
        made = self._iam.create_role(
            RoleName=asked.role_name,
            AssumeRolePolicyDocument=json.dumps(policy),
            MaxSessionDuration=asked.longest_role_seconds,
            Description=f"IAM Roles Anywhere: sessions for certificates ({asked.name})",
            Tags=[{"Key": TAG_KEY, "Value": asked.name}],
        )["Role"]
        # What asks for it next is another service.
        self._iam.get_waiter("role_exists").wait(RoleName=asked.role_name)
        return replace(before, role=FoundRole(made["Arn"], policy, asked.longest_role_seconds, is_ours=True))

    def _change_trust_policy(self, _: Step, asked: Wanted, before: Account) -> Account:
        policy = trust_policy(_there(before.anchor).arn, asked.subjects)
        self._iam.update_assume_role_policy(RoleName=asked.role_name, PolicyDocument=json.dumps(policy))
        return replace(before, role=replace(_there(before.role), trust_policy=policy))

    def _change_longest_session(self, _: Step, asked: Wanted, before: Account) -> Account:
        self._iam.update_role(RoleName=asked.role_name, MaxSessionDuration=asked.longest_role_seconds)
        return replace(before, role=replace(_there(before.role), longest_seconds=asked.longest_role_seconds))

    def _attach_policy(self, step: Step, asked: Wanted, before: Account) -> Account:
        role, arn = _there(before.role), step.details[0]
        self._iam.attach_role_policy(RoleName=asked.role_name, PolicyArn=arn)
        return replace(before, role=replace(role, policy_arns=(*role.policy_arns, arn)))

    def _create_profile(self, _: Step, asked: Wanted, before: Account) -> Account:
        made = self._roles_anywhere.create_profile(
            name=asked.name,
            enabled=True,
            roleArns=[_there(before.role).arn],
            durationSeconds=asked.duration_seconds,
            tags=_tags(asked),
        )
        return replace(before, profile=_found_profile(made["profile"], is_ours=True))

    def _change_profile(self, _: Step, asked: Wanted, before: Account) -> Account:
        profile, role = _there(before.profile), _there(before.role).arn
        roles = profile.role_arns if role in profile.role_arns else (*profile.role_arns, role)
        changed = self._roles_anywhere.update_profile(
            profileId=_id(profile.arn), roleArns=list(roles), durationSeconds=asked.duration_seconds
        )
        return replace(before, profile=_found_profile(changed["profile"], is_ours=True))

    def _enable_profile(self, _: Step, __: Wanted, before: Account) -> Account:
        enabled = self._roles_anywhere.enable_profile(profileId=_id(_there(before.profile).arn))
        return replace(before, profile=_found_profile(enabled["profile"], is_ours=True))

    def _do_crl(self, action: Action, name: str, anchor_arn: str, crl: str, found: FoundCrl | None) -> FoundCrl:
        match action:
            case Action.IMPORT_CRL:
                told = self._roles_anywhere.import_crl(
                    name=name,
                    crlData=crl.encode(),
                    enabled=True,
                    trustAnchorArn=anchor_arn,
                    tags=[{"key": TAG_KEY, "value": name}],
                )
            case Action.REPLACE_CRL:
                told = self._roles_anywhere.update_crl(crlId=_there(found).identifier, crlData=crl.encode())
            case _:
                told = self._roles_anywhere.enable_crl(crlId=_there(found).identifier)
        return _found_crl(told["crl"])


def _source(asked: Wanted) -> dict[str, object]:
    return {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": asked.bundle}}


def _tags(asked: Wanted) -> list[dict[str, str]]:
    return [{"key": TAG_KEY, "value": asked.name}]


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]


def _found_anchor(told: Any, *, is_ours: bool) -> FoundAnchor:
    bundle = told["source"].get("sourceData", {}).get("x509CertificateData", "")
    return FoundAnchor(told["trustAnchorArn"], bundle, told["enabled"], is_ours)


def _found_crl(told: Any) -> FoundCrl:
    return FoundCrl(told["crlId"], told["crlData"], told["enabled"])


def _found_profile(told: Any, *, is_ours: bool) -> FoundProfile:
    return FoundProfile(told["profileArn"], tuple(told["roleArns"]), told["durationSeconds"], told["enabled"], is_ours)


def _there(found: Any) -> Any:
    """Return what a step before this one has found or made.

    Raises:
        BadAnswerError: it is not there: the plan's order is wrong.

    """
    if found is None:
        raise BadAnswerError("a step needs what no step before it has made")
    return found


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Put the AWS client's errors into words; none of them holds a secret."""
    try:
        yield
    except ClientError as error:
        raise _refusal(error, what) from None
    except (ProfileNotFound, NoCredentialsError, PartialCredentialsError) as error:
        raise UsageError(f"there are no AWS credentials: {error}", _CREDENTIALS_HINT) from None
    except NoRegionError:
        raise UsageError("no region was given", "add --region, for example --region eu-central-1") from None
    except BotoCoreError as error:
        raise NetworkError(f"AWS gave no answer to: {what} ({type(error).__name__})") from None


def _refusal(error: ClientError, what: str) -> RefusedError:
    told: Any = error.response.get("Error", {})
    message = "".join(each if each.isprintable() else "?" for each in str(told.get("Message", "")))
    return RefusedError(
        f"AWS refused to {what}: {told.get('Code', 'refused')}: {message[:_LONGEST_MESSAGE]}",
        "what was done before stands: when the reason is gone, run the same command again and it goes on",
    )
