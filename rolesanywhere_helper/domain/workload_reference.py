"""Which X.509-SVID of a SPIFFE Workload API is meant, and where that API is.

===================================  ==================================================================
``spiffe:``                          the agent's first SVID
``spiffe://TRUST-DOMAIN/PATH``       the SVID of this SPIFFE ID
``spiffe:unix:/PATH``                the first SVID of the agent behind this socket
``spiffe://…/…?socket=/PATH``        both
===================================  ==================================================================

Without a socket the variable ``SPIFFE_ENDPOINT_SOCKET`` names it (SPIFFE Workload Endpoint, section 4). There is no
default on purpose: SPIRE's is a path below ``/tmp``, where everybody could be first.
"""

from __future__ import annotations

import re

from rolesanywhere_helper.errors import UsageError
from rolesanywhere_helper.frozen import dataclass

SCHEME = "spiffe:"
ENDPOINT_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
_SOCKET = "?socket="
_UNIX = "unix:"
_LONGEST_ID = 2048
# SPIFFE-ID, section 2: a trust domain, and segments that are neither empty nor relative.
_ID = re.compile(r"spiffe://[a-z0-9._-]+(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class WorkloadReference:
    """A SPIFFE ID, or None for the agent's first SVID; the absolute path of a socket, or None for the variable's."""

    spiffe_id: str | None = None
    socket: str | None = None


def parse_workload_reference(text: str) -> WorkloadReference:
    """Read what stands for a certificate.

    Raises:
        UsageError: it has none of the four forms.

    """
    rest = text[len(SCHEME) :]
    if not rest:
        return WorkloadReference()
    if rest.startswith(_UNIX):
        return WorkloadReference(socket=endpoint_path(rest, "--certificate"))
    name, question, socket = text.partition(_SOCKET)
    spiffe_id = SCHEME + name[len(SCHEME) :]  # the scheme may be written in capitals (RFC 3986)
    if len(spiffe_id) > _LONGEST_ID or not _ID.fullmatch(spiffe_id) or (question and not socket.startswith("/")):
        raise UsageError(
            f"this names no SVID: {text!a}",
            "write spiffe: for the agent's first one, spiffe://TRUST-DOMAIN/PATH, or spiffe:unix:/PATH/OF/agent.sock",
        )
    return WorkloadReference(spiffe_id, socket or None)


def endpoint_path(address: str, origin: str) -> str:
    """Return the path in the address of a Workload API, ``unix:/PATH`` or ``unix:///PATH``.

    Raises:
        UsageError: it is none; TCP is refused, since there an agent cannot tell who asks.

    """
    path = address.removeprefix(_UNIX)
    if path.startswith("///"):
        path = path[2:]
    if not address.startswith(_UNIX) or not path.startswith("/") or path.startswith("//") or "\0" in path:
        raise UsageError(
            f"{origin} names no unix socket: {address!a}", "write unix:///PATH/OF/THE/agent.sock, the whole path"
        )
    return path
