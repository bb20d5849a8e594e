"""Where the services of a partition and region are (botocore's endpoint rules for ``rolesanywhere`` and ``sts``)."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rolesanywhere_helper.errors import InvalidParameterError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

# partition → (suffix, dual-stack suffix, regions that have a FIPS endpoint)
_PARTITIONS: Mapping[str, tuple[str, str | None, frozenset[str]]] = {
    "aws": (
        "amazonaws.com",
        "api.aws",
        frozenset({"us-east-1", "us-east-2", "us-west-1", "us-west-2"}),
    ),
    "aws-us-gov": ("amazonaws.com", "api.aws", frozenset({"us-gov-east-1", "us-gov-west-1"})),
    "aws-cn": ("amazonaws.com.cn", "api.amazonwebservices.com.cn", frozenset()),
    "aws-eusc": ("amazonaws.eu", "api.amazonwebservices.eu", frozenset()),
    "aws-iso-e": ("cloud.adc-e.uk", None, frozenset()),
    "aws-iso-f": ("csp.hci.ic.gov", None, frozenset()),
}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?", re.ASCII)
# What comes after the endpoint in each request.
_PATH = "/sessions"
_QUERY = re.compile(r"[?#]")
_TOO_MUCH = "give scheme, host and port alone, without user, query or fragment"
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The base of the service's URL: no query, fragment or user information.

    ``prefix`` is the path in front of ``/sessions`` that a gateway strips again (empty, or ``/like/this``). It goes on
    the wire and is not signed: the service sees, and verifies, ``/sessions``.
    """

    scheme: str
    host: str
    port: int | None = None
    prefix: str = ""

    @property
    def authority(self) -> str:
        """What the Host header says: the port only where it is not the scheme's own."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        standard = {"http": 80, "https": 443}[self.scheme]
        return shown if self.port in (None, standard) else f"{shown}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Tell whether this can only be this machine."""
        return is_loopback_host(self.host)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def regional_endpoint(partition: str, region: str, *, use_fips: bool = False, use_dualstack: bool = False) -> Endpoint:
    """Name the service's endpoint.

    Raises:
        InvalidParameterError: FIPS or dual-stack was asked for where there is none (never a silent fallback), or the
            partition is not known.

    """
    suffix = _suffix(partition, "--endpoint", use_dualstack=use_dualstack)
    fips_regions = _PARTITIONS[partition][2]
    if use_fips and region not in fips_regions:
        offered = ", ".join(sorted(fips_regions)) or "none in this partition"
        raise InvalidParameterError(
            f"there is no FIPS endpoint in {region}", f"FIPS endpoints: {offered}; or give one with --endpoint"
        )
    service = "rolesanywhere-fips" if use_fips else "rolesanywhere"
    return Endpoint("https", f"{service}.{region}.{suffix}")


def sts_endpoint(partition: str, region: str, *, use_fips: bool = False, use_dualstack: bool = False) -> Endpoint:
    """Name the endpoint of STS that an AWS client chooses by itself.

    Raises:
        InvalidParameterError: there is no dual-stack endpoint, or the partition is not known.

    """
    suffix = _suffix(partition, "--sts-endpoint", use_dualstack=use_dualstack)
    # The usual ones of GovCloud are its FIPS endpoints.
    has_own = use_fips and (use_dualstack or partition != "aws-us-gov")
    return Endpoint("https", f"{'sts-fips' if has_own else 'sts'}.{region}.{suffix}")


def _suffix(partition: str, option: str, *, use_dualstack: bool) -> str:
    if partition not in _PARTITIONS:
        raise InvalidParameterError(f"no endpoint is known for partition {partition}", f"give it with {option}")
    suffix, dualstack_suffix, _ = _PARTITIONS[partition]
    if not use_dualstack:
        return suffix
    if dualstack_suffix is None:
        raise InvalidParameterError(f"there is no dual-stack endpoint in partition {partition}")
    return dualstack_suffix


def parse_endpoint(text: str) -> Endpoint:
    """Read an endpoint that was given, with or without a scheme (https is meant where there is none).

    Raises:
        InvalidParameterError: it is no URL of a host, or plain http to another machine (promise 81).

    """
    hint = "for example: https://rolesanywhere.eu-central-1.amazonaws.com, or http://127.0.0.1:PORT for the emulator"
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        port = url.port
    except ValueError:
        raise InvalidParameterError(f"this is not an endpoint: {_without_secrets(text)!a}", hint) from None
    host = url.hostname or ""
    has_more = url.query or url.fragment or url.username or url.password or not _PREFIX.fullmatch(url.path)
    if url.scheme not in {"http", "https"} or has_more or not (_is_ip(host) or _HOST.fullmatch(host)):
        shown = f"this is not an endpoint: {_without_secrets(text)!a}"
        raise InvalidParameterError(shown, f"{_TOO_MUCH}, {hint}" if has_more else hint)
    prefix = url.path.rstrip("/")
    if prefix.endswith(_PATH):
        raise InvalidParameterError(
            f"this is not an endpoint: {_without_secrets(text)!a}", f"leave {_PATH} out: it is added to each endpoint"
        )
    endpoint = Endpoint(url.scheme, host, port, prefix)
    if endpoint.scheme == "http" and not endpoint.is_loopback:
        raise InvalidParameterError(
            f"plain http is only for this machine, not for {host}",
            "use https: credentials would travel readable for everybody on the way",
        )
    return endpoint


def is_loopback_host(host: str) -> bool:
    """Tell whether a host name or address can only be this machine."""
    return host == "localhost" or (_is_ip(host) and ip_address(host).is_loopback)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _without_secrets(text: str) -> str:
    """Leave out what could be a password or token: user information, query and fragment."""
    base = _QUERY.split(text, maxsplit=1)[0]
    # An @ after that is the end of a password with such a sign in it, or a part of the query.
    return "…" if "@" in text[len(base) :] else base.rpartition("@")[2]
