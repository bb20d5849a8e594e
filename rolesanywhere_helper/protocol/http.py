"""One HTTP exchange as values: what the edge hands to a route, and what a route answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.serving import HeldSet, Peer

JSON = "application/json"


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
    """An answer before it is rendered. ``refusal`` is the word under which a refusal is counted.

    ``still_holds`` tells whether the same request of the same peer would get this very answer now; then the edge may
    send it again without asking the route. It looks at everything that time or a reload can change. None: ask.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()
    refusal: str | None = None
    still_holds: Callable[[], bool] | None = field(default=None, compare=False, repr=False)


class Route(Protocol):
    """What answers the requests of one listener: pure, and never waits."""

    outlet: str

    def answer(self, request: Request) -> Response:
        """Answer one request; never raises for what a peer sent."""
        ...


class SetDocument:
    """A document made from a set: rendered once for each set, not for each request."""

    def __init__(self, render: Callable[[Credentials], bytes]) -> None:
        self._render = render
        self._made_from: HeldSet | None = None
        self._body = b""

    def of(self, held: HeldSet) -> bytes:
        """Return the document of a set; the last one made is kept."""
        if held is not self._made_from:
            self._body, self._made_from = self._render(held.credentials), held
        return self._body


def resource(path: str) -> str:
    """Return the path without the one trailing slash that some SDKs send and some do not."""
    return path[:-1] if path.endswith("/") and path != "/" else path


def not_found() -> Response:
    """Answer that there is no such resource, without a word on what there is."""
    return Response(404, b"not found", refusal="path")


def wrong_method(*allowed: str) -> Response:
    """Answer that the resource does not know the method."""
    return Response(405, b"method not allowed", headers=(("Allow", ", ".join(allowed)),), refusal="method")


def no_credentials() -> Response:
    """Answer that there is no set that may be handed out now; an empty success would be taken for credentials."""
    return Response(503, b"no valid credentials at the moment", refusal="no-credentials")
