"""The sockets that a daemon listens on: bound by us, or passed by systemd (sd_listen_fds(3)).

All of them are stream sockets, non-blocking, closed on exec, and listen when they are returned.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import ConfigurationError, NotYetError, UsageError
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.system.address_owner import process_owner, tcp_owner
from rolesanywhere_helper.system.peers import peer_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rolesanywhere_helper.system.address_owner import AddressOwner

# The kernel caps it by net.core.somaxconn (4,096 since Linux 5.4): a thousand clients may come at once.
BACKLOG = 4096
OPEN_TO_EVERYBODY = 0o666
_DIRECTORY_MASK = 0o022
# sockaddr_un.sun_path has 108 bytes on Linux, one for the NUL (unix(7)); elsewhere fewer.
_LONGEST_PATH = 107

# Passed descriptors

VARIABLES = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID")
_FIRST_DESCRIPTOR = 3
_MOST_DESCRIPTORS = 1000
_NAME = re.compile(r"imds-.+|container|agent|metrics")
_ROLES = "imds-NAME, container, agent or metrics"


def bind_tcp(host: str, port: int) -> socket.socket:
    """Listen on an IP literal (an IPv6 one is IPv6 only); port 0 picks a free one.

    Raises:
        UsageError: the address is no IP literal, or may not be bound by this user.
        ConfigurationError: the address is in use; the error names by whom, as far as this user may know.
        NotYetError: the address is not this machine's now.

    """
    family, packed = _parse(host)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # On Linux this takes an address over from connections that are fading out, never from a listener.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        return _listening(listener)
    except OSError as error:
        listener.close()
        raise _why_no_tcp(error, _shown(family, host, port), packed, port) from None
    except OverflowError:
        listener.close()
        raise UsageError(f"there is no port {port}", "choose one from 1 to 65535, or 0 for a free one") from None


def bind_unix(path: str, mode: int = OPEN_TO_EVERYBODY) -> socket.socket:
    """Listen on a unix socket; directories that are missing are made with mode 0755.

    A socket of this user (for root: of anybody) that nobody listens on any more is replaced. Anything else that has
    the name is left alone.

    Raises:
        UsageError: the path is too long, or cannot be made.
        ConfigurationError: something else is there, or somebody listens there; the error names who.

    """
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise UsageError(
            f"the path of a unix socket has at most {_LONGEST_PATH} bytes: {path}",
            "choose a shorter one, for example /run/rolesanywhere-helper/agent.sock",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_directories(os.path.dirname(path))  # noqa: PTH120 - the path stays as it was given
        remove_stale_socket(path)
        # The mode from birth: a chmod afterwards could be led elsewhere by a link. Secret files are made with modes of
        # their own, so a thread that writes one in this moment is not affected.
        with _umask(0o777 & ~mode):
            listener.bind(path)
        return _listening(listener)
    except OSError as error:
        listener.close()
        raise _why_no_unix(error, path) from None
    except UsageError:
        listener.close()
        raise


def remove_stale_socket(path: str) -> None:
    """Remove the socket of a daemon that is gone; do nothing if nothing is there.

    Raises:
        ConfigurationError: what is there is no socket, belongs to somebody else, or is listened on.
        OSError: it cannot be looked at or removed.

    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigurationError(
            f"{path} is there and is no socket", "move it away, or give the socket another path; it was not touched"
        )
    if os.geteuid() not in {0, found.st_uid}:
        raise ConfigurationError(
            f"{path} is a socket of user {found.st_uid}", f"remove it (rm {path}), or give the socket another path"
        )
    owner = _who_answers(path)
    if owner is not None:
        raise _in_use(path, str(owner), "stop it, or give the socket another path")
    with suppress(FileNotFoundError):
        if _identity(found) == _identity(os.lstat(path)):  # else another daemon has just taken its place
            os.unlink(path)  # noqa: PTH108 - the path stays as it was given


def set_hop_limit(listener: socket.socket, hops: int) -> None:
    """Let answers pass at most ``hops`` - 1 routers (IP TTL); connections inherit it from their listener.

    Raises:
        OSError: it is not from 1 to 255, or no TCP socket.

    """
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


@dataclass(frozen=True, slots=True)
class PassedSockets:
    """What systemd passed: the listeners by name, and the environment that children may see."""

    by_name: Mapping[str, tuple[socket.socket, ...]]
    environment: Mapping[str, str]


def passed_names(environment: Mapping[str, str], pid: int) -> frozenset[str]:
    """Return the names of the sockets that :func:`passed_sockets` would take over, and touch none.

    Raises:
        ConfigurationError: a name is none of those.

    """
    if environment.get("LISTEN_PID") != str(pid):
        return frozenset()
    return frozenset(name for _, name in _descriptors(environment))


def passed_sockets(environment: Mapping[str, str], pid: int) -> PassedSockets:
    """Take over the descriptors that LISTEN_FDS and LISTEN_FDNAMES tell of, if LISTEN_PID is ``pid``.

    Names are ``imds-NAME``, ``container``, ``agent`` and ``metrics``; several descriptors may have one name.

    Raises:
        ConfigurationError: a descriptor is not a listening stream socket, or its name is none of these.

    """
    rest = {name: value for name, value in environment.items() if name not in VARIABLES}
    if environment.get("LISTEN_PID") != str(pid):
        return PassedSockets({}, rest)
    by_name: dict[str, tuple[socket.socket, ...]] = {}
    for descriptor, name in _descriptors(environment):
        by_name[name] = (*by_name.get(name, ()), _adopt(descriptor, name))
    return PassedSockets(by_name, rest)


def _descriptors(environment: Mapping[str, str]) -> list[tuple[int, str]]:
    text = environment.get("LISTEN_FDS", "")
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or int(text) > _MOST_DESCRIPTORS:
        raise ConfigurationError(f"LISTEN_FDS is not a number of descriptors: {text!a}", "let systemd set it")
    count = int(text)
    names = environment.get("LISTEN_FDNAMES", "").split(":") if count else []
    if len(names) != count or not all(_NAME.fullmatch(name) for name in names):
        raise ConfigurationError(
            f"{count} sockets were passed with the names {':'.join(names)!a}; each must be {_ROLES}",
            "set FileDescriptorName= in each .socket unit",
        )
    return list(enumerate(names, _FIRST_DESCRIPTOR))


def _adopt(descriptor: int, name: str) -> socket.socket:
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigurationError(
            f"the passed descriptor {descriptor} ({name}) is not a socket: {error.strerror}",
            "pass sockets only: ListenStream= in a .socket unit",
        ) from None
    kinds = {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}
    listens = passed.family in kinds and passed.type == socket.SOCK_STREAM
    if not listens or not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ConfigurationError(
            f"the passed descriptor {descriptor} ({name}) does not listen for connections",
            "use ListenStream= and Accept=no in the .socket unit",
        )
    passed.setblocking(False)
    passed.set_inheritable(False)
    return passed


# Binding


def _listening(listener: socket.socket) -> socket.socket:
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _parse(host: str) -> tuple[socket.AddressFamily, bytes]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return family, socket.inet_pton(family, host)
    except (OSError, ValueError):
        raise UsageError(f"this is not an IP address: {host!a}", "listen on 127.0.0.1 or ::1") from None


def _shown(family: socket.AddressFamily, host: str, port: int) -> str:
    return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"


def _why_no_tcp(error: OSError, address: str, packed: bytes, port: int) -> UsageError:
    match error.errno:
        case errno.EADDRINUSE:
            owner = tcp_owner(packed, port)
            if owner is None:
                return _in_use(address, None, f"sudo ss -ltnp 'sport = :{port}' shows by whom; or choose another port")
            return _in_use(address, str(owner), "stop it, or choose another port")
        case errno.EADDRNOTAVAIL:
            return NotYetError(
                f"cannot listen on {address}: this machine does not have the address",
                "configure it first (ip address add …), let systemd pass the socket (ListenStream=, FreeBind=yes), or "
                "listen on 127.0.0.1",
            )
        case errno.EACCES | errno.EPERM:
            return UsageError(
                f"cannot listen on {address}: {error.strerror}",
                "choose a port from 1024 up, let systemd pass the socket (ListenStream=), or give the unit "
                "AmbientCapabilities=CAP_NET_BIND_SERVICE",
            )
        case _:
            return UsageError(f"cannot listen on {address}: {error.strerror}", "listen on 127.0.0.1 or ::1")


def _in_use(address: str, owner: str | None, hint: str) -> ConfigurationError:
    by_whom = "" if owner is None else f" by {owner}"
    return ConfigurationError(f"cannot listen on {address}: it is in use{by_whom}", hint)


# Unix sockets


def _why_no_unix(error: OSError, path: str) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return _in_use(path, None, "another daemon is starting: stop one of them, or give the socket another path")
    return UsageError(
        f"cannot listen on {path}: {error.strerror or error}",
        f"user {os.geteuid()} needs permission to write its directory: namei -l {path} shows who has",
    )


def _who_answers(path: str) -> AddressOwner | None:
    """Return who listens on a socket, or None if nobody does any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError as error:  # a full backlog (EAGAIN), or no stream socket (EPROTOTYPE): somebody is there
            raise _in_use(
                path, None, f"sudo ss -xlp shows by whom ({error.strerror}); or choose another path"
            ) from None
        pid, uid, _ = peer_credentials(probe)
        return process_owner(uid, pid)


def _identity(entry: os.stat_result) -> tuple[int, int, int]:
    # The number alone is given to the next file at once.
    return entry.st_dev, entry.st_ino, entry.st_ctime_ns


def _make_directories(path: str) -> None:
    missing: list[str] = []
    while path and not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)  # noqa: PTH120 - the path stays as it was given
    with _umask(_DIRECTORY_MASK):
        for directory in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(directory)  # noqa: PTH102 - the same


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
