"""The command line as a value, read off the very parsers that understand it: for completion and manual pages."""

from __future__ import annotations

import argparse
from enum import Enum
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli.commands import COMMANDS
from rolesanywhere_helper.cli.parser import PROGRAM, command_parser, main_parser
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rolesanywhere_helper.cli.commands import Command

_DIRECTORY, _FILES, _SESSION = "DIR", frozenset({"FILE", "PATH"}), "SESSION"
_MANY = frozenset({argparse.REMAINDER, argparse.ZERO_OR_MORE, argparse.ONE_OR_MORE, argparse.PARSER})


class Value(Enum):
    """What the value of a flag names, as far as a shell can complete it."""

    NOTHING = "a switch: there is no value"
    FILE = "a file, or a socket"
    DIRECTORY = "a directory"
    SESSION = "a session of the configuration file"
    CHOICE = "one of a few words"
    TEXT = "nothing that a shell knows"


@dataclass(frozen=True, slots=True)
class Option:
    """One flag: its spellings, the long one last, and what its value is."""

    names: tuple[str, ...]
    help: str
    value: Value
    metavar: str = ""
    choices: tuple[str, ...] = ()
    is_value_optional: bool = False
    is_repeatable: bool = False

    @property
    def name(self) -> str:
        """The long spelling."""
        return self.names[-1]


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What may be typed: after a command's name, or for the empty name before it.

    ``operands`` is how the usage calls what is no flag (empty where there is nothing else), ``words`` what it can be.
    ``runs_a_program`` tells that the operands are a command line of their own.
    """

    name: str
    summary: str
    options: tuple[Option, ...]
    example: str = ""
    operands: str = ""
    words: tuple[str, ...] = ()
    runs_a_program: bool = False

    @property
    def full_name(self) -> str:
        """The words that begin it."""
        return f"{PROGRAM} {self.name}".rstrip()


def program() -> CommandLine:
    """Return what may stand before a command's name, with the names of the commands."""
    options = _options(main_parser().actions)
    names = tuple(command.name for command in _shown())
    summary = "temporary AWS credentials from an X.509 certificate, with IAM Roles Anywhere"
    return CommandLine("", summary, options, operands="COMMAND", words=names)


def commands() -> tuple[CommandLine, ...]:
    """Return every command that the help lists, in its order."""
    return tuple(_command_line(command) for command in _shown())


def _shown() -> Iterable[Command]:
    return (command for command in COMMANDS if not command.is_hidden)


def _command_line(command: Command) -> CommandLine:
    actions = command_parser(command).actions
    operands = [action for action in actions if not action.option_strings]
    return CommandLine(
        command.name,
        command.summary,
        _options(actions),
        command.load().EXAMPLE,
        " ".join(_operand(action) for action in operands),
        tuple(str(word) for action in operands for word in action.choices or ()),
        runs_a_program=any(action.nargs in _MANY for action in operands),
    )


def _operand(action: argparse.Action) -> str:
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return f"{name} ..." if action.nargs in _MANY else name


def _options(actions: Iterable[argparse.Action]) -> tuple[Option, ...]:
    return tuple(_option(action) for action in actions if action.option_strings)


def _option(action: argparse.Action) -> Option:
    names = tuple(sorted((name for name in action.option_strings if "=" not in name), key=len))
    value = _value(action, names[-1])
    metavar = action.metavar if isinstance(action.metavar, str) else names[-1].lstrip("-").upper()
    return Option(
        names,
        (action.help or "").replace("%%", "%"),
        value,
        "" if value is Value.NOTHING else metavar,
        tuple(str(word) for word in action.choices or ()),
        is_value_optional=action.nargs == argparse.OPTIONAL,
        is_repeatable=isinstance(action, argparse._AppendAction),  # noqa: SLF001 - argparse tells it in no other way
    )


def _value(action: argparse.Action, name: str) -> Value:
    if action.nargs == 0:
        return Value.NOTHING
    if action.choices:
        return Value.CHOICE
    if name == "--session" or action.metavar == _SESSION:
        return Value.SESSION
    if action.metavar == _DIRECTORY:
        return Value.DIRECTORY
    return Value.FILE if action.metavar in _FILES else Value.TEXT
