"""What the daemon was asked to be, checked and frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from rolesanywhere_helper.config.settings import ConsultedFile, SessionSettings

DEFAULT_IMDS_PORT = 9911
DEFAULT_CONTAINER_PORT = 9912
DEFAULT_METRICS_PORT = 9913


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who may be given a session, by name or number; ``("*",)`` is everybody. None of both: root and ourselves."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedSession:
    """A session, who may have it, and the region that ``placement/region`` answers.

    One that ``is_source_only`` is given to nobody: others go on from it.
    """

    name: str
    settings: SessionSettings
    access: AccessSettings
    region: str | None
    is_source_only: bool = False


@dataclass(frozen=True, slots=True)
class Listener:
    """One address: ``host`` is an IP literal, ``port`` 0 picks a free one; neither counts for a passed socket.

    ``allow_from`` holds the networks (CIDR) that may connect to an address that is not loopback;
    ``allow_imds_from_network`` is the loudly named setting that lets IMDS be served there; ``allowed_hosts`` are names
    that Host may have besides ours; ``hop_limit`` is the IP TTL of answers.
    """

    host: str
    port: int
    allow_from: tuple[str, ...] = ()
    allow_imds_from_network: bool = False
    allowed_hosts: tuple[str, ...] = ()
    hop_limit: int = 1


@dataclass(frozen=True, slots=True)
class ImdsSettings:
    """``[serve.imds.NAME]``."""

    name: str
    session: str
    listeners: tuple[Listener, ...]


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """``[serve.container.NAME]``: its path is ``/NAME``; all of them share listeners."""

    name: str
    session: str
    token_file: str
    token_group: str | None = None


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """``[serve.agent]``: a unix socket that everybody may connect to; each session's policy decides.

    ``socket`` is None where there is only the one that systemd passed.
    """

    socket: str | None


@dataclass(frozen=True, slots=True)
class LoadCredentialSettings:
    """``[serve.load-credential]``: a unix socket, and pairs of a systemd unit and the container endpoint it may use."""

    socket: str
    units: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """``[update.NAME]``: a profile of a credentials file that the daemon keeps fresh."""

    name: str
    session: str
    file: str
    profile: str


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """One daemon.

    ``sessions`` are those that an outlet hands out; ``consulted`` are the files all this was made from;
    ``runtime_directory`` holds keys and token files. ``warnings`` are for the user, ``notes`` for the log.
    ``log_format`` (``text`` or ``json``) and ``log_file`` are what the configuration file says about the log, for which
    the command line has flags of its own. Whatever is a path is absolute.
    """

    sessions: tuple[ServedSession, ...]
    imds: tuple[ImdsSettings, ...] = ()
    containers: tuple[ContainerSettings, ...] = ()
    container_listeners: tuple[Listener, ...] = ()
    agent: AgentSettings | None = None
    metrics: Listener | None = None
    metrics_socket: str | None = None
    ready_file: str | None = None
    start_jitter_seconds: int = 0
    cache_directory: str | None = None
    runtime_directory: str | None = None
    in_gitlab_ci: bool = False
    consulted: tuple[ConsultedFile, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    log_format: str | None = None
    log_file: str | None = None
    event_loop: str = "asyncio"
    updates: tuple[UpdateSettings, ...] = ()
    load_credential: LoadCredentialSettings | None = None
    # Of ``exec``: the sockets of other daemons that may hold a session, by its name, and the variables in which
    # certificate and key are. A daemon of its own has neither.
    agents_to_ask: tuple[tuple[str, str, str], ...] = ()
    identity_variables: frozenset[str] = frozenset()
