"""Roles Anywhere's management API: an operation's name and its validated parameters in, the answer's body out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rolesanywhere_helper.emulator import crls, documents, profiles, trust_anchors
from rolesanywhere_helper.emulator.answers import invalid, not_found
from rolesanywhere_helper.emulator.managing import merged, page, tags_of
from rolesanywhere_helper.emulator.state import Subject, put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.emulator.managing import Input, Managing, Outcome
    from rolesanywhere_helper.emulator.state import Crl, Profile, TrustAnchor

SERVICE = "rolesanywhere"


def perform(operation: str, managing: Managing, asked: Input) -> Outcome:
    """Carry out an operation of the model.

    Raises:
        Refusal: the operation says no.

    """
    return OPERATIONS[operation](managing, asked)


def _get_subject(managing: Managing, asked: Input) -> Outcome:
    arn = managing.arn_of(Subject, asked["subjectId"])
    found = next((subject for subject in managing.state.subjects if subject.arn == arn), None)
    if found is None:
        raise not_found(f"Subject not found: {asked['subjectId']}")
    return managing.state, {"subject": documents.subject(found)}


def _list_subjects(managing: Managing, asked: Input) -> Outcome:
    own = managing.own(managing.state.subjects)
    return managing.state, page(own, asked, "subjects", documents.subject_summary)


def _list_tags(managing: Managing, asked: Input) -> Outcome:
    tags = _tagged(managing, asked["resourceArn"]).tags
    return managing.state, {"tags": [{"key": key, "value": value} for key, value in tags]}


def _tag(managing: Managing, asked: Input) -> Outcome:
    resource = _tagged(managing, asked["resourceArn"])
    return put(managing.state, replace(resource, tags=merged(resource.tags, tags_of(asked["tags"])))), {}


def _untag(managing: Managing, asked: Input) -> Outcome:
    resource = _tagged(managing, asked["resourceArn"])
    kept = tuple((key, value) for key, value in resource.tags if key not in asked["tagKeys"])
    return put(managing.state, replace(resource, tags=kept)), {}


def _tagged(managing: Managing, arn: str) -> TrustAnchor | Profile | Crl | Subject:
    """Find what an ARN names; an alias ARN is none that can be tagged."""
    if not arn.startswith("arn:"):
        raise invalid("resourceArn is not an ARN")
    managing.require_own(arn)
    state = managing.state
    resources: tuple[TrustAnchor | Profile | Crl | Subject, ...] = (
        *state.trust_anchors,
        *state.profiles,
        *state.crls,
        *state.subjects,
    )
    found = next((resource for resource in resources if resource.arn == arn), None)
    if found is None:
        raise not_found(f"Resource not found: {arn}")
    return found


OPERATIONS: Mapping[str, Callable[[Managing, Input], Outcome]] = {
    "CreateProfile": profiles.create,
    "CreateTrustAnchor": trust_anchors.create,
    "DeleteAttributeMapping": profiles.delete_attribute_mapping,
    "DeleteCrl": crls.delete,
    "DeleteProfile": profiles.delete,
    "DeleteTrustAnchor": trust_anchors.delete,
    "DisableCrl": crls.disable,
    "DisableProfile": profiles.disable,
    "DisableTrustAnchor": trust_anchors.disable,
    "EnableCrl": crls.enable,
    "EnableProfile": profiles.enable,
    "EnableTrustAnchor": trust_anchors.enable,
    "GetCrl": crls.get,
    "GetProfile": profiles.get,
    "GetSubject": _get_subject,
    "GetTrustAnchor": trust_anchors.get,
    "ImportCrl": crls.import_one,
    "ListCrls": crls.list_all,
    "ListProfiles": profiles.list_all,
    "ListSubjects": _list_subjects,
    "ListTagsForResource": _list_tags,
    "ListTrustAnchors": trust_anchors.list_all,
    "PutAttributeMapping": profiles.put_attribute_mapping,
    "PutNotificationSettings": trust_anchors.put_notification_settings,
    "ResetNotificationSettings": trust_anchors.reset_notification_settings,
    "TagResource": _tag,
    "UntagResource": _untag,
    "UpdateCrl": crls.update,
    "UpdateProfile": profiles.update,
    "UpdateTrustAnchor": trust_anchors.update,
}
