"""What ``credential-process --session NAME`` asks the daemon of this machine, before it mints itself.

One GET over the agent's unix socket, within a second and 64 KiB. Who asks is told to the daemon by the kernel, and who
answers is told to us by the kernel too: only a socket that nobody could have planted is asked (promise 85).
"""

from __future__ import annotations

import json
import os
import re
import socket
from calendar import timegm
from contextlib import suppress
from time import strptime
from typing import TYPE_CHECKING, cast

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import (
    AgentError,
    ConnectionFailedError,
    HelperError,
    IdentityError,
    UnsafeFileError,
)
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.system.peers import peer_credentials
from rolesanywhere_helper.system.socket_files import socket_owners

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.domain.ports import Clock

SECONDS = 1.0
LARGEST_ANSWER = 65_536
_OK, _FORBIDDEN, _NOT_FOUND, _UNAVAILABLE = 200, 403, 404, 503
_CHUNK = 16_384
# Session names are compared by the daemon as they come: one that would need escaping names none.
_SESSION = re.compile(r"[A-Za-z0-9._~-]{1,200}", re.ASCII)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,6})[ \t]*(?=\r\n)", re.IGNORECASE)
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_EXPIRATION = "%Y-%m-%dT%H:%M:%SZ"
_CODE = re.compile(r"[a-z-]{1,40}", re.ASCII)
_LONGEST_TEXT = 500
_SEE_THE_LOG = "see the daemon's log: journalctl -u rolesanywhere-helper"


@dataclass(frozen=True, slots=True)
class AgentSocket:
    """Where the daemon is asked.

    ``is_named`` tells that a trusted configuration file names the path, which vouches for a daemon of another user
    than root (see :mod:`rolesanywhere_helper.system.socket_files`).
    """

    path: str
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


class _NoAnswerError(Exception):
    """The daemon's answer cannot be used; the text says why and holds nothing of it."""


def ask(agent: AgentSocket, session: str, role_arn: str, clock: Clock) -> Credentials | None:
    """Return the daemon's set for a session, or None if there is none to be had from it.

    None means: no daemon, or one without such a session. The daemon does not tell when a set was issued: ``issued_at``
    is the moment it came.

    Raises:
        AgentError: something is there and gives none: the socket is not to be trusted, this user may not have the
            session, there are no credentials now (the daemon's own reason is told), or the answer does not come, cannot
            be used, or is for another account than ``role_arn``'s.

    """
    if not _SESSION.fullmatch(session) or session in {".", ".."}:
        return None
    try:
        answer = _exchange(agent, f"/v1/sessions/{session}", clock)
        return _read(answer, agent, session, role_arn, clock.now())
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return None  # nobody serves here
    except UnsafeFileError as error:
        raise AgentError(error.what, error.hint) from None
    except (OSError, _NoAnswerError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AgentError(f"the agent at {agent.path} gave no credentials: {said}") from None


def why_there_is_none(error: HelperError, refusal: AgentError | None, path: str) -> HelperError:
    """Return what is told when the daemon gave no set, for the reason ``refusal`` if any, and ``error`` came after it.

    Who may not read the key wants to know why the daemon gave nothing.
    """
    if not isinstance(error, IdentityError | UnsafeFileError):
        return error
    told = f"no daemon that has the session answers at {path}"
    return refusal or (error if told in error.hint else type(error)(error.what, f"{error.hint}; {told}"))


def ask_status(agent: AgentSocket, clock: Clock) -> bytes | None:
    """Return what the daemon tells of itself (:mod:`rolesanywhere_helper.protocol.status`), or None without a daemon.

    Raises:
        UnsafeFileError: the socket is not to be trusted.
        HelperError: the daemon does not tell this user.
        ConnectionFailedError: something answers there, but not with a status.

    """
    try:
        answer = _exchange(agent, "/v1/status", clock)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return None
    except (OSError, _NoAnswerError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConnectionFailedError(f"the daemon at {agent.path} did not answer: {said}", _SEE_THE_LOG) from None
    if answer.status == _FORBIDDEN:
        raise HelperError(
            f"the daemon at {agent.path} tells user {os.geteuid()} nothing",
            "ask as root, as the daemon's user, or as one in allow-users of a session",
        )
    if answer.status != _OK:
        raise ConnectionFailedError(f"the daemon at {agent.path} answered with {answer.status}", _SEE_THE_LOG)
    return answer.body


# The exchange


def _exchange(agent: AgentSocket, target: str, clock: Clock) -> _Answer:
    owners = socket_owners(agent.path, is_named=agent.is_named)
    deadline = clock.monotonic() + SECONDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _limit(connection, deadline, clock)
        connection.connect(agent.path)
        _check_server(connection, owners)
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        return _receive(connection, deadline, clock)


def _check_server(connection: socket.socket, owners: frozenset[int]) -> None:
    _, uid, _ = peer_credentials(connection)
    if uid not in owners:
        raise _NoAnswerError(f"user {uid} answers there, who is neither root, nor this user, nor the socket's owner")


def _receive(connection: socket.socket, deadline: float, clock: Clock) -> _Answer:
    received = b""
    while (answer := _whole(received)) is None:
        _limit(connection, deadline, clock)
        part = connection.recv(_CHUNK)
        received += part
        if not part:
            raise _NoAnswerError(f"the connection ended after {len(received)} bytes")
        if len(received) > LARGEST_ANSWER:
            raise _NoAnswerError(f"the answer is longer than {LARGEST_ANSWER} bytes")
    return answer


def _limit(connection: socket.socket, deadline: float, clock: Clock) -> None:
    left = deadline - clock.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left)


def _whole(received: bytes) -> _Answer | None:
    """Take an answer apart; None while some of it is missing. It must tell its length."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    line = _STATUS_LINE.match(head)
    lengths = _LENGTH.findall(head + b"\r\n")
    if line is None or len(lengths) != 1:
        raise _NoAnswerError("the answer is not HTTP/1.1 with one Content-Length")
    length = int(lengths[0])
    return _Answer(int(line[1]), body[:length]) if len(body) >= length else None


# The document


def _read(answer: _Answer, agent: AgentSocket, session: str, role_arn: str, now: float) -> Credentials | None:
    if answer.status == _FORBIDDEN:
        user = os.geteuid()
        raise AgentError(
            f"the agent at {agent.path} does not give the session {session} to user {user}",
            f"in the daemon's configuration: allow-users = [\"{user}\"] (or the user's name) in [session.{session}], "
            "and reload it",
        )
    if answer.status == _NOT_FOUND:
        return None
    if answer.status == _UNAVAILABLE:
        raise _without_credentials(
            answer.body, f"the agent at {agent.path} has no credentials for the session {session}"
        )
    if answer.status != _OK:
        raise _NoAnswerError(f"it answered with {answer.status}")
    document = _json_object(answer.body)
    account = _text(document, "AccountId")
    asked = role_arn.split(":")[4]
    if not _ACCOUNT.fullmatch(account) or account != asked:
        raise _NoAnswerError(f"asked for the account {asked}, but was offered another one")
    if document.get("RoleArn", role_arn) != role_arn:
        raise _NoAnswerError("its session of this name is for another role")
    expires_at = _moment(_text(document, "Expiration"))
    if expires_at <= now:
        raise _NoAnswerError("what it offered has expired")
    return Credentials(
        access_key_id=_text(document, "AccessKeyId"),
        secret_access_key=_text(document, "SecretAccessKey"),
        session_token=_text(document, "SessionToken"),
        issued_at=int(now),
        expires_at=expires_at,
        role_arn=role_arn,
    )


def _without_credentials(body: bytes, what: str) -> AgentError:
    """Tell the daemon's reason, if it told one (:mod:`rolesanywhere_helper.protocol.agent`)."""
    found: object = None
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
    error = found.get("error") if isinstance(found, dict) else None
    code, message, hint = (
        (error.get(name) for name in ("code", "message", "hint")) if isinstance(error, dict) else (None, None, None)
    )
    if not isinstance(code, str) or not _CODE.fullmatch(code) or not isinstance(message, str):
        return AgentError(f"{what} at the moment", "'rolesanywhere-helper status' tells more, 'status --wait' waits")
    return AgentError(
        f"{what}: {message[:_LONGEST_TEXT]} ({code})", hint[:_LONGEST_TEXT] if isinstance(hint, str) else None
    )


def _json_object(body: bytes) -> Mapping[str, object]:
    document: object = None
    # The error of json.loads holds the whole body: it must not be left as the context of ours.
    with suppress(ValueError, RecursionError):
        document = json.loads(body)
    if not isinstance(document, dict) or document.get("Version") != 1:
        raise _NoAnswerError("the answer is not a document of version 1")
    return cast("dict[str, object]", document)


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
        raise _NoAnswerError(f"{name} is missing in the answer, or has characters that cannot be there")
    return value


def _moment(text: str) -> int:
    try:
        return timegm(strptime(text, _EXPIRATION))
    except ValueError:
        raise _NoAnswerError("Expiration is not a date like 2026-01-01T00:00:00Z") from None
