"""Which PINs were refused, written down on disk, so that no process tries one of them again (promise 57).

One file for each lock (a token, a TPM key) in the directory ``pins`` below the cache directory. Its name is a hash of
the lock's, its content what the lock is called, and the sources whose PIN was refused there, with the time::

    {"lock": "pkcs11:serial=…", "refused": [{"source": "file /etc/pki/pin 1795392000000000000", "at": 1795392001}]}

A source stands there *before* its PIN is tried and is taken out when the PIN was right. A process that is killed in
between leaves it in: nobody knows whether that attempt was counted. Attempts at one lock take turns, so that of ten
processes with the same wrong PIN nine find it written down.

Remove the directory to have every PIN tried again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import UnsafeFileError
from rolesanywhere_helper.system.private_directory import PrivateDirectory
from rolesanywhere_helper.system.turns import Turns

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.ports import Clock

DIRECTORY = "pins"
# No more of them are kept for a lock; the oldest goes first.
MOST_SOURCES = 16
# A slow card takes a second or two for one PIN.
_ATTEMPT_SECONDS = 10.0
_PATIENCE_SECONDS = 6.0
_PAUSE_SECONDS = 0.02
_log = logging.getLogger(__name__)


class DiskPinAttempts:
    """The records of one cache directory (:class:`rolesanywhere_helper.domain.ports.PinAttempts`).

    Args:
        cache_directory: The path, or None where there is none: then nothing can be written.
        clock: For the time in the record, and to wait for another process's turn to end.

    """

    def __init__(self, cache_directory: str | None, clock: Clock) -> None:
        self._path = None if cache_directory is None else Path(cache_directory) / DIRECTORY
        self._clock = clock
        self._turns: dict[str, ExitStack] = {}

    def was_refused(self, lock: str, source: str) -> bool:
        """Tell whether the PIN of this source was refused there, or its attempt never came to an end.

        If not, the turn at this lock is taken until the attempt has ended. Where another process does not end its own
        in time, that counts as an attempt that never came to an end.
        """
        directory = self._open()
        if directory is None:
            return False
        with directory:
            if not self._take_turn(directory, lock):
                return True
            is_written = source in self._sources(directory, lock)
        if is_written:
            self._end_turn(lock)
        return is_written

    def begin(self, lock: str, source: str) -> bool:
        """Write down that an attempt begins, and tell whether that could be written."""
        directory = self._open()
        if directory is None:
            return False
        with directory:
            sources = {**self._sources(directory, lock), source: self._clock.now()}
            newest = dict(sorted(sources.items(), key=lambda entry: entry[1])[-MOST_SOURCES:])
            return self._write(directory, lock, newest)

    def succeeded(self, lock: str, source: str) -> None:
        """Forget the attempt: the PIN is right, or it was never judged."""
        directory = self._open()
        if directory is not None:
            with directory:
                sources = self._sources(directory, lock)
                if sources.pop(source, None) is None:
                    pass
                elif sources:
                    self._write(directory, lock, sources)
                else:
                    directory.remove(_file_name(lock))
        self._end_turn(lock)

    def failed(self, lock: str, source: str) -> None:
        """End the attempt: what was written stays."""
        del source
        self._end_turn(lock)

    def _open(self) -> PrivateDirectory | None:
        if self._path is None:
            return None
        try:
            return PrivateDirectory(self._path)
        except (UnsafeFileError, OSError) as error:
            _log.debug("refused PINs cannot be written to %s: %s", self._path, error)
            return None

    def _take_turn(self, directory: PrivateDirectory, lock: str) -> bool:
        if lock in self._turns:
            return True
        turns = Turns(directory, _name(lock), self._clock)
        gives_up_at = self._clock.monotonic() + _PATIENCE_SECONDS
        while True:
            with ExitStack() as stack:
                if stack.enter_context(turns.try_lead(_ATTEMPT_SECONDS)):
                    self._turns[lock] = stack.pop_all()
                    return True
            if self._clock.monotonic() > gives_up_at:
                return False
            self._clock.sleep(_PAUSE_SECONDS)

    def _end_turn(self, lock: str) -> None:
        turn = self._turns.pop(lock, None)
        if turn is not None:
            turn.close()

    @staticmethod
    def _sources(directory: PrivateDirectory, lock: str) -> dict[str, float]:
        """Return the sources in the record, each with its time; a record that cannot be read is none."""
        try:
            told = json.loads(directory.read(_file_name(lock)) or b"null")
            if told is None or told["lock"] != lock:
                return {}
            return {str(each["source"]): float(each["at"]) for each in told["refused"]}
        except (ValueError, KeyError, TypeError):
            return {}

    @staticmethod
    def _write(directory: PrivateDirectory, lock: str, sources: dict[str, float]) -> bool:
        refused = [{"source": source, "at": at} for source, at in sources.items()]
        try:
            directory.write(_file_name(lock), json.dumps({"lock": lock, "refused": refused}).encode())
        except OSError as error:
            _log.debug("an attempt with a PIN cannot be written to %s: %s", directory.path, error.strerror)
            return False
        return True


def _name(lock: str) -> str:
    return hashlib.sha256(lock.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _file_name(lock: str) -> str:
    return f"{_name(lock)}.json"
