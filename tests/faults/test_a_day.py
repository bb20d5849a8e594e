"""A day in seconds: sessions meet outages, clocks that are set, suspends and rotations, all drawn at random.

Somebody looks every few seconds, and must never be given a set that has expired in truth, lacks something or is made of
two; while the clock is right and outages stay within what the policy bridges, there is always one.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.daemon.refresher import Refresher
from rolesanywhere_helper.daemon.sessions import DaemonSession, OpenedStore
from rolesanywhere_helper.domain.serving import AccessPolicy
from rolesanywhere_helper.errors import (
    ConnectionFailedError,
    HelperError,
    KeyMismatchError,
    ServiceUnavailableError,
    ThrottledError,
    UntrustedCertificateError,
)
from rolesanywhere_helper.protocol.mint_exchange import Question
from tests.fakes.service import FakeService
from tests.fakes.sessions import spec
from tests.fakes.stores import MemoryStore
from tests.fakes.virtual_time import World, at_once, run

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.serving import HeldSet
    from rolesanywhere_helper.protocol.mint_exchange import Answer

DAY = 86_400.0
LOOK_SECONDS = 7.0
# After a long time without a call (asleep, or with a clock that the service refused) there may be nothing left, and an
# outage or a refusal may lie ahead: nothing is expected before those have passed.
TROUBLE_SECONDS = 1200.0
OUTAGES: tuple[HelperError, ...] = (
    ConnectionFailedError("nothing listens"),
    ServiceUnavailableError("the service failed with HTTP 503"),
    ThrottledError("the service asks for fewer calls"),
)


@dataclass
class Life:
    """One session, its files, its service, and what was seen of it."""

    world: World
    name: str
    kind: type[DaemonSession]
    certificate: int = 0
    stores: dict[int, MemoryStore] = field(default_factory=dict)
    outage: HelperError | None = None
    spoiled: HelperError | None = None
    quiet_until: float = 0.0
    looks: int = 0
    without: int = 0
    expired: int = 0
    torn: int = 0

    def __post_init__(self) -> None:
        self.service = FakeService(self.world)

    def settle(self) -> None:
        """Let the service's next answers be what files and network are worth now."""
        self.service.error = self.spoiled or self.outage

    def open_store(self) -> OpenedStore:
        return OpenedStore(str(self.certificate), self.stores.setdefault(self.certificate, MemoryStore()))

    def born(self, source: random.Random) -> DaemonSession:
        session = self.kind(
            name=self.name,
            role_arn=spec().role_arn,
            duration_seconds=spec().duration_seconds,
            question=Question({}),
            policy=AccessPolicy(frozenset()),
            region=None,
            open_store=self.open_store,
            clock=self.world,
            randomness=source,
            boot_id="boot",
        )
        session.start()
        return session

    def look(self, held: HeldSet | None, *, is_one_expected: bool) -> None:
        self.looks += 1
        if held is None:
            self.without += is_one_expected
            return
        made = held.credentials
        self.expired += self.world.true >= made.expires_at
        self.torn += self.service.made.get(made.access_key_id) != made


class Day:
    """The world's whims: outages of twelve minutes at most, and a clock that is wrong for up to ninety minutes."""

    def __init__(self, kind: type[DaemonSession], seed: int) -> None:
        self.source = random.Random(seed)  # noqa: S311 - a simulation
        self.world = World()
        self.lives = [Life(self.world, f"session {number}", kind) for number in range(3)]
        self.sessions: dict[str, DaemonSession] = {}
        self.quiet_since = 0.0
        self.attempts = 0

    async def live(self) -> None:
        self._boot()
        whims = [self._outages(), self._clock(), self._suspends(), self._rotations()]
        tasks = [asyncio.create_task(whim) for whim in whims]
        next_boot = self.world.true + 4 * 3600
        while self.world.true - 1_800_000_000 < DAY:
            await asyncio.sleep(LOOK_SECONDS)
            for life in self.lives:
                is_quiet = self.world.elapsed < max(self.quiet_since + 60, life.quiet_until)
                is_one_expected = self.world.clock_error == 0 and not is_quiet
                life.look(self.sessions[life.name].current(), is_one_expected=is_one_expected)
            if self.world.true > next_boot:  # the daemon is restarted now and then
                await self.refresher.stop()
                self._boot()
                next_boot += 4 * 3600
        for task in tasks:
            task.cancel()
        await self.refresher.stop()
        self.attempts = sum(life.service.calls for life in self.lives)

    def _boot(self) -> None:
        for life in self.lives:
            # A set that was made for another certificate is not used by a new process (promise 40).
            if life.stores.get(life.certificate, MemoryStore()).entry is None:
                life.quiet_until = self.world.elapsed + TROUBLE_SECONDS
        services = {life.name: life.service for life in self.lives}
        self.sessions = {life.name: life.born(self.source) for life in self.lives}
        self.refresher = Refresher(_ByName(services).mint, aside=at_once)
        for name, session in self.sessions.items():
            session.question = Question({"session": name})
            self.refresher.add(session)

    async def _outages(self) -> None:
        while True:
            await asyncio.sleep(self.source.uniform(600, 7200))
            error = self.source.choice(OUTAGES)
            self._break(error)
            await asyncio.sleep(self.source.uniform(5, 720))
            self._break(None)

    def _break(self, error: HelperError | None) -> None:
        for life in self.lives:
            life.outage = error
            life.settle()

    async def _clock(self) -> None:
        while True:
            await asyncio.sleep(self.source.uniform(1800, 14_400))
            self.world.set_clock(self.source.choice([-7200, -86_400, 7200, 86_400, 1200, -1200]))
            await asyncio.sleep(self.source.uniform(1, 5400))
            self.world.set_clock(0)
            self.quiet_since = self.world.elapsed + TROUBLE_SECONDS

    async def _suspends(self) -> None:
        while True:
            await asyncio.sleep(self.source.uniform(3600, 14_400))
            self.world.suspend(self.source.uniform(10, 7200))
            self.quiet_since = self.world.elapsed + TROUBLE_SECONDS

    async def _rotations(self) -> None:
        while True:
            await asyncio.sleep(self.source.uniform(1800, 10_800))
            life = self.source.choice(self.lives)
            life.certificate += 1
            self._spoil(life, KeyMismatchError("the key does not belong to the certificate"))
            self.refresher.identity_changed(life.name)
            await asyncio.sleep(self.source.uniform(0, 5))
            self._spoil(life, None)
            if self.source.random() < 0.2:
                self._spoil(life, UntrustedCertificateError("Untrusted signing certificate"))
                self.refresher.identity_changed(life.name)
                await asyncio.sleep(self.source.uniform(60, 300))
                self._spoil(life, None)
                life.certificate += 1
            self.refresher.identity_changed(life.name)

    def _spoil(self, life: Life, error: HelperError | None) -> None:
        life.spoiled = error
        life.settle()


class _ByName:
    def __init__(self, services: dict[str, FakeService]) -> None:
        self._services = services

    async def mint(self, question: Question) -> Answer:
        return await self._services[str(question.session["session"])].mint(question)


def lived(kind: type[DaemonSession], seed: int) -> Day:
    day = Day(kind, seed)
    run(day.world, day.live())
    assert min(life.looks for life in day.lives) > 3000
    return day


@pytest.mark.promise(78)
@pytest.mark.parametrize("seed", range(4))
def test_a_day_passes_and_nothing_expired_empty_or_torn_is_handed_out(seed: int) -> None:
    day = lived(DaemonSession, seed)

    seen = [(life.expired, life.torn, life.without) for life in day.lives]
    assert seen == [(0, 0, 0)] * 3
    # Some two an hour for each session are wanted; the rest is trouble.
    assert day.attempts < 3 * 24 * 12
    assert all(life.service.most_running == 1 for life in day.lives)


class ByTheWallAlone(DaemonSession):
    """What a session would be that believes the wall clock."""

    def current(self) -> HeldSet | None:
        held = self._held
        return held if held is not None and self._clock.now() < held.credentials.expires_at else None


class GivesUpItsSet(DaemonSession):
    """What a session would be that throws its set away when a renewal fails."""

    def _fail(self, *args: object) -> None:
        super()._fail(*args)  # type: ignore[arg-type] # whatever it is called with
        self._held = None


def test_a_session_that_believes_the_wall_clock_is_found_out() -> None:
    assert any(life.expired for seed in range(4) for life in lived(ByTheWallAlone, seed).lives)


def test_a_session_that_gives_up_its_set_is_found_out() -> None:
    assert any(life.without for life in lived(GivesUpItsSet, 0).lives)
