"""The management operations on certificate revocation lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rolesanywhere_helper.emulator import certificates, documents
from rolesanywhere_helper.emulator.answers import invalid, not_found
from rolesanywhere_helper.emulator.managing import page, tags_of, with_alias
from rolesanywhere_helper.emulator.revocation import require_signed_list
from rolesanywhere_helper.emulator.state import Crl, put, remove

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.managing import Input, Managing, Outcome
    from rolesanywhere_helper.emulator.state import TrustAnchor

_MOST_OF_AN_ANCHOR = 2  # user guide, "Quotas"


def import_one(managing: Managing, asked: Input) -> Outcome:
    """ImportCrl. The trust anchor is named by its ARN, for the model says that an alias ARN is not found."""
    arn = asked["trustAnchorArn"]
    anchor = _anchor(managing, arn)
    state = managing.state
    if sum(crl.trust_anchor_arn == arn for crl in state.crls) >= _MOST_OF_AN_ANCHOR:
        raise invalid(f"The quota of {_MOST_OF_AN_ANCHOR} CRLs for each trust anchor is reached")
    _require_signed(asked["crlData"], anchor)
    crl = Crl(
        managing.new_arn(Crl),
        asked["name"],
        arn,
        asked["crlData"],
        asked.get("enabled", False),
        managing.alias(state.crls, asked.get("aliasName")),
        tags_of(asked.get("tags")),
        managing.now,
        managing.now,
    )
    return _changed(managing, crl)


def get(managing: Managing, asked: Input) -> Outcome:
    """GetCrl."""
    return managing.state, {"crl": documents.crl(_find(managing, asked))}


def list_all(managing: Managing, asked: Input) -> Outcome:
    """ListCrls."""
    return managing.state, page(managing.own(managing.state.crls), asked, "crls", documents.crl)


def update(managing: Managing, asked: Input) -> Outcome:
    """UpdateCrl: what is not given stays."""
    before = _find(managing, asked)
    if "crlData" in asked:
        _require_signed(asked["crlData"], _anchor(managing, before.trust_anchor_arn))
    crl = replace(
        before,
        name=asked.get("name", before.name),
        data=asked.get("crlData", before.data),
        alias_name=managing.alias(managing.state.crls, asked.get("aliasName"), before),
        updated_at=managing.now,
    )
    state, answer = _changed(managing, crl)
    return state, {"crl": with_alias(answer["crl"], before, crl)}


def delete(managing: Managing, asked: Input) -> Outcome:
    """DeleteCrl."""
    crl = _find(managing, asked)
    return remove(managing.state, crl), {"crl": documents.crl(crl)}


def enable(managing: Managing, asked: Input) -> Outcome:
    """EnableCrl."""
    return _changed(managing, replace(_find(managing, asked), enabled=True, updated_at=managing.now))


def disable(managing: Managing, asked: Input) -> Outcome:
    """DisableCrl."""
    return _changed(managing, replace(_find(managing, asked), enabled=False, updated_at=managing.now))


def _find(managing: Managing, asked: Input) -> Crl:
    return managing.find(managing.state.crls, Crl, asked["crlId"])


def _anchor(managing: Managing, arn: str) -> TrustAnchor:
    managing.require_own(arn)
    found = next((anchor for anchor in managing.state.trust_anchors if anchor.arn == arn), None)
    if found is None:
        raise not_found(f"Trust anchor not found: {arn}")
    return found


def _require_signed(data: bytes, anchor: TrustAnchor) -> None:
    certificates.require_no_private_key(data)
    require_signed_list(data, certificates.bundle_of(anchor.bundle_pem))


def _changed(managing: Managing, crl: Crl) -> Outcome:
    return put(managing.state, crl), {"crl": documents.crl(crl)}
