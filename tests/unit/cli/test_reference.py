"""Completion and manual pages know every command and every flag that the help shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.cli import reference
from rolesanywhere_helper.cli.commands import COMMANDS
from rolesanywhere_helper.cli.completion import SHELLS, script
from rolesanywhere_helper.cli.parser import Parser
from rolesanywhere_helper.cli.reference import Value
from scripts.man_pages import escaped, pages

if TYPE_CHECKING:
    from tests.conftest import RunHelper

SHOWN = [command.name for command in COMMANDS if not command.is_hidden]


def flags_in(help_text: str) -> set[str]:
    """Return the flags that argparse's own help lists, each at the begin of its line."""
    lines = re.findall(r"^  (-{1,2}[a-z].*?)(?:  |$)", help_text, re.MULTILINE)
    return {flag for line in lines for flag in re.findall(r"(?<![\w-])-{1,2}[a-z][a-z0-9-]*", line)}


@pytest.mark.parametrize("name", ["", *SHOWN])
def test_every_flag_that_the_help_shows_is_known(run_helper: RunHelper, name: str) -> None:
    shown = flags_in(run_helper(*name.split(), "--help").out)
    line = next(line for line in (reference.program(), *reference.commands()) if line.name == name)

    assert {"--help", "--config", "--debug"} <= shown
    assert {spelling for option in line.options for spelling in option.names} == shown
    page = pages()[f"rolesanywhere-helper-{name}.1" if name else "rolesanywhere-helper.1"]
    assert {flag for flag in shown if f"\\fB{escaped(flag)}\\fR" not in page} == set()


def test_a_flag_of_the_help_is_found() -> None:
    assert flags_in("options:\n  -h, --help  show\n  --role-arn ARN\n      as --this\n") == {
        "-h",
        "--help",
        "--role-arn",
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_command(shell: str) -> None:
    text = script(shell)

    assert [name for name in SHOWN if name not in text] == []
    assert "mint-child" not in text


def test_values_are_known_by_what_the_help_calls_them() -> None:
    parser = Parser("x")
    parser.add_argument("--ca", metavar="FILE", action="append", help="50 %% of")
    parser.add_argument("--directory", metavar="DIR")
    parser.add_argument("--session", metavar="NAME")
    parser.add_argument("--wait", metavar="SESSION", nargs="?")
    parser.add_argument("--form", choices=("a", "b"))
    parser.add_argument("-n", "--name", metavar="NAME")
    options = {option.name: option for option in reference._options(parser.actions)}

    assert {name: option.value for name, option in options.items()} == {
        "--help": Value.NOTHING,
        "--ca": Value.FILE,
        "--directory": Value.DIRECTORY,
        "--session": Value.SESSION,
        "--wait": Value.SESSION,
        "--form": Value.CHOICE,
        "--name": Value.TEXT,
    }
    assert options["--ca"].help == "50 % of"
    assert [name for name, option in options.items() if option.is_repeatable] == ["--ca"]
    assert [name for name, option in options.items() if option.is_value_optional] == ["--wait"]
    assert options["--name"].names == ("-n", "--name")


def test_completion_prints_the_script(run_helper: RunHelper) -> None:
    for shell in SHELLS:
        done = run_helper("completion", shell)
        assert (done.exit_code, done.err) == (0, "")
        assert done.out == script(shell)


@pytest.mark.parametrize(
    ("words", "hint"), [([], "completion --help"), (["tcsh"], "completion --help"), (["zsh", "zsh"], "--help")]
)
def test_completion_of_no_shell_is_one_error(run_helper: RunHelper, words: list[str], hint: str) -> None:
    done = run_helper("completion", *words)

    assert (done.exit_code, done.out) == (2, "")
    assert hint in done.err.splitlines()[1]
