"""One accepted connection: bytes in, answers out.

It reads its socket itself instead of through asyncio's transports: those read up to 256 KiB at a time, and here
nothing beyond a head is wanted. And where a client repeats its last head byte for byte, as every SDK does on a
connection that it keeps, the answer that still holds is sent again without parsing anything.
"""

from __future__ import annotations

import socket
from enum import Enum, auto
from typing import TYPE_CHECKING

from rolesanywhere_helper.protocol.http import Request, Response
from rolesanywhere_helper.protocol.http_rules import (
    EMPTY_CHUNKED_BODY,
    HEAD_END,
    LONGEST_HEAD,
    Head,
    HostRule,
    early_refusal,
    malformed,
    refusal,
    unwanted_body,
)
from rolesanywhere_helper.vend.http.answers import CONTINUE, render
from rolesanywhere_helper.vend.http.parser import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.serving import Peer
    from rolesanywhere_helper.vend.http.edge import Edge

_READ_BYTES = 2 * LONGEST_HEAD
_SMALL_HEAD = 256
# What a connection remembers is bounded, since there can be thousands of them.
_LONGEST_REMEMBERED = 2048


class Phase(Enum):
    """What a connection is at."""

    READING = auto()
    WRITING = auto()
    GOODBYE = auto()
    CLOSED = auto()


class Connection:
    """Made by the edge for a socket that it admitted. ``deadline`` is on the loop's clock."""

    __slots__ = (
        "_answer",
        "_backlog",
        "_checked",
        "_descriptor",
        "_edge",
        "_has_answered",
        "_head",
        "_host_rule",
        "_is_last",
        "_known",
        "_peer",
        "_received",
        "_sock",
        "_still_holds",
        "deadline",
        "phase",
        "was_active",
    )

    def __init__(self, edge: Edge, sock: socket.socket, peer: Peer, host_rule: HostRule) -> None:
        self._edge = edge
        self._sock = sock
        # What the loop is given: asked for a socket that it does not know yet, Python 3.11's spells it out for an error
        # that nobody reads, which takes longer than all the rest of adding it.
        self._descriptor = sock.fileno()
        self._peer = peer
        self._host_rule = host_rule
        self._received = b""
        self._checked = 0
        self._head: Head | None = None
        self._backlog = b""
        self._has_answered = False
        self._is_last = False
        # The last head, if its answer may be repeated: only while nothing else is received, kept or closing.
        self._known: bytes | None = None
        self._still_holds: Callable[[], bool] = _never
        self._answer = b""
        self.phase = Phase.READING
        self.was_active = False
        self.deadline = edge.time() + edge.limits.head
        edge.loop.add_reader(self._descriptor, self.readable)

    @property
    def is_between_requests(self) -> bool:
        """Whether nothing is owed on it."""
        return self.phase is Phase.READING and not self._is_owed

    def readable(self) -> None:
        """Take what has arrived; the loop calls this."""
        try:
            data = self._sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.drop()
            return
        if data == self._known and self._still_holds():
            self.was_active = True
            self._edge.answered(200)
            self._send(self._answer)
        elif not data:
            self.drop()
        elif self.phase is Phase.READING:
            self._take(data)

    def forget_answer(self) -> None:
        """Ask the route again, also for a head that is repeated."""
        self._known = None

    def turn_away(self, response: Response) -> None:
        """Answer before anything is read, and close."""
        self._edge.count(response)
        self._send(render(response, closes=True), is_last=True)

    def expire(self) -> None:
        """Close, since the deadline has passed."""
        if self.phase is not Phase.GOODBYE and not self.is_between_requests:
            self._edge.refused("deadline")
        self.drop()

    def drop(self) -> None:
        """Close at once."""
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.CLOSED
        self._known = None
        self._edge.loop.remove_reader(self._descriptor)
        self._edge.loop.remove_writer(self._descriptor)
        self._sock.close()
        self._edge.forget(self)

    def _take(self, data: bytes) -> None:
        """Answer every whole request, in order, with one write."""
        owed_before = self._is_owed
        self._known = None
        self._received = self._received + data if self._received else data
        answers = list[bytes]()
        closes = False
        while self._received and not closes:
            rendered, closes = self._next_answer()
            if not rendered:
                break
            answers.append(rendered)
        self.was_active = not self._is_owed
        if self._is_owed and (answers or (self._has_answered and not owed_before)):
            # Counted from where the request begins, the first one from the connection's beginning: what trickles in
            # later does not move it.
            self.deadline = self._edge.time() + self._edge.limits.head
        if answers:
            self._has_answered = True
            self._send(b"".join(answers), is_last=closes)

    @property
    def _is_owed(self) -> bool:
        """Whether the client has begun something that it has not ended."""
        return bool(self._received) or self._head is not None

    def _next_answer(self) -> tuple[bytes, bool]:
        """Take one request from what was received: its answer, empty if it is not whole, and whether it is the last."""
        if self._head is not None:
            return self._after_body(self._head)
        end = self._received.find(HEAD_END, 0, LONGEST_HEAD)
        raw = self._received if end < 0 else self._received[: end + len(HEAD_END)]
        if end >= 0 or self._is_worth_a_look:
            self._checked = len(raw)
            refused = early_refusal(raw)
            if refused is not None:
                return self._refuse(refused)
        if end < 0:
            return b"", False
        self._checked = 0
        self._received = self._received[len(raw) :]
        return self._hear(parse(raw), raw)

    @property
    def _is_worth_a_look(self) -> bool:
        """Whether a part of a head is to be judged already.

        A large one is when it has doubled: one that comes byte by byte would be read through for each of them.
        """
        length = len(self._received)
        return length <= _SMALL_HEAD or length > LONGEST_HEAD or length >= 2 * self._checked

    def _hear(self, head: Head | None, raw: bytes) -> tuple[bytes, bool]:
        """Take a whole head; what it announces may yet have to come."""
        refused = malformed() if head is None else refusal(head, self._host_rule)
        if head is None or refused is not None:
            return self._refuse(refused or malformed(), head)
        if not head.announces_empty_body:
            return self._ask(head, raw)
        self._head = head
        if head.expects_continue and not self._received:
            return CONTINUE, False  # libcurl would wait a second for it
        return self._after_body(head)

    def _after_body(self, head: Head) -> tuple[bytes, bool]:
        if self._received.startswith(EMPTY_CHUNKED_BODY):
            self._received = self._received[len(EMPTY_CHUNKED_BODY) :]
            self._head = None
            return self._ask(head)
        if EMPTY_CHUNKED_BODY.startswith(self._received):
            return b"", False
        return self._refuse(unwanted_body(), head)

    def _ask(self, head: Head, raw: bytes = b"") -> tuple[bytes, bool]:
        """Answer by the route, and remember what may be repeated."""
        closes = head.ends_connection or self._edge.is_draining
        try:
            response = self._edge.route.answer(Request(head.method, head.path, head.fields, self._peer))
        except Exception as fault:  # noqa: BLE001 - a fault of ours must neither end the process nor reach the client
            self._edge.report(fault)
            return self._refuse(Response(500, b"internal error", refusal="fault"), head)
        self._edge.count(response)
        answer = render(response, closes=closes, without_body=head.method == "HEAD")
        is_alone = not self._received and not closes
        if response.still_holds is not None and is_alone and 0 < len(raw) <= _LONGEST_REMEMBERED:
            self._known, self._still_holds, self._answer = raw, response.still_holds, answer
        return answer, closes

    def _refuse(self, response: Response, head: Head | None = None) -> tuple[bytes, bool]:
        """Refuse, and hear no more: what follows cannot be told apart from a body, or is no better."""
        self._edge.count(response)
        self._received, self._head = b"", None
        return render(response, closes=True, without_body=head is not None and head.method == "HEAD"), True

    def _send(self, data: bytes, *, is_last: bool = False, is_rest: bool = False) -> None:
        """Write; what the client does not take now is kept, and nothing is read until it has gone.

        What is the rest of an answer keeps that one's deadline, however slowly it is taken.
        """
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.drop()
            return
        if sent != len(data):
            self._backlog, self._is_last, self._known = data[sent:], is_last, None
            self.phase, self.was_active = Phase.WRITING, False
            if not is_rest:
                self.deadline = self._edge.time() + self._edge.limits.head
            self._edge.loop.remove_reader(self._descriptor)
            self._edge.loop.add_writer(self._descriptor, self._writable)
        elif is_last:
            self._say_goodbye()

    def _writable(self) -> None:
        backlog, self._backlog = self._backlog, b""
        self._edge.loop.remove_writer(self._descriptor)
        self._edge.loop.add_reader(self._descriptor, self.readable)
        self.phase, self.was_active = Phase.READING, not self._is_owed
        self._send(backlog, is_last=self._is_last, is_rest=True)

    def _say_goodbye(self) -> None:
        """End our half, and read on for a moment: a close with unread bytes would reset the answer away."""
        self.phase, self.was_active, self._known = Phase.GOODBYE, False, None
        self.deadline = self._edge.time() + self._edge.limits.linger
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop()


def _never() -> bool:
    return False
