"""A profile of the credentials file: three keys, nothing else, and nothing where AWS clients would not find it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import botocore.credentials
import pytest
from botocore.configloader import raw_config_parse

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import InvalidParameterError, UnreadableAwsFileError
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.vend.credentials_file import CredentialsFile
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/Deploy"


def made(number: int) -> Credentials:
    """Return a set whose three parts tell that they belong together; long, so that half a write would show."""
    return Credentials(f"AKID{number}", f"secret{number}/" + "s" * 3000, f"token{number}=" + "t" * 3000, 0, 3600, ROLE)


def file(path: Path, profile: str = "prod") -> CredentialsFile:
    return CredentialsFile(str(path), profile, SystemClock())


def test_the_three_keys_are_written_and_all_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(b"# mine\r\n[other]\r\naws_access_key_id=X\r\n[prod]\r\nregion = r\r\n\r\n; end")

    assert file(path).write(made(1)) is True
    assert file(path).write(made(1)) is False

    one = made(1)
    added = (
        f"aws_access_key_id = {one.access_key_id}\r\naws_secret_access_key = {one.secret_access_key}\r\n"
        f"aws_session_token = {one.session_token}\r\n"
    )
    assert path.read_bytes().decode() == (
        f"# mine\r\n[other]\r\naws_access_key_id=X\r\n[prod]\r\nregion = r\r\n{added}\r\n; end"
    )
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.promise(32)
def test_a_reader_in_a_tight_loop_never_sees_an_empty_partial_or_mixed_file(tmp_path: Path) -> None:
    """200 updates, each of them a whole new set."""
    path = tmp_path / "credentials"
    path.write_text("[other]\nregion = r\n")
    file(path).write(made(0))
    bad: list[bytes] = []
    reads = 0
    is_done = threading.Event()

    def read() -> None:
        nonlocal reads
        good = {one.access_key_id: (one.secret_access_key, one.session_token) for one in map(made, range(201))}
        while not is_done.is_set():
            content = path.read_bytes()
            reads += 1
            values = dict(line.split(" = ", 1) for line in content.decode().splitlines() if " = " in line)
            wanted = good.get(values.get("aws_access_key_id", ""))
            if wanted != (values.get("aws_secret_access_key"), values.get("aws_session_token")):
                bad.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 201):
        file(path).write(made(number))
    is_done.set()
    reader.join()

    assert bad == []
    assert reads > 200
    assert raw_config_parse(str(path))["prod"]["aws_access_key_id"] == "AKID200"
    assert sorted(os.listdir(tmp_path)) == [".credentials.lock", "credentials"]  # noqa: PTH208 - names are enough


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[prod]\n[prod]\n", "line 2 begins a section a second time"),
        (b"[prod]\nx = \xff\n", "is not UTF-8"),
        (b"[prod]\naws_security_token = OLD\n", "has the old key aws_security_token in line 2,"),
        (b"[prod]\nregion = r\n[DEFAULT]\naws_security_token = OLD\n", "the old key aws_security_token in line 4,"),
        (b"[DEFAULT]\naws_security_token = OLD\n", "has the old key aws_security_token in line 2,"),
    ],
)
def test_a_file_that_would_be_misread_is_refused_and_untouched(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(content)
    path.chmod(0o644)

    with pytest.raises(UnreadableAwsFileError, match=why) as refusal:
        file(path).write(made(1))

    assert "OLD" not in f"{refusal.value}{refusal.value.hint}"
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_name_that_not_every_client_finds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="cannot be the name of a profile"):
        file(tmp_path / "credentials", "[x]")


@pytest.mark.parametrize("section", ["prod", "DEFAULT"])
def test_another_account_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, section: str) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(f"[{section}]\naws_account_id = 999999999999\n".encode())
    writer = file(path)

    writer.write(made(1))
    writer.write(made(2))

    warning = (
        f"line 2 of {path} says aws_account_id to the profile prod, but its credentials are of the account {ACCOUNT}"
    )
    assert [record.message for record in caplog.records] == [f"{warning}: remove the line"]
    botocores: Any = botocore.credentials.SharedCredentialProvider(str(path), "prod").load()
    assert botocores.account_id == "999999999999", "botocore believes it"
    path.write_bytes(path.read_bytes().replace(b"9" * 12, ACCOUNT.encode()))
    file(path).write(made(3))
    assert len(caplog.records) == 1, "the negative control: the right one is no harm"


# `aws configure set` as it is, but that each file that it opens for writing waits for a line on standard input.
_AWS = """
import builtins, sys
real = builtins.open
def open_and_wait(file, mode="r", *arguments, **named):
    opened = real(file, mode, *arguments, **named)
    if str(file) == sys.argv[1] and mode[0] in "wa":
        print(mode, flush=True)
        sys.stdin.readline()
    return opened
builtins.open = open_and_wait
from awscli.clidriver import create_clidriver
sys.exit(create_clidriver().main(["configure", "set", "aws_access_key_id", "NEW", "--profile", sys.argv[2]]))
"""


@pytest.mark.parametrize(("profile", "how"), [("b", "w"), ("c", "a")])
def test_what_the_aws_cli_is_writing_is_kept(
    tmp_path: Path, clean_environment: dict[str, str], profile: str, how: str
) -> None:
    """It empties the file where it stands and writes all of it anew; a new profile it writes behind the others."""
    path = tmp_path / "credentials"
    path.write_text("[a]\naws_access_key_id = A\n[b]\naws_access_key_id = B\n")
    path.chmod(0o600)
    words = [sys.executable, "-c", _AWS, str(path), profile]
    environment = {**clean_environment, "AWS_SHARED_CREDENTIALS_FILE": str(path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, text=True) as aws:
        assert aws.stdout is not None
        assert aws.stdout.readline().strip() == how
        assert (path.read_bytes() == b"") == (how == "w"), "the negative control: this is the moment that is dangerous"
        clock = FakeClock()
        clock.while_asleep = lambda: None if aws.poll() is not None else (aws.communicate("\n"), None)[1]
        CredentialsFile(str(path), "mine", clock).write(made(1))
        assert aws.returncode == 0

    found = raw_config_parse(str(path))
    keys = {name: values["aws_access_key_id"] for name, values in found.items()}
    assert keys == {"a": "A", "b": "B", profile: "NEW", "mine": "AKID1"}
    assert clock.slept
