"""What a backend reads through, and what it must not do twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.system.references import References

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.domain.ports import PinAttempts


class NoRecords:
    """Where nothing can be written down about PINs (:class:`rolesanywhere_helper.domain.ports.PinAttempts`)."""

    def was_refused(self, lock: str, source: str) -> bool:
        """Know nothing."""
        del lock, source
        return False

    def begin(self, lock: str, source: str) -> bool:
        """Say that it is written nowhere."""
        del lock, source
        return False

    def succeeded(self, lock: str, source: str) -> None:
        """Forget what was never known."""

    def failed(self, lock: str, source: str) -> None:
        """Remember nothing."""


@dataclass(frozen=True, slots=True)
class Access:
    """The doors of one process to what identities are made of.

    ``secrets`` are those that somebody has typed in, or the daemon has brought, by the name of their flag.
    ``is_attended`` says that it was somebody, just now: who types a PIN again means it to be tried.
    ``environment`` is for libraries that are told by it where their service is. ``in_gitlab_ci`` adds to a hint what
    helps in a GitLab job.
    """

    references: References = field(default_factory=lambda: References({}))
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    pins: PinAttempts = field(default_factory=NoRecords)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    in_gitlab_ci: bool = False
    is_attended: bool = False
