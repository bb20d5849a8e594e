"""What a service tells systemd (sd_notify(3)): small datagrams to the socket that NOTIFY_SOCKET names.

Nothing is sent where the variable is unset or of a kind we do not speak, and nothing ever waits or raises: a supervisor
that does not read must not hold up the service.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# What must not reach children: they are not the service, and some programs would speak up in its name.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
_MICROSECONDS = 1_000_000
_MICROSECONDS_TEXT = re.compile(r"\d{1,20}", re.ASCII)  # an unsigned 64-bit number


class Notifier:
    """The service's line to its supervisor. Each method returns whether the message was delivered."""

    def __init__(self, address: str | None) -> None:
        """Take the address: a path, or ``@`` and the name of an abstract socket; None if nobody listens."""
        self._address = _socket_address(address)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Notifier:
        """Use the socket that NOTIFY_SOCKET names."""
        return cls(environment.get("NOTIFY_SOCKET"))

    @property
    def is_supervised(self) -> bool:
        """Tell whether somebody wants to know."""
        return self._address is not None

    def ready(self, status: str = "") -> bool:
        """Say that the start, or a reload, is complete."""
        return self._send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        """Say in one line how things are (``systemctl status`` shows it)."""
        return self._send(*_status(text))

    def reloading(self, monotonic: float, status: str = "") -> bool:
        """Say that a reload begins; ``monotonic`` is CLOCK_MONOTONIC in seconds, read after the signal came.

        End it with :meth:`ready`. systemd 253 and later (``Type=notify-reload``) tells by the time whether the message
        belongs to the reload it asked for.
        """
        return self._send("RELOADING=1", f"MONOTONIC_USEC={int(monotonic * _MICROSECONDS)}", *_status(status))

    def stopping(self, status: str = "") -> bool:
        """Say that the service is about to end."""
        return self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> bool:
        """Say that the service is alive; see :func:`watchdog_seconds`."""
        return self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for this much time from now on for what is under way: start, reload or stop."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}")

    def _send(self, *assignments: str) -> bool:
        if self._address is None:
            return False
        message = "\n".join(assignments).encode(errors="backslashreplace")
        try:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            with socket.socket(socket.AF_UNIX, kind) as line:
                line.sendto(message, self._address)
        except OSError:
            return False
        return True


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """Return after how many seconds without a ping the supervisor kills process ``pid``, or None if it does not.

    Ping in half of it (sd_watchdog_enabled(3)).
    """
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not _MICROSECONDS_TEXT.fullmatch(microseconds) or not int(microseconds):
        return None
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(microseconds) / _MICROSECONDS


def _socket_address(address: str | None) -> bytes | None:
    if not address or address[0] not in "/@":
        return None  # vsock:… reaches out of a virtual machine, and is no concern of a service
    encoded = address.encode(errors="surrogateescape")
    return b"\0" + encoded[1:] if address[0] == "@" else encoded


def _status(text: str) -> tuple[str, ...]:
    """Keep a status on its line, so that what it quotes cannot say something of its own."""
    return ("STATUS=" + " ".join(text.split()),) if text else ()
