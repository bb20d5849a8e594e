"""What a step of the way found: a value for people and for machines, without a secret."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rolesanywhere_helper.errors import HelperError

    Fact = str | int | float | bool | list[str] | None

# What a problem of the AWS side or of the certificate ends the command with, and one of the configuration.
FAILED, MISCONFIGURED = 1, 2


class Step(Enum):
    """The steps, in the order in which they are taken; the value is the name in the document."""

    AWS_CONFIG = "aws-config"
    CONFIGURATION = "configuration"
    ENVIRONMENT = "environment"
    DAEMON = "daemon"
    CACHE = "cache"
    ARNS = "arns"
    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    CLOCK = "clock"
    FILES = "files"
    CERTIFICATE = "certificate"
    KEY = "key"
    LEAF = "leaf"
    EXPIRY = "expiry"
    CHAIN = "chain"
    CREATE_SESSION = "create-session"
    CALLER_IDENTITY = "caller-identity"
    ROLE_CHAINING = "role-chaining"


class Severity(Enum):
    """How much a finding matters; the value is its name in the document."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Hint:
    """What to do next, and the command for it where it can be typed as it is."""

    text: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ``what`` says what was found, ``hints`` what to do, the most likely first.

    ``code`` names what is wrong: an error's code (docs/troubleshooting.md), or one of docs/doctor.md. ``facts`` are for
    machines. ``exit_code`` is what a command ends with whose first problem this is.
    """

    step: Step
    severity: Severity
    what: str
    hints: tuple[Hint, ...] = ()
    code: str | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    exit_code: int = 0


def ok(step: Step, what: str, **facts: Fact) -> Finding:
    """Say that all is well."""
    return Finding(step, Severity.OK, what, facts=facts)


def skipped(step: Step, because: str) -> Finding:
    """Say why nobody looked."""
    return Finding(step, Severity.SKIPPED, f"not looked at: {because}")


def warning(step: Step, code: str, what: str, *hints: Hint, **facts: Fact) -> Finding:
    """Say what works now, and may not later or elsewhere."""
    return Finding(step, Severity.WARNING, what, hints, code, facts)


def problem(step: Step, code: str, what: str, *hints: Hint, exit_code: int = FAILED) -> Finding:
    """Say what keeps the way from leading on."""
    return Finding(step, Severity.PROBLEM, what, hints, code, exit_code=exit_code)


def problem_of(step: Step, error: HelperError, hints: Iterable[Hint] = ()) -> Finding:
    """Put an error into a finding: its own hint is the last one."""
    told = tuple(hints) or (hint_of(error.hint),)
    return Finding(step, Severity.PROBLEM, error.what, told, error.code, exit_code=error.exit_code)


def warning_of(step: Step, error: HelperError) -> Finding:
    """Put an error into a finding where it does not end the way."""
    return Finding(step, Severity.WARNING, error.what, (hint_of(error.hint),), error.code)


def hint_of(text: str) -> Hint:
    """Take the command out of an error's hint: what follows ``run:``, up to a remark in brackets."""
    before, found, command = text.partition("run: ")
    if not found or before.strip():
        return Hint(text)
    return Hint(text, command.partition(" (")[0])
