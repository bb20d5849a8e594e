"""``csr``: a signing request that a CA can turn into a leaf the service accepts.

It is signed by any key that this program knows. The key may lie in a file, a token or a TPM: only its signature leaves
it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import parser as command_line
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.session import surroundings, warn_of_secrets
from rolesanywhere_helper.config.flags import IDENTITY_FLAGS, Flag, Kind, Place
from rolesanywhere_helper.config.load import load_identity
from rolesanywhere_helper.config.values import from_text
from rolesanywhere_helper.errors import UnwritableFileError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = (
    "  rolesanywhere-helper csr --private-key host.key --subject '/O=Example/CN=this-host' --out host.csr\n"
    "  openssl x509 -req -in host.csr -CA ca.pem -CAkey ca.key -copy_extensions copy -days 90 -out host.pem"
)
_OF_CERTIFICATES = frozenset(
    {
        *("certificate", "intermediates", "cert-selector", "cert-directory", "system-store-name"),
        "use-latest-expiring-certificate",
    }
)
_OUT = Flag("out", Kind.PATH, Place.NOWHERE, "the file for the request (default: -, standard output)", "FILE")
_STANDARD_OUTPUT = "-"
_log = logging.getLogger(__name__)


def add_flags(parser: ArgumentParser) -> None:
    """Declare the key, what the request asks for, and where it goes."""
    command_line.add_flags(parser, (name for name in IDENTITY_FLAGS if name not in _OF_CERTIFICATES))
    parser.add_argument("--subject", metavar="NAME", help="/O=Example/CN=this-host, or CN=this-host,O=Example")
    parser.add_argument("--dns", metavar="NAME", action="append", help="DNS name to certify; can be repeated")
    parser.add_argument("--uri", metavar="URI", action="append", help="URI to certify; can be repeated")
    command_line.add_flag(parser, _OUT)


def run(invocation: Invocation) -> int:
    """Write the request as PEM.

    Raises:
        UsageError: no key or subject was named, or a name has no meaning.
        UnsafeFileError: the key's file is no plain one, or others could have changed it.
        IdentityError: the key cannot be read or used.
        UnwritableFileError: the file cannot be written.

    """
    from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.pki import requests  # noqa: PLC0415 - as above
    from rolesanywhere_helper.system.references import References  # noqa: PLC0415 - as above
    from rolesanywhere_helper.system.terminal import ask_secret  # noqa: PLC0415 - as above
    from rolesanywhere_helper.wiring.access import asking, open_access  # noqa: PLC0415 - as above

    given, place = invocation.flags, surroundings()
    warn_of_secrets(invocation)
    reference = load_identity(given, place)
    named = {"--private-key": reference.private_key, "--subject": given.get("subject")}
    missing = [flag for flag, value in named.items() if not value]
    if missing:
        raise UsageError(f"missing: {', '.join(missing)}", f"for example:{EXAMPLE.splitlines()[0][1:]}")
    wanted = requests.requested_leaf(str(given["subject"]), _names(given.get("dns")), _names(given.get("uri")))
    references = References(os.environ)

    def sign(secrets: Mapping[str, str]) -> bytes:
        doors = open_access(
            os.environ,
            secrets=secrets,
            references=references,
            cache_directory=place.cache_directory,
            in_gitlab_ci=place.in_gitlab_ci,
        )
        key, warnings = registry.load_private_half(reference, doors)
        for warning in warnings:
            _log.warning("%s", warning)
        return requests.request_pem(wanted, key.public_key, lambda message: key.sign(message, requests.DIGEST))

    _write(given.get(_OUT.name), asking(sign, ask_secret, {}), place.working_directory)
    return 0


def _names(given: object) -> tuple[str, ...]:
    return tuple(str(each) for each in given) if isinstance(given, list) else ()


def _write(out: object, request: bytes, directory: str) -> None:
    if not isinstance(out, str) or out in {"", _STANDARD_OUTPUT}:
        write_stdout(request)
        return
    from rolesanywhere_helper.system.public_file import put_in_place  # noqa: PLC0415 - only when chosen

    path = str(from_text(_OUT, out, _OUT.option, directory))
    try:
        put_in_place(Path(path), request)
    except OSError as error:
        raise UnwritableFileError(f"{path} cannot be written: {error.strerror}", "check --out") from error
