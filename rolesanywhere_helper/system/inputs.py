"""Files that the user names: opened without hanging, and judged by who could have changed them.

Reading and judging are apart. :func:`read_input` and :func:`inspect_input` gather facts from the operating system;
the ``check_…`` functions are rules over those facts and touch nothing.

Who is trusted: root, and the user this process runs as. A file is theirs if one of them owns it, neither its group
nor others may write to it, and the same holds for every directory and symbolic link on the way to it, both those of the
path as given and those of the links' targets. Three things on the way are fine although somebody else may write there:

* a sticky directory such as ``/tmp``, where only a file's owner can rename or remove it;
* a directory that root's own group (gid 0), or its owner's private group (of the same number) may write to;
* in a user namespace, a directory of user 65534, which is how Linux shows an owner without a number there (a rootless
  container sees the host's root so).

Access control lists are not looked at: Linux shows their mask as the group's bits, so a writing entry is seen there.
Where the platform has no user ids (Windows) the permission checks find nothing.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from typing import TYPE_CHECKING

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.errors import UnsafeFileError, UsageError
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1024 * 1024

_ROOT = 0
_MOST_LINKS = 40  # Linux follows as many (path_resolution(7)) before it says ELOOP
_CHUNK = 65_536

# A FIFO without a writer must not hang, a terminal must not become ours, a child must not inherit. Each is 0 where the
# platform does not have it.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What ``stat`` says: ``mode`` with the file's type, owner and group, size in bytes, mtime in nanoseconds."""

    mode: int
    uid: int
    gid: int
    size: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A directory entered or a symbolic link followed on the way to a file, by its absolute path."""

    path: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class InspectedFile:
    """A plain file, and how it is reached.

    ``path`` is the path as given, ``way`` everything passed from the root directory on, ``reader`` the effective user
    id that looked (None where the platform has none: ``way`` is then empty).
    """

    path: str
    facts: Facts
    way: tuple[Step, ...]
    reader: int | None


@dataclass(frozen=True, slots=True)
class InputFile(InspectedFile):
    """A plain file that was read whole."""

    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is wrong with a file, and the command that mends it."""

    what: str
    command: str


def read_input(path: str, *, limit: int = MEBIBYTE) -> InputFile:
    """Read a plain file of at most ``limit`` bytes; symbolic links are followed.

    Never waits for somebody else: FIFOs, devices and sockets are refused before they are opened, and again on the open
    descriptor should the path have been changed in between.

    Raises:
        UnsafeFileError: the path is no plain file, or the file is too big.
        UsageError: the path cannot be one.
        OSError: as ``open`` raises it; :func:`explain` puts it into words.

    """
    _plain(path, _status(path))
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        found = _plain(path, os.fstat(descriptor))
        content = _read_at_most(descriptor, limit + 1) if found.st_size <= limit else b""
    finally:
        os.close(descriptor)
    if max(found.st_size, len(content)) > limit:
        raise UnsafeFileError(
            f"{_shown(path)} is larger than {limit} bytes",
            "give the file itself, not an archive or an image of it",
        )
    return InputFile(path, _facts(found), _way_to(path), _effective_user(), content)


def inspect_input(path: str) -> InspectedFile:
    """Look at a plain file that is not for us to read: a command, a library.

    Raises:
        UnsafeFileError: the path is no plain file.
        UsageError: the path cannot be one.
        OSError: as ``stat`` raises it; :func:`explain` puts it into words.

    """
    found = _plain(path, _status(path))
    return InspectedFile(path, _facts(found), _way_to(path), _effective_user())


def explain(error: OSError, path: str) -> tuple[str, str]:
    """Put into words why a file could not be read: what happened, and what to do next."""
    what = f"{_shown(path)} cannot be read: {error.strerror or type(error).__name__}"
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return what, f"check the path: ls -l {_quoted(path)}"
        case errno.EACCES | errno.EPERM:
            user = _effective_user()
            return what, (
                f"user {user} needs permission to read it and to enter the directories above it: "
                f"namei -l {_quoted(path)} shows who has"
            )
        case errno.ELOOP:
            return what, f"its symbolic links lead in a circle: namei {_quoted(path)} shows them"
        case _:
            return what, f"check the file system it lies on: df {_quoted(path)}"


def check_private_key_file(
    file: InspectedFile, *, strict: bool, accept_insecure: bool, in_gitlab_ci: bool = False
) -> tuple[str, ...]:
    """Refuse a private key that somebody else could have put there, and return the warnings that remain.

    A file that everybody may read gives a warning, since Kubernetes and GitLab write 0644 by default; ``strict``
    refuses it. One that its group may read is fine, as Debian's ``ssl-cert`` is. ``accept_insecure`` turns every
    refusal into a warning. ``in_gitlab_ci`` (the variable ``GITLAB_CI`` is set) adds the line that helps there: the
    runner gives every file and directory of a job to everybody.

    Raises:
        UnsafeFileError: others can change the key, or under ``strict`` read it; the hint is the command that mends it.

    """
    refused = list(_changeable_by_others(file))
    readable = list(_readable_by_everybody(file))
    if strict:
        refused += readable
        readable = []
    if refused and not accept_insecure:
        raise UnsafeFileError(_what("private key", file, refused), _key_hint(file, refused, in_gitlab_ci=in_gitlab_ci))
    return tuple(
        f"{_what('private key', file, [finding])} ({_commands([finding])})" for finding in (*refused, *readable)
    )


def check_own_key_file(file: InspectedFile) -> None:
    """Refuse a private key that this program has made if somebody else could have changed or read it since.

    No flag accepts it as it is: it was as it should be, and a command makes it so again.

    Raises:
        UnsafeFileError: others can change or read the key; the hint is the command that mends it.

    """
    findings = [*_changeable_by_others(file), *_readable_by_everybody(file)]
    if findings:
        raise UnsafeFileError(_what("private key", file, findings), _commands(findings))


def check_trusted_file(file: InspectedFile, what: str) -> None:
    """Refuse a file that steers this program if somebody else could have changed it.

    ``what`` names its purpose in the error: "configuration file", "CA bundle", "command", "PKCS#11 library".

    Raises:
        UnsafeFileError: others can change it; the hint is the command that mends it.

    """
    findings = list(_changeable_by_others(file))
    if findings:
        raise UnsafeFileError(_what(what, file, findings), _commands(findings))


# The rules


def _changeable_by_others(file: InspectedFile) -> Iterator[_Finding]:
    if file.reader is None:
        return
    owned = file.facts.uid in {_ROOT, file.reader}
    if not owned:
        yield _Finding(
            f"is owned by user {file.facts.uid}, neither root nor user {file.reader} who runs this",
            f"chown {_name(file.reader)} {_quoted(file.path)}",
        )
    writers = _writers(file.facts.mode)
    if writers:
        yield _Finding(f"can be written by {writers}", f"chmod go-w {_quoted(file.path)}")
    for step in file.way:
        yield from _step_findings(step, file.reader)


def _step_findings(step: Step, reader: int) -> Iterator[_Finding]:
    facts = step.facts
    is_link = stat.S_ISLNK(facts.mode)
    if facts.uid not in {_ROOT, reader} and not fastpath.is_outside(facts.uid):
        kind, option = ("symbolic link", "-h ") if is_link else ("directory", "")
        yield _Finding(
            f"is reached through the {kind} {_shown(step.path)} of user {facts.uid}",
            f"chown {option}{_name(reader)} {_quoted(step.path)}",
        )
    if is_link or facts.mode & stat.S_ISVTX:  # a link has no permissions of its own
        return
    if fastpath.can_others_write(facts.mode, facts.uid, facts.gid):
        is_group_fine = not fastpath.can_others_write(facts.mode & ~stat.S_IWOTH, facts.uid, facts.gid)
        writers = _writers(facts.mode & ~stat.S_IWGRP if is_group_fine else facts.mode)
        yield _Finding(
            f"is reached through the directory {_shown(step.path)}, which can be written by {writers}",
            f"chmod {'o-w' if is_group_fine else 'go-w'} {_quoted(step.path)}",
        )


def _readable_by_everybody(file: InspectedFile) -> Iterator[_Finding]:
    if file.reader is not None and file.facts.mode & stat.S_IROTH:
        yield _Finding("can be read by every user of this machine", f"chmod o-r {_quoted(file.path)}")


def _writers(mode: int) -> str:
    names = (("its group", stat.S_IWGRP), ("every user of this machine", stat.S_IWOTH))
    return " and ".join(name for name, bit in names if mode & bit)


# The words


def _what(purpose: str, file: InspectedFile, findings: list[_Finding]) -> str:
    return f"the {purpose} {_shown(file.path)} " + ", ".join(finding.what for finding in findings)


def _commands(findings: list[_Finding]) -> str:
    return "run: " + " && ".join(finding.command for finding in findings)


def _key_hint(file: InspectedFile, findings: list[_Finding], *, in_gitlab_ci: bool) -> str:
    if in_gitlab_ci:
        copy = f'SAFE_KEY="$(mktemp -d)/key.pem" && install -m 600 {_quoted(file.path)} "$SAFE_KEY"'
        return f'in GitLab CI copy it first: {copy}, then --private-key "$SAFE_KEY"; elsewhere {_commands(findings)}'
    return f"{_commands(findings)} (or accept it as it is: --accept-insecure-private-key-file)"


def _name(uid: int) -> str:
    return "root" if uid == _ROOT else str(uid)


def _shown(path: str) -> str:
    """Keep an error on one line, whatever a file is called."""
    return path if path.isprintable() and path else ascii(path)


def _quoted(path: str) -> str:
    """Write a path as a shell needs it, also one that looks like an option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


# The operating system


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - a path stays the string that was given: pathlib would rewrite it
    except ValueError as error:  # a NUL character
        raise UsageError(f"this cannot be a path: {path!a}", "give the path of a file") from error


def _plain(path: str, found: os.stat_result) -> os.stat_result:
    kinds = (
        (stat.S_ISDIR, "a directory", "name the file in it"),
        (
            stat.S_ISFIFO,
            "a FIFO",
            "write what it carries into a file: install -m 600 SOURCE FILE",
        ),
        (stat.S_ISSOCK, "a socket", "give the path of a plain file"),
        (stat.S_ISCHR, "a device", "give the path of a plain file"),
        (stat.S_ISBLK, "a device", "give the path of a plain file"),
    )
    for is_kind, kind, hint in kinds:
        if is_kind(found.st_mode):
            raise UnsafeFileError(f"{_shown(path)} is {kind}, not a plain file", hint)
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeFileError(f"{_shown(path)} is not a plain file", "give the path of a plain file")
    return found


def _read_at_most(descriptor: int, most: int) -> bytes:
    parts: list[bytes] = []
    left = most
    while left > 0 and (part := os.read(descriptor, min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _way_to(path: str) -> tuple[Step, ...]:
    """Walk to a file as the kernel does, and note each directory entered and each link followed, once."""
    if _effective_user() is None:
        return ()
    steps = {"/": Step("/", _facts(os.lstat("/")))}
    here, links = "/", 0
    pending = _parts(path if path.startswith("/") else f"{os.getcwd()}/{path}")  # noqa: PTH109 - no use for a Path
    while pending:
        part = pending.pop()
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120 - `here` holds no link, so this is what the kernel does
            continue
        child = f"{here.rstrip('/')}/{part}"
        facts = _facts(os.lstat(child))
        if stat.S_ISLNK(facts.mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(child)  # noqa: PTH115 - a link's target is text: pathlib would rewrite it
            steps.setdefault(child, Step(child, facts))
            here = "/" if target.startswith("/") else here
            pending += _parts(target)
        elif stat.S_ISDIR(facts.mode):
            here = child
            steps.setdefault(child, Step(child, facts))
    return tuple(steps.values())


def _parts(path: str) -> list[str]:
    """Split a path into its components, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


def _facts(found: os.stat_result) -> Facts:
    return Facts(found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns)


def _effective_user() -> int | None:
    return os.geteuid() if hasattr(os, "geteuid") else None
