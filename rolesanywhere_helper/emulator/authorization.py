"""The Authorization header and the timestamp of Signature Version 4, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.arrival import Arrival

# General SigV4 text: a request is good for five minutes, on both sides of the service's clock.
WINDOW_SECONDS = 300
_HEADER = re.compile(
    r"(?P<algorithm>AWS4-[A-Z0-9-]+) +Credential=(?P<credential>[^\s,]+) *, *SignedHeaders=(?P<signed>[^\s,]+) *, *"
    r"Signature=(?P<signature>[0-9a-f]+)",
    re.ASCII,
)
_CREDENTIAL_PARTS = 5
_TIMESTAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


class AuthorizationError(ValueError):
    """The header is not there, or not of the documented form. The text never holds what was sent."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """``ALGORITHM Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…, Signature=HEX``.

    ``key`` is the access key id, or the certificate's serial in decimal.
    """

    algorithm: str
    key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: bytes = field(repr=False)

    @property
    def scope(self) -> str:
        """The credential scope."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def parse_authorization(arrival: Arrival) -> Authorization:
    """Take the header apart.

    Raises:
        AuthorizationError: it was not sent exactly once, or has another form.

    """
    sent = arrival.value("authorization")
    if sent is None:
        raise AuthorizationError("there is not exactly one Authorization header")
    match = _HEADER.fullmatch(sent)
    if match is None:
        raise AuthorizationError("the Authorization header has another form")
    parts = match["credential"].split("/")
    signature = match["signature"]
    if len(parts) != _CREDENTIAL_PARTS or parts[4] != "aws4_request":
        raise AuthorizationError("Credential is not KEY/DATE/REGION/SERVICE/aws4_request")
    if len(signature) % 2:
        raise AuthorizationError("Signature is not hexadecimal")
    key, date, region, service, _ = parts
    return Authorization(
        match["algorithm"], key, date, region, service, tuple(match["signed"].split(";")), bytes.fromhex(signature)
    )


def why_not_timely(arrival: Arrival, authorization: Authorization, now: float) -> str | None:
    """Say what is wrong with ``X-Amz-Date``: form, a scope of another day, or outside the window. None: it is right."""
    stamp = arrival.value("x-amz-date")
    if stamp is None or not _TIMESTAMP.fullmatch(stamp):
        return "there is not exactly one X-Amz-Date of the form YYYYMMDDTHHMMSSZ"
    try:
        sent_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return "X-Amz-Date is no date"
    if authorization.date != stamp[:8]:
        return "the scope has another date than X-Amz-Date"
    if abs(sent_at - now) > WINDOW_SECONDS:
        return f"X-Amz-Date is {sent_at - now:+.0f} seconds off"
    return None
