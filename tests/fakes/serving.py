"""What the outlets are given, made up: clocks, a session, an audit and counters that can be looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

from rolesanywhere_helper.domain.serving import AccessPolicy, HeldSet, Peer, held
from tests.fakes.sessions import credentials

NOW = 1_800_000_000.0
ALLOWED_UID = 1000
ALLOWED = Peer("tcp", ALLOWED_UID)
STRANGER = Peer("tcp", 4711)
UNKNOWN = Peer("tcp", None)
REMOTE = Peer("network", None)


def new_set(access_key_id: str = "ASIAEXAMPLE") -> HeldSet:
    return held(credentials(int(NOW), access_key_id=access_key_id), int(NOW) + 1800, NOW, 5_000.0)


@dataclass
class FakeClocks:
    wall: float = NOW
    uptime: float = 5_000.0

    def now(self) -> float:
        return self.wall

    def boottime(self) -> float:
        return self.uptime


@dataclass
class FakeView:
    """A session that holds what a test put there."""

    name: str = "deploy"
    role_name: str = "Deploy"
    region: str | None = "eu-central-1"
    policy: AccessPolicy = field(default_factory=lambda: AccessPolicy(frozenset({0, ALLOWED_UID})))
    held: HeldSet | None = field(default_factory=new_set)

    def current(self) -> HeldSet | None:
        return self.held


@dataclass
class FakeAudit:
    grants: list[tuple[str, Peer, str]] = field(default_factory=list)
    refusals: list[tuple[str, Peer, str]] = field(default_factory=list)

    def granted(self, session: str, peer: Peer, access_key_id: str) -> None:
        self.grants.append((session, peer, access_key_id))

    def refused(self, session: str, peer: Peer, reason: str) -> None:
        self.refusals.append((session, peer, reason))


@dataclass
class FakeCounters:
    answers: list[tuple[str, int]] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0

    def opened(self, outlet: str) -> None:
        assert outlet
        self.connections += 1

    def closed(self, outlet: str) -> None:
        assert outlet
        self.connections -= 1

    def answered(self, outlet: str, status: int) -> None:
        self.answers.append((outlet, status))

    def refused(self, outlet: str, reason: str) -> None:
        self.refusals.append((outlet, reason))
