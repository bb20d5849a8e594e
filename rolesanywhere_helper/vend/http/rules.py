"""What one listener of the edge lets in, and how much of it."""

from __future__ import annotations

import ipaddress

from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.protocol.http_rules import plain_address

MOST_CONNECTIONS = 4096
# Of what is reserved one holder may have so many times what is left.
_SHARE = 3
_RESERVED_PART, _RESERVED, _RESERVED_OF_FEW = 16, 64, 4
# Not worth taking apart for each connection.
_USUAL_LOOPBACK = frozenset({"127.0.0.1", "::1"})
# Who holds a connection: a uid; where no kernel tells, the peer's address.
Holder = int | str


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """How long a client may take, in seconds.

    ``head`` is for a whole head (and the end of an answer's way out), ``idle`` for the time between two requests,
    ``linger`` for reading on after a refusal, so that the client gets to see it. All are judged every ``sweep``
    seconds: a deadline is met at most that much late.
    """

    head: float = 4.0
    idle: float = 60.0
    linger: float = 1.0
    sweep: float = 0.25
    # How long accepting pauses when there is no descriptor left.
    pause: float = 0.2


@dataclass(frozen=True, slots=True)
class EdgeRules:
    """The rules of one outlet's listeners.

    ``allowed_hosts`` are what ``Host`` may be besides loopback and the address that we listen on; ``allow_from`` the
    networks (CIDR) that may connect to an address that is not loopback; ``hop_limit`` is the IP TTL of answers.
    """

    allowed_hosts: tuple[str, ...] = ()
    allow_from: tuple[str, ...] = ()
    hop_limit: int = 1
    limits: EdgeLimits = field(default=EdgeLimits())


@dataclass(frozen=True, slots=True)
class Admission:
    """Which addresses may connect to one address of ours.

    To a loopback address only this machine's own may, whatever routes lead there; to any other, those of the networks.
    """

    is_loopback: bool
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    def admits(self, remote: str) -> bool:
        """Decide on the peer's address."""
        if self.is_loopback and remote in _USUAL_LOOPBACK:
            return True
        address = ipaddress.ip_address(plain_address(remote))
        if self.is_loopback:
            return address.is_loopback
        return any(address in network for network in self.networks)


def admission(local: str, allow_from: tuple[str, ...]) -> Admission:
    """Make the admission to one address of ours.

    Raises:
        ValueError: a network is none.

    """
    is_loopback = ipaddress.ip_address(plain_address(local)).is_loopback
    return Admission(is_loopback, tuple(ipaddress.ip_network(network) for network in allow_from))


class Capacity:
    """How many connections may be open at once, for all listeners of a process together.

    The last of them, a sixteenth or 64 (of a small number a quarter), are reserved: of these no holder (a user, or a
    machine) may take any who has more than three times what is left. So one that is alone gets nearly all, and beside
    it there is always room for another, and one more. Who is turned away is counted apart.
    """

    def __init__(self, most: int = MOST_CONNECTIONS) -> None:
        self.most = most
        self._reserved = max(most // _RESERVED_PART, min(_RESERVED, most // _RESERVED_OF_FEW))
        self.open = 0
        self.turned_away = 0
        self._held = dict[Holder, int]()

    @property
    def is_full(self) -> bool:
        """Whether there is no room for anybody."""
        return self.open >= self.most

    def has_room_for(self, holder: Holder) -> bool:
        """Decide on one more connection."""
        left = self.most - self.open
        return left > self._reserved or self._held.get(holder, 0) < _SHARE * left

    def take(self, holder: Holder) -> None:
        """Count a connection that was opened."""
        self.open += 1
        self._held[holder] = self._held.get(holder, 0) + 1

    def give_back(self, holder: Holder) -> None:
        """Count a connection that has ended."""
        self.open -= 1
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
