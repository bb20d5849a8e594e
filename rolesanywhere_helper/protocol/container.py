"""The container endpoint, as ECS and EKS agents offer it: one path and one token for each session.

SDKs send what ``AWS_CONTAINER_AUTHORIZATION_TOKEN`` or the token file holds, verbatim, as ``Authorization`` (AWS SDKs
and tools reference guide, "Container credential provider"). What is refused is said in JSON, as those agents do:
``{"code": …, "message": …}``. The SDK for Go reads nothing else: of a text it says only that it is no JSON.
"""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass
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
from rolesanywhere_helper.protocol.imds import NETWORK, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.serving import Audit, HeldSet, Peer, SessionView


def render(credentials: Credentials) -> bytes:
    """Return the document of a session; CRT takes no more than 10,000 bytes."""
    document = {
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.session_token,
        "Expiration": timestamp(credentials.expires_at),
        "AccountId": credentials.account_id,
        "RoleArn": credentials.role_arn,
    }
    return json.dumps(document, indent=1).encode()


@dataclass(frozen=True, slots=True)
class ContainerTokens:
    """What opens one endpoint: the token in the file, and the one before it, for who has read the file earlier."""

    current: str
    previous: str | None = None

    def __repr__(self) -> str:
        return "ContainerTokens(…)"

    def match(self, offered: str) -> bool:
        """Compare in a time that does not depend on what matches."""
        given = offered.encode()
        is_current = hmac.compare_digest(given, self.current.encode())
        is_previous = hmac.compare_digest(given, (self.current if self.previous is None else self.previous).encode())
        return is_current or is_previous

    def rotated(self, token: str) -> ContainerTokens:
        """Return these tokens after a rotation: the old one is accepted until the next."""
        return ContainerTokens(token, self.current)


@dataclass(frozen=True, slots=True)
class ContainerEndpoint:
    """``/NAME``: a session, and a function that returns what opens it (a new object after each rotation)."""

    name: str
    view: SessionView
    tokens: Callable[[], ContainerTokens]


class ContainerRoute:
    """All container endpoints of the daemon; they share listeners."""

    outlet = "container"

    def __init__(self, endpoints: Iterable[ContainerEndpoint], audit: Audit) -> None:
        self._endpoints = {f"/{endpoint.name}": (endpoint, SetDocument(render)) for endpoint in endpoints}
        self._audit = audit

    def answer(self, request: Request) -> Response:
        """Answer one request from memory."""
        response = self._answer(request)
        return response if response.refusal is None else _in_json(response)

    def _answer(self, request: Request) -> Response:
        endpoint, document = self._endpoints.get(resource(request.path), (None, None))
        if endpoint is None or document is None:
            return not_found()
        if request.method != "GET":
            return wrong_method("GET")
        if not _may_have(endpoint.view, request.peer):
            self._audit.refused(endpoint.view.name, request.peer, "user")
            return Response(403, b"this user may not have these credentials", refusal="user")
        tokens = endpoint.tokens()
        offered = request.header("authorization")
        if offered is None or not tokens.match(offered):
            self._audit.refused(endpoint.view.name, request.peer, "token")
            return Response(401, b"the Authorization header must be the endpoint's token", refusal="token")
        held = endpoint.view.current()
        if held is None:
            return no_credentials()
        return self._grant(endpoint, request.peer, tokens, held, document)

    def _grant(
        self, endpoint: ContainerEndpoint, peer: Peer, tokens: ContainerTokens, held: HeldSet, document: SetDocument
    ) -> Response:
        view, policy = endpoint.view, endpoint.view.policy
        self._audit.granted(view.name, peer, held.credentials.access_key_id)

        def still_holds() -> bool:
            return view.current() is held and view.policy is policy and endpoint.tokens() is tokens

        return Response(200, document.of(held), JSON, still_holds=still_holds)


def _in_json(refusal: Response) -> Response:
    body = json.dumps({"code": refusal.refusal, "message": refusal.body.decode()}).encode()
    return Response(refusal.status, body, JSON, refusal.headers, refusal.refusal)


def _may_have(view: SessionView, peer: Peer) -> bool:
    """Of a peer on another machine no kernel here knows the user: the token alone decides, unless users are named."""
    if peer.channel == NETWORK and not view.policy.is_stated:
        return True
    return view.policy.allows(peer)
