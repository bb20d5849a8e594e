"""Joins a session, its cache or the daemon, and a profile of the credentials file: the command ``update``."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import HelperError
from rolesanywhere_helper.system.boot_clock import SystemBootClock
from rolesanywhere_helper.system.clocks import SystemClock, SystemRandomness
from rolesanywhere_helper.system.notify import Notifier
from rolesanywhere_helper.system.stop_signals import StopSignals
from rolesanywhere_helper.vend.credentials_file import CredentialsFile
from rolesanywhere_helper.vend.refreshed_file import RefreshedFile
from rolesanywhere_helper.wiring import mint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rolesanywhere_helper.config.settings import LoadedSettings
    from rolesanywhere_helper.domain.credentials import Credentials

_log = logging.getLogger(__name__)


class FreshestSource:
    """A session of which the freshest set is wanted: one that is due is renewed first, and used if that fails.

    The session is opened for each call, since its place in the cache is another one once the certificate has changed.
    """

    def __init__(self, loaded: LoadedSettings, renewal: Sequence[str] | None) -> None:
        self._loaded = loaded
        self._renewal = renewal

    def get(self) -> Credentials:
        """Return the set.

        Raises:
            HelperError: there is none to be had.

        """
        loaded = self._loaded
        with mint.open_session(loaded, self._renewal, in_gitlab_ci=loaded.in_gitlab_ci) as opened:
            try:
                made = opened.renew()
            except HelperError as error:
                _log.info("the renewal failed: %s", error)
                failure = error
            else:
                return opened.get() if made is None else made
            try:
                return opened.get()
            except HelperError:
                raise failure from None


def refreshed_file(loaded: LoadedSettings, renewal: Sequence[str], path: str, profile: str) -> RefreshedFile:
    """Join the parts. ``renewal`` is the command line of ``credential-process`` for the same session."""
    return RefreshedFile(
        FreshestSource(loaded, renewal),
        CredentialsFile(path, profile, SystemClock()),
        lambda: _sight(loaded),
        SystemBootClock(),
        SystemRandomness(),
    )


def keep(file: RefreshedFile) -> int:
    """Keep the file fresh until a signal says to stop; return the exit code.

    A supervisor is told when the first attempt has ended.

    Raises:
        HelperError: it could not even begin.

    """
    notifier = Notifier.from_environment(os.environ)
    with StopSignals() as signals:
        file.keep(signals.wait, notifier.ready)
        notifier.stopping()
    return signals.exit_code


def _sight(loaded: LoadedSettings) -> tuple[object, ...]:
    """Return what changes when somebody replaces certificate or key; what is no file is not looked at."""
    identity = loaded.settings.identity
    return tuple(_stat(path) for path in (identity.certificate, identity.private_key, identity.intermediates) if path)


def _stat(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116 - a path stays the text that it is
    except (OSError, ValueError):
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size
