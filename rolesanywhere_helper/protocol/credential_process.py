"""The document that a ``credential_process`` prints (AWS SDKs reference guide, "Process credential provider")."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.credentials import Credentials


def render(credentials: Credentials) -> bytes:
    """Return the document, version 1: one line of ASCII JSON with a newline at its end.

    ``Expiration`` is ``YYYY-MM-DDTHH:MM:SSZ``: every SDK reads this form of RFC 3339, not all read the others.
    """
    document = {
        "Version": 1,
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "SessionToken": credentials.session_token,
        "Expiration": datetime.fromtimestamp(credentials.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "AccountId": credentials.account_id,
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
