"""What serves: joins sessions, outlets and the outside world into one daemon. It never knows what signs.

Sessions are made by children of their own (``daemon.children``), which are started by command and never imported.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper import __version__
from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.config.child_flags import PROXY, to_flags
from rolesanywhere_helper.daemon import run as life
from rolesanywhere_helper.daemon.audit import AuditLog, tell_who_is_allowed
from rolesanywhere_helper.daemon.children import Children, child_command, child_environment
from rolesanywhere_helper.daemon.metrics import Metrics
from rolesanywhere_helper.daemon.refresher import Refresher, in_a_thread
from rolesanywhere_helper.daemon.sessions import DaemonSession, OpenedStore
from rolesanywhere_helper.daemon.watcher import FileToWatch, Watcher
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.domain.refresh_policy import start_jitter
from rolesanywhere_helper.errors import ConfigurationError, MintChildError, from_code
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.protocol.mint_exchange import Answer, Question
from rolesanywhere_helper.system.boot_clock import SystemBootClock, boot_id
from rolesanywhere_helper.system.clocks import SystemRandomness
from rolesanywhere_helper.system.listeners import passed_sockets
from rolesanywhere_helper.system.names import resolve_policy
from rolesanywhere_helper.system.notify import VARIABLES, Notifier, watchdog_seconds
from rolesanywhere_helper.system.peers import own_namespace, refuse_if_blind
from rolesanywhere_helper.system.private_directory import PrivateDirectory
from rolesanywhere_helper.system.public_file import put_in_place
from rolesanywhere_helper.system.references import References
from rolesanywhere_helper.wiring.outlets import Outlets
from rolesanywhere_helper.wiring.place import key_of, open_directory
from rolesanywhere_helper.wiring.updates import Updates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.config.serve_settings import ServedSession, ServeSettings
    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.daemon.pushes import Pushes
    from rolesanywhere_helper.domain.identity_reference import HeldAs
    from rolesanywhere_helper.domain.role_hop import RoleHop
    from rolesanywhere_helper.domain.serving import AccessPolicy
    from rolesanywhere_helper.system.listeners import PassedSockets

_TOKEN_KEY, _TOKEN_KEY_BYTES = "imds-token.key", 32
_FLUSH_SECONDS = 60.0
_WATCH_AFTER_SECONDS = 0.5
# As long as READY waits for a first attempt.
_SOURCE_SECONDS = 20.0
# What a source has left must be enough to be gone on from.
_LAST_SECONDS = 30
_Sight = tuple[str | None, tuple[int, ...]]
_log = logging.getLogger(__name__)


def run(settings: ServeSettings, reload: Callable[[], ServeSettings], secrets: Mapping[HeldAs, str]) -> int:
    """Serve until SIGTERM; ``reload`` reads the settings again. Return the exit code.

    ``secrets`` are the passphrases and PINs that only this process could get at; a reload may add to them.

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
    return life.run(
        lambda: Daemon(settings, reload, passed, environment, secrets), notifier, seconds, use_uvloop=uses_uvloop
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """A session of the daemon, and what it was made from."""

    settings: SessionSettings
    session: DaemonSession


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What new settings take, ready to be gone over to."""

    kept: dict[str, _Kept]
    policies: dict[str, AccessPolicy]
    watcher: Watcher
    sights: dict[str, _Sight]
    token_key: bytes = field(repr=False)


class Daemon:
    """The service behind :func:`rolesanywhere_helper.daemon.run.live`."""

    def __init__(
        self,
        settings: ServeSettings,
        reload: Callable[[], ServeSettings],
        passed: PassedSockets,
        environment: Mapping[str, str],
        secrets: Mapping[HeldAs, str],
    ) -> None:
        self._secrets = secrets
        self._settings = settings
        self._reload = reload
        self._clock = SystemBootClock()
        self._metrics = Metrics(__version__, time.time())
        is_debug = _log.isEnabledFor(logging.DEBUG)
        self._child_environment = child_environment(environment, settings.identity_variables)
        self._children = Children(child_command(debug=is_debug), self._child_environment)
        self._refresher = Refresher(self._mint)
        self._kept: dict[str, _Kept] = {}
        self._dependents: dict[str, set[str]] = {}
        self._cache = open_directory(settings.cache_directory)
        self._watcher: Watcher | None = None
        self._pushes: Pushes | None = None
        self._told_ready: asyncio.Task[None] | None = None
        self._namespace = own_namespace()
        self._flushed_at = time.monotonic()
        self._seen: dict[str, _Sight] = {}
        self._token_key: bytes | None = None
        self._asides: set[asyncio.Task[None]] = set()
        self._reloaded = asyncio.Event()
        self._audit = AuditLog(self._clock, self._policy_of)
        self._outlets = Outlets(self._clock, self._audit, self._metrics, self._namespace, passed)
        self._updates = Updates(self._refresher, self._metrics, self._clock)

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
        await self._go_over_to(await in_a_thread(self._reload))
        self._reloaded.set()

    def rotate_tokens(self) -> None:
        """Make new container tokens."""
        self._outlets.rotate_tokens()

    async def first_attempts_ended(self) -> None:
        """Return when every session has credentials or has failed once."""
        await self._refresher.first_attempts_ended()

    async def first_attempt_of(self, name: str) -> DaemonSession:
        """Return a session when it has credentials or has failed once."""
        await self._refresher.first_attempt_ended(name)
        return self._kept[name].session

    def try_now(self) -> None:
        """Try each session that has no credentials, however short ago another process has."""
        for name, kept in self._kept.items():
            if kept.session.current() is None:
                self._refresher.identity_changed(name)

    def ready_document(self) -> bytes:
        """Return what the ready file says: where to connect."""
        return self._outlets.ready_document()

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
        for name in [name for name in self._dependents if self._has_what_is_gone_on_from(name)]:
            self._wake_dependents(name)
        now = time.monotonic()
        if now - self._flushed_at >= _FLUSH_SECONDS:
            self._audit.flush()
            self._flushed_at = now

    async def close(self, seconds: float) -> None:
        """Finish what is in flight within so many seconds, and end."""
        if self._told_ready is not None:
            self._told_ready.cancel()
        if self._watcher is not None:
            self._aside(self._watcher.close)
        if self._pushes is not None:
            await self._pushes.close()
        self._updates.close()
        await asyncio.gather(self._outlets.close(seconds), self._refresher.stop())
        self._audit.flush()
        self._remove_ready_file()
        if self._cache is not None:
            self._cache.close()

    # From settings to sessions

    async def _go_over_to(self, settings: ServeSettings) -> None:
        """Go over to new settings, or leave everything as it is.

        What may wait, for a disk or a directory server, or be refused, comes first, and clients are served meanwhile.
        """
        loop = asyncio.get_running_loop()
        new = await in_a_thread(lambda: self._prepare(settings, loop))
        for name, each in new.kept.items():
            self._take_over(self._kept.get(name), each)
        hidden = {served.name for served in settings.sessions if served.is_source_only}
        views = {name: each.session for name, each in new.kept.items() if name not in hidden}
        await self._outlets.go_over_to(settings, views, new.token_key, self._statuses)
        # From here on nothing is refused, and nothing is waited for.
        tell_who_is_allowed({name: policy for name, policy in new.policies.items() if name not in hidden})
        for served in settings.sessions:
            new.kept[served.name].session.reconfigure(policy=new.policies[served.name], region=served.region)
        if settings.ready_file != self._settings.ready_file:
            self._remove_ready_file()
        old, self._kept, self._settings, self._token_key = self._kept, new.kept, settings, new.token_key
        self._watch(new.watcher)
        ended = self._refresher.remove([name for name, was in old.items() if new.kept.get(name) is not was])
        for name, each in new.kept.items():
            if old.get(name) is not each:
                self._refresher.add(each.session)
            elif _wants_an_attempt(each.session) or self._seen.get(name) != new.sights[name]:
                # A renewal hook replaces the certificate and reloads at once: the watcher may not have seen it yet.
                self._refresher.identity_changed(name)
        self._seen = new.sights
        self._updates.go_over_to(settings.updates, views)
        await ended
        await self._follow_pushes()

    def _prepare(self, settings: ServeSettings, loop: asyncio.AbstractEventLoop) -> _Prepared:
        """Make what new settings take, and change nothing yet. Reads files, and asks for users and groups."""
        policies = {served.name: self._resolve(served) for served in settings.sessions}
        if not all(policy.everyone for policy in policies.values()):
            refuse_if_blind(self._namespace.users, os.geteuid())
        kept = {served.name: self._keep(served, policies[served.name], settings) for served in settings.sessions}
        files = {served.name: _files_of(served.settings) for served in settings.sessions}
        # Its first look is taken here. Then the sights: what changes in between is seen twice rather than not at all.
        watcher = Watcher(files, self._identity_changed, loop)
        sights = {served.name: _sight_of(served.settings) for served in settings.sessions}
        return _Prepared(kept, policies, watcher, sights, self._known_token_key(settings))

    def _take_over(self, old: _Kept | None, new: _Kept) -> None:
        """Let a session that a reload has made hand out what there was, and be tried at once if it has nothing else."""
        if new is old or self._watcher is None:  # the same, or this is the start
            return
        if new.session.current() is None:
            new.session.identity_changed()
        if old is not None:
            new.session.take_over(old.session)

    def _keep(self, served: ServedSession, policy: AccessPolicy, settings: ServeSettings) -> _Kept:
        """Return the session of this name if it is still the same, or a new one."""
        old = self._kept.get(served.name)
        if old is not None and old.settings == served.settings:
            return old
        flags, hidden = to_flags(served.settings)
        session = DaemonSession(
            name=served.name,
            role_arn=served.settings.role_arn,
            duration_seconds=served.settings.duration_seconds,
            question=Question(
                {**flags, "session": served.name},
                {**hidden, **self._held_secrets(served)},
                settings.in_gitlab_ci,
                settings.cache_directory,
            ),
            policy=policy,
            region=served.region,
            open_store=lambda: self._open_store(served),
            clock=self._clock,
            randomness=SystemRandomness(),
            boot_id=boot_id(),
            start_jitter_seconds=_jitter(settings.start_jitter_seconds) if old is None else 0,
        )
        session.start()
        return _Kept(served.settings, session)

    def _held_secrets(self, served: ServedSession) -> Mapping[str, str]:
        """Return what this process holds for the session's identity, as it is now."""
        identity = served.settings.identity
        found = {name: identity.held_as(name) for name, _ in identity.secrets}
        return {name: self._secrets[held] for name, held in found.items() if held is not None and held in self._secrets}

    def _open_store(self, served: ServedSession) -> OpenedStore | None:
        key = (
            key_of(served.settings, References(os.environ))
            if served.settings.use_cache and self._cache is not None
            else None
        )
        if key is None or self._cache is None:
            return None
        role = str(served.settings.role_arn)
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
        name = str(question.session["session"])
        began = time.monotonic()
        known = {here: (there, socket) for here, there, socket in self._settings.agents_to_ask}
        agent = known.get(name)
        if agent is None or name not in self._kept:
            answer = await self._make(name, question)
        else:
            from rolesanywhere_helper.wiring.agent_first import agent_first  # noqa: PLC0415 - only where there is one

            role = str(self._kept[name].settings.role_arn)
            there, socket = agent
            answer = await agent_first(socket, there, role, lambda: self._make(name, question))
        code = None if answer.error is None else answer.error.code
        self._metrics.attempted(name, time.monotonic() - began, code)
        if answer.credentials is not None:
            self._wake_dependents(name)
        return answer

    async def _make(self, name: str, question: Question) -> Answer:
        hop = self._kept[name].settings.hops[-1:] if name in self._kept else ()
        return await (self._mint_hop(name, hop[0], question) if hop else self._children.mint(question))

    async def _mint_hop(self, name: str, hop: RoleHop, question: Question) -> Answer:
        """Go on from the session before, once that has been tried; without it, its error is ours."""
        source = self._source_of(self._kept[name].settings)
        if source is None:
            return Answer(error=MintChildError(f"session {name} goes on from one that is no longer served"))
        with suppress(TimeoutError, KeyError):
            async with asyncio.timeout(_SOURCE_SECONDS):
                await self._refresher.first_attempt_ended(source.name)
                while source.is_changing:
                    await self._refresher.looked_at(source.name)
        held = source.current()
        if held is None or held.credentials.expires_at - time.time() < _LAST_SECONDS:
            self._dependents.setdefault(source.name, set()).add(name)
            return _no_source(source, name)
        way = {} if hop.proxy is None else {PROXY: hop.proxy}
        return await self._children.mint(
            Question(question.session, way, question.in_gitlab_ci, hop=hop, source=held.credentials)
        )

    def _source_of(self, settings: SessionSettings) -> DaemonSession | None:
        source = settings.source
        kept = (each for each in self._kept.values() if source is not None and source.is_the_same_as(each.settings))
        return next((each.session for each in kept), None)

    def _wake_dependents(self, name: str) -> None:
        """Let those try at once that could not go on from a session while it had no credentials."""
        for dependent in self._dependents.pop(name, ()):
            self._refresher.identity_changed(dependent)
            self._let_wait(dependent)

    def _has_what_is_gone_on_from(self, name: str) -> bool:
        """Tell whether a session has what others wait for, also if another process has made it."""
        kept = self._kept.get(name)
        held = None if kept is None or kept.session.is_changing else kept.session.current()
        return held is not None and held.credentials.expires_at - time.time() >= _LAST_SECONDS

    def _let_wait(self, name: str) -> None:
        """Let those that go on from a session be made anew once it has been."""
        following = {other for other, kept in self._kept.items() if self._source_name(kept.settings) == name}
        if following:
            self._dependents.setdefault(name, set()).update(following)

    def _source_name(self, settings: SessionSettings) -> str | None:
        source = self._source_of(settings)
        return None if source is None else source.name

    def _watch(self, watcher: Watcher) -> None:
        before, self._watcher = self._watcher, watcher
        # Listening costs a library, which must not keep the first clients waiting.
        asyncio.get_running_loop().call_later(_WATCH_AFTER_SECONDS, watcher.start)
        if before is not None:
            self._aside(before.close)

    async def _follow_pushes(self) -> None:
        """Listen where identities come from that tell of their changes themselves."""
        places = {place for kept in self._kept.values() if (place := _pushed_from(kept.settings)) is not None}
        if self._pushes is None and places:
            from rolesanywhere_helper.daemon.pushes import Pushes, watch_command  # noqa: PLC0415 - few need it

            self._pushes = Pushes(watch_command(), self._child_environment, self._pushed, self._heard_again)
        if self._pushes is not None:
            await self._pushes.follow(places)

    def _pushed(self, place: str) -> None:
        for name, kept in self._kept.items():
            if _pushed_from(kept.settings) == place:
                self._refresher.identity_pushed(name)

    def _heard_again(self, place: str) -> None:
        """Let those try at once for whom nobody answered before."""
        for name, kept in self._kept.items():
            if _pushed_from(kept.settings) == place and kept.session.status().last_error is not None:
                self._refresher.identity_changed(name)

    def _identity_changed(self, name: str) -> None:
        kept = self._kept.get(name)
        if kept is None:
            return
        self._refresher.identity_changed(name)
        self._let_wait(name)
        seen = self._seen

        def look() -> None:
            seen[name] = _sight_of(kept.settings)

        self._aside(look)

    def _aside(self, call: Callable[[], None]) -> None:
        """Do what may wait for a disk, while everything goes on."""
        task = asyncio.ensure_future(in_a_thread(call))
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    def _known_token_key(self, settings: ServeSettings) -> bytes:
        """Return the key of the IMDS tokens: that of before, or the one in the runtime directory, or a new one.

        So a restart knows its tokens, and a reload does without the directory.
        """
        fresh = self._token_key or os.urandom(_TOKEN_KEY_BYTES)
        if self._token_key is not None or not settings.imds or settings.runtime_directory is None:
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
        is_told = False
        while True:
            self._reloaded.clear()
            given = [served.name for served in self._settings.sessions if not served.is_source_only]
            waits = [self._refresher.wait_for_credentials(name) for name in given]
            tasks = [asyncio.ensure_future(wait) for wait in (*waits, self._reloaded.wait())]
            try:
                if not is_told:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if is_told or any(self._kept[name].session.current() is not None for name in given):
                    self._write_ready_file()
                    is_told = True
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


def _no_source(source: DaemonSession, name: str) -> Answer:
    """Say why a session cannot go on from the one before it, and which one has failed."""
    told = source.status()
    code, what, hint = told.last_error or (
        MintChildError.code,
        "it has no credentials yet",
        "see 'rolesanywhere-helper status'",
    )
    why = f"session {name} goes on from session {source.name}, which has no credentials: {what}"
    return Answer(error=from_code(code, why, hint), error_of=told.last_error_of or source.name)


def _wants_an_attempt(session: DaemonSession) -> bool:
    status = session.status()
    return not status.has_credentials or status.last_error is not None


def _pushed_from(settings: SessionSettings) -> str | None:
    """Return the place that tells by itself of new identities for a session, or None."""
    place = settings.identity.certificate
    return place if not settings.hops and scheme_of(place) == "spiffe" else None


def _sight_of(settings: SessionSettings) -> _Sight:
    """Return what tells one generation of an identity from another: what is in the files, and the key's stat."""
    try:
        entry = os.stat(settings.identity.private_key)  # noqa: PTH116 - no use for a Path
    except OSError:
        return key_of(settings, References(os.environ)), ()
    return key_of(settings, References(os.environ)), (entry.st_mtime_ns, entry.st_ino, entry.st_size)


def _files_of(settings: SessionSettings) -> tuple[FileToWatch, ...]:
    identity, references = settings.identity, References(os.environ)
    if settings.hops:  # it is made anew once the session before it has been, never from what that had before
        return () if settings.connection.ca_bundle is None else (FileToWatch(settings.connection.ca_bundle),)
    named = [identity.certificate, identity.intermediates, settings.connection.ca_bundle]
    public = [references.path_of(each) for each in named if each]
    secret = [source.reference for _, source in identity.secrets if source.reference is not None]
    private = [references.path_of(each) for each in (identity.private_key, *secret) if each]
    directory = identity.certificate_directory
    return (
        *(() if directory is None else (FileToWatch(directory, is_directory=True),)),
        *(FileToWatch(path) for path in public if path is not None),
        *(FileToWatch(path, is_private_key=True) for path in private if path is not None),
    )


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
