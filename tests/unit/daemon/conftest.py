"""A session of the daemon with fake clocks, cache and service."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from rolesanywhere_helper.daemon.refresher import Refresher
from rolesanywhere_helper.daemon.sessions import DaemonSession, OpenedStore
from rolesanywhere_helper.domain.serving import AccessPolicy
from rolesanywhere_helper.protocol.mint_exchange import Question
from tests.fakes.clock import FixedRandomness
from tests.fakes.service import FakeService
from tests.fakes.sessions import spec
from tests.fakes.stores import MemoryStore
from tests.fakes.virtual_time import World, at_once


@dataclass
class Host:
    """One machine: its clocks, its cache directory (one store for each certificate), and the service it asks."""

    world: World = field(default_factory=World)
    certificate: str = "A"
    randomness: FixedRandomness = field(default_factory=FixedRandomness)
    stores: dict[str, MemoryStore] = field(default_factory=dict)
    has_cache: bool = True
    boot_id: str | None = "boot 1"

    def __post_init__(self) -> None:
        self.service = FakeService(self.world)

    @property
    def store(self) -> MemoryStore:
        return self.stores.setdefault(self.certificate, MemoryStore())

    def open_store(self) -> OpenedStore | None:
        return OpenedStore(self.certificate, self.store) if self.has_cache else None

    def session(self, name: str = "deploy", start_jitter_seconds: float = 0.0) -> DaemonSession:
        return DaemonSession(
            name=name,
            role_arn=spec().role_arn,
            duration_seconds=spec().duration_seconds,
            question=Question({"session": name}),
            policy=AccessPolicy(frozenset({0})),
            region="eu-central-1",
            open_store=self.open_store,
            clock=self.world,
            randomness=self.randomness,
            boot_id=self.boot_id,
            start_jitter_seconds=start_jitter_seconds,
        )

    def started(self) -> DaemonSession:
        session = self.session()
        session.start()
        return session

    def holding(self) -> DaemonSession:
        """Return a session that has just got its first set."""
        session = self.started()
        self.attempt(session)
        return session

    def attempt(self, session: DaemonSession) -> None:
        """Make one attempt as the refresher does."""
        session.begin()
        found = session.prepare()
        if found is not None:
            session.adopt(found)
            return
        session.accept(self.service.answer(self.service.error, self.service.generation))
        session.keep()

    def refresher(self) -> Refresher:
        return Refresher(self.service.mint, aside=at_once)


@pytest.fixture
def host() -> Host:
    return Host()
