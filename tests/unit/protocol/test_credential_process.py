"""The document that SDKs read."""

from __future__ import annotations

import json

from botocore.credentials import ProcessProvider

from rolesanywhere_helper.protocol.credential_process import render
from tests.fakes.sessions import SECRET, TOKEN, credentials


def test_the_document() -> None:
    assert json.loads(render(credentials())) == {
        "Version": 1,
        "AccessKeyId": "ASIAEXAMPLE",
        "SecretAccessKey": SECRET,
        "SessionToken": TOKEN,
        "Expiration": "2027-01-15T09:00:00Z",
        "AccountId": "111122223333",
    }


def test_it_is_one_line_of_ascii() -> None:
    document = render(credentials())

    assert document.isascii()
    assert document.endswith(b"}\n")
    assert document.count(b"\n") == 1
    assert b" " not in document


def test_botocore_reads_it() -> None:
    provider = ProcessProvider(
        "default", lambda: {"profiles": {"default": {"credential_process": "ours"}}}, popen=_Process
    )

    loaded = provider.load()

    assert loaded is not None
    assert tuple(loaded.get_frozen_credentials()) == ("ASIAEXAMPLE", SECRET, TOKEN, "111122223333")


class _Process:
    """Stands for the command that botocore starts."""

    returncode = 0

    def __init__(self, command: list[str], **_: object) -> None:
        assert command == ["ours"]

    def communicate(self) -> tuple[bytes, bytes]:
        return render(credentials(issued_at=4_000_000_000)), b""
