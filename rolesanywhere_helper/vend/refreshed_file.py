"""Keeping a profile of a credentials file fresh, for as long as a command runs.

When a new set is asked for follows docs/refresh-policy.md: at a moment drawn once for each set, and after a failure as
the policy says. Waits are at most fifteen seconds, so that a clock that was set, a suspended machine and a changed
certificate are noticed by looking.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.freshness import refresh_at
from rolesanywhere_helper.domain.refresh_policy import SHORTEST_WAIT_SECONDS, wait_after_failure
from rolesanywhere_helper.errors import HelperError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import CredentialSource, Randomness
    from rolesanywhere_helper.domain.serving import BootClock
    from rolesanywhere_helper.vend.credentials_file import CredentialsFile

LONGEST_SLEEP_SECONDS = 15.0
_log = logging.getLogger(__name__)


class RefreshedFile:
    """One profile and the source of its credentials.

    Args:
        source: Returns a set that is as fresh as can be had; it renews one that is due.
        file: The profile.
        sight: Returns what changes when the certificate does, so that it is tried at once.
        clock: Both clocks.
        randomness: One draw for each set, and those that spread attempts.

    """

    def __init__(
        self,
        source: CredentialSource,
        file: CredentialsFile,
        sight: Callable[[], object],
        clock: BootClock,
        randomness: Randomness,
    ) -> None:
        self._source = source
        self._file = file
        self._sight = sight
        self._clock = clock
        self._randomness = randomness
        self._held: Credentials | None = None
        self._due = _Due(clock, 0.0)
        self._seen: object = None
        self._last_error: tuple[str, str] | None = None

    def write_once(self) -> None:
        """Put the freshest set into the file.

        Raises:
            HelperError: there is none, or the file cannot be written.

        """
        found = self._source.get()
        is_changed = self._file.write(found)
        self._last_error = None
        if is_changed:
            left = found.expires_at - self._clock.now()
            _log.info(
                "profile %s of %s: wrote credentials %s, valid for %d s",
                self._file.profile,
                self._file.path,
                found.access_key_id,
                left,
            )
        self._plan(found)

    def keep(self, wait: Callable[[float], bool], told_first: Callable[[], object]) -> None:
        """Write again and again until ``wait``, which waits for some seconds, says that it is time to stop.

        ``told_first`` is called when the first attempt has ended.

        Raises:
            UsageError: what was asked for has no meaning.

        """
        self._attempt()
        told_first()
        while not wait(min(LONGEST_SLEEP_SECONDS, max(0.0, self._due.seconds_left()))):
            if self._due.seconds_left() <= 0 or self._seen != self._sight():
                self._attempt()

    def _attempt(self) -> None:
        self._seen = self._sight()
        try:
            self.write_once()
        except UsageError:
            raise
        except HelperError as error:
            left = 0.0 if self._held is None else self._held.expires_at - self._clock.now()
            wait = wait_after_failure(error, left, self._randomness)
            self._due = _Due(self._clock, wait)
            self._tell(error, wait)

    def _plan(self, found: Credentials) -> None:
        """Plan the next attempt: at the set's refresh point, or soon where the source had nothing newer yet."""
        now = self._clock.now()
        is_new = found != self._held
        self._held = found
        due_at = refresh_at(found.issued_at, found.expires_at, self._randomness.uniform(0, 1))
        shortest = SHORTEST_WAIT_SECONDS * self._randomness.uniform(1, 2)
        wait = max(due_at - now, shortest) if is_new else shortest
        self._due = _Due(self._clock, wait)

    def _tell(self, error: HelperError, wait: float) -> None:
        """Say what failed, loudly the first time."""
        is_new = self._last_error != (error.code, error.what)
        self._last_error = error.code, error.what
        level = logging.WARNING if is_new else logging.INFO
        _log.log(level, "%s (%s); tried again in %.0f s", error.what, error.hint, wait)


class _Due:
    """A moment so many seconds from now, by the wall clock or by BOOTTIME, whichever comes first."""

    def __init__(self, clock: BootClock, seconds: float) -> None:
        self._clock = clock
        self._at = clock.now() + seconds
        self._at_boottime = clock.boottime() + seconds

    def seconds_left(self) -> float:
        return min(self._at - self._clock.now(), self._at_boottime - self._clock.boottime())
