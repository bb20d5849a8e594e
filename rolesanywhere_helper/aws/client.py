"""AWS clients with explicit credentials, and without what the user's shared files say (promise 84)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import boto3
from botocore.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.domain.credentials import Credentials

# Neither profiles nor shared files: what they say is not ours, and a credential_process line in them may be us.
NO_SHARED_CONFIGURATION: Mapping[str, tuple[None, None, str | None, None]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
    "sts_regional_endpoints": (None, None, "regional", None),
}


def explicit_session(credentials: Credentials, region: str) -> boto3.Session:
    """Return a boto3 session that has these credentials and asks nobody for others."""
    core: Any = Session(session_vars=dict(NO_SHARED_CONFIGURATION))
    return boto3.Session(
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        region_name=region,
        botocore_session=core,
    )
