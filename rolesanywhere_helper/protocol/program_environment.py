"""The environment of a program that is given credentials: what it is told, and what is taken away.

Each SDK looks for credentials in places of its own order. All that could say something else than we do goes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of the SDKs of today, and the old spellings: of boto 2 and Ansible (EC2_…), of the first SDKs for Java and Go, of the
# SDK for Ruby (AMAZON_…), of s3fs (AWSACCESSKEYID).
_CONFLICTING = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_ACCESS_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_CREDENTIAL_FILE",
        "AWS_CREDENTIAL_SCOPE",
        "AWS_ACCOUNT_ID",
        "AMAZON_ACCESS_KEY_ID",
        "AMAZON_SECRET_ACCESS_KEY",
        "AMAZON_SESSION_TOKEN",
        "AWSACCESSKEYID",
        "AWSSECRETACCESSKEY",
        "AWSSESSIONTOKEN",
        "EC2_ACCESS_KEY",
        "EC2_SECRET_KEY",
        "EC2_SECURITY_TOKEN",
        "BOTO_CONFIG",
        "BOTO_PATH",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        "AWS_EC2_METADATA_V1_DISABLED",
    }
)
# One for each service that takes such a token (AWS_BEARER_TOKEN_BEDROCK).
_BEARER_TOKENS = "AWS_BEARER_TOKEN_"
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# The endpoint is asked in plain HTTP, so what HTTPS alone goes through does not matter.
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")
_NO_PROXY_AT_ALL = "*"


@dataclass(frozen=True, slots=True)
class Handed:
    """The container endpoint of one program, its token, and the files that stand in for the user's AWS files."""

    url: str
    token: str = field(repr=False)
    token_file: str
    config_file: str
    credentials_file: str


def with_endpoint(environment: Mapping[str, str], handed: Handed, region: str | None) -> dict[str, str]:
    """Return the environment of a program that asks an endpoint; ``region`` is set if one is given.

    The token is in a file and in a variable: older SDKs (AWS CLI 2.9, rclone 1.60) know only the variable, newer ones
    take the file. Nobody but this user and root can read either. The SDK for Java 1 has a variable of its own for the
    credentials file, and reads no other. A proxy is not to be asked for the endpoint: it could read the token.
    """
    cleared = _cleared(environment)
    return {
        **cleared,
        **_around_proxies(cleared, urlsplit(handed.url).hostname or ""),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": handed.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": handed.token,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": handed.token_file,
        "AWS_CONFIG_FILE": handed.config_file,
        "AWS_SHARED_CREDENTIALS_FILE": handed.credentials_file,
        "AWS_CREDENTIAL_PROFILES_FILE": handed.credentials_file,
        **_region(region),
    }


def with_variables(environment: Mapping[str, str], variables: Mapping[str, str], region: str | None) -> dict[str, str]:
    """Return the environment of a program that reads nothing but variables; ``region`` is set if one is given."""
    return {**_cleared(environment), **_region(region), **variables}


def region_to_set(environment: Mapping[str, str], *, typed: str | None, configured: str | None, own: str) -> str | None:
    """Return the region to set, or None where the program finds one by itself.

    One that was ``typed`` goes before all; ``configured`` is that of the user's profile. Who has none anywhere gets
    the session's ``own``.
    """
    if typed:
        return typed
    if configured or any(environment.get(name) for name in REGIONS):
        return None
    return own


def _cleared(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name not in _CONFLICTING and not name.startswith(_BEARER_TOKENS)
    }


def _around_proxies(environment: Mapping[str, str], host: str) -> dict[str, str]:
    """Return the variables that keep requests for a host from a proxy; none where no proxy is set.

    Which spelling a client reads first differs: both say it, each with what was there already, or what the other says.
    """
    if not any(environment.get(name) for name in _PROXIES):
        return {}
    either = next((environment[name] for name in _EXCEPTIONS if name in environment), "")
    return {name: _with_host(environment.get(name, either), host) for name in _EXCEPTIONS}


def _with_host(exceptions: str, host: str) -> str:
    listed = [each for each in re.split(r"[,\s]+", exceptions) if each]
    if listed == [_NO_PROXY_AT_ALL] or host in listed:  # together with others the star means nothing to libcurl
        return exceptions
    return f"{exceptions.rstrip(' ,')},{host}" if listed else host


def _region(region: str | None) -> dict[str, str]:
    return {} if region is None else dict.fromkeys(REGIONS, region)
