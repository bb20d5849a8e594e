"""Making one session: sign, send, parse, and try again where that may help. All of it under one deadline."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    HelperError,
    ServiceUnavailableError,
    ThrottledError,
)
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.mint.deadline import DEFAULT_SECONDS, within
from rolesanywhere_helper.protocol import create_session
from rolesanywhere_helper.protocol.sigv4_x509 import sign_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.endpoint import Endpoint
    from rolesanywhere_helper.domain.ports import Clock, HttpResponse, Identity, Randomness, Transport
    from rolesanywhere_helper.domain.session import SessionSpec
    from rolesanywhere_helper.mint.deadline import Progress

_log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
# Full jitter: U(0, base · 2ⁿ) before the attempt after the n-th failure (AWS architecture blog, "Exponential Backoff
# And Jitter").
BACKOFF_BASE_SECONDS = 0.5
# Somebody waits: what the service asks for is honoured up to here.
LONGEST_RETRY_AFTER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Failure:
    """What an attempt that may be repeated came to: its error, and for how long the service asked to be left alone."""

    error: HelperError
    retry_after: float | None = None


class SessionMinter:
    """Implements :class:`rolesanywhere_helper.domain.ports.Minter` with CreateSession.

    Args:
        load_identity: Reads certificate and key. Called once for each session, under the deadline.
        transport: How the request leaves.
        endpoint: Where to.
        spec: What is asked for.
        clock: Dates each attempt, and waits between them.
        randomness: Spreads the attempts of many machines.
        deadline_seconds: For all of it: certificate, key, DNS, connections, answers, and the time between attempts.

    """

    def __init__(  # noqa: PLR0913 - what joins here are the five ports and values of one session, each by name
        self,
        *,
        load_identity: Callable[[], Identity],
        transport: Transport,
        endpoint: Endpoint,
        spec: SessionSpec,
        clock: Clock,
        randomness: Randomness,
        deadline_seconds: float = DEFAULT_SECONDS,
    ) -> None:
        self._load_identity = load_identity
        self._transport = transport
        self._endpoint = endpoint
        self._spec = spec
        self._clock = clock
        self._randomness = randomness
        self._deadline_seconds = deadline_seconds

    def mint(self) -> Credentials:
        """Make a session.

        Raises:
            IdentityError: certificate or key cannot be used.
            ServiceError: the service refused, failed three times, or gave an answer that cannot be trusted.
            NetworkError: no answer came back, or not before the deadline.

        """
        ends_at = self._clock.monotonic() + self._deadline_seconds
        return within(self._deadline_seconds, lambda progress: self._mint_before(ends_at, progress))

    def _mint_before(self, ends_at: float, progress: Progress) -> Credentials:
        progress.enter("reading certificate and key")
        identity = self._load_identity()
        attempt = 1
        while True:
            outcome = self._attempt(identity, ends_at, attempt, progress)
            if not isinstance(outcome, _Failure):
                return outcome
            _log.debug("attempt %d of %d failed: %s", attempt, MOST_ATTEMPTS, outcome.error.code)
            pause = self._pause_after(outcome, attempt)
            if pause is None or self._clock.monotonic() + pause >= ends_at:
                raise outcome.error
            progress.enter(f"waiting before another attempt ({outcome.error.what})")
            self._clock.sleep(pause)
            attempt += 1

    def _attempt(self, identity: Identity, ends_at: float, attempt: int, progress: Progress) -> Credentials | _Failure:
        # Signed anew each time: the service compares the date with its clock.
        progress.enter("signing")
        unsigned = create_session.build(self._spec, self._endpoint)
        request = sign_request(unsigned, identity, region=self._spec.region, at=int(self._clock.now()))
        progress.enter(f"talking to {self._endpoint.host} (attempt {attempt} of {MOST_ATTEMPTS})")
        _log.debug("%s %s with %s", request.method, request.url, ", ".join(name for name, _ in request.headers))
        left = ends_at - self._clock.monotonic()
        if left <= 0:
            raise DeadlineExceededError(f"no time was left to talk to {self._endpoint.host}")
        try:
            response = self._transport.send(request, left)
        except ConnectionFailedError as error:  # what else the network does (TLS, redirect, no address) does not pass
            return _Failure(error)
        _log.debug("answered %d with %s", response.status, ", ".join(sorted(response.headers)))
        return self._outcome_of(response)

    def _outcome_of(self, response: HttpResponse) -> Credentials | _Failure:
        now = self._clock.now()
        try:
            return create_session.parse(response, self._spec, now)
        except (ThrottledError, ServiceUnavailableError) as error:
            return _Failure(error, create_session.retry_after(response, now))

    def _pause_after(self, failure: _Failure, attempt: int) -> float | None:
        """Return the seconds to wait before the next attempt; None if there has been the last one."""
        if attempt == MOST_ATTEMPTS:
            return None
        jitter = self._randomness.uniform(0.0, BACKOFF_BASE_SECONDS * 2 ** (attempt - 1))
        return jitter + min(failure.retry_after or 0.0, LONGEST_RETRY_AFTER_SECONDS)
