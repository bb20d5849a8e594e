"""Session tokens of the instance-metadata endpoint: signed, stateless, of one endpoint only.

A token is 48 bytes in unpadded base64url, 64 characters: the moment it ends (milliseconds of BOOTTIME, big-endian), a
nonce of 8 bytes, and an HMAC-SHA256 over the endpoint's name and both. Nothing is kept for a token, so a hundred
thousand of them cost nothing and none pushes out another; one survives a restart as long as the key does. BOOTTIME is
set by nobody, so no change of the clock lengthens a token's life.
"""

from __future__ import annotations

import binascii
import hmac
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Instance metadata service, version 2 (EC2 user guide, "Use the Instance Metadata Service"): one second to six hours.
SHORTEST_TTL = 1
LONGEST_TTL = 21_600
KEY_BYTES = 32
NONCE_BYTES = 8

_MOMENT_BYTES = 8
_TOKEN = re.compile(r"[A-Za-z0-9_-]{64}", re.ASCII)
_TTL = re.compile(r"[0-9]{1,5}", re.ASCII)
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def parse_ttl(text: str | None) -> int | None:
    """Read the TTL that a client asked for, in seconds; None if it is no whole number from 1 to 21600."""
    if text is None or not _TTL.fullmatch(text) or not SHORTEST_TTL <= int(text) <= LONGEST_TTL:
        return None
    return int(text)


class ImdsTokens:
    """Makes and checks the tokens of one endpoint.

    ``new_nonce`` returns ``NONCE_BYTES`` of randomness.

    Raises:
        ValueError: the key is shorter than ``KEY_BYTES``.

    """

    def __init__(self, key: bytes, endpoint: str, new_nonce: Callable[[], bytes]) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError("the key of the tokens is too short")
        self._key = key
        self._purpose = b"rolesanywhere-helper imds token 1\0" + endpoint.encode() + b"\0"
        self._new_nonce = new_nonce

    def issue(self, ttl: int, boottime: float) -> str:
        """Make a token that is valid for ``ttl`` seconds from ``boottime`` (seconds since boot)."""
        moment = int(boottime * 1000) + ttl * 1000
        content = moment.to_bytes(_MOMENT_BYTES, "big") + self._new_nonce()
        token = binascii.b2a_base64(content + self._seal(content), newline=False)
        return token.translate(_TO_URL_SAFE).decode()

    def ends_at(self, token: str, boottime: float) -> float | None:
        """Return when a token ends (seconds since boot), or None if it is not valid now, or not one of ours."""
        if not _TOKEN.fullmatch(token):
            return None
        raw = binascii.a2b_base64(token.encode().translate(_FROM_URL_SAFE))
        content, seal = raw[: _MOMENT_BYTES + NONCE_BYTES], raw[_MOMENT_BYTES + NONCE_BYTES :]
        if not hmac.compare_digest(seal, self._seal(content)):
            return None
        ends_at = int.from_bytes(content[:_MOMENT_BYTES], "big") / 1000
        # A key that outlives the machine's uptime would bring back tokens of an earlier boot, with more life than any.
        return ends_at if boottime < ends_at <= boottime + LONGEST_TTL else None

    def _seal(self, content: bytes) -> bytes:
        return hmac.digest(self._key, self._purpose + content, "sha256")
