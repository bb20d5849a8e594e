"""CreateSession on the wire: the request it is asked with, and what its answer means.

Source: the IAM Roles Anywhere user guide, and what the service was seen to answer (the operation is in no SDK). The
protocol is rest-json: ``POST /sessions``, success is 201. Moments are seconds since the epoch, UTC.

Nothing of an answer that could be a secret gets into an error: bodies are never quoted, and of a refusal only its
message, cleaned and cut.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from rolesanywhere_helper import __version__
from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.domain.ports import HttpRequest
from rolesanywhere_helper.errors import (
    AssumeRoleDeniedError,
    BadAnswerError,
    BadExpirationError,
    CertificateRevokedError,
    ClockSkewError,
    DurationTooLongError,
    InsufficientCertificateError,
    InvalidProfileError,
    InvalidSignatureError,
    RefusedError,
    RoleNotInProfileError,
    RoleSessionNameRefusedError,
    ServiceUnavailableError,
    SessionTagMappingError,
    ThrottledError,
    TrustAnchorNotFoundError,
    UntrustedCertificateError,
    WrongRoleError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.domain.arn import Arn
    from rolesanywhere_helper.domain.endpoint import Endpoint
    from rolesanywhere_helper.domain.ports import HttpResponse
    from rolesanywhere_helper.domain.session import SessionSpec
    from rolesanywhere_helper.errors import ServiceError

PATH = "/sessions"
# SigV4's tolerance for the clocks of client and service, and ours for an expiration.
TOLERANCE_SECONDS = 300
LONGEST_MESSAGE = 300

_CREATED = frozenset({200, 201})
_TOO_MANY_REQUESTS = 429
_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_IMF_FIXDATE = re.compile(r"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_ARN = re.compile(r"arn:[\x21-\x7e]{1,2048}")

# How each documented message begins (in lower case) → what it means. The more particular of two comes first. The
# service ends some of them with a stop, and not always.
_REFUSALS: tuple[tuple[str, type[RefusedError]], ...] = (
    ("untrusted signing certificate", UntrustedCertificateError),
    ("untrusted certificate. insufficient certificate", InsufficientCertificateError),
    ("certificate revoked", CertificateRevokedError),
    ("not authorized to set rolesessionname", RoleSessionNameRefusedError),
    ("invalid or empty profile provided", InvalidProfileError),
    ("requested role isn't one of those listed in the profile", RoleNotInProfileError),
    ("specified trust anchor wasn't found", TrustAnchorNotFoundError),
)
_INVALID_SIGNATURE = "invalid signature"
_ASSUME_ROLE = "unable to assume role for"
_TAG_MAPPING = "some attributes failed to be mapped into session tags"
_TOO_LONG = "exceeds the maxsessionduration set for this role"
# The service's own words are not documented; they cannot do without the parameter's name.
_PROPERTIES = "instanceproperties"
_PROPERTIES_HINT = (
    "say something of this host with --instance-properties KEY=VALUE,KEY=VALUE, for example host=NAME (at most 50, "
    "keys and values of 1 to 200 characters): the profile requires it (requireInstanceProperties)"
)


# The request


def build(spec: SessionSpec, endpoint: Endpoint) -> HttpRequest:
    """Make the request for a session, not yet signed; all parameters are in its body."""
    parameters: dict[str, object] = {
        "durationSeconds": spec.duration_seconds,
        "profileArn": str(spec.profile_arn),
        "roleArn": str(spec.role_arn),
        "trustAnchorArn": str(spec.trust_anchor_arn),
    }
    if spec.role_session_name is not None:
        parameters["roleSessionName"] = spec.role_session_name
    if spec.instance_properties:
        parameters["instanceProperties"] = dict(spec.instance_properties)
    body = json.dumps(parameters, separators=(",", ":")).encode()
    headers = (
        ("Host", endpoint.authority),
        ("User-Agent", f"rolesanywhere-helper/{__version__}"),
        ("Accept", "application/json"),
        # An answer of a known length needs no decompression, and no defence against a bomb.
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
    )
    return HttpRequest("POST", f"{endpoint}{PATH}", f"{endpoint.prefix}{PATH}", headers, body)


# The answer


def parse(response: HttpResponse, spec: SessionSpec, now: float) -> Credentials:
    """Take the credentials out of an answer and check that they are what was asked for.

    ``now`` is this machine's clock when the answer had arrived. Of several sets the first counts: one role was asked.

    Raises:
        BadAnswerError: the body is not what the service documents.
        WrongRoleError: the credentials are for another role.
        BadExpirationError: the expiration cannot be read, has passed, or lies more than five minutes beyond what was
            asked for.
        ClockSkewError: the expiration is wrong only because this machine's clock is.
        ServiceError: the answer is a refusal or a failure (:func:`error_of` tells which).

    """
    if response.status not in _CREATED:
        raise error_of(response, now)
    entry = _first_set(_json_object(response.body))
    _check_role(entry, spec.role_arn)
    credentials = _member(entry, "credentials")
    return Credentials(
        access_key_id=_secret(credentials, "accessKeyId"),
        secret_access_key=_secret(credentials, "secretAccessKey"),
        session_token=_secret(credentials, "sessionToken"),
        issued_at=int(now),
        expires_at=_expiration(credentials, spec.duration_seconds, now, clock_skew(response, now)),
        role_arn=str(spec.role_arn),
    )


def error_of(response: HttpResponse, now: float) -> ServiceError:
    """Tell what an answer without credentials means; the documented messages have a class each."""
    kind, message = _kind_of(response), _message_of(response)
    if kind.startswith("Throttl") or kind == "TooManyRequestsException" or response.status == _TOO_MANY_REQUESTS:
        return ThrottledError(f"the service asks for fewer calls: {message or kind or 'HTTP 429'}")
    if response.status in _SERVER_ERRORS:
        return ServiceUnavailableError(f"the service failed with HTTP {response.status}{_after_colon(kind, message)}")
    if response.status not in _CLIENT_ERRORS:
        return BadAnswerError(f"the service answered HTTP {response.status}, which CreateSession never does")
    if not message:
        return RefusedError(
            f"the service refused with HTTP {response.status} and no message{_after_colon(kind, '')}",
            "check --endpoint, and whether a proxy answers in the service's place",
        )
    return _refusal(message, clock_skew(response, now))


def clock_skew(response: HttpResponse, now: float) -> float | None:
    """Return by how many seconds this machine's clock is ahead of the answer's Date header, if that can be read."""
    date = _http_date(response.headers.get("date", ""))
    return None if date is None else now - date


def retry_after(response: HttpResponse, now: float) -> float | None:
    """Return the seconds that the answer's Retry-After asks to wait (RFC 9110: a number, or a date), never negative."""
    value = response.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    date = _http_date(value)
    return None if date is None else max(0.0, date - now)


# Refusals


def _refusal(message: str, skew: float | None) -> RefusedError:
    said = message.casefold()
    if said.startswith(_INVALID_SIGNATURE):
        if skew is not None and abs(skew) > TOLERANCE_SECONDS:
            return ClockSkewError(_skew_text(skew))
        return InvalidSignatureError(_refused_with(message))
    if said.startswith(_ASSUME_ROLE):
        return _denied(said)(_refused_with(message))
    for beginning, meaning in _REFUSALS:
        if said.startswith(beginning):
            return meaning(_refused_with(message))
    return RefusedError(_refused_with(message), _PROPERTIES_HINT if _PROPERTIES in said else None)


def _denied(said: str) -> type[AssumeRoleDeniedError]:
    if _TOO_LONG in said:
        return DurationTooLongError
    return SessionTagMappingError if _TAG_MAPPING in said else AssumeRoleDeniedError


def _refused_with(message: str) -> str:
    return f"the service refused: {message}"


def _kind_of(response: HttpResponse) -> str:
    """Return the error's name: the header's part before ``:http…``, else ``__type`` after its ``#``, else ``code``."""
    header = response.headers.get("x-amzn-errortype", "")
    body = _json_object_or_none(response.body) or {}
    said = next((text for text in (header, body.get("__type"), body.get("code")) if isinstance(text, str) and text), "")
    return _cleaned(said.partition(":")[0].rpartition("#")[2])


def _message_of(response: HttpResponse) -> str:
    body = _json_object_or_none(response.body) or {}
    said = next((text for text in (body.get("message"), body.get("Message")) if isinstance(text, str) and text), "")
    return _cleaned(said).removesuffix(".")


def _after_colon(kind: str, message: str) -> str:
    said = ", ".join(text for text in (kind, message) if text)
    return f": {said}" if said else ""


def _cleaned(text: str) -> str:
    """Make one printable line of what a stranger wrote."""
    # Cut first: what is looked at character by character should not be long.
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * LONGEST_MESSAGE])
    line = " ".join(printable.split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 1]}…"


# Credentials


def _first_set(document: Mapping[str, object]) -> Mapping[str, object]:
    sets = document.get("credentialSet")
    if not isinstance(sets, list) or not sets:
        raise BadAnswerError("the service's answer holds no credentials (credentialSet is missing, empty or no list)")
    return _as_object(sets[0], "credentialSet[0]")


def _check_role(entry: Mapping[str, object], asked: Arn) -> None:
    role = _optional_text(entry, "roleArn")
    user = _as_object(entry.get("assumedRoleUser", {}), "assumedRoleUser")
    assumed = _optional_text(user, "arn")
    if not role and not assumed:
        raise WrongRoleError("the service's answer does not say for which role its credentials are")
    if role and role != str(asked):
        raise WrongRoleError(f"asked for {asked}, but was given credentials for {_arn_shown(role)}")
    if assumed and not _is_session_of(assumed, asked):
        raise WrongRoleError(f"asked for {asked}, but was given credentials for {_arn_shown(assumed)}")


def _is_session_of(assumed: str, asked: Arn) -> bool:
    """Compare ``arn:P:sts::ACCOUNT:assumed-role/NAME/SESSION``, which leaves the role's path out, with the role."""
    name = asked.resource.rpartition("/")[2]
    beginning = f"arn:{asked.partition}:sts::{asked.account}:assumed-role/{name}/"
    return assumed.startswith(beginning) and len(assumed) > len(beginning)


def _arn_shown(text: str) -> str:
    # Anything else could be a secret in the wrong place.
    return _cleaned(text) if _ARN.fullmatch(text) else "something that is no ARN"


def _expiration(credentials: Mapping[str, object], asked_seconds: int, now: float, skew: float | None) -> int:
    expires_at = _rfc3339(_text(credentials, "expiration"))
    if expires_at is None:
        raise BadExpirationError("the expiration of the credentials is not a date like 2026-01-01T00:00:00Z")
    if _is_plausible(expires_at - now, asked_seconds):
        return expires_at
    is_clock_wrong = skew is not None and abs(skew) > TOLERANCE_SECONDS
    if skew is not None and is_clock_wrong and _is_plausible(expires_at - (now - skew), asked_seconds):
        raise ClockSkewError(_skew_text(skew))
    left = expires_at - now
    if left <= 0:
        raise BadExpirationError(f"the credentials had expired {_duration(-left)} before they arrived")
    raise BadExpirationError(f"asked for {_duration(asked_seconds)}, but the credentials last {_duration(left)}")


def _is_plausible(left: float, asked_seconds: int) -> bool:
    return 0 < left <= asked_seconds + TOLERANCE_SECONDS


def _secret(credentials: Mapping[str, object], name: str) -> str:
    """Return a member that must be visible ASCII: a line break would break out of files and variables it goes to."""
    text = _text(credentials, name)
    if not _VISIBLE.fullmatch(text):
        raise BadAnswerError(f"the service's answer has characters in {name} that cannot be there")
    return text


# JSON


def _json_object(body: bytes) -> Mapping[str, object]:
    document = _json_object_or_none(body)
    if document is None:
        raise BadAnswerError(f"the service's answer ({len(body)} bytes) is not a JSON object")
    return document


def _json_object_or_none(body: bytes) -> Mapping[str, object] | None:
    # The error of json.loads holds the whole body: it must not be left as the context of ours.
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", document) if isinstance(document, dict) else None


def _as_object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadAnswerError(f"{name} is not an object in the service's answer")
    return cast("dict[str, object]", value)


def _member(parent: Mapping[str, object], name: str) -> Mapping[str, object]:
    return _as_object(parent.get(name), name)


def _text(parent: Mapping[str, object], name: str) -> str:
    text = _optional_text(parent, name)
    if not text:
        raise BadAnswerError(f"{name} is missing or empty in the service's answer")
    return text


def _optional_text(parent: Mapping[str, object], name: str) -> str:
    value = parent.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadAnswerError(f"{name} is not a string in the service's answer")
    return value


# Dates


def _rfc3339(text: str) -> int | None:
    if not _RFC3339.fullmatch(text):
        return None
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None


def _http_date(text: str) -> int | None:
    """Read an IMF-fixdate (RFC 9110, 5.6.7), the only form that may be sent."""
    match = _IMF_FIXDATE.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[group]) for group in (1, 3, 4, 5, 6))
    try:
        moment = datetime(year, _MONTHS.index(match[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return (moment - _EPOCH) // timedelta(seconds=1)


def _skew_text(skew: float) -> str:
    direction = "ahead of" if skew > 0 else "behind"
    return f"this machine's clock is {_duration(abs(skew))} {direction} the service's"


def _duration(seconds: float) -> str:
    """Spell out a duration with its two largest units: ``31 minutes 4 seconds``."""
    left = round(seconds)
    parts: list[str] = []
    for name, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts[:2]) or "0 seconds"
