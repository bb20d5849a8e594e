"""Who may be given what: another user of the machine asks a running daemon, over every outlet."""

from __future__ import annotations

import json
import resource
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.daemon import OUTLETS, ROLE, ROLES, TOKEN_HEADER, TTL_HEADER, Daemon, fetch, imds_token, owned, until
from tests.fakes.other_user import ALICE, User, running_as

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.plugins.emulated import Emulated

pytestmark = pytest.mark.usefixtures("as_root")

# Asks each place with each head, and says the answers' statuses.
ASK = """
import json
for family, address, request in json.loads(arguments[0]):
    with socket.socket(getattr(socket, family)) as connection:
        connection.settimeout(10)
        connection.connect(tuple(address) if isinstance(address, list) else address)
        connection.sendall(request.encode())
        say(connection.recv(65536).split()[1].decode())
"""
MEMBER = User(12_346, 23_457, (ALICE.gid,))


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that everybody can enter."""
    folder = Path(tempfile.mkdtemp(prefix="daemon-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def daemon(helper: Path, public: Path, emulated: Emulated) -> Iterator[Daemon]:
    with owned(Daemon(helper, public, emulated)) as owner:
        allow(owner, "")
        yield owner


def allow(daemon: Daemon, line: str) -> None:
    """Write who may have the session; its agent socket lies where everybody can get at it."""
    daemon.configure(line, outlets=OUTLETS.replace("{folder}/run/agent.sock", "{folder}/open/agent.sock"))


def statuses(daemon: Daemon, user: User = ALICE) -> dict[str, int]:
    """Ask as that user, with every token that there is; return what each outlet answers."""
    imds, container = urlsplit(daemon.imds), urlsplit(daemon.urls["container"]["app"]["url"])
    token = imds_token(daemon.imds)
    authorization = Path(daemon.urls["container"]["app"]["tokenFile"]).read_text()
    tcp = ["AF_INET", [imds.hostname, imds.port]]
    asked: dict[str, list[Any]] = {
        "token": [*tcp, head("PUT /latest/api/token", f"{TTL_HEADER}: 60")],
        "imds": [*tcp, head(f"GET {ROLES}{ROLE}", f"{TOKEN_HEADER}: {token}")],
        "container": [
            "AF_INET",
            [container.hostname, container.port],
            head("GET /app", f"Authorization: {authorization}"),
        ],
        "agent": ["AF_UNIX", daemon.agent, head("GET /v1/sessions/default", "X: 1")],
    }
    with running_as(user, ASK, json.dumps(list(asked.values())), imports="import json\n") as child:
        return {name: int(child.hear()) for name in asked}


# Asks the agent's socket for each path, and says the answers, each on one line.
READ = """
import json
for path in arguments[1:]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(arguments[0])
        connection.sendall(f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n".encode())
        say(json.dumps(connection.makefile().read()))
"""


def head(line: str, field: str) -> str:
    return f"{line} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n"


def everywhere(status: int) -> dict[str, int]:
    return dict.fromkeys(("token", "imds", "container", "agent"), status)


def audit(daemon: Daemon) -> list[str]:
    return [line.partition("audit: ")[2] for line in daemon.log.splitlines() if "rolesanywhere_helper.audit: " in line]


@pytest.mark.promise(26)
def test_without_a_policy_another_user_is_refused_everywhere_and_the_log_names_the_setting(daemon: Daemon) -> None:
    daemon.start()

    assert statuses(daemon) == everywhere(403)
    assert statuses(daemon, User(0)) == everywhere(200)  # the negative control

    until(lambda: len([line for line in audit(daemon) if line.startswith("refused ")]) >= 4)
    refusals = [line for line in audit(daemon) if line.startswith("refused ")]
    for line in refusals:
        assert f"session=default uid={ALICE.uid} " in line
        assert f'to allow it: allow-users = ["{ALICE.uid}"]' in line
        assert line.count("[session.default]") >= 1
    [over_unix] = [line for line in refusals if " pid=" in line]
    assert "channel=agent" in over_unix or "channel=unix" in over_unix
    grants = [line for line in audit(daemon) if line.startswith("granted ")]
    assert grants
    assert all(" uid=0 " in line for line in grants)
    assert 'refusals_total{outlet="imds",reason="user"} 2' in daemon.metrics()


@pytest.mark.promise(26)
@pytest.mark.parametrize("policy", [f'allow-users = ["{ALICE.uid}"]', 'allow-users = ["*"]'])
def test_a_user_who_is_allowed_is_given_it_everywhere(daemon: Daemon, policy: str) -> None:
    allow(daemon, policy)
    daemon.start()

    assert statuses(daemon) == everywhere(200)
    assert statuses(daemon, MEMBER) == everywhere(200 if "*" in policy else 403)
    opened = [line for line in audit(daemon) if "is open to everybody" in line]
    assert len(opened) == (1 if "*" in policy else 0)


@pytest.mark.promise(26)
def test_a_group_is_told_on_the_unix_socket_only_and_a_reload_takes_it_away(daemon: Daemon) -> None:
    allow(daemon, f'allow-groups = ["{ALICE.gid}"]')
    daemon.start()
    by_group = {**everywhere(403), "agent": 200}
    assert statuses(daemon) == by_group
    assert statuses(daemon, MEMBER) == by_group
    assert statuses(daemon, User(12_347, 23_458)) == everywhere(403)

    allow(daemon, f'allow-users = ["{MEMBER.uid}"]')
    daemon.reload()
    assert statuses(daemon) == everywhere(403)
    assert statuses(daemon, MEMBER) == everywhere(200)
    assert "neither in allow-users nor in allow-groups of [session.default]" in daemon.log


@pytest.mark.promise(26)
def test_many_refusals_are_few_lines(daemon: Daemon) -> None:
    daemon.start()
    for _ in range(10):
        statuses(daemon)
    refusals = [line for line in audit(daemon) if line.startswith("refused ")]
    assert 0 < len(refusals) < 10
    assert 'refusals_total{outlet="imds",reason="user"} 20' in daemon.metrics()


@pytest.mark.promise(26)
@pytest.mark.parametrize("line", ['allow-users = ["nobody-of-this-name"]', 'allow-groups = ["no-such-group"]'])
def test_a_name_that_nobody_has_stops_the_start_and_is_refused_by_a_reload(daemon: Daemon, line: str) -> None:
    name = line.split('"')[1]
    allow(daemon, line)
    daemon.start(wait=False)
    # Not 2, with which systemd would not try again: sssd may come up later.
    assert daemon.process.wait(20) == 1
    assert f"'{name}', which this machine does not know" in daemon.log

    allow(daemon, f'allow-users = ["{ALICE.uid}"]')
    daemon.start()
    allow(daemon, line)
    daemon.reload()
    assert "the new configuration is not used, the old one stays" in daemon.log
    assert statuses(daemon) == everywhere(200)


@pytest.mark.promise(26, 72)
def test_what_another_user_sees_of_the_status_is_nothing(daemon: Daemon) -> None:
    daemon.start()
    with running_as(ALICE, STATUS, daemon.agent) as child:
        answer = json.loads(child.hear())
    assert answer["sessions"] == {}
    assert set(json.loads(json.dumps(daemon.status()))) > {"hasCredentials", "lastError"}


STATUS = """
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(arguments[0])
    connection.sendall(b"GET /v1/status HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
    say(connection.makefile("rb").read().partition(b"\\r\\n\\r\\n")[2].decode().strip())
"""


# Takes as many connections as it can get, and holds them until it is nudged.
HOLD = """
host, port, count = arguments[0], int(arguments[1]), int(arguments[2])
held = []
for _ in range(count):
    connection = socket.create_connection((host, port))
    connection.settimeout(5)
    connection.sendall(b"GET /x HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    try:
        if connection.recv(4096).split()[1] != b"503": held.append(connection)
    except (OSError, IndexError): pass
say(len(held))
wait()
"""


@pytest.mark.promise(77)
def test_one_user_cannot_take_every_connection(daemon: Daemon) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (192, 192))

    daemon.start(before=few)
    parts = urlsplit(daemon.imds)
    with running_as(ALICE, HOLD, str(parts.hostname), int(parts.port or 0), 100) as child:
        # There is room for 64, and three quarters of that are for her.
        assert int(child.hear()) == 48
        for _ in range(5):
            assert daemon.credentials().status == daemon.container().status == daemon.from_agent().status == 200
        assert 48 <= daemon_connections(daemon, "imds") <= 52
        child.nudge()
    until(lambda: daemon_connections(daemon, "imds") == 0)


def daemon_connections(daemon: Daemon, outlet: str) -> int:
    line = f'rolesanywhere_helper_open_connections{{outlet="{outlet}"}} '
    [found] = [text for text in daemon.metrics().splitlines() if text.startswith(line)]
    return int(found.removeprefix(line))


CHAIN = """
[session.customer]
source = "default"
assume-role-arn = "arn:aws:iam::444455556666:role/Customer"
allow-users = ["{alice}"]
[session.further]
source = "customer"
assume-role-arn = "arn:aws:iam::777788889999:role/Further"
allow-users = ["{alice}"]
"""


def test_who_may_have_a_chained_session_is_not_told_the_files_of_the_one_before_it(daemon: Daemon) -> None:
    daemon.config.write_text(daemon.config.read_text() + CHAIN.replace("{alice}", str(ALICE.uid)))
    daemon.key.unlink()
    daemon.start(wait=False)
    daemon.await_listening()
    until(lambda: daemon.error_code("further") is not None, what=daemon.log)
    agent, paths = str(daemon.folder / "open" / "agent.sock"), ("/v1/sessions/further", "/v1/status")

    with running_as(ALICE, READ, agent, *paths, imports="import json\n") as child:
        told = [json.loads(child.hear()) for _ in paths]
    by_root = [fetch(agent, path).body.decode() for path in paths]

    for text in told:
        assert "session further goes on from session default, which has no credentials (unreadable-key)" in text
        assert str(daemon.folder / "host.key") not in text
    for text in by_root:
        assert str(daemon.folder / "host.key") in text, "the negative control"
    assert str(daemon.key) in daemon.log
