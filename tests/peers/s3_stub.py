"""As much of S3 as a client needs to list and read: one bucket with one object, for who signs with issued credentials.

The signature is judged by the emulator's own code, with the secret that the emulator's sealing key says belongs to the
access key id. On top of it come S3's rules: the digest of the payload is sent, and every ``x-amz-`` header is signed
(Amazon S3 API reference, "Authenticating Requests: Using the Authorization Header").
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from rolesanywhere_helper.emulator import sigv4
from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.arrival import Arrival
from rolesanywhere_helper.emulator.authorization import AuthorizationError, parse_authorization
from rolesanywhere_helper.emulator.issuing import Issuer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rolesanywhere_helper.emulator.issuing import Grant

# Of unreserved characters only: S3 encodes a path once where other services encode it twice, and these not at all.
BUCKET, KEY, CONTENT = "bucket", "greeting.txt", b"Good morning.\n"
_ETAG = f'"{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"'
_MODIFIED = "2026-01-02T03:04:05.000Z"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, and how it was judged: ``session_arn`` is who signed it, ``refusal`` is the kind of the refusal."""

    request: str
    session_arn: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class S3Stub:
    """A stub that listens. ``url`` has no slash at its end."""

    url: str
    seen: list[Seen]

    @property
    def callers(self) -> set[str | None]:
        """Return who signed what was accepted, and None for what was refused."""
        return {seen.session_arn for seen in self.seen}


@contextmanager
def s3_stub(sealing_key: str, now: Callable[[], float] = time.time) -> Iterator[S3Stub]:
    """Listen on loopback, in threads, until the context ends. ``sealing_key`` is the emulator's, in hexadecimal."""
    seen: list[Seen] = []
    issuer = Issuer(bytes.fromhex(sealing_key))

    class Handler(_Handler):
        def answer(self, arrival: Arrival) -> _Answer:
            request = f"{arrival.method} {arrival.target}"
            try:
                grant = judge(arrival, issuer, now())
                answer = _serve(arrival)
            except Refusal as refusal:
                seen.append(Seen(request, refusal=refusal.kind))
                body = f"<Error><Code>{refusal.kind}</Code><Message>{refusal.message}</Message></Error>"
                return _Answer(refusal.status, body.encode())
            seen.append(Seen(request, grant.session_arn))
            return answer

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="s3-stub")
        thread.start()
        try:
            yield S3Stub(f"http://127.0.0.1:{server.server_port}", seen)
        finally:
            server.shutdown()
            thread.join()


def judge(arrival: Arrival, issuer: Issuer, now: float) -> Grant:
    """Return what the caller's credentials grant. ``now`` is in seconds since the epoch.

    Raises:
        Refusal: it is not signed as S3 demands, or not with credentials that were issued and are valid.

    """
    digest = hashlib.sha256(arrival.body).hexdigest()
    grant = sigv4.verify(arrival, issuer, "s3", now)
    if arrival.value("x-amz-content-sha256") != digest:
        raise Refusal("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match.", 400)
    try:
        signed = parse_authorization(arrival).signed_headers
    except AuthorizationError as error:
        raise Refusal("AuthorizationHeaderMalformed", str(error), 400) from None
    names = {name.decode("latin-1").lower() for name, _ in arrival.headers}
    if {name for name in names if name.startswith("x-amz-")} - set(signed):
        raise Refusal("AccessDenied", "There were headers present in the request which were not signed")
    return grant


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/xml"),)


def _serve(arrival: Arrival) -> _Answer:
    path = arrival.path.strip("/")
    if arrival.method not in {"GET", "HEAD"}:
        raise Refusal("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)
    if not path:
        return _document("ListAllMyBucketsResult", f"<Buckets><Bucket><Name>{BUCKET}</Name></Bucket></Buckets>")
    if path == BUCKET:
        return _listing(parse_qs(arrival.query, keep_blank_values=True).get("prefix", [""])[0])
    if path == f"{BUCKET}/{KEY}":
        return _object(arrival.value("range"))
    raise Refusal("NoSuchKey", "The specified key does not exist.", 404)


def _listing(prefix: str) -> _Answer:
    found = (
        f"<Contents><Key>{KEY}</Key><LastModified>{_MODIFIED}</LastModified><ETag>{_ETAG}</ETag>"
        f"<Size>{len(CONTENT)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )
    is_match = KEY.startswith(prefix)
    return _document(
        "ListBucketResult",
        f"<Name>{BUCKET}</Name><Prefix>{prefix}</Prefix><KeyCount>{int(is_match)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<IsTruncated>false</IsTruncated>{found if is_match else ''}",
    )


def _document(name: str, content: str) -> _Answer:
    return _Answer(200, f'<?xml version="1.0"?><{name} xmlns="{_NAMESPACE}">{content}</{name}>'.encode())


def _object(asked: str | None) -> _Answer:
    headers = (("Content-Type", "text/plain"), ("ETag", _ETAG), ("Last-Modified", formatdate(0, usegmt=True)))
    match = _RANGE.fullmatch(asked or "")
    if match is None:
        return _Answer(200, CONTENT, headers)
    first, last = int(match[1]), min(int(match[2] or len(CONTENT)), len(CONTENT) - 1)
    span = ("Content-Range", f"bytes {first}-{last}/{len(CONTENT)}")
    return _Answer(206, CONTENT[first : last + 1], (*headers, span))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def answer(self, arrival: Arrival) -> _Answer:
        raise NotImplementedError

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items())
        answer = self.answer(Arrival(self.command, self.path, headers, body))
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815 - the names that the library looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the library has for it
        """Say nothing: ``Seen`` tells."""
