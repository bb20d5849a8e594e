"""``read-certificate-data``: what the official helper prints about a certificate, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import parser as command_line
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = "  rolesanywhere-helper read-certificate-data --certificate /etc/pki/host.pem"


def add_flags(parser: ArgumentParser) -> None:
    """Declare ``--certificate``, and know the official helper's others by name."""
    command_line.add_flags(parser, ["certificate"])
    command_line.refuse_flags(parser, ["cert-selector", "system-store-name", "pkcs11-lib"])


def run(invocation: Invocation) -> int:
    """Print one JSON object without a newline.

    Raises:
        UsageError: no certificate was named.
        UnsafeFileError: the file is no plain one.
        IdentityError: it holds no certificate that can be read.

    """
    from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.protocol import certificate_data  # noqa: PLC0415 - only when chosen

    path = invocation.flags.get("certificate")
    if not isinstance(path, str) or not path:
        raise UsageError("missing: --certificate", "give the PEM file with the certificate: --certificate FILE")
    certificate = registry.load_certificate(path)
    write_stdout(certificate_data.render(certificate.der, certificate.serial, certificate.key_type))
    return 0
