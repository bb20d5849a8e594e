"""Variables as text: whatever a value holds, the reader of each format gets it back, and nothing in it runs."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import dotenv
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rolesanywhere_helper.errors import BadAnswerError, UsageError
from rolesanywhere_helper.protocol.shell_variables import Format, render, variables
from tests.fakes.sessions import SECRET, TOKEN, credentials

if TYPE_CHECKING:
    from collections.abc import Callable

NASTY = (
    "'",
    "''",
    '"',
    "\\",
    "\\'",
    "'\\''",
    "a\nb",
    "\n",
    "\r\n",
    "$(touch canary)",
    "`touch canary`",
    "'; touch canary; '",
    "'$(touch canary)'",
    "\\'; touch canary; \\'",
    "\u2019; touch canary; \u2018",
    "${HOME}",
    "$HOME",
    "!!",
    "*",
    "~",
    "a b",
    "#",
    "=",
    "%PATH%",
    " leading",
    "trailing ",
    "\ttab",
    "é\u2028😀",
    "",
)
# What a whole batch of values is called: one start of a shell for many of them.
BATCH = st.lists(
    st.one_of(
        st.sampled_from(NASTY),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
        st.text("'\"\\$`(){};&|<>!*?#~ \n\r\tax\u2018\u2019\u201a\u201b", max_size=20),
    ),
    min_size=1,
    max_size=30,
)
SHELLS = {"dash": Format.SH, "bash": Format.SH, "zsh": Format.SH, "fish": Format.FISH}


@pytest.mark.parametrize("region", [None, "eu-central-1"])
def test_the_variables_are_those_that_sdks_read(region: str | None) -> None:
    found = variables(credentials(1_800_000_000, 3600), region)

    expected = {
        "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_CREDENTIAL_EXPIRATION": "2027-01-15T09:00:00Z",
    }
    of_region = {} if region is None else {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    assert found == expected | of_region


@pytest.mark.parametrize(
    ("form", "line"),
    [
        (Format.SH, "export A='x/y+z=='\n"),
        (Format.FISH, "set -gx A 'x/y+z=='\n"),
        (Format.POWERSHELL, "$Env:A = 'x/y+z=='\n"),
        (Format.DOTENV, "A=x/y+z==\n"),
        (Format.JSON, '{"A":"x/y+z=="}\n'),
    ],
)
def test_what_a_service_sends_looks_as_people_write_it(form: Format, line: str) -> None:
    assert render({"A": "x/y+z=="}, form) == line.encode()


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_no_variable_can_hold_is_refused_and_not_repeated(form: Format, value: str) -> None:
    with pytest.raises(BadAnswerError, match="AWS_SESSION_TOKEN") as refused:
        render({"AWS_SESSION_TOKEN": f"canary{value}"}, form)

    assert "canary" not in refused.value.what + refused.value.hint


def named(values: list[str]) -> dict[str, str]:
    return {f"RAH_{number}": value for number, value in enumerate(values)}


def run(shell: Path, script: bytes, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Run a script in a real shell; return the variables that a child of it sees, and what else it left behind."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    flags = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}.get(shell.name, [])
    done = subprocess.run(
        [shell, *flags], input=script + b"env -0\n", cwd=folder, env=environment, capture_output=True, check=True
    )
    assert done.stderr == b""
    pairs = (entry.partition("=") for entry in done.stdout.decode().split("\0"))
    found = {name: value for name, _, value in pairs if name.startswith("RAH_")}
    return found, sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))


@pytest.mark.parametrize("name", SHELLS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=BATCH)
@example(values=list(NASTY))
def test_a_real_shell_reads_what_was_written(
    peer: Callable[[str], Path], tmp_path: Path, name: str, values: list[str]
) -> None:
    found, left_behind = run(peer(name), render(named(values), SHELLS[name]), tmp_path)

    assert found == named(values)
    assert left_behind == []


@pytest.mark.parametrize("name", SHELLS)
def test_the_negative_control_what_is_not_quoted_runs(peer: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    words = "set -gx RAH_0" if name == "fish" else "export RAH_0="

    _, left_behind = run(peer(name), f"{words} $(touch canary)\n".encode(), tmp_path)

    assert left_behind == ["canary"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=BATCH)
@example(values=list(NASTY))
def test_dotenv_is_read_alike_by_its_library_and_by_a_shell_or_refused(tmp_path: Path, values: list[str]) -> None:
    written = named([value for value in values if can_be_in_dotenv(value)])
    text = render(written, Format.DOTENV)

    assert dotenv.dotenv_values(stream=io.StringIO(text.decode())) == written
    if values == list(NASTY):
        found, left_behind = run(Path("/bin/sh"), b"set -a\n" + text, tmp_path)
        assert (found, left_behind) == (written, [])
    assert read_env_file(text.decode()) == written


def read_env_file(text: str) -> dict[str, str]:
    """Read variables by the rule of docker's ``--env-file``: all after the first ``=`` is the value, quotes too."""
    return dict(line.split("=", 1) for line in text.splitlines() if line)


def test_the_negative_control_docker_keeps_quotes_that_others_take_away() -> None:
    assert read_env_file("A='a b'\n") != dotenv.dotenv_values(stream=io.StringIO("A='a b'\n"))


def can_be_in_dotenv(value: str) -> bool:
    try:
        render({"A": value}, Format.DOTENV)
    except UsageError as refused:
        assert "--format json" in refused.hint  # noqa: PT017 - it may also be written
        return False
    return True


def test_dotenv_refuses_only_what_readers_differ_on() -> None:
    refused = [value for value in NASTY if not can_be_in_dotenv(value)]

    assert set(NASTY) - set(refused) == {"%PATH%", ""}
    assert not any(can_be_in_dotenv(value) for value in ("=ls", "a:=ls"))  # zsh puts a path there
    assert all(can_be_in_dotenv(value) for value in ("a:b", TOKEN, SECRET, "2027-01-15T09:00:00Z"))


@given(values=BATCH)
@example(values=list(NASTY))
def test_json_is_one_line_and_comes_back(values: list[str]) -> None:
    text = render(named(values), Format.JSON)

    assert text.count(b"\n") == 1
    assert json.loads(text) == named(values)


def read_powershell(script: str) -> dict[str, str]:
    """Read assignments of single-quoted strings by PowerShell's rules (its tokenizer's, written anew).

    A string ends at a single quote of any of five kinds that no other follows; two that stand side by side are the
    second of them. Whatever is not such an assignment would run, and fails here.
    """
    quotes, found, at = "'\u2018\u2019\u201a\u201b", {}, 0
    while at < len(script):
        name, middle, rest = script[at:].partition(" = ")
        assert name.startswith("$Env:RAH_")
        assert middle
        assert rest[0] in quotes
        at, value = at + len(name) + len(middle) + 1, ""
        while script[at] not in quotes or script[at + 1] in quotes:
            at += script[at] in quotes
            value += script[at]
            at += 1
        assert script[at + 1] == "\n"
        found[name.removeprefix("$Env:")] = value
        at += 2
    return found


@settings(max_examples=500)
@given(values=BATCH)
@example(values=list(NASTY))
def test_powershells_rules_give_back_what_was_written(values: list[str]) -> None:
    assert read_powershell(render(named(values), Format.POWERSHELL).decode()) == named(values)


@pytest.mark.parametrize("value", ["a'; Remove-Item x; 'b", "a\u2019; Remove-Item x; \u2018b"])
def test_the_negative_control_a_quote_that_is_not_doubled_ends_the_string(value: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        read_powershell(f"$Env:RAH_0 = '{value}'\n")
