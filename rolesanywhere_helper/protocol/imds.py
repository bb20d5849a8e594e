"""The instance-metadata endpoint, version 2: what EC2's answers to SDKs, and no more.

Version 1, without a token, is never answered. Formats follow the EC2 user guide ("Retrieve security credentials from
instance metadata"); where SDKs differ, every form that one of them sends is served.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

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
from rolesanywhere_helper.protocol.imds_token import ImdsTokens, parse_ttl

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.serving import Audit, BootClock, Peer, SessionView

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105 - a header's name
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
ROLES_PATH = "/latest/meta-data/iam/security-credentials"
REGION_PATH = "/latest/meta-data/placement/region"
_ESCAPES = (("%2B", "+"), ("%2C", ","), ("%3D", "="), ("%40", "@"))
# The channel of a peer on another machine, whose user no kernel here can tell.
NETWORK = "network"


def timestamp(seconds: int) -> str:
    """Return ``YYYY-MM-DDTHH:MM:SSZ``: the one form of a moment that every SDK reads."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def render(credentials: Credentials) -> bytes:
    """Return the document of a role."""
    document = {
        "Code": "Success",
        "LastUpdated": timestamp(credentials.issued_at),
        "Type": "AWS-HMAC",
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.session_token,
        "Expiration": timestamp(credentials.expires_at),
    }
    return json.dumps(document, indent=1).encode()


def _role_in(path: str) -> str:
    """Return the role that a path asks for: a client may escape four of the characters that a name may hold.

    Nothing else is decoded, and nothing twice: what an escape stands for is never part of another one.
    """
    name = path[len(ROLES_PATH) + 1 :]
    if "%" in name:
        for escape, character in _ESCAPES:
            name = name.replace(escape, character).replace(escape.lower(), character)
    return name


class ImdsRoute:
    """One endpoint and its session.

    ``endpoint`` is its name in the configuration: a token of one endpoint is refused at another. ``serves_network``
    is the loudly named setting that lets other machines in; whom the listener admits is the edge's business.
    """

    outlet = "imds"

    def __init__(  # noqa: PLR0913 - an endpoint is made of these
        self,
        view: SessionView,
        endpoint: str,
        token_key: bytes,
        clock: BootClock,
        audit: Audit,
        *,
        new_nonce: Callable[[], bytes],
        serves_network: bool = False,
    ) -> None:
        self._view = view
        self._clock = clock
        self._audit = audit
        self._serves_network = serves_network
        self._tokens = ImdsTokens(token_key, endpoint, new_nonce)
        self._document = SetDocument(render)

    def answer(self, request: Request) -> Response:
        """Answer one request from memory."""
        if not self._may_have(request.peer):
            self._audit.refused(self._view.name, request.peer, "user")
            return Response(403, b"this user may not have these credentials", refusal="user")
        path = resource(request.path)
        if path == TOKEN_PATH:
            return self._new_token(request) if request.method == "PUT" else wrong_method("PUT")
        if not path.startswith("/latest/"):
            return not_found()
        if request.method != "GET":
            return wrong_method("GET")
        ends_at = self._token_end(request)
        if ends_at is None:
            return Response(401, b"a valid session token is needed (IMDSv2)", refusal="token")
        return self._read(path, request.peer, ends_at)

    def _may_have(self, peer: Peer) -> bool:
        if peer.channel == NETWORK:
            return self._serves_network
        return self._view.policy.allows(peer)

    def _new_token(self, request: Request) -> Response:
        ttl = parse_ttl(request.header(TTL_HEADER))
        if ttl is None:
            return Response(400, b"the TTL header must be a number of seconds from 1 to 21600", refusal="ttl")
        token = self._tokens.issue(ttl, self._clock.boottime())
        return Response(200, token.encode(), headers=((TTL_HEADER, str(ttl)),))

    def _token_end(self, request: Request) -> float | None:
        token = request.header(TOKEN_HEADER)
        return None if token is None else self._tokens.ends_at(token, self._clock.boottime())

    def _read(self, path: str, peer: Peer, token_ends_at: float) -> Response:
        view = self._view
        if path == ROLES_PATH:
            # SDKs take the body for the name as it is: no newline.
            return no_credentials() if view.current() is None else Response(200, view.role_name.encode())
        if path.startswith(f"{ROLES_PATH}/") and _role_in(path) == view.role_name:
            return self._credentials(peer, token_ends_at)
        if path == REGION_PATH and view.region is not None:
            return Response(200, view.region.encode())
        return not_found()

    def _credentials(self, peer: Peer, token_ends_at: float) -> Response:
        view, clock, policy = self._view, self._clock, self._view.policy
        held = view.current()
        if held is None:
            return no_credentials()
        self._audit.granted(view.name, peer, held.credentials.access_key_id)

        def still_holds() -> bool:
            return view.current() is held and view.policy is policy and clock.boottime() < token_ends_at

        return Response(200, self._document.of(held), JSON, still_holds=still_holds)
