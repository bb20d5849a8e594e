"""``identity-watch``: what the daemon starts to hear of new identities. It writes one line for each, and never a key.

It ends when its standard input does, which is a pipe of the daemon's, and when the Workload API ends the call: who
started it starts it again.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import parser as command_line
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.session import surroundings
from rolesanywhere_helper.config.load import load_identity
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = "  (only the daemon runs this: it reads a line from standard output for each new identity)"
_STDIN = 0


def add_flags(parser: ArgumentParser) -> None:
    """Declare the place to watch."""
    command_line.add_flags(parser, ["certificate"])


def run(invocation: Invocation) -> int:
    """Write ``svid FINGERPRINT`` for each answer of the Workload API, until standard input ends.

    Raises:
        UsageError: no Workload API was named, or an optional dependency is missing.
        WorkloadApiError: it cannot be reached, or has ended the call.
        ObjectNotFoundError: it has not, or no longer, the identity that is to be watched.

    """
    from rolesanywhere_helper.domain.workload_reference import parse_workload_reference  # noqa: PLC0415 - when chosen

    try:
        from rolesanywhere_helper.identity import workload_api  # noqa: PLC0415 - needs an optional library
    except ImportError:
        raise MissingExtraError.named("the SPIFFE Workload API", "spiffe") from None
    certificate = load_identity(invocation.flags, surroundings()).certificate
    if scheme_of(certificate) != "spiffe":
        raise UsageError("--certificate names no Workload API", "this command is the daemon's own")
    wanted = parse_workload_reference(certificate)
    with workload_api.Call(workload_api.socket_of(wanted, os.environ)) as call:
        while True:
            readable, _, _ = select.select([call.fileno(), _STDIN], [], [])
            if _STDIN in readable and not os.read(_STDIN, 1):
                return 0
            svids = call.read() if call.fileno() in readable else None
            if svids is not None:
                chosen, _ = workload_api.choose(svids, wanted.spiffe_id)
                write_stdout(f"svid {workload_api.fingerprint(chosen)}\n".encode())
