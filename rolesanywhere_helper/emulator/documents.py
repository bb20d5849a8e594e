"""Roles Anywhere's resources as the management API shows them. Timestamps are ISO 8601 with microseconds, in UTC."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from rolesanywhere_helper.emulator.state import NotificationSetting, account_of, alias_arn, identifier_of

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.state import Aliased, Crl, Profile, Subject, TrustAnchor

Document: TypeAlias = dict[str, Any]

_SERVICE = "rolesanywhere.amazonaws.com"
# User guide, "Customize notification settings": what a trust anchor has until it is customised.
_DEFAULT_SETTINGS = tuple(
    NotificationSetting(event, True, 45, configured_by=_SERVICE)
    for event in ("CA_CERTIFICATE_EXPIRY", "END_ENTITY_CERTIFICATE_EXPIRY")
)


def trust_anchor(anchor: TrustAnchor) -> Document:
    """Show a trust anchor."""
    data = {"x509CertificateData": anchor.bundle_pem} if anchor.bundle_pem else {}
    if anchor.acm_pca_arn is not None:
        data = {"acmPcaArn": anchor.acm_pca_arn}
    return {
        "trustAnchorId": identifier_of(anchor.arn),
        "trustAnchorArn": anchor.arn,
        "name": anchor.name,
        "source": {"sourceType": anchor.source_type, **({"sourceData": data} if data else {})},
        "enabled": anchor.enabled,
        **_given("crlDpRevocationEnabled", anchor.crl_dp_revocation_enabled),
        "notificationSettings": [_setting(setting) for setting in _settings(anchor)],
        **_times(anchor),
        **_alias(anchor),
    }


def profile(found: Profile) -> Document:
    """Show a profile."""
    return {
        "profileId": identifier_of(found.arn),
        "profileArn": found.arn,
        "name": found.name,
        "requireInstanceProperties": found.require_instance_properties,
        "enabled": found.enabled,
        "createdBy": account_of(found.arn),
        **_given("sessionPolicy", found.session_policy),
        "roleArns": list(found.role_arns),
        "managedPolicyArns": list(found.managed_policy_arns),
        "durationSeconds": found.duration_seconds,
        "acceptRoleSessionName": found.accept_role_session_name,
        "attributeMappings": [
            {"certificateField": field, "mappingRules": [{"specifier": specifier} for specifier in specifiers]}
            for field, specifiers in found.attribute_mappings
        ],
        **_times(found),
        **_alias(found),
    }


def crl(found: Crl) -> Document:
    """Show a revocation list."""
    return {
        "crlId": identifier_of(found.arn),
        "crlArn": found.arn,
        "name": found.name,
        "enabled": found.enabled,
        "crlData": base64.b64encode(found.data).decode("ascii"),
        "trustAnchorArn": found.trust_anchor_arn,
        **_times(found),
        **_alias(found),
    }


def subject(found: Subject) -> Document:
    """Show a subject with all that it was seen with, the newest last."""
    return {
        **subject_summary(found),
        "credentials": [
            {
                "seenAt": timestamp(seen.seen_at),
                "serialNumber": seen.serial_number,
                "issuer": seen.issuer,
                "enabled": True,
                "x509CertificateData": seen.pem,
                "failed": seen.failed,
            }
            for seen in found.certificates
        ],
        "instanceProperties": [
            {"seenAt": timestamp(seen.seen_at), "properties": dict(seen.properties), "failed": seen.failed}
            for seen in found.instance_properties
        ],
    }


def subject_summary(found: Subject) -> Document:
    """Show a subject as lists do."""
    return {
        "subjectArn": found.arn,
        "subjectId": identifier_of(found.arn),
        "enabled": found.enabled,
        "x509Subject": found.x509_subject,
        "lastSeenAt": timestamp(found.last_seen_at),
        "createdAt": timestamp(found.created_at),
        "updatedAt": timestamp(found.last_seen_at),
    }


def timestamp(seconds: float) -> str:
    """Write a point in time, given in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _settings(anchor: TrustAnchor) -> list[NotificationSetting]:
    customised = {setting.event for setting in anchor.notification_settings}
    return [
        *(setting for setting in _DEFAULT_SETTINGS if setting.event not in customised),
        *anchor.notification_settings,
    ]


def _setting(setting: NotificationSetting) -> Document:
    return {
        "enabled": setting.enabled,
        "event": setting.event,
        **_given("threshold", setting.threshold),
        "channel": setting.channel,
        "configuredBy": setting.configured_by,
    }


def _times(resource: Aliased) -> Document:
    return {"createdAt": timestamp(resource.created_at), "updatedAt": timestamp(resource.updated_at)}


def _alias(resource: Aliased) -> Document:
    arn = alias_arn(resource)
    return {} if arn is None else {"aliasName": resource.alias_name, "aliasArn": arn}


def _given(name: str, value: object) -> Document:
    return {} if value is None else {name: value}
