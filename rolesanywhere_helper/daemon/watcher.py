"""Seeing that a certificate, a key or the configuration was replaced.

What counts is content: a file that was touched and says the same has not changed. Only the private key is judged by its
``stat`` (type, mode, owner, size, inode, time of modification), because this process must never hold it; so is
whatever else turns out to be the same file. A file that is missing, empty, unreadable or no plain file is between two
states: what was last seen of it stands until there is something to see.

How a change is noticed: watchdog (inotify) tells at once of what happens in the directories on the way to a file, also
those behind symbolic links, where Kubernetes exchanges its ``..data``. That is a hint and never the only way: every 30
seconds everything is read again, and every second for a minute after a change, as rotations come in several steps.
Without inotify (network file systems, exhausted limits, a directory that may be entered but not listed) that is enough.

Everything that may wait for a file system happens in a thread of its own, so that a network file system that hangs
stops no client. :class:`WatchedFiles` is the core, which knows no thread and no time; :class:`Watcher` the shell.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from rolesanywhere_helper.fastpath import sha256
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver, ObservedWatch

# A trust store of a large company has a few mebibytes; what is larger is none of the files that are meant here.
_LARGEST = 8 * 1024 * 1024
_CHUNK = 65_536
_MOST_LINKS = 40  # Linux follows as many (path_resolution(7)) before it says ELOOP
# A FIFO that took the file's place in the last moment must not hang us.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# The way to a file may change while it is walked. Looking once more after each new watch then takes a breath.
_MOST_LOOKS_IN_A_ROW = 5
_CLOSE_SECONDS = 1.0
_log = logging.getLogger(__name__)

# What was seen of a file; only equality counts.
_Sight = tuple[str | int, ...]
# A directory (without symbolic links in its path) → the paths in it whose events matter.
Places = dict[str, set[str]]
_EVERYTHING = "*"  # among them: no absolute path


@dataclass(frozen=True, slots=True)
class FileToWatch:
    """A file by its absolute path. ``is_private_key``: its content is never read.

    ``is_directory``: every file in a directory, with those that come to it; keys may be among them, so none is read.
    """

    path: str
    is_private_key: bool = False
    is_directory: bool = False


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often to look, in seconds.

    ``poll`` is the longest pause between two looks, ``eager`` that during the ``eager_for`` seconds after a change,
    ``settle`` how long after an event to look, so that a burst of events is one look. ``mend`` is how long to do
    without events before they are asked for again, once they could not be had.
    """

    poll: float = 30.0
    eager: float = 1.0
    eager_for: float = 60.0
    settle: float = 0.2
    mend: float = 300.0

    def pause(self, since_change: float | None) -> float:
        """Return how long to wait for an event, ``since_change`` seconds after the last change (None: never)."""
        is_eager = since_change is not None and since_change < self.eager_for
        return min(self.eager, self.poll) if is_eager else self.poll


class Loop(Protocol):
    """What of an event loop is needed here."""

    def call_soon_threadsafe(self, callback: Callable[[], None], /) -> object:
        """Have the callback called in the loop's thread."""
        ...


class WatchedFiles:
    """What was last seen of each file. Making it takes the first look, with which later ones are compared."""

    def __init__(self, files: Mapping[str, Sequence[FileToWatch]]) -> None:
        self._files = {name: tuple(sorted({file.path for file in of_name})) for name, of_name in files.items()}
        self._keys = sorted({file.path for of_name in files.values() for file in of_name if file.is_private_key})
        self._paths = sorted({path for paths in self._files.values() for path in paths})
        self._directories = {file.path for of_name in files.values() for file in of_name if file.is_directory}
        self._seen: dict[str, _Sight] = {}
        self.look()

    def look(self) -> tuple[str, ...]:
        """Look at every file once, and return the names of which one or more have changed since the last look."""
        private = {identity for key in self._keys if (identity := _identity(key)) is not None}
        changed = {path for path in self._paths if self._has_changed(path, private)}
        return tuple(name for name, paths in self._files.items() if not changed.isdisjoint(paths))

    def places(self) -> Places:
        """Return where to listen: the directory of every file, and of every symbolic link on the way to it.

        Where the way ends too early, it is the last directory that exists, and the name that is missing there.
        """
        found: Places = {}
        for path in self._paths:
            for directory, entry in _way(path):
                found.setdefault(directory, set()).add(entry)
        for path in self._directories:
            for directory, entry in _ways_into(path):
                found.setdefault(directory, set()).add(entry)
        return found

    def _has_changed(self, path: str, private: set[tuple[int, int]]) -> bool:
        try:
            sight = self._sight(path, private)
        except (OSError, ValueError):  # not there, not for us, or (ValueError) no path at all
            return False
        if sight is None or sight == self._seen.get(path):
            return False
        self._seen[path] = sight
        return True

    def _sight(self, path: str, private: set[tuple[int, int]]) -> _Sight | None:
        if path in self._directories:
            return _entries(path)
        return _status(path) if path in self._keys else _content(path, private)


class Watcher:
    """Calls ``on_change(name)`` in the event loop when a file under that name has changed, once for each change seen.

    Making it takes the first look (so make it before the files are used), :meth:`start` begins, :meth:`close` ends.
    """

    def __init__(
        self,
        files: Mapping[str, Sequence[FileToWatch]],
        on_change: Callable[[str], None],
        loop: Loop,
        rhythm: Rhythm | None = None,
    ) -> None:
        self._files = WatchedFiles(files)
        self._on_change = on_change
        self._loop = loop
        self._rhythm = rhythm or Rhythm()
        self._stirred = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._changed_at: float | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching; nobody is called any more. A thread that hangs in a file system is left behind."""
        self._closing.set()
        self._stirred.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        events = _Events(self._stirred.set, self._rhythm.mend)
        try:
            while not self._closing.is_set():
                self._look(events)
                self._wait()
        finally:
            events.close()

    def _look(self, events: _Events) -> None:
        for _ in range(_MOST_LOOKS_IN_A_ROW):
            for name in self._files.look():
                self._changed_at = time.monotonic()
                self._tell(name)
            # What happened before a directory was listened to is only seen by looking once more.
            if self._closing.is_set() or not events.listen_at(self._files.places()):
                return
        self._stirred.set()

    def _wait(self) -> None:
        since_change = None if self._changed_at is None else time.monotonic() - self._changed_at
        if self._stirred.wait(self._rhythm.pause(since_change)):
            self._closing.wait(self._rhythm.settle)
            self._stirred.clear()

    def _tell(self, name: str) -> None:
        def call() -> None:
            if not self._closing.is_set():
                self._on_change(name)

        with suppress(RuntimeError):  # the loop has been closed: there is nobody to tell
            self._loop.call_soon_threadsafe(call)


class _Events:
    """watchdog's events, as long as there are any. Used by one thread; ``stir`` is called from others.

    What is used up (inotify's limits, descriptors, threads) may be there again later: it is tried again now and then.
    """

    def __init__(self, stir: Callable[[], object], mend_seconds: float) -> None:
        self._stir = stir
        self._mend_seconds = mend_seconds
        self._places: Places = {}
        self._watches: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._observer: BaseObserver | None = None
        self._broken_at: float | None = None

    def listen_at(self, places: Places) -> bool:
        """Listen at these places and no others; return whether what was listened to before was something else."""
        was_broken = self._broken_at is not None
        if self._broken_at is not None and time.monotonic() - self._broken_at < self._mend_seconds:
            return False
        is_new, self._places = places != self._places, places
        try:
            has_moved = self._follow(places)
        except Exception as error:  # noqa: BLE001 - inotify, libc, threads: whatever it was, polling does without it
            level = logging.DEBUG if was_broken else logging.WARNING
            _log.log(level, "changes of files are found by polling only: %s", error)
            self._broken_at = time.monotonic()
            self.close()
            return False
        if was_broken:
            _log.info("changes of files are told at once again")
            self._broken_at = None
        return has_moved or is_new or was_broken

    def close(self) -> None:
        """Stop listening."""
        observer, self._observer = self._observer, None
        self._watches.clear()
        if observer is None:
            return
        with suppress(OSError, RuntimeError):  # a thread that could not be started cannot be joined
            observer.stop()
            observer.join(_CLOSE_SECONDS)

    def _follow(self, places: Places) -> bool:
        observer = self._observer = self._observer or _started_observer()
        alive = {emitter.watch for emitter in observer.emitters if emitter.should_keep_running()}
        has_moved = False
        for directory, (watch, identity) in list(self._watches.items()):
            # Another directory may have come in this one's place, or it may have gone and come back.
            if directory not in places or watch not in alive or _identity(directory) != identity:
                del self._watches[directory]
                observer.unschedule(watch)
                has_moved = True
        for directory in places.keys() - self._watches.keys():
            identity_now = _identity(directory)
            # watchdog takes no notice of a refusal (EACCES): it would hold a watch that does not exist.
            if identity_now is not None and not os.access(directory, os.R_OK):
                continue
            has_moved = True
            if identity_now is not None:
                with suppress(FileNotFoundError, NotADirectoryError):  # it has just gone
                    self._watches[directory] = self._schedule(observer, directory), identity_now
        return has_moved

    def _schedule(self, observer: BaseObserver, directory: str) -> ObservedWatch:
        from watchdog import events

        # Not that a file was opened or closed unwritten: our own reading would be an event.
        kinds: list[type[FileSystemEvent]] = [
            events.DirCreatedEvent,
            events.DirDeletedEvent,
            events.DirMovedEvent,
            events.FileClosedEvent,
            events.FileCreatedEvent,
            events.FileDeletedEvent,
            events.FileModifiedEvent,
            events.FileMovedEvent,
            getattr(events, "FileAttribEvent", events.FileModifiedEvent),  # of its own since watchdog 7
        ]
        stirs = self

        class Handler(events.FileSystemEventHandler):
            def dispatch(self, event: FileSystemEvent) -> None:
                stirs.happened(directory, os.fsdecode(event.src_path), os.fsdecode(event.dest_path))

        return observer.schedule(Handler(), directory, recursive=False, event_filter=kinds)

    def happened(self, directory: str, *paths: str) -> None:
        """Take an event: the directory may be full of files that are none of our business."""
        ours = self._places.get(directory, ())
        if _EVERYTHING in ours or any(path in ours or path == directory for path in paths):
            self._stir()


def _started_observer() -> BaseObserver:
    from watchdog.observers import Observer

    observer = Observer()
    if "polling" in type(observer).__module__:
        raise OSError(errno.ENOSYS, "this platform tells of no changes")
    observer.start()
    return observer


def _way(path: str) -> Iterator[tuple[str, str]]:
    """Walk to a file as the kernel does: yield (directory, entry) for each link, and for where the way ends."""
    here, links = "/", 0
    pending = _parts(path)
    while pending:
        part = pending.pop()
        if part == "..":
            here = here.rpartition("/")[0] or "/"  # `here` holds no link, so this is what the kernel does
            continue
        child = f"{here.rstrip('/')}/{part}"
        try:
            mode = os.lstat(child).st_mode
            target = os.readlink(child) if stat.S_ISLNK(mode) else None  # noqa: PTH115 - pathlib would rewrite it
        except (OSError, ValueError):
            yield here, child
            return
        if target is not None:
            yield here, child
            links += 1
            if links > _MOST_LINKS:
                return
            here = "/" if target.startswith("/") else here
            pending += _parts(target)
        elif stat.S_ISDIR(mode):
            here = child
        else:
            yield here, child
            return


def _ways_into(path: str) -> Iterator[tuple[str, str]]:
    """Walk to every file of a directory as :func:`_way` does, and say that whatever happens in it matters."""
    try:
        names = os.listdir(path)  # noqa: PTH208 - as below
    except (OSError, ValueError):
        return
    yield os.path.realpath(path), _EVERYTHING
    for name in names:
        yield from _way(f"{path}/{name}")


def _entries(path: str) -> _Sight:
    """Return the names of the plain files in a directory, with what ``stat`` says of each.

    Raises:
        OSError: it cannot be listed.

    """
    found: list[str | int] = ["entries"]
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            with suppress(OSError):  # a link to nowhere
                status = _judged_by_status(entry.stat())
                found += [] if status is None else [entry.name, *status]
    return tuple(found)


def _parts(path: str) -> list[str]:
    """Split a path into its components, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a path stays the string that was given: pathlib would rewrite it
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _status(path: str) -> _Sight | None:
    return _judged_by_status(os.stat(path))  # noqa: PTH116 - as above


def _content(path: str, private: set[tuple[int, int]]) -> _Sight | None:
    """Return the digest of a plain file; of one that is a private key under another name, its status.

    Raises:
        OSError: it cannot be read.
        ValueError: this is no path.

    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - as above; opening a device can do things
        return None
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        found = os.fstat(descriptor)
        if (found.st_dev, found.st_ino) in private or not 0 < found.st_size <= _LARGEST:
            return _judged_by_status(found)
        digest, left = sha256(), _LARGEST
        while left > 0 and (part := os.read(descriptor, _CHUNK)):
            digest.update(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    return "content", digest.hexdigest()


def _judged_by_status(found: os.stat_result) -> _Sight | None:
    # An empty file is one that is being written.
    if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
        return None
    return "status", found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_ino, found.st_mtime_ns
