"""What serves: joins sessions, outlets and the outside world into one daemon. It never knows what signs.

Sessions are made by children of their own (``daemon.children``), which are started by command and never imported.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import resource
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper import __version__
from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.config.child_flags import to_flags
from rolesanywhere_helper.daemon import run as life
from rolesanywhere_helper.daemon.audit import AuditLog, tell_who_is_allowed
from rolesanywhere_helper.daemon.children import Children, child_command, child_environment
from rolesanywhere_helper.daemon.metrics import Metrics
from rolesanywhere_helper.daemon.refresher import Refresher
from rolesanywhere_helper.daemon.sessions import DaemonSession, OpenedStore
from rolesanywhere_helper.daemon.watcher import FileToWatch, Watcher
from rolesanywhere_helper.domain.refresh_policy import start_jitter
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.protocol.mint_exchange import Question
from rolesanywhere_helper.system.boot_clock import SystemBootClock, boot_id
from rolesanywhere_helper.system.clocks import SystemRandomness
from rolesanywhere_helper.system.listeners import passed_sockets
from rolesanywhere_helper.system.names import resolve_policy
from rolesanywhere_helper.system.notify import VARIABLES, Notifier, watchdog_seconds
from rolesanywhere_helper.system.peers import own_namespace, refuse_if_blind
from rolesanywhere_helper.system.private_directory import PrivateDirectory
from rolesanywhere_helper.system.public_file import put_in_place
from rolesanywhere_helper.wiring.outlets import Outlets
from rolesanywhere_helper.wiring.place import key_of, open_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.config.serve_settings import ServedSession, ServeSettings
    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.domain.serving import AccessPolicy
    from rolesanywhere_helper.protocol.mint_exchange import Answer
    from rolesanywhere_helper.system.listeners import PassedSockets

_TOKEN_KEY, _TOKEN_KEY_BYTES = "imds-token.key", 32
_FLUSH_SECONDS = 60.0
_WATCH_AFTER_SECONDS = 0.5
_Sight = tuple[str | None, tuple[int, ...]]
_log = logging.getLogger(__name__)


def run(settings: ServeSettings, reload: Callable[[], ServeSettings]) -> int:
    """Serve until SIGTERM; ``reload`` reads the settings again. Return the exit code.

    Raises:
        HelperError: what was asked cannot be served.

    """
    environment = dict(os.environ)
    passed = passed_sockets(environment, os.getpid())
    notifier = Notifier.from_environment(environment)
    seconds = watchdog_seconds(environment, os.getpid())
    for name in VARIABLES:  # no child is this service
        os.environ.pop(name, None)
    _raise_descriptor_limit()
    uses_uvloop = settings.event_loop == "uvloop"
    return life.run(lambda: Daemon(settings, reload, passed, environment), notifier, seconds, use_uvloop=uses_uvloop)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A session of the daemon, and what it was made from."""

    settings: SessionSettings
    session: DaemonSession


class Daemon:
    """The service behind :func:`rolesanywhere_helper.daemon.run.live`."""

    def __init__(
        self,
        settings: ServeSettings,
        reload: Callable[[], ServeSettings],
        passed: PassedSockets,
        environment: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._reload = reload
        self._clock = SystemBootClock()
        self._metrics = Metrics(__version__, time.time())
        is_debug = _log.isEnabledFor(logging.DEBUG)
        self._children = Children(child_command(debug=is_debug), child_environment(environment))
        self._refresher = Refresher(self._mint)
        self._kept: dict[str, _Kept] = {}
        self._cache = open_directory(settings.cache_directory)
        self._watcher: Watcher | None = None
        self._told_ready: asyncio.Task[None] | None = None
        self._namespace = own_namespace()
        self._flushed_at = time.monotonic()
        self._seen: dict[str, _Sight] = {}
        self._reloaded = asyncio.Event()
        self._audit = AuditLog(self._clock, self._policy_of)
        self._outlets = Outlets(self._clock, self._audit, self._metrics, self._namespace, passed)

    async def open(self) -> None:
        """Listen, and begin to make sessions.

        Raises:
            HelperError: what was asked cannot be served.

        """
        await self._go_over_to(self._settings)
        self._told_ready = asyncio.ensure_future(self._keep_ready_file())

    async def reload(self) -> None:
        """Read everything again and go over to it; who has no credentials tries at once.

        Raises:
            HelperError: it cannot be used; nothing has changed.

        """
        await self._go_over_to(self._reload())
        self._reloaded.set()
        for name, kept in self._kept.items():
            status = kept.session.status()
            # A renewal hook replaces the certificate and reloads at once: the watcher may not have seen it yet.
            is_changed = self._seen.get(name) != _sight_of(kept.settings)
            if is_changed or not status.has_credentials or status.last_error is not None:
                self._identity_changed(name)

    def rotate_tokens(self) -> None:
        """Make new container tokens."""
        self._outlets.rotate_tokens()

    async def first_attempts_ended(self) -> None:
        """Return when every session has credentials or has failed once."""
        await self._refresher.first_attempts_ended()

    def summary(self) -> str:
        """Say in one line how things are."""
        statuses = [kept.session.status() for kept in self._kept.values()]
        ends = [status.expires_at for status in statuses if status.expires_at is not None]
        first = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(ends))) if ends else "never"
        return f"{len(ends)} of {len(statuses)} sessions have credentials; the next end is {first}"

    @property
    def is_alive(self) -> bool:
        """Tell whether every session is still kept fresh."""
        return self._refresher.is_alive

    def keep_house(self) -> None:
        """Tell what the audit has held back."""
        now = time.monotonic()
        if now - self._flushed_at >= _FLUSH_SECONDS:
            self._audit.flush()
            self._flushed_at = now

    async def close(self, seconds: float) -> None:
        """Finish what is in flight within so many seconds, and end."""
        if self._told_ready is not None:
            self._told_ready.cancel()
        if self._watcher is not None:
            self._watcher.close()
        await asyncio.gather(self._outlets.close(seconds), self._refresher.stop())
        self._audit.flush()
        self._remove_ready_file()
        if self._cache is not None:
            self._cache.close()

    # From settings to sessions

    async def _go_over_to(self, settings: ServeSettings) -> None:
        """Go over to new settings, or leave everything as it is."""
        policies = {served.name: self._resolve(served) for served in settings.sessions}
        if not all(policy.everyone for policy in policies.values()):
            refuse_if_blind(self._namespace.users, os.geteuid())
        kept = {served.name: self._keep(served, policies[served.name], settings) for served in settings.sessions}
        views = {name: each.session for name, each in kept.items()}
        await self._outlets.go_over_to(settings, views, self._token_key(settings), self._statuses)
        tell_who_is_allowed(policies)
        for served in settings.sessions:
            kept[served.name].session.reconfigure(policy=policies[served.name], region=served.region)
        old, self._kept, self._settings = self._kept, kept, settings
        self._watch(settings)
        await self._refresher.remove(name for name, was in old.items() if kept.get(name) != was)
        for name, each in kept.items():
            if old.get(name) != each:
                self._refresher.add(each.session)

    def _keep(self, served: ServedSession, policy: AccessPolicy, settings: ServeSettings) -> _Kept:
        """Return the session of this name if it is still the same, or a new one that has what the old one had."""
        old = self._kept.get(served.name)
        if old is not None and old.settings == served.settings:
            return old
        flags, hidden = to_flags(served.settings)
        session = DaemonSession(
            name=served.name,
            spec=served.settings.spec,
            question=Question({**flags, "session": served.name}, hidden, settings.in_gitlab_ci),
            policy=policy,
            region=served.region,
            open_store=lambda: self._open_store(served),
            clock=self._clock,
            randomness=SystemRandomness(),
            boot_id=boot_id(),
            start_jitter_seconds=_jitter(settings.start_jitter_seconds) if old is None else 0,
        )
        session.start()
        if old is not None:
            session.take_over(old.session)
        return _Kept(served.settings, session)

    def _open_store(self, served: ServedSession) -> OpenedStore | None:
        key = key_of(served.settings) if served.settings.use_cache and self._cache is not None else None
        if key is None or self._cache is None:
            return None
        role = str(served.settings.spec.role_arn)
        on_write_error = functools.partial(self._metrics.cache_write_failed, served.name)
        return OpenedStore(key, DiskStore(self._cache, key, role, _StoreClock(), on_write_error))

    def _resolve(self, served: ServedSession) -> AccessPolicy:
        return resolve_policy(served.access.users, served.access.groups, os.geteuid())

    def _policy_of(self, session: str) -> AccessPolicy | None:
        kept = self._kept.get(session)
        return None if kept is None else kept.session.policy

    def _statuses(self) -> tuple[DaemonSession, ...]:
        return tuple(kept.session for kept in self._kept.values())

    # Around them

    async def _mint(self, question: Question) -> Answer:
        began = time.monotonic()
        answer = await self._children.mint(question)
        code = None if answer.error is None else answer.error.code
        self._metrics.attempted(str(question.session["session"]), time.monotonic() - began, code)
        return answer

    def _watch(self, settings: ServeSettings) -> None:
        files = {served.name: _files_of(served.settings) for served in settings.sessions}
        before, loop = self._watcher, asyncio.get_running_loop()
        for served in settings.sessions:
            self._seen.setdefault(served.name, _sight_of(served.settings))
        self._watcher = Watcher(files, self._identity_changed, loop)
        # Its first look is taken. Listening costs a library, which must not keep the first clients waiting.
        loop.call_later(_WATCH_AFTER_SECONDS, self._watcher.start)
        if before is not None:
            before.close()

    def _identity_changed(self, name: str) -> None:
        kept = self._kept.get(name)
        if kept is not None:
            self._seen[name] = _sight_of(kept.settings)
            self._refresher.identity_changed(name)

    def _token_key(self, settings: ServeSettings) -> bytes:
        """Return the key of the IMDS tokens: kept in the runtime directory, so that a restart knows its tokens."""
        fresh = secrets.token_bytes(_TOKEN_KEY_BYTES)
        if not settings.imds or settings.runtime_directory is None:
            return fresh
        try:
            # For sockets and token files, which others must reach; the key lies in a directory of its own.
            Path(settings.runtime_directory).mkdir(mode=0o755, parents=True, exist_ok=True)
            with PrivateDirectory(Path(settings.runtime_directory) / "private") as directory:
                kept = directory.read(_TOKEN_KEY)
                if kept is not None and len(kept) == _TOKEN_KEY_BYTES:
                    return kept
                directory.write(_TOKEN_KEY, fresh)
        except OSError as error:
            _log.warning("tokens will not survive a restart: %s: %s", settings.runtime_directory, error.strerror)
        return fresh

    async def _keep_ready_file(self) -> None:
        """Tell where we listen, once there is something to be had, and again after each reload."""
        while True:
            self._reloaded.clear()
            waits = [self._refresher.wait_for_credentials(name) for name in self._kept]
            tasks = [asyncio.ensure_future(wait) for wait in (*waits, self._reloaded.wait())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if any(kept.session.current() is not None for kept in self._kept.values()):
                    self._write_ready_file()
                    await self._reloaded.wait()
            finally:
                for task in tasks:
                    task.cancel()

    def _remove_ready_file(self) -> None:
        if self._settings.ready_file is not None:
            with suppress(OSError):
                Path(self._settings.ready_file).unlink()

    def _write_ready_file(self) -> None:
        path = self._settings.ready_file
        try:
            if path is not None:
                put_in_place(Path(path), self._outlets.ready_document())
        except OSError as error:
            _log.error("the ready file %s cannot be written: %s", path, error.strerror)


class _StoreClock:
    """The clock of the store: the daemon never waits for a lock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def _sight_of(settings: SessionSettings) -> _Sight:
    """Return what tells one generation of an identity from another: what is in the files, and the key's stat."""
    try:
        entry = os.stat(settings.identity.private_key)  # noqa: PTH116 - no use for a Path
    except OSError:
        return key_of(settings), ()
    return key_of(settings), (entry.st_mtime_ns, entry.st_ino, entry.st_size)


def _files_of(settings: SessionSettings) -> tuple[FileToWatch, ...]:
    identity, bundle = settings.identity, settings.connection.ca_bundle
    paths = [identity.certificate, identity.intermediates, bundle]
    public = tuple(FileToWatch(path) for path in paths if path is not None)
    return (*public, FileToWatch(identity.private_key, is_private_key=True))


def _jitter(most: int) -> float:
    if not most:
        return 0.0
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("start-jitter needs /etc/machine-id", "run systemd-machine-id-setup") from None
    return start_jitter(machine, most)


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as we may: each client needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
