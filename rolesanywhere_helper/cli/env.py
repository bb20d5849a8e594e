"""``env``: credentials as environment variables, for a shell to evaluate or a program to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import logs, session
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.parser import add_session_flags
from rolesanywhere_helper.protocol.shell_variables import Format, render, variables

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = """\
  eval "$(rolesanywhere-helper env --session NAME)"
  rolesanywhere-helper env --session NAME --format fish | source
  rolesanywhere-helper env --session NAME --format powershell | Out-String | Invoke-Expression
  docker run --env-file <(rolesanywhere-helper env --session NAME --format dotenv) IMAGE"""


def add_flags(parser: ArgumentParser) -> None:
    """Declare the format and the session flags."""
    parser.add_argument(
        "--format",
        choices=[form.value for form in Format],
        help="how the variables are written (default: sh, for every POSIX shell)",
    )
    add_session_flags(parser)


def run(invocation: Invocation) -> int:
    """Print the variables. Nobody can renew them where they go: at least half of the session's length is asked for.

    A region typed with ``--region`` is among them. One from elsewhere is not: it says where the session is made, and
    must not replace the region that a user works in.

    Raises:
        HelperError: there are no credentials to be had; nothing is printed.

    """
    from rolesanywhere_helper.wiring import mint  # noqa: PLC0415 - only when chosen

    logs.heed_warnings_only(invocation.log)
    loaded = session.load(invocation)
    renewal = session.credential_process_line(invocation)
    with mint.open_session(loaded, renewal, in_gitlab_ci=loaded.in_gitlab_ci, is_final=True) as opened:
        credentials = opened.get()
    region = invocation.flags.get("region")
    values = variables(credentials, region if isinstance(region, str) and region else None)
    write_stdout(render(values, Format(invocation.flags.get("format", Format.SH.value))))
    return 0
