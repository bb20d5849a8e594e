"""Subjects: who authenticated, with which certificates and instance properties, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization

from rolesanywhere_helper.emulator.state import SeenCertificate, SeenProperties, Subject, put

if TYPE_CHECKING:
    from cryptography import x509

    from rolesanywhere_helper.emulator.state import State, Tags

_MOST_KEPT = 20


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of CreateSession with a certificate that leads to a trust anchor. ``at`` is seconds since the epoch."""

    account: str
    leaf: x509.Certificate
    properties: Tags
    at: float
    failed: bool


def noted(state: State, attempt: Attempt) -> State:
    """Write an attempt into its subject's history, of which the newest entries are kept."""
    arn = state.subject_arn(attempt.account, attempt.leaf.subject.public_bytes())
    known = next((subject for subject in state.subjects if subject.arn == arn), None)
    subject = known or Subject(arn, attempt.leaf.subject.rfc4514_string(), attempt.at, attempt.at)
    certificate = SeenCertificate(
        str(attempt.leaf.serial_number),
        attempt.leaf.issuer.rfc4514_string(),
        attempt.leaf.public_bytes(serialization.Encoding.PEM).decode("ascii"),
        attempt.at,
        attempt.failed,
    )
    certificates = (*(seen for seen in subject.certificates if seen.pem != certificate.pem), certificate)
    properties = subject.instance_properties
    if attempt.properties:
        sent = SeenProperties(attempt.properties, attempt.at, attempt.failed)
        properties = (*(seen for seen in properties if seen.properties != sent.properties), sent)
    return put(
        state,
        replace(
            subject,
            last_seen_at=attempt.at,
            certificates=certificates[-_MOST_KEPT:],
            instance_properties=properties[-_MOST_KEPT:],
        ),
    )
