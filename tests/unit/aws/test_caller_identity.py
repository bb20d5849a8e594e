"""Asking STS, apart from the user's AWS configuration (promise 84)."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.aws.caller_identity import caller_arn
from rolesanywhere_helper.aws.loop import VARIABLE, loop_guard, refuse_loop
from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import NetworkError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

MADE_UP = Credentials("ASIAAAAAAAAAAAAAAAAA", "x" * 40, "token", 0, 2_000_000_000, "arn:aws:iam::111122223333:role/X")


@pytest.fixture
def closed_endpoint() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_no_answer_is_a_network_error(closed_endpoint: str) -> None:
    with pytest.raises(NetworkError, match="STS gave no answer"):
        caller_arn(MADE_UP, region="us-east-1", endpoint_url=closed_endpoint)


@pytest.mark.promise(84)
def test_no_credential_process_is_ever_run(
    closed_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    config = tmp_path / "config"
    program = f'{sys.executable} -c \'open("{ran}","w")\''
    config.write_text(f"[default]\ncredential_process = {program}\n[profile me]\ncredential_process = {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "me")

    with pytest.raises(NetworkError):
        caller_arn(MADE_UP, region="us-east-1", endpoint_url=closed_endpoint)

    assert not ran.exists()


@pytest.mark.promise(84)
def test_the_guard_stands_only_while_a_client_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    refuse_loop()
    with loop_guard():
        assert VARIABLE in os.environ
        with pytest.raises(UsageError, match="an AWS client inside"):
            refuse_loop()
    refuse_loop()
