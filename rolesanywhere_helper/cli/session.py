"""What the commands that make a session share: from a command line to settings."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.files import read_trusted
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
