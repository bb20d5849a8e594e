"""Addresses to listen on, and the networks that may connect, as they are written."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

from rolesanywhere_helper.errors import InvalidParameterError

_HIGHEST_PORT = 65_535
_HINT = 'an IP address with or without a port: "127.0.0.1:9911", "[::1]:9911"'


def parse_address(text: str, default_port: int, origin: str) -> tuple[str, int]:
    """Read ``127.0.0.1:9911``, ``[::1]:9911``, either without its port, or ``localhost`` for ``127.0.0.1``.

    ``origin`` names the value in errors.

    Raises:
        InvalidParameterError: it is no such address. Names are not looked up: who answers for a name may change.

    """
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise _no_address(text, origin)
        port = rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, None
    return parse_host(host, origin), default_port if port is None else parse_port(port, origin)


def parse_host(text: str, origin: str) -> str:
    """Read an address without a port and return it as it is usually written.

    Raises:
        InvalidParameterError: it is no IP address.

    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare == "localhost":
        return "127.0.0.1"
    try:
        address = ip_address(bare)
    except ValueError:
        raise _no_address(text, origin) from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise InvalidParameterError(f"{origin} is an IPv4 address in the form of IPv6", f"write {address.ipv4_mapped}")
    if address.is_multicast or "%" in bare:  # a scope belongs to an interface, not to the address
        raise _no_address(text, origin)
    return str(address)


def parse_port(text: str, origin: str) -> int:
    """Read a port; 0 asks for a free one.

    Raises:
        InvalidParameterError: it is none.

    """
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(_HIGHEST_PORT)) or int(text) > _HIGHEST_PORT:
        raise InvalidParameterError(f"{origin} is not a port: {text[:20]!a}", "give a number from 0 to 65535")
    return int(text)


def parse_network(text: str, origin: str) -> str:
    """Read a network in CIDR notation, or one address.

    Raises:
        InvalidParameterError: it is neither, or says less than it seems to (``10.0.0.1/8``).

    """
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise InvalidParameterError(
            f"{origin} is not a network: {text[:60]!a}", 'for example "10.0.0.0/8", "192.0.2.7" or "fd00::/8"'
        ) from None
    if str(network.network_address) != str(ip_address(text.partition("/")[0])):
        raise InvalidParameterError(f"{origin} names an address inside a network: {text}", f"write {network}")
    return str(network)


def is_unspecified(host: str) -> bool:
    """Tell whether an address stands for all of the machine's (``0.0.0.0``, ``::``)."""
    return ip_address(host).is_unspecified


def shown(host: str, port: int) -> str:
    """Write an address for people."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _no_address(text: str, origin: str) -> InvalidParameterError:
    return InvalidParameterError(f"{origin} is not an address: {text[:60]!a}", _HINT)
