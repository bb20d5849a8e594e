"""The agent's socket: sessions for the users of this machine, each as far as its policy goes.

Who may have a session that has no credentials now is told why, with status 503:
``{"error": {"code": …, "message": …, "hint": …}}``, the last error as ``/v1/status`` tells it; it holds no secret.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rolesanywhere_helper.protocol import credential_process
from rolesanywhere_helper.protocol.http import (
    JSON,
    Request,
    Response,
    SetDocument,
    no_credentials,
    not_found,
    resource,
    wrong_method,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.serving import Audit, Peer, SessionView

SESSIONS_PREFIX = "/v1/sessions/"
STATUS_PATH = "/v1/status"


def render(credentials: Credentials) -> bytes:
    """Return the credential_process document, and the role in it: sessions of one account can have one name."""
    document = json.loads(credential_process.render(credentials))
    return json.dumps({**document, "RoleArn": credentials.role_arn}, separators=(",", ":")).encode() + b"\n"


class AgentRoute:
    """Every session of the daemon.

    ``status`` returns what a peer may see of it all, as JSON, and ``last_error`` what it may see of a session's last
    attempt if that failed: code, text and hint.
    """

    outlet = "agent"

    def __init__(
        self,
        views: Iterable[SessionView],
        status: Callable[[Peer], bytes],
        last_error: Callable[[str, Peer], tuple[str, str, str] | None],
        audit: Audit,
    ) -> None:
        self._sessions = {view.name: (view, SetDocument(render)) for view in views}
        self._status = status
        self._last_error = last_error
        self._audit = audit

    def answer(self, request: Request) -> Response:
        """Answer one request from memory."""
        path = resource(request.path)
        if path != STATUS_PATH and not path.startswith(SESSIONS_PREFIX):
            return not_found()
        if request.method != "GET":
            return wrong_method("GET")
        if path == STATUS_PATH:
            return Response(200, self._status(request.peer), JSON)
        return self._session(path.removeprefix(SESSIONS_PREFIX), request.peer)

    def _session(self, name: str, peer: Peer) -> Response:
        view, document = self._sessions.get(name, (None, None))
        if view is None or document is None:
            # Who may have none of the sessions does not learn which there are.
            knows_some = any(known.policy.allows(peer) for known, _ in self._sessions.values())
            return Response(404, b"there is no such session", refusal="path") if knows_some else _refused()
        policy = view.policy
        if not policy.allows(peer):
            self._audit.refused(view.name, peer, "user")
            return _refused()
        held = view.current()
        if held is None:
            return self._no_credentials(view.name, peer)
        self._audit.granted(view.name, peer, held.credentials.access_key_id)

        def still_holds() -> bool:
            return view.current() is held and view.policy is policy

        return Response(200, document.of(held), JSON, still_holds=still_holds)

    def _no_credentials(self, name: str, peer: Peer) -> Response:
        error, plain = self._last_error(name, peer), no_credentials()
        if error is None:
            return plain
        code, message, hint = error
        body = json.dumps({"error": {"code": code, "message": message, "hint": hint}}).encode()
        return Response(plain.status, body, JSON, refusal=plain.refusal)


def _refused() -> Response:
    return Response(403, b"this user may not have this session", refusal="user")
