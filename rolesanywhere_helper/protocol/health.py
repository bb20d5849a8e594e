"""What the listener for monitoring answers: ``/metrics`` and ``/healthz``.

Both name sessions by their names in the configuration and nothing else: no account, ARN, token or key (promise 20).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.protocol.http import Response, not_found, resource, wrong_method
from rolesanywhere_helper.protocol.prometheus import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rolesanywhere_helper.domain.serving import SessionView
    from rolesanywhere_helper.protocol.http import Request


class MetricsRoute:
    """``page`` renders the metrics of this moment. Who may connect is the listener's business.

    ``GET /healthz`` is 200 when every session has credentials that may be handed out, else 503 and the names of those
    that have none. A slash at the end names the same resource, a query none.
    """

    outlet = "metrics"

    def __init__(self, page: Callable[[], bytes], sessions: Sequence[SessionView]) -> None:
        self._page = page
        self._sessions = tuple(sessions)

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        path = resource(request.path)
        if path not in {"/metrics", "/healthz"}:
            return not_found()
        if request.method != "GET":
            return wrong_method("GET")
        return Response(200, self._page(), CONTENT_TYPE) if path == "/metrics" else self._health()

    def _health(self) -> Response:
        without = [session.name for session in self._sessions if session.current() is None]
        if without:
            return Response(503, f"no credentials: {', '.join(without)}\n".encode("utf-8", "backslashreplace"))
        return Response(200, b"ok\n")
