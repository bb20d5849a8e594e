"""The way to a server, one step at a time: its addresses, a connection, its certificate. Nothing is asked of it.

For who wants to know at which step the way ends; what signs sends whole requests (``requests_transport``).
"""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import urllib3

from rolesanywhere_helper.errors import HelperError, NetworkError
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.transport.failures import meaning_of
from rolesanywhere_helper.transport.trust_store import (
    client_context,
    given_trust_store,
    system_trust_store,
    unverified_context,
)

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

_HTTP_PORT, _HTTPS_PORT = 80, 443
_FAILURES = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True, slots=True)
class Way:
    """Where to: the server, and the URL of the proxy in between (it may hold a password), if there is one."""

    host: str
    port: int
    proxy: str | None = field(default=None, repr=False)

    @property
    def first(self) -> tuple[str, int]:
        """Host and port of the first peer: the proxy's, or the server's."""
        if self.proxy is None:
            return self.host, self.port
        url = urlsplit(self.proxy)
        return url.hostname or "", url.port or (_HTTPS_PORT if url.scheme == "https" else _HTTP_PORT)

    @property
    def proxy_host(self) -> str | None:
        """The proxy's name alone, or None."""
        return None if self.proxy is None else self.first[0]

    @property
    def has_tls_proxy(self) -> bool:
        """Tell whether the proxy itself is spoken to with TLS, which cannot be taken apart here."""
        return self.proxy is not None and self.proxy.startswith("https:")


def addresses(way: Way) -> tuple[str, ...]:
    """Return the addresses of the first peer, as the system's resolver gives them. There is no limit of time.

    Raises:
        UnresolvedHostError: there are none.

    """
    host, port = way.first
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        failure = meaning_of(error, way.host, way.proxy_host, 0)
    else:
        return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    raise failure


def connect(way: Way, seconds: float) -> str:
    """Connect to the first peer and return its address; nothing is sent.

    Raises:
        NetworkError: it cannot be reached within so many seconds for each address.

    """
    try:
        with socket.create_connection(way.first, seconds) as connection:
            return str(connection.getpeername()[0])
    except _FAILURES as error:
        failure = meaning_of(error, way.host, way.proxy_host, seconds)
    raise failure


def certificate(way: Way, ca_bundle: Path | None, seconds: float, *, verify: bool = True) -> bytes:
    """Shake hands and return the server's certificate as DER, verified as CreateSession's is.

    Raises:
        NetworkError: no handshake came about, or the server could not prove who it is.
        ConfigurationError: the CA bundle cannot be used.
        BadAnswerError: a proxy in between does not speak HTTP.

    """
    context = _context(ca_bundle) if verify else unverified_context()
    host, port = way.first
    connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    if way.proxy is not None:
        connection.set_tunnel(way.host, way.port, _proxy_headers(way.proxy))
    failure: HelperError
    try:
        connection.connect()
        shown = connection.sock.getpeercert(binary_form=True)
    except _FAILURES as error:
        failure = meaning_of(error, way.host, way.proxy_host, seconds)
    else:
        if shown:
            return bytes(shown)
        failure = NetworkError(f"{way.host} showed no certificate")
    finally:
        connection.close()
    raise failure


def _context(ca_bundle: Path | None) -> ssl.SSLContext:
    return client_context(system_trust_store() if ca_bundle is None else given_trust_store(ca_bundle))


def _proxy_headers(proxy: str) -> dict[str, str]:
    url = urlsplit(proxy)
    if not url.username:
        return {}
    user = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return {"Proxy-Authorization": urllib3.util.make_headers(proxy_basic_auth=user)["proxy-authorization"]}
