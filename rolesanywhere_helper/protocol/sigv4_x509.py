"""SigV4-X509: how a request is signed with a certificate's key. Pure functions: no clock, no cryptography library.

The rules are those of the IAM Roles Anywhere user guide, "authentication-sign-process". They are SigV4's, except that

- the algorithm is named after the type of the leaf's key (:attr:`KeyType.signing_algorithm`), the digest is SHA-256;
- no key is derived: the certificate's key signs the string to sign itself, and the signature is lower-case hex;
- the credential's name is the leaf's serial number, in decimal;
- the leaf travels in ``X-Amz-X509`` and its intermediates in ``X-Amz-X509-Chain``, both base64 DER, both signed.

Moments are whole seconds since the epoch. Headers are (name, value) pairs in the order they have on the wire.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from rolesanywhere_helper.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from rolesanywhere_helper.domain.ports import HttpRequest, Identity

SERVICE = "rolesanywhere"
# The service verifies this path. A prefix that a gateway strips on the way is on the wire, but not signed (the official
# helper does the same).
SIGNED_PATH = "/sessions"
# What we send beyond these may be changed on the way without harm, and some proxies do change it.
SIGNED_HEADERS = frozenset({"host", "content-type", "x-amz-date", "x-amz-x509", "x-amz-x509-chain"})
_UNRESERVED = "-_.~"


def canonical_query(query: str) -> str:
    """Return a raw query string with RFC 3986 encoding, sorted by encoded name and value.

    A plus sign is a plus sign: it means a space only in forms.
    """
    parts = (part.partition("=") for part in query.split("&") if part)
    # As pairs: in joined text "a-b=" would come before "a=".
    pairs = sorted((_encoded(name), _encoded(value)) for name, _, value in parts)
    return "&".join(f"{name}={value}" for name, value in pairs)


def trim_all(value: str) -> str:
    """Strip white space at both ends, and make each run of spaces inside one space."""
    return " ".join(word for word in value.strip(" \t").split(" ") if word)


def canonical_headers(headers: Iterable[tuple[str, str]], signed: Collection[str]) -> tuple[str, str]:
    """Return the block of canonical headers, and the list of their names as SignedHeaders has it.

    ``signed`` holds lower-case names; one that is not among the headers is left out. The values of a header that comes
    more than once are joined with commas in the order they came in.
    """
    values: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower() in signed:
            values.setdefault(name.lower(), []).append(trim_all(value))
    names = sorted(values)
    return "".join(f"{name}:{','.join(values[name])}\n" for name in names), ";".join(names)


def canonical_request(request: HttpRequest, signed: Collection[str]) -> str:
    """Return the canonical form of a request to :data:`SIGNED_PATH`, whatever prefix its target has."""
    block, names = canonical_headers(request.headers, signed)
    query = canonical_query(request.target.partition("?")[2])
    return "\n".join([request.method, SIGNED_PATH, query, block, names, hashlib.sha256(request.body).hexdigest()])


def credential_scope(at: int, region: str) -> str:
    """Return ``YYYYMMDD/REGION/rolesanywhere/aws4_request``."""
    return f"{amz_date(at)[:8]}/{region}/{SERVICE}/aws4_request"


def string_to_sign(algorithm: str, at: int, region: str, canonical: str) -> str:
    """Return what the key signs, of a canonical request."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return "\n".join([algorithm, amz_date(at), credential_scope(at, region), digest])


def authorization(algorithm: str, credential: str, signed_headers: str, signature: bytes) -> str:
    """Return the value of the Authorization header; ``credential`` is ``DECIMAL_SERIAL/SCOPE``."""
    return f"{algorithm} Credential={credential}, SignedHeaders={signed_headers}, Signature={signature.hex()}"


def amz_date(at: int) -> str:
    """Return a moment as ``YYYYMMDDTHHMMSSZ``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")


def sign_request(request: HttpRequest, identity: Identity, *, region: str, at: int) -> HttpRequest:
    """Return the request with ``X-Amz-Date``, ``X-Amz-X509`` (``-Chain``, if there is one) and ``Authorization`` added.

    Raises:
        IdentityError: the key could not be used.

    """
    dated = replace(request, headers=(*request.headers, *_identity_headers(identity, at)))
    algorithm = identity.key_type.signing_algorithm
    to_sign = string_to_sign(algorithm, at, region, canonical_request(dated, SIGNED_HEADERS))
    _, signed_headers = canonical_headers(dated.headers, SIGNED_HEADERS)
    credential = f"{identity.serial}/{credential_scope(at, region)}"
    value = authorization(algorithm, credential, signed_headers, identity.sign(to_sign.encode()))
    return replace(dated, headers=(*dated.headers, ("Authorization", value)))


def _identity_headers(identity: Identity, at: int) -> list[tuple[str, str]]:
    headers = [("X-Amz-Date", amz_date(at)), ("X-Amz-X509", _base64(identity.leaf_der))]
    if identity.chain_der:
        headers.append(("X-Amz-X509-Chain", ",".join(map(_base64, identity.chain_der))))
    return headers


def _base64(der: bytes) -> str:
    return base64.b64encode(der).decode()


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text), safe=_UNRESERVED)
