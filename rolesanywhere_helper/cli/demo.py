"""``demo``: the whole way on this machine, told step by step; standard output gets one credential_process document."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import render
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.emulator import server_module

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping

    from rolesanywhere_helper.cli.commands import Invocation
    from rolesanywhere_helper.config.settings import LoadedSettings
    from rolesanywhere_helper.domain.credentials import Credentials

EXAMPLE = "  rolesanywhere-helper demo"


def add_flags(parser: ArgumentParser) -> None:
    """Declare the demo's only flag."""
    parser.add_argument(
        "--directory", metavar="DIR", help="keep what the demo makes in DIR (default: a temporary directory)"
    )


def run(invocation: Invocation) -> int:
    """Make a CA, run the emulator, turn a certificate into credentials and ask STS whose they are.

    Raises:
        MissingExtraError: the emulator's packages are not installed.
        HelperError: a step failed.

    """
    from rolesanywhere_helper.emulator.settings import Settings  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.protocol import credential_process  # noqa: PLC0415 - only when chosen

    server = server_module()
    with _directory(invocation.flags.get("directory")) as directory, server.running(Settings(directory)) as emulator:
        credentials = _walk(emulator.announcement)
    write_stdout(credential_process.render(credentials))
    return 0


@contextmanager
def _directory(given: object) -> Iterator[Path]:
    if isinstance(given, str) and given:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory(prefix="rolesanywhere-demo-") as temporary:
        yield Path(temporary) / "emulator"


def _walk(announcement: Mapping[str, str]) -> Credentials:
    from rolesanywhere_helper.aws.caller_identity import caller_arn  # noqa: PLC0415 - imports boto3
    from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - imports cryptography
    from rolesanywhere_helper.wiring import mint  # noqa: PLC0415 - only when chosen

    render.message(f"1. Made a throwaway CA ({announcement['caCertificate']}) and a certificate that it issued:")
    render.message(f"   {announcement['certificate']}")
    render.message(f"2. The emulator plays Roles Anywhere at {announcement['endpoint']} and trusts that CA:")
    render.message(f"   {announcement['trustAnchorArn']}")
    loaded = _settings(announcement)
    with mint.open_session(loaded, ()) as opened:
        credentials = opened.get()
    algorithm = registry.load_certificate(loaded.settings.identity).key_type.signing_algorithm
    render.message(f"3. CreateSession, signed with {algorithm} by the certificate's key, was verified and answered.")
    until = datetime.fromtimestamp(credentials.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    render.message(f"4. Got temporary credentials {credentials.access_key_id}, valid until {until}.")
    arn = caller_arn(credentials, region=announcement["region"], endpoint_url=announcement["endpoint"])
    render.message(f"5. STS GetCallerIdentity, asked with them, says: {arn}")
    render.message("6. On standard output, the document that a credential_process line gives to an AWS SDK:")
    return credentials


def _settings(announcement: Mapping[str, str]) -> LoadedSettings:
    """Load the emulator's configuration as any other, apart from the user's environment and cache."""
    from rolesanywhere_helper.config.environment import Surroundings  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.config.files import read_trusted  # noqa: PLC0415 - the same
    from rolesanywhere_helper.config.load import load_session  # noqa: PLC0415 - the same

    nowhere = Surroundings({}, "/")  # the emulator's paths are absolute
    return load_session({"session": "default", "no-cache": True}, nowhere, read_trusted, announcement["config"])
