"""``credential-process``: one document on standard output, or nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import session
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.parser import add_session_flags

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = """\
  in ~/.aws/config:
  [profile NAME]
  credential_process = rolesanywhere-helper credential-process --certificate /etc/pki/host.pem \
--private-key /etc/pki/host.key --trust-anchor-arn ARN --profile-arn ARN --role-arn ARN

  rolesanywhere-helper credential-process --session NAME"""


def add_flags(parser: ArgumentParser) -> None:
    """Declare the session flags."""
    add_session_flags(parser)


def run(invocation: Invocation) -> int:
    """Print credentials, from the cache or freshly made.

    Raises:
        HelperError: there are none to be had; nothing is printed.

    """
    from rolesanywhere_helper.aws.loop import refuse_loop  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.protocol.credential_process import render  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.wiring import mint  # noqa: PLC0415 - only when chosen

    refuse_loop()
    loaded = session.load(invocation)
    with mint.open_session(loaded, invocation.arguments, in_gitlab_ci=loaded.in_gitlab_ci) as opened:
        write_stdout(render(opened.get()))
        if not invocation.log.debug:  # who wants to see what happens wants to see it each time
            with suppress(OSError):  # the answer is out: only the next call would have been faster
                opened.remember_command_line(invocation.arguments)
    return 0
