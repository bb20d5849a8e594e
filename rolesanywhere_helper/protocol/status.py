"""What ``GET /v1/status`` answers on the agent socket: one JSON object, written by the daemon and read by ``status``.

.. code-block:: text

    {"version": "1.2.3",
     "sessions": {NAME: {"hasCredentials": true, "expiresAt": "2030-01-01T12:00:00Z", "nextRefreshAt": …,
                         "lastSuccessAt": …, "lastError": {"code": …, "message": …, "hint": …},
                         "certificateNotAfter": …, "clockSkewSeconds": 0.2}},
     "outlets": {"imds": {NAME: "http://127.0.0.1:9911"}, …}}

Moments are RFC 3339 in UTC, whole seconds; what is not known is null. No secret, no account, no ARN.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.domain.serving import SessionStatus
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """One daemon: its version, its sessions, and where it listens, as the ready file tells it."""

    version: str
    sessions: tuple[SessionStatus, ...]
    outlets: Mapping[str, object] = field(default_factory=dict)

    def session(self, name: str) -> SessionStatus | None:
        """Return the session of a name, or None."""
        return next((session for session in self.sessions if session.name == name), None)


def render(status: DaemonStatus) -> bytes:
    """Write the document: one line of ASCII JSON with a newline at its end."""
    document = {
        "version": status.version,
        "sessions": {session.name: _rendered(session) for session in status.sessions},
        "outlets": dict(status.outlets),
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def parse(document: bytes) -> DaemonStatus:
    """Read the document; what another version adds to it is passed over.

    Raises:
        ValueError: it is none.

    """
    try:
        top = json.loads(document)
        sessions = tuple(_parsed(name, values) for name, values in top["sessions"].items())
        return DaemonStatus(str(top["version"]), sessions, dict(top.get("outlets") or {}))
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as problem:
        raise ValueError("not the status of a daemon") from problem


def rfc3339(moment: float | None) -> str | None:
    """Write a moment, seconds since the epoch; None stays None."""
    return None if moment is None else datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rendered(session: SessionStatus) -> dict[str, Any]:
    error = None
    if session.last_error is not None:
        code, what, hint = session.last_error
        error = {"code": code, "message": what, "hint": hint}
    return {
        "hasCredentials": session.has_credentials,
        "expiresAt": rfc3339(session.expires_at),
        "nextRefreshAt": rfc3339(session.next_attempt_at),
        "lastSuccessAt": rfc3339(session.last_success_at),
        "lastError": error,
        "certificateNotAfter": rfc3339(session.certificate_not_after),
        "clockSkewSeconds": session.clock_skew_seconds,
    }


def _parsed(name: str, values: Mapping[str, Any]) -> SessionStatus:
    error, skew = values.get("lastError"), values.get("clockSkewSeconds")
    return SessionStatus(
        name,
        has_credentials=values["hasCredentials"] is True,
        expires_at=_moment(values.get("expiresAt")),
        next_attempt_at=_moment(values.get("nextRefreshAt")),
        last_success_at=_moment(values.get("lastSuccessAt")),
        last_error=None if error is None else (str(error["code"]), str(error["message"]), str(error["hint"])),
        certificate_not_after=_moment(values.get("certificateNotAfter")),
        clock_skew_seconds=None if skew is None else float(skew),
    )


def _moment(text: str | None) -> int | None:
    return None if text is None else int(datetime.fromisoformat(text).timestamp())
