"""What the daemon holds and hands out: values and rules, no I/O, no clock.

Two clocks judge a held set, whichever ends it first: the wall clock, since that is what the service meant, and
BOOTTIME, which counts on through suspend and is set by nobody. Moments of the one are seconds since the epoch, of the
other seconds since boot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rolesanywhere_helper.frozen import dataclass, field, replace

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.credentials import Credentials

_ASK_WHO_MAY_KNOW = "ask root, or the daemon's user: its log and 'rolesanywhere-helper status' tell them why"


class BootClock(Protocol):
    """Both clocks of the serving process."""

    def now(self) -> float:
        """Return the wall clock: seconds since the epoch."""
        ...

    def boottime(self) -> float:
        """Return seconds since boot, counted on through suspend (CLOCK_BOOTTIME)."""
        ...


@dataclass(frozen=True, slots=True)
class HeldSet:
    """A set in the memory of the serving process. ``ends_at`` is on BOOTTIME."""

    credentials: Credentials
    due_at: int
    ends_at: float

    def is_usable(self, now: float, boottime: float) -> bool:
        """Tell whether it may be handed out at a moment of both clocks."""
        return now < self.credentials.expires_at and boottime < self.ends_at


def held(credentials: Credentials, due_at: int, now: float, boottime: float) -> HeldSet:
    """Hold a set that was just received or loaded: what is left of it on the wall clock is left on BOOTTIME."""
    return HeldSet(credentials, due_at, boottime + credentials.expires_at - now)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, by the kernel's word.

    ``uid`` is None where the kernel could not tell. ``gids`` holds every group of the process on a unix socket, and is
    empty on TCP, where only the user is known. ``pid`` is known on unix sockets only.
    """

    channel: str
    uid: int | None
    gids: frozenset[int] = frozenset()
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may be given one session. Names were resolved when the configuration was loaded.

    ``uids`` holds the allowed users: those named, root and the daemon's own. ``gids`` holds the allowed groups (for
    unix sockets), ``member_uids`` the users that were in those groups at load (for TCP, where the kernel tells no
    group). ``is_stated`` tells whether the configuration said anything: the refusal's log line names the setting.
    """

    uids: frozenset[int]
    gids: frozenset[int] = frozenset()
    member_uids: frozenset[int] = frozenset()
    everyone: bool = False
    is_stated: bool = False

    def allows(self, peer: Peer) -> bool:
        """Decide by uid and groups; a peer that the kernel does not know is refused unless everyone is allowed."""
        if self.everyone:
            return True
        if peer.uid is None:
            return False
        return peer.uid in self.uids or peer.uid in self.member_uids or not self.gids.isdisjoint(peer.gids)


class SessionView(Protocol):
    """One session, as the outlets see it. Reading it never waits."""

    @property
    def name(self) -> str:
        """The session's name in the configuration."""
        ...

    @property
    def role_name(self) -> str:
        """The last part of the role's ARN, as the IMDS listing shows it."""
        ...

    @property
    def region(self) -> str | None:
        """The answer of ``placement/region``."""
        ...

    @property
    def policy(self) -> AccessPolicy:
        """Who may be given it."""
        ...

    def current(self) -> HeldSet | None:
        """Return the set that may be handed out at this moment, or None."""
        ...


class Audit(Protocol):
    """Where grants and refusals are told. Telling costs nothing under load: repeats are not written."""

    def granted(self, session: str, peer: Peer, access_key_id: str) -> None:
        """Note that a peer was given a set; only the first grant of each set to each peer is a line."""
        ...

    def refused(self, session: str, peer: Peer, reason: str) -> None:
        """Note a refusal; lines are limited in rate."""
        ...


class UnitAudit(Protocol):
    """Where it is told which systemd unit was given the token of a container endpoint, and which was not."""

    def token_given(self, unit: str, endpoint: str, session: str, peer: Peer) -> None:
        """Note that a unit was given a token."""
        ...

    def token_refused(self, unit: str | None, peer: Peer, reason: str) -> None:
        """Note a refusal; ``unit`` is None where the peer names none. Lines are limited in rate."""
        ...


class Counters(Protocol):
    """Where the edge counts what it does; ``outlet`` is imds, container, agent, metrics or load-credential."""

    def opened(self, outlet: str) -> None:
        """Count a connection that was opened."""
        ...

    def closed(self, outlet: str) -> None:
        """Count a connection that has ended."""
        ...

    def answered(self, outlet: str, status: int) -> None:
        """Count an answer."""
        ...

    def refused(self, outlet: str, reason: str) -> None:
        """Count a refusal by a short fixed word: host, forwarded, origin, token, method, head, peer and so on."""
        ...


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """What ``status``, metrics and STATUS= tell of a session; no secret, no account.

    Moments are seconds since the epoch. ``last_error`` is (code, what, hint) of the last attempt if that failed, and
    ``last_error_of`` the session it comes from where that is another one, which this one goes on from.
    """

    name: str
    has_credentials: bool
    expires_at: int | None = None
    next_attempt_at: float | None = None
    last_attempt_at: float | None = None
    last_success_at: float | None = None
    last_error: tuple[str, str, str] | None = field(default=None)
    certificate_not_after: int | None = None
    clock_skew_seconds: float | None = None
    attempts: int = 0
    failures: int = 0
    last_mint_seconds: float | None = None
    certificate_not_before: int | None = None
    last_error_of: str | None = None

    def without_details(self) -> SessionStatus:
        """Return it without what is the other session's own affair: the text of its error names files and keys."""
        if self.last_error is None or self.last_error_of is None:
            return self
        code, _, _ = self.last_error
        what = f"session {self.name} goes on from session {self.last_error_of}, which has no credentials ({code})"
        return replace(self, last_error=(code, what, _ASK_WHO_MAY_KNOW))
