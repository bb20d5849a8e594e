"""Credentials that are issued, and recognised when they come back.

A session token is sealed: what it grants, and a MAC over that. The secret key is derived from the access key id. So the
emulator remembers nothing, cannot be made to run out of memory, and knows its own credentials after a restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any

_ACCESS_KEY_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ACCESS_KEY_RANDOM = 16
_SECRET_BYTES = 30  # 40 characters of base64, without padding
_MAC_BYTES = 32
# Real tokens are several hundred characters long, and some programs set aside too little room for them.
_SHORTEST_CLAIMS = 512


@dataclass(frozen=True, slots=True)
class Grant:
    """What a set of credentials stands for. ``expires_at`` is in seconds since the epoch.

    ``session_arn`` is who calls. An administrator is no role's session: its ``role_arn`` is empty.
    """

    access_key_id: str
    role_arn: str
    role_id: str
    session_arn: str
    session_name: str
    source_identity: str | None
    expires_at: int
    tags: tuple[tuple[str, str], ...] = ()
    transitive_tag_keys: tuple[str, ...] = ()

    @property
    def account(self) -> str:
        """The account that it is good for."""
        return self.session_arn.split(":")[4]

    @property
    def user_id(self) -> str:
        """The unique id, as STS tells it."""
        return f"{self.role_id}:{self.session_name}" if self.role_arn else self.role_id


@dataclass(frozen=True, slots=True)
class IssuedCredentials:
    """The three parts that a client gets."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)


class Issuer:
    """Issues and recognises credentials under one key."""

    def __init__(self, sealing_key: bytes) -> None:
        self._key = sealing_key

    def issue(self, grant: Grant) -> IssuedCredentials:
        """Make the secret parts of a grant."""
        claims = json.dumps(asdict(grant)).encode("utf-8").ljust(_SHORTEST_CLAIMS)
        token = base64.b64encode(self._mac(b"token", claims) + claims).decode("ascii")
        return IssuedCredentials(grant.access_key_id, self.secret_access_key(grant.access_key_id), token)

    def secret_access_key(self, access_key_id: str) -> str:
        """Derive the secret key that belongs to an access key id."""
        return base64.b64encode(self._mac(b"secret", access_key_id.encode("utf-8"))[:_SECRET_BYTES]).decode("ascii")

    def recognise(self, access_key_id: str, session_token: str) -> Grant | None:
        """Return what a token grants; None if it was not issued here, or with another access key id."""
        try:
            sealed = base64.b64decode(session_token, validate=True)
        except (binascii.Error, ValueError):
            return None
        mac, claims = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(b"token", claims)):
            return None
        grant = _read(json.loads(claims))
        return grant if grant.access_key_id == access_key_id else None

    def derived_id(self, prefix: str, name: str) -> str:
        """Derive an id of AWS's form: a prefix of four letters, and 16 characters."""
        digest = self._mac(prefix.encode("ascii"), name.encode("utf-8"))
        return prefix + base64.b32encode(digest)[:_ACCESS_KEY_RANDOM].decode("ascii")

    def _mac(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(self._key, purpose + b"\0" + content, hashlib.sha256)


def _read(claims: dict[str, Any]) -> Grant:
    tags = tuple((key, value) for key, value in claims.pop("tags", ()))
    return Grant(**claims | {"tags": tags, "transitive_tag_keys": tuple(claims.pop("transitive_tag_keys", ()))})


def new_access_key_id() -> str:
    """Draw the id of a temporary access key: ``ASIA`` and 16 characters."""
    return "ASIA" + "".join(secrets.choice(_ACCESS_KEY_ALPHABET) for _ in range(_ACCESS_KEY_RANDOM))
