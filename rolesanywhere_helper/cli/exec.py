"""``exec``: runs a program with credentials, renewed for as long as it runs."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NoReturn

from rolesanywhere_helper.cli import logs, session
from rolesanywhere_helper.cli.aws_files import CONFIG, CREDENTIALS, AwsFile, aws_file
from rolesanywhere_helper.cli.parser import add_program, add_session_flags, add_switch
from rolesanywhere_helper.errors import UnsafeFileError, UsageError
from rolesanywhere_helper.protocol.aws_profiles import NOTHING, Shielded, shielded
from rolesanywhere_helper.protocol.ini_text import DEFAULT_PROFILE, IniError, decoded
from rolesanywhere_helper.protocol.program_environment import (
    Handed,
    region_to_set,
    with_endpoint,
    with_variables,
)

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping, Sequence

    from rolesanywhere_helper.cli.commands import Invocation
    from rolesanywhere_helper.config.settings import LoadedSettings

EXAMPLE = """\
  rolesanywhere-helper exec --session NAME -- aws s3 sync site s3://BUCKET
  rolesanywhere-helper exec --session NAME -- terraform apply
  rolesanywhere-helper exec --session NAME --env -- PROGRAM THAT READS ONLY VARIABLES"""

_COMMAND = "command"
_END_OF_FLAGS = "--"
_log = logging.getLogger(__name__)


def add_flags(parser: ArgumentParser) -> None:
    """Declare the program and the session flags."""
    add_switch(
        parser, "env", "give it variables that nobody renews, with at least half of the session left, and no endpoint"
    )
    add_session_flags(parser)
    add_program(parser, _COMMAND, "the program and its arguments, after --")


def run(invocation: Invocation) -> int:
    """Run the program; return its exit code, or 128 and the number of the signal that ended it.

    Standard input, output and error are the program's own: of ours only warnings go to the last, and errors.

    Raises:
        UsageError: no program was named.
        ProgramNotFoundError, ProgramNotStartedError: it cannot be run.
        HelperError: there are no credentials.

    """
    command = _command(invocation)
    if not invocation.log.debug and invocation.log.file is None:
        logging.getLogger(logs.OWN).setLevel(logging.WARNING)
    loaded = session.load(invocation)
    if invocation.flags.get("env") is True:
        _become(command, loaded, invocation)
    return _run(command, loaded, invocation)


def _command(invocation: Invocation) -> list[str]:
    given = invocation.flags.get(_COMMAND, [])
    words = list(given) if isinstance(given, list) else []
    if words[:1] == [_END_OF_FLAGS]:
        del words[0]
    if not words or not words[0]:
        raise UsageError("no program was named", "say what to run after --: rolesanywhere-helper exec … -- CMD")
    return words


# With an endpoint


def _run(command: Sequence[str], loaded: LoadedSettings, invocation: Invocation) -> int:
    from rolesanywhere_helper.cli.serve import do_without_openssl, hold_secrets  # noqa: PLC0415 - only for an endpoint
    from rolesanywhere_helper.config.exec import identities, serve_one  # noqa: PLC0415 - as above
    from rolesanywhere_helper.system.peers import can_tell_tcp_users  # noqa: PLC0415 - as above
    from rolesanywhere_helper.system.terminal import ask_secret  # noqa: PLC0415 - as above

    shield = _shield()
    held = hold_secrets(identities(loaded), {}, ask_secret)
    region = _region(loaded, invocation, shield)
    inherited = _inherited(loaded)
    do_without_openssl()
    from rolesanywhere_helper.system.program import held_back  # noqa: PLC0415 - as above
    from rolesanywhere_helper.system.run_directory import RunDirectory  # noqa: PLC0415 - as above
    from rolesanywhere_helper.system.token_files import read_token  # noqa: PLC0415 - as above
    from rolesanywhere_helper.wiring import exec as wiring  # noqa: PLC0415 - imports asyncio, which is to find no TLS

    with held_back() as mask, RunDirectory(os.environ) as directory:
        token_file = f"{directory.path}/token"
        files = directory.write("config", shield.text.encode()), directory.write("credentials", b"")
        settings = serve_one(loaded, token_file, tells_users=can_tell_tcp_users())

        def environment(url: str) -> Mapping[str, str]:
            token = read_token(token_file, None) or ""
            return with_endpoint(inherited, Handed(url, token, token_file, *files), region)

        return wiring.run(settings, held, wiring.Task(command, environment, mask))


# With variables


def _become(command: Sequence[str], loaded: LoadedSettings, invocation: Invocation) -> NoReturn:
    from rolesanywhere_helper.protocol.shell_variables import variables  # noqa: PLC0415 - only for variables
    from rolesanywhere_helper.system.program import become  # noqa: PLC0415 - as above
    from rolesanywhere_helper.wiring import mint  # noqa: PLC0415 - as above

    renewal = session.credential_process_line(invocation)
    with mint.open_session(loaded, renewal, in_gitlab_ci=loaded.in_gitlab_ci, is_final=True) as opened:
        credentials = opened.get()
    shield = _shield()
    region = _region(loaded, invocation, shield)
    if region is None and _selected() != DEFAULT_PROFILE:  # the program is not told of the profile
        region = shield.region
    become(command, with_variables(_inherited(loaded), variables(credentials), region))


# The user's own settings


def _region(loaded: LoadedSettings, invocation: Invocation, shield: Shielded) -> str | None:
    typed = invocation.flags.get("region")
    return region_to_set(
        os.environ,
        typed=typed if isinstance(typed, str) else None,
        configured=shield.region,
        own=loaded.settings.spec.region,
    )


def _inherited(loaded: LoadedSettings) -> dict[str, str]:
    """Return our environment without certificate, key and passphrases."""
    from rolesanywhere_helper.config.exec import variables_of  # noqa: PLC0415 - as above

    own = variables_of(loaded.settings.identity)
    return {name: value for name, value in os.environ.items() if name not in own}


def _selected() -> str:
    return session.surroundings().variable("AWS_PROFILE", "AWS_DEFAULT_PROFILE") or DEFAULT_PROFILE


def _shield() -> Shielded:
    """Return the user's AWS settings without credentials; of files that cannot be read nothing is taken over."""
    try:
        return shielded(_text(CONFIG), _text(CREDENTIALS), _selected())
    except (IniError, OSError, UnsafeFileError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        _log.warning("the program is not given the settings of your AWS files: %s", why)
        return NOTHING


def _text(which: AwsFile) -> str:
    from rolesanywhere_helper.system.inputs import read_input  # noqa: PLC0415 - as above

    surroundings = session.surroundings()
    if surroundings.home is None and surroundings.variable(which.variable) is None:
        return ""
    path = aws_file(which, None, surroundings)
    if path == os.devnull:  # how people say that there is none
        return ""
    try:
        return decoded(read_input(path).content)  # never waits: a FIFO may have no writer
    except (FileNotFoundError, NotADirectoryError):
        return ""
