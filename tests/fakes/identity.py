"""An identity without a certificate, whose signature is the message itself: a test sees what was signed."""

from __future__ import annotations

from dataclasses import dataclass

from rolesanywhere_helper.domain.keys import KeyType


@dataclass(frozen=True)
class FakeIdentity:
    """Implements :class:`rolesanywhere_helper.domain.ports.Identity`."""

    key_type: KeyType = KeyType.EC
    chain_der: tuple[bytes, ...] = ()
    leaf_der: bytes = b"leaf"
    serial: int = 0x1000
    not_after: int = 4_000_000_000

    def sign(self, message: bytes, digest: str = "SHA256") -> bytes:
        assert digest == "SHA256"
        return message
