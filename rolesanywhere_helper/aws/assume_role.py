"""From one role to the next: STS ``AssumeRole`` with the credentials of the role before it (role chaining).

The source identity that Roles Anywhere has set stays with the session by itself (IAM user guide, "Monitor and control
actions taken with assumed roles"). Nothing of an answer that could be a secret gets into an error.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError, SSLError
from botocore.parsers import ResponseParserError

from rolesanywhere_helper.aws.client import explicit_session
from rolesanywhere_helper.aws.loop import loop_guard
from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import (
    BadAnswerError,
    BadExpirationError,
    ConnectionFailedError,
    HopRefusedError,
    NetworkError,
    ServiceUnavailableError,
    ThrottledError,
    TlsError,
    WrongRoleError,
)
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.role_hop import RoleHop

# Unless the session is named: it is what CloudTrail shows.
SESSION_NAME = "rolesanywhere-helper"
TOLERANCE_SECONDS = 300
_CONNECT_SECONDS, _READ_SECONDS = 5, 10
_LONGEST_MESSAGE = 300
_SERVER_ERRORS = range(500, 600)
_REDIRECTIONS = range(300, 400)
_CLOCK = "compare this machine's clock: timedatectl"
# What helps against the refusals that are not about what a role may do; their codes are STS's (API reference,
# "AssumeRole" and "Common errors").
_HINTS = {
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException"),
        f"the session of the role before has ended: ask again; if that does not help, {_CLOCK}",
    ),
    **dict.fromkeys(("RequestExpired", "SignatureDoesNotMatch", "IncompleteSignature"), _CLOCK),
    **dict.fromkeys(
        ("InvalidClientTokenId", "UnrecognizedClientException"),
        "STS there does not know the role before: name the STS of a region that is enabled in its account (--region, "
        "--sts-endpoint)",
    ),
    **dict.fromkeys(
        ("RegionDisabledException", "RegionDisabled"),
        "activate STS in that region (IAM, Account settings), or name another region's (--region, --sts-endpoint)",
    ),
    **dict.fromkeys(("PackedPolicyTooLarge", "PackedPolicyTooLargeException"), "give fewer or shorter session tags"),
    **dict.fromkeys(
        ("ValidationError", "ValidationException", "InvalidParameterValue", "InvalidParameterCombination"),
        "STS says which parameter it does not take: compare session-duration (at most what the role allows), "
        "role-session-name, external-id and session-tags",
    ),
}
_HINT_FOR_OTHERS = "the reason is in what STS says; if it is not STS that answers there, check --sts-endpoint"
_DENIED = frozenset({"AccessDenied", "AccessDeniedException"})
_THROTTLED = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"})


@dataclass(frozen=True, slots=True)
class StsConnection:
    """How STS is reached: ``verify`` is the path of a CA file or directory, or False to verify nothing.

    ``is_guarded`` marks every process that is started meanwhile (promise 84): not in a program of somebody else's,
    whose own AWS clients would be refused.
    """

    verify: str | bool = True
    proxy: str | None = field(default=None, repr=False)
    is_guarded: bool = True


def assume_role(hop: RoleHop, source: Credentials, connection: StsConnection, now: float) -> Credentials:
    """Ask for a session of the next role; ``now`` is in seconds since the epoch.

    Raises:
        HopRefusedError: STS does not let this role go on to that one.
        ThrottledError, ServiceUnavailableError: it may at another time.
        BadAnswerError: what came back is not what was asked for.
        NetworkError: STS gave no answer.

    """
    with loop_guard() if connection.is_guarded else nullcontext():
        client = explicit_session(source, hop.region).client(
            "sts",
            endpoint_url=hop.sts_endpoint,
            verify=connection.verify,
            config=Config(  # type: ignore[call-arg] # the stubs do not know the first of them
                # What the environment says of endpoints was taken into account, or is not meant for this.
                ignore_configured_endpoint_urls=True,
                use_fips_endpoint=hop.use_fips,
                use_dualstack_endpoint=hop.use_dualstack,
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"total_max_attempts": 2},
                proxies={} if connection.proxy is None else dict.fromkeys(("http", "https"), connection.proxy),
            ),
        )
        try:
            answer: Any = client.assume_role(**_parameters(hop))
        except ClientError as error:
            raise _refusal(error, hop, source) from None
        except BotoCoreError as error:
            raise _unreachable(error, hop) from None
        except ResponseParserError:  # its text holds the whole answer
            raise BadAnswerError(f"the answer of STS for {hop.role_arn} cannot be read") from None
    return _checked(answer, hop, int(now))


def _parameters(hop: RoleHop) -> Any:
    parameters: dict[str, object] = {
        "RoleArn": str(hop.role_arn),
        "RoleSessionName": hop.session_name or SESSION_NAME,
        "DurationSeconds": hop.duration_seconds,
    }
    if hop.external_id is not None:
        parameters["ExternalId"] = hop.external_id
    if hop.tags:
        parameters["Tags"] = [{"Key": key, "Value": value} for key, value in hop.tags]
    if hop.transitive_tag_keys:
        parameters["TransitiveTagKeys"] = list(hop.transitive_tag_keys)
    return parameters


def _refusal(
    error: ClientError, hop: RoleHop, source: Credentials
) -> HopRefusedError | ThrottledError | ServiceUnavailableError | BadAnswerError:
    told: Any = error.response
    code, status = told.get("Error", {}).get("Code", ""), told.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    where = f"from {source.role_arn} to {hop.role_arn}"
    if code in _THROTTLED:
        return ThrottledError(f"STS is asked too often ({where})")
    if status in _SERVER_ERRORS:
        return ServiceUnavailableError(f"STS has a problem of its own ({where}): HTTP {status}")
    if status in _REDIRECTIONS:
        return BadAnswerError(
            f"what was asked to go on {where} is not STS: it answered with HTTP {status}, a redirect",
            "check --sts-endpoint, and whether a proxy answers in the place of STS",
        )
    message = "".join(each if each.isprintable() else "?" for each in str(told.get("Error", {}).get("Message", "")))
    what = f"STS refused to go on {where}: {code or 'refused'}: {message[:_LONGEST_MESSAGE]}"
    return HopRefusedError(what, None if code in _DENIED else _HINTS.get(code, _HINT_FOR_OTHERS))


def _unreachable(error: BotoCoreError, hop: RoleHop) -> NetworkError:
    where = hop.sts_endpoint or f"STS in {hop.region}"
    if isinstance(error, SSLError):
        return TlsError(f"{where} could not prove who it is, on the way to {hop.role_arn}")
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError):
        return ConnectionFailedError(f"{where} cannot be reached, on the way to {hop.role_arn}")
    return NetworkError(f"{where} gave no answer, on the way to {hop.role_arn}: {type(error).__name__}")


def _checked(answer: Any, hop: RoleHop, now: int) -> Credentials:
    made, user = answer.get("Credentials", {}), str(answer.get("AssumedRoleUser", {}).get("Arn", ""))
    account, name = hop.role_arn.account, hop.role_arn.resource.rpartition("/")[2]
    if f":{account}:assumed-role/{name}/" not in user:
        raise WrongRoleError(f"STS answered with a session of another role than {hop.role_arn}")
    texts = [made.get(key) for key in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    if not all(isinstance(text, str) and text for text in texts):
        raise BadAnswerError(f"the answer of STS for {hop.role_arn} holds no credentials")
    try:
        expires_at = int(made["Expiration"].timestamp())
    except (KeyError, AttributeError, ValueError, OverflowError):
        raise BadExpirationError(f"the answer of STS for {hop.role_arn} has no expiration that can be read") from None
    if not now < expires_at <= now + hop.duration_seconds + TOLERANCE_SECONDS:
        raise BadExpirationError(
            f"asked for {hop.duration_seconds} s, but the credentials for {hop.role_arn} last {expires_at - now} s"
        )
    key, secret, token = texts
    return Credentials(key, secret, token, now, expires_at, str(hop.role_arn))
