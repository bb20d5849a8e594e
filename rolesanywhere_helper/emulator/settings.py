"""What the emulator is asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """One emulator.

    ``directory`` holds what it keeps; ``port`` 0 picks a free one; ``extra_cas`` are PEM files, as the user wrote them
    (they come back as keys of ``trustAnchors``), each of which becomes a trust anchor; ``lenient`` accepts, and only
    notes, what the service flags in CloudTrail. ``region`` and ``account`` count when the directory is made.
    ``in_memory`` forgets at the end what was changed; ``quota_per_second`` throttles CreateSession, None does not.
    """

    directory: Path
    host: str = "127.0.0.1"
    port: int = 0
    tls: bool = False
    extra_cas: tuple[str, ...] = ()
    lenient: bool = False
    region: str = "us-east-1"
    account: str = "111122223333"
    in_memory: bool = False
    quota_per_second: float | None = None
