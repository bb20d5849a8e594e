"""What signs: joins identity, transport, cache and broker for one session.

What is heavy is imported when a session is really minted: a process that finds its answer in the cache, or takes what
another one brings, loads neither cryptography nor requests.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.broker import Broker
from rolesanywhere_helper.errors import HelperError, IdentityError, UnsafeFileError
from rolesanywhere_helper.system.clocks import SystemClock, SystemRandomness
from rolesanywhere_helper.wiring.place import key_of, open_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rolesanywhere_helper.config.settings import LoadedSettings, SessionSettings
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import Identity, Minter, Transport
    from rolesanywhere_helper.system.private_directory import PrivateDirectory

# In total, for everything that one session takes (promise 58); what is left of it after the imports is the minter's.
MINT_SECONDS = 15.0
# The start of Python and its end, outside of what can be measured here.
_AROUND_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Session:
    """One session, ready to be asked for: cached where that is possible."""

    def __init__(self, loaded: LoadedSettings, minter: Minter, cache: _Cache | None) -> None:
        self._loaded = loaded
        self._minter = minter
        self._cache = cache

    def get(self) -> Credentials:
        """Return credentials that are valid now.

        Raises:
            HelperError: there are none to be had.

        """
        return self._minter.mint() if self._cache is None else self._cache.broker.get()

    def renew(self) -> None:
        """Renew what is cached, if it is due and nobody else does; without a cache there is nothing to do.

        Raises:
            HelperError: it failed.

        """
        if self._cache is not None:
            self._cache.broker.renew()

    def remember_command_line(self, arguments: Sequence[str]) -> None:
        """Let the next process with this command line find the answer without parsing anything."""
        if self._cache is not None:
            from rolesanywhere_helper.cache.disk import save_route  # noqa: PLC0415 - imports json

            identity = self._loaded.settings.identity
            consulted = [file.path for file in self._loaded.consulted]
            bundle = self._loaded.settings.connection.ca_bundle
            files = [*consulted, identity.certificate, *(path for path in (identity.intermediates, bundle) if path)]
            paths = [os.fsencode(os.path.abspath(path)) for path in files]  # noqa: PTH100 - links stay links
            save_route(self._cache.directory, self._cache.key, arguments, paths)


@contextmanager
def open_session(loaded: LoadedSettings, arguments: Sequence[str], *, in_gitlab_ci: bool = False) -> Iterator[Session]:
    """Join the parts of one session. ``arguments`` is the command line that a renewal in the background runs again."""
    minter: Minter = _LazyMinter(loaded.settings, in_gitlab_ci=in_gitlab_ci)
    if loaded.agent_socket is not None and loaded.settings.name is not None:
        minter = _AgentFirst(loaded.agent_socket, loaded.settings.name, str(loaded.settings.spec.role_arn), minter)
    key = key_of(loaded.settings) if loaded.settings.use_cache else None
    directory = None if key is None else open_directory(loaded.cache_directory)
    if key is None or directory is None:
        yield Session(loaded, minter, None)
        return
    with directory:
        yield Session(loaded, minter, _Cache(directory, key, loaded.settings, minter, arguments))


class _Cache:
    """The session's place in the cache directory, and the broker over it."""

    def __init__(
        self,
        directory: PrivateDirectory,
        key: str,
        settings: SessionSettings,
        minter: Minter,
        arguments: Sequence[str],
    ) -> None:
        from rolesanywhere_helper.cache.disk import DiskStore  # noqa: PLC0415 - not needed without a cache

        self.directory = directory
        self.key = key
        clock = SystemClock()

        def renew_in_background() -> None:
            fastpath.start_renewal(os.fsencode(directory.path), key.encode(), arguments, clock.now())

        self.broker = Broker(
            store=DiskStore(directory, key, str(settings.spec.role_arn), clock),
            minter=minter,
            mint_seconds=MINT_SECONDS,
            renew_in_background=renew_in_background,
            clock=clock,
            randomness=SystemRandomness(),
        )


class _AgentFirst:
    """A minter that asks the daemon of this machine first: its user may read the key, and we need not."""

    def __init__(self, socket: str, session: str, role_arn: str, minter: Minter) -> None:
        self._socket = socket
        self._session = session
        self._role_arn = role_arn
        self._minter = minter

    def mint(self) -> Credentials:
        from rolesanywhere_helper.vend.agent_client import AgentSocket, ask  # noqa: PLC0415 - only where there is one

        try:
            found = ask(AgentSocket(self._socket, is_named=True), self._session, self._role_arn, SystemClock())
        except HelperError as refusal:
            return self._mint_ourselves(refusal)
        return self._minter.mint() if found is None else found

    def _mint_ourselves(self, refusal: HelperError) -> Credentials:
        try:
            return self._minter.mint()
        except (IdentityError, UnsafeFileError):
            # Who may not read the key wants to know why the daemon said no.
            raise refusal from None


class _LazyMinter:
    """A minter that imports what it takes when it is first asked."""

    def __init__(self, settings: SessionSettings, *, in_gitlab_ci: bool) -> None:
        self._settings = settings
        self._in_gitlab_ci = in_gitlab_ci

    def mint(self) -> Credentials:
        clock = SystemClock()
        ends_at = clock.monotonic() + MINT_SECONDS - _AROUND_SECONDS
        return session_minter(self._settings, self._load_identity, transport_for(self._settings), ends_at).mint()

    def _load_identity(self) -> Identity:
        from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - imports cryptography

        now = SystemClock().now()
        loaded = registry.load(self._settings.identity, now=now, in_gitlab_ci=self._in_gitlab_ci)
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
