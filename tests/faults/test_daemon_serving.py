"""The running daemon hands out whole and valid sets, whatever the service, crowds and limits do."""

from __future__ import annotations

import resource
import socket
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from rolesanywhere_helper.aws.caller_identity import caller_arn
from rolesanywhere_helper.domain.credentials import Credentials
from tests.fakes.daemon import (
    ROLE,
    ROLES,
    TTL_HEADER,
    Answer,
    Daemon,
    crowd,
    fetch,
    imds_client,
    imds_get,
    imds_token,
    owned,
    percentile,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.plugins.emulated import Emulated

CROWD = 1_000
# So many end within the life of the child that hangs; the least disturbed one counts.
CROWDS = 5
HOUR = 3_600
SECOND_ENDPOINT = '\n[serve.imds.other]\nsession = "default"\nlisten = ["127.0.0.1:0"]\n'


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated) -> Iterator[Daemon]:
    with owned(Daemon(helper, tmp_path, emulated)) as owner:
        yield owner


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def identity(document: dict[str, str], endpoint: str) -> str:
    """Sign a call with a served set, which the emulator verifies."""
    made = Credentials(document["AccessKeyId"], document["SecretAccessKey"], document["Token"], 0, 1, "")
    return caller_arn(made, region="us-east-1", endpoint_url=endpoint)


def documents(answers: list[Answer]) -> list[dict[str, str]]:
    return [answer.document for answer in answers if answer.body.startswith(b"{")]


def sets(answers: list[Answer]) -> dict[str, dict[str, str]]:
    """Return the sets that were given out by access key; all that was given under one key must be the same."""
    found: dict[str, dict[str, str]] = {}
    for document in documents(answers):
        assert found.setdefault(document["AccessKeyId"], document) == document, "a torn set"
    return found


def due(daemon: Daemon) -> Daemon:
    """Bring it to where its next start finds a set that is due, with a quarter of an hour left."""
    daemon.start().stop()
    daemon.age_cache(HOUR - 900)
    daemon.emulated.emulator.forget_requests()
    return daemon


def run_crowd(url: str, count: int = CROWD) -> list[Answer]:
    answers: list[Answer] = []
    assert crowd(url, [imds_client(url, answers) for _ in range(count)]) == []
    return answers


def p99_of(answers: list[Answer]) -> float:
    return percentile([answer.seconds for answer in answers], 0.99)


# Documents and tokens


@pytest.mark.promise(12, 18)
def test_the_credentials_of_the_role_and_of_no_other(daemon: Daemon) -> None:
    daemon.start()
    token = imds_token(daemon.imds)

    assert imds_get(daemon.imds, ROLES, token).body == ROLE.encode()
    good = daemon.credentials(token)
    wrong = [imds_get(daemon.imds, ROLES + name, token) for name in ("Other", ROLE + "x", ROLE.lower(), ROLE[:-1])]

    assert [answer.status for answer in wrong] == [404] * 4
    assert all(ROLE.encode() not in answer.body for answer in wrong)
    for answer in (good, daemon.container(), daemon.from_agent()):
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert int(answer.headers["content-length"]) == len(answer.body)
        assert answer.document["AccessKeyId"] == good.document["AccessKeyId"]
    assert identity(good.document, daemon.emulated.endpoint).endswith(f":assumed-role/{ROLE}/" + _session_name(daemon))


def _session_name(daemon: Daemon) -> str:
    return str(daemon.emulated.create_session_calls()[0]["roleSessionName"])


@pytest.mark.promise(24)
def test_a_token_outlives_a_restart_and_opens_one_endpoint_only(daemon: Daemon) -> None:
    daemon.configure(more=SECOND_ENDPOINT)
    daemon.start()
    token = imds_token(daemon.imds)
    daemon.restart()
    other = str(daemon.urls["imdsEndpoints"]["other"][0])

    assert daemon.credentials(token).status == 200
    assert imds_get(other, ROLES + ROLE, token).status == 401
    assert imds_get(other, ROLES + ROLE).status == 200

    daemon.stop()
    [kept] = (daemon.folder / "run").rglob("imds-token.key")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.unlink()
    daemon.start()
    # The negative control: it is the kept key by which it was known.
    assert daemon.credentials(token).status == 401


@pytest.mark.promise(22)
def test_100_000_tokens_cost_no_memory_and_spoil_no_other(daemon: Daemon) -> None:
    daemon.start()
    first = imds_token(daemon.imds)
    put = f"PUT /latest/api/token HTTP/1.1\r\nHost: localhost\r\n{TTL_HEADER}: 21600\r\n\r\n".encode()
    pipelined = 50
    parts = urlsplit(daemon.imds)
    address = (str(parts.hostname), int(parts.port or 0))
    with socket.create_connection(address) as connection, connection.makefile("rb") as stream:
        length = _ask(connection, stream, put, 1)
        # The first ten thousand answers bring what any busy process has (pools, a full collection of garbage).
        for _ in range(20_000 // pipelined):
            _ask(connection, stream, put, pipelined, length)
        before = daemon.rss()
        for _ in range(100_000 // pipelined):
            _ask(connection, stream, put, pipelined, length)
        after = daemon.rss()
    print(f"resident before: {before} KiB, after: {after} KiB")
    assert after - before < 256
    assert daemon.credentials(first).status == 200
    assert daemon.credentials(first[:-1] + ("A" if first[-1] != "A" else "B")).status == 401
    answered = [line for line in daemon.metrics().splitlines() if 'outlet="imds",status="200"' in line]
    assert int(answered[0].rpartition(" ")[2]) >= 100_000


def _ask(connection: socket.socket, stream: object, put: bytes, count: int, length: int | None = None) -> int:
    """Send so many PUTs at once, and read their answers, all of one length; return that."""
    connection.sendall(put * count)
    read, readline = stream.read, stream.readline  # type: ignore[attr-defined]
    if length is not None:
        assert read(length * count).count(b"HTTP/1.1 200 ") == count
        return length
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += readline()
    [size] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    body = int(size.partition(b":")[2])
    assert len(read(body)) == body
    return len(head) + body


@pytest.mark.promise(25)
def test_the_token_file_is_private_and_without_a_newline_and_can_be_renewed(daemon: Daemon) -> None:
    daemon.start()
    file = Path(daemon.urls["container"]["app"]["tokenFile"])
    token = file.read_text()

    assert stat.S_IMODE(file.stat().st_mode) & ~0o640 == 0
    assert token == token.strip()
    assert len(token) >= 32
    assert daemon.container().status == 200
    assert fetch(daemon.urls["container"]["app"]["url"], "", headers={"Authorization": token + "x"}).status == 401
    assert fetch(daemon.urls["container"]["app"]["url"], "").status == 401

    daemon.restart()
    assert file.read_text() == token


# A service that hangs, fails, or is slow


@pytest.mark.alone
@pytest.mark.promise(67, 77)
@pytest.mark.usefixtures("many_descriptors")
def test_with_the_service_hung_everybody_is_answered_at_once(daemon: Daemon) -> None:
    """The hang is shortened: a child is at it all the time, and then another one."""
    due(daemon)
    daemon.emulated.emulator.set_fault(delaySeconds=600)
    daemon.start()
    until(lambda: bool(daemon.emulated.create_session_calls()))
    assert daemon.children(), "the refresh is under way"

    one_by_one = [daemon.credentials().seconds for _ in range(200)]
    crowds = [run_crowd(daemon.imds) for _ in range(CROWDS)]
    assert daemon.children(), "it is still under way"

    print(f"one by one: the slowest of 200 took {max(one_by_one) * 1000:.1f} ms")
    for answers in crowds:
        assert {answer.status for answer in answers} == {200}
        assert len(documents(answers)) == CROWD
    p99 = [p99_of(answers) for answers in crowds]
    print(f"{CROWD} at once: p99 {', '.join(f'{seconds * 1000:.0f} ms' for seconds in p99)}")
    # The clients share two cores with the daemon: it is slowed down by them, and by whatever else this machine does.
    assert min(p99) < 0.250
    assert max(one_by_one) < 0.050
    [served] = sets([answer for answers in crowds for answer in answers]).values()
    assert identity(served, daemon.emulated.endpoint)
    assert len(daemon.emulated.create_session_calls()) == 1


@pytest.mark.promise(68)
def test_while_refreshes_fail_the_old_set_is_served_to_its_end_and_then_nothing(daemon: Daemon) -> None:
    daemon.start().stop()
    daemon.age_cache(HOUR - 6)  # six seconds are left
    daemon.emulated.emulator.set_fault(status=500)
    daemon.start()
    token = imds_token(daemon.imds)
    expires_at = _epoch(daemon.credentials(token).document["Expiration"])

    seen: list[tuple[float, int, float]] = []
    while not seen or seen[-1][0] < expires_at + 1:
        before = time.time()
        answer = daemon.credentials(token)
        seen.append((before, answer.status, time.time()))
        if answer.status == 200:
            document = answer.document
            assert document["SecretAccessKey"]
            assert document["Token"]
            assert _epoch(document["Expiration"]) == expires_at
        else:
            assert (answer.status, b"AccessKeyId" in answer.body) == (503, False)

    assert all(status == 200 for _, status, after in seen if after < expires_at)
    assert all(status == 503 for before, status, _ in seen if before >= expires_at)
    assert {status for _, status, _ in seen} == {200, 503}
    assert daemon.container().status == daemon.from_agent().status == 503
    assert imds_get(daemon.imds, ROLES, token).status == 503
    assert daemon.error_code() == "service-unavailable"

    daemon.emulated.emulator.clear_faults()
    replaced = daemon.issue()
    daemon.install(replaced)  # it tries at once
    until(lambda: daemon.credentials(token).status == 200)


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.alone
@pytest.mark.promise(69)
@pytest.mark.usefixtures("many_descriptors")
def test_1000_clients_during_a_refresh_make_one_call_and_get_whole_sets(daemon: Daemon) -> None:
    due(daemon)
    daemon.emulated.emulator.set_fault(delaySeconds=0.5)
    daemon.start()
    until(lambda: bool(daemon.emulated.create_session_calls()))
    answers: list[Answer] = []
    rounds = 0
    while len(sets(answers)) < 2:
        answers += run_crowd(daemon.imds)
        rounds += 1
        assert rounds < 20

    assert {answer.status for answer in answers} == {200}
    print(f"{len(documents(answers))} documents")
    old, new = sets(answers).values()
    assert old["Expiration"] < new["Expiration"]
    for served in (old, new):
        assert identity(served, daemon.emulated.endpoint)
    assert len(daemon.emulated.create_session_calls()) == 1
    torn = {**old, "SecretAccessKey": new["SecretAccessKey"]}
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        identity(torn, daemon.emulated.endpoint)


# Too much


@pytest.mark.promise(76)
@pytest.mark.usefixtures("many_descriptors", "as_root")
def test_without_descriptors_accepting_pauses_nothing_spins_and_refreshes_go_on(daemon: Daemon) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))

    daemon.start(before=few)
    token = imds_token(daemon.imds)
    before = daemon.access_key()
    daemon.install(daemon.issue())  # the negative control, and all that it needs is open after it
    until(lambda: daemon.access_key() != before)
    first = daemon.access_key()
    parts = urlsplit(daemon.imds)
    with ExitStack() as stack:
        # The capacity is made for the limit, so it takes silence about other descriptors to exhaust them.
        limits = (daemon.descriptors() + 6, 90)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)
        for _ in range(60):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex((str(parts.hostname), int(parts.port or 0)))
        until(lambda: "accepting connections pauses: EMFILE" in daemon.log)
        cpu, began = daemon.cpu_seconds(), time.monotonic()
        until(lambda: time.monotonic() - began > 1.5)  # what is looked at is that nothing happens
        used = (daemon.cpu_seconds() - cpu) / (time.monotonic() - began)
        print(f"{used * 100:.0f} % of a processor")
        assert used < 0.2
    assert daemon.log.count("accepting connections pauses") < 50
    # They have gone, and there is room for a child again: it serves, and a refresh works.
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (90, 90))
    until(lambda: _status_or_zero(daemon, token) == 200)
    daemon.install(daemon.issue())
    until(lambda: daemon.access_key() != first)


def _status_or_zero(daemon: Daemon, token: str) -> int:
    try:
        return imds_get(daemon.imds, ROLES + ROLE, token).status
    except OSError:
        return 0


@pytest.mark.promise(76)
@pytest.mark.usefixtures("many_descriptors")
def test_a_refresh_works_while_every_connection_is_taken(daemon: Daemon) -> None:
    """Descriptors are kept for files, pipes and children, also while many are turned away."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    daemon.start(before=few)
    [first] = {call["accessKeyId"] for call in daemon.emulated.create_session_calls()}
    parts = urlsplit(daemon.imds)
    with ExitStack() as stack:
        for _ in range(300):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex((str(parts.hostname), int(parts.port or 0)))
            connection.setblocking(True)
            connection.sendall(b"GET ")
        daemon.install(daemon.issue())
        until(lambda: len(daemon.emulated.create_session_calls()) == 2)
        until(lambda: daemon.log.count("new credentials") == 2)
        assert "cannot be started" not in daemon.log
        assert "accepting connections pauses" not in daemon.log
    until(lambda: daemon.from_agent().status == 200)
    assert daemon.from_agent().document["AccessKeyId"] != first


@pytest.mark.promise(77)
@pytest.mark.usefixtures("many_descriptors")
def test_what_is_too_much_is_refused_before_any_work(daemon: Daemon) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

    daemon.start(before=few)
    parts = urlsplit(daemon.imds)
    with ExitStack() as stack:
        crowded = [stack.enter_context(socket.create_connection((parts.hostname, parts.port))) for _ in range(60)]
        turned_away: list[bytes] = []
        for connection in crowded:
            connection.setblocking(False)
        began = time.monotonic()
        while len(turned_away) < 10 and time.monotonic() - began < 3:
            for connection in crowded:
                try:
                    turned_away.append(connection.recv(1000))
                except BlockingIOError:
                    continue
        assert turned_away
        assert all(not data or data.startswith(b"HTTP/1.1 503 ") for data in turned_away)
        assert any(b"Retry-After: 1" in data for data in turned_away)
    until(lambda: daemon.from_agent().status == 200)
    until(lambda: fetch(daemon.imds, "/latest/api/token", "PUT", {TTL_HEADER: "60"}).status == 200)
    assert 'refusals_total{outlet="imds",reason="overload"}' in daemon.metrics()


@pytest.mark.promise(22, 77)
def test_many_sessions_many_threads_one_answer(daemon: Daemon) -> None:
    daemon.start()
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: daemon.access_key(), range(200)))
    assert len(keys) == 1
