"""What signs: joins identity, transport, cache and broker for one session.

What is heavy is imported when a session is really minted: a process that finds its answer in the cache, or takes what
another one brings, loads neither cryptography nor requests.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.broker import Broker
from rolesanywhere_helper.domain.freshness import final_seconds
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import AgentError, HelperError
from rolesanywhere_helper.frozen import dataclass, replace
from rolesanywhere_helper.system.clocks import SystemClock, SystemRandomness
from rolesanywhere_helper.system.references import References
from rolesanywhere_helper.wiring.place import key_of, open_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rolesanywhere_helper.config.settings import LoadedSettings, SessionSettings
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import CredentialStore, Identity, Minter, Transport
    from rolesanywhere_helper.system.private_directory import PrivateDirectory

# In total, for everything that one session takes (promise 58); what is left of it after the imports is the minter's.
MINT_SECONDS = 15.0
# The start of Python and its end, outside of what can be measured here.
_AROUND_SECONDS = 0.5
# What only reading it again tells of: the fast path looks at files.
_LONG_WAY = frozenset({"env", "fd", "command", "credential"})
_log = logging.getLogger(__name__)


class Session:
    """One session, ready to be asked for: cached where that is possible."""

    def __init__(self, loaded: LoadedSettings, minter: Minter, before: _Before | None, cache: _Cache | None) -> None:
        self._loaded = loaded
        self._minter = minter
        self._before = before
        self._cache = cache

    def get(self) -> Credentials:
        """Return credentials that are valid now.

        Raises:
            HelperError: there are none to be had.

        """
        return self._minter.mint() if self._cache is None else self._cache.broker.get()

    def renew(self) -> Credentials | None:
        """Renew what is cached, if it is due and nobody else does; without a cache there is nothing to do.

        Returns:
            The new set, if one was made.

        Raises:
            HelperError: it failed.

        """
        if self._before is not None:
            self._before.is_renewed_first = True
        return None if self._cache is None else self._cache.broker.renew()

    def remember_command_line(self, arguments: Sequence[str]) -> None:
        """Let the next process with this command line find the answer without parsing anything."""
        if self._cache is not None:
            from rolesanywhere_helper.cache.disk import save_route  # noqa: PLC0415 - imports json

            identity = self._loaded.settings.identity
            named = [each for each in (identity.certificate, identity.intermediates) if each]
            # Whether a variable, a command, a descriptor or a directory still says the same, only the long way tells.
            if identity.certificate_directory is not None or any(scheme_of(each) in _LONG_WAY for each in named):
                return
            # A route's name is a hash of the command line and variables: a secret in them could be found by trying all.
            if any(source.text is not None for _, source in identity.secrets):
                return
            bundle = self._loaded.settings.connection.ca_bundle
            files = [file.path for file in self._loaded.consulted]
            files += [each for each in (*named, bundle) if each and scheme_of(each) is None]
            paths = [os.fsencode(os.path.abspath(path)) for path in files]  # noqa: PTH100 - links stay links
            save_route(self._cache.directory, self._cache.key, arguments, paths)


@contextmanager
def open_session(
    loaded: LoadedSettings,
    arguments: Sequence[str] | None,
    *,
    in_gitlab_ci: bool = False,
    is_final: bool = False,
    shared: References | None = None,
) -> Iterator[Session]:
    """Join the parts of one session.

    ``arguments`` is the command line that a renewal in the background runs again: one of ``credential-process``. None
    is for a program of somebody else: it starts no process, and asks nobody at the terminal.
    ``is_final`` is for what cannot be renewed where it goes: a set with less than half of its length left is then used
    only if no newer one can be had (promise 83). ``shared`` are the references of the session that goes on from this
    one, whose renewal renews this one too: a descriptor can be read once.
    """
    least_seconds = final_seconds(loaded.settings.duration_seconds) if is_final else 0
    references = shared or References(os.environ)
    with ExitStack() as opened:
        before = _before(loaded, references, opened, arguments, in_gitlab_ci=in_gitlab_ci)
        minter = _minter(loaded, references, before, arguments, in_gitlab_ci=in_gitlab_ci)
        if loaded.agent_socket is not None and loaded.settings.name is not None:
            role = str(loaded.settings.role_arn)
            minter = _AgentFirst(loaded.agent_socket, loaded.settings.name, role, minter, least_seconds)
        key = key_of(loaded.settings, references) if loaded.settings.use_cache else None
        directory = None if key is None else open_directory(loaded.cache_directory)
        if key is None or directory is None:
            yield Session(loaded, minter, before, None)
            return
        from rolesanywhere_helper.cache.disk import DiskStore  # noqa: PLC0415 - not needed without a cache

        opened.enter_context(directory)
        renew = _renew_nothing
        if arguments is not None and shared is None:
            renew = partial(_renew_in_background, directory, key, arguments)
        store = DiskStore(directory, key, str(loaded.settings.role_arn), SystemClock())
        broker = _broker(store, minter, loaded.settings, renew, least_seconds)
        yield Session(loaded, minter, before, _Cache(directory, key, broker))


def _renew_in_background(directory: PrivateDirectory, key: str, arguments: Sequence[str]) -> None:
    fastpath.start_renewal(os.fsencode(directory.path), key.encode(), arguments, SystemClock().now())


def _renew_nothing() -> None:
    """Leave a set that is due to whoever wants the next one."""


def _minter(
    loaded: LoadedSettings,
    references: References,
    before: _Before | None,
    arguments: Sequence[str] | None,
    *,
    in_gitlab_ci: bool,
) -> Minter:
    """Return what makes the session: with certificate and key, or going on from another session's role."""
    if before is None:
        return _LazyMinter(
            loaded.settings,
            references,
            cache_directory=loaded.cache_directory,
            in_gitlab_ci=in_gitlab_ci,
            may_ask=arguments is not None,
        )
    from rolesanywhere_helper.wiring.hops import hop_minter  # noqa: PLC0415 - only where there is one

    return hop_minter(
        loaded.settings.hops[-1],
        before,
        loaded.settings.connection,
        MINT_SECONDS - _AROUND_SECONDS,
        is_guarded=arguments is not None,
    )


def _before(
    loaded: LoadedSettings,
    references: References,
    opened: ExitStack,
    arguments: Sequence[str] | None,
    *,
    in_gitlab_ci: bool,
) -> _Before | None:
    """Open the session that this one goes on from, if it does; each has its own place in the cache."""
    source = loaded.settings.source
    if source is None:
        return None
    first = replace(loaded, settings=source, agent_socket=loaded.source_agent_socket)
    session = open_session(first, arguments, in_gitlab_ci=in_gitlab_ci, shared=references)
    return _Before(opened.enter_context(session))


class _Before:
    """Implements :class:`rolesanywhere_helper.domain.ports.CredentialSource` by the session that is gone on from.

    It is renewed when the next one is, in the same process, and only where that one is really made: nobody needs it
    where a daemon has the next one.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.is_renewed_first = False

    def get(self) -> Credentials:
        if self.is_renewed_first:
            try:
                self._session.renew()
            except HelperError as error:
                _log.info("the session before could not be renewed: %s", error)
        return self._session.get()


@dataclass(frozen=True, slots=True)
class _Cache:
    """The session's place in the cache directory, and the broker over it."""

    directory: PrivateDirectory
    key: str
    broker: Broker


def _broker(
    store: CredentialStore,
    minter: Minter,
    settings: SessionSettings,
    renew_in_background: Callable[[], None],
    least_seconds: int,
) -> Broker:
    return Broker(
        store=store,
        minter=minter,
        # One after the other: each session of a chain has its own time.
        mint_seconds=MINT_SECONDS * (1 + len(settings.hops)),
        renew_in_background=renew_in_background,
        clock=SystemClock(),
        randomness=SystemRandomness(),
        least_seconds=least_seconds,
    )


class _AgentFirst:
    """A minter that asks the daemon of this machine first: its user may read the key, and we need not.

    What the daemon holds may be older than what is asked for here: then a set of our own is tried.
    """

    def __init__(self, socket: str, session: str, role_arn: str, minter: Minter, least_seconds: int) -> None:
        self._socket = socket
        self._session = session
        self._role_arn = role_arn
        self._minter = minter
        self._least_seconds = least_seconds

    def mint(self) -> Credentials:
        from rolesanywhere_helper.vend.agent_client import AgentSocket, ask  # noqa: PLC0415 - only where there is one

        try:
            found = ask(AgentSocket(self._socket, is_named=True), self._session, self._role_arn, SystemClock())
        except AgentError as refusal:
            return self._mint_ourselves(refusal)
        if found is None:
            return self._mint_alone()
        return self._mint_if_low(found)

    def _mint_if_low(self, found: Credentials) -> Credentials:
        if found.expires_at - SystemClock().now() > self._least_seconds:
            return found
        try:
            return self._minter.mint()
        except HelperError as error:
            _log.info("the daemon's credentials are used, though less than half is left of them: %s", error)
            return found

    def _mint_ourselves(self, refusal: AgentError) -> Credentials:
        from rolesanywhere_helper.vend.agent_client import why_there_is_none  # noqa: PLC0415 - only where there is one

        try:
            made = self._minter.mint()
        except HelperError as error:
            raise why_there_is_none(error, refusal, self._socket) from None
        _log.warning("%s (%s)", refusal.what, refusal.hint)
        return made

    def _mint_alone(self) -> Credentials:
        from rolesanywhere_helper.vend.agent_client import why_there_is_none  # noqa: PLC0415 - as above

        try:
            return self._minter.mint()
        except HelperError as error:
            raise why_there_is_none(error, None, self._socket) from None


class _LazyMinter:
    """A minter that imports what it takes when it is first asked; somebody at the terminal may be asked for secrets."""

    def __init__(
        self,
        settings: SessionSettings,
        references: References,
        *,
        cache_directory: str | None,
        in_gitlab_ci: bool,
        may_ask: bool,
    ) -> None:
        self._settings = settings
        self._references = references
        self._cache_directory = cache_directory
        self._in_gitlab_ci = in_gitlab_ci
        self._may_ask = may_ask

    def mint(self) -> Credentials:
        from rolesanywhere_helper.system.terminal import ask_secret  # noqa: PLC0415 - only when minting
        from rolesanywhere_helper.wiring.access import (  # noqa: PLC0415 - as above
            asking,
            question_for,
            secrets_to_ask,
        )

        if not self._may_ask:
            return self._mint_with({})
        asked: dict[str, str] = {}
        for name in secrets_to_ask(self._settings.identity):
            typed = ask_secret(question_for(name))
            if typed is not None:
                asked[name] = typed
        return asking(self._mint_with, ask_secret, asked)

    def _mint_with(self, secrets: Mapping[str, str]) -> Credentials:
        # Who types has the time that it takes: only what follows counts.
        ends_at = SystemClock().monotonic() + MINT_SECONDS - _AROUND_SECONDS
        return session_minter(
            self._settings, lambda: self._load_identity(secrets), transport_for(self._settings), ends_at
        ).mint()

    def _load_identity(self, secrets: Mapping[str, str]) -> Identity:
        from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - imports cryptography
        from rolesanywhere_helper.wiring.access import open_access  # noqa: PLC0415 - as above

        access = open_access(
            os.environ,
            secrets=secrets,
            references=self._references,
            cache_directory=self._cache_directory,
            in_gitlab_ci=self._in_gitlab_ci,
        )
        loaded = registry.load(self._settings.identity, now=SystemClock().now(), access=access)
        for warning in loaded.warnings:
            _log.warning("%s", warning)
        return loaded.identity


def transport_for(settings: SessionSettings) -> Transport:
    """Return the way to the service.

    Raises:
        ConfigurationError: the CA bundle or the proxy's URL cannot be used.

    """
    from rolesanywhere_helper.transport.requests_transport import RequestsTransport  # noqa: PLC0415 - only when minting

    connection = settings.connection
    return RequestsTransport(
        ca_bundle=None if connection.ca_bundle is None else Path(connection.ca_bundle),
        proxy=connection.proxy,
        verify=connection.verify_tls,
    )


def session_minter(
    settings: SessionSettings, load_identity: Callable[[], Identity], transport: Transport, ends_at: float
) -> Minter:
    """Return what makes one session: by ``credential-process`` on a miss, and by the daemon's child.

    ``ends_at`` is the end of its time on the monotonic clock.
    """
    from rolesanywhere_helper.mint.minter import SessionMinter  # noqa: PLC0415 - only when minting

    clock = SystemClock()
    return SessionMinter(
        load_identity=load_identity,
        transport=transport,
        endpoint=settings.connection.endpoint,
        spec=settings.spec,
        clock=clock,
        randomness=SystemRandomness(),
        deadline_seconds=ends_at - clock.monotonic(),
    )
