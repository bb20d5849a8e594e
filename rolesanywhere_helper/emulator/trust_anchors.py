"""The management operations on trust anchors, and on their notification settings."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from rolesanywhere_helper.emulator import certificates, documents
from rolesanywhere_helper.emulator.answers import invalid
from rolesanywhere_helper.emulator.create_session import SELF_SIGNED
from rolesanywhere_helper.emulator.managing import page, tags_of, with_alias
from rolesanywhere_helper.emulator.state import NotificationSetting, TrustAnchor, put, remove

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.managing import Input, Managing, Outcome

_MOST = 50  # user guide, "Quotas"
_PRIVATE_CA = re.compile(r"arn:[\w-]+:acm-pca:[\w-]*:\d{12}:certificate-authority/[\w-]+", re.ASCII)


def create(managing: Managing, asked: Input) -> Outcome:
    """CreateTrustAnchor. Without ``enabled`` it is disabled: every example of the user guide asks for it."""
    state = managing.state
    managing.require_room(state.trust_anchors, _MOST, "trust anchors")
    source_type, bundle, acm_pca_arn = _source(managing, asked["source"])
    anchor = TrustAnchor(
        managing.new_arn(TrustAnchor),
        asked["name"],
        bundle,
        asked.get("enabled", False),
        None,
        source_type,
        acm_pca_arn,
        asked.get("crlDpRevocationEnabled"),
        _settings(managing, asked.get("notificationSettings", [])),
        managing.alias(state.trust_anchors, asked.get("aliasName")),
        tags_of(asked.get("tags")),
        managing.now,
        managing.now,
    )
    return _changed(managing, anchor)


def get(managing: Managing, asked: Input) -> Outcome:
    """GetTrustAnchor."""
    return managing.state, {"trustAnchor": documents.trust_anchor(_find(managing, asked))}


def list_all(managing: Managing, asked: Input) -> Outcome:
    """ListTrustAnchors."""
    own = managing.own(managing.state.trust_anchors)
    return managing.state, page(own, asked, "trustAnchors", documents.trust_anchor)


def update(managing: Managing, asked: Input) -> Outcome:
    """UpdateTrustAnchor: what is not given stays."""
    before = _find(managing, asked)
    anchor = replace(
        before,
        name=asked.get("name", before.name),
        crl_dp_revocation_enabled=asked.get("crlDpRevocationEnabled", before.crl_dp_revocation_enabled),
        alias_name=managing.alias(managing.state.trust_anchors, asked.get("aliasName"), before),
        updated_at=managing.now,
    )
    if "source" in asked:
        source_type, bundle, acm_pca_arn = _source(managing, asked["source"])
        anchor = replace(anchor, source_type=source_type, bundle_pem=bundle, acm_pca_arn=acm_pca_arn)
    state, answer = _changed(managing, anchor)
    return state, {"trustAnchor": with_alias(answer["trustAnchor"], before, anchor)}


def delete(managing: Managing, asked: Input) -> Outcome:
    """DeleteTrustAnchor: its CRLs stay, and revoke nothing any more."""
    anchor = _find(managing, asked)
    return remove(managing.state, anchor), {"trustAnchor": documents.trust_anchor(anchor)}


def enable(managing: Managing, asked: Input) -> Outcome:
    """EnableTrustAnchor."""
    return _changed(managing, replace(_find(managing, asked), enabled=True, updated_at=managing.now))


def disable(managing: Managing, asked: Input) -> Outcome:
    """DisableTrustAnchor."""
    return _changed(managing, replace(_find(managing, asked), enabled=False, updated_at=managing.now))


def put_notification_settings(managing: Managing, asked: Input) -> Outcome:
    """PutNotificationSettings: those given take the place of earlier ones for the same events."""
    anchor = _find(managing, asked)
    given = _settings(managing, asked["notificationSettings"])
    events = {setting.event for setting in given}
    kept = tuple(setting for setting in anchor.notification_settings if setting.event not in events)
    return _changed(managing, replace(anchor, notification_settings=(*kept, *given), updated_at=managing.now))


def reset_notification_settings(managing: Managing, asked: Input) -> Outcome:
    """ResetNotificationSettings: the events given have the default settings again."""
    anchor = _find(managing, asked)
    events = {key["event"] for key in asked["notificationSettingKeys"]}
    kept = tuple(setting for setting in anchor.notification_settings if setting.event not in events)
    return _changed(managing, replace(anchor, notification_settings=kept, updated_at=managing.now))


def _find(managing: Managing, asked: Input) -> TrustAnchor:
    return managing.find(managing.state.trust_anchors, TrustAnchor, asked["trustAnchorId"])


def _changed(managing: Managing, anchor: TrustAnchor) -> Outcome:
    return put(managing.state, anchor), {"trustAnchor": documents.trust_anchor(anchor)}


def _settings(managing: Managing, given: list[Input]) -> tuple[NotificationSetting, ...]:
    settings = []
    for setting in given:
        if setting["enabled"] and "threshold" not in setting:
            raise invalid("threshold is required for a notification setting that is enabled")
        settings.append(
            NotificationSetting(
                setting["event"],
                setting["enabled"],
                setting.get("threshold"),
                setting.get("channel", "ALL"),
                managing.account,
            )
        )
    if len({setting.event for setting in settings}) != len(settings):
        raise invalid("There is more than one notification setting for an event")
    return tuple(settings)


def _source(managing: Managing, source: Input) -> tuple[str, str, str | None]:
    """Read a source: its type, the PEM that certificates are checked against, and the private CA's ARN if it is one."""
    source_type, data = source.get("sourceType"), source.get("sourceData", {})
    pem, arn = data.get("x509CertificateData"), data.get("acmPcaArn")
    if pem is not None:
        certificates.require_no_private_key(pem.encode("utf-8", "replace"))
    if source_type == "AWS_ACM_PCA" and arn is not None:
        if not _PRIVATE_CA.fullmatch(arn):
            raise invalid("acmPcaArn is not the ARN of a private certificate authority")
        return source_type, managing.state.certificate_of_private_authority(arn), arn
    if source_type == SELF_SIGNED and arn is None:
        if pem is not None:
            certificates.bundle_of(pem)
        return source_type, pem or "", None
    if source_type == "CERTIFICATE_BUNDLE" and pem is not None:
        for certificate in certificates.bundle_of(pem):
            certificates.require_ca(certificate)
        return source_type, pem, None
    raise invalid("source must have a sourceType, and sourceData of that type")
