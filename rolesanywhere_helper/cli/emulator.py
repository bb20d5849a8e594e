"""``emulator``: a local Roles Anywhere, until it is interrupted."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.parser import add_switch
from rolesanywhere_helper.cli.render import INTERRUPTED
from rolesanywhere_helper.errors import InvalidParameterError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from types import ModuleType

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = """\
  rolesanywhere-helper emulator --directory /tmp/roles-anywhere
  rolesanywhere-helper credential-process --config /tmp/roles-anywhere/config.toml"""

_HIGHEST_PORT = 65_535
_LARGEST_QUOTA = 1_000_000


def add_flags(parser: ArgumentParser) -> None:
    """Declare the emulator's flags."""
    parser.add_argument("--directory", metavar="DIR", help="where its CA, certificates and settings are kept")
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="PORT", help="port to listen on; 0 picks a free one (default: 0)")
    add_switch(parser, "tls", "serve https, with a certificate for 127.0.0.1 and localhost")
    parser.add_argument("--ca", metavar="FILE", action="append", help="add a trust anchor for this CA (repeatable)")
    add_switch(parser, "lenient", "accept what the service only flags in CloudTrail")
    add_switch(parser, "in-memory", "forget at the end what was changed in the accounts")
    parser.add_argument(
        "--quota-per-second",
        dest="quota-per-second",
        metavar="NUMBER",
        help="throttle CreateSession; the service's quota is 10 (default: none)",
    )


def run(invocation: Invocation) -> int:
    """Print one JSON line when it listens, and serve until SIGINT or SIGTERM.

    Raises:
        UsageError: a flag is missing or malformed, or the emulator's packages are not installed.
        ConfigurationError: the directory or a CA file cannot be used, or the address is taken.

    """
    from rolesanywhere_helper.emulator.settings import Settings  # noqa: PLC0415 - only when chosen

    given = invocation.flags
    directory, cas = given.get("directory"), given.get("ca")
    if not isinstance(directory, str) or not directory:
        raise UsageError("missing: --directory", "give a directory that may be new: --directory DIR")
    settings = Settings(
        Path(directory),
        str(given.get("host", "127.0.0.1")),
        _port(str(given.get("port", "0"))),
        tls=given.get("tls") is True,
        extra_cas=tuple(cas) if isinstance(cas, list) else (),
        lenient=given.get("lenient") is True,
        in_memory=given.get("in-memory") is True,
        quota_per_second=_quota(given.get("quota-per-second")),
    )
    ended_by = server_module().serve_forever(settings, lambda line: write_stdout(f"{line}\n".encode()))
    return INTERRUPTED if ended_by is signal.SIGINT else 0


def server_module() -> ModuleType:
    """Import the emulator.

    Raises:
        MissingExtraError: its web library is not installed.

    """
    try:
        from rolesanywhere_helper.emulator import server  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "aiohttp":
            raise
        raise MissingExtraError.named("the emulator", "emulator") from None
    return server


def _quota(given: object) -> float | None:
    if given is None:
        return None
    try:
        quota = float(str(given))
    except ValueError:
        quota = 0.0
    if not 0 < quota <= _LARGEST_QUOTA:
        raise InvalidParameterError(f"this is no quota: {given!a}", "give --quota-per-second a number, such as 10")
    return quota


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > _HIGHEST_PORT:
        raise InvalidParameterError(f"this is not a port: {text!a}", "give --port a number from 0 to 65535")
    return int(text)
