"""The command line is built from the table of flags, whole."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.cli import descriptors
from rolesanywhere_helper.cli.commands import COMMANDS
from rolesanywhere_helper.cli.parser import parse
from rolesanywhere_helper.config.flags import SESSION_FLAGS, Flag, Kind
from rolesanywhere_helper.config.serve_keys import SERVE_FLAGS
from rolesanywhere_helper.errors import UsageError


@pytest.mark.parametrize("command", ["credential-process", "renew", "serve"])
@pytest.mark.parametrize("flag", SESSION_FLAGS, ids=lambda flag: flag.name)
def test_every_session_flag_is_understood(command: str, flag: Flag) -> None:
    if flag.kind is Kind.SWITCH:
        for written, meant in ((flag.option, True), (f"{flag.option}=true", True), (f"{flag.option}=F", False)):
            assert parse([command, written]).flags == {flag.name: meant}
    else:
        one, other = (["x"], ["x=y"]) if flag.is_repeatable else ("x", "x=y")
        assert parse([command, flag.option, "x"]).flags == {flag.name: one}
        assert parse([command, f"{flag.option}=x=y"]).flags == {flag.name: other}


def test_nothing_is_given_that_was_not_typed() -> None:
    assert parse(["credential-process"]).flags == {}


def test_the_last_one_counts() -> None:
    assert parse(["credential-process", "--no-cache", "--no-cache=false"]).flags == {"no-cache": False}
    assert parse(["credential-process", "--region", "a", "--region=b"]).flags == {"region": "b"}


@pytest.mark.parametrize("flag", SERVE_FLAGS, ids=lambda flag: flag.name)
def test_every_flag_of_the_daemon_is_understood(flag: Flag) -> None:
    words = ["serve", flag.option, "a", f"{flag.option}=b"]

    assert parse(words).flags == {flag.name: ["a", "b"] if flag.is_repeatable else "b"}
    assert {flag.name for flag in SERVE_FLAGS if flag.is_repeatable} == {"bind", "allow-user", "allow-group"}


def test_who_asks_the_daemon_can_name_its_socket() -> None:
    for command in ("credential-process", "renew", "status"):
        assert parse([command, "--agent-socket", "x"]).flags == {"agent-socket": "x"}


def test_wait_may_name_a_session() -> None:
    assert parse(["status", "--wait"]).flags == {"wait": ""}
    assert parse(["status", "--wait", "deploy", "--json"]).flags == {"wait": "deploy", "json": True}


def test_flags_before_and_after_the_command_are_one_set() -> None:
    invocation = parse(["--debug", "--config", "a", "version", "--config=b", "--log-format", "json"])

    assert invocation.config == "b"
    assert (invocation.log.debug, invocation.log.format, invocation.log.file) == (True, "json", None)
    assert invocation.arguments[0] == "--debug"


@given(st.lists(st.text(max_size=12), max_size=5))
def test_whatever_is_typed_is_understood_or_refused(words: list[str]) -> None:
    for command in ("credential-process", "emulator", "serve", "status"):
        try:
            parse([command, *(word for word in words if word not in {"-h", "--help"})])
        except UsageError as error:
            assert error.hint  # noqa: PT017 - it may also be understood


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_can_be_loaded(command: object) -> None:
    assert hasattr(command, "load")
    module = command.load()
    assert module.EXAMPLE.startswith("  ")
    assert module.run.__doc__


# Descriptors


def test_everything_is_written_also_to_a_slow_reader_that_does_not_block() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    content = os.urandom(1 << 20)
    read = bytearray()

    def drain() -> None:
        while part := os.read(reader, 4096):
            read.extend(part)

    thread = threading.Thread(target=drain)
    thread.start()
    descriptors.write(writer, content)
    os.close(writer)
    thread.join(timeout=30)
    os.close(reader)

    assert bytes(read) == content


def test_a_reader_that_has_gone_is_an_error_of_its_own() -> None:
    reader, writer = os.pipe()
    os.close(reader)

    with pytest.raises(descriptors.StdoutClosedError):
        descriptors.write(writer, b"x")
    os.close(writer)
