"""``serve`` and ``status`` from the outside, as far as no daemon is needed: what is wrong is said at once."""

from __future__ import annotations

import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.domain.serving import SessionStatus
from rolesanywhere_helper.protocol.status import DaemonStatus, render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import RunHelper

ERROR = re.compile(r"(?:[^\n]+ WARNING [^\n]+\n)*error: .+\nhint: .+\n")
SESSION = """
[identity.host]
certificate = "host.pem"
private-key = "host.key"
[session.deploy]
identity = "host"
trust-anchor-arn = "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/1"
profile-arn = "arn:aws:rolesanywhere:eu-central-1:111122223333:profile/1"
role-arn = "arn:aws:iam::111122223333:role/Deploy"
"""


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.mark.promise(16)
@pytest.mark.parametrize(
    ("flags", "table", "said"),
    [
        (["--bind", "0.0.0.0"], "", ("nothing says who may connect", "allow-from")),  # noqa: S104 - it is refused
        (["--container-port", "0", "--bind", "::"], "", ("nothing says who may connect", "allow-from")),
        ([], "[serve.imds.a]\nlisten = ['0.0.0.0:0']\n", ("nothing says who may connect", "allow-from")),
        (
            [],
            "[serve.imds.a]\nlisten = ['0.0.0.0:0']\nallow-from = ['10.0.0.0/8']\n",
            ("would give credentials to other machines", "serve-imds-to-the-network = true"),
        ),
        ([], "[serve.imds.a]\nlisen = []\n", ("unknown key 'lisen' at [serve.imds.a]", "did you mean listen?")),
        (["--prot", "1"], "", ("unknown flag '--prot'", "did you mean --port?")),
        (["--port", "x"], "", ("--port is not a port", "65535")),
        (["--private-key", "env:KEY"], "", ("must not hold the key", "LoadCredential=")),
        (["--session", "x"], "", ("there is no [session.x]", "deploy")),
    ],
)
def test_what_must_not_be_served_is_one_error_and_one_hint(
    flags: list[str], table: str, said: tuple[str, str], run_helper: RunHelper, tmp_path: Path
) -> None:
    config = write(tmp_path / "config.toml", SESSION + table)

    done = run_helper("serve", "--config", config, *flags, timeout=20)

    assert (done.exit_code, done.stdout) == (2, b"")
    assert ERROR.fullmatch(done.err), done.err
    error, _, hint = done.err.partition("\nhint: ")
    assert said[0] in error
    assert said[1] in hint


# status


STATUS = DaemonStatus(
    "1",
    (
        SessionStatus("deploy", has_credentials=True, expires_at=4_000_000_000, certificate_not_after=4_100_000_000),
        SessionStatus("other", has_credentials=False, last_error=("refused", "said no", "ask the owner")),
    ),
)


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Path]:
    """Return the socket of a daemon that knows only its status."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    head = connection.recv(4096)
                    body = render(STATUS) if head.startswith(b"GET /v1/status HTTP/1.1\r\n") else b""
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        thread = threading.Thread(target=answer)
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def test_status_prints_what_the_daemon_tells(run_helper: RunHelper, answering: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "config.toml", f"[serve.agent]\nsocket = '{answering}'\n")

    from_flag = run_helper("status", "--agent-socket", answering)
    from_variable = run_helper("status", env={"ROLESANYWHERE_HELPER_AGENT_SOCKET": str(answering)})
    from_file = run_helper("status", "--config", config)

    for done in (from_flag, from_variable, from_file):
        assert (done.exit_code, done.stderr) == (0, b"")
        assert "deploy" in done.out
        assert "said no" in done.out
    assert run_helper("status", "--json", "--agent-socket", answering).stdout == render(STATUS)


def test_status_waits_and_checks(run_helper: RunHelper, answering: Path) -> None:
    waited = run_helper("status", "--wait", "deploy", "--agent-socket", answering)
    unknown = run_helper("status", "--wait", "none", "--agent-socket", answering)
    checked = run_helper("status", "--check", "--agent-socket", answering)

    assert (waited.exit_code, waited.stdout, waited.stderr) == (0, b"", b"")
    assert (unknown.exit_code, unknown.stdout) == (2, b"")
    assert "it has: deploy, other" in unknown.err
    assert (checked.exit_code, checked.stderr) == (2, b"")
    assert checked.out.startswith("CRITICAL: other has no credentials (said no) | ")


def test_without_a_daemon_status_says_where_it_looked(run_helper: RunHelper, tmp_path: Path) -> None:
    done = run_helper("status", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    checked = run_helper("status", "--check", "--agent-socket", tmp_path / "none.sock")

    assert (done.exit_code, done.stdout) == (3, b"")
    assert ERROR.fullmatch(done.err)
    assert f"{tmp_path}/rolesanywhere-helper/agent.sock" in done.err
    assert checked.exit_code == 2
    assert checked.out == f"CRITICAL: no daemon answers at {tmp_path}/none.sock\n"


def test_a_socket_that_others_could_have_planted_is_not_asked(
    run_helper: RunHelper, answering: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)

    done = run_helper("status", "--agent-socket", answering)

    assert (done.exit_code, done.stdout) == (1, b"")
    assert "can be written by others" in done.err
    tmp_path.chmod(0o700)
    assert run_helper("status", "--agent-socket", answering).exit_code == 0
