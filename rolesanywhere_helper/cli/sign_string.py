"""``sign-string``: the official helper's test of a private key, byte for byte."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import parser as command_line
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = "  rolesanywhere-helper sign-string --private-key /etc/pki/host.key --digest SHA256 --format text"

_log = logging.getLogger(__name__)


def add_flags(parser: ArgumentParser) -> None:
    """Declare the official helper's flags; those of keys that are not in a file only by name."""
    from rolesanywhere_helper.protocol.signing_test import DIGESTS, SignatureFormat  # noqa: PLC0415 - only when chosen

    command_line.add_flags(
        parser, ["private-key", "certificate", "strict-key-permissions", "accept-insecure-private-key-file"]
    )
    formats = [each.value for each in SignatureFormat]
    parser.add_argument("--digest", choices=DIGESTS, help=f"hash to sign with (default: {DIGESTS[0]})")
    parser.add_argument("--format", choices=formats, help="form of the signature (default: json)")
    command_line.refuse_flags(
        parser,
        [
            "cert-selector",
            "system-store-name",
            "use-latest-expiring-certificate",
            "pkcs11-lib",
            "reuse-pin",
            "tpm-key-password",
            "no-tpm-key-password",
            "pkcs8-password",
        ],
    )


def run(invocation: Invocation) -> int:
    """Print the signature without a newline.

    Raises:
        UsageError: no key was named.
        UnsafeFileError: the file is no plain one, or others could have changed it.
        IdentityError: the key cannot be read or used.

    """
    from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.protocol import signing_test  # noqa: PLC0415 - only when chosen

    given = invocation.flags
    path = given.get("private-key")
    if not isinstance(path, str) or not path:
        raise UsageError("missing: --private-key", "give the PEM file with the key: --private-key FILE")
    loaded = registry.load_signing_key(
        path,
        strict_permissions=given.get("strict-key-permissions") is True,
        accept_insecure_file=given.get("accept-insecure-private-key-file") is True,
        in_gitlab_ci="GITLAB_CI" in os.environ,
    )
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    message = signing_test.message(loaded.key.key_type, loaded.key.public_bytes)
    signature = loaded.key.sign(message, str(given.get("digest", signing_test.DIGESTS[0])))
    output = signing_test.SignatureFormat(given.get("format", signing_test.SignatureFormat.JSON.value))
    write_stdout(signing_test.render(signature, output))
    return 0
