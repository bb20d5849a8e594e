"""The edge: listeners of one outlet, their connections, and what bounds both.

Accepting is done here instead of by asyncio's server: that one makes a task for every connection, and sleeps a whole
second with a traceback in the log when descriptors run out.
"""

from __future__ import annotations

import errno
import functools
import logging
import socket
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.serving import Peer
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.protocol.http import Response
from rolesanywhere_helper.protocol.http_rules import HostRule, plain_address
from rolesanywhere_helper.protocol.imds import NETWORK
from rolesanywhere_helper.vend.http.connection import Connection
from rolesanywhere_helper.vend.http.rules import Admission, Capacity, EdgeRules, Holder, admission

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rolesanywhere_helper.domain.serving import Counters
    from rolesanywhere_helper.protocol.http import Route

_log = logging.getLogger(__name__)

# Accepted in one go, so that those who already have a connection get their turn in between.
_ACCEPTED_AT_ONCE = 64
# Beyond the capacity, or one holder's share of it, so many are told that we are busy; the rest are cut off.
_TURNED_AWAY_AT_ONCE = 64
# A pause is logged once in so many seconds; the counter has them all.
_QUIET_SECONDS = 60.0
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound


@dataclass(frozen=True, slots=True)
class _Door:
    """One listening socket; ``host_rule`` is None where the address depends on the connection."""

    sock: socket.socket
    admission: Admission | None
    host_rule: HostRule | None
    port: int | None


class Edge:
    """The HTTP server of one outlet.

    ``look_up_peer`` tells who is at the other end of an accepted socket, once for each connection; it may raise
    OSError for a peer that has gone. ``capacity`` is shared by the edges of a process.
    """

    def __init__(  # noqa: PLR0913 - a server is made of these
        self,
        route: Route,
        rules: EdgeRules,
        look_up_peer: Callable[[socket.socket], Peer],
        counters: Counters,
        loop: asyncio.AbstractEventLoop,
        *,
        capacity: Capacity | None = None,
    ) -> None:
        self.route = route
        self.loop = loop
        self.limits = rules.limits
        self.time = loop.time
        self.answered: Callable[[int], None] = functools.partial(counters.answered, route.outlet)
        self.refused: Callable[[str], None] = functools.partial(counters.refused, route.outlet)
        self._opened: Callable[[], None] = functools.partial(counters.opened, route.outlet)
        self._closed: Callable[[], None] = functools.partial(counters.closed, route.outlet)
        self.is_draining = False
        self._rules = rules
        self._look_up_peer = look_up_peer
        self._capacity = capacity or Capacity()
        self._doors = list[_Door]()
        self._paused: dict[_Door, asyncio.TimerHandle] = {}
        # Who holds each; None is somebody who is being turned away.
        self._connections = dict[Connection, Holder | None]()
        self._sweeping: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0
        self._all_gone: asyncio.Future[None] | None = None

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def listen(self, sock: socket.socket) -> None:
        """Serve a bound, listening socket (TCP or unix), and own it from now on.

        Raises:
            ValueError: a network of ``allow_from`` is none.

        """
        sock.setblocking(False)
        door = self._door(sock)
        if door.admission is not None:
            self._limit_hops(sock)  # the answer to a SYN is one too
        self._doors.append(door)
        self.loop.add_reader(sock, self._accept, door)

    def replace_route(self, route: Route) -> None:
        """Answer by another route from the next request on, on connections that are open too (a reload)."""
        self.route = route
        for connection in self._connections:
            connection.forget_answer()

    def close(self) -> None:
        """Take no more connections, and end those on which nothing is owed.

        Who is already in the queue, or has a request on its way, is still heard: until :meth:`drain` ends.
        """
        for door in self._doors:
            self._accept(door)
        self.is_draining = True
        for door in self._doors:
            self._stop(door)
            door.sock.close()
        self._doors.clear()
        for connection in tuple(self._connections):
            if connection.is_between_requests:
                connection.readable()
            if connection.is_between_requests:
                connection.drop()

    async def drain(self, seconds: float) -> None:
        """Close, let requests in flight end for so long, and cut off the rest."""
        self.close()
        if self._connections:
            self._all_gone = self.loop.create_future()
            timer = self.loop.call_later(seconds, self._cut_off)
            await self._all_gone
            timer.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()

    def count(self, response: Response) -> None:
        """Count one answer."""
        self.answered(response.status)
        if response.refusal is not None:
            self.refused(response.refusal)

    def report(self, fault: Exception) -> None:
        """Log a fault of ours by its kind and place: its text could hold what a client sent."""
        place = fault.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "an unknown place"
        _log.error("answering a request failed: %s in %s", type(fault).__name__, where)

    def forget(self, connection: Connection) -> None:
        """Note that a connection has closed."""
        holder = self._connections.pop(connection)
        self._closed()
        if holder is None:
            self._capacity.turned_away -= 1
        else:
            self._capacity.give_back(holder)
        for door in tuple(self._paused):
            self._resume(door)
        if not self._connections and self._all_gone is not None and not self._all_gone.done():
            self._all_gone.set_result(None)

    def _cut_off(self) -> None:
        for connection in tuple(self._connections):
            connection.drop()

    def _door(self, sock: socket.socket) -> _Door:
        if sock.family == socket.AF_UNIX:
            return _Door(sock, None, HostRule(frozenset(), None), None)
        address, port = sock.getsockname()[:2]
        local = plain_address(address)
        rule = None if local in _WILDCARDS else self._host_rule(local, port)
        return _Door(sock, admission(local, self._rules.allow_from), rule, port)

    def _host_rule(self, local: str, port: int) -> HostRule:
        names = {plain_address(name.strip("[]").lower()) for name in self._rules.allowed_hosts}
        return HostRule(frozenset({*names, local}), port)

    def _accept(self, door: _Door) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, address = door.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # it has gone again
            except OSError as problem:
                self._pause(door, problem)
                return
            try:
                self._welcome(door, sock, address)
            except OSError:
                sock.close()  # it has gone while it was being looked at

    def _welcome(self, door: _Door, sock: socket.socket, address: object) -> None:
        sock.setblocking(False)
        if door.admission is not None:
            remote = address[0] if isinstance(address, tuple) else ""
            if not door.admission.admits(remote):
                self.refused("peer")
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._limit_hops(sock)
        if self._capacity.is_full:
            self._turn_away(sock)
            return
        peer = self._peer(door, sock)
        holder = peer.uid if peer.uid is not None else str(address[0] if isinstance(address, tuple) else "")
        if not self._capacity.has_room_for(holder):
            self._turn_away(sock)
            return
        local = "" if door.host_rule else plain_address(sock.getsockname()[0])
        rule = door.host_rule or self._host_rule(local, door.port or 0)
        self._hold(Connection(self, sock, peer, rule), holder)

    def _peer(self, door: _Door, sock: socket.socket) -> Peer:
        peer = self._look_up_peer(sock)
        if peer.uid is not None or door.admission is None or door.admission.is_loopback:
            return peer
        ours, theirs = plain_address(sock.getsockname()[0]), plain_address(sock.getpeername()[0])
        is_elsewhere = theirs != ours and not admission(theirs, ()).is_loopback
        return Peer(NETWORK, None) if is_elsewhere else peer

    def _hold(self, connection: Connection, holder: Holder | None) -> None:
        self._connections[connection] = holder
        self._opened()
        if holder is None:
            self._capacity.turned_away += 1
        else:
            self._capacity.take(holder)
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(self.limits.sweep, self._sweep)

    def _turn_away(self, sock: socket.socket) -> None:
        self.refused("overload")
        if self._capacity.turned_away >= _TURNED_AWAY_AT_ONCE:
            sock.close()
            return
        connection = Connection(self, sock, Peer("", None), HostRule(frozenset(), None))
        self._hold(connection, None)
        connection.turn_away(Response(503, b"too many connections", headers=(("Retry-After", "1"),)))

    def _limit_hops(self, sock: socket.socket) -> None:
        """Let nothing that we send cross a router (IPv4's TTL, also of IPv4 in IPv6 clothes; IPv6's hop limit)."""
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self._rules.hop_limit)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, self._rules.hop_limit)

    def _pause(self, door: _Door, problem: OSError) -> None:
        """Stop accepting for a moment: the socket stays readable, and asking again at once would spin."""
        if door in self._paused:
            return
        self.refused("descriptors")
        if self.time() >= self._quiet_until:
            self._quiet_until = self.time() + _QUIET_SECONDS
            name = errno.errorcode.get(problem.errno or 0, "an error")
            _log.warning("accepting connections pauses: %s (raise the limit of open files)", name)
        self.loop.remove_reader(door.sock)
        self._paused[door] = self.loop.call_later(self.limits.pause, self._resume, door)

    def _resume(self, door: _Door) -> None:
        self._paused.pop(door).cancel()
        self.loop.add_reader(door.sock, self._accept, door)

    def _stop(self, door: _Door) -> None:
        if door in self._paused:
            self._paused.pop(door).cancel()
        self.loop.remove_reader(door.sock)

    def _sweep(self) -> None:
        """Judge every deadline; busy connections say so themselves, which costs less than a timer for each."""
        now = self.time()
        for connection in tuple(self._connections):
            if connection.was_active:
                connection.was_active, connection.deadline = False, now + self.limits.idle
            elif now >= connection.deadline:
                connection.expire()
        self._sweeping = self.loop.call_later(self.limits.sweep, self._sweep) if self._connections else None
