"""What the daemon's short-lived child does: one session, and what was learnt on the way, as one answer.

Also a failure teaches something: how far the clocks are apart, and until when the certificate is valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import HelperError
from rolesanywhere_helper.protocol.create_session import clock_skew
from rolesanywhere_helper.protocol.mint_exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import Clock, HttpRequest, HttpResponse, Transport


class WatchedTransport:
    """A transport that compares this machine's clock with the Date of every answer."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self.clock_skew_seconds: float | None = None

    def send(self, request: HttpRequest, timeout: float) -> HttpResponse:
        """Send as the one within does.

        Raises:
            NetworkError, BadAnswerError: as that one does.

        """
        response = self._transport.send(request, timeout)
        skew = clock_skew(response, self._clock.now())
        if skew is not None:
            self.clock_skew_seconds = skew
        return response


class Learnt:
    """What is known of the certificate in use; its moments are seconds since the epoch."""

    def __init__(self) -> None:
        self.not_before: int | None = None
        self.not_after: int | None = None
        self.warnings: tuple[str, ...] = ()


def answer(mint: Callable[[], Credentials], learnt: Learnt, clock_skew_seconds: Callable[[], float | None]) -> Answer:
    """Make a session, and tell what came of it; what nobody thought of is left to be raised."""
    made, failed = None, None
    try:
        made = mint()
    except HelperError as error:
        failed = error
    return Answer(made, failed, learnt.not_before, learnt.not_after, clock_skew_seconds(), learnt.warnings)
