"""An identity: a leaf, its chain, and the key that signs for it, wherever that lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.keys import KeyType
    from rolesanywhere_helper.identity.loaded import SigningKey


@dataclass(frozen=True, slots=True)
class KeyedIdentity:
    """Implements :class:`rolesanywhere_helper.domain.ports.Identity` over any key."""

    leaf_der: bytes = field(repr=False)
    chain_der: tuple[bytes, ...] = field(repr=False)
    serial: int
    key_type: KeyType
    not_after: int
    _key: SigningKey = field(repr=False)

    def sign(self, message: bytes, digest: str = "SHA256") -> bytes:
        """Sign a whole message as the key does it.

        Raises:
            IdentityError: the key could not be used.
            InvalidParameterError: there is no such digest.

        """
        return self._key.sign(message, digest)
