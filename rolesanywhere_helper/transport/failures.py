"""What a failed exchange means: the many exceptions of requests, urllib3, http.client, ssl and socket → ours.

The libraries wrap each other's exceptions, differently from version to version. So the whole family of an exception is
looked at (what it carries, what caused it), for the one member that says what happened.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TYPE_CHECKING, TypeVar

import urllib3.exceptions

from rolesanywhere_helper.errors import (
    BadAnswerError,
    ConnectionFailedError,
    DeadlineExceededError,
    HelperError,
    NetworkError,
    TlsError,
    TruncatedAnswerError,
    UnresolvedHostError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_Kind = TypeVar("_Kind", bound=BaseException)

# OpenSSL's X509_V_ERR_… numbers (openssl-verification-options(1) tells them apart in words that change).
_NOT_YET_VALID = 9
_EXPIRED = 10
# 7, a signature that does not fit: another CA of the same name.
_UNKNOWN_CA = frozenset({2, 7, 18, 19, 20, 21})
_WRONG_HOST = frozenset({62, 64})
# The peer's version is refused by us, ours by the peer, or no version is common to both.
_VERSION_REASONS = frozenset(
    {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW"}
)
_NO_TLS_REASONS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
_OUR_CLOCK_OR_THEIRS = (
    "check this machine's clock; otherwise the certificate of the endpoint, or of a proxy, is at fault"
)


def meaning_of(error: BaseException, host: str, proxy_host: str | None, timeout: float) -> HelperError:
    """Return the NetworkError or BadAnswerError that tells what happened on the way to ``host``.

    ``proxy_host`` is the proxy in between, if there is one, and ``timeout`` the one given, in seconds.
    """
    family = list(_family(error))
    peer = host if proxy_host is None else f"the proxy {proxy_host}"
    if _is_unresolved(family):
        return UnresolvedHostError(f"the name {proxy_host or host} could not be resolved")
    certificate = _first(family, ssl.SSLCertVerificationError)
    if certificate is not None:
        return _certificate_refused(certificate, host)
    # Before TLS errors: a handshake that takes too long is both.
    if _is_timeout(family):
        return _too_late(family, host, peer, timeout)
    tls = _first(family, ssl.SSLError)
    if tls is not None:
        return _tls_failed(tls, host)
    if proxy_host is not None and (refused := _tunnel_refusal(family)) is not None:
        return NetworkError(f"{peer} does not let us through: {refused}", "check the proxy's address, user and rules")
    return _broken(family, peer)


def _family(error: BaseException) -> Iterator[BaseException]:
    """Walk through an exception and all that it carries or came from, the outermost first."""
    waiting, seen = [error], set[int]()
    while waiting:
        member = waiting.pop(0)
        if id(member) in seen:
            continue
        seen.add(id(member))
        yield member
        relatives = (*member.args, getattr(member, "reason", None), member.__cause__, member.__context__)
        waiting.extend(relative for relative in relatives if isinstance(relative, BaseException))


def _first(family: list[BaseException], kind: type[_Kind]) -> _Kind | None:
    return next((member for member in family if isinstance(member, kind)), None)


def _is_unresolved(family: list[BaseException]) -> bool:
    kinds = (socket.gaierror, urllib3.exceptions.NameResolutionError, UnicodeError)
    return any(isinstance(member, kinds) for member in family)


def _is_timeout(family: list[BaseException]) -> bool:
    # NewConnectionError is no timeout, though urllib3 1 derives it from one.
    return any(
        isinstance(member, (TimeoutError, urllib3.exceptions.TimeoutError))
        and not isinstance(member, urllib3.exceptions.NewConnectionError)
        for member in family
    )


def _too_late(family: list[BaseException], host: str, peer: str, timeout: float) -> DeadlineExceededError:
    if _first(family, urllib3.exceptions.ConnectTimeoutError) is not None:
        return DeadlineExceededError(f"no connection to {peer} within {timeout:.3g} s")
    return DeadlineExceededError(f"{host} was silent for {timeout:.3g} s")


def _certificate_refused(error: ssl.SSLCertVerificationError, host: str) -> TlsError:
    code = getattr(error, "verify_code", None)  # set by OpenSSL, not where Python raises one
    if code == _EXPIRED:
        return TlsError(f"the TLS certificate of {host} has expired", _OUR_CLOCK_OR_THEIRS)
    if code == _NOT_YET_VALID:
        return TlsError(f"the TLS certificate of {host} is not yet valid", _OUR_CLOCK_OR_THEIRS)
    if code in _WRONG_HOST:
        return TlsError(f"the TLS certificate is not for {host}", "check --endpoint, and what answers at that address")
    if code in _UNKNOWN_CA:
        return TlsError(f"the TLS certificate of {host} was issued by an unknown CA")
    return TlsError(f"the TLS certificate of {host} cannot be verified: {getattr(error, 'verify_message', error)}")


def _tls_failed(error: ssl.SSLError, host: str) -> TlsError:
    reason = getattr(error, "reason", None) or "no reason given"
    if reason in _VERSION_REASONS:
        return TlsError(
            f"{host} does not speak TLS 1.2 or newer", "the endpoint, or a proxy in between, must offer TLS 1.2 or 1.3"
        )
    if reason in _NO_TLS_REASONS:
        return TlsError(f"{host} does not speak TLS at this port", "check the scheme and port of --endpoint")
    return TlsError(f"the TLS handshake with {host} failed: {reason}")


def _tunnel_refusal(family: list[BaseException]) -> str | None:
    """Return the proxy's status line, from http.client's ``OSError("Tunnel connection failed: 407 …")``."""
    beginning = "Tunnel connection failed: "
    texts = (member.args[0] for member in family if type(member) is OSError and member.args)
    said = next((text for text in texts if isinstance(text, str) and text.startswith(beginning)), None)
    return None if said is None else "".join(filter(str.isprintable, said.removeprefix(beginning)))[:100]


def _broken(family: list[BaseException], peer: str) -> HelperError:
    if _first(family, ConnectionRefusedError) is not None:
        return ConnectionFailedError(f"{peer} refuses connections")
    # Before the next: RemoteDisconnected is a ConnectionResetError, and a BadStatusLine as well.
    if _first(family, ConnectionError) is not None:
        return ConnectionFailedError(f"{peer} closed the connection without an answer")
    if _first(family, http.client.IncompleteRead) or _first(family, urllib3.exceptions.IncompleteRead):
        return TruncatedAnswerError(f"{peer} closed the connection in the middle of its answer")
    system = next(
        (member for member in family if isinstance(member, OSError) and member.errno and member.strerror), None
    )
    if system is not None:
        return ConnectionFailedError(f"{peer} cannot be reached: {system.strerror}")
    return BadAnswerError(f"what {peer} answered is not HTTP as it should be")
