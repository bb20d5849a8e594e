"""``configure``: a profile of the AWS config file whose ``credential_process`` is this program."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import descriptors, render, session
from rolesanywhere_helper.cli.aws_files import CONFIG, CREDENTIALS, aws_file
from rolesanywhere_helper.cli.parser import add_session_flags
from rolesanywhere_helper.cli.systemd import installed_command
from rolesanywhere_helper.config.environment import CONFIG_VARIABLE
from rolesanywhere_helper.config.flags import REQUIRED, SESSION_FLAGS, flag_named
from rolesanywhere_helper.config.load import agent_socket_named, given_values
from rolesanywhere_helper.config.values import absolute
from rolesanywhere_helper.domain.arn import is_region
from rolesanywhere_helper.errors import HelperError, InvalidParameterError, UnreadableAwsFileError, UsageError
from rolesanywhere_helper.protocol.command_words import command_line
from rolesanywhere_helper.protocol.ini_text import IniError, config_section, decoded, read_section, set_keys

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping

    from rolesanywhere_helper.cli.commands import FlagValue, Invocation
    from rolesanywhere_helper.config.flags import Flag

EXAMPLE = """\
  rolesanywhere-helper configure --profile deploy --session deploy --profile-region eu-central-1
  rolesanywhere-helper configure --profile deploy --certificate host.pem --private-key host.key \
--trust-anchor-arn ARN --profile-arn ARN --role-arn ARN
  AWS_PROFILE=deploy aws sts get-caller-identity"""

_PROCESS = "credential_process"
# What AWS clients look at before they start a process (botocore.credentials, "create_credential_resolver").
_PREFERRED = (
    "aws_access_key_id",
    "role_arn",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "login_session",
)
_SECRETS = ("-password", "-pin")


def add_flags(parser: ArgumentParser) -> None:
    """Declare where to write, and the session flags."""
    parser.add_argument("--profile", metavar="NAME", help="profile to write")
    parser.add_argument("--file", metavar="FILE", help=f"AWS config file (default: {CONFIG.described})")
    parser.add_argument(
        "--profile-region", dest="profile-region", metavar="REGION", help="region of the profile (default: none is set)"
    )
    add_session_flags(parser)


def run(invocation: Invocation) -> int:
    """Write the profile, and say what was written. What is missing is asked for on a terminal.

    Raises:
        UsageError: something is missing, malformed, or a secret that must not be written.
        HelperError: the file cannot be written; it is as it was.

    """
    from rolesanywhere_helper.vend.credentials_file import check_profile  # noqa: PLC0415 - only when chosen

    _refuse_secrets(invocation)
    invocation = _completed(invocation)
    profile = str(invocation.flags["profile"])
    check_profile(profile)
    region = _region(invocation.flags)
    path = aws_file(CONFIG, invocation.flags.get("file"), session.surroundings())
    try:
        line = command_line([installed_command(), *_words(invocation)])
    except ValueError:
        raise UsageError(
            "the command has characters that cannot stand in a configuration file", "rename the file in question"
        ) from None
    values = {**({} if region is None else {"region": region}), _PROCESS: line}
    is_changed = _write(path, profile, values)
    render.message(f"{'wrote' if is_changed else 'nothing to change in'} profile {profile} of {path}:")
    for key, value in values.items():
        render.message(f"  {key} = {value}")
    for warning in _warnings(path, profile):
        render.message(f"warning: {warning}")
    return 0


# What is asked for


def _completed(invocation: Invocation) -> Invocation:
    """Return the invocation with everything that a profile needs.

    Raises:
        UsageError: something is missing and nobody can be asked, or it has no meaning.

    """
    can_ask = os.isatty(0) and os.isatty(descriptors.STDERR)
    if not invocation.flags.get("profile"):
        if not can_ask:
            raise UsageError("missing: --profile", "give --profile NAME, and the session's flags or --session NAME")
        invocation = _with(invocation, {"profile": _ask("name of the profile")})
    try:
        session.load(invocation)
    except UsageError:
        given = given_values(invocation.flags, session.surroundings())
        missing = [flag_named(name) for name in REQUIRED if name not in given]
        if not can_ask or not missing or "session" in given:
            raise
        answers = {flag.name: _ask(f"{flag.help} ({flag.option})") for flag in missing}
        if "profile-region" not in invocation.flags:
            answers["profile-region"] = _ask("region of the profile, or nothing", is_needed=False)
        invocation = _with(invocation, answers)
        session.load(invocation)
    return invocation


def _with(invocation: Invocation, more: Mapping[str, FlagValue]) -> Invocation:
    return replace(invocation, flags={**invocation.flags, **more})


def _ask(what: str, *, is_needed: bool = True) -> str:
    """Ask on the terminal, until there is an answer.

    Raises:
        UsageError: there is nobody to answer.

    """
    while True:
        descriptors.write(descriptors.STDERR, f"{what}: ".encode())
        line = sys.stdin.readline()
        if not line:
            raise UsageError("the question was not answered", "give what is missing with flags")
        if line.strip() or not is_needed:
            return line.strip()


def _region(flags: Mapping[str, FlagValue]) -> str | None:
    region = flags.get("profile-region")
    if not region:
        return None
    if not isinstance(region, str) or not is_region(region):
        raise InvalidParameterError(f"this is not the name of an AWS region: {region!a}", "for example: eu-central-1")
    return region


# The command


def _words(invocation: Invocation) -> Iterator[str]:
    """Yield the arguments of ``credential-process``: what flags and environment say now, with absolute paths."""
    here = session.surroundings()
    yield "credential-process"
    config = invocation.config or here.variable(CONFIG_VARIABLE)
    if config:
        yield from ("--config", absolute(config, "--config", here.working_directory))
    given = given_values(invocation.flags, here)
    name = session.load(invocation).settings.name
    if name is not None:
        given = {"session": name, **given}
    for flag in SESSION_FLAGS:
        if flag.name in given:
            yield from _flag_words(flag, given[flag.name])
    agent = agent_socket_named(invocation.flags, here)
    if agent is not None:
        yield from ("--agent-socket", agent)


def _flag_words(flag: Flag, value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield flag.option if value else f"{flag.option}=false"
    elif isinstance(value, tuple) and all(isinstance(each, str) for each in value):
        for each in value:
            yield from (flag.option, each)
    elif isinstance(value, tuple):
        yield from (flag.option, json.dumps(dict(value), ensure_ascii=False, separators=(",", ":")))
    else:
        yield from (flag.option, str(value))


def _refuse_secrets(invocation: Invocation) -> None:
    """Refuse what must not stand in a file that other programs copy about.

    Raises:
        UsageError: there is a secret.

    """
    here = session.surroundings()
    for flag in SESSION_FLAGS:
        typed = invocation.flags.get(flag.name)
        value = typed if isinstance(typed, str) and typed else here.variable(flag.variable)
        is_secret = flag.name.endswith(_SECRETS) and not isinstance(typed, bool) and not flag.name.startswith("no-")
        if value and (is_secret or "pin-value=" in value):
            raise UsageError(
                f"{flag.option} holds a secret, which is not written into the AWS config file",
                f"name a file that holds it ({flag.option.removesuffix('-file')}-file FILE)"
                if is_secret
                else "leave pin-value out, and name a file that holds the PIN (pin-source=file:…)",
            )


# The file


def _write(path: str, profile: str, values: Mapping[str, str]) -> bool:
    from rolesanywhere_helper.system.clocks import SystemClock  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.system.replaced_file import rewrite  # noqa: PLC0415 - only when chosen

    def edit(content: bytes | None) -> bytes:
        try:
            text = decoded(content or b"")
            return set_keys(text, config_section(text, profile), values).encode()
        except IniError as error:
            raise UnreadableAwsFileError(f"{path} is no file that the AWS CLI reads: {error}") from None

    return rewrite(path, edit, SystemClock())


def _warnings(path: str, profile: str) -> Iterator[str]:
    """Tell what AWS clients would use instead of what was written."""
    here = session.surroundings()
    credentials = aws_file(CREDENTIALS, None, here) if here.home or here.variable(CREDENTIALS.variable) else None
    preferred = [key for key in _PREFERRED if key in _section(path, profile, is_config=True)]
    if preferred:
        yield f"the profile also has {', '.join(preferred)}, which AWS clients prefer: remove it to use the certificate"
    if credentials is not None and "aws_access_key_id" in _section(credentials, profile, is_config=False):
        yield f"AWS clients prefer the keys of [{profile}] in {credentials}: remove them to use the certificate"


def _section(path: str, profile: str, *, is_config: bool) -> dict[str, str]:
    from rolesanywhere_helper.system.replaced_file import read_if_there  # noqa: PLC0415 - only when chosen

    try:
        text = decoded(read_if_there(path) or b"")
        return read_section(text, config_section(text, profile) if is_config else profile)
    except (IniError, HelperError):
        return {}
