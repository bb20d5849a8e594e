"""A profile of the credentials file: three keys, nothing else, and nothing where AWS clients would not find it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from botocore.configloader import raw_config_parse

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import InvalidParameterError, UnreadableAwsFileError
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.vend.credentials_file import CredentialsFile

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "arn:aws:iam::111122223333:role/Deploy"


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
        (b"[prod]\naws_security_token = OLD\n", "has the old key aws_security_token"),
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
