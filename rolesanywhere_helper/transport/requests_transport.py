"""The Transport over requests: one request, one answer, nothing that was not asked for.

Requests' session is left out on purpose: it reads proxies, ``.netrc`` and CA bundles from the environment, adds
headers, keeps cookies, and reads the body of a redirect to its end, however long. Its adapter does none of this.
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests.adapters
import requests.exceptions
import requests.models
import requests.structures
import urllib3
import urllib3.exceptions

from rolesanywhere_helper.domain.ports import HttpResponse
from rolesanywhere_helper.errors import BadAnswerError, ConfigurationError, RedirectRefusedError
from rolesanywhere_helper.transport.failures import meaning_of
from rolesanywhere_helper.transport.trust_store import (
    client_context,
    given_trust_store,
    system_trust_store,
    unverified_context,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from pathlib import Path

    from rolesanywhere_helper.domain.ports import HttpRequest

# An answer with credentials has about 2 KB.
LONGEST_BODY = 256 * 1024
_PIECE = 16 * 1024
_REDIRECTS = range(300, 400)
_LONGEST_HOST = 253
# Whatever the libraries below raise: ValueError for what they find malformed.
_LIBRARY_ERRORS = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)


class RequestsTransport:
    """Implements :class:`rolesanywhere_helper.domain.ports.Transport`.

    Args:
        ca_bundle: A PEM file or a directory of hashed names that takes the place of the system's trust store.
        proxy: The URL of the one proxy to use; none is ever taken from the environment here.
        verify: False believes every certificate. Who passes it must warn loudly.

    Raises:
        ConfigurationError: the CA bundle or the proxy's URL cannot be used.

    """

    def __init__(self, *, ca_bundle: Path | None = None, proxy: str | None = None, verify: bool = True) -> None:
        self._proxies = {} if proxy is None else {"http": proxy, "https": proxy}
        self._proxy_host = None if proxy is None else _proxy_host(proxy)
        self._context = _context(ca_bundle) if verify else unverified_context()
        self._verify = verify
        if not verify:
            # Its warning would come with every request, on stderr; ours is said once.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def send(self, request: HttpRequest, timeout: float) -> HttpResponse:
        """Send one request over a connection of its own, and return the answer.

        ``timeout`` in seconds bounds connect and each read.

        Raises:
            NetworkError: no whole answer came back, the peer could not prove who it is, or it sent a redirect.
            BadAnswerError: the answer is longer than :data:`LONGEST_BODY`, encoded, or not HTTP.

        """
        adapter = _Adapter(self._context)
        try:
            answer = adapter.send(
                _prepared(request), stream=True, timeout=timeout, verify=self._verify, proxies=self._proxies
            )
            try:
                return _received(answer.raw)
            finally:
                answer.raw.close()
        except _LIBRARY_ERRORS as error:
            host = urlsplit(request.url).hostname or request.url
            failure = meaning_of(error, host, self._proxy_host, timeout)
        finally:
            adapter.close()
        # Outside of the handler: the libraries' exceptions hold requests and headers, which no traceback should show.
        raise failure


class _Adapter(requests.adapters.HTTPAdapter):
    """An adapter whose TLS is ours, towards the endpoint and towards a proxy."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=self._context, proxy_ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002 - the base class's signature
        """Leave the context as it is: the base class would add certifi's CAs to it."""
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"


def _context(ca_bundle: Path | None) -> ssl.SSLContext:
    return client_context(system_trust_store() if ca_bundle is None else given_trust_store(ca_bundle))


def _proxy_host(proxy: str) -> str:
    try:
        url = urlsplit(proxy)
        is_usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:  # the URL is not shown: it may hold a password
        raise ConfigurationError("the proxy's URL cannot be used", "it looks like http://proxy.example:3128")
    return url.hostname or ""


def _prepared(request: HttpRequest) -> requests.models.PreparedRequest:
    """Wrap the request as it is: ``PreparedRequest.prepare`` would change and add headers, and so would urllib3."""
    prepared = requests.models.PreparedRequest()
    prepared.method = request.method
    prepared.url = request.url
    prepared.headers = requests.structures.CaseInsensitiveDict(request.headers)
    # Without it the adapter would send the body in chunks.
    prepared.headers.setdefault("Content-Length", str(len(request.body)))
    for name in urllib3.util.request.SKIPPABLE_HEADERS:
        prepared.headers.setdefault(name, urllib3.util.SKIP_HEADER)
    prepared.body = request.body
    return prepared


def _received(raw: urllib3.BaseHTTPResponse) -> HttpResponse:
    headers = {name.lower(): value for name, value in raw.headers.itermerged()}
    if raw.status in _REDIRECTS:
        raise RedirectRefusedError(f"the endpoint answered with a redirect{_to_host(headers.get('location', ''))}")
    _check_encoding(headers)
    _check_announced_length(headers)
    return HttpResponse(raw.status, headers, _body(raw))


def _check_encoding(headers: Mapping[str, str]) -> None:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise BadAnswerError("the answer is compressed, which was not asked for")


def _check_announced_length(headers: Mapping[str, str]) -> None:
    announced = headers.get("content-length", "").strip()
    # More than 20 digits are not worth reading as a number.
    if announced.isdecimal() and (len(announced) > 20 or int(announced) > LONGEST_BODY):  # noqa: PLR2004 - digits of 2**64
        raise _too_long()


def _body(raw: urllib3.BaseHTTPResponse) -> bytes:
    body = bytearray()
    while piece := raw.read(_PIECE, decode_content=False):
        body += piece
        if len(body) > LONGEST_BODY:
            raise _too_long()
    return bytes(body)


def _too_long() -> BadAnswerError:
    return BadAnswerError(f"the answer is longer than {LONGEST_BODY // 1024} KiB")


def _to_host(location: str) -> str:
    """Name the host alone: the rest of a redirect's target may hold what is not for logs."""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    shown = "".join(filter(str.isprintable, host))[:_LONGEST_HOST]
    return f" to {shown}" if shown else ""
