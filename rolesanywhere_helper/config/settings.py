"""What was asked for, checked and frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.proxy import shown
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.arn import Arn
    from rolesanywhere_helper.domain.endpoint import Endpoint
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.domain.role_hop import RoleHop
    from rolesanywhere_helper.domain.session import SessionSpec


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How CreateSession is reached.

    ``ca_bundle`` is an absolute path, or None for the system's trust store; STS is verified with it too. ``proxy`` is a
    URL that may hold a password, so ``repr`` leaves it out; :attr:`proxy_shown` is for messages. STS may have another
    one (:class:`~rolesanywhere_helper.domain.role_hop.RoleHop`).
    """

    endpoint: Endpoint
    ca_bundle: str | None = None
    proxy: str | None = field(default=None, repr=False)
    verify_tls: bool = True

    @property
    def proxy_shown(self) -> str | None:
        """The proxy without user and password."""
        return None if self.proxy is None else shown(self.proxy)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """One session: what to ask for, who we are, how to get there. ``name`` is its name in the configuration file.

    ``hops`` are the roles that are gone on to from there, in their order (role chaining), ``first_name`` is the name of
    the session before them.
    """

    name: str | None
    spec: SessionSpec
    identity: IdentityReference
    connection: ConnectionSettings
    use_cache: bool = True
    hops: tuple[RoleHop, ...] = ()
    first_name: str | None = None

    @property
    def role_arn(self) -> Arn:
        """The role whose credentials are handed out: the last one that is gone on to."""
        return self.hops[-1].role_arn if self.hops else self.spec.role_arn

    @property
    def duration_seconds(self) -> int:
        """How long a session is asked for, the last one of a chain."""
        return self.hops[-1].duration_seconds if self.hops else self.spec.duration_seconds

    def is_the_same_as(self, other: SessionSettings) -> bool:
        """Tell whether the same credentials would be asked for, whatever the sessions are called."""
        mine = (self.spec, self.identity, self.connection, [hop.asked for hop in self.hops])
        return mine == (other.spec, other.identity, other.connection, [hop.asked for hop in other.hops])

    @property
    def source(self) -> SessionSettings | None:
        """The session that this one goes on from, or None."""
        if not self.hops:
            return None
        before = self.hops[:-1]
        return SessionSettings(
            before[-1].name if before else self.first_name,
            self.spec,
            self.identity,
            self.connection,
            use_cache=self.use_cache,
            hops=before,
            first_name=self.first_name if before else None,
        )


@dataclass(frozen=True, slots=True)
class ConsultedFile:
    """A configuration file that was looked for; ``content`` is None if it was not there."""

    path: str
    content: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings and what they were made from.

    ``consulted`` lists every place looked at, up to and including the file that was used: when one of them appears or
    changes, the settings may change. ``warnings`` are for the user, ``notes`` for the log. ``in_gitlab_ci`` changes
    what hints say about a key file's permissions. ``agent_socket`` is the absolute path of a daemon's socket to ask
    first; None where none is configured, or where the daemon could not know this session: it has no name, or flags or
    environment changed what it asks for. ``source_agent_socket`` is the same for the sessions that this one goes on
    from: they may be as they are written when roles to go on to were typed.
    """

    settings: SessionSettings
    cache_directory: str | None
    consulted: tuple[ConsultedFile, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    in_gitlab_ci: bool = False
    agent_socket: str | None = None
    source_agent_socket: str | None = None
