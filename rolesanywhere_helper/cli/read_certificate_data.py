"""``read-certificate-data``: what the official helper prints about a certificate, byte for byte."""

from __future__ import annotations

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
    from rolesanywhere_helper.identity.loaded import CertificateFacts, ListedCertificate

EXAMPLE = "  rolesanywhere-helper read-certificate-data --certificate /etc/pki/host.pem"


def add_flags(parser: ArgumentParser) -> None:
    """Declare ``--certificate``, and what is needed to find one that is not in a file."""
    command_line.add_flags(parser, IDENTITY_FLAGS)


def run(invocation: Invocation) -> int:
    """Print one JSON object without a newline; a list where a token's URI fits several certificates.

    Raises:
        UsageError: no certificate was named.
        UnsafeFileError: the file is no plain one.
        IdentityError: it holds no certificate that can be read.

    """
    from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.protocol import certificate_data  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.system.references import References  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.system.terminal import ask_secret  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.wiring.access import asking, open_access  # noqa: PLC0415 - only when chosen

    warn_of_secrets(invocation)
    reference = load_identity(invocation.flags, surroundings())
    if not reference.certificate and reference.certificate_directory is None:
        raise UsageError("missing: --certificate", "give the PEM file with the certificate: --certificate FILE")
    references = References(os.environ)
    if reference.certificate_directory is not None:
        doors = open_access(os.environ, references=references)
        write_stdout(certificate_data.render_matching(registry.matching_certificates(reference, doors)))
        return 0

    def load(secrets: Mapping[str, str]) -> tuple[ListedCertificate, ...] | CertificateFacts:
        doors = open_access(
            os.environ, secrets=secrets, references=references, cache_directory=surroundings().cache_directory
        )
        return registry.list_certificates(reference, doors)

    found = asking(load, ask_secret, {})
    if isinstance(found, tuple):
        write_stdout(certificate_data.render_list(found) + b"\n")
    else:
        write_stdout(certificate_data.render(found.der, found.serial, found.key_type))
    return 0
