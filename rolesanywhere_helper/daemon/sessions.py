"""One session of the daemon: the set it hands out, when it is renewed, and what is told of it.

What is handed out is one frozen value that is replaced as a whole, and is judged by both clocks each time it is looked
at. So nothing torn and nothing expired can leave, whatever a child, a file or a clock does.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from rolesanywhere_helper.daemon.schedule import Moment, Schedule
from rolesanywhere_helper.domain.freshness import Freshness, judge, refresh_at
from rolesanywhere_helper.domain.ports import StoredEnd, StoredFailure, StoredSet
from rolesanywhere_helper.domain.refresh_policy import earliest_after_restart, remember_seconds
from rolesanywhere_helper.domain.serving import HeldSet, SessionStatus
from rolesanywhere_helper.domain.session import SHORTEST_SECONDS
from rolesanywhere_helper.errors import BadExpirationError, HelperError, MintChildError, WrongRoleError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.arn import Arn
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import CredentialStore, Randomness
    from rolesanywhere_helper.domain.serving import AccessPolicy, BootClock
    from rolesanywhere_helper.protocol.mint_exchange import Answer, Question

# SigV4's tolerance, and ours for an expiration.
TOLERANCE_SECONDS = 300
# Told apart, for who tells of an attempt in another way.
ATTEMPTS_LOG = f"{__name__}.attempts"
_log, _attempts_log = logging.getLogger(__name__), logging.getLogger(ATTEMPTS_LOG)


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A session's place in the cache, and its name there, which tells one certificate from another."""

    key: str
    store: CredentialStore


class DaemonSession:
    """Implements :class:`rolesanywhere_helper.domain.serving.SessionView`.

    All but :meth:`prepare` and :meth:`keep` is called by the event loop's thread and never waits.

    Args:
        name: Its name in the configuration.
        role_arn: The role whose credentials are handed out.
        duration_seconds: How long a session is asked for.
        question: What a child is told.
        policy: Who may be given it.
        region: The answer of ``placement/region``.
        open_store: Opens the session's place in the cache: the one that belongs to the certificate as it is now. None
            where nothing is cached. Called for every attempt, since the certificate may have changed.
        clock: Both clocks.
        randomness: One draw for each set, and those that spread attempts.
        boot_id: What names this boot, if that can be known: then a restart does not believe a clock that was set back.
        start_jitter_seconds: How long the first attempt is put off if one is due at the start.

    """

    def __init__(  # noqa: PLR0913 - what joins here are the values and ports of one session, each by name
        self,
        *,
        name: str,
        role_arn: Arn,
        duration_seconds: int,
        question: Question,
        policy: AccessPolicy,
        region: str | None,
        open_store: Callable[[], OpenedStore | None],
        clock: BootClock,
        randomness: Randomness,
        boot_id: str | None = None,
        start_jitter_seconds: float = 0.0,
    ) -> None:
        self.role_arn = role_arn
        self._duration_seconds = duration_seconds
        self.question = question
        self._name = name
        self._policy = policy
        self._region = region
        self._open_store = open_store
        self._key_at_begin: str | None = None
        self._clock = clock
        self._randomness = randomness
        self._boot_id = boot_id
        self._start_jitter_seconds = start_jitter_seconds
        self._schedule = Schedule(self._moment(), randomness)
        self._held: HeldSet | None = None
        self._unsaved: StoredSet | StoredFailure | None = None
        self._status = _Told()
        self._was_usable = False
        self._is_trying = False
        self._pushed_at: float | None = None

    # What the outlets see

    @property
    def name(self) -> str:
        """The session's name in the configuration."""
        return self._name

    @property
    def role_name(self) -> str:
        """The last part of the role's ARN."""
        return self.role_arn.resource.rpartition("/")[2]

    @property
    def region(self) -> str | None:
        """The answer of ``placement/region``."""
        return self._region

    @property
    def policy(self) -> AccessPolicy:
        """Who may be given it."""
        return self._policy

    def current(self) -> HeldSet | None:
        """Return the set that may be handed out at this moment by both clocks, or None."""
        held = self._held
        return held if held is not None and held.is_usable(self._clock.now(), self._clock.boottime()) else None

    def status(self) -> SessionStatus:
        """Return what is told of the session."""
        moment, told, usable = self._moment(), self._status, self.current()
        error = told.last_error
        return SessionStatus(
            name=self._name,
            has_credentials=usable is not None,
            expires_at=None if usable is None else usable.credentials.expires_at,
            next_attempt_at=moment.now + max(0.0, self._schedule.seconds_left(moment)),
            last_attempt_at=told.last_attempt_at,
            last_success_at=told.last_success_at,
            last_error=None if error is None else (error.code, error.what, error.hint),
            last_error_of=None if error is None else told.last_error_of,
            certificate_not_before=told.certificate_not_before,
            certificate_not_after=told.certificate_not_after,
            clock_skew_seconds=told.clock_skew_seconds,
            attempts=told.attempts,
            failures=told.failures,
            last_mint_seconds=told.last_mint_seconds,
        )

    # A new configuration

    def reconfigure(self, *, policy: AccessPolicy, region: str | None) -> None:
        """Take what a reload may change without another session being asked for."""
        self._policy, self._region = policy, region

    def take_over(self, old: DaemonSession) -> None:
        """Hand out what the session of the same name had before a reload, if that is for the same role.

        Call it after :meth:`start`.
        """
        if old.role_arn == self.role_arn and self._held is None:
            self._held, self._was_usable = old._held, old._was_usable

    # The way of an attempt, called by the refresher

    def start(self) -> None:
        """Look at what an earlier process left, and plan the first attempt. Reads files; nothing is served yet."""
        moment = self._moment()
        opened = self._open_store()
        last_attempt = None
        if opened is not None:
            store = opened.store
            with store.try_lead(0):
                pass  # whoever leads sweeps up after those who were killed
            self._held = self._from_cache(store, moment)
            last_attempt = store.load_attempt()
        earliest = earliest_after_restart(last_attempt, moment.now, self._randomness)
        usable = self.current()
        jitter = self._start_jitter_seconds
        if usable is not None:
            self._schedule.waits_for(usable.due_at, _due_on_boottime(usable))
            jitter = min(jitter, (usable.credentials.expires_at - moment.now) / 2)
        wait = max(earliest - moment.now, jitter)
        if 0 < wait > self._schedule.seconds_left(moment):
            self._schedule.not_before(moment, wait)
            _log.info("session %s: the first attempt is made in %.0f s", self._name, wait)
        self._was_usable = usable is not None

    def seconds_to_attempt(self) -> float:
        """Return the seconds until the next attempt is due; zero or less: now. Notices clocks that were set."""
        moment = self._moment()
        self._schedule.look(moment)
        self._tell_of_the_end()
        return self._schedule.seconds_left(moment)

    def seconds_to_end(self) -> float:
        """Return the seconds until the set at hand ends by the first of both clocks; infinity without one."""
        held = self.current()
        if held is None:
            return math.inf
        moment = self._moment()
        return min(held.credentials.expires_at - moment.now, held.ends_at - moment.boottime)

    def identity_changed(self) -> None:
        """Know that certificate or key have changed: they are tried at once, and what is valid is handed out on."""
        self._schedule.change(self._moment())

    def identity_pushed(self) -> None:
        """Know that there is a new identity under the same name: what was made before is used, but no longer fresh.

        A cached set is found by the content of certificates. Where there is none to be read, as of a Workload API, a
        set of the old identity lies in the same place as one of the new.
        """
        self._pushed_at = self._clock.now()
        self.identity_changed()

    @property
    def is_changing(self) -> bool:
        """Tell whether an attempt is under way, or due at this moment."""
        return self._is_trying or self._schedule.seconds_left(self._moment()) <= 0

    def begin(self) -> None:
        """Begin an attempt."""
        moment = self._moment()
        self._is_trying = True
        self._schedule.begin(moment)
        self._status.began(moment)

    def prepare(self) -> HeldSet | None:
        """Return a fresh set that another process made meanwhile, or None; then the attempt is written down.

        Waits for the disk: call it in another thread.
        """
        self._key_at_begin = None
        opened = self._open_store()
        if opened is None:
            return None
        moment = self._moment()
        found = self._from_cache(opened.store, moment)
        if found is not None and self._is_fresh(found, moment) and not self._is_of_before(found):
            return found
        opened.store.save_attempt(self._clock.now())
        self._key_at_begin = opened.key
        return None

    def adopt(self, found: HeldSet) -> None:
        """Hand out a set of another process: the attempt is over without a call."""
        moment = self._moment()
        self._is_trying = False
        if self._held is None or found.credentials.access_key_id != self._held.credentials.access_key_id:
            self._held, self._was_usable = found, True
            _log.info("session %s: took the credentials that another process made", self._name)
        self._status.ended_without_a_call()
        self._schedule.succeeded(moment, self._held.due_at, _due_on_boottime(self._held))

    def accept(self, answer: Answer) -> None:
        """End an attempt with what a child answered."""
        moment = self._moment()
        self._is_trying = False
        self._status.answered(answer, moment)
        self._tell_of_the_answer(answer)
        made, error = answer.credentials, answer.error
        if made is not None:
            error = self._objection(made, moment)
        if made is None or error is not None:
            self._fail(error or MintChildError("the process that makes the session answered nothing"), answer, moment)
            return
        due_at = refresh_at(made.issued_at, made.expires_at, self._randomness.uniform(0, 1))
        held = _held(made, due_at, moment)
        self._held, self._was_usable = held, True
        self._unsaved = StoredSet(made, due_at)
        self._status.succeeded(moment)
        self._schedule.succeeded(moment, due_at, _due_on_boottime(held))
        _log.info(
            "session %s: new credentials %s for %d s, renewed in %.0f s",
            self._name,
            made.access_key_id,
            made.expires_at - moment.now,
            self._schedule.seconds_left(moment),
        )

    def keep(self) -> None:
        """Put the outcome of an attempt where other processes and the next start find it.

        Waits for the disk: call it in another thread.
        """
        unsaved, held, opened = self._unsaved, self._held, self._open_store()
        self._unsaved = None
        # A certificate that changed meanwhile: nobody knows which of the two the child has read (promise 40).
        if opened is None or opened.key != self._key_at_begin:
            return
        if isinstance(unsaved, StoredSet):
            opened.store.save(unsaved)
            if held is not None and self._boot_id is not None:
                opened.store.save_end(StoredEnd(held.credentials.access_key_id, self._boot_id, held.ends_at))
        elif unsaved is not None:
            opened.store.save_failure(unsaved)

    # Inside

    def _moment(self) -> Moment:
        return Moment(self._clock.now(), self._clock.boottime())

    def _from_cache(self, store: CredentialStore, moment: Moment) -> HeldSet | None:
        """Return what rests in the cache, with its end on BOOTTIME as far as that is known, if it may be handed out."""
        found, end = store.load(), store.load_end()
        if found is None:
            return None
        made = found.credentials
        if end is not None and end.boot_id == self._boot_id and end.access_key_id == made.access_key_id:
            candidate = HeldSet(made, found.due_at, end.ends_at)
        elif made.issued_at > moment.now + TOLERANCE_SECONDS:
            # It was made before the clock was set back: nobody can tell how much of it is left.
            return None
        else:
            candidate = _held(made, found.due_at, moment)
        return candidate if candidate.is_usable(moment.now, moment.boottime) else None

    def _is_fresh(self, found: HeldSet, moment: Moment) -> bool:
        held = self._held
        known = held if held is not None and held.credentials == found.credentials else found
        is_fresh = judge(found.credentials, found.due_at, moment.now) is Freshness.FRESH
        return is_fresh and moment.boottime < _due_on_boottime(known)

    def _is_of_before(self, found: HeldSet) -> bool:
        return self._pushed_at is not None and found.credentials.issued_at < self._pushed_at

    def _objection(self, made: Credentials, moment: Moment) -> HelperError | None:
        """Say what is wrong with a new set, which a child should not have let through (promises 47, 66)."""
        left = made.expires_at - moment.now
        if made.role_arn != str(self.role_arn):
            return WrongRoleError("the process that makes the session made one for another role")
        if left <= 0:
            return BadExpirationError("the credentials had expired before they arrived")
        if left > self._duration_seconds + TOLERANCE_SECONDS:
            return BadExpirationError(f"asked for {self._duration_seconds} s, but the credentials last {left:.0f} s")
        usable = self.current()
        is_worse = usable is not None and made.expires_at <= usable.credentials.expires_at
        if is_worse and left < SHORTEST_SECONDS - TOLERANCE_SECONDS:
            return BadExpirationError(f"the new credentials last {left:.0f} s, less than those that they would replace")
        return None

    def _fail(self, error: HelperError, answer: Answer, moment: Moment) -> None:
        held = self._held
        left = 0.0
        if held is not None:
            left = min(held.credentials.expires_at - moment.now, held.ends_at - moment.boottime)
        is_new = self._status.failed(error, answer.error_of)
        self._schedule.failed(moment, error, left, answer.not_before)
        self._unsaved = StoredFailure(moment.now, moment.now + remember_seconds(error), error)
        _attempts_log.log(
            logging.WARNING if is_new else logging.INFO,
            "session %s: %s (%s); %s, tried again in %.0f s",
            self._name,
            error.what,
            error.hint,
            f"the credentials at hand last {left:.0f} s more" if left > 0 else "there are no credentials",
            self._schedule.seconds_left(moment),
        )

    def _tell_of_the_answer(self, answer: Answer) -> None:
        for warning in self._status.new_warnings(answer):
            _log.warning("session %s: %s", self._name, warning)
        skew = answer.clock_skew_seconds
        if skew is not None and abs(skew) > TOLERANCE_SECONDS:
            _log.error(
                "session %s: this machine's clock is %.0f s %s the service's: set it",
                self._name,
                abs(skew),
                "ahead of" if skew > 0 else "behind",
            )

    def _tell_of_the_end(self) -> None:
        is_usable = self.current() is not None
        if self._was_usable and not is_usable:
            _log.error("session %s: its credentials have expired, and none are handed out", self._name)
        self._was_usable = is_usable


def _held(made: Credentials, due_at: int, moment: Moment) -> HeldSet:
    # A clock that was set back a moment ago lengthens what seems to be left, but not the session itself.
    left = min(made.expires_at - moment.now, made.lifetime)
    return HeldSet(made, due_at, moment.boottime + left)


def _due_on_boottime(held: HeldSet) -> float:
    return held.ends_at - (held.credentials.expires_at - held.due_at)


class _Told:
    """What status and metrics are told; see :class:`SessionStatus` for the units."""

    def __init__(self) -> None:
        self.last_attempt_at: float | None = None
        self.last_success_at: float | None = None
        self.last_error: HelperError | None = None
        self.last_error_of: str | None = None
        self.certificate_not_before: int | None = None
        self.certificate_not_after: int | None = None
        self.clock_skew_seconds: float | None = None
        self.attempts = 0
        self.failures = 0
        self.last_mint_seconds: float | None = None
        self._began = 0.0
        self._warnings: tuple[str, ...] = ()

    def began(self, moment: Moment) -> None:
        self._began = moment.boottime

    def ended_without_a_call(self) -> None:
        self.last_error = None

    def answered(self, answer: Answer, moment: Moment) -> None:
        self.attempts += 1
        self.last_attempt_at = moment.now
        self.last_mint_seconds = moment.boottime - self._began
        # What one attempt could not learn is as it was.
        if answer.not_after is not None:
            self.certificate_not_before, self.certificate_not_after = answer.not_before, answer.not_after
        if answer.clock_skew_seconds is not None:
            self.clock_skew_seconds = answer.clock_skew_seconds

    def new_warnings(self, answer: Answer) -> tuple[str, ...]:
        """Return what has not been said before, since every attempt says it again."""
        new = tuple(warning for warning in answer.warnings if warning not in self._warnings)
        self._warnings = answer.warnings or self._warnings
        return new

    def succeeded(self, moment: Moment) -> None:
        self.last_success_at = moment.now
        self.last_error = None

    def failed(self, error: HelperError, error_of: str | None) -> bool:
        """Note a failure, and tell whether it is another one than the last."""
        is_new = self.last_error is None or (self.last_error.code, self.last_error.what) != (error.code, error.what)
        self.failures += 1
        self.last_error, self.last_error_of = error, error_of
        return is_new
