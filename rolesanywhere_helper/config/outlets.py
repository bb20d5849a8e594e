"""The daemon's endpoints: what the tables of ``[serve]`` and the flags of ``serve`` make of each other.

A flag replaces what the file says of the same thing: ``--bind`` and ``--port`` the addresses of the IMDS endpoint
(there must be only one then), ``--container-port`` those of the container endpoints, ``--agent-socket`` and
``--metrics-port`` theirs. A socket that systemd passed is an endpoint too, with or without a table that says more of
it. Where none of them names an endpoint, IMDS is served for the only session.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from rolesanywhere_helper.config import serve_keys
from rolesanywhere_helper.config.addresses import is_unspecified, parse_address, parse_network, shown
from rolesanywhere_helper.config.document import nearest
from rolesanywhere_helper.config.serve_flags import check_hop_limit
from rolesanywhere_helper.config.serve_settings import (
    DEFAULT_CONTAINER_PORT,
    DEFAULT_IMDS_PORT,
    DEFAULT_METRICS_PORT,
    AgentSettings,
    ContainerSettings,
    ImdsSettings,
    Listener,
    LoadCredentialSettings,
    UpdateSettings,
)
from rolesanywhere_helper.config.table import Table
from rolesanywhere_helper.domain.endpoint import is_loopback_host
from rolesanywhere_helper.errors import ConfigurationError, InvalidParameterError, UsageError
from rolesanywhere_helper.frozen import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rolesanywhere_helper.config.document import Document, Serve
    from rolesanywhere_helper.config.serve_flags import ServeFlags

LOOPBACK = "127.0.0.1"
DEFAULT_NAME = "default"
"""Of a session, and of an endpoint, that no file gives a name."""
_OPEN_IMDS = "serve-imds-to-the-network"
# What systemd calls the sockets that it passes.
_PASSED_IMDS, _PASSED_CONTAINER, _PASSED_AGENT, _PASSED_METRICS = "imds-", "container", "agent", "metrics"
# A name is a part of paths, of the names of passed descriptors and of file names.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
# A service of systemd (systemd.unit(5)), or any other unit that has LoadCredential=.
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,245}\.(service|socket|mount|swap)", re.ASCII)
# sockaddr_un holds 108 bytes with the NUL at the end (unix(7)).
_LONGEST_SOCKET_PATH = 107


@dataclass(frozen=True, slots=True)
class Outlets:
    """The endpoints of one daemon."""

    imds: tuple[ImdsSettings, ...] = ()
    containers: tuple[ContainerSettings, ...] = ()
    container_listeners: tuple[Listener, ...] = ()
    agent: AgentSettings | None = None
    metrics: Listener | None = None
    metrics_socket: str | None = None
    updates: tuple[UpdateSettings, ...] = ()
    load_credential: LoadCredentialSettings | None = None

    @property
    def sessions(self) -> frozenset[str]:
        """The sessions that an endpoint or a credentials file names."""
        of_endpoints = [*(each.session for each in self.imds), *(each.session for each in self.containers)]
        return frozenset([*of_endpoints, *(each.session for each in self.updates)])


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What endpoints are made from: ``chosen`` sessions may be handed out, ``known`` ones may be named in the file.

    ``passed`` are the names of the sockets that systemd passed.
    """

    flags: ServeFlags
    document: Document | None
    known: tuple[str, ...]
    chosen: tuple[str, ...]
    runtime_directory: str | None
    home: str | None
    passed: frozenset[str] = frozenset()

    @property
    def serve(self) -> Serve | None:
        """What the file says of the daemon."""
        return None if self.document is None else self.document.serve

    def table(self, values: Mapping[str, object], title: str) -> Table:
        """Return one of the file's tables for reading."""
        return Table(values, f"[{title}]", "" if self.document is None else self.document.path, self.home)

    def general(self) -> Table:
        """Return ``[serve]`` for reading, empty without a file."""
        return self.table({} if self.serve is None else self.serve.general, serve_keys.SERVE)


def make_outlets(given: Circumstances) -> Outlets:
    """Make the endpoints of a daemon.

    Raises:
        UsageError: they are contradictory, malformed or incomplete, would be open to the network without anybody having
            said so (promise 16), or it cannot be told which session is meant.

    """
    containers = tuple(_containers(given))
    listeners = _container_listeners(given)  # also where nobody uses them, so that a mistake is found when it is made
    agent, metrics = _agent(given), _metrics_table(given)
    updates = tuple(_updates(given))
    outlets = Outlets(
        _imds(given, has_others=bool(containers) or bool(updates) or agent is not None),
        containers,
        listeners if containers else (),
        agent,
        _metrics_listener(given, metrics),
        None if metrics is None else _socket(metrics.path("socket"), metrics.origin("socket")),
        updates,
        _load_credential(given, containers),
    )
    _refuse_collisions(outlets)
    return outlets


def check_name(name: str, title: str) -> None:
    """Check the name of a session or endpoint.

    Raises:
        UsageError: it could not be a part of a path.

    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"[{title}.{name[:80]!a}] cannot be served under this name",
            "use 1 to 64 letters, digits or any of . _ - in it, the first of them no dot or dash",
        )


# IMDS


@dataclass(frozen=True, slots=True)
class _ImdsPlan:
    """An IMDS endpoint before it is known where it listens; ``rules`` is a listener whose address does not count."""

    name: str
    session: str
    rules: Listener
    addresses: tuple[tuple[str, int], ...]


def _imds(given: Circumstances, *, has_others: bool) -> tuple[ImdsSettings, ...]:
    flags = given.flags
    is_asked_for = flags.port is not None or (bool(flags.bind) and flags.container_port is None)
    plans = (*_imds_plans(given), *_passed_imds_plans(given))
    if not plans:
        if has_others and not is_asked_for and _is_enough_without_imds(given):
            return ()
        session = _only_session(given)
        rules = _rules(given, given.table({}, serve_keys.IMDS), "")
        plans = (_ImdsPlan(session, session, rules, ((LOOPBACK, DEFAULT_IMDS_PORT),)),)
    if flags.port is not None or flags.bind:
        if len(plans) > 1:
            names = ", ".join(plan.name for plan in plans)
            raise UsageError(
                f"--port and --bind are for one IMDS endpoint, but there are {len(plans)}: {names}",
                "choose a session with --session, or change listen in the configuration file",
            )
        plans = (_rebound(plans[0], flags),)
    endpoints = tuple(_endpoint(plan) for plan in plans)
    for endpoint in endpoints:
        _refuse_open_imds(endpoint, given)
    return endpoints


def _is_enough_without_imds(given: Circumstances) -> bool:
    """Tell whether file or systemd name endpoints of their own, or IMDS could not know which session is meant."""
    serve = given.serve
    is_in_file = serve is not None and bool(serve.containers or serve.agent is not None)
    is_passed = not given.passed.isdisjoint({_PASSED_CONTAINER, _PASSED_AGENT})
    has_updates = given.document is not None and bool(given.document.updates)
    return is_in_file or is_passed or has_updates or len(given.chosen) > 1


def _imds_plans(given: Circumstances) -> Iterator[_ImdsPlan]:
    for name, values in ({} if given.serve is None else given.serve.imds).items():
        check_name(name, "serve.imds")
        table = given.table(values, f"serve.imds.{name}")
        session = _session_of(table, given)
        if session is not None:
            rules = replace(_rules(given, table, ""), allow_imds_from_network=table.switch(_OPEN_IMDS))
            # Two passed sockets need no ports by which to tell them apart.
            port = 0 if f"{_PASSED_IMDS}{name}" in given.passed else DEFAULT_IMDS_PORT
            yield _ImdsPlan(name, session, rules, _addresses(table, "listen", port))


def _passed_imds_plans(given: Circumstances) -> Iterator[_ImdsPlan]:
    """Plan an endpoint for each passed socket ``imds-NAME`` without a table: of the session NAME, or the only one."""
    tables = {} if given.serve is None else given.serve.imds
    for passed in sorted(given.passed):
        name = passed.removeprefix(_PASSED_IMDS)
        if name == passed or name in tables or not _NAME.fullmatch(name):
            continue
        session = name if name in given.known or len(given.chosen) > 1 else given.chosen[0]
        if session in given.chosen:
            rules = _rules(given, given.table({}, serve_keys.IMDS), "")
            yield _ImdsPlan(name, session, rules, ((LOOPBACK, 0),))


def _rebound(plan: _ImdsPlan, flags: ServeFlags) -> _ImdsPlan:
    """Put what was typed in the place of hosts and port, and keep the rules."""
    hosts = flags.bind or tuple(dict.fromkeys(host for host, _ in plan.addresses))
    port = plan.addresses[0][1] if flags.port is None else flags.port
    return replace(plan, addresses=tuple((host, port) for host in hosts))


def _endpoint(plan: _ImdsPlan) -> ImdsSettings:
    return ImdsSettings(
        plan.name, plan.session, tuple(_with_address(plan.rules, host, port) for host, port in plan.addresses)
    )


def _refuse_open_imds(endpoint: ImdsSettings, given: Circumstances) -> None:
    table = f"serve.imds.{endpoint.name}"
    file = "the configuration file" if given.document is None else given.document.path
    for listener in endpoint.listeners:
        _refuse_open(listener, f"IMDS endpoint {endpoint.name}", "allow-from", table)
        if not is_loopback_host(listener.host) and not listener.allow_imds_from_network:
            raise UsageError(
                f"IMDS endpoint {endpoint.name} would give credentials to other machines at "
                f"{shown(listener.host, listener.port)}: IMDS asks for no secret",
                "listen on 127.0.0.1 or ::1, use a container endpoint with its token, or set "
                f"{_OPEN_IMDS} = true in [{table}] of {file}",
            )


# The container endpoint


def _containers(given: Circumstances) -> Iterator[ContainerSettings]:
    tables = {} if given.serve is None else given.serve.containers
    for name, values in tables.items():
        check_name(name, "serve.container")
        table = given.table(values, f"serve.container.{name}")
        session = _session_of(table, given)
        if session is not None:
            token_file = table.path("token-file") or _default_token_file(given, name)
            yield ContainerSettings(name, session, token_file, table.text("token-group"))
    if (given.flags.container_port is not None or _PASSED_CONTAINER in given.passed) and not tables:
        for session in given.chosen:
            yield ContainerSettings(session, session, _default_token_file(given, session))


def _default_token_file(given: Circumstances, name: str) -> str:
    if given.runtime_directory is None:
        raise UsageError(
            f"there is no place for the token file of container endpoint {name}",
            f"set token-file in [serve.container.{name}], or XDG_RUNTIME_DIR",
        )
    return f"{given.runtime_directory.rstrip('/')}/{name}.token"


def _container_listeners(given: Circumstances) -> tuple[Listener, ...]:
    general = given.general()
    rules = _rules(given, general, "container-")
    addresses = _addresses(general, "container-listen", DEFAULT_CONTAINER_PORT)
    flags = given.flags
    if _PASSED_CONTAINER in given.passed and flags.container_port is None and "container-listen" not in general:
        return (rules,)
    if flags.container_port is not None:
        hosts = flags.bind or tuple(dict.fromkeys(host for host, _ in addresses))
        addresses = tuple((host, flags.container_port) for host in hosts)
    listeners = tuple(_with_address(rules, host, port) for host, port in addresses)
    for listener in listeners:
        _refuse_open(listener, "the container endpoint", "container-allow-from", serve_keys.SERVE)
    return listeners


# The agent, metrics


def _agent(given: Circumstances) -> AgentSettings | None:
    typed = given.flags.agent_socket
    if typed is not None:
        return AgentSettings(_checked_socket(typed, "--agent-socket"))
    is_passed = _PASSED_AGENT in given.passed
    if given.serve is None or given.serve.agent is None:
        return AgentSettings(None) if is_passed else None
    table = given.table(given.serve.agent, serve_keys.AGENT)
    path = table.path("socket")
    if path is None and is_passed:
        return AgentSettings(None)
    if path is None:
        raise ConfigurationError(
            f"[serve.agent] of {table.file} has no socket", 'socket = "/run/rolesanywhere-helper/agent.sock"'
        )
    return AgentSettings(_checked_socket(path, table.origin("socket")))


def _metrics_table(given: Circumstances) -> Table | None:
    if given.serve is None or given.serve.metrics is None:
        return None
    table = given.table(given.serve.metrics, serve_keys.METRICS)
    if "listen" not in table and "socket" not in table and _PASSED_METRICS not in given.passed:
        raise ConfigurationError(
            f"[serve.metrics] of {table.file} has neither listen nor socket", 'listen = "127.0.0.1:9913"'
        )
    return table


def _metrics_listener(given: Circumstances, table: Table | None) -> Listener | None:
    port = given.flags.metrics_port
    reader = table or given.table({}, serve_keys.METRICS)
    rules = _rules(given, reader, "")
    if port is not None:
        return _with_address(rules, LOOPBACK, port)
    if "listen" not in reader:
        is_passed = _PASSED_METRICS in given.passed and "socket" not in reader
        return rules if is_passed else None
    addresses = _addresses(reader, "listen", DEFAULT_METRICS_PORT)
    if len(addresses) != 1:
        raise ConfigurationError(f"{reader.origin('listen')} must be one address")
    listener = _with_address(rules, *addresses[0])
    _refuse_open(listener, "the metrics", "allow-from", serve_keys.METRICS)
    return listener


# LoadCredential=


def _load_credential(given: Circumstances, containers: tuple[ContainerSettings, ...]) -> LoadCredentialSettings | None:
    if given.serve is None or given.serve.load_credential is None:
        return None
    table = given.table(given.serve.load_credential, serve_keys.LOAD_CREDENTIAL)
    path, units = table.path("socket"), table.pairs("units")
    if path is None:
        raise ConfigurationError(
            f"{table.title} of {table.file} has no socket", 'socket = "/run/rolesanywhere-helper/credentials.sock"'
        )
    if not units:
        raise ConfigurationError(f"{table.title} of {table.file} has no units", 'units = { "app.service" = "NAME" }')
    for unit, container in units:
        _check_unit(unit, container, table, given)
    served = {each.name for each in containers}
    return LoadCredentialSettings(
        _checked_socket(path, table.origin("socket")), tuple(pair for pair in units if pair[1] in served)
    )


def _check_unit(unit: str, container: str, table: Table, given: Circumstances) -> None:
    if not _UNIT.fullmatch(unit):
        raise InvalidParameterError(
            f"{table.origin('units')} names what is no unit with LoadCredential=: {unit[:80]!a}",
            "write the unit's whole name, without wildcards: app.service, worker@blue.service",
        )
    known = {} if given.serve is None else given.serve.containers
    if container not in known:
        raise ConfigurationError(
            f"{table.origin('units')} gives {unit} the container endpoint {container!a}, but there is no "
            f"[serve.container.{container}]",
            nearest(container, known),
        )


# Credentials files


def _updates(given: Circumstances) -> Iterator[UpdateSettings]:
    for name, values in ({} if given.document is None else given.document.updates).items():
        check_name(name, "update")
        table = given.table(values, f"update.{name}")
        session, file = _session_of(table, given), table.path("file")
        if file is None:
            raise ConfigurationError(
                f"{table.title} of {table.file} has no file", 'for example: file = "/var/lib/agent/credentials"'
            )
        profile = _checked_profile(table)
        if session is not None:
            yield UpdateSettings(name, session, file, profile)


def _checked_profile(table: Table) -> str:
    from rolesanywhere_helper.protocol.ini_text import (  # noqa: PLC0415 - not for a daemon without such a file
        DEFAULT_PROFILE,
        is_profile_name,
    )

    profile = table.text("profile") or DEFAULT_PROFILE
    if not is_profile_name(profile):
        raise InvalidParameterError(f"{table.origin('profile')} cannot be the name of a profile: {profile[:80]!a}")
    return profile


# What they share


def _session_of(table: Table, given: Circumstances) -> str | None:
    """Return the session that a table means, or None if it is not among the chosen."""
    name = table.text("session")
    if name is None:
        if len(given.known) == 1:
            name = given.known[0]
        else:
            raise ConfigurationError(f"{table.title} of {table.file} names no session", nearest("", given.known))
    if name not in given.known:
        raise ConfigurationError(
            f"{table.title} names the session {name!a}, but there is no [session.{name}] in {table.file}",
            nearest(name, given.known),
        )
    return name if name in given.chosen else None


def _only_session(given: Circumstances) -> str:
    if len(given.chosen) == 1:
        return given.chosen[0]
    names = ", ".join(given.chosen)
    raise UsageError(
        f"there are {len(given.chosen)} sessions and nothing says which one to serve: {names}",
        "choose one with --session, or write a table [serve.imds.NAME] with session = … and listen = […] for each",
    )


def _rules(given: Circumstances, table: Table, prefix: str) -> Listener:
    """Return a listener whose address is still to come; the keys of a table may have a prefix."""
    networks = table.texts(f"{prefix}allow-from") or ()
    origin = table.origin(f"{prefix}allow-from")
    return Listener(
        LOOPBACK,
        0,
        tuple(dict.fromkeys(parse_network(text, origin) for text in networks)),
        allowed_hosts=_hosts(table, f"{prefix}allowed-hosts"),
        hop_limit=_hop_limit(given, table if not prefix else None),
    )


def _hop_limit(given: Circumstances, table: Table | None) -> int:
    if given.flags.hop_limit is not None:
        return given.flags.hop_limit
    for reader in (table, given.general()):
        hops = None if reader is None else reader.number("hop-limit")
        if reader is not None and hops is not None:
            return check_hop_limit(hops, reader.origin("hop-limit"))
    return 1


def _hosts(table: Table, key: str) -> tuple[str, ...]:
    hosts = table.texts(key) or ()
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise InvalidParameterError(
                f"{table.origin(key)} is not the name of a host: {host[:60]!a}",
                "give names without a port and without wildcards: host.docker.internal",
            )
    return tuple(dict.fromkeys(host.lower() for host in hosts))


def _addresses(table: Table, key: str, default_port: int) -> tuple[tuple[str, int], ...]:
    texts = table.texts(key)
    if texts is None:
        return ((LOOPBACK, default_port),)
    if not texts:
        raise ConfigurationError(f"{table.origin(key)} is empty", f"for example: {LOOPBACK}:{default_port}")
    return tuple(parse_address(text, default_port, table.origin(key)) for text in texts)


def _with_address(rules: Listener, host: str, port: int) -> Listener:
    """Give rules an address. Networks have no say at a loopback one, where only this machine connects (promise 16)."""
    if is_loopback_host(host):
        return replace(rules, host=host, port=port, allow_from=(), allow_imds_from_network=False)
    return replace(rules, host=host, port=port)


def _refuse_open(listener: Listener, what: str, key: str, title: str) -> None:
    if is_loopback_host(listener.host) or listener.allow_from:
        return
    raise UsageError(
        f"{what} would listen at {shown(listener.host, listener.port)}, which is not loopback, and nothing says who "
        "may connect",
        f"listen on 127.0.0.1 or ::1, or name the networks in [{title}] of the configuration file: "
        f'{key} = ["10.0.0.0/8"] (["{listener.host}"] for this machine alone)',
    )


def _socket(path: str | None, origin: str) -> str | None:
    return None if path is None else _checked_socket(path, origin)


def _checked_socket(path: str, origin: str) -> str:
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise InvalidParameterError(
            f"{origin} is too long for the path of a unix socket",
            f"give one of at most {_LONGEST_SOCKET_PATH} bytes",
        )
    return path


# What gets in each other's way


def _refuse_collisions(outlets: Outlets) -> None:
    taken: list[tuple[str, str, int]] = []
    for what, listener in _listeners(outlets):
        for other, host, port in taken:
            if listener.port and port == listener.port and _overlap(host, listener.host):
                raise UsageError(
                    f"{what} and {other} would both listen at {shown(listener.host, listener.port)}",
                    "give each endpoint a port of its own",
                )
        taken.append((what, listener.host, listener.port))
    paths: dict[str, str] = {}
    for what, path in _paths(outlets):
        if path in paths:
            raise UsageError(f"{what} and {paths[path]} are the same file: {path}", "give each a path of its own")
        paths[path] = what
    profiles: dict[tuple[str, str], str] = {}
    for update in outlets.updates:
        other = profiles.setdefault((update.file, update.profile), update.name)
        if other != update.name:
            raise UsageError(
                f"[update.{other}] and [update.{update.name}] are the same profile {update.profile} of {update.file}",
                "give each a profile of its own",
            )


def _listeners(outlets: Outlets) -> Iterator[tuple[str, Listener]]:
    for endpoint in outlets.imds:
        for listener in endpoint.listeners:
            yield f"IMDS endpoint {endpoint.name}", listener
    for listener in outlets.container_listeners:
        yield "the container endpoint", listener
    if outlets.metrics is not None:
        yield "metrics", outlets.metrics


def _paths(outlets: Outlets) -> Iterator[tuple[str, str]]:
    for container in outlets.containers:
        yield f"the token file of container endpoint {container.name}", container.token_file
    if outlets.agent is not None and outlets.agent.socket is not None:
        yield "the agent socket", outlets.agent.socket
    if outlets.metrics_socket is not None:
        yield "the metrics socket", outlets.metrics_socket
    if outlets.load_credential is not None:
        yield "the socket of LoadCredential=", outlets.load_credential.socket


def _overlap(host: str, other: str) -> bool:
    """Tell whether two addresses are one, or one of them stands for all of its family."""
    if (":" in host) != (":" in other):
        return False
    return host == other or is_unspecified(host) or is_unspecified(other)
