"""A client of these tests' own: signs as the documentation says, and lets every step be done wrongly."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

    from cryptography import x509

    from rolesanywhere_helper.pki.certificates import Issued


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, str, str]:
        return self.status, self.headers["X-Amzn-ErrorType"], self.json["message"]


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def with_header(self, name: str, value: str) -> Request:
        kept = tuple((key, old) for key, old in self.headers if key.lower() != name.lower())
        return replace(self, headers=(*kept, (name, value)))

    def header(self, name: str) -> str:
        return next(value for key, value in self.headers if key.lower() == name.lower())


def send(endpoint: str, request: Request, ca_file: str | None = None) -> Reply:
    parts = urlsplit(endpoint)
    assert parts.hostname is not None
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body)
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def call(endpoint: str, method: str, target: str, document: Any = None, **headers: str) -> Reply:
    body = b"" if document is None else json.dumps(document).encode()
    named = {"Host": urlsplit(endpoint).netloc, **headers}
    return send(endpoint, Request(method, target, tuple(named.items()), body))


@dataclass(frozen=True)
class Signing:
    """How to sign; the defaults are right."""

    leaf: x509.Certificate
    key: Any
    now: float
    chain: tuple[x509.Certificate, ...] = ()
    algorithm: str | None = None
    region: str = "us-east-1"
    service: str = "rolesanywhere"
    serial: str | None = None
    scope_date: str | None = None
    unsigned: tuple[str, ...] = ()
    in_query: Mapping[str, str] | None = None

    @classmethod
    def of(cls, issued: Issued, now: float, **how: Any) -> Signing:
        return cls(issued.certificate, issued.private_key, now, **how)

    def request(
        self, endpoint: str, body: bytes | Mapping[str, Any], extra: tuple[tuple[str, str], ...] = ()
    ) -> Request:
        content = body if isinstance(body, bytes) else json.dumps(dict(body)).encode()
        stamp = datetime.fromtimestamp(self.now, UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = [
            ("Host", urlsplit(endpoint).netloc),
            ("Content-Type", "application/json"),
            ("X-Amz-Date", stamp),
            ("X-Amz-X509", _base64(self.leaf)),
            *([("X-Amz-X509-Chain", ",".join(map(_base64, self.chain)))] if self.chain else []),
            *extra,
        ]
        query = "&".join(f"{name}={quote(value, safe='-._~')}" for name, value in sorted((self.in_query or {}).items()))
        signed = sorted(name.lower() for name, _ in headers if name.lower() not in self.unsigned)
        values = {name.lower(): " ".join(value.split()) for name, value in headers}
        canonical = "\n".join(
            [
                "POST",
                "/sessions",
                query,
                *(f"{name}:{values[name]}" for name in signed),
                "",
                ";".join(signed),
                hashlib.sha256(content).hexdigest(),
            ]
        )
        algorithm = self.algorithm or _algorithm(self.key)
        scope = f"{self.scope_date or stamp[:8]}/{self.region}/{self.service}/aws4_request"
        message = f"{algorithm}\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}".encode()
        authorization = (
            f"{algorithm} Credential={self.serial or self.leaf.serial_number}/{scope}, "
            f"SignedHeaders={';'.join(signed)}, Signature={_sign(self.key, message).hex()}"
        )
        target = "/sessions" + (f"?{query}" if query else "")
        return Request("POST", target, (*headers, ("Authorization", authorization)), content)


def _algorithm(key: Any) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return "AWS4-X509-RSA-SHA256"
    return "AWS4-X509-ECDSA-SHA256" if isinstance(key, ec.EllipticCurvePrivateKey) else "AWS4-X509-MLDSA"


def _sign(key: Any, message: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(hashes.SHA256()))
    signature: bytes = key.sign(message)
    return signature


def _base64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
