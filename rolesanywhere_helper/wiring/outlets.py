"""Every place where the daemon hands out: sockets, routes over them, and the way from one configuration to the next."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper import __version__
from rolesanywhere_helper.protocol.agent import AgentRoute
from rolesanywhere_helper.protocol.container import ContainerEndpoint, ContainerRoute, ContainerTokens
from rolesanywhere_helper.protocol.health import MetricsRoute
from rolesanywhere_helper.protocol.imds import ImdsRoute
from rolesanywhere_helper.protocol.imds_token import NONCE_BYTES
from rolesanywhere_helper.protocol.status import DaemonStatus
from rolesanywhere_helper.protocol.status import render as render_status
from rolesanywhere_helper.system.listeners import bind_tcp, bind_unix
from rolesanywhere_helper.system.peers import Peers
from rolesanywhere_helper.system.token_files import new_token, read_token, write_token
from rolesanywhere_helper.vend.http.edge import Edge
from rolesanywhere_helper.vend.http.rules import Capacity, EdgeRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rolesanywhere_helper.config.serve_settings import ContainerSettings, Listener, ServeSettings
    from rolesanywhere_helper.daemon.metrics import Metrics
    from rolesanywhere_helper.daemon.sessions import DaemonSession
    from rolesanywhere_helper.domain.serving import Audit, BootClock, Peer
    from rolesanywhere_helper.protocol.http import Route
    from rolesanywhere_helper.system.listeners import PassedSockets
    from rolesanywhere_helper.system.peers import Namespace

# Files, children and pipes (64), and as many connections as the edge turns away at once.
_OTHER_DESCRIPTORS = 128
_log = logging.getLogger(__name__)


class Outlets:
    """The daemon's edges. A new configuration gets new edges over the same sockets: no client is turned away."""

    def __init__(
        self, clock: BootClock, audit: Audit, metrics: Metrics, namespace: Namespace, passed: PassedSockets
    ) -> None:
        self._clock = clock
        self._audit = audit
        self._metrics = metrics
        self._passed = passed
        self._peers = Peers(namespace)
        self._capacity = _capacity()
        self._sockets: dict[str, tuple[socket.socket, ...]] = {}
        self._edges: list[Edge] = []
        self._tokens: dict[str, ContainerTokens] = {}
        self._containers: tuple[ContainerSettings, ...] = ()
        self._addresses: dict[str, object] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._told_of_blindness = False

    async def go_over_to(
        self,
        settings: ServeSettings,
        views: Mapping[str, DaemonSession],
        token_key: bytes,
        sessions: Callable[[], Sequence[DaemonSession]],
    ) -> None:
        """Open what is new, and then close what is no more.

        Raises:
            HelperError: an address or a token file cannot be used; what was open before is untouched.

        """
        sockets: dict[str, tuple[socket.socket, ...]] = {}
        try:
            tokens = {each.name: self._tokens_of(each) for each in settings.containers}
            plans = list(self._plans(settings, views, token_key, sessions))
            for key, make, _, _ in plans:
                if key not in sockets:
                    sockets[key] = self._sockets.get(key) or make()
        except BaseException:
            _close(sockets, but=self._sockets)
            raise
        loop, edges = asyncio.get_running_loop(), []
        self._tokens, self._containers = tokens, settings.containers
        for key, _, route, rules in plans:
            edge = Edge(route, rules, self._peer_of(route.outlet), self._metrics, loop, capacity=self._capacity)
            for each in sockets[key]:
                edge.listen(each.dup())
            edges.append(edge)
        for edge in self._edges:
            self._drain(edge)
        _close(self._sockets, but=sockets)
        self._sockets, self._edges = sockets, edges
        self._addresses = self._describe(settings)
        _log.info("listening: %s", json.dumps(self._addresses))
        self._tell_of_blindness()

    def rotate_tokens(self) -> None:
        """Make new container tokens; those before them are accepted until the next rotation."""
        for each in self._containers:
            token = new_token()
            write_token(each.token_file, token, each.token_group)
            self._tokens[each.name] = self._tokens[each.name].rotated(token)
        _log.info("new tokens for %d container endpoints", len(self._containers))

    def ready_document(self) -> bytes:
        """Return what the ready file says: where to connect."""
        return json.dumps(self._addresses).encode() + b"\n"

    async def close(self, seconds: float) -> None:
        """Finish what is in flight, and close everything."""
        ours = [each for key, group in self._sockets.items() if not _is_passed(key) for each in group]
        paths = [str(each.getsockname()) for each in ours if each.family == socket.AF_UNIX]
        _close(self._sockets)
        await asyncio.gather(*(edge.drain(seconds) for edge in self._edges), *self._draining)
        for path in paths:  # who finds no socket knows at once that nobody answers
            with suppress(OSError):
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    os.unlink(path)  # noqa: PTH108 - no use for a Path
        self._peers.close()

    # What listens where

    def _plans(
        self,
        settings: ServeSettings,
        views: Mapping[str, DaemonSession],
        token_key: bytes,
        sessions: Callable[[], Sequence[DaemonSession]],
    ) -> Iterator[tuple[str, Callable[[], tuple[socket.socket, ...]], Route, EdgeRules]]:
        """Yield for each listener: its socket's key, what opens it, its route and its rules."""
        for endpoint in settings.imds:
            for listener in self._listeners(f"imds-{endpoint.name}", endpoint.listeners):
                route = ImdsRoute(
                    views[endpoint.session],
                    endpoint.name,
                    token_key,
                    self._clock,
                    self._audit,
                    new_nonce=lambda: secrets.token_bytes(NONCE_BYTES),
                    serves_network=listener.allow_imds_from_network,
                )
                yield *self._socket(f"imds-{endpoint.name}", listener), route, _rules(listener)
        if settings.containers:
            endpoints = [self._container(each, views) for each in settings.containers]
            for listener in self._listeners("container", settings.container_listeners):
                shared = ContainerRoute(endpoints, self._audit)
                yield *self._socket("container", listener), shared, _rules(listener)
        if settings.agent is not None:
            agent = AgentRoute(views.values(), lambda peer: self._status(peer, sessions), self._audit)
            yield *self._unix_socket("agent", settings.agent.socket), agent, EdgeRules()
        yield from self._metrics_plans(settings, views, sessions)

    def _metrics_plans(
        self,
        settings: ServeSettings,
        views: Mapping[str, DaemonSession],
        sessions: Callable[[], Sequence[DaemonSession]],
    ) -> Iterator[tuple[str, Callable[[], tuple[socket.socket, ...]], Route, EdgeRules]]:
        def page() -> bytes:
            return self._metrics.page([session.status() for session in sessions()], time.time())

        route = MetricsRoute(page, list(views.values()))
        if settings.metrics is not None:
            yield *self._socket("metrics", settings.metrics), route, _rules(settings.metrics)
        if settings.metrics_socket is not None:
            yield *self._unix_socket("metrics", settings.metrics_socket), route, EdgeRules()

    def _listeners(self, name: str, listeners: tuple[Listener, ...]) -> tuple[Listener, ...]:
        """Return the listeners, of which one is enough where systemd passed the sockets."""
        return listeners[:1] if name in self._passed.by_name else listeners

    def _socket(self, name: str, listener: Listener) -> tuple[str, Callable[[], tuple[socket.socket, ...]]]:
        passed = self._passed.by_name.get(name)
        if passed is not None:
            return _passed_key(name), lambda: passed
        return f"{name} {listener.host} {listener.port}", lambda: (bind_tcp(listener.host, listener.port),)

    def _unix_socket(self, name: str, path: str) -> tuple[str, Callable[[], tuple[socket.socket, ...]]]:
        passed = self._passed.by_name.get(name)
        if passed is not None:
            return _passed_key(name), lambda: passed
        return f"{name} {path}", lambda: (bind_unix(path),)

    def _container(self, each: ContainerSettings, views: Mapping[str, DaemonSession]) -> ContainerEndpoint:
        return ContainerEndpoint(each.name, views[each.session], lambda: self._tokens[each.name])

    def _tokens_of(self, each: ContainerSettings) -> ContainerTokens:
        """Return the endpoint's tokens: those it has, those an earlier daemon left in the file, or new ones."""
        found = read_token(each.token_file)
        known = self._tokens.get(each.name)
        if known is not None and known.current == found:
            return known
        token = found or new_token()
        write_token(each.token_file, token, each.token_group)
        return ContainerTokens(token) if known is None else known.rotated(token)

    # Who asks, and what is told

    def _peer_of(self, outlet: str) -> Callable[[socket.socket], Peer]:
        return lambda connection: self._peers(connection, outlet)

    def _status(self, peer: Peer, sessions: Callable[[], Sequence[DaemonSession]]) -> bytes:
        """Render what a peer may know: of the sessions that it may have."""
        shown = [session.status() for session in sessions() if session.policy.allows(peer)]
        return render_status(DaemonStatus(__version__, tuple(shown), self._addresses))

    def _tell_of_blindness(self) -> None:
        why = None if self._told_of_blindness else self._peers.why_tcp_is_useless()
        if why is not None:
            self._told_of_blindness = True
            _log.warning("no user can be told on TCP, so only sessions open to all are served there: %s", why)

    def _describe(self, settings: ServeSettings) -> dict[str, object]:
        described: dict[str, object] = {}
        urls = {endpoint.name: self._urls(f"imds-{endpoint.name}") for endpoint in settings.imds}
        if urls:
            described["imds"] = next(iter(urls.values()))[0]
            described["imdsEndpoints"] = urls
        if settings.containers:
            base = self._urls("container")[0]
            described["container"] = {
                each.name: {"url": f"{base}/{each.name}", "tokenFile": each.token_file} for each in settings.containers
            }
        if settings.agent is not None:
            described["agent"] = self._urls("agent")[0]
        if settings.metrics is not None or settings.metrics_socket is not None:
            described["metrics"] = self._urls("metrics")[0]
        return described

    def _urls(self, name: str) -> list[str]:
        groups = (group for key, group in self._sockets.items() if key.split(" ")[0] == name)
        return [_url(each) for group in groups for each in group]

    def _drain(self, edge: Edge) -> None:
        task = asyncio.ensure_future(edge.drain(5.0))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)


def _rules(listener: Listener) -> EdgeRules:
    return EdgeRules(allowed_hosts=listener.allowed_hosts, allow_from=listener.allow_from, hop_limit=listener.hop_limit)


def _url(listening: socket.socket) -> str:
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return str(name)
    return f"http://[{name[0]}]:{name[1]}" if listening.family == socket.AF_INET6 else f"http://{name[0]}:{name[1]}"


def _passed_key(name: str) -> str:
    return f"{name} passed"


def _is_passed(key: str) -> bool:
    return key.endswith(" passed")


def _close(
    sockets: Mapping[str, tuple[socket.socket, ...]], but: Mapping[str, tuple[socket.socket, ...]] | None = None
) -> None:
    for key, group in sockets.items():
        if but is None or key not in but:
            for each in group:
                each.close()


def _capacity() -> Capacity:
    """Leave room among the descriptors: for files, children and pipes, and for those who are told that we are busy."""
    import resource  # noqa: PLC0415 - the limit as it is once it was raised

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = Capacity().most
    return Capacity(most if soft == resource.RLIM_INFINITY else max(16, min(most, soft - _OTHER_DESCRIPTORS)))
