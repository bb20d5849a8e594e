"""What a request must look like to be heard: rules on heads, without I/O.

Local endpoints are reached by web pages (DNS rebinding), by proxies that were told to forward everything, and by
whoever can connect. So what is not exactly what an SDK sends is refused. The parser behind these rules (llhttp) lets
through leading CRLFs, two spaces, HTTP/0.9, other target forms and repeated fields; they are refused here.
"""

from __future__ import annotations

import ipaddress
import re

from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.protocol.http import Response, not_found

LONGEST_HEAD = 8192
LONGEST_REQUEST_LINE = 2048
MOST_FIELDS = 64
HEAD_END = b"\r\n\r\n"
EMPTY_CHUNKED_BODY = b"0\r\n\r\n"
# libcurl sends an upload of unknown length even where there is nothing to send: on the token's PUT, and only there.
_MAY_HAVE_EMPTY_CHUNKED_BODY = ("PUT", "/latest/api/token")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"})
# Fields that decide something: which of two would count is nobody's to guess.
_ONCE = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "expect",
        "host",
        "transfer-encoding",
        "x-aws-ec2-metadata-token",
        "x-aws-ec2-metadata-token-ttl-seconds",
    }
)
_FORWARDED = frozenset({"x-forwarded-for", "forwarded", "via", "x-real-ip"})
# Node's own fetch sends Sec-Fetch-Mode, alone; browsers send the others.
_BROWSER = frozenset({"origin", "referer", "sec-fetch-site", "sec-fetch-dest", "sec-fetch-user"})

# Control characters other than tabs and whole line ends. A CR at the very end may still get its LF.
_STRAY_BYTE = re.compile(rb"[^\t\r\n\x20-\x7e\x80-\xff]|\r[^\n]|(?<!\r)\n")
# What is not ASCII. In a token it is a wrong token, and answered as one.
_HIGH_BYTE = re.compile(
    rb"(?:^|\r\n)(?!x-aws-ec2-metadata-token:|authorization:)[\t\x20-\x7e]*[\x80-\xff]", re.IGNORECASE
)
_REQUEST_LINE = re.compile(rb"[A-Z]{1,32} [\x21-\x7e]+ HTTP/1\.[01]")
# A folded line, a space before the colon, a line without a field's name. (Not at the end: that line may go on.)
_BAD_FIELD_LINE = re.compile(rb"\r\n(?:[ \t]|[^:\r\n]*[ \t]:|:)")
# The TTL is taken to the letter, and the parser would strip what stands before it.
_PADDED_TTL = re.compile(rb"\r\nx-aws-ec2-metadata-token-ttl-seconds:(?:\t| [ \t])", re.IGNORECASE)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_LOOPBACK_V4 = re.compile(r"127(?:\.(?:0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])){3}", re.ASCII)
# Paths are compared as they come: nothing is decoded or tidied up, so what would need it names nothing. But a
# client may escape what a role's name may hold and a path need not: + , = @ pass, for the route of roles.
_ESCAPED = re.compile(r"%(?!2[BbCc]|3[Dd]|40)")
_DOTS = re.compile(r"/\.\.?(?:/|$)")
_IPV6_LOOPBACK = "::1"


@dataclass(frozen=True, slots=True)
class Head:
    """A head as parsed: names in lower case, in order; ``minor`` is the 0 or 1 of HTTP/1.x."""

    method: str
    target: str
    minor: int
    fields: tuple[tuple[str, str], ...] = field(repr=False)

    def values(self, name: str) -> list[str]:
        """Return every value of a field named in lower case."""
        return [value for key, value in self.fields if key == name]

    @property
    def path(self) -> str:
        """The target, where exactly one leading ``//`` is ``/``: SDKs glue paths to an endpoint that ends in one."""
        return self.target[1:] if self.target.startswith("//") and not self.target.startswith("///") else self.target

    @property
    def ends_connection(self) -> bool:
        """Whether nothing may follow the answer: asked for, HTTP/1.0, or a switch of protocol that will not happen."""
        options = ",".join(self.values("connection")).lower().replace(" ", "").split(",")
        return self.minor == 0 or "close" in options or bool(self.values("upgrade"))

    @property
    def announces_empty_body(self) -> bool:
        """Whether an empty chunked body has yet to come."""
        return bool(self.values("transfer-encoding"))

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits to be told to go on."""
        return self.minor == 1 and bool(self.values("expect"))


@dataclass(frozen=True, slots=True)
class HostRule:
    """Which ``Host`` is ours: a name or address of ours, loopback, with our port or none.

    ``names`` are in lower case, IPv6 addresses in their short form and without brackets. ``port`` is None on a unix
    socket: no web page reaches that, and any well-formed host is right.
    """

    names: frozenset[str]
    port: int | None

    def allows(self, host: str) -> bool:
        """Decide on the value of the field."""
        parts = _HOST.fullmatch(host.lower())
        if parts is None:
            return False
        if self.port is None:
            return True
        if parts["port"] is not None and int(parts["port"]) != self.port:
            return False
        name = plain_address(parts["v6"]) if parts["v6"] else parts["name"]
        return name in self.names or name in {"localhost", _IPV6_LOOPBACK} or bool(_LOOPBACK_V4.fullmatch(name))


def plain_address(text: str) -> str:
    """Return an IP address in its short form, without a scope; an IPv4 address in IPv6 clothes as IPv4.

    What is no address is returned as it is.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def early_refusal(received: bytes) -> Response | None:
    """Refuse what no further byte could make good; ``received`` is a head, or the beginning of one."""
    line_end = received.find(b"\r\n")
    line = received if line_end < 0 else received[:line_end]
    if not received[:1].isupper() or _has_stray_byte(received):
        return malformed()
    if len(line) > LONGEST_REQUEST_LINE:
        return Response(414, b"the request line is too long", refusal="head")
    if line_end >= 0 and not _REQUEST_LINE.fullmatch(line):
        return malformed()
    if len(received) > LONGEST_HEAD or _field_lines(received) > MOST_FIELDS:
        return Response(431, b"the head is too large", refusal="head")
    if _BAD_FIELD_LINE.search(received) or _PADDED_TTL.search(received):
        return malformed()
    return None


def _has_stray_byte(received: bytes) -> bool:
    if _STRAY_BYTE.search(received, 0, LONGEST_HEAD):
        return True
    return not received.isascii() and _HIGH_BYTE.search(received, 0, LONGEST_HEAD) is not None


def _field_lines(received: bytes) -> int:
    """Count the lines after the request line that have ended, without the empty one at a head's end."""
    return received.count(b"\r\n") - 1 - received.endswith(HEAD_END)


def malformed() -> Response:
    """Answer that this is no request."""
    return Response(400, b"malformed request", refusal="malformed")


def refusal(head: Head, host_rule: HostRule) -> Response | None:
    """Refuse a head that is well-formed and not what we answer; None if it may go to its route."""
    return _ambiguous(head) or _foreign(head, host_rule) or _unanswerable(head)


def _ambiguous(head: Head) -> Response | None:
    """Refuse what two readers could read in two ways."""
    seen = set[str]()
    for name, _ in head.fields:
        if name in _ONCE and name in seen:
            return Response(400, b"a header field is given twice", refusal="duplicate")
        seen.add(name)
    if not head.target.startswith("/") or "#" in head.target:
        return malformed()
    if "transfer-encoding" in seen:
        is_harmless = (
            head.minor == 1
            and "content-length" not in seen
            and head.values("transfer-encoding") == ["chunked"]
            and (head.method, head.path.removesuffix("/")) == _MAY_HAVE_EMPTY_CHUNKED_BODY
        )
        return None if is_harmless else unwanted_body()
    return unwanted_body() if "content-length" in seen and head.values("content-length") != ["0"] else None


def unwanted_body() -> Response:
    """Answer that a request here has no body."""
    return Response(400, b"a request here has no body", refusal="body")


def _foreign(head: Head, host_rule: HostRule) -> Response | None:
    """Refuse what came through a proxy or from a web page."""
    names = {name for name, _ in head.fields}
    if names & _FORWARDED:
        return Response(403, b"forwarded requests are not answered", refusal="forwarded")
    hosts = head.values("host")
    if not hosts or not host_rule.allows(hosts[0]):
        return Response(403, b"this host name is not served here (see allowed-hosts)", refusal="host")
    if names & _BROWSER:
        return Response(403, b"requests of web pages are not answered", refusal="origin")
    return None


def _unanswerable(head: Head) -> Response | None:
    if head.method not in METHODS:
        return Response(405, b"method not allowed", headers=(("Allow", "GET, PUT"),), refusal="method")
    if _ESCAPED.search(head.target) or "//" in head.path or _DOTS.search(head.path):
        return not_found()
    if any(value.lower() != "100-continue" for value in head.values("expect")):
        return Response(417, b"unknown expectation", refusal="expect")
    return None
