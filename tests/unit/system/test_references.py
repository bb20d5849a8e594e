"""What references name, read: variables, descriptors, credentials and commands, each within its bounds."""

from __future__ import annotations

import os
import resource
import select
import shlex
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.errors import HelperError, SilentSourceError, UnsafeFileError, UsageError
from rolesanywhere_helper.system.inputs import MEBIBYTE
from rolesanywhere_helper.system.references import References

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "canary-4711"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "SECRET": CANARY}


def references(seconds: float = 10, **variables: str) -> References:
    return References(ENVIRONMENT | variables, command_seconds=seconds)


def refused(reference: str, error: type[HelperError], reader: References | None = None) -> HelperError:
    with pytest.raises(error) as caught:
        (reader or references()).read(reference)
    assert CANARY not in f"{caught.value.what} {caught.value.hint}"
    return caught.value


def program(folder: Path, code: str, name: str = "program") -> str:
    """Write a program in Python, and return how to call it."""
    file = folder / name
    file.write_text(f"#!{sys.executable} -S\n{code}\n")
    file.chmod(0o700)
    return f"command:{shlex.quote(str(file))}"


# Files and credentials


def test_a_path_is_read_from_the_file_each_time(tmp_path: Path) -> None:
    file, reader = tmp_path / "file", references()
    for content in (b"one", b"two"):
        file.write_bytes(content)
        found = reader.read(str(file))
        assert (found.shown, found.content) == (str(file), content)
        assert found.file is not None
    with pytest.raises(FileNotFoundError):
        reader.read(str(tmp_path / "missing"))


def test_a_credential_is_a_file_in_systemds_directory(tmp_path: Path) -> None:
    (tmp_path / "host.key").write_text(CANARY)
    reader = references(CREDENTIALS_DIRECTORY=f"{tmp_path}/")
    found = reader.read("credential:host.key")
    assert (found.shown, found.content) == (str(tmp_path / "host.key"), CANARY.encode())
    assert found.file is not None, "so that its permissions are judged"
    assert reader.path_of("credential:host.key") == str(tmp_path / "host.key")
    assert (reader.path_of("/a/b"), reader.path_of("env:SECRET")) == ("/a/b", None)


@pytest.mark.parametrize("name", ["", ".", "..", "../etc/passwd", "/etc/passwd", "a/b"])
def test_a_credential_has_a_plain_name(tmp_path: Path, name: str) -> None:
    refused(f"credential:{name}", UsageError, references(CREDENTIALS_DIRECTORY=str(tmp_path)))


@pytest.mark.parametrize("directory", [None, "", "relative"])
def test_without_systemd_there_are_no_credentials(directory: str | None) -> None:
    reader = references() if directory is None else references(CREDENTIALS_DIRECTORY=directory)
    assert "LoadCredential=host.key:" in refused("credential:host.key", UsageError, reader).hint


# Variables


def test_a_variable_is_read_as_it_is() -> None:
    found = references(ODD="a\n\udcffb ").read("env:ODD")
    assert (found.shown, found.content, found.file) == ("env:ODD", b"a\n\xffb ", None)
    assert CANARY not in repr(references().read("env:SECRET"))


@pytest.mark.parametrize("name", ["", "MISSING", "EMPTY", "SECRET\0", "secret"])
def test_a_variable_that_is_not_there_is_named(name: str) -> None:
    assert "env:" in refused(f"env:{name}", UsageError, references(EMPTY="")).hint


# Descriptors


@contextmanager
def piped(content: bytes, *, ends: bool = True) -> Iterator[int]:
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
        if ends:
            os.close(writing)
        yield reading
    finally:
        os.close(reading)
        if not ends:
            os.close(writing)


def test_a_descriptor_is_read_once_to_its_end() -> None:
    reader = references()
    with piped(b"a secret\n") as descriptor:
        found = [reader.read(f"fd:{descriptor}").content for _ in range(3)]
        assert found == [b"a secret\n"] * 3
        assert references().read(f"fd:{descriptor}").content == b"", "it has nothing more for another reader"


def test_a_descriptor_may_be_a_file_and_have_a_high_number(tmp_path: Path) -> None:
    """Above 1023, which select() does not know."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2100)), hard))
    (tmp_path / "file").write_bytes(b"a secret")
    low = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        os.dup2(low, 2000)
        assert references().read("fd:2000").content == b"a secret"
        os.close(2000)
    finally:
        os.close(low)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("number", ["", "x", "-1", "1.0", "²", " 3", "999", "9" * 9, "9" * 30, "9" * 5000])
def test_what_is_no_open_descriptor_is_refused(number: str) -> None:
    refused(f"fd:{number}", UsageError)


def test_a_descriptor_without_an_end_is_not_waited_for() -> None:
    with piped(CANARY.encode(), ends=False) as descriptor:
        refused(f"fd:{descriptor}", SilentSourceError, references(seconds=0.05))


def test_a_descriptor_with_too_much_is_refused() -> None:
    with open("/dev/zero", "rb") as zeros:  # noqa: PTH123 - for its descriptor
        refused(f"fd:{zeros.fileno()}", UnsafeFileError)


# Commands


@pytest.mark.promise(81)
def test_a_command_is_words_and_no_shell(tmp_path: Path) -> None:
    call = program(tmp_path, "import sys; print(sys.argv[1:], end='')")
    found = references().read(f"{call} 'two words' $SECRET \"`id`\" ; | > x *")
    assert found.content == str(["two words", "$SECRET", "`id`", ";", "|", ">", "x", "*"]).encode()
    assert found.shown == call.replace("'", "")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["program"]


def test_a_command_is_found_on_the_path_and_sees_the_environment() -> None:
    assert references().read("command:printenv SECRET").content == f"{CANARY}\n".encode()


def test_a_command_runs_once_for_each_process(tmp_path: Path) -> None:
    call = program(tmp_path, f"print('x', end='', file=open({str(tmp_path / 'runs')!r}, 'a')); print('a secret')")
    reader = references()
    assert [reader.read(call).content for _ in range(3)] == [b"a secret\n"] * 3
    assert (tmp_path / "runs").read_text() == "x"
    assert reader.read(f"{call} more").content == b"a secret\n"
    assert (tmp_path / "runs").read_text() == "xx", "other words are another command"


def test_a_command_has_no_input(tmp_path: Path) -> None:
    call = program(tmp_path, "import sys; print(len(sys.stdin.read()), end='')")
    assert references().read(call).content == b"0"


@pytest.mark.promise(81)
@pytest.mark.parametrize("text", ["", "  ", "'", "a 'b", "/bin/echo \0"])
def test_what_is_no_command_is_refused(text: str) -> None:
    refused(f"command:{text}", UsageError)


def test_a_command_that_is_not_there_is_named() -> None:
    assert "no-such-program" in refused(f"command:no-such-program {CANARY}", UsageError).what


@pytest.mark.promise(81)
def test_a_command_that_others_may_write_is_not_run(tmp_path: Path) -> None:
    call = program(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\nprint('a secret')")
    file = tmp_path / "program"
    file.chmod(0o777)
    assert f"chmod go-w {file}" in refused(call, UnsafeFileError).hint
    file.chmod(0o700)
    tmp_path.chmod(0o777)
    assert f"chmod o-w {tmp_path}" in refused(call, UnsafeFileError).hint
    assert not (tmp_path / "ran").exists()
    tmp_path.chmod(0o700)
    references().read(call)
    assert (tmp_path / "ran").exists()


@pytest.mark.promise(81)
def test_a_link_that_others_may_change_is_not_followed_to_a_command(tmp_path: Path) -> None:
    """What it leads to now may be as safe as can be."""
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "link").symlink_to("/usr/bin/printenv")
    assert references().read(f"command:{folder}/link SECRET").content
    folder.chmod(0o777)
    refused(f"command:{folder}/link SECRET", UnsafeFileError)


@pytest.mark.promise(81)
def test_a_command_of_another_user_is_not_run(tmp_path: Path) -> None:
    call = program(tmp_path, "print('a secret')")
    os.chown(tmp_path / "program", 12_345, 12_345)
    assert "owned by user 12345" in refused(call, UnsafeFileError).what


@pytest.mark.parametrize("how", ["import sys; sys.exit(3)", "import os; os.kill(os.getpid(), 15)", ""])
def test_a_command_that_fails_is_told_without_its_words(tmp_path: Path, how: str) -> None:
    said = f"print({CANARY!r}, flush=True)\n" if how else ""
    refused(f"{program(tmp_path, said + how)} {CANARY}", HelperError)


@pytest.mark.promise(81)
@pytest.mark.parametrize("holder", ["itself", "a child", "a child alone"])
def test_a_command_without_an_end_is_ended_with_all_that_it_started(tmp_path: Path, holder: str) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    sleep = f"import os, time\nos.write(os.open({str(held)!r}, os.O_WRONLY), b'x')\ntime.sleep(600)"
    code = {
        "itself": sleep,
        "a child": f"import os\nos.fork()\n{sleep}",
        "a child alone": f"import os\nif os.fork(): os._exit(0)\n{sleep}",
    }[holder]
    call = program(tmp_path, code)
    with os.fdopen(os.open(held, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as listener:
        began = time.monotonic()
        silent = refused(call, SilentSourceError, references(seconds=2))
        assert (silent.exit_code, "in a shell" in silent.hint) == (1, True), "the network has no part in it"
        assert time.monotonic() - began < 10
        assert listener.read(1) == b"x", "it had been started"
        is_open = select.poll()
        is_open.register(listener, 0)  # tells only that nobody holds the other end
        assert is_open.poll(5000), "somebody lives on"


@pytest.mark.promise(81)
def test_a_command_that_prints_too_much_is_ended(tmp_path: Path) -> None:
    call = program(tmp_path, "import sys\nwhile True: sys.stdout.write('x' * 65536)")
    began = time.monotonic()
    assert str(MEBIBYTE) in refused(call, UnsafeFileError).what
    assert time.monotonic() - began < 8, "not at the deadline only"


def test_an_unknown_scheme_is_named_without_the_rest() -> None:
    assert "vault" in refused(f"vault:{CANARY}", UsageError).what
