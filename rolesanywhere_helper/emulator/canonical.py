"""Signature Version 4's canonical request, from a request as it arrived.

Pure functions over bytes, written for the receiving side and from the documentation alone (IAM user guide, "Create a
canonical request"; Roles Anywhere user guide, "authentication-sign-process"). Nothing here is shared with the client's
signing, so that one can catch the other's mistakes.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

# RFC 3986, section 2.3; everything else is percent-encoded. A literal plus sign is a plus sign, never a space.
_UNRESERVED = "-._~"
_SPACES = re.compile(rb" {2,}")

RawHeaders = tuple[tuple[bytes, bytes], ...]


class CanonicalError(ValueError):
    """The request has no canonical form under these signed headers."""


def canonical_request(
    method: str, raw_target: str, raw_headers: RawHeaders, signed_headers: tuple[str, ...], body: bytes
) -> bytes:
    r"""Build the canonical request: six parts joined by ``\n``.

    Args:
        method: the HTTP method, in capitals.
        raw_target: path and query exactly as in the request line.
        raw_headers: every header line in the order received, duplicates included, values with or without the white
            space around them.
        signed_headers: the names of ``SignedHeaders``, in lower case, sorted, each once.
        body: the payload as sent; its SHA-256 is the last part.

    Raises:
        CanonicalError: ``signed_headers`` is not sorted lower case without duplicates, or names a header that the
            request does not have.

    """
    if list(signed_headers) != sorted({name.lower() for name in signed_headers}):
        raise CanonicalError("SignedHeaders is not a sorted list of lower-case names")
    path, _, query = raw_target.partition("?")
    lines = b"".join(_header_line(name, raw_headers) for name in signed_headers)
    return b"\n".join(
        (
            method.encode("ascii"),
            _canonical_path(path),
            _canonical_query(query),
            lines,
            ";".join(signed_headers).encode("ascii", "replace"),
            hashlib.sha256(body).hexdigest().encode("ascii"),
        )
    )


def string_to_sign(algorithm: str, timestamp: str, scope: str, canonical: bytes) -> bytes:
    """Build what is signed: algorithm, ``YYYYMMDDTHHMMSSZ``, ``DATE/REGION/SERVICE/aws4_request``, hex digest."""
    return "\n".join((algorithm, timestamp, scope, hashlib.sha256(canonical).hexdigest())).encode("utf-8")


def _header_line(name: str, raw_headers: RawHeaders) -> bytes:
    wanted = name.encode("ascii", "replace")
    values = [_SPACES.sub(b" ", value.strip(b" \t")) for sent, value in raw_headers if sent.lower() == wanted]
    if not values:
        raise CanonicalError(f"the signed header {name} was not sent")
    return wanted + b":" + b",".join(values) + b"\n"


def _canonical_path(path: str) -> bytes:
    """Normalise and encode once more (every service but S3 encodes the path twice: once to send, once to sign)."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    normal = "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")
    return quote_from_bytes(normal.encode("utf-8", "surrogateescape"), safe="/" + _UNRESERVED).encode("ascii")


def _canonical_query(query: str) -> bytes:
    pairs = []
    for parameter in query.split("&"):
        if parameter:
            name, _, value = parameter.partition("=")
            pairs.append((_encoded(name), _encoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs)).encode("ascii")


def _encoded(sent: str) -> str:
    return quote_from_bytes(unquote_to_bytes(sent.encode("utf-8", "surrogateescape")), safe=_UNRESERVED)
