"""The list of requests that the emulator saw. No secret, signature or token ever enters it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

_MOST = 10_000


@dataclass(slots=True)
class Entry:
    """One request, filled in while it is judged. ``reason`` tells what the service's own text leaves out."""

    time: str
    operation: str
    status: int = 0
    error: str | None = None
    reason: str | None = None
    serial: str | None = None
    role_arn: str | None = None
    role_session_name: str | None = None
    access_key_id: str | None = None
    flags: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the entry as ``GET /_emulator/requests`` shows it."""
        return {
            "time": self.time,
            "operation": self.operation,
            "status": self.status,
            "error": self.error,
            "reason": self.reason,
            "serial": self.serial,
            "roleArn": self.role_arn,
            "roleSessionName": self.role_session_name,
            "accessKeyId": self.access_key_id,
            "flags": list(self.flags),
        }


class Journal:
    """The newest entries, in order of arrival."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_MOST)

    def add(self, entry: Entry) -> None:
        """Note one more request."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def documents(self) -> list[dict[str, Any]]:
        """Return all entries, the oldest first."""
        return [entry.document() for entry in self._entries]
