"""The short-lived processes that make sessions for the daemon: started by command, asked over pipes, never trusted.

A child has the private key and the network, and code of others (a token's vendor module, TLS) runs in it. Whatever it
does, this process loses nothing but the attempt: a child that crashes, hangs, talks nonsense or too much is ended, with
everything it started, and the answer is an error. So many run at a time at most, and none longer than its deadline.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.errors import ChildNotStartedError, MintChildError
from rolesanywhere_helper.protocol.mint_exchange import LARGEST, MAGIC, Answer, decode_answer, encode_question

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rolesanywhere_helper.protocol.mint_exchange import Question

MOST_AT_A_TIME = 3
# What the child allows itself for a session (15 s), and the start of a Python on a slow machine.
DEADLINE_SECONDS = 20.0
COMMAND = "mint-child"
# What a child finds of the daemon's environment. Left out on purpose: what talks to the service manager (NOTIFY_SOCKET,
# LISTEN_*, WATCHDOG_*: only the daemon may), the daemon's directories (CACHE_DIRECTORY …: the question names files by
# their whole paths), every setting (ROLESANYWHERE_HELPER_*, AWS_*, *_PROXY: they were taken into account when the
# question was made), and what changes how Python runs (PYTHON*, LD_*).
PASSED_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "LANG", "LANGUAGE", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ"),
        "CREDENTIALS_DIRECTORY",  # credential:NAME
        *("SOFTHSM2_CONF", "OPENSC_CONF", "YKCS11_DBG", "PKCS11_MODULE_PATH", "PKCS11SPY", "PKCS11SPY_OUTPUT"),
        *("TPM2TOOLS_TCTI", "TPM2TSS_TCTI", "TCTI"),
        "SPIFFE_ENDPOINT_SOCKET",
    }
)
# Of the C library, of p11-kit; and of what is commonly asked by ``command:`` for a key.
_PASSED_PREFIXES = ("LC_", "P11_KIT_", "VAULT_", "BAO_", "OP_", "PASSWORD_STORE_", "GNUPG")
_LONGEST_HEAD = 64
# The kernel needs no more to end a process that was killed, unless a file system hangs under it.
_PATIENCE_SECONDS = 2.0
_LAST_WORDS_SECONDS = 0.5
# What is logged of one child's standard error.
_MOST_LINES = 100
_LONGEST_LINE = 1000
_LOUD = (" WARNING ", " ERROR ", " CRITICAL ")
_LOUD_BEGINNINGS = ("error: ", "hint: ")
_STDIN, _STDOUT = 0, 1
_WHO = "the process that makes the session"
_log = logging.getLogger(__name__)


def child_command(*, debug: bool = False) -> list[str]:
    """Return the words that start a child; its log lines are as detailed as the daemon's own."""
    return [*fastpath.program(), COMMAND, *(["--debug"] if debug else [])]


def child_environment(environment: Mapping[str, str], besides: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return what a child may see of an environment; ``besides`` names more of it."""
    return {
        name: value
        for name, value in environment.items()
        if name in PASSED_VARIABLES or name in besides or name.startswith(_PASSED_PREFIXES)
    }


class Children:
    """Starts children and reads their answers.

    Args:
        command: The words that start a child (:func:`child_command`).
        environment: Its whole environment (:func:`child_environment`).
        limit: How many may run at a time; who asks for more waits for its turn.
        deadline_seconds: From the start of a child to its end, the time before its turn not counted.

    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        limit: int = MOST_AT_A_TIME,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)
        self._turns = asyncio.Semaphore(limit)
        self._deadline_seconds = deadline_seconds

    async def mint(self, question: Question) -> Answer:
        """Ask a new child. What goes wrong with it is an answer too: a :class:`MintChildError`.

        When cancelled the child is ended before this returns.
        """
        message = encode_question(question)
        async with self._turns:
            try:
                transport, child = await asyncio.get_running_loop().subprocess_exec(
                    _Child,
                    *self._command,
                    env=self._environment,
                    cwd="/",
                    close_fds=True,
                    # A group of its own, so that what it starts ends with it, and no signal to ours reaches it.
                    start_new_session=True,
                )
            except OSError as error:  # no processes or descriptors left, or the program is gone
                return Answer(error=ChildNotStartedError(f"{_WHO} cannot be started: {error.strerror}"))
            try:
                return await self._ask(transport, child, message)
            finally:
                await _end(transport, child)

    async def _ask(self, transport: asyncio.SubprocessTransport, child: _Child, message: bytes) -> Answer:
        stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(_STDIN))
        stdin.write(message)
        stdin.close()  # once it is written
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await child.is_done.wait()
            if child.has_exited.is_set():
                with suppress(TimeoutError):  # the last of its log lines
                    async with asyncio.timeout(_LAST_WORDS_SECONDS):
                        await child.has_closed.wait()
        except TimeoutError:
            return _failed(f"gave no answer within {self._deadline_seconds:.3g} s, and was ended")
        return child.answer()


class _Child(asyncio.SubprocessProtocol):
    """What was heard of one child.

    It is done when it has ended, and either all it wrote was read or its answer is whole: something that it started may
    live on with its pipes.
    """

    def __init__(self) -> None:
        self.is_done = asyncio.Event()
        self.has_exited = asyncio.Event()
        self.has_closed = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None
        self._received = bytearray()
        self._is_too_long = False
        self._lines: _Lines | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Know the process."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._lines = _Lines(self._transport.get_pid())

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take a piece of the answer, or of what is for the log."""
        if fd != _STDOUT:
            if self._lines is not None:
                self._lines.add(data)
            return
        self._received += data
        self._is_too_long = len(self._received) > LARGEST + _LONGEST_HEAD
        if self._is_too_long:
            self.is_done.set()
        self._look()

    def process_exited(self) -> None:
        """Know that the process is gone; what it wrote may still be under way."""
        self.has_exited.set()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Know that the process is gone, and everything it wrote has been read."""
        del exc
        self.has_closed.set()
        if self._lines is not None:
            self._lines.end()
        self.is_done.set()

    def _look(self) -> None:
        if self.has_exited.is_set() and _is_whole(self._received):
            self.is_done.set()

    def answer(self) -> Answer:
        """Return what the child answered, or what is wrong with that."""
        if self._is_too_long:
            return _failed("wrote more than an answer can be, and was ended")
        code = None if self._transport is None else self._transport.get_returncode()
        if code:
            return _failed(f"{_how_it_ended(code)} without an answer")
        try:
            return decode_answer(bytes(self._received))
        except ValueError:
            return _failed("gave an answer that has no meaning")


class _Lines:
    """The log of one child's standard error: the first lines of it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._rest = b""
        self._count = 0

    def add(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._log(line)
        self._rest = rest[:_LONGEST_LINE]

    def end(self) -> None:
        if self._rest:
            self._log(self._rest)
        self._rest = b""

    def _log(self, line: bytes) -> None:
        self._count += 1
        if self._count == _MOST_LINES + 1:
            _log.debug("child %d says more, which is not shown", self._pid)
        if self._count > _MOST_LINES:
            return
        text = line[:_LONGEST_LINE].decode(errors="backslashreplace")
        is_loud = any(mark in text[:40] for mark in _LOUD) or text.startswith(_LOUD_BEGINNINGS)
        _log.log(logging.WARNING if is_loud else logging.DEBUG, "child %d: %s", self._pid, text)


def _is_whole(received: bytearray) -> bool:
    head, newline, body = received.partition(b"\n")
    magic, _, length = head.partition(b" ")
    return bool(newline) and magic == MAGIC and length.isdigit() and len(body) >= int(length)


def _how_it_ended(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def _failed(what: str) -> Answer:
    return Answer(error=MintChildError(f"{_WHO} {what}"))


async def _end(transport: asyncio.SubprocessTransport, child: _Child) -> None:
    """Kill a child with everything that it started and that still holds its pipes, and see that it is reaped.

    Where even a kill does not end it (a file system that hangs), nobody waits any longer: the loop reaps it when it
    goes.
    """
    if not child.has_closed.is_set():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
    is_cancelled = False
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while not child.has_exited.is_set():
        try:
            async with asyncio.timeout_at(deadline):
                await child.has_exited.wait()
        except asyncio.CancelledError:  # the child must not outlive us: first it, then what we were told
            is_cancelled = True
        except TimeoutError:
            _log.warning(
                "child %d does not end though it was killed: something in the system hangs", transport.get_pid()
            )
            break
    transport.close()
    if is_cancelled:
        raise asyncio.CancelledError
