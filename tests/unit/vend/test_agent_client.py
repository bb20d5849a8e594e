"""Asking the daemon of this machine: what is taken, from whom, and what is left alone."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.errors import AgentError
from rolesanywhere_helper.protocol.credential_process import render
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.vend.agent_client import AgentSocket, ask
from tests.fakes.other_user import ALICE, NOBODY, running_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROLE = "arn:aws:iam::111122223333:role/Deploy"
SECRET = "canary-secret"
NOW = int(time.time())
SET = Credentials("ASIAEXAMPLE", SECRET, "canary-token", NOW - 600, NOW + 3000, ROLE)


def document(**changes: object) -> bytes:
    return json.dumps(json.loads(render(SET)) | changes).encode()


def http(body: bytes, status: str = "200 OK", headers: str = "Content-Type: application/json\r\n") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path that root alone has a hand in, but for the sticky directory for everybody above it."""
    return tmp_path_factory.mktemp("agent")


class Agent:
    """A daemon that answers every request with the same bytes, piece by piece, and keeps what it was asked."""

    def __init__(self, listener: socket.socket, answer: list[bytes], pause: float) -> None:
        self.requests: list[bytes] = []
        self._listener = listener
        self._answer = answer
        self._pause = pause

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(4096)
                if not request:
                    continue
                self.requests.append(request)
                self._send(connection)

    def _send(self, connection: socket.socket) -> None:
        for piece in self._answer:
            try:
                connection.sendall(piece)
            except OSError:
                return
            time.sleep(self._pause)


@contextmanager
def agent_at(path: Path, *answer: bytes, pause: float = 0) -> Iterator[Agent]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        agent = Agent(listener, list(answer), pause)
        thread = threading.Thread(target=agent.serve)
        thread.start()
        try:
            yield agent
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def asked(path: Path | str, session: str = "deploy", role: str = ROLE, *, is_named: bool = False) -> Credentials | None:
    return ask(AgentSocket(str(path), is_named), session, role, SystemClock())


def why_not(path: Path, *, is_named: bool = False) -> str:
    """Return why there is nothing; no secret is in that, nor in its hint."""
    with pytest.raises(AgentError) as caught:
        asked(path, is_named=is_named)
    assert "canary" not in f"{caught.value.what} {caught.value.hint} {caught.value.__context__}"
    return caught.value.what


# What is taken


def test_the_daemons_set_is_taken_with_one_request(directory: Path) -> None:
    path = directory / "s"
    with agent_at(path, http(render(SET))) as agent:
        found = asked(path)
    assert found is not None
    assert (found.access_key_id, found.secret_access_key, found.session_token) == (
        "ASIAEXAMPLE",
        SECRET,
        "canary-token",
    )
    assert (found.expires_at, found.role_arn) == (SET.expires_at, ROLE)
    assert NOW <= found.issued_at <= time.time()
    assert agent.requests == [b"GET /v1/sessions/deploy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]


def test_an_answer_may_come_in_pieces(directory: Path) -> None:
    path = directory / "s"
    whole = http(render(SET))
    with agent_at(path, *(whole[at : at + 40] for at in range(0, len(whole), 40)), pause=0.001):
        assert asked(path) is not None


def test_a_relative_path_is_one_from_here(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    with agent_at(directory / "s", http(render(SET))):
        assert asked("s") is not None


# What is no answer


def test_no_agent_is_silently_none(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = directory / "s"
    with agent_at(path, b""):
        pass
    assert path.is_socket(), "nobody listens there any more"
    for gone in (path, directory / "nothing", directory / "no" / "where", path / "below"):
        assert asked(gone) is None
    assert caplog.messages == []


def test_an_agent_without_the_session_is_none(directory: Path) -> None:
    path = directory / "s"
    with agent_at(path, http(b"there is none", "404 Not Found")) as agent:
        assert asked(path) is None
    assert len(agent.requests) == 1


@pytest.mark.parametrize("status", ["500 Oops", "301 Moved", "204 Nothing"])
def test_an_answer_that_means_nothing_here_is_told_by_its_number(status: str, directory: Path) -> None:
    path = directory / "s"
    with agent_at(path, http(b"oops", status)):
        assert why_not(path) == f"the agent at {path} gave no credentials: it answered with {status[:3]}"


def test_an_agent_without_credentials_says_why(directory: Path) -> None:
    path = directory / "s"
    reason = {"code": "leaf-expired", "message": "the certificate ended", "hint": "renew it"}
    with agent_at(path, http(json.dumps({"error": reason}).encode(), "503 Service Unavailable")):
        with pytest.raises(AgentError) as caught:
            asked(path)
        assert caught.value.what.endswith("no credentials for the session deploy: the certificate ended (leaf-expired)")
        assert caught.value.hint == "renew it"


@pytest.mark.parametrize(
    "body", [b"not yet", b"[]", b'{"error": 7}', b'{"error": {"code": "A B", "message": "x"}}', b"[" * 60_000]
)
def test_an_agent_without_credentials_may_have_no_reason_yet(body: bytes, directory: Path) -> None:
    path = directory / "s"
    with agent_at(path, http(body, "503 Service Unavailable")):
        assert why_not(path) == f"the agent at {path} has no credentials for the session deploy at the moment"


@pytest.mark.promise(26)
def test_a_refusal_is_an_error_that_says_who_and_which_setting(directory: Path) -> None:
    path = directory / "s"
    with agent_at(path, http(b"this user may not", "403 Forbidden")), pytest.raises(AgentError) as caught:
        asked(path)
    assert caught.value.what == f"the agent at {path} does not give the session deploy to user {os.geteuid()}"
    assert f'allow-users = ["{os.geteuid()}"]' in caught.value.hint
    assert "[session.deploy]" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "ended after 0 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}", "ended after"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + render(SET), "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 9\r\n\r\n", "Content-Length"),
        (b"hello\r\n\r\n", "not HTTP"),
        (b"x" * 70_000, "longer than"),
        (http(b"x" * 70_000), "longer than"),
        (http(SECRET.encode()), "not a document"),
        (http(b"[" * 60_000), "not a document"),
        (http(b"[]"), "not a document"),
        (http(document(Version=2)), "version 1"),
        (http(document(SecretAccessKey="")), "SecretAccessKey"),
        (http(document(SessionToken="a\nb")), "SessionToken"),
        (http(document(AccessKeyId=7)), "AccessKeyId"),
        (http(document(Expiration="tomorrow")), "Expiration"),
        (http(document(Expiration="2020-01-01T00:00:00Z")), "expired"),
        (http(document(AccountId=None)), "AccountId"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_secret(answer: bytes, why: str, directory: Path) -> None:
    path = directory / "s"
    with agent_at(path, answer):
        assert why in why_not(path)


@pytest.mark.promise(85)
def test_a_set_for_another_account_is_not_taken(directory: Path) -> None:
    path = directory / "s"
    with agent_at(path, http(document(AccountId="444455556666"))):
        assert "asked for the account 111122223333, but was offered another one" in why_not(path)


@pytest.mark.promise(85)
def test_a_set_for_another_role_of_the_account_is_not_taken(directory: Path) -> None:
    path = directory / "s"
    with agent_at(path, http(document(RoleArn="arn:aws:iam::111122223333:role/SomebodyElses"))):
        assert "another role" in why_not(path)


@pytest.mark.parametrize("session", ["a/b", "..", ".", "a b", "a%2fb", "a\r\nX: y", "", "x" * 201, "ä"])
def test_a_name_that_would_need_escaping_is_not_asked_for(session: str, directory: Path) -> None:
    path = directory / "s"
    with agent_at(path, http(render(SET))) as agent:
        assert asked(path, session) is None
    assert agent.requests == []


class Hurried:
    """A clock on which a second passes with every look."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        self.looks += 1
        return self.looks * 0.4

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def test_the_deadline_is_for_the_whole_exchange(directory: Path) -> None:
    path = directory / "s"
    whole = http(render(SET))
    with agent_at(path, *(whole[at : at + 1] for at in range(len(whole))), pause=0.002):
        clock = Hurried()
        with pytest.raises(AgentError, match="timed out"):
            ask(AgentSocket(str(path)), "deploy", ROLE, clock)
        assert clock.looks < 6


def test_an_agent_that_says_nothing_costs_no_more_than_a_second(directory: Path) -> None:
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(str(path))
        stuck.listen(0)
        start = time.monotonic()
        assert "timed out" in why_not(path)
        assert 0.9 < time.monotonic() - start < 3
        with socket.socket(socket.AF_UNIX) as other:
            other.setblocking(False)
            while other.connect_ex(str(path)) == 0:
                break
            assert "temporarily unavailable" in why_not(path) or "timed out" in why_not(path), "its backlog is full"


# Whom is believed


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory of root that others can enter; those of pytest are closed to them."""
    path = Path(f"/run/rolesanywhere-helper-test-{os.getpid()}")
    path.mkdir(mode=0o755)
    yield path
    for entry in sorted(path.rglob("*"), reverse=True):
        entry.rmdir() if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    path.rmdir()


LISTEN = """
server = socket.socket(socket.AF_UNIX)
server.bind(arguments[0])
server.listen()
say("listens")
while True:
    connection, _ = server.accept()
    request = connection.recv(4096)
    if request == b"": break
    connection.sendall(arguments[1].encode())
    connection.close()
"""


@contextmanager
def agent_of_alice(path: Path) -> Iterator[None]:
    with running_as(ALICE, LISTEN, path, http(render(SET)).decode()) as child:
        assert child.hear() == "listens"
        yield
        with socket.socket(socket.AF_UNIX) as last, suppress(ConnectionRefusedError):  # it may have ended already
            last.connect(str(path))


def owned_by_alice(path: Path) -> Path:
    path.mkdir(mode=0o755)
    os.chown(path, ALICE.uid, ALICE.gid)
    return path


@pytest.mark.promise(85)
def test_a_socket_of_another_user_is_not_asked(elsewhere: Path) -> None:
    path = owned_by_alice(elsewhere / "alice") / "s"
    with agent_of_alice(path):
        assert f"belongs to user {ALICE.uid}" in why_not(path)
        found = asked(path, is_named=True)
    assert found is not None, "named in the configuration, in a directory that root gave that user"


@pytest.mark.promise(85)
def test_a_name_in_the_configuration_does_not_help_where_anybody_could_have_made_the_directory(elsewhere: Path) -> None:
    shared = elsewhere / "shared"
    shared.mkdir()
    path = owned_by_alice(shared / "alice") / "s"
    with agent_of_alice(path):
        assert asked(path, is_named=True) is not None
        shared.chmod(0o1777)
        assert f"belongs to user {ALICE.uid}" in why_not(path, is_named=True)


@pytest.mark.promise(85)
@pytest.mark.parametrize("mode", [0o777, 0o757, 0o775])
def test_a_directory_that_others_can_write_is_not_believed(mode: int, elsewhere: Path) -> None:
    shared = elsewhere / "shared"
    shared.mkdir()
    os.chown(shared, 0, 50)
    path = shared / "s"
    with agent_at(path, http(render(SET))):
        assert asked(path) is not None
        shared.chmod(mode)
        for is_named in (False, True):
            assert "can be written by others" in why_not(path, is_named=is_named)
        shared.chmod(mode | 0o1000)
        assert asked(path) is not None, "in a sticky one only its owner can replace the socket"


@pytest.mark.promise(85)
def test_a_socket_in_a_sticky_directory_must_be_ours_even_if_named(elsewhere: Path) -> None:
    shared = elsewhere / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    path = shared / "s"
    with agent_of_alice(path):
        assert f"belongs to user {ALICE.uid}" in why_not(path)
        assert f"belongs to user {ALICE.uid}" in why_not(path, is_named=True)
        shared.chmod(0o755)
        assert asked(path, is_named=True) is not None, "where only root can have let it be made"


@pytest.mark.promise(85)
def test_a_link_of_another_user_is_not_followed(elsewhere: Path) -> None:
    path, link = elsewhere / "s", elsewhere / "link"
    link.symlink_to("s")
    with agent_at(path, http(render(SET))):
        assert asked(link) is not None
        os.lchown(link, ALICE.uid, ALICE.gid)
        for is_named in (False, True):
            assert f"{link} belongs to user {ALICE.uid}" in why_not(link, is_named=is_named)


@pytest.mark.promise(85)
def test_who_answers_must_be_trusted_whoever_owns_the_file(elsewhere: Path) -> None:
    path = owned_by_alice(elsewhere / "alice") / "s"
    with agent_of_alice(path):
        os.chown(path.parent, 0, 0)
        os.chown(path, 0, 0)
        assert f"user {ALICE.uid} answers there" in why_not(path)


@pytest.mark.promise(85)
@pytest.mark.parametrize("kind", ["file", "directory", "fifo"])
def test_what_is_no_socket_is_not_asked(kind: str, directory: Path) -> None:
    path = directory / "s"
    make: dict[str, Callable[[], object]] = {
        "file": path.touch,
        "directory": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
    }
    make[kind]()
    assert "is not a socket" in why_not(path)


@pytest.mark.promise(85)
def test_another_user_believes_roots_daemon_and_nobody_elses(elsewhere: Path) -> None:
    """Seen from an unprivileged client: what it prints is what it was given."""
    code = """
from rolesanywhere_helper.errors import AgentError
from rolesanywhere_helper.system.clocks import SystemClock
"""
    preload = "from rolesanywhere_helper.vend.agent_client import AgentSocket, ask\nimport _strptime\n"
    client = """
for path in arguments[1:]:
    try:
        say(ask(AgentSocket(path), "deploy", arguments[0], SystemClock()).access_key_id)
    except AgentError:
        say(None)
"""
    roots, alices = elsewhere / "s", owned_by_alice(elsewhere / "alice") / "s"
    with agent_at(roots, http(render(SET))), agent_of_alice(alices):
        roots.chmod(0o666)
        alices.chmod(0o666)
        with running_as(NOBODY, client, ROLE, roots, alices, imports=code + preload) as nobody:
            assert [nobody.hear(), nobody.hear()] == ["ASIAEXAMPLE", "None"]
        with running_as(ALICE, client, ROLE, roots, alices, imports=code + preload) as alice:
            assert [alice.hear(), alice.hear()] == ["ASIAEXAMPLE", "ASIAEXAMPLE"]


def test_nothing_is_logged_on_success(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = directory / "s"
    with agent_at(path, http(render(SET))):
        assert asked(path) is not None
    assert caplog.messages == []
