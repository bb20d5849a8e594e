"""What nobody thought of: a client gets the error of a service that failed, the log says what it was."""

from __future__ import annotations

import logging
import traceback

from rolesanywhere_helper.emulator.answers import Refusal

_log = logging.getLogger(__name__)


def refusal_of(error: Exception, doing: str) -> Refusal:
    """Log an exception that was not foreseen, and turn it into 500 InternalServerException.

    Only its name leaves this place, since its text could hold what was being worked on. At debug level the lines of
    the program that led to it are logged too; they show no values.
    """
    name = type(error).__name__
    _log.error("unexpected %s in %s: a mistake of this program; --debug shows where", name, doing)
    for frame in traceback.format_tb(error.__traceback__):
        for line in frame.splitlines():
            _log.debug("%s", line)
    return Refusal("InternalServerException", "Internal server error", 500, f"unexpected {name}")
