"""What children of the daemon would answer: a service with a clock of its own, outages, and a host with its files."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import ClockSkewError
from rolesanywhere_helper.protocol.mint_exchange import Answer
from tests.fakes.sessions import ROLE_ARN

if TYPE_CHECKING:
    from rolesanywhere_helper.errors import HelperError
    from rolesanywhere_helper.protocol.mint_exchange import Question
    from tests.fakes.virtual_time import World


@dataclass
class FakeService:
    """Answers every question after ``seconds``; ``error`` instead, if there is one (a callable decides each time)."""

    world: World
    lifetime: int = 3600
    seconds: float = 0.5
    error: HelperError | None = None
    generation: str = "A"
    not_before: int | None = None
    not_after: int | None = None
    began: list[float] = field(default_factory=list)
    made: dict[str, Credentials] = field(default_factory=dict)
    running: int = 0
    most_running: int = 0

    async def mint(self, question: Question) -> Answer:
        del question
        self.began.append(self.world.true)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            error = self.error  # files and network as they were when it looked
            generation = self.generation
            await asyncio.sleep(self.seconds)
            return self.answer(error, generation)
        finally:
            self.running -= 1

    def answer(self, error: HelperError | None = None, generation: str = "A") -> Answer:
        skew = self.world.now() - self.world.true
        if error is None and abs(skew) > 300:
            error = ClockSkewError(f"this machine's clock is {abs(skew):.0f} seconds off")
        if error is not None:
            return Answer(error=error, not_before=self.not_before, not_after=self.not_after, clock_skew_seconds=skew)
        name = f"ASIA{generation}{len(self.made)}"
        made = Credentials(
            access_key_id=name,
            secret_access_key=f"secret of {name}",
            session_token=f"token of {name}",
            issued_at=int(self.world.now()),
            expires_at=int(self.world.true) + self.lifetime,
            role_arn=ROLE_ARN,
        )
        self.made[name] = made
        return Answer(made, None, self.not_before, self.not_after, skew)

    @property
    def calls(self) -> int:
        return len(self.began)
