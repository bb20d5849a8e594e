"""The command line, built from the table of flags with argparse.

What differs from plain argparse: a switch also takes Go's ``--with-proxy=false``, nothing is abbreviated, an error is a
:class:`UsageError` that never repeats a value (it may be a secret), and help goes out as data.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from rolesanywhere_helper import __version__
from rolesanywhere_helper.cli.commands import COMMANDS, Command, FlagValue, Invocation
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.logs import LogSettings
from rolesanywhere_helper.config import flags
from rolesanywhere_helper.config.flags import Flag, Kind
from rolesanywhere_helper.config.values import SWITCH_WORDS
from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PROGRAM = "rolesanywhere-helper"
GLOBAL_WITH_VALUE = ("--config", "--log-format", "--log-file")
_GLOBAL = ("config", "debug", "log-format", "log-file")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises and writes as the rest of this program does."""

    def __init__(self, prog: str, usage: str | None = None, description: str | None = None, epilog: str = "") -> None:
        super().__init__(
            prog,
            usage,
            description,
            epilog,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Turn argparse's complaint into ours.

        Raises:
            UsageError: always.

        """
        flag, has_value, _ = message.partition(": ignored explicit argument")
        what = f"{flag}: takes no value but true or false" if has_value else message
        raise UsageError(what, f"see '{self.prog} --help' for flags and an example")

    def print_help(self, file: object = None) -> None:
        """Write the help to standard output; ``file`` is argparse's and not used."""
        del file
        write_stdout(self.format_help().encode())

    @property
    def actions(self) -> tuple[argparse.Action, ...]:
        """What it knows, in the order of its declaration, without what no help shows."""
        return tuple(action for action in self._actions if action.help != argparse.SUPPRESS)

    def parse(self, arguments: Sequence[str]) -> dict[str, FlagValue]:
        """Return what was given, by flag name.

        Raises:
            UsageError: something in it has no meaning.

        """
        known, unknown = self.parse_known_args(arguments)
        if unknown:
            self._refuse(unknown)
        return vars(known)

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        names = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        if not names:
            self.error(f"{len(unknown)} argument(s) too many: this command takes only flags")
        known = [option for action in self._actions for option in action.option_strings if "=" not in option]
        near = _nearest(names[0], known)
        what = f"unknown flag {names[0]!a}"
        if near:
            raise UsageError(what, f"did you mean {near}?")
        self.error(what)


def parse(arguments: Sequence[str]) -> Invocation:
    """Understand a command line. ``--help`` and ``--version`` write their answer and raise ``SystemExit``.

    Raises:
        UsageError: it has no meaning.
        SystemExit: everything is said.

    """
    head, name, rest = _split(arguments)
    given = main_parser().parse(head)
    if name is None:
        raise UsageError("no command was given", f"'{PROGRAM} --help' lists them; '{PROGRAM} demo' shows the whole way")
    command = _command(name)
    given |= command_parser(command).parse(rest)
    log = LogSettings(
        debug=given.get("debug") is True,
        format=str(given.get("log-format", "text")),
        file=_text(given, "log-file"),
    )
    own = {flag: value for flag, value in given.items() if flag not in _GLOBAL}
    return Invocation(command, tuple(arguments), own, _text(given, "config"), log)


def command_parser(command: Command) -> Parser:
    """Return the parser of what follows a command's name."""
    module = command.load()
    parser = Parser(f"{PROGRAM} {command.name}", description=command.summary, epilog=f"example:\n{module.EXAMPLE}")
    module.add_flags(parser)
    _add_global_flags(parser)
    return parser


def add_session_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a command that makes a session, or asks the daemon for it."""
    add_settings_flags(parser)
    add_flag(parser, flags.AGENT_SOCKET)


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """Add every session flag."""
    add_flags(parser, (flag.name for flag in flags.SESSION_FLAGS))


def add_flags(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Add some of the session flags."""
    for name in names:
        add_flag(parser, flags.flag_named(name))


def add_flag(parser: argparse._ActionsContainer, flag: Flag) -> None:
    """Add one flag as it is declared."""
    if flag.kind is Kind.SWITCH:
        add_switch(parser, flag.name, flag.help)
        return
    action = "append" if flag.is_repeatable else "store"
    parser.add_argument(flag.option, dest=flag.name, metavar=flag.metavar, action=action, help=_escaped(flag.help))


def add_switch(parser: argparse._ActionsContainer, name: str, help_text: str) -> None:
    """Add a switch that may also be written ``--name=true`` and ``--name=false``, as Go programs take it."""
    option = f"--{name}"
    parser.add_argument(option, dest=name, action="store_const", const=True, help=_escaped(help_text))
    for value in (True, False):
        # Registered as options of their own: given a value by nargs="?", a switch would swallow the next argument.
        spelled = [f"{option}={word}" for word, meaning in SWITCH_WORDS.items() if meaning is value]
        parser.add_argument(*spelled, dest=name, action="store_const", const=value, help=argparse.SUPPRESS)


def add_program(parser: argparse.ArgumentParser, name: str, help_text: str) -> None:
    """Add a command line of another program: all that follows the flags, also where it looks like some."""
    parser.add_argument(name, metavar="CMD", nargs=argparse.REMAINDER, help=_escaped(help_text))


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], str | None, Sequence[str]]:
    """Find the command: the first word that is neither a flag nor the value of a global one."""
    takes_value = False
    for index, word in enumerate(arguments):
        if takes_value:
            takes_value = False
        elif word.startswith("-"):
            takes_value = word in GLOBAL_WITH_VALUE
        else:
            return arguments[:index], word, arguments[index + 1 :]
    return arguments, None, ()


def main_parser() -> Parser:
    """Return the parser of what stands before a command's name."""
    shown = [command for command in COMMANDS if not command.is_hidden]
    width = max(len(command.name) for command in shown)
    listed = "\n".join(f"  {command.name:<{width}}  {command.summary}" for command in shown)
    parser = Parser(
        PROGRAM,
        f"{PROGRAM} [flags] COMMAND [flags]",
        "Turns an X.509 certificate into temporary AWS credentials with IAM Roles Anywhere.",
        f"commands:\n{listed}\n\n'{PROGRAM} COMMAND --help' shows a command's flags and an example.\n\n"
        f"example:\n  {PROGRAM} demo",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    _add_global_flags(parser)
    return parser


class _Version(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        del namespace, values, option_string
        write_stdout(f"{PROGRAM} {__version__}\n".encode())
        parser.exit()


def _add_global_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("flags of every command, also accepted before its name")
    group.add_argument("--config", dest="config", metavar="FILE", help="configuration file (TOML)")
    add_switch(group, "debug", "show more detail; never a secret")
    group.add_argument("--log-format", dest="log-format", choices=("text", "json"), help="form of log lines")
    group.add_argument("--log-file", dest="log-file", metavar="FILE", help="append log lines to FILE")


def _command(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    shown = [command.name for command in COMMANDS if not command.is_hidden]
    near = _nearest(name, shown)
    hint = f"did you mean {near}?" if near else f"there is: {', '.join(shown)}"
    raise UsageError(f"unknown command {name!a}", hint)


def _nearest(word: str, known: Sequence[str]) -> str | None:
    import difflib  # noqa: PLC0415 - only for an error: the daemon's memory is counted

    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def _text(given: dict[str, FlagValue], name: str) -> str | None:
    value = given.get(name)
    return value if isinstance(value, str) else None


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
