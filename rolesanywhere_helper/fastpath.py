"""A cached ``credential-process`` and nothing else.

SDKs run ``credential_process`` for every command and some for every call, so what it costs when the answer is already
on disk is a feature (docs/adr/0002-the-fast-path.md). This module imports C built-ins only and nothing of the other
rooms; ``cache`` and ``config`` import its formats from here, so that the two ways cannot drift apart.

How an answer is found without parsing anything:

* A *route* is a small file named by the digest of everything that is cheap to know: arguments, working directory, user
  and the environment variables that ``config`` reads. It names the cached set and lists the files that the answer
  depends on (configuration candidates, also absent ones; certificate; intermediates) with one digest over their
  content, owner and mode. Whatever changes gives another name or another digest, and the slow way is taken.
* The *set* begins with a line for this module: ``rah1 KEY ISSUED DUE LOW EXPIRES LENGTH CHECKSUM``, times in seconds
  since the epoch, then the document to print, LENGTH bytes long.

Anything unexpected means: take the slow way. No error is raised or printed here.
"""

import posix
import sys
import time

# True for a type checker, and no import of typing (which costs as much as Python itself to start).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol

    class _Digest(Protocol):
        def update(self, data: bytes, /) -> None: ...
        def hexdigest(self) -> str: ...

    def sha256(data: bytes = b"", /) -> _Digest:
        """Stand in for the built-in below."""
        ...

else:
    try:
        from _sha256 import sha256  # Python 3.11
    except ImportError:
        try:
            from _sha2 import sha256  # Python 3.12 and later
        except ImportError:
            from hashlib import sha256

COMMAND = "credential-process"
SET_MAGIC = b"rah1"
ROUTE_MAGIC = b"rahroute1"
# Every variable that can change the answer; a test holds this against what `config` really reads.
VARIABLES = (
    b"ALL_PROXY",
    b"AWS_CA_BUNDLE",
    b"AWS_ENDPOINT_URL_ROLESANYWHERE",
    b"AWS_ENDPOINT_URL_STS",
    b"AWS_REGION",
    b"AWS_USE_DUALSTACK_ENDPOINT",
    b"AWS_USE_FIPS_ENDPOINT",
    b"CACHE_DIRECTORY",
    b"CREDENTIALS_DIRECTORY",
    b"GITLAB_CI",
    b"HOME",
    b"HTTPS_PROXY",
    b"HTTP_PROXY",
    b"NO_PROXY",
    b"REQUEST_METHOD",
    b"SPIFFE_ENDPOINT_SOCKET",
    b"SSL_CERT_DIR",
    b"SSL_CERT_FILE",
    b"XDG_CACHE_HOME",
    b"XDG_CONFIG_HOME",
    b"all_proxy",
    b"http_proxy",
    b"https_proxy",
    b"no_proxy",
)
# As it is now: `site.main()` rewrites every module's __file__.
_PACKAGE = __file__.rpartition("/")[0]
PREFIX = b"ROLESANYWHERE_HELPER_"
# A clock that stands this far before the set's issue has been set back: the age can no longer be told.
CLOCK_TOLERANCE = 300
# While one renewal is under way (15 s at most, and the start of a Python), no second one is started.
RENEWAL_SECONDS = 20
# Who asked is still there, and in more of a hurry.
_NICENESS = 5
_LARGEST_FILE = 1 << 20
_LARGEST_SET = 1 << 16
# How Linux shows an owner that has no number in this user namespace: the host's root in a rootless container
# (Documentation/admin-guide/sysctl/fs.rst, "overflowuid").
OVERFLOW_UID = 65_534
_UID_MAP = b"/proc/self/uid_map"
# One line: the first number inside, the first outside, and how many. This is what the machine's own namespace shows.
_EVERYBODY = [b"0", b"0", b"4294967295"]
_STICKY = 0o1000
_TYPE, _REGULAR, _DIRECTORY, _LINK = 0o170000, 0o100000, 0o040000, 0o120000
_OPEN_FILE = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY


def answer(arguments: "list[str]") -> "int | None":
    """Print a cached document and return the exit code; None where that cannot be done (nothing was printed then)."""
    if COMMAND not in arguments:
        return None
    try:
        directory = cache_directory(posix.environ)
        if directory is None or why_not_private(directory):
            return None
        key = _follow(directory + b"/" + route_name(arguments, posix.environ, posix.getcwdb()))
        if key is None:
            return None
        head, document = read_set(read_private(directory + b"/" + key + b".set"), key)
    except (OSError, ValueError):
        return None
    now = time.time()
    if not head.issued_at - CLOCK_TOLERANCE <= now < head.low_at:
        return None
    code = write_all(1, document)
    if code == 0 and now >= head.due_at:
        start_renewal(directory, key, arguments, now)
    return code


# Where things are, and whether they are ours alone


def cache_directory(environment: "Mapping[bytes, bytes]") -> "bytes | None":
    """Return the cache's own directory, or None where the environment names none."""
    given = environment.get(b"ROLESANYWHERE_HELPER_CACHE_DIR")
    if given:
        return given if given.startswith(b"/") else posix.getcwdb() + b"/" + given
    systemd = environment.get(b"CACHE_DIRECTORY", b"").partition(b":")[0]
    if systemd.startswith(b"/"):
        return _behind_roots_link(systemd)
    base = environment.get(b"XDG_CACHE_HOME", b"")
    if not base.startswith(b"/"):
        home = environment.get(b"HOME", b"")
        if not home.startswith(b"/"):
            return None
        base = home.rstrip(b"/") + b"/.cache"
    return base.rstrip(b"/") + b"/rolesanywhere-helper"


def _behind_roots_link(directory: bytes) -> bytes:
    """Return where a link leads that only root can have made; anything else as it is.

    With DynamicUser= systemd puts a link to ``private/NAME`` where it says that the cache is. What it leads to is
    judged as any directory (:func:`why_not_private`).
    """
    try:
        entry = posix.lstat(directory)
        if entry.st_mode & _TYPE != _LINK or entry.st_uid or not posix.geteuid():
            return directory
        target = posix.readlink(directory)
    except OSError:
        return directory
    return target if target.startswith(b"/") else directory.rstrip(b"/").rpartition(b"/")[0] + b"/" + target


def why_not_private(directory: bytes) -> str:
    """Say why secrets must not rest in a directory, or return an empty string.

    It must be a directory (no link) of this process's user with no rights for others, and none of those above it may
    be writable by somebody else; sticky ones aside, where only the owner of an entry can replace it.

    Raises:
        OSError: it, or one above it, is not there or cannot be looked at.

    """
    own = posix.lstat(directory)
    user = posix.geteuid()
    if own.st_mode & _TYPE == _LINK:
        return "is a symbolic link"
    if own.st_mode & _TYPE != _DIRECTORY:
        return "is not a directory"
    if own.st_uid != user:
        return f"belongs to user {own.st_uid}, not to {user}"
    if own.st_mode & 0o077:
        return f"has mode {own.st_mode & 0o7777:04o}: others could enter it"
    above = directory.rstrip(b"/")
    while len(above) > 1:
        above = above.rpartition(b"/")[0] or b"/"
        entry = posix.stat(above)
        is_anothers = entry.st_uid not in {0, user} and not is_outside(entry.st_uid)
        if is_anothers or can_others_write(entry.st_mode, entry.st_uid, entry.st_gid):
            return f"lies under {above.decode(errors='replace')}, which another user can write"
    return ""


def is_outside(uid: int) -> bool:
    """Tell whether an owner may be somebody without a number here, such as the host's root in a rootless container.

    The kernel shows all of these as one number. Where every number has its own meaning, which is so on a machine
    itself, that is a user like any other: Debian's ``nobody`` (user_namespaces(7)).
    """
    if uid != OVERFLOW_UID:
        return False
    try:
        descriptor = posix.open(_UID_MAP, _OPEN_FILE)
    except OSError:
        return False
    try:
        return posix.read(descriptor, 256).split() != _EVERYBODY
    finally:
        posix.close(descriptor)


def can_others_write(mode: int, uid: int, gid: int) -> bool:
    """Tell whether somebody else than root and its owner can put or replace entries in a directory.

    A sticky directory protects its entries. The group may write if it is root's, or the owner's private one, which has
    the owner's number by convention (the usual umask on Fedora and Ubuntu is 002 for that reason).
    """
    if mode & _STICKY:
        return False
    return bool(mode & 0o002) or (bool(mode & 0o020) and gid not in {0, uid})


def read_private(path: bytes) -> bytes:
    """Return the content of a file that only this process's user can have written or read.

    Raises:
        OSError: it is not there, a link, or cannot be read.
        ValueError: it is not private, not plain, or too large.

    """
    descriptor = posix.open(path, _OPEN_FILE | posix.O_NOFOLLOW)
    try:
        entry = posix.fstat(descriptor)
        if (
            entry.st_mode & _TYPE != _REGULAR
            or entry.st_uid != posix.geteuid()
            or entry.st_mode & 0o077
            or entry.st_nlink != 1
            or entry.st_size > _LARGEST_SET
        ):
            raise ValueError
        return posix.read(descriptor, _LARGEST_SET)
    finally:
        posix.close(descriptor)


# Routes


def route_name(arguments: "Sequence[str]", environment: "Mapping[bytes, bytes]", working_directory: bytes) -> bytes:
    """Return the name of the route that belongs to a command line, the place it was run in and its environment."""
    parts = [b"%d" % posix.geteuid(), working_directory, _PACKAGE.encode()]
    parts += [argument.encode(errors="surrogateescape") for argument in arguments]
    names = [name for name in environment if name.startswith(PREFIX)]
    names += [name for name in VARIABLES if name in environment]
    parts += [name + b"=" + environment[name] for name in sorted(names)]
    digest = sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return b"route-" + digest.hexdigest()[:32].encode()


def evidence(paths: "Iterable[bytes]") -> str:
    """Return one digest over the content, owner and mode of files, and over the absence of those that are not there.

    Raises:
        OSError: a file is there but cannot be read.
        ValueError: a file is not plain, or too large.

    """
    digest = sha256()
    for path in paths:
        try:
            descriptor = posix.open(path, _OPEN_FILE)
        except (FileNotFoundError, NotADirectoryError):
            digest.update(b"absent ")
            continue
        try:
            entry = posix.fstat(descriptor)
            if entry.st_mode & _TYPE != _REGULAR or entry.st_size > _LARGEST_FILE:
                raise ValueError
            content = posix.read(descriptor, _LARGEST_FILE)
        finally:
            posix.close(descriptor)
        digest.update(b"%d %d %d:" % (entry.st_mode, entry.st_uid, len(content)))
        digest.update(content)
    return digest.hexdigest()


def route_content(key: bytes, paths: "Sequence[bytes]") -> bytes:
    """Return what stands in a route: the set's key, the evidence, the files it is about.

    Raises:
        OSError, ValueError: as :func:`evidence`; also for a path that holds a newline.

    """
    if any(b"\n" in path for path in paths):
        raise ValueError
    return b"\n".join([ROUTE_MAGIC, key, evidence(paths).encode(), *paths])


def _follow(path: bytes) -> "bytes | None":
    magic, key, expected, *paths = read_private(path).split(b"\n")
    if magic != ROUTE_MAGIC or evidence(paths).encode() != expected:
        return None
    return key


# Sets


class Head:
    """The first line of a cached set."""

    __slots__ = ("due_at", "expires_at", "issued_at", "low_at")

    def __init__(self, issued_at: int, due_at: int, low_at: int, expires_at: int) -> None:
        self.issued_at = issued_at
        self.due_at = due_at
        self.low_at = low_at
        self.expires_at = expires_at


def write_set(key: bytes, head: Head, document: bytes) -> bytes:
    """Return the content of a cached set."""
    times = (head.issued_at, head.due_at, head.low_at, head.expires_at)
    facts = b" ".join([SET_MAGIC, key, *(b"%d" % moment for moment in times), b"%d" % len(document)])
    return b"%b %d\n%b" % (facts, _checksum(facts + document), document)


def read_set(content: bytes, key: bytes) -> "tuple[Head, bytes]":
    """Take a cached set apart.

    Raises:
        ValueError: it is torn, of another version, or belongs to another key.

    """
    line, _, document = content.partition(b"\n")
    facts, _, checksum = line.rpartition(b" ")
    if int(checksum) != _checksum(facts + document):
        raise ValueError
    magic, owner, issued_at, due_at, low_at, expires_at, length = facts.split(b" ")
    if magic != SET_MAGIC or owner != key or int(length) != len(document):
        raise ValueError
    return Head(int(issued_at), int(due_at), int(low_at), int(expires_at)), document


def _checksum(content: bytes) -> int:
    # Against torn and rotten files, not against an enemy (the file is private): no import is as cheap as this.
    return int.from_bytes(content, "big") % ((1 << 61) - 1)


def write_all(descriptor: int, content: bytes) -> "int | None":
    """Write everything and return the exit code; None if nothing could be written (the slow way says why)."""
    left = content
    while left:
        try:
            left = left[posix.write(descriptor, left) :]
        except BlockingIOError:
            import select  # noqa: PLC0415 - only where a full pipe does not block

            select.select([], [descriptor], [])
        except OSError:
            return None if left is content else 1
    return 0


# Renewal in the background


def start_renewal(directory: bytes, key: bytes, arguments: "Sequence[str]", now: float) -> None:
    """Start a process that renews the set, unless one was started a moment ago or the last one said to wait.

    The modification time of ``KEY.renewal`` is the moment before which no other is to be started.
    """
    try:
        if not claim_renewal(directory + b"/" + key + b".renewal", now):
            return
        at = arguments.index(COMMAND)
        _detach([*program(), *arguments[:at], "renew", *arguments[at + 1 :]])
    except OSError:
        return  # the next call tries again: what was printed is valid


def program() -> "list[str]":
    """Return the words that run this program once more, with the same Python started in the same way."""
    flags = ["-I", "-S"] if sys.flags.no_site else ["-P"]
    return [sys.executable, *flags, _PACKAGE + "/__main__.py"]


def claim_renewal(marker: bytes, now: float) -> bool:
    """Take the right to start a renewal; False while somebody else has it.

    Raises:
        OSError: the marker cannot be written.

    """
    descriptor = posix.open(marker, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o600)
    try:
        entry = posix.fstat(descriptor)
        if entry.st_size and now < entry.st_mtime <= now + 3600:
            return False
        if not entry.st_size:
            posix.write(descriptor, b"the time of this file is when the next renewal may begin\n")
        posix.utime(descriptor, (now, now + RENEWAL_SECONDS))
    finally:
        posix.close(descriptor)
    return True


def _detach(command: "list[str]") -> None:
    """Run a command that outlives this process and holds none of its descriptors.

    Some SDKs wait until everybody has closed the pipe they read, so not one may be left open. Nobody waits for the
    child: this process is about to end, and leaves it to init.
    """
    if posix.fork():
        return
    try:
        posix.setsid()
        posix.nice(_NICENESS)
        nothing = posix.open("/dev/null", posix.O_RDWR)
        for descriptor in (0, 1, 2):
            posix.dup2(nothing, descriptor)
        posix.closerange(3, 1 << 20)
        posix.execve(command[0], command, posix.environ)
    finally:
        posix._exit(1)  # noqa: SLF001 - the public name is in os, which is not loaded here
