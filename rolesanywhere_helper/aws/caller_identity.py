"""Who AWS thinks we are: STS ``GetCallerIdentity``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from rolesanywhere_helper.aws.client import explicit_session
from rolesanywhere_helper.aws.loop import loop_guard
from rolesanywhere_helper.errors import BadAnswerError, NetworkError, RefusedError

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.credentials import Credentials

_SECONDS = 10


def caller_arn(
    credentials: Credentials, *, region: str, endpoint_url: str | None = None, verify: str | bool | None = None
) -> str:
    """Ask STS who these credentials belong to. ``endpoint_url`` replaces the region's endpoint.

    No proxy is used for an endpoint that was given. ``verify`` is the path of a CA file or directory, False to verify
    nothing, or None for what botocore trusts.

    Raises:
        RefusedError: STS does not accept them.
        NetworkError: STS cannot be reached.
        BadAnswerError: the answer holds no ARN.

    """
    with loop_guard():
        client = explicit_session(credentials, region).client(
            "sts",
            endpoint_url=endpoint_url,
            verify=verify,
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
        except ResponseParserError:  # its text holds the whole answer
            raise BadAnswerError("the answer of STS cannot be read") from None
    arn = answer.get("Arn")
    if not isinstance(arn, str):
        raise BadAnswerError("the answer of STS holds no ARN")
    return arn
