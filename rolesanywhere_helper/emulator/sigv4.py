"""Signature Version 4 with a shared secret, verified for STS, IAM and the management API.

The rules are those of the IAM user guide, "Create a signed request". The texts are those that STS gives.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.authorization import AuthorizationError, parse_authorization, why_not_timely
from rolesanywhere_helper.emulator.canonical import CanonicalError, canonical_request, string_to_sign

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.authorization import Authorization
    from rolesanywhere_helper.emulator.issuing import Grant
    from rolesanywhere_helper.emulator.keys import Keys

ALGORITHM = "AWS4-HMAC-SHA256"


def verify(arrival: Arrival, keys: Keys, service: str, now: float, region: str | None = None) -> Grant:
    """Return what the caller's credentials grant. ``now`` is in seconds since the epoch.

    The scope must be of the service, and of the region if one is given.

    Raises:
        Refusal: no signature, unknown credentials, a wrong signature or clock, expired credentials.

    """
    if not arrival.values("authorization"):
        raise Refusal("MissingAuthenticationToken", "Request is missing Authentication Token")
    try:
        authorization = parse_authorization(arrival)
    except AuthorizationError as error:
        raise Refusal("IncompleteSignature", f"The request signature is not complete: {error}", 400) from None
    grant = keys.recognise(authorization.key, arrival.value("x-amz-security-token") or "")
    if grant is None:
        raise Refusal("InvalidClientTokenId", "The security token included in the request is invalid.")
    _require_signature(arrival, authorization, keys.secret_access_key(authorization.key), service)
    if region is not None and authorization.region != region:
        raise Refusal("SignatureDoesNotMatch", f"Credential should be scoped to a valid region: '{region}'.")
    untimely = why_not_timely(arrival, authorization, now)
    if untimely is not None:
        raise Refusal("SignatureDoesNotMatch", f"Signature expired or not yet current: {untimely}")
    if now >= grant.expires_at:
        raise Refusal("ExpiredToken", "The security token included in the request is expired")
    return grant


def _require_signature(arrival: Arrival, authorization: Authorization, secret: str, service: str) -> None:
    mismatch = "The request signature we calculated does not match the signature you provided."
    if (authorization.algorithm, authorization.service) != (ALGORITHM, service):
        raise Refusal("SignatureDoesNotMatch", f"Credential should be scoped to correct service: '{service}'.")
    try:
        canonical = canonical_request(
            arrival.method, arrival.target, arrival.headers, authorization.signed_headers, arrival.body
        )
    except CanonicalError as error:
        raise Refusal("SignatureDoesNotMatch", mismatch, reason=str(error)) from None
    if not {"host", "x-amz-date"} <= set(authorization.signed_headers):
        raise Refusal("SignatureDoesNotMatch", "'Host' and 'X-Amz-Date' must be signed headers.")
    stamp = arrival.value("x-amz-date") or ""
    message = string_to_sign(ALGORITHM, stamp, authorization.scope, canonical)
    if not hmac.compare_digest(_signature(secret, authorization, message), authorization.signature):
        raise Refusal("SignatureDoesNotMatch", mismatch, reason="the signature does not fit the request as it arrived")


def _signature(secret: str, authorization: Authorization, message: bytes) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (authorization.date, authorization.region, authorization.service, "aws4_request"):
        key = hmac.digest(key, part.encode("utf-8"), hashlib.sha256)
    return hmac.digest(key, message, hashlib.sha256)
