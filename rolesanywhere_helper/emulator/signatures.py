"""SigV4-X509: did the holder of the leaf's key send exactly what arrived? (user guide, "authentication-sign-process").

Whatever keeps the signature from being right is answered with ``Invalid signature``, also a clock that is off, as the
live service does; the reason stands in the request list only.

The service itself tolerates three deviations and notes them in CloudTrail ("logging-using-cloudtrail"). They are noted
here too, and refused unless the emulator is lenient, because they are mistakes that a client should not ship.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from rolesanywhere_helper.emulator.answers import access_denied
from rolesanywhere_helper.emulator.authorization import AuthorizationError, parse_authorization, why_not_timely
from rolesanywhere_helper.emulator.canonical import CanonicalError, canonical_request, string_to_sign
from rolesanywhere_helper.emulator.certificates import LONGEST_CHAIN, decode_certificate

if TYPE_CHECKING:
    from cryptography import x509

    from rolesanywhere_helper.emulator.answers import Refusal
    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.authorization import Authorization

SERVICE = "rolesanywhere"
INVALID_SIGNATURE = "Invalid signature"
MISSING_SIGNED_HEADERS = "missingSignedHeaders"
POST_EMPTY_BODY = "postEmptyBody"
ALGORITHM_MISMATCH = "algorithmMismatch"

_SIGNED_IF_SENT = ("x-amz-x509", "x-amz-x509-chain", "x-amz-date", "content-type")
# A leaf signed with SHA-384 is announced as …-SHA384 by one client, which nevertheless signs with SHA-256.
_ALGORITHM = re.compile(r"AWS4-X509-(?:(?:RSA|ECDSA)-SHA\d{3}|MLDSA(?:-\d\d)?)")
_DECIMAL = re.compile(r"\d+", re.ASCII)


def read_certificates(arrival: Arrival) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """Read ``X-Amz-X509`` and ``X-Amz-X509-Chain``.

    Raises:
        Refusal: one is malformed, sent twice, or the chain is too long.

    """
    sent = arrival.value("x-amz-x509")
    chains = arrival.values("x-amz-x509-chain")
    if sent is None or len(chains) > 1:
        raise _invalid("X-Amz-X509 was not sent exactly once, or X-Amz-X509-Chain more than once")
    try:
        leaf = decode_certificate(sent)
        chain = tuple(decode_certificate(part.strip()) for part in chains[0].split(",")) if chains else ()
    except ValueError as error:
        raise _invalid(f"X-Amz-X509 or X-Amz-X509-Chain: {error}") from None
    if len(chain) > LONGEST_CHAIN:
        raise _invalid(f"X-Amz-X509-Chain holds more than {LONGEST_CHAIN} certificates")
    return leaf, chain


def verify(arrival: Arrival, leaf: x509.Certificate, region: str, now: float) -> dict[str, str]:
    """Verify the leaf's signature over what arrived. ``now`` is in seconds since the epoch.

    Returns:
        The deviations that the service only flags, each with what deviates.

    Raises:
        Refusal: the signature, its scope or its time is not right.

    """
    try:
        authorization = parse_authorization(arrival)
        canonical = canonical_request(
            arrival.method, arrival.target, arrival.headers, authorization.signed_headers, arrival.body
        )
    except (AuthorizationError, CanonicalError) as error:
        raise _invalid(str(error)) from None
    _require_scope(arrival, authorization, leaf, region, now)
    stamp = arrival.value("x-amz-date") or ""
    message = string_to_sign(authorization.algorithm, stamp, authorization.scope, canonical)
    if not _is_signed(leaf, message, authorization.signature):
        raise _invalid("the signature does not fit the request as it arrived")
    return _deviations(arrival, authorization, leaf)


def require_none(deviations: dict[str, str]) -> None:
    """Refuse deviations, as the strict mode does.

    Raises:
        Refusal: there are some; the text names them, because the service has none for this.

    """
    if deviations:
        detail = "; ".join(f"{flag}: {what}" for flag, what in deviations.items())
        raise access_denied(f"Refused by the emulator's strict mode: {detail}", detail)


def _require_scope(
    arrival: Arrival, authorization: Authorization, leaf: x509.Certificate, region: str, now: float
) -> None:
    if not _ALGORITHM.fullmatch(authorization.algorithm):
        raise _invalid("the algorithm is not one of SigV4-X509")
    if not _DECIMAL.fullmatch(authorization.key) or authorization.key != str(leaf.serial_number):
        raise _invalid("Credential does not begin with the leaf's serial number in decimal")
    if (authorization.region, authorization.service) != (region, SERVICE):
        raise _invalid(f"the scope is not of {region} and {SERVICE}")
    untimely = why_not_timely(arrival, authorization, now)
    if untimely is not None:
        raise _invalid(untimely)


def _is_signed(leaf: x509.Certificate, message: bytes, signature: bytes) -> bool:
    try:
        # Any: the three ML-DSA types exist only in young versions of the library, and are told apart by their name.
        key: Any = leaf.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        elif _expected_algorithm(leaf) == "AWS4-X509-MLDSA":
            key.verify(signature, message)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _expected_algorithm(leaf: x509.Certificate) -> str | None:
    key: Any = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return "AWS4-X509-RSA-SHA256"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "AWS4-X509-ECDSA-SHA256"
    return "AWS4-X509-MLDSA" if type(key).__name__.startswith("MLDSA") else None


def _deviations(arrival: Arrival, authorization: Authorization, leaf: x509.Certificate) -> dict[str, str]:
    found = {}
    to_sign = ("host", *(name for name in _SIGNED_IF_SENT if arrival.values(name)))
    unsigned = [name for name in to_sign if name not in authorization.signed_headers]
    if unsigned:
        found[MISSING_SIGNED_HEADERS] = ", ".join(unsigned)
    if arrival.method == "POST" and arrival.query and not arrival.body:
        found[POST_EMPTY_BODY] = "a query string and an empty body"
    expected = _expected_algorithm(leaf)
    if authorization.algorithm != expected:
        found[ALGORITHM_MISMATCH] = f"{authorization.algorithm} announced, the leaf's key needs {expected}"
    return found


def _invalid(reason: str) -> Refusal:
    return access_denied(INVALID_SIGNATURE, reason)
