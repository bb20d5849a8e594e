"""Every place where the daemon hands out: sockets, routes over them, and the way from one configuration to the next."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper import __version__
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.protocol.agent import AgentRoute
from rolesanywhere_helper.protocol.container import ContainerEndpoint, ContainerRoute, ContainerTokens
from rolesanywhere_helper.protocol.health import MetricsRoute
from rolesanywhere_helper.protocol.imds import ImdsRoute
from rolesanywhere_helper.protocol.imds_token import NONCE_BYTES
from rolesanywhere_helper.protocol.load_credential import LoadCredentialRoute
from rolesanywhere_helper.protocol.status import DaemonStatus
from rolesanywhere_helper.protocol.status import render as render_status
from rolesanywhere_helper.system.listeners import OPEN_TO_EVERYBODY, bind_tcp, bind_unix
from rolesanywhere_helper.system.peers import Peers
from rolesanywhere_helper.system.token_files import StagedToken, new_token, read_token, stage_token, write_token
from rolesanywhere_helper.vend.http.edge import Edge
from rolesanywhere_helper.vend.http.rules import Capacity, EdgeRules
from rolesanywhere_helper.vend.token_listener import TokenListener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rolesanywhere_helper.config.serve_settings import ContainerSettings, Listener, ServeSettings
    from rolesanywhere_helper.daemon.audit import AuditLog
    from rolesanywhere_helper.daemon.metrics import Metrics
    from rolesanywhere_helper.daemon.sessions import DaemonSession
    from rolesanywhere_helper.domain.serving import BootClock, Peer, SessionStatus
    from rolesanywhere_helper.protocol.http import Route
    from rolesanywhere_helper.system.listeners import PassedSockets
    from rolesanywhere_helper.system.peers import Namespace

# Files, children and pipes (64), and as many connections as the edge turns away at once.
_OTHER_DESCRIPTORS = 128
# The service manager is root, who needs no permission.
_OWNER_ONLY = 0o600
# A request in flight may take so long, when its listener is closed by a reload.
_DRAIN_SECONDS = 4.0
_log = logging.getLogger(__name__)

_EdgeKey = tuple[str, EdgeRules, str]


@dataclass(frozen=True, slots=True)
class _Plan:
    """One listener: the socket it takes, what opens that, its route and its rules. ``outlet`` is what it is told as."""

    outlet: str
    key: str
    make: Callable[[], tuple[socket.socket, ...]]
    route: Route | LoadCredentialRoute
    rules: EdgeRules

    @property
    def edge_key(self) -> _EdgeKey:
        """What an edge must have in common with the one before a reload to be the same."""
        return self.key, self.rules, self.route.outlet


class _TokenHolder:
    """The tokens of one container endpoint. A route that is on its way out still reads the same ones."""

    def __init__(self, path: str, group: str | None) -> None:
        self.path = path
        self.group = group
        self.tokens: ContainerTokens | None = None

    def get(self) -> ContainerTokens:
        if self.tokens is None:  # not before it was set up
            raise LookupError(self.path)
        return self.tokens

    def stage(self) -> StagedToken | None:
        """Take over the token in the file, or write one beside it; None if the file is as it should be.

        Raises:
            ConfigurationError: the group is not known, or the file cannot be written.

        """
        found = read_token(self.path, self.group)
        if self.tokens is not None and self.tokens.current == found:
            return None
        token = found or new_token()
        staged = stage_token(self.path, token, self.group)
        # An open endpoint accepts one more for now, also if the file should stay as it is.
        self.tokens = ContainerTokens(token) if self.tokens is None else self.tokens.rotated(token)
        return staged

    def rotate(self) -> None:
        """Write a new token; the one before is accepted until the next rotation.

        Raises:
            ConfigurationError: the file cannot be written.

        """
        token = new_token()
        write_token(self.path, token, self.group)
        self.tokens = self.get().rotated(token)


class _Opening:
    """What a new configuration takes and can be refused: all of it is let go of then.

    ``sockets`` are those that listen, by the plan's key, ``doors`` copies of them for the edges that are new.
    """

    def __init__(self) -> None:
        self.sockets: dict[str, tuple[socket.socket, ...]] = {}
        self.doors: dict[_EdgeKey, list[socket.socket]] = {}
        self._staged: list[StagedToken] = []

    def open(self, plan: _Plan, known: tuple[socket.socket, ...] | None, *, has_edge: bool) -> None:
        if plan.key not in self.sockets:
            self.sockets[plan.key] = known or plan.make()
        if not has_edge and plan.edge_key not in self.doors:
            doors = self.doors[plan.edge_key] = []
            for each in self.sockets[plan.key]:
                doors.append(each.dup())  # noqa: PERF401 - without descriptors left, those before must be known

    def stage(self, holder: _TokenHolder) -> None:
        staged = holder.stage()
        if staged is not None:
            self._staged.append(staged)

    def commit(self) -> None:
        while self._staged:
            self._staged[-1].commit()
            self._staged.pop()

    def undo(self, before: Mapping[str, tuple[socket.socket, ...]]) -> None:
        for token in self._staged:
            token.discard()
        for group in self.doors.values():
            for each in group:
                each.close()
        _close(self.sockets, but=before)


class Outlets:
    """The daemon's edges. A new configuration goes over the same sockets: what stays open is not interrupted."""

    def __init__(
        self, clock: BootClock, audit: AuditLog, metrics: Metrics, namespace: Namespace, passed: PassedSockets
    ) -> None:
        self._clock = clock
        self._audit = audit
        self._metrics = metrics
        self._passed = passed
        self._peers = Peers(namespace)
        self._capacity = _capacity()
        self._sockets: dict[str, tuple[socket.socket, ...]] = {}
        self._edges: dict[_EdgeKey, Edge | TokenListener] = {}
        self._holders: dict[str, _TokenHolder] = {}
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
        holders = {each.name: self._holder(each) for each in settings.containers}
        plans = list(self._plans(settings, views, token_key, sessions, holders))
        opening = _Opening()
        try:
            for plan in plans:
                opening.open(plan, self._sockets.get(plan.key), has_edge=plan.edge_key in self._edges)
            for holder in holders.values():
                opening.stage(holder)
            opening.commit()
        except BaseException:
            opening.undo(self._sockets)
            raise
        edges: dict[_EdgeKey, Edge | TokenListener] = {}
        for plan in plans:
            edges[plan.edge_key] = edges.get(plan.edge_key) or self._edge(plan, opening.doors.get(plan.edge_key, ()))
        for key, edge in self._edges.items():
            if key not in edges:
                self._drain(edge)
        _close(self._sockets, but=opening.sockets)
        self._sockets, self._edges, self._holders = opening.sockets, edges, holders
        self._addresses = self._describe(settings, plans)
        _log.info("listening: %s", json.dumps(self._addresses))
        self._tell_of_what_is_unused(plans)
        self._tell_of_blindness()

    def rotate_tokens(self) -> None:
        """Make new container tokens; those before them are accepted until the next rotation."""
        for name, holder in self._holders.items():
            try:
                holder.rotate()
            except ConfigurationError as error:
                _log.error("the token of %s stays as it is: %s (%s)", name, error.what, error.hint)
            else:
                _log.info("a new token for the container endpoint %s", name)

    def ready_document(self) -> bytes:
        """Return what the ready file says: where to connect."""
        return json.dumps(self._addresses).encode() + b"\n"

    async def close(self, seconds: float) -> None:
        """Finish what is in flight, and close everything."""
        _close(self._sockets)
        await asyncio.gather(*(edge.drain(seconds) for edge in self._edges.values()), *self._draining)
        self._peers.close()

    # What listens where

    def _edge(self, plan: _Plan, doors: Sequence[socket.socket]) -> Edge | TokenListener:
        """Return the edge that is there already, with the new route, or a new one at these doors."""
        old, route = self._edges.get(plan.edge_key), plan.route
        look_up, loop = self._peer_of(route.outlet), asyncio.get_running_loop()
        edge: Edge | TokenListener
        if isinstance(route, LoadCredentialRoute):
            if isinstance(old, TokenListener):
                old.replace_route(route)
                return old
            edge = TokenListener(route, look_up, loop)
        else:
            if isinstance(old, Edge):
                old.replace_route(route)
                return old
            edge = Edge(route, plan.rules, look_up, self._metrics, loop, capacity=self._capacity)
        for each in doors:
            edge.listen(each)
        return edge

    def _plans(
        self,
        settings: ServeSettings,
        views: Mapping[str, DaemonSession],
        token_key: bytes,
        sessions: Callable[[], Sequence[DaemonSession]],
        holders: Mapping[str, _TokenHolder],
    ) -> Iterator[_Plan]:
        for endpoint in settings.imds:
            name = f"imds-{endpoint.name}"
            for listener in self._listeners(name, endpoint.listeners):
                route = ImdsRoute(
                    views[endpoint.session],
                    endpoint.name,
                    token_key,
                    self._clock,
                    self._audit,
                    new_nonce=lambda: os.urandom(NONCE_BYTES),
                    serves_network=listener.allow_imds_from_network,
                )
                yield self._tcp_plan(name, listener, route)
        endpoints = {
            each.name: ContainerEndpoint(each.name, views[each.session], holders[each.name].get)
            for each in settings.containers
        }
        if endpoints:
            for listener in self._listeners("container", settings.container_listeners):
                yield self._tcp_plan("container", listener, ContainerRoute(endpoints.values(), self._audit))
        if settings.load_credential is not None:
            units = {unit: endpoints[name] for unit, name in settings.load_credential.units}
            tokens = LoadCredentialRoute(units, self._audit, self._metrics)
            yield self._unix_plan(tokens.outlet, settings.load_credential.socket, tokens, _OWNER_ONLY)
        if settings.agent is not None:
            agent = AgentRoute(
                views.values(),
                lambda peer: self._status(peer, sessions),
                lambda name, peer: _as_told(views[name], peer, sessions()).last_error,
                self._audit,
            )
            yield self._unix_plan("agent", settings.agent.socket, agent)

        def page() -> bytes:
            return self._metrics.page([session.status() for session in sessions()], time.time())

        metrics = MetricsRoute(page, list(views.values()))
        if settings.metrics is not None:
            yield self._tcp_plan("metrics", settings.metrics, metrics)
        if settings.metrics_socket is not None:
            yield self._unix_plan("metrics", settings.metrics_socket, metrics)

    def _listeners(self, name: str, listeners: tuple[Listener, ...]) -> tuple[Listener, ...]:
        """Return the listeners, of which one is enough where systemd passed the sockets.

        It is one that has networks, if any has: at a loopback address they have no say, at the others they are needed.
        """
        if name not in self._passed.by_name:
            return listeners
        return (next((each for each in listeners if each.allow_from), listeners[0]),)

    def _tcp_plan(self, name: str, listener: Listener, route: Route) -> _Plan:
        rules = EdgeRules(
            allowed_hosts=listener.allowed_hosts, allow_from=listener.allow_from, hop_limit=listener.hop_limit
        )
        passed = self._passed.by_name.get(name)
        if passed is not None:
            return _Plan(name, _passed_key(name), lambda: passed, route, rules)
        # An address is one socket whatever the endpoint is called; each port 0 is one of its own.
        key = f"{listener.host} {listener.port}" + ("" if listener.port else f" {name}")
        return _Plan(name, key, lambda: (bind_tcp(listener.host, listener.port),), route, rules)

    def _unix_plan(
        self, name: str, path: str | None, route: Route | LoadCredentialRoute, mode: int = OPEN_TO_EVERYBODY
    ) -> _Plan:
        passed = self._passed.by_name.get(name, ())
        if path is None or passed:  # without a path there is what systemd passed
            return _Plan(name, _passed_key(name), lambda: passed, route, EdgeRules())
        return _Plan(name, path, lambda: (bind_unix(path, mode),), route, EdgeRules())

    def _holder(self, each: ContainerSettings) -> _TokenHolder:
        """Return the endpoint's holder; with another file or group it is a new one, whose token nobody knows yet."""
        known = self._holders.get(each.name)
        if known is not None and (known.path, known.group) == (each.token_file, each.token_group):
            return known
        return _TokenHolder(each.token_file, each.token_group)

    # Who asks, and what is told

    def _peer_of(self, outlet: str) -> Callable[[socket.socket], Peer]:
        return lambda connection: self._peers(connection, outlet)

    def _status(self, peer: Peer, sessions: Callable[[], Sequence[DaemonSession]]) -> bytes:
        """Render what a peer may know: of the sessions that it may have."""
        shown = [_as_told(session, peer, sessions()) for session in sessions() if session.policy.allows(peer)]
        return render_status(DaemonStatus(__version__, tuple(shown), self._addresses))

    def _tell_of_blindness(self) -> None:
        why = None if self._told_of_blindness else self._peers.why_tcp_is_useless()
        if why is not None:
            self._told_of_blindness = True
            _log.warning("no user can be told on TCP, so only sessions open to all are served there: %s", why)

    def _tell_of_what_is_unused(self, plans: Sequence[_Plan]) -> None:
        for name in sorted(self._passed.by_name.keys() - {plan.outlet for plan in plans}):
            _log.error(
                "systemd passed a socket %s, but the configuration has nothing to serve on it (%s)",
                name,
                f"write a table [serve.imds.{name.removeprefix('imds-')}] with session = …"
                if name.startswith("imds-")
                else "its tables are for sessions that are not served: leave --session out",
            )

    def _describe(self, settings: ServeSettings, plans: Sequence[_Plan]) -> dict[str, object]:
        described: dict[str, object] = {}
        told: dict[str, list[str]] = {}
        for plan in plans:
            told.setdefault(plan.outlet, []).extend(_url(each) for each in self._sockets[plan.key])
        urls = {endpoint.name: told[f"imds-{endpoint.name}"] for endpoint in settings.imds}
        if urls:
            described["imds"] = next(iter(urls.values()))[0]
            described["imdsEndpoints"] = urls
        if settings.containers:
            base = told["container"][0]
            described["container"] = {
                each.name: {"url": f"{base}/{each.name}", "tokenFile": each.token_file} for each in settings.containers
            }
        if settings.load_credential is not None:
            described["loadCredential"] = told[LoadCredentialRoute.outlet][0]
        if settings.agent is not None:
            described["agent"] = told["agent"][0]
        if settings.metrics is not None or settings.metrics_socket is not None:
            described["metrics"] = told["metrics"][0]
        return described

    def _drain(self, edge: Edge | TokenListener) -> None:
        task = asyncio.ensure_future(edge.drain(_DRAIN_SECONDS))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)


def _as_told(session: DaemonSession, peer: Peer, sessions: Sequence[DaemonSession]) -> SessionStatus:
    """Return what a peer is told of a session that it may have: no more of another one than it may know of that."""
    status = session.status()
    may_know = any(each.name == status.last_error_of and each.policy.allows(peer) for each in sessions)
    return status if may_know else status.without_details()


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
    """Close our sockets. Those that systemd passed stay: a later configuration may want them again."""
    for key, group in sockets.items():
        if _is_passed(key) or (but is not None and key in but):
            continue
        for each in group:
            path = str(each.getsockname()) if each.family == socket.AF_UNIX else None
            each.close()
            if path is not None:
                _remove_socket(path)


def _remove_socket(path: str) -> None:
    """Who finds no socket knows at once that nobody answers."""
    with suppress(OSError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)  # noqa: PTH108 - no use for a Path


def _capacity() -> Capacity:
    """Leave room among the descriptors: for files, children and pipes, and for those who are told that we are busy."""
    import resource  # noqa: PLC0415 - the limit as it is once it was raised

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = Capacity().most
    return Capacity(most if soft == resource.RLIM_INFINITY else max(16, min(most, soft - _OTHER_DESCRIPTORS)))
