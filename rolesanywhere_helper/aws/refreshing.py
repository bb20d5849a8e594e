"""A boto3 session whose credentials are asked for again and again: by botocore, of a source of ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.credentials import DeferredRefreshableCredentials
from botocore.session import Session

from rolesanywhere_helper.aws.client import NO_SHARED_CONFIGURATION
from rolesanywhere_helper.domain.session import LONGEST_SECONDS

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import CredentialSource

METHOD = "rolesanywhere-helper"
"""How botocore calls the way in which credentials were found."""


def refreshing_session(source: CredentialSource, region: str) -> boto3.Session:
    """Return a session that asks ``source`` and nobody else; the first time when credentials are first needed.

    What the user's shared files say is not read (promise 84).
    """
    core: Any = Session(session_vars=dict(NO_SHARED_CONFIGURATION))
    core._credentials = _Refreshing(source)  # noqa: SLF001 - botocore has no setter but for keys that do not change
    return boto3.Session(region_name=region, botocore_session=core)


def metadata(made: Credentials) -> dict[str, str]:
    """Return a set as botocore's refreshable credentials take it."""
    return {
        "access_key": made.access_key_id,
        "secret_key": made.secret_access_key,
        "token": made.session_token,
        "expiry_time": datetime.fromtimestamp(made.expires_at, UTC).isoformat(),
        "account_id": made.account_id,
    }


class _Refreshing(DeferredRefreshableCredentials):
    """Credentials that are looked at for every request: when they are renewed is the source's own affair.

    While one thread waits for a renewal, the others use what they have, as long as ten minutes of it are left.
    """

    _advisory_refresh_timeout = LONGEST_SECONDS

    def __init__(self, source: CredentialSource) -> None:
        super().__init__(refresh_using=lambda: metadata(source.get()), method=METHOD)
