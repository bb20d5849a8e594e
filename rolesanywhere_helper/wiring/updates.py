"""The credentials files that the daemon keeps fresh: ``[update.NAME]``.

Each has a task of its own, which waits for the session to have another set, and a thread while it writes: a disk that
hangs holds up its own file and nothing else. What goes wrong with a file is told and counted, and tried again; what is
served does not know of it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rolesanywhere_helper.daemon.refresher import in_a_thread
from rolesanywhere_helper.domain.refresh_policy import SHORTEST_WAIT_SECONDS
from rolesanywhere_helper.errors import HelperError
from rolesanywhere_helper.system.clocks import SystemClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rolesanywhere_helper.config.serve_settings import UpdateSettings
    from rolesanywhere_helper.daemon.metrics import Metrics
    from rolesanywhere_helper.daemon.refresher import Refresher
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.serving import BootClock, SessionView
    from rolesanywhere_helper.vend.credentials_file import CredentialsFile

_log = logging.getLogger(__name__)


class Updates:
    """All of them. For the event loop's thread."""

    def __init__(self, refresher: Refresher, metrics: Metrics, clock: BootClock) -> None:
        self._refresher = refresher
        self._metrics = metrics
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def go_over_to(self, updates: Sequence[UpdateSettings], views: Mapping[str, SessionView]) -> None:
        """Keep these files fresh from now on, and leave the others alone. Their sessions have been added before."""
        self.close()
        self._metrics.keep_files(each.name for each in updates)
        for each in updates:
            kept = _KeptFile(each, views[each.session], self._metrics, self._clock)
            self._tasks[each.name] = asyncio.get_running_loop().create_task(self._keep(kept), name=f"file {each.name}")

    def close(self) -> None:
        """Leave all files alone. A write that is under way ends by itself, or with the process: it is atomic."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks = {}

    async def _keep(self, kept: _KeptFile) -> None:
        while True:
            await kept.look()
            await self._refresher.looked_at(kept.session)


class _KeptFile:
    """One profile, the session whose set it is to have, and the set that it has."""

    def __init__(self, settings: UpdateSettings, view: SessionView, metrics: Metrics, clock: BootClock) -> None:
        from rolesanywhere_helper.vend.credentials_file import CredentialsFile  # noqa: PLC0415 - not without a file

        self.session = settings.session
        self._name = settings.name
        self._view = view
        self._metrics = metrics
        self._clock = clock
        self._file: CredentialsFile = CredentialsFile(settings.file, settings.profile, SystemClock())
        self._written: Credentials | None = None
        self._not_before = 0.0
        self._last_error: str | None = None

    async def look(self) -> None:
        """Write the session's set if the file does not have it yet."""
        held = self._view.current()
        if held is None or held.credentials == self._written or self._clock.boottime() < self._not_before:
            return
        credentials = held.credentials
        try:
            is_changed = await in_a_thread(lambda: self._file.write(credentials))
        except HelperError as error:
            self._fail(f"{error.what} ({error.hint})")
        except Exception as error:  # noqa: BLE001 - a mistake of this program must not end the task; its text may be secret
            self._fail(f"unexpected {type(error).__name__}")
        else:
            self._written, self._last_error = credentials, None
            self._metrics.file_written(self._name, self._clock.now())
            if is_changed:
                _log.info(
                    "update %s: profile %s of %s has the credentials %s",
                    self._name,
                    self._file.profile,
                    self._file.path,
                    credentials.access_key_id,
                )

    def _fail(self, what: str) -> None:
        """Count a failure, and tell of it once."""
        self._metrics.file_write_failed(self._name)
        self._not_before = self._clock.boottime() + SHORTEST_WAIT_SECONDS
        if what != self._last_error:
            _log.error("update %s: %s", self._name, what)
        self._last_error = what
