"""Addresses to listen on: real sockets, in use by real processes, or passed as systemd passes them."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.errors import ConfigurationError, UsageError
from rolesanywhere_helper.system.address_owner import AddressOwner, process_owner, tcp_owner
from rolesanywhere_helper.system.listeners import (
    bind_tcp,
    bind_unix,
    passed_names,
    passed_sockets,
    remove_stale_socket,
    set_hop_limit,
)
from tests.fakes.other_user import ALICE, running_as

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = b"\x7f\0\0\1"
LISTEN_AND_WAIT = """
server = socket.create_server(("127.0.0.1", 0))
say(server.getsockname()[1])
wait()
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# TCP


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_tcp_listener_is_ready_and_closed_on_exec(host: str) -> None:
    with bind_tcp(host, 0) as listener:
        assert not listener.getblocking()
        assert not listener.get_inheritable()
        with socket.create_connection((host, listener.getsockname()[1]), timeout=5):
            connection, peer = listener.accept()
            with connection:
                assert peer[0] == host


def test_an_ipv6_listener_is_ipv6_only() -> None:
    with bind_tcp("::", 0) as listener, bind_tcp("0.0.0.0", listener.getsockname()[1]) as other:  # noqa: S104 - the case
        assert listener.getsockname()[1] == other.getsockname()[1]


def test_a_port_can_be_had_again_while_its_connections_fade_out() -> None:
    with bind_tcp("127.0.0.1", 0) as listener:
        name = listener.getsockname()
        with socket.create_connection(name):
            listener.accept()[0].close()  # the side that closes first keeps the port for a minute
    with bind_tcp(*name) as again:
        assert again.getsockname() == name


@pytest.mark.promise(79)
def test_an_address_in_use_is_an_error_that_names_process_and_user() -> None:
    with running_as(ALICE, LISTEN_AND_WAIT) as holder:
        port = int(holder.hear())
        with pytest.raises(ConfigurationError) as caught:
            bind_tcp("127.0.0.1", port)
    assert f"127.0.0.1:{port}" in caught.value.what
    assert f"(pid {holder.pid}, user {ALICE.uid})" in caught.value.what
    assert "python" in caught.value.what, "the program's name"
    assert "another port" in caught.value.hint
    bind_tcp("127.0.0.1", port).close()


@pytest.mark.promise(79)
def test_who_may_not_see_the_process_is_told_the_user() -> None:
    try_to_bind = """
try: listeners.bind_tcp("127.0.0.1", int(arguments[0]))
except listeners.ConfigurationError as error: say(error.what)
"""
    with bind_tcp("127.0.0.1", 0) as listener, running_as(ALICE, try_to_bind, listener.getsockname()[1]) as child:
        assert child.hear().endswith("in use by a process of user root")


@pytest.mark.promise(79)
@pytest.mark.parametrize(("held", "wanted"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1")])  # noqa: S104 - the case
def test_who_holds_every_address_is_found_too(held: str, wanted: str) -> None:
    with bind_tcp(held, 0) as listener, pytest.raises(ConfigurationError, match=f"pid {os.getpid()}"):
        bind_tcp(wanted, listener.getsockname()[1])


@pytest.mark.promise(79)
def test_where_nobody_can_be_named_the_hint_says_how_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolesanywhere_helper.system.listeners.tcp_owner", lambda *_: None)
    with bind_tcp("127.0.0.1", 0) as listener, pytest.raises(ConfigurationError) as caught:
        bind_tcp(*listener.getsockname())
    assert caught.value.what.endswith("it is in use")
    assert "ss -ltnp" in caught.value.hint


def test_an_owner_is_found_by_address_port_and_state_only() -> None:
    with bind_tcp("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert tcp_owner(LOOPBACK, port) == process_owner(os.geteuid(), os.getpid())
        assert tcp_owner(b"\x7f\0\0\2", port) is None
    assert tcp_owner(LOOPBACK, port) is None


def test_an_owner_in_words_never_shows_arguments() -> None:
    assert str(AddressOwner(0)) == "a process of user root"
    assert str(AddressOwner(4_000_123, 7)) == "a process (pid 7, user 4000123)"
    assert process_owner(5, 0) == AddressOwner(5)
    code = "import sys; open('/proc/self/comm', 'w').write('x\\ny'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, "--password=canary"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert str(process_owner(0, process.pid)) == f"x?y (pid {process.pid}, user root)"
        process.communicate()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1 ", "127.1", "", "fe80::1%lo", "a\0b"])
def test_only_an_ip_literal_is_an_address(host: str) -> None:
    with pytest.raises(UsageError, match="not an IP address"):
        bind_tcp(host, 0)


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(UsageError, match="does not have the address"):
        bind_tcp("192.0.2.1", 0)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_an_impossible_port_is_an_error(port: int) -> None:
    with pytest.raises(UsageError, match="no port"):
        bind_tcp("127.0.0.1", port)


def test_a_low_port_without_the_privilege_is_an_error_with_the_ways_out() -> None:
    code = """
try: listeners.bind_tcp("127.0.0.1", 80)
except listeners.UsageError as error: say(error.what, error.hint)
"""
    unprivileged = "open('/proc/sys/net/ipv4/ip_unprivileged_port_start').read().strip()"
    with running_as(ALICE, f"say({unprivileged})\n{code}") as child:
        assert int(child.hear()) > 80, "this machine lets everybody have low ports"
        said = child.hear()
    assert "127.0.0.1:80: Permission denied" in said
    assert "CAP_NET_BIND_SERVICE" in said


@pytest.mark.parametrize(
    ("host", "level", "option"),
    [
        ("127.0.0.1", socket.IPPROTO_IP, socket.IP_TTL),
        ("::1", socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
    ],
)
def test_connections_inherit_the_hop_limit(host: str, level: int, option: int) -> None:
    with bind_tcp(host, 0) as listener, bind_tcp(host, 0) as usual:
        set_hop_limit(listener, 1)
        for server, hops in ((listener, {1}), (usual, {64, 128, 255})):
            with (
                socket.create_connection(server.getsockname()[:2], timeout=5),
                server.accept()[0] as connection,
            ):
                assert connection.getsockopt(level, option) in hops


# Unix sockets


def test_a_unix_socket_is_open_to_everybody_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "agent.sock"
    before = os.umask(0o077)
    try:
        listener = bind_unix(str(path))
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    with listener, socket.socket(socket.AF_UNIX) as client:
        assert mode_of(path) == 0o666
        assert (mode_of(path.parent), mode_of(path.parent.parent)) == (0o755, 0o755)
        assert not listener.getblocking()
        client.connect(str(path))
    with bind_unix(str(tmp_path / "private"), 0o600):
        assert mode_of(tmp_path / "private") == 0o600


def test_the_socket_of_a_daemon_that_is_gone_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    bind_unix(str(path)).close()
    assert path.is_socket()
    with bind_unix(str(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.promise(79)
def test_a_unix_socket_in_use_names_who_listens_and_stands(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    with bind_unix(path) as listener:
        with pytest.raises(ConfigurationError, match=rf"in use by .+ \(pid {os.getpid()}, user root\)"):
            bind_unix(path)
        listener.accept()[0].close()  # the one that looked
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


@pytest.mark.promise(79)
def test_a_unix_socket_with_a_full_backlog_is_in_use(tmp_path: Path) -> None:
    path = str(tmp_path / "busy")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(path)
        busy.listen(0)
        client.connect(path)
        with pytest.raises(ConfigurationError, match="in use"):
            bind_unix(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling link"])
def test_what_is_no_socket_is_never_removed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    match kind:
        case "file":
            path.write_text("content")
        case "directory":
            path.mkdir()
        case "link":
            bind_unix(str(tmp_path / "other")).close()
            path.symlink_to("other")
        case _:
            path.symlink_to("nowhere")
    before = path.lstat()
    with pytest.raises(ConfigurationError, match="no socket"):
        bind_unix(str(path))
    assert os.path.samestat(before, path.lstat())


def test_a_socket_of_another_user_is_not_removed_but_by_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    path = tmp_path / "agent.sock"
    bind_unix(str(path)).close()
    code = """
try: listeners.bind_unix("agent.sock")
except listeners.ConfigurationError as error: say(error.what)
"""
    before = os.getcwd()  # noqa: PTH109 - what chdir takes
    os.chdir(tmp_path)
    try:
        with running_as(ALICE, code) as child:
            assert child.hear() == "agent.sock is a socket of user 0"
    finally:
        os.chdir(before)
    os.chown(path, ALICE.uid, ALICE.gid)
    bind_unix(str(path)).close()


def test_a_socket_that_has_just_taken_the_place_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "agent.sock"
    bind_unix(str(path)).close()
    swapped: list[socket.socket] = []

    def while_looking(_: str) -> None:
        path.unlink()
        swapped.append(bind_unix(str(tmp_path / "theirs")))
        (tmp_path / "theirs").rename(path)

    monkeypatch.setattr("rolesanywhere_helper.system.listeners._who_answers", while_looking)
    remove_stale_socket(str(path))
    with closing(swapped[0]), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_nothing_to_remove_is_fine(tmp_path: Path) -> None:
    remove_stale_socket(str(tmp_path / "nothing"))


def test_a_path_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="107 bytes"):
        bind_unix(str(tmp_path / ("x" * 107)))


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Not a directory"):
        bind_unix(str(tmp_path / "file" / "agent.sock"))


# Passed by systemd


TAKE_OVER = """
import os, sys
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.system.listeners import passed_sockets
os.environ["LISTEN_PID"] = os.environ["LISTEN_PID"].replace("OWN", str(os.getpid()))
try:
    passed = passed_sockets(dict(os.environ), os.getpid())
except ConfigurationError as error:
    print(error.what)
    sys.exit()
for name, sockets in passed.by_name.items():
    for one in sockets:
        print(name, one.fileno(), one.getsockname()[1], one.getblocking(), one.get_inheritable())
print(sorted(name for name in passed.environment if "LISTEN" in name), passed.environment["KEEP"])
"""


def pass_on(sockets: list[int], names: str, pid: str = "OWN", count: str | None = None) -> list[str]:
    """Run a program that is given descriptors as its 3, 4 …, and return the lines it prints."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "LISTEN_FDS": str(len(sockets)) if count is None else count,
        "LISTEN_PID": pid,
        "LISTEN_FDNAMES": names,
        "KEEP": "kept",
    }
    code = (
        "import fcntl, os\n"
        f"high = [fcntl.fcntl(number, fcntl.F_DUPFD, 100) for number in {sockets!r}]\n"
        "for at, number in enumerate(high): os.dup2(number, 3 + at)\n" + TAKE_OVER
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, pass_fds=sockets, env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    return result.stdout.splitlines()


@pytest.mark.promise(79)
def test_passed_sockets_are_taken_over_by_name_and_the_environment_is_scrubbed() -> None:
    with bind_tcp("127.0.0.1", 0) as one, bind_tcp("::1", 0) as two, bind_tcp("127.0.0.1", 0) as three:
        one.setblocking(True)
        ports = [listener.getsockname()[1] for listener in (one, two, three)]
        said = pass_on([one.fileno(), two.fileno(), three.fileno()], "imds-main:container:imds-main")
    assert said == [
        f"imds-main 3 {ports[0]} False False",
        f"imds-main 5 {ports[2]} False False",
        f"container 4 {ports[1]} False False",
        "[] kept",
    ]


@pytest.mark.promise(79)
def test_what_was_passed_to_another_process_is_not_ours() -> None:
    with bind_tcp("127.0.0.1", 0) as listener:
        assert pass_on([listener.fileno()], "agent", pid="1") == ["[] kept"]
    assert passed_sockets({"KEEP": "x"}, 1).by_name == {}


@pytest.mark.promise(79)
def test_the_names_are_known_before_the_sockets_are_taken() -> None:
    environment = {"LISTEN_PID": "7", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "imds-main:container:imds-main"}
    assert passed_names(environment, 7) == {"imds-main", "container"}
    assert passed_names(environment, 8) == frozenset()
    with pytest.raises(ConfigurationError, match="unknown"):
        passed_names(environment | {"LISTEN_FDNAMES": "imds-main:container:unknown"}, 7)


@pytest.mark.promise(79)
@pytest.mark.parametrize("names", ["rolesanywhere-helper.socket", "", "agent:metrics", "imds-", "unknown", "imds main"])
def test_a_name_that_says_nothing_is_an_error_with_the_setting(names: str) -> None:
    with bind_tcp("127.0.0.1", 0) as listener:
        (said,) = pass_on([listener.fileno()], names)
    assert ascii(names) in said
    assert "imds-NAME, container, agent or metrics" in said


def test_what_does_not_listen_is_an_error() -> None:
    one, two = socket.socketpair()
    with one, two, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, open(os.devnull) as file:  # noqa: PTH123 - a descriptor
        assert "does not listen" in pass_on([one.fileno()], "agent")[0]
        assert "does not listen" in pass_on([datagrams.fileno()], "metrics")[0]
        assert "not a socket" in pass_on([file.fileno()], "agent")[0]


@pytest.mark.parametrize("count", ["", "-1", "many", "1001", "\u0663"])
def test_a_count_that_is_none_is_an_error(count: str) -> None:
    with pytest.raises(ConfigurationError, match="LISTEN_FDS"):
        passed_sockets({"LISTEN_PID": "7", "LISTEN_FDS": count, "LISTEN_FDNAMES": "agent"}, 7)


def test_no_descriptors_are_none() -> None:
    assert passed_sockets({"LISTEN_PID": "7", "LISTEN_FDS": "0"}, 7).by_name == {}
