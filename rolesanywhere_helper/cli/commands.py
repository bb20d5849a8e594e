"""The list of commands. What each of them does is imported only when it is chosen."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from rolesanywhere_helper.cli.logs import LogSettings


# A repeatable flag gives a list.
FlagValue = str | bool | list[str]


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command line, understood: ``flags`` holds what was given, by flag name without dashes.

    ``arguments`` is the command line itself, without the program's name.
    """

    command: Command
    arguments: tuple[str, ...]
    flags: Mapping[str, FlagValue]
    config: str | None
    log: LogSettings


class CommandModule(Protocol):
    """What a command's file offers."""

    EXAMPLE: str
    """What ``--help`` shows at its end; lines that can be typed as they are."""

    def add_flags(self, parser: ArgumentParser) -> None:
        """Declare the command's flags."""
        ...

    def run(self, invocation: Invocation) -> int:
        """Do it and return the exit code.

        Raises:
            HelperError: it cannot be done.

        """
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A command; ``is_quiet`` writes nothing to standard error when it succeeds, ``holds_secrets`` leaves no core."""

    name: str
    summary: str
    is_hidden: bool = False
    is_quiet: bool = False
    holds_secrets: bool = True

    def load(self) -> CommandModule:
        """Import what does it."""
        module = import_module(f"rolesanywhere_helper.cli.{self.name.replace('-', '_')}")
        return cast("CommandModule", module)


COMMANDS: tuple[Command, ...] = (
    Command("completion", "print what completes this command line in bash, zsh or fish", holds_secrets=False),
    Command("credential-process", "print one credential_process document for an AWS SDK or CLI", is_quiet=True),
    Command(
        "configure", "write a profile with a credential_process line into the AWS config file", holds_secrets=False
    ),
    Command("csr", "make a signing request for a leaf that the service accepts"),
    Command("demo", "the whole way on this machine: CA, emulator, CreateSession, a call with the credentials"),
    Command("doctor", "look at the whole way, and say at each step what was found and what to do"),
    Command("emulator", "run a local Roles Anywhere that verifies like the service"),
    Command("env", "print the variables with credentials, for a shell or a file"),
    Command("exec", "run a program with credentials that are renewed for as long as it runs"),
    Command("keygen", "make a private key for a leaf"),
    Command("read-certificate-data", "print what a certificate holds", holds_secrets=False),
    Command("serve", "run the daemon: IMDSv2 and container endpoints, agent socket, background refresh"),
    Command("setup", "make trust anchor, profile and role, or print them for CloudFormation or Terraform"),
    Command("sign-string", "sign a fixed string with a private key, to test it"),
    Command("status", "what a running daemon holds: sessions, expiry, next refresh, last error", holds_secrets=False),
    Command("systemd", "print or install the systemd units, with the right paths", holds_secrets=False),
    Command("update", "keep a profile of the shared credentials file fresh, or write it once"),
    Command("version", "print the version", holds_secrets=False),
    Command("renew", "renew the cached set in the background", is_hidden=True, is_quiet=True),
    Command("mint-child", "make one session for the daemon that started this", is_hidden=True),
    Command("identity-watch", "tell the daemon that started this of each new identity", is_hidden=True),
)
