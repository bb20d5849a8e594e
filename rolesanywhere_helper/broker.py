"""The one verb: a set of credentials that is valid now, from the cache or freshly minted.

.. code-block:: text

    fresh                 → it
    due                   → it, and a renewal begins in the background
    low                   → a new one; it, if that fails
    expired, or none      → a new one, or the error

However many processes ask at once, one mints (single flight); the others take what it brings, also when that is a
failure. A failure is remembered for a while, so that a loop with a broken certificate does not use up the account's
quota. A failed renewal never takes away what is still valid.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.freshness import Freshness, judge, refresh_at
from rolesanywhere_helper.domain.ports import StoredFailure, StoredSet
from rolesanywhere_helper.domain.refresh_policy import remember_seconds, wait_after_failure
from rolesanywhere_helper.errors import HelperError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import Clock, CredentialStore, Minter, Randomness

# How often a process that waits looks for what the leader brings: a mint takes 50 ms at best. The longer it takes, the
# less often, so that those who wait leave the machine to the one that works.
_FIRST_LOOK_SECONDS = 0.02
_LATEST_LOOK_SECONDS = 0.25
_LOOK_GROWTH = 1.3
_log = logging.getLogger(__name__)


class Broker:
    """A ``CredentialSource`` over a store and a minter."""

    def __init__(  # noqa: PLR0913 - its collaborators, each by name
        self,
        *,
        store: CredentialStore,
        minter: Minter,
        mint_seconds: float,
        renew_in_background: Callable[[], None],
        clock: Clock,
        randomness: Randomness,
        least_seconds: int = 0,
    ) -> None:
        """Join the parts. ``mint_seconds`` is the deadline that the minter keeps.

        With ``least_seconds`` left or less a set counts as low, also above the usual mark: that is for what cannot be
        renewed where it goes (promise 83).
        """
        self._store = store
        self._minter = minter
        self._mint_seconds = mint_seconds
        self._renew_in_background = renew_in_background
        self._clock = clock
        self._randomness = randomness
        self._least_seconds = least_seconds

    def get(self) -> Credentials:
        """Return a set that is valid now.

        Raises:
            HelperError: there is none, and none could be made.

        """
        held = self._store.load()
        freshness = self._judge(held)
        if held is not None and freshness in {Freshness.FRESH, Freshness.DUE}:
            if freshness is Freshness.DUE:
                self._renew_in_background()
            return held.credentials
        try:
            return self._lead_or_follow(held)
        except HelperError as error:
            if held is not None and freshness is Freshness.LOW and self._judge(held) is not Freshness.EXPIRED:
                _log.warning("the renewal failed, the old credentials are used: %s", error)
                return held.credentials
            raise

    def renew(self) -> Credentials | None:
        """Renew the set if it is due, and nobody else is doing so (what the process in the background runs).

        Returns:
            The new set, which a full disk may have kept from being stored; None if there is none.

        Raises:
            HelperError: it failed; the next renewal is put off, the longer the more is left.

        """
        with self._store.try_lead(self._mint_seconds) as leads:
            held = self._store.load()
            if not leads or self._judge(held) is Freshness.FRESH or self._remembered() is not None:
                return None
            try:
                return self._mint()
            except HelperError as error:
                self._store.postpone_renewal(self._clock.now() + self._wait_after(error, held))
                raise

    def _lead_or_follow(self, seen: StoredSet | None) -> Credentials:
        # Before the look: what fails between the look and our turn must count as seen by those who wait.
        began_at = self._clock.now()
        remembered = self._remembered()
        if remembered is not None:
            raise remembered
        pause = _FIRST_LOOK_SECONDS
        while True:
            with self._store.try_lead(self._mint_seconds) as leads:
                # Also when leading: the one before may have brought it between our look and our turn.
                brought = self._brought_since(began_at, seen)
                if brought is not None:
                    return brought
                if leads:
                    return self._mint()
            self._clock.sleep(self._randomness.uniform(pause / 2, pause))
            pause = min(pause * _LOOK_GROWTH, _LATEST_LOOK_SECONDS)

    def _brought_since(self, began_at: float, seen: StoredSet | None) -> Credentials | None:
        """Return what another process brought since we began to ask and found ``seen``, or raise how it failed."""
        held = self._store.load()
        if held is not None and (self._is_usable_at_once(held) or _is_made_since(held, began_at, seen)):
            return held.credentials
        failure = self._store.load_failure()
        if failure is not None and began_at < failure.failed_at <= self._clock.now():
            raise failure.error
        return None

    def _is_usable_at_once(self, held: StoredSet) -> bool:
        return self._judge(held) in {Freshness.FRESH, Freshness.DUE}

    def _mint(self) -> Credentials:
        try:
            made = self._minter.mint()
        except HelperError as error:
            self._remember(error)
            raise
        due_at = refresh_at(made.issued_at, made.expires_at, self._randomness.uniform(0, 1))
        self._store.save(StoredSet(made, due_at))
        return made

    def _judge(self, held: StoredSet | None) -> Freshness:
        if held is None:
            return Freshness.EXPIRED
        return judge(held.credentials, held.due_at, self._clock.now(), self._least_seconds)

    def _remember(self, error: HelperError) -> None:
        now = self._clock.now()
        self._store.save_failure(StoredFailure(now, now + remember_seconds(error), error))

    def _remembered(self) -> HelperError | None:
        return told_again(self._store.load_failure(), self._clock.now())

    def _wait_after(self, error: HelperError, held: StoredSet | None) -> float:
        """Return how long to wait after a failed renewal (docs/refresh-policy.md)."""
        left = held.credentials.expires_at - self._clock.now() if held is not None else 0
        return wait_after_failure(error, left, self._randomness)


def _is_made_since(held: StoredSet, began_at: float, seen: StoredSet | None) -> bool:
    """Tell whether a set was just made: there is no better one then, however little is left of it.

    Whole seconds are all that it remembers of its making, so one that we have seen ourselves is left out.
    """
    is_another = seen is None or held.credentials != seen.credentials
    return is_another and held.credentials.issued_at >= int(began_at)


def told_again(failure: StoredFailure | None, now: float) -> HelperError | None:
    """Return a failure as it is told to those who ask again too soon, or None if they may try (promise 82).

    One from the future was written before the clock was set back.
    """
    if failure is None or not failure.failed_at <= now < failure.until:
        return None
    left = max(1, round(failure.until - now))
    hint = f"{failure.error.hint} (remembered: asked again in {left} s, or at once with --no-cache)"
    return type(failure.error)(failure.error.what, hint)
