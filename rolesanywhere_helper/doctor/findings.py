"""What a step of the way found: a value for people and for machines, without a secret."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import HelperError
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Fact = str | int | float | bool | list[str] | None

# What a problem of the AWS side or of the certificate ends the command with, and one of the configuration.
FAILED, MISCONFIGURED = 1, 2
# The code of an error that nobody thought of: it says nothing of the set-up.
UNFORESEEN = "unforeseen"


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


def unforeseen(step: Step, error: Exception) -> Finding:
    """Own up to an error that nobody thought of.

    Its text is told only where the system made it, since any other could hold what was being worked on.
    """
    said = f", {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    frame, where = error.__traceback__, ""
    while frame is not None:
        code = frame.tb_frame.f_code
        where = f" ({code.co_filename.rpartition('/')[2]}:{frame.tb_lineno}, {code.co_name})"
        frame = frame.tb_next
    what = f"doctor itself failed here: {type(error).__name__}{said}{where}"
    return problem(step, UNFORESEEN, what, Hint("this is a mistake of this program: please report it, with this line"))


def taken(step: Step, take: Callable[[], Finding]) -> Finding:
    """Take a step, whatever happens: what it raises is what was found."""
    try:
        return take()
    except HelperError as error:
        return problem_of(step, error)
    except Exception as error:  # noqa: BLE001 - what nobody thought of must not end the report
        return unforeseen(step, error)


def hint_of(text: str) -> Hint:
    """Take the command out of an error's hint: what follows ``run:``, up to a remark in brackets."""
    before, found, command = text.partition("run: ")
    if not found or before.strip():
        return Hint(text)
    return Hint(text, command.partition(" (")[0])
