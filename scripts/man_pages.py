"""Writes the manual pages from the parsers that understand the command line, in the macros of man(7).

One page for the program, and one for each command. Their date is that of the last release in CHANGELOG.md, which is the
same whenever and wherever they are written.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper import __version__
from rolesanywhere_helper.cli import reference
from rolesanywhere_helper.cli.parser import PROGRAM
from rolesanywhere_helper.cli.reference import Value
from rolesanywhere_helper.config.environment import CACHE_VARIABLE, CONFIG_VARIABLE
from rolesanywhere_helper.config.flags import SESSION_FLAGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rolesanywhere_helper.cli.reference import CommandLine, Option

_CHANGES = Path(__file__).parents[1] / "CHANGELOG.md"
_RELEASED = re.compile(r"^## \S+, (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
_BEFORE_THE_FIRST_RELEASE = "2026-11-24"
_EXIT_STATUS = (
    ("0", "done"),
    ("1", "refused or failed: by the service, or because of the certificate or key"),
    ("2", "the command line or the configuration has a mistake; nothing was sent"),
    ("3", "nothing could be reached"),
    ("130", "interrupted"),
)
_FILES = (
    ("~/.config/rolesanywhere-helper/config.toml", "the user's configuration"),
    ("/etc/rolesanywhere-helper/config.toml", "the configuration of the machine, read if the user has none"),
    ("~/.cache/rolesanywhere-helper", "the cache of credentials, which only its user can read"),
)


def date(changes: str) -> str:
    """Return the day of the last release, ``YYYY-MM-DD``: of the first heading ``## VERSION, DAY``."""
    found = _RELEASED.search(changes)
    return found[1] if found else _BEFORE_THE_FIRST_RELEASE


def pages() -> dict[str, str]:
    """Return every page by file name."""
    program, commands = reference.program(), reference.commands()
    found = {f"{PROGRAM}.1": _program_page(program, commands)}
    return found | {f"{_page_name(line)}.1": _command_page(line) for line in commands}


def escaped(text: str) -> str:
    """Write text so that no character of it is one of roff's.

    A hyphen or quote written as such would become a typographic one, which nobody can paste into a shell.
    """
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    safe = safe.replace("`", "\\(ga").replace("'", "\\(aq")
    return f"\\&{safe}" if safe.startswith(".") else safe


def _program_page(program: CommandLine, commands: Iterable[CommandLine]) -> str:
    variables = [
        (CONFIG_VARIABLE, "the configuration file; --config wins"),
        (CACHE_VARIABLE, "the directory of the cache"),
        *((flag.variable, f"as {flag.option}, which wins") for flag in SESSION_FLAGS),
    ]
    listed = list(commands)
    return "".join(
        (
            _head(PROGRAM, program.summary),
            _synopsis(program, "[\\fIflags\\fR] \\fICOMMAND\\fR [\\fIflags\\fR]"),
            _section("DESCRIPTION"),
            _text(
                "Turns an X.509 certificate into temporary AWS credentials with IAM Roles Anywhere, and hands them to "
                "every AWS client on the machine."
            ),
            _section("COMMANDS"),
            "".join(_term(f"\\fB{escaped(line.name)}\\fR", line.summary) for line in listed),
            _section("OPTIONS"),
            _options(program.options),
            _section("EXIT STATUS"),
            _terms(_EXIT_STATUS),
            _section("ENVIRONMENT"),
            _terms(variables),
            _section("FILES"),
            _terms(_FILES),
            _section("SEE ALSO"),
            _references(_page_name(line) for line in listed),
        )
    )


def _command_page(line: CommandLine) -> str:
    operands = f" \\fI{escaped(line.operands)}\\fR" if line.operands else ""
    return "".join(
        (
            _head(_page_name(line), line.summary),
            _synopsis(line, f"[\\fIflags\\fR]{operands}"),
            _section("OPTIONS"),
            _options(line.options),
            _section("EXAMPLES"),
            f".EX\n{_verbatim(line.example)}.EE\n",
            _section("SEE ALSO"),
            _references([PROGRAM]),
        )
    )


def _page_name(line: CommandLine) -> str:
    return f"{PROGRAM}-{line.name}"


def _head(name: str, summary: str) -> str:
    return (
        '.\\" Written by scripts/man_pages.py: do not edit.\n'
        f'.TH {escaped(name.upper())} 1 "{date(_CHANGES.read_text())}" "{PROGRAM} {__version__}" "User Commands"\n'
        ".nh\n.ad l\n"  # no hyphenation: what looks like a flag is typed as it stands
        f".SH NAME\n{escaped(name)} \\- {escaped(summary)}\n"
    )


def _section(title: str) -> str:
    return f".SH {title}\n"


def _synopsis(line: CommandLine, what: str) -> str:
    return f"{_section('SYNOPSIS')}\\fB{escaped(line.full_name)}\\fR {what}\n"


def _options(options: Iterable[Option]) -> str:
    return "".join(_term(_spelled(option), option.help) for option in options)


def _spelled(option: Option) -> str:
    names = ", ".join(f"\\fB{escaped(name)}\\fR" for name in option.names)
    if option.value is Value.NOTHING:
        return names
    shown = "|".join(option.choices) or option.metavar
    value = f"\\fI{escaped(shown)}\\fR"
    return f"{names} [{value}]" if option.is_value_optional else f"{names} {value}"


def _terms(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(_term(f"\\fB{escaped(name)}\\fR", text) for name, text in pairs)


def _term(tag: str, text: str) -> str:
    return f".TP\n{tag}\n{_text(text)}"


def _text(text: str) -> str:
    lines = textwrap.wrap(text, 72, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{escaped(line)}\n" for line in lines)


def _verbatim(text: str) -> str:
    return "".join(f"{escaped(line)}\n" for line in text.splitlines())


def _references(names: Iterable[str]) -> str:
    return ",\n".join(f"\\fB{escaped(name)}\\fR(1)" for name in names) + "\n"
