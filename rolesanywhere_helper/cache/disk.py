"""The cache on disk: one set, one remembered failure and one lock for each session.

=================  ======================================================================================
``KEY.set``        the document that ``credential-process`` prints, under the line that ``fastpath`` reads
``KEY.failure``    the last failed attempt: code, text and hint, no secret
``KEY.renewal``    its time is the moment before which no renewal in the background begins
``KEY.attempt``    its time is the moment at which the daemon's last attempt began
``KEY.end``        when the daemon's set ends on BOOTTIME: a clock that was set back lengthens nothing
``KEY.lock``       whoever has it mints
``route-…``        what leads from a command line to a KEY without parsing anything (``fastpath``)
=================  ======================================================================================

Everything here is allowed to be missing, torn, old or somebody else's: then it is not there. Nothing here is allowed
to make a command fail that could have worked without it.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.domain.freshness import low_at
from rolesanywhere_helper.domain.ports import StoredEnd, StoredFailure, StoredSet
from rolesanywhere_helper.errors import from_code
from rolesanywhere_helper.protocol import credential_process
from rolesanywhere_helper.system.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rolesanywhere_helper.domain.ports import Clock
    from rolesanywhere_helper.system.private_directory import PrivateDirectory

_MOST_ROUTES = 64
# Nobody is made to wait longer than this by what a file says.
_LONGEST_MEMORY_SECONDS = 60
_TEXTS = ("AccessKeyId", "SecretAccessKey", "SessionToken")
_log = logging.getLogger(__name__)


class DiskStore:
    """One session's place in the cache directory (the port ``CredentialStore``)."""

    def __init__(
        self,
        directory: PrivateDirectory,
        key: str,
        role_arn: str,
        clock: Clock,
        on_write_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory = directory
        self._on_write_error = on_write_error
        self._key = key
        self._role_arn = role_arn
        self._clock = clock
        self._turns = Turns(directory, key, clock)

    def load(self) -> StoredSet | None:
        """Return the set at rest, whatever its age; None for anything torn, foreign or of another version."""
        content = self._directory.read(f"{self._key}.set")
        if content is None:
            return None
        try:
            head, document = fastpath.read_set(content, self._key.encode())
            return StoredSet(self._credentials(head, json.loads(document)), head.due_at)
        except (ValueError, KeyError, TypeError):
            _log.debug("the cached set %s cannot be read: it will be replaced", self._key)
            return None

    def save(self, entry: StoredSet) -> None:
        """Put a new set in the old one's place. A full disk costs the next process a call, not this one its answer."""
        made = entry.credentials
        head = fastpath.Head(made.issued_at, entry.due_at, low_at(made.issued_at, made.expires_at), made.expires_at)
        content = fastpath.write_set(self._key.encode(), head, credential_process.render(made))
        if self._write(f"{self._key}.set", content):
            self._directory.remove(f"{self._key}.failure")

    def load_failure(self) -> StoredFailure | None:
        """Return the last failed attempt."""
        content = self._directory.read(f"{self._key}.failure")
        if content is None:
            return None
        try:
            told = json.loads(content)
            failed_at, until = float(told["failedAt"]), float(told["until"])
            error = from_code(str(told["code"]), str(told["what"]), str(told["hint"]))
        except (ValueError, KeyError, TypeError):
            return None
        return StoredFailure(failed_at, min(until, failed_at + _LONGEST_MEMORY_SECONDS), error)

    def save_failure(self, failure: StoredFailure) -> None:
        """Remember a failed attempt for those who wait, and for those who come soon."""
        error = failure.error
        told = {"failedAt": failure.failed_at, "until": failure.until}
        self._write(
            f"{self._key}.failure",
            json.dumps({**told, "code": error.code, "what": error.what, "hint": error.hint}).encode(),
        )

    @contextmanager
    def try_lead(self, seconds: float) -> Iterator[bool]:
        """Try to become the one process that mints; whoever leads sweeps up after those who were killed."""
        with self._turns.try_lead(seconds) as leads:
            if leads:
                with suppress(OSError):
                    self._directory.sweep(f"{self._key}.", self._clock.now())
            yield leads

    def postpone_renewal(self, until: float) -> None:
        """Let no renewal in the background begin before a moment."""
        self._directory.wait_until(f"{self._key}.renewal", until)

    def load_end(self) -> StoredEnd | None:
        """Return when the daemon's last set ends on BOOTTIME."""
        content = self._directory.read(f"{self._key}.end")
        try:
            told = json.loads(content or b"null")
            return StoredEnd(str(told["accessKeyId"]), str(told["bootId"]), float(told["endsAt"]))
        except (ValueError, KeyError, TypeError):
            return None

    def save_end(self, end: StoredEnd) -> None:
        """Write down when the daemon's set ends on BOOTTIME."""
        told = {"accessKeyId": end.access_key_id, "bootId": end.boot_id, "endsAt": end.ends_at}
        self._write(f"{self._key}.end", json.dumps(told).encode())

    def load_attempt(self) -> float | None:
        """Return when the daemon last began to make a session."""
        try:
            descriptor = self._directory.open(f"{self._key}.attempt", os.O_RDONLY)
        except OSError:
            return None
        try:
            return os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)

    def save_attempt(self, at: float) -> None:
        """Write down that an attempt begins. It outlives this process, not the machine's power: nothing is synced."""
        try:
            descriptor = self._directory.open(f"{self._key}.attempt", os.O_WRONLY | os.O_CREAT)
            try:
                os.utime(descriptor, (at, at))
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.debug("the attempt cannot be written to %s: %s", self._directory.path, error.strerror)

    def _write(self, name: str, content: bytes) -> bool:
        try:
            self._directory.write(name, content)
        except OSError as error:
            _log.warning("cannot write to the cache directory %s: %s", self._directory.path, error.strerror)
            self._on_write_error()
            return False
        return True

    def _credentials(self, head: fastpath.Head, document: dict[str, object]) -> Credentials:
        access_key_id, secret, token = (str(document[name]) for name in _TEXTS)
        expires_at = datetime.strptime(str(document["Expiration"]), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        if int(expires_at.timestamp()) != head.expires_at or not (access_key_id and secret and token):
            raise ValueError
        return Credentials(access_key_id, secret, token, head.issued_at, head.expires_at, self._role_arn)


def save_route(directory: PrivateDirectory, key: str, arguments: Sequence[str], paths: Sequence[bytes]) -> None:
    """Lay the route from this process's command line and environment to a set, for the next time it is run.

    ``paths`` are the files that the answer depends on, also those whose absence it depends on.
    """
    with suppress(OSError, ValueError):
        here = os.getcwdb()  # noqa: PTH109 - as bytes, as fastpath sees it
        name = fastpath.route_name(arguments, os.environb, here).decode()
        content = fastpath.route_content(key.encode(), paths)
        if directory.read(name) != content:
            directory.write(name, content)
            directory.keep_newest("route-", _MOST_ROUTES)
