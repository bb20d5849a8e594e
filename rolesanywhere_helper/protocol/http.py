"""One HTTP exchange as values: what the edge hands to a route, and what a route answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.serving import Peer


@dataclass(frozen=True, slots=True)
class Request:
    """A request that passed the edge's checks: one head, no body.

    ``method`` and ``path`` are as sent (one leading ``//`` is already ``/``); header names are in lower case, each at
    most once among those that matter.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    peer: Peer

    def header(self, name: str) -> str | None:
        """Return the first header of a name given in lower case."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer before it is rendered. ``refusal`` is the word under which a refusal is counted."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()
    refusal: str | None = None


class Route(Protocol):
    """What answers the requests of one listener: pure, and never waits."""

    outlet: str

    def answer(self, request: Request) -> Response:
        """Answer one request; never raises for what a peer sent."""
        ...
