"""Who is at the other end of a connection, by the kernel's word.

* On a unix socket: SO_PEERCRED (pid, uid and gid at the moment of ``connect``) and SO_PEERGROUPS (the supplementary
  groups), see unix(7) and socket(7).
* On TCP between processes of this machine: the socket at the other end is asked for by its exact four addresses through
  NETLINK_SOCK_DIAG (sock_diag(7)). That is one hash lookup in the kernel, microseconds whatever the number of
  connections, and needs no privilege. It tells the uid, no pid and no group.

A uid counts as unknown (None) where it could mislead: a socket that is not ESTABLISHED or that no process holds any
more (some kernels show those with uid 0), and a user that our user namespace has no number for, whom Linux shows as
65534. On platforms other than Linux every peer is unknown.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.serving import Peer
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

UNIX, TCP = "unix", "tcp"

# What Linux shows in the place of a number without a mapping, unless somebody has changed that
# (Documentation/admin-guide/sysctl/fs.rst: overflowuid).
_OVERFLOW_ID = 65_534
_IDS = 1 << 32
_NO_ID = _IDS - 1


# User namespaces


@dataclass(frozen=True, slots=True)
class IdMap:
    """Which users (or groups) of the machine have a number in our user namespace: ``/proc/self/uid_map``.

    ``ranges`` are (first number, count), as seen from inside (user_namespaces(7)).
    """

    ranges: tuple[tuple[int, int], ...]
    overflow: int = _OVERFLOW_ID

    @property
    def is_whole(self) -> bool:
        """Tell whether everybody has a number, as on a machine without user namespaces."""
        return sum(count for _, count in self.ranges) >= _NO_ID

    def knows_only(self, own: int) -> bool:
        """Tell whether nobody has a number but root and one user (``PrivateUsers=yes``), or nobody at all."""
        return all(count == 1 and first in {0, own} for first, count in self.ranges)

    def known(self, number: int) -> int | None:
        """Return a number that the kernel gave, or None if it may stand for somebody without one."""
        if number == _NO_ID or (number == self.overflow and not self.is_whole):
            return None
        return number


WHOLE = IdMap(((0, _NO_ID),))


@dataclass(frozen=True, slots=True)
class Namespace:
    """The user namespace that this process looks out of."""

    users: IdMap = WHOLE
    groups: IdMap = WHOLE


def own_namespace() -> Namespace:
    """Read the namespace of this process; without ``/proc`` it is taken for the machine's own."""
    overflow = _numbers("/proc/sys/kernel/overflowuid"), _numbers("/proc/sys/kernel/overflowgid")
    users, groups = (
        _id_map(_numbers(path), found[0] if found else _OVERFLOW_ID)
        for path, found in zip(("/proc/self/uid_map", "/proc/self/gid_map"), overflow, strict=True)
    )
    return Namespace(users, groups)


def _id_map(numbers: list[int] | None, overflow: int) -> IdMap:
    if numbers is None:
        return WHOLE
    return IdMap(tuple(zip(numbers[0::3], numbers[2::3], strict=True)), overflow)


def _numbers(path: str) -> list[int] | None:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - no use for a Path
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return None


def is_blind(users: IdMap, own_uid: int) -> bool:
    """Tell whether this process sees everybody else as the same user 65534."""
    return users.knows_only(own_uid)


def refuse_if_blind(users: IdMap, own_uid: int) -> None:
    """Refuse to decide who may be given what where everybody looks the same.

    Raises:
        ConfigurationError: this is a user namespace in which nobody has a number but root and this user.

    """
    if is_blind(users, own_uid):
        raise ConfigurationError(
            "in this user namespace every other user is shown as 65534, so nobody could be told from anybody else",
            "set PrivateUsers=no in the systemd unit (in a container: map more than one user into its user namespace)",
        )


# Unix sockets

# <asm-generic/socket.h>, Linux 4.13; Python does not name it.
_SO_PEERGROUPS = 59
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_GROUP_SIZE = 4
# The most that Python's getsockopt reads, and NGROUPS_MAX of Linux.
_MOST_BYTES_OF_PYTHON, _MOST_GROUPS = 1024, 65_536


def unix_peer(connection: socket.socket, namespace: Namespace, channel: str = UNIX) -> Peer:
    """Return who connected to a unix socket; whoever the kernel does not tell is unknown."""
    try:
        pid, uid, gid = peer_credentials(connection)
    except OSError:
        return Peer(channel, None)
    known = namespace.users.known(uid)
    if known is None:
        return Peer(channel, None, pid=pid or None)
    groups = (namespace.groups.known(number) for number in (gid, *_supplementary_groups(connection)))
    # pid 0 is a process of a pid namespace that we do not see into.
    return Peer(channel, known, frozenset(group for group in groups if group is not None), pid or None)


def peer_credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid behind a unix socket: of who connected, or seen from there, of who called ``listen``.

    Raises:
        OSError: the kernel does not tell.

    """
    if sys.platform != "linux":
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    try:
        pid, uid, gid = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
    except struct.error:
        raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG)) from None
    return pid, uid, gid


def _supplementary_groups(connection: socket.socket) -> Iterable[int]:
    try:
        found = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES_OF_PYTHON)
    except OSError as error:
        if error.errno != errno.ERANGE:
            return ()  # a kernel before 4.13: only the primary group is known
        found = _many_groups(connection.fileno())
    return memoryview(found).cast("I")


def _many_groups(descriptor: int) -> bytes:
    """Ask the C library for more than the 1,024 bytes (256 groups) that Python's ``getsockopt`` can take."""
    import ctypes  # noqa: PLC0415 - a megabyte of memory for what hardly anybody has

    size = ctypes.c_uint32(_MOST_GROUPS * _GROUP_SIZE)
    found = ctypes.create_string_buffer(size.value)
    library = ctypes.CDLL(None, use_errno=True)
    if library.getsockopt(descriptor, socket.SOL_SOCKET, _SO_PEERGROUPS, found, ctypes.byref(size)):
        return b""
    return found.raw[: size.value]


# TCP

# <linux/netlink.h>, <linux/sock_diag.h>, <linux/inet_diag.h>
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _NLMSG_ERROR, _NLM_F_REQUEST = 20, 2, 1
_ESTABLISHED = 1
_EVERY_STATE = 0xFFFF_FFFF
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_QUESTION = struct.Struct("=BBBBI")  # struct inet_diag_req_v2, up to the addresses: family, protocol, ext, pad, states
_ADDRESSES = struct.Struct("!HH16s16s")  # struct inet_diag_sockid: ports, addresses …
_ANY_INTERFACE_NO_COOKIE = struct.pack("=III", 0, 0xFFFF_FFFF, 0xFFFF_FFFF)  # … interface, cookie
_ROW = struct.Struct("=BBBB")  # struct inet_diag_msg: family, state, timer, retransmissions; then inet_diag_sockid
_OWNER = struct.Struct("=IIIII")  # … expiry, two queues, uid, inode
_ADDRESSES_AT = _HEADER.size + _ROW.size
_OWNER_AT = _ADDRESSES_AT + _ADDRESSES.size + len(_ANY_INTERFACE_NO_COOKIE)
_LARGEST_ANSWER = 4096
_MOST_STRAY_ANSWERS = 8

_MAPPED = bytes(10) + b"\xff\xff"
_IPV6_LOOPBACK = bytes(15) + b"\x01"
_IPV4_SIZE = 4


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a connection: the address as 4 or 16 bytes (an IPv4-mapped one as 4), and the port."""

    address: bytes
    port: int

    @property
    def is_ipv4(self) -> bool:
        return len(self.address) == _IPV4_SIZE

    @property
    def is_loopback(self) -> bool:
        return self.address[0] == 127 if self.is_ipv4 else self.address == _IPV6_LOOPBACK  # noqa: PLR2004 - 127.0.0.0/8


class TcpPeers:
    """Looks up the users behind TCP connections. Keeps one netlink socket open; close it in the end."""

    def __init__(self, namespace: Namespace) -> None:
        self._users = namespace.users
        self._sequence = 0
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Let go of the netlink socket; the next look-up would open it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def peer(self, connection: socket.socket, channel: str = TCP) -> Peer:
        """Return the user at the other end of an accepted connection, or an unknown peer. Never waits."""
        if sys.platform != "linux":
            return Peer(channel, None)
        try:
            theirs, ours = _end(connection.getpeername()), _end(connection.getsockname())
            # From elsewhere nothing can be known, and nothing is asked: a transparent proxy of this machine could
            # stand there under the stranger's address.
            if not theirs.is_loopback and theirs.address != ours.address:
                return Peer(channel, None)
            uid = self._owner(theirs, ours)
        except (OSError, ValueError, struct.error):
            return Peer(channel, None)
        return Peer(channel, None if uid is None else self._users.known(uid))

    def why_useless(self) -> str | None:
        """Look up a connection to ourselves; return what is wrong if that does not lead to this process's user.

        Netlink may be forbidden (``RestrictAddressFamilies=`` without AF_NETLINK) or the kernel built without
        ``tcp_diag``: every TCP peer is then unknown, which is safe, but worth a line in the log.
        """
        if sys.platform != "linux":
            return f"the users behind TCP connections cannot be told on {sys.platform}"
        try:
            with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
                client.connect(server.getsockname())
                accepted, _ = server.accept()
                with accepted:
                    uid = self._owner(_end(accepted.getpeername()), _end(accepted.getsockname()))
        except (OSError, struct.error) as error:
            return f"the users behind TCP connections cannot be told: sock_diag: {error}"
        if uid != os.geteuid():
            return "the users behind TCP connections cannot be told: sock_diag does not find a connection of our own"
        return None

    def _owner(self, theirs: _End, ours: _End) -> int | None:
        """Return the uid of the socket that is bound to ``theirs`` and connected to ``ours``.

        Raises:
            OSError: netlink cannot be used.

        """
        try:
            answer = self._ask(theirs, ours)
        except OSError:
            # A socket that once overflowed (ENOBUFS) or lost its place is no use any more: one new one.
            self.close()
            answer = self._ask(theirs, ours)
        return _owner_in(answer, theirs, ours)

    def _ask(self, theirs: _End, ours: _End) -> bytes:
        if self._socket is None:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
        self._sequence = (self._sequence + 1) % _IDS
        self._socket.sendto(_question(theirs, ours, self._sequence), (0, 0))
        for _ in range(_MOST_STRAY_ANSWERS):
            # The kernel has answered before `sendto` returns.
            answer, sender = self._socket.recvfrom(_LARGEST_ANSWER)
            if sender[0] == 0 and _HEADER.unpack_from(answer)[3] == self._sequence:
                return answer
        raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))


def _question(theirs: _End, ours: _End, sequence: int) -> bytes:
    family = socket.AF_INET if theirs.is_ipv4 else socket.AF_INET6
    body = (
        _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, _EVERY_STATE)
        + _ADDRESSES.pack(theirs.port, ours.port, theirs.address, ours.address)  # padded with zeros
        + _ANY_INTERFACE_NO_COOKIE
    )
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, sequence, 0) + body


def _owner_in(answer: bytes, theirs: _End, ours: _End) -> int | None:
    """Read the uid out of a row, if it is the row that was asked for and tells the truth."""
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None  # an error; ENOENT: no such socket
    family, state, _, _ = _ROW.unpack_from(answer, _HEADER.size)
    their_port, our_port, their_address, our_address = _ADDRESSES.unpack_from(answer, _ADDRESSES_AT)
    found = _address(family, their_address), their_port, _address(family, our_address), our_port
    if found != (theirs.address, theirs.port, ours.address, ours.port):
        return None  # where there is no such connection the kernel tells of a socket that listens on the port
    uid: int
    *_, uid, inode = _OWNER.unpack_from(answer, _OWNER_AT)
    return uid if state == _ESTABLISHED and inode else None


def _address(family: int, packed: bytes) -> bytes:
    return packed[:_IPV4_SIZE] if family == socket.AF_INET else _unmapped(packed)


def _end(name: tuple[str, int] | tuple[str, int, int, int]) -> _End:
    """Read a socket's name; one with a scope (link-local addresses) is refused by ``inet_pton``."""
    family = socket.AF_INET6 if ":" in name[0] else socket.AF_INET
    return _End(_unmapped(socket.inet_pton(family, name[0])), name[1])


def _unmapped(address: bytes) -> bytes:
    """An AF_INET6 socket may speak IPv4: the kernel finds both ends in its IPv4 table."""
    return address.removeprefix(_MAPPED)


# Both


class Peers:
    """Who is at the other end of an accepted connection, whatever its kind. Ask once for each connection."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._tcp = TcpPeers(namespace)

    def __call__(self, connection: socket.socket, channel: str | None = None) -> Peer:
        """Return the peer, unknown where the kernel does not tell. Never waits, never raises.

        ``channel`` is what logs call the way it came (``imds``, ``agent`` …); without one it is ``unix`` or ``tcp``.
        """
        if connection.family == getattr(socket, "AF_UNIX", None):
            return unix_peer(connection, self._namespace, channel or UNIX)
        return self._tcp.peer(connection, channel or TCP)

    def why_tcp_is_useless(self) -> str | None:
        """Say why no user behind a TCP connection can be told, if that is so; see :meth:`TcpPeers.why_useless`."""
        return self._tcp.why_useless()

    def close(self) -> None:
        """Let go of the netlink socket."""
        self._tcp.close()


def can_tell_tcp_users() -> bool:
    """Tell whether users can be told from each other on TCP here: not in every container, nor on every kernel."""
    namespace = own_namespace()
    peers = TcpPeers(namespace)
    try:
        return not is_blind(namespace.users, os.geteuid()) and peers.why_useless() is None
    finally:
        peers.close()
