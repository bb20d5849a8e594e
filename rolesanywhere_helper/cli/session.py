"""What the commands that make a session share: from a command line to settings."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.config.flags import AGENT_SOCKET, SESSION_FLAGS
from rolesanywhere_helper.config.identity import warnings_of_secrets
from rolesanywhere_helper.config.load import load_session

if TYPE_CHECKING:
    from rolesanywhere_helper.cli.commands import Invocation
    from rolesanywhere_helper.config.settings import LoadedSettings

_log = logging.getLogger(__name__)


def surroundings() -> Surroundings:
    """Return where this process was started."""
    try:
        working_directory = os.getcwd()  # noqa: PTH109 - a path stays the text that it is
    except FileNotFoundError:  # it was removed: only relative paths need it
        working_directory = ""
    return Surroundings(os.environ, working_directory, is_root=os.geteuid() == 0)


def credential_process_line(invocation: Invocation) -> tuple[str, ...]:
    """Return the command line of a ``credential-process`` for the session that another command's flags name.

    A renewal in the background runs it again, and knows no flags of that other command.
    """
    words = ["credential-process"]
    if invocation.config is not None:
        words.append(f"--config={invocation.config}")
    for flag in (*SESSION_FLAGS, AGENT_SOCKET):
        given = invocation.flags.get(flag.name, [])
        values = given if isinstance(given, list) else [given]
        words += [f"{flag.option}={str(value).lower() if isinstance(value, bool) else value}" for value in values]
    return tuple(words)


def warn_of_secrets(invocation: Invocation) -> None:
    """Warn of secrets on the command line, where a command makes no session (which warns by itself)."""
    for warning in warnings_of_secrets(invocation.flags, {}):
        _log.warning("%s", warning)


def load(invocation: Invocation) -> LoadedSettings:
    """Work out the session that a command line asks for, and log what the user should know about it.

    Raises:
        UsageError: it is incomplete, contradictory, malformed or not supported.
        UnsafeFileError: the configuration file or CA bundle is not to be trusted.

    """
    loaded = load_session(invocation.flags, surroundings(), read_trusted, invocation.config)
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    for note in loaded.notes:
        _log.info("%s", note)
    _log.debug("settings: %s", loaded.settings)
    return loaded
