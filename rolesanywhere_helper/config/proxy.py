"""Which proxy the environment names for an endpoint (the convention that curl, Go and requests share).

Asked only with ``--with-proxy``, for CreateSession and for STS on the way from role to role (promise 65). Each is
judged by its own host.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rolesanywhere_helper.config.environment import NO_PROXY_VARIABLES, PROXY_VARIABLES
from rolesanywhere_helper.errors import InvalidParameterError

if TYPE_CHECKING:
    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.domain.endpoint import Endpoint


def proxy_for(endpoint: Endpoint, surroundings: Surroundings) -> str | None:
    """Return the URL of the proxy to use, or None. A loopback endpoint never has one.

    Raises:
        InvalidParameterError: the variable's value is no proxy that can be used.

    """
    if endpoint.is_loopback:
        return None
    for name in PROXY_VARIABLES:
        text = surroundings.variable(name)
        if text is not None:
            exceptions = surroundings.variable(*NO_PROXY_VARIABLES) or ""
            return None if _is_excepted(endpoint, exceptions) else _checked(text, name)
    return None


def shown(proxy: str) -> str:
    """Return a proxy's URL without user and password."""
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _checked(text: str, name: str) -> str:
    proxy = text if "://" in text else f"http://{text}"
    hint = "for example: http://proxy.example.com:3128"
    try:
        url = urlsplit(proxy)
        has_host = bool(url.hostname) and url.port != 0
    except ValueError:
        has_host = False
    # The value is not shown: it may hold a password.
    if not has_host or not proxy.isprintable():
        raise InvalidParameterError(f"the value of {name} is not the URL of a proxy", hint)
    if url.scheme not in {"http", "https"}:
        raise InvalidParameterError(f"{name} names a {url.scheme[:10]!a} proxy: only http and https ones work", hint)
    return proxy


def _is_excepted(endpoint: Endpoint, exceptions: str) -> bool:
    port = endpoint.port or 443
    return any(
        _matches(endpoint.host.lower().rstrip("."), port, entry.strip().lower()) for entry in exceptions.split(",")
    )


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    name, colon, wanted_port = entry.rpartition(":")
    is_bare_ipv6 = ":" in name and not name.endswith("]")
    if colon and wanted_port.isdecimal() and not is_bare_ipv6:
        if int(wanted_port) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except (ValueError, TypeError):
        domain = entry.lstrip("*").strip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
