"""When one session is tried next: a machine of plain numbers, told what happens and asked what is due. No I/O.

Waits are on BOOTTIME, which nobody can set and which counts on through suspend. The refresh point of a set is a moment
of the wall clock and of BOOTTIME, whichever comes first. So a clock set forward brings the attempt at once, and one set
back delays nothing. Neither can make a storm: attempts on time are at least fifteen seconds apart, those after changed
files at least half a second, and thirty once there were twenty in five minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.refresh_policy import (
    SHORTEST_WAIT_SECONDS,
    hurried_wait,
    is_lasting,
    wait_after_failure,
)
from rolesanywhere_helper.errors import IdentityError, LeafNotYetValidError, UnsafeFileError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.ports import Randomness
    from rolesanywhere_helper.errors import HelperError

# The clocks drift against each other by less than this between two looks, unless somebody sets one of them.
CLOCK_STEP_SECONDS = 30.0
# Files that change are looked at in a hurry for so long after the last change.
HURRY_SECONDS = 30.0
SHORTEST_HURRY_SECONDS = 0.5
MOST_HURRIED = 20
HURRIED_WINDOW_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment of both clocks: seconds since the epoch, and since boot."""

    now: float
    boottime: float


class Schedule:
    """The attempts of one session, from ``start`` on."""

    def __init__(self, start: Moment, randomness: Randomness) -> None:
        self._randomness = randomness
        self._offset = start.now - start.boottime
        self._next = start.boottime
        self._due_at: float | None = None
        self._began: float | None = None
        self._is_running = False
        self._has_failed = False
        self._changed: float | None = None
        self._is_changed_since_begin = False
        self._failures_since_change = 0
        self._is_hurried = False
        self._hurried: list[float] = []

    def seconds_left(self, moment: Moment) -> float:
        """Return the seconds until the next attempt is due; zero or less: now."""
        left = self._next - moment.boottime
        if self._due_at is not None:
            left = min(left, self._due_at - moment.now)
        return left

    def not_before(self, moment: Moment, seconds: float) -> None:
        """Put the next attempt off until so many seconds have passed."""
        self._next = max(self._next, moment.boottime + seconds)
        self._due_at = None

    def waits_for(self, due_at: float, due_on_boottime: float) -> None:
        """Let the next attempt come at a set's refresh point: epoch seconds, and the same on BOOTTIME."""
        self._next = due_on_boottime
        self._due_at = due_at

    def look(self, moment: Moment) -> None:
        """Notice that a clock was set. A session whose last attempt failed is then tried again: that may have been why.

        Call it before :meth:`seconds_left`, at least every fifteen seconds.
        """
        offset = moment.now - moment.boottime
        is_step = abs(offset - self._offset) > CLOCK_STEP_SECONDS
        self._offset = offset
        if is_step and self._has_failed and not self._is_running:
            self._next = min(self._next, self._earliest(moment, SHORTEST_WAIT_SECONDS))

    def change(self, moment: Moment) -> None:
        """Know that certificate or key have changed: the next attempt is due at once, or after the one under way."""
        self._changed = moment.boottime
        self._failures_since_change = 0
        if self._is_running:
            self._is_changed_since_begin = True
        else:
            self._hurry(moment, 0.0)

    def begin(self, moment: Moment) -> None:
        """Know that an attempt begins."""
        self._began = moment.boottime
        self._offset = moment.now - moment.boottime
        self._is_running = True
        self._is_changed_since_begin = False
        if self._is_hurried:
            self._hurried = [at for at in self._hurried if at > moment.boottime - HURRIED_WINDOW_SECONDS]
            self._hurried.append(moment.boottime)
        self._is_hurried = False

    def succeeded(self, moment: Moment, due_at: float, due_on_boottime: float) -> None:
        """Know that the attempt brought a set with this refresh point (epoch seconds, and the same on BOOTTIME)."""
        self._is_running = self._has_failed = False
        # A session so short that it is due at once must not make this a busy loop.
        self.waits_for(
            max(due_at, moment.now + SHORTEST_WAIT_SECONDS),
            max(due_on_boottime, moment.boottime + SHORTEST_WAIT_SECONDS),
        )
        self._after_change(moment)

    def failed(self, moment: Moment, error: HelperError, left: float, not_before: float | None) -> None:
        """Know that the attempt failed.

        ``left`` seconds are left of the set at hand. ``not_before`` (epoch seconds) is when the certificate begins to
        be valid, if that is known.
        """
        self._is_running, self._has_failed = False, True
        self._due_at = None
        wait = wait_after_failure(error, left, self._randomness)
        if isinstance(error, LeafNotYetValidError) and not_before is not None:
            wait = min(wait, max(not_before - moment.now, 0.0) + self._randomness.uniform(1.0, 5.0))
        self._next = moment.boottime + wait
        self._failures_since_change += 1
        is_local = isinstance(error, IdentityError | UnsafeFileError)
        is_recent = self._changed is not None and moment.boottime - self._changed <= HURRY_SECONDS
        if is_local and is_recent and not (is_lasting(error) and self._failures_since_change > 1):
            self._hurry(moment, hurried_wait(self._failures_since_change))
        self._after_change(moment)

    def _after_change(self, moment: Moment) -> None:
        if self._is_changed_since_begin:
            self._hurry(moment, 0.0)

    def _hurry(self, moment: Moment, wait: float) -> None:
        """Try soon, but not as often as a file that never comes to rest would have it."""
        recent = sum(at > moment.boottime - HURRIED_WINDOW_SECONDS for at in self._hurried)
        spacing = SHORTEST_HURRY_SECONDS if recent < MOST_HURRIED else 2 * SHORTEST_WAIT_SECONDS
        self._is_hurried = True
        soon = max(moment.boottime + wait, self._earliest(moment, spacing))
        self._next = min(self._next, soon)

    def _earliest(self, moment: Moment, spacing: float) -> float:
        return moment.boottime if self._began is None else max(moment.boottime, self._began + spacing)
