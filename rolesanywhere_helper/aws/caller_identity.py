"""Who AWS thinks we are: STS ``GetCallerIdentity``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from rolesanywhere_helper.aws.loop import loop_guard
from rolesanywhere_helper.errors import BadAnswerError, NetworkError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.domain.credentials import Credentials

_SECONDS = 10
# Neither profiles nor shared files: what they say is not ours, and a credential_process line in them may be us.
_NO_SHARED_CONFIGURATION: Mapping[str, tuple[None, None, str | None, None]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


def caller_arn(credentials: Credentials, *, region: str, endpoint_url: str | None = None) -> str:
    """Ask STS who these credentials belong to. ``endpoint_url`` replaces the region's endpoint.

    No proxy is used for an endpoint that was given.

    Raises:
        RefusedError: STS does not accept them.
        NetworkError: STS cannot be reached.
        BadAnswerError: the answer holds no ARN.

    """
    with loop_guard():
        client = _session(credentials, region).client(
            "sts",
            endpoint_url=endpoint_url,
            config=Config(
                connect_timeout=_SECONDS,
                read_timeout=_SECONDS,
                retries={"total_max_attempts": 2},
                proxies=None if endpoint_url is None else {},
            ),
        )
        try:
            answer = client.get_caller_identity()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            raise RefusedError(f"STS does not accept the credentials: {code}") from None
        except BotoCoreError as error:
            raise NetworkError(f"STS gave no answer: {type(error).__name__}") from None
    arn = answer.get("Arn")
    if not isinstance(arn, str):
        raise BadAnswerError("the answer of STS holds no ARN")
    return arn


def _session(credentials: Credentials, region: str) -> boto3.Session:
    core: Any = Session(session_vars=dict(_NO_SHARED_CONFIGURATION))
    return boto3.Session(
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        region_name=region,
        botocore_session=core,
    )
