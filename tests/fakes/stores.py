"""A cache in memory (port ``CredentialStore``), which outlives the sessions that use it as a disk does."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.domain.ports import StoredEnd, StoredFailure, StoredSet


@dataclass
class MemoryStore:
    entry: StoredSet | None = None
    failure: StoredFailure | None = None
    attempt: float | None = None
    end: StoredEnd | None = None
    attempts: list[float] = field(default_factory=list)
    led: int = 0

    def load(self) -> StoredSet | None:
        return self.entry

    def save(self, entry: StoredSet) -> None:
        self.entry, self.failure = entry, None

    def load_failure(self) -> StoredFailure | None:
        return self.failure

    def save_failure(self, failure: StoredFailure) -> None:
        self.failure = failure

    @contextmanager
    def try_lead(self, seconds: float) -> Iterator[bool]:
        assert seconds == 0
        self.led += 1
        yield True

    def postpone_renewal(self, until: float) -> None:
        raise AssertionError(until)

    def load_end(self) -> StoredEnd | None:
        return self.end

    def save_end(self, end: StoredEnd) -> None:
        self.end = end

    def load_attempt(self) -> float | None:
        return self.attempt

    def save_attempt(self, at: float) -> None:
        self.attempt = at
        self.attempts.append(at)
