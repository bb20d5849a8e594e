"""``update``: keeps a profile of the shared credentials file fresh, or writes it once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import session
from rolesanywhere_helper.cli.aws_files import CREDENTIALS, aws_file
from rolesanywhere_helper.cli.parser import add_session_flags, add_switch
from rolesanywhere_helper.protocol.ini_text import DEFAULT_PROFILE

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = """\
  rolesanywhere-helper update --session NAME --profile NAME
  rolesanywhere-helper update --session NAME --profile NAME --file /var/lib/agent/credentials --once"""


def add_flags(parser: ArgumentParser) -> None:
    """Declare where to write, and the session flags."""
    parser.add_argument("--profile", metavar="NAME", help=f"profile to write (default: {DEFAULT_PROFILE})")
    parser.add_argument("--file", metavar="FILE", help=f"credentials file (default: {CREDENTIALS.described})")
    add_switch(parser, "once", "write it once, and end")
    add_session_flags(parser)


def run(invocation: Invocation) -> int:
    """Write the profile; without ``--once`` again whenever there is a new set, until a signal comes.

    Raises:
        HelperError: with ``--once``, what kept it from being written; else, what has no meaning.

    """
    from rolesanywhere_helper.aws.loop import refuse_loop  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.wiring import update  # noqa: PLC0415 - only when chosen

    refuse_loop()
    path = aws_file(CREDENTIALS, invocation.flags.get("file"), session.surroundings())
    profile = invocation.flags.get("profile", DEFAULT_PROFILE)
    loaded = session.load(invocation)
    renewal = session.credential_process_line(invocation)
    file = update.refreshed_file(loaded, renewal, path, str(profile))
    if invocation.flags.get("once") is not True:
        return update.keep(file)
    file.write_once()
    return 0
