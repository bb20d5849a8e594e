"""How a line of an AWS file can start this program."""

from __future__ import annotations

import shlex

import pytest

from rolesanywhere_helper.doctor.command_lines import Start, start_in

OURS = (
    "rolesanywhere-helper",
    "/opt/a/bin/rolesanywhere-helper",
    "'/opt/a b/rolesanywhere-helper'",
    "./rolesanywhere-helper.pyz",
    "/usr/bin/aws_signing_helper",
    "python3 -m rolesanywhere_helper",
    "/v/bin/python3.13t -I -m rolesanywhere_helper",
    "python -Im rolesanywhere_helper",
    "python -mrolesanywhere_helper",
    "python3 -X utf8 -W ignore -B -m rolesanywhere_helper.__main__",
    "python3 -Xutf8 /v/bin/rolesanywhere-helper",
    "python3 -I /v/lib/rolesanywhere_helper",
    "python3 /v/lib/rolesanywhere_helper/__main__.py",
    "pypy3 -m rolesanywhere_helper",
    "env -i rolesanywhere-helper",
    "/usr/bin/env python3 -I -m rolesanywhere_helper",
    "sudo -n -u aws /usr/bin/rolesanywhere-helper",
    "nice -n 5 timeout 20 rolesanywhere-helper",
    "uvx --from rolesanywhere-helper rolesanywhere-helper",
    "uv run --with rolesanywhere-helper python -m rolesanywhere_helper",
    "pipx run rolesanywhere-helper",
)
NOT_OURS = (
    "another-helper credential-process",
    "/opt/rolesanywhere-helper/bin/another credential-process",
    "python3 -m another credential-process",
    "python3 -c pass rolesanywhere-helper",
    "python3 -I /opt/another.py credential-process",
    "python3 -m",
    "python3",
    "vault exec --config /etc/rolesanywhere-helper prod",
    "ssh bastion rolesanywhere-helper credential-process",
    "docker exec box rolesanywhere-helper credential-process",
    "sh /opt/rolesanywhere-helper/run.sh credential-process",
    "sh -c 'another credential-process'",
    "sh -c 'cat $HOME/credential-process'",
    "sh",
    "",
)


@pytest.mark.parametrize("line", OURS)
def test_what_follows_is_what_it_is_given(line: str) -> None:
    found = start_in(shlex.split(f"{line} credential-process --session a"))
    assert found is not None
    assert found.arguments == ("credential-process", "--session", "a")


@pytest.mark.parametrize("line", NOT_OURS)
def test_another_program_is_told_apart(line: str) -> None:
    assert start_in(shlex.split(line)) is None


def test_another_command_of_ours_is_ours_where_nothing_stands_before_it() -> None:
    assert start_in(["rolesanywhere-helper", "serve"]) == Start("rolesanywhere-helper", ("serve",))
    assert start_in(["apt", "show", "rolesanywhere-helper"]) is None


@pytest.mark.parametrize("shell", ["sh -c", "/bin/bash -lc", "env bash -e -c"])
def test_a_shell_that_expands_nothing_is_looked_through(shell: str) -> None:
    found = start_in([*shell.split(), "exec rolesanywhere-helper credential-process --session 'a b'"])
    assert found == Start("rolesanywhere-helper", ("credential-process", "--session", "a b"))
    of_the_shell = start_in([*shell.split(), "rolesanywhere-helper credential-process --config ~/c 2>/dev/null"])
    assert of_the_shell == Start("", None)


def test_variables_are_named_and_not_what_they_are_set_to() -> None:
    found = start_in(shlex.split("env A=1 B=secret rolesanywhere-helper credential-process --x=1 C=2"))
    assert found is not None
    assert found.variables == ("A", "B")
    assert "secret" not in repr(found)
