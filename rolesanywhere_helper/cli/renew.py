"""``renew``: what a cached ``credential-process`` starts in the background when its set is due."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import session
from rolesanywhere_helper.cli.parser import add_session_flags
from rolesanywhere_helper.errors import HelperError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = "  rolesanywhere-helper renew --session NAME"

_log = logging.getLogger(__name__)


def add_flags(parser: ArgumentParser) -> None:
    """Declare the session flags: the same command line as that of the call that started it."""
    add_session_flags(parser)


def run(invocation: Invocation) -> int:
    """Renew the cached set if it is due. Nobody reads this process's output: what fails is a warning in the log."""
    from rolesanywhere_helper.wiring import mint  # noqa: PLC0415 - only when chosen

    try:
        loaded = session.load(invocation)
        with mint.open_session(loaded, invocation.arguments, in_gitlab_ci=loaded.in_gitlab_ci) as opened:
            opened.renew()
    except HelperError as error:
        _log.warning("the renewal in the background failed: %s (%s)", error.what, error.hint)
        return error.exit_code
    return 0
