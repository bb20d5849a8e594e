"""Who is at the other end, with real sockets and real other users."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from rolesanywhere_helper.domain.serving import AccessPolicy, Peer
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.system.peers import (
    WHOLE,
    IdMap,
    Namespace,
    Peers,
    TcpPeers,
    _end,
    _question,
    is_blind,
    own_namespace,
    refuse_if_blind,
    unix_peer,
)
from tests.fakes.other_user import ALICE, NOBODY, User, running_as

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ME = os.geteuid()
ALLOWS_ALICE = AccessPolicy(frozenset({ALICE.uid}), is_stated=True)
CONTAINER = IdMap(((0, 65_536),))
CONNECT_TCP = """
family, host, port = int(arguments[0]), arguments[1], int(arguments[2])
client = socket.socket(family)
client.connect((host, port))
say("connected")
wait()
"""
CONNECT_ABSTRACT = """
client = socket.socket(socket.AF_UNIX)
client.connect("\\0" + arguments[0][1:])
say("connected")
wait()
"""


@pytest.fixture
def peers() -> Iterator[Peers]:
    found = Peers(own_namespace())
    yield found
    found.close()


class Pair:
    """Both ends of a TCP connection that this process has with itself."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        with socket.create_server((host, 0), family=family) as server:
            self.client = socket.socket(family)
            self.client.connect(server.getsockname())
            self.accepted, _ = server.accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.accepted.close()


class Ends:
    """A connection that has these two names, which need not exist."""

    family = socket.AF_INET

    def __init__(self, theirs: tuple[str, int], ours: tuple[str, int]) -> None:
        self._names = theirs, ours

    def getpeername(self) -> tuple[str, int]:
        return self._names[0]

    def getsockname(self) -> tuple[str, int]:
        return self._names[1]


def look_up_ends(theirs: tuple[str, int], ours: tuple[str, int]) -> Peer:
    peers = Peers(own_namespace())
    try:
        return peers(cast("socket.socket", Ends(theirs, ours)))
    finally:
        peers.close()


# Unix sockets


@pytest.fixture
def server(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        # Abstract: the directories above tmp_path are closed to other users.
        listener.bind(f"\0{tmp_path.name}-{os.getpid()}")
        listener.listen()
        yield listener


def name_of(server: socket.socket) -> str:
    name: bytes = server.getsockname()
    return "@" + name[1:].decode()


@pytest.mark.promise(26)
def test_on_a_unix_socket_the_kernel_tells_user_groups_and_process(server: socket.socket, peers: Peers) -> None:
    user = User(ALICE.uid, 23_456, (34_567, 45_678))
    with running_as(user, CONNECT_ABSTRACT, name_of(server)) as child, server.accept()[0] as connection:
        peer = peers(connection)
        assert peer == Peer("unix", ALICE.uid, frozenset({23_456, 34_567, 45_678}), child.pid)
        assert peers(connection, "agent").channel == "agent"
        assert ALLOWS_ALICE.allows(peer)
        assert AccessPolicy(frozenset({0}), gids=frozenset({45_678})).allows(peer), "a supplementary group"
        assert not AccessPolicy(frozenset({0, 1}), gids=frozenset({45_679})).allows(peer)


@pytest.mark.promise(26)
def test_more_groups_than_python_can_ask_for_are_all_known(server: socket.socket, peers: Peers) -> None:
    groups = tuple(range(50_000, 50_400))
    user = User(ALICE.uid, 23_456, groups)
    with running_as(user, CONNECT_ABSTRACT, name_of(server)), server.accept()[0] as connection:
        assert peers(connection).gids == {23_456, *groups}


def test_who_has_no_groups_has_the_primary_one(server: socket.socket, peers: Peers) -> None:
    with running_as(NOBODY, CONNECT_ABSTRACT, name_of(server)), server.accept()[0] as connection:
        peer = peers(connection)
        assert (peer.uid, peer.gids) == (65_534, frozenset({65_534})), (
            "without a user namespace 65534 is a user like any other"
        )
        assert unix_peer(connection, Namespace(CONTAINER, WHOLE)).uid is None, "in one it may be anybody"
        assert unix_peer(connection, Namespace(WHOLE, CONTAINER)).gids == frozenset()


def test_what_has_no_credentials_is_unknown() -> None:
    with Pair() as pair:
        assert unix_peer(pair.accepted, Namespace()).uid is None


# TCP


@pytest.mark.promise(26)
@pytest.mark.parametrize(
    ("listen", "family", "host"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("0.0.0.0", socket.AF_INET, "127.9.9.9"),  # noqa: S104 - only asked at a loopback address
        ("::1", socket.AF_INET6, "::1"),
        ("::", socket.AF_INET, "127.0.0.1"),
        ("::", socket.AF_INET6, "::ffff:127.0.0.1"),
        ("127.0.0.1", socket.AF_INET6, "::ffff:127.0.0.1"),
    ],
    ids=["IPv4", "127/8", "IPv6", "IPv4 to both", "mapped to both", "mapped to IPv4"],
)
def test_on_tcp_the_kernel_tells_the_user(listen: str, family: socket.AddressFamily, host: str, peers: Peers) -> None:
    ours = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.create_server((listen, 0), family=ours, dualstack_ipv6=listen == "::") as server:
        port = server.getsockname()[1]
        with running_as(ALICE, CONNECT_TCP, int(family), host, port), server.accept()[0] as connection:
            peer = peers(connection)
    assert peer == Peer("tcp", ALICE.uid)
    assert ALLOWS_ALICE.allows(peer)
    assert not AccessPolicy(frozenset({0, 1})).allows(peer)


@pytest.mark.promise(26)
def test_an_unprivileged_daemon_is_told_as_well() -> None:
    serve = """
server = socket.create_server(("127.0.0.1", 0))
say(server.getsockname()[1])
found = peers.Peers(peers.own_namespace())
say(found.why_tcp_is_useless())
say(found(server.accept()[0]).uid)
"""
    with running_as(NOBODY, serve) as daemon:
        port = int(daemon.hear())
        assert daemon.hear() == "None"
        with running_as(ALICE, CONNECT_TCP, int(socket.AF_INET), "127.0.0.1", port):
            assert daemon.hear() == str(ALICE.uid)


@pytest.mark.promise(27)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_socket_that_is_not_established_is_unknown(family: socket.AddressFamily, peers: Peers) -> None:
    with Pair(family) as pair:
        assert peers(pair.accepted) == Peer("tcp", ME)
        pair.client.shutdown(socket.SHUT_WR)  # FIN_WAIT2, and still held by its process
        assert peers(pair.accepted) == Peer("tcp", None)
        pair.client.close()  # inode 0: some kernels say uid 0
        unknown = peers(pair.accepted)
    assert unknown == Peer("tcp", None)
    assert not AccessPolicy(frozenset({0, ME}), member_uids=frozenset({0, ME})).allows(unknown)


@pytest.mark.promise(27)
def test_a_socket_that_nobody_holds_is_unknown_although_it_was_established() -> None:
    with Pair() as pair:
        tcp = TcpPeers(own_namespace())
        ask = tcp._ask

        def without_inode(theirs: Any, ours: Any) -> bytes:
            at = 16 + 4 + 48 + 16  # the netlink header, the row's head, its addresses, expiry and queues and uid
            row = ask(theirs, ours)
            return row[:at] + bytes(4) + row[at + 4 :]

        assert tcp.peer(pair.accepted).uid == ME
        tcp._ask = without_inode  # type: ignore[method-assign] # such a row cannot be had on purpose
        assert tcp.peer(pair.accepted).uid is None
        tcp.close()


@pytest.mark.promise(27)
def test_what_is_not_there_is_unknown_and_a_listener_is_not_taken_for_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        name = server.getsockname()
        assert look_up_ends(name, ("127.0.0.1", 1)).uid is None, "the kernel's answer is the listening socket"
    assert look_up_ends(("127.0.0.1", 1), ("127.0.0.1", 2)).uid is None


@pytest.mark.promise(27)
def test_the_row_of_another_connection_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pair() as pair, Pair() as other, closing(TcpPeers(own_namespace())) as tcp:
        ends = _end(other.accepted.getpeername()), _end(other.accepted.getsockname())
        row = tcp._ask(*ends)
        monkeypatch.setattr(tcp, "_ask", lambda *_: row)
        assert tcp.peer(other.accepted).uid == ME
        assert tcp.peer(pair.accepted).uid is None


def test_what_is_there_is_found_by_its_names_alone() -> None:
    """The negative control of those above."""
    with Pair() as pair:
        assert look_up_ends(pair.accepted.getpeername(), pair.accepted.getsockname()).uid == ME


@pytest.mark.parametrize("theirs", ["192.0.2.1", "169.254.170.2", "2001:db8::1", "fe80::1%lo"])
def test_a_peer_from_elsewhere_is_unknown_and_not_asked_for(theirs: str) -> None:
    ours = "::1" if ":" in theirs else "127.0.0.1"
    tcp = TcpPeers(own_namespace())
    assert tcp.peer(cast("socket.socket", Ends((theirs, 40_000), (ours, 80)))) == Peer("tcp", None)
    assert tcp._socket is None


def test_a_peer_at_an_address_of_our_own_is_on_this_machine() -> None:
    """The containers' 169.254.170.2 is no loopback address."""
    script = """
import fcntl, socket, struct
from rolesanywhere_helper.system import peers
def request(name, code, rest):
    with socket.socket() as any: fcntl.ioctl(any, code, struct.pack("16s24s", name, rest))
address = struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton("169.254.170.2"))
request(b"lo", 0x8914, struct.pack("H", 0x41))  # SIOCSIFFLAGS: up, running
request(b"lo:1", 0x8916, address)  # SIOCSIFADDR
server = socket.create_server(("169.254.170.2", 0))
client = socket.create_connection(server.getsockname())
print(peers.Peers(peers.Namespace())(server.accept()[0]).uid)
"""
    assert in_new_namespace("--user", "--map-root-user", "--net", script=script) == "0"


def test_a_user_without_a_number_here_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        child = running_as(NOBODY, CONNECT_TCP, int(socket.AF_INET), "127.0.0.1", port)
        with child, server.accept()[0] as connection:
            for namespace, uid in ((Namespace(), 65_534), (Namespace(users=CONTAINER), None)):
                with closing(TcpPeers(namespace)) as tcp:
                    assert tcp.peer(connection).uid == uid


def test_a_netlink_socket_that_fails_is_replaced(peers: Peers) -> None:
    with Pair() as pair:
        assert peers(pair.accepted).uid == ME
        line = peers._tcp._socket
        assert line is not None
        line.close()
        assert peers(pair.accepted).uid == ME


def test_stray_answers_are_passed_over(peers: Peers) -> None:
    with Pair() as pair, Pair() as other:
        assert peers(pair.accepted).uid == ME
        line = peers._tcp._socket
        assert line is not None
        # An earlier question, whose answer nobody has read.
        question = _question(_end(other.accepted.getpeername()), _end(other.accepted.getsockname()), 7_000)
        line.sendto(question, (0, 0))
        assert peers(pair.accepted).uid == ME


def test_without_netlink_everybody_is_unknown_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    really = socket.socket

    def forbidden(family: int = socket.AF_INET, *rest: int, **named: int) -> socket.socket:
        if family == socket.AF_NETLINK:  # as RestrictAddressFamilies= does
            raise OSError(97, "Address family not supported by protocol")
        return really(family, *rest, **named)

    with Pair() as pair:
        tcp = TcpPeers(own_namespace())
        assert tcp.why_useless() is None
        tcp.close()
        monkeypatch.setattr("rolesanywhere_helper.system.peers.socket.socket", forbidden)
        assert tcp.peer(pair.accepted) == Peer("tcp", None)
        assert "Address family not supported" in (tcp.why_useless() or "")


def test_a_look_up_that_leads_to_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tcp = TcpPeers(own_namespace())
    monkeypatch.setattr(tcp, "_owner", lambda *_: None)
    assert "does not find a connection of our own" in (tcp.why_useless() or "")


# Other platforms


def test_elsewhere_the_module_can_be_imported_and_everybody_is_unknown() -> None:
    script = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    client = socket.create_connection(server.getsockname())
    accepted = server.accept()[0]
left, right = socket.socketpair()
sys.platform = "win32"
for name in ("SO_PEERCRED", "AF_NETLINK", "SOCK_CLOEXEC", "SOCK_NONBLOCK"):
    delattr(socket, name)
from rolesanywhere_helper.system import peers
found = peers.Peers(peers.Namespace())
print(found(accepted).uid, found(left).uid, "win32" in found.why_tcp_is_useless())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert result.stdout.split() == ["None", "None", "True"]


# User namespaces


def in_new_namespace(*options: str, script: str) -> str:
    command = ["unshare", *options, sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


REFUSE = """
import os
from rolesanywhere_helper.system import peers
namespace = peers.own_namespace()
try:
    peers.refuse_if_blind(namespace.users, os.geteuid())
    print("starts")
except peers.ConfigurationError as error:
    print(error.what, error.hint)
"""


@pytest.mark.promise(28)
def test_in_a_namespace_without_the_other_users_the_daemon_refuses_and_names_the_setting() -> None:
    said = in_new_namespace("--user", "--map-root-user", script=REFUSE)
    assert "65534" in said
    assert "PrivateUsers=no" in said
    result = subprocess.run([sys.executable, "-c", REFUSE], capture_output=True, text=True, check=True, timeout=30)
    assert result.stdout.strip() == "starts"


@pytest.mark.promise(28)
@pytest.mark.parametrize(
    ("text", "own", "blind"),
    [
        ("0 0 4294967295", 0, False),
        ("0 0 4294967295", 991, False),
        ("0 0 65536", 0, False),  # PrivateUsers=identity, most containers
        ("0 1000 1\n1 100000 65536", 0, False),  # a rootless container
        ("0 0 1\n991 991 1", 991, True),  # PrivateUsers=yes
        ("0 0 1", 0, True),  # PrivateUsers=yes and root
        ("1000 1000 1", 1000, True),
        ("", 65_534, True),
    ],
)
def test_blind_is_who_sees_only_root_and_itself(text: str, own: int, *, blind: bool) -> None:
    numbers = [int(word) for word in text.split()]
    users = IdMap(tuple(zip(numbers[0::3], numbers[2::3], strict=True)))
    assert is_blind(users, own) is blind
    if blind:
        with pytest.raises(ConfigurationError, match="65534"):
            refuse_if_blind(users, own)
    else:
        refuse_if_blind(users, own)


def test_a_number_that_may_stand_for_another_one_is_none() -> None:
    assert WHOLE.known(65_534) == 65_534
    assert CONTAINER.known(65_534) is None
    assert CONTAINER.known(1000) == 1000
    assert IdMap(CONTAINER.ranges, overflow=7).known(7) is None
    assert WHOLE.known((1 << 32) - 1) is None


def test_a_peer_from_outside_is_unknown_in_a_namespace_without_it(tmp_path: Path) -> None:
    name = f"{tmp_path.name}-{os.getpid()}-inside"
    script = f"""
import socket
from rolesanywhere_helper.system import peers
server = socket.socket(socket.AF_UNIX)
server.bind("\\0{name}")
server.listen()
print("ready", flush=True)
found = peers.Peers(peers.own_namespace())
for _ in range(2):
    print(found(server.accept()[0]).uid, flush=True)
"""
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as inside:
        assert inside.stdout is not None
        try:
            assert inside.stdout.readline() == "ready\n"
            with socket.socket(socket.AF_UNIX) as own:
                own.connect(f"\0{name}")
                assert inside.stdout.readline() == "0\n", "who is root in there"
            with running_as(ALICE, CONNECT_ABSTRACT, f"@{name}"):
                assert inside.stdout.readline() == "None\n", "the kernel says 65534"
        finally:
            inside.kill()
