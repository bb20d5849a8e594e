"""``sign-string``: the official helper's test of a private key, byte for byte."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import parser as command_line
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.session import surroundings, warn_of_secrets
from rolesanywhere_helper.config.flags import IDENTITY_FLAGS
from rolesanywhere_helper.config.load import load_identity
from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = "  rolesanywhere-helper sign-string --private-key /etc/pki/host.key --digest SHA256 --format text"

_log = logging.getLogger(__name__)


def add_flags(parser: ArgumentParser) -> None:
    """Declare the official helper's flags."""
    from rolesanywhere_helper.protocol.signing_test import DIGESTS, SignatureFormat  # noqa: PLC0415 - only when chosen

    command_line.add_flags(parser, IDENTITY_FLAGS)
    formats = [each.value for each in SignatureFormat]
    parser.add_argument("--digest", choices=DIGESTS, help=f"hash to sign with (default: {DIGESTS[0]})")
    parser.add_argument("--format", choices=formats, help="form of the signature (default: json)")


def run(invocation: Invocation) -> int:
    """Print the signature without a newline.

    Raises:
        UsageError: no key was named.
        UnsafeFileError: the file is no plain one, or others could have changed it.
        IdentityError: the key cannot be read or used.

    """
    from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.protocol import signing_test  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.system.references import References  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.system.terminal import ask_secret  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.wiring.access import asking, open_access  # noqa: PLC0415 - only when chosen

    given = invocation.flags
    warn_of_secrets(invocation)
    reference = load_identity(given, surroundings())
    if not reference.private_key and reference.certificate_directory is None:
        raise UsageError("missing: --private-key", "give the file with the key: --private-key FILE")
    references = References(os.environ)

    digest = str(given.get("digest", signing_test.DIGESTS[0]))

    def sign(secrets: Mapping[str, str]) -> tuple[bytes, tuple[str, ...]]:
        doors = open_access(
            os.environ,
            secrets=secrets,
            references=references,
            cache_directory=surroundings().cache_directory,
            in_gitlab_ci=surroundings().in_gitlab_ci,
        )
        loaded = registry.load_signing_key(reference, doors)
        message = signing_test.message(loaded.key.key_type, loaded.key.public_bytes)
        # Signing too: only then a token or TPM may say that it needs another secret.
        return loaded.key.sign(message, digest), loaded.warnings

    signature, warnings = asking(sign, ask_secret, {})
    for warning in warnings:
        _log.warning("%s", warning)
    output = signing_test.SignatureFormat(given.get("format", signing_test.SignatureFormat.JSON.value))
    write_stdout(signing_test.render(signature, output))
    return 0
