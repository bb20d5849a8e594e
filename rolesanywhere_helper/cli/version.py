"""``version``: the number alone, as the official helper prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper import __version__
from rolesanywhere_helper.cli.descriptors import write_stdout

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = "  rolesanywhere-helper version"


def add_flags(parser: ArgumentParser) -> None:
    """Declare nothing: this command has no flags of its own."""
    del parser


def run(invocation: Invocation) -> int:
    """Print the version and a newline."""
    del invocation
    write_stdout(f"{__version__}\n".encode())
    return 0
