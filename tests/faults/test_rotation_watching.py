"""Rotations as they happen, seen by a real watcher: inotify alone, polling alone, and what goes wrong with either.

No test waits for a fixed time: each waits for the call it expects. Where nobody must be called, something else is
changed afterwards, and its call must be the first that comes.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import queue
import resource
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import watchdog.observers

from rolesanywhere_helper.daemon import watcher as watching
from rolesanywhere_helper.daemon.watcher import FileToWatch, Rhythm, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_SECONDS = 20
# So rarely that whatever a test sees was told by an event.
EVENTS_ONLY = Rhythm(poll=3600, eager=3600, settle=0.02)
POLLING = Rhythm(poll=0.02, settle=0.02)


class DirectLoop:
    """Calls at once, in the watcher's thread."""

    def call_soon_threadsafe(self, callback: Callable[[], None], /) -> None:
        callback()


class Calls:
    """Who was called."""

    def __init__(self) -> None:
        self._names: queue.Queue[str] = queue.Queue()
        self.add = self._names.put

    def next(self) -> str:
        return self._names.get(timeout=DEADLINE_SECONDS)

    def are_over(self) -> bool:
        return self._names.empty()


@contextmanager
def watched(files: dict[str, tuple[Path, ...]], rhythm: Rhythm) -> Iterator[Calls]:
    """Watch files under names; those that end in ``.key`` are private keys."""
    calls = Calls()
    to_watch = {
        name: tuple(FileToWatch(str(path), is_private_key=path.suffix == ".key") for path in paths)
        for name, paths in files.items()
    }
    watcher = Watcher(to_watch, calls.add, DirectLoop(), rhythm)
    watcher.start()
    try:
        yield calls
    finally:
        watcher.close()
        assert not watcher._thread.is_alive()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def sentinel(folder: Path) -> Path:
    """Return a file in a directory of its own, whose change shows that everything before it has been looked at."""
    (folder / "sentinel").mkdir()
    return replaced(folder / "sentinel" / "file", "0")


def replaced(path: Path, text: str) -> Path:
    """Replace a file atomically, as careful writers do."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)
    return path


class Secret:
    """A secret as Kubernetes mounts it (AtomicWriter): names → ..data/name, ..data → a directory for each version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._version = 0
        folder.mkdir()
        self.exchange("0")
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(f"..data/{name}")

    def exchange(self, text: str) -> None:
        old = self.folder / f"..{self._version}"
        self._version += 1
        new = self.folder / f"..{self._version}"
        new.mkdir()
        for name in ("tls.crt", "tls.key"):
            (new / name).write_text(text)
        (self.folder / "..data_tmp").symlink_to(new.name)
        (self.folder / "..data_tmp").replace(self.folder / "..data")
        if old.exists():
            shutil.rmtree(old)

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"


@pytest.mark.promise(49)
@pytest.mark.parametrize("rhythm", [EVENTS_ONLY, POLLING], ids=["events", "polling"])
def test_each_of_three_exchanges_of_data_is_seen(folder: Path, sentinel: Path, rhythm: Rhythm) -> None:
    secret = Secret(folder / "secret")
    with watched({"deploy": (secret.certificate,), "sentinel": (sentinel,)}, rhythm) as calls:
        for version in ("1", "2", "3"):
            secret.exchange(version)
            assert calls.next() == "deploy"
        secret.exchange("3")  # the negative control: exchanged for the same
        replaced(sentinel, "1")
        assert calls.next() == "sentinel"
        secret.exchange("4")  # and after that it is still seen
        assert calls.next() == "deploy"
    assert calls.are_over()


@pytest.mark.promise(51)
@pytest.mark.parametrize("rhythm", [EVENTS_ONLY, POLLING], ids=["events", "polling"])
def test_a_touched_certificate_calls_nobody(folder: Path, sentinel: Path, rhythm: Rhythm) -> None:
    certificate = replaced(folder / "cert.pem", "one")
    with watched({"deploy": (certificate,), "sentinel": (sentinel,)}, rhythm) as calls:
        os.utime(certificate, (1, 1))
        replaced(certificate, "one")
        replaced(sentinel, "1")
        assert calls.next() == "sentinel"
        certificate.write_text("two")  # the negative control
        assert calls.next() == "deploy"


@pytest.mark.parametrize("rhythm", [EVENTS_ONLY, POLLING], ids=["events", "polling"])
def test_certificate_and_key_at_different_times_are_both_told(folder: Path, rhythm: Rhythm) -> None:
    (folder / "private").mkdir()
    certificate, key = replaced(folder / "cert.pem", "one"), replaced(folder / "private" / "host.key", "one")
    with watched({"deploy": (certificate, key)}, rhythm) as calls:
        replaced(certificate, "two")
        assert calls.next() == "deploy"
        replaced(key, "two")
        assert calls.next() == "deploy"
        key.chmod(0o600)
        assert calls.next() == "deploy"


@pytest.mark.parametrize("rhythm", [EVENTS_ONLY, POLLING], ids=["events", "polling"])
def test_directories_that_come_go_and_come_back(folder: Path, rhythm: Rhythm) -> None:
    certificate = folder / "etc" / "pki" / "cert.pem"
    with watched({"deploy": (certificate,)}, rhythm) as calls:
        for version in ("one", "two", "three"):
            certificate.parent.mkdir(parents=True)
            replaced(certificate, version)
            assert calls.next() == "deploy"
            shutil.rmtree(folder / "etc")


def test_what_happens_while_watching_begins_is_not_lost(folder: Path) -> None:
    """Between the first look, the listening and an event nothing can slip through."""
    certificate = replaced(folder / "cert.pem", "0")
    for version in range(1, 21):
        with watched({"deploy": (certificate,)}, EVENTS_ONLY) as calls:
            replaced(certificate, str(version))
            assert calls.next() == "deploy"


def test_a_torn_file_is_no_end(folder: Path, sentinel: Path) -> None:
    certificate = replaced(folder / "cert.pem", "one")
    with watched({"deploy": (certificate,), "sentinel": (sentinel,)}, EVENTS_ONLY) as calls:
        certificate.unlink()
        certificate.touch()
        replaced(sentinel, "1")
        assert calls.next() == "sentinel"
        certificate.write_text("two")
        assert calls.next() == "deploy"


def test_a_busy_directory_is_none_of_our_business(
    folder: Path, sentinel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    real = watching.WatchedFiles.look

    def counted(files: watching.WatchedFiles) -> tuple[str, ...]:
        looks.append(1)
        return real(files)

    certificate = replaced(folder / "cert.pem", "one")
    with watched({"deploy": (certificate,), "sentinel": (sentinel,)}, EVENTS_ONLY) as calls:
        replaced(sentinel, "1")
        assert calls.next() == "sentinel"
        monkeypatch.setattr(watching.WatchedFiles, "look", counted)
        for number in range(200):
            (folder / f"log.{number}").write_text("busy")
        replaced(certificate, "two")
        assert calls.next() == "deploy"
    assert len(looks) < 20


# Without inotify


class Unavailable:
    """Stands for watchdog where inotify cannot be had."""

    def __init__(self, code: int) -> None:
        self._code = code

    def __call__(self) -> NoReturn:
        raise OSError(self._code, os.strerror(self._code))


@pytest.mark.promise(50)
@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSYS])
def test_without_inotify_a_change_is_found_by_reading(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    monkeypatch.setattr(watchdog.observers, "Observer", Unavailable(code))
    certificate = replaced(folder / "cert.pem", "one")
    with watched({"deploy": (certificate,)}, POLLING) as calls:
        for version in ("two", "three"):
            replaced(certificate, version)
            assert calls.next() == "deploy"
    assert [record.getMessage() for record in caplog.records] == [
        f"changes of files are found by polling only: [Errno {code}] {os.strerror(code)}"
    ]


@pytest.mark.promise(50)
@pytest.mark.parametrize("mend", [0.0, 300.0])
def test_inotify_is_asked_for_again_now_and_then(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mend: float
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(watchdog.observers, "Observer", Unavailable(errno.EMFILE))
    certificate = replaced(folder / "cert.pem", "one")
    with watched({"deploy": (certificate,)}, replace(POLLING, mend=mend)) as calls:
        replaced(certificate, "two")
        assert calls.next() == "deploy"
        monkeypatch.undo()
        for version in ("three", "four"):
            replaced(certificate, version)
            assert calls.next() == "deploy"
    told = [record.getMessage().partition(":")[0] for record in caplog.records]
    # The negative control is a long wait: then it is not asked.
    again = ["changes of files are told at once again"] if not mend else []
    assert told == ["changes of files are found by polling only", *again]


@pytest.mark.promise(50)
def test_with_no_watch_left_a_change_is_found_by_reading(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel's limit on watches is reached at the second directory, in the middle of watchdog's work."""
    from watchdog.observers import inotify_c  # noqa: PLC0415 - only on Linux

    real, added = inotify_c.inotify_add_watch, list[bytes]()

    def add(descriptor: int, path: bytes, mask: int) -> int:
        added.append(path)
        if len(added) > 1:
            ctypes.set_errno(errno.ENOSPC)
            return -1
        return real(descriptor, path, mask)

    monkeypatch.setattr(inotify_c, "inotify_add_watch", add)
    (folder / "other").mkdir()
    files = replaced(folder / "cert.pem", "one"), replaced(folder / "other" / "cert.pem", "one")
    before = threading.active_count()
    with watched({"one": files[:1], "other": files[1:]}, POLLING) as calls:
        for name, file in (("one", files[0]), ("other", files[1]), ("one", files[0])):
            replaced(file, f"{len(added)} {name} {file.stat().st_ino}")
            assert calls.next() == name
        assert threading.active_count() == before + 1, "watchdog's threads are left"
    assert len(added) == 2
    assert len(caplog.records) == 1


@pytest.mark.promise(50)
def test_events_that_get_lost_are_made_up_for_by_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overflowing queue and a network file system look alike from here: no event comes."""
    monkeypatch.setattr(watching._Events, "happened", lambda *_arguments: None)
    certificate = replaced(folder / "cert.pem", "one")
    with watched({"deploy": (certificate,)}, POLLING) as calls:
        for version in ("two", "three"):
            replaced(certificate, version)
            assert calls.next() == "deploy"


def test_exhausted_descriptors_are_survived(folder: Path) -> None:
    """For real: neither inotify nor a file can be opened; when there is room again, the change is found."""
    certificate = replaced(folder / "cert.pem", "one")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    watcher_calls = Calls()
    watcher = Watcher({"deploy": (FileToWatch(str(certificate)),)}, watcher_calls.add, DirectLoop(), POLLING)
    replaced(certificate, "two")
    taken = os.open("/dev/null", os.O_RDONLY)
    tried = threading.Event()
    real = watcher._files.look

    def look() -> tuple[str, ...]:
        found = real()
        tried.set()
        return found

    watcher._files.look = look  # type: ignore[method-assign]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
    try:
        watcher.start()
        assert tried.wait(DEADLINE_SECONDS)
        tried.clear()
        assert tried.wait(DEADLINE_SECONDS)  # it looks on
        assert watcher_calls.are_over()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken)
    try:
        assert watcher_calls.next() == "deploy"
    finally:
        watcher.close()


def test_a_directory_that_may_only_be_entered_is_polled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's /etc/ssl/private has mode 0710; root, who runs these tests, would be let in."""
    (folder / "private").mkdir()
    certificate, key = replaced(folder / "cert.pem", "one"), replaced(folder / "private" / "host.key", "one")
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: False if path == str(key.parent) and mode & os.R_OK else real(path, mode)
    )
    # Nothing but the change of the certificate makes it look for that of the key.
    with watched({"deploy": (certificate, key)}, Rhythm(poll=3600, eager=0.05, settle=0.02)) as calls:
        replaced(certificate, "two")
        assert calls.next() == "deploy"
        replaced(key, "two")
        assert calls.next() == "deploy"


# Life


def test_callbacks_arrive_in_the_event_loop(folder: Path) -> None:
    certificate = replaced(folder / "cert.pem", "one")

    async def called_in() -> int:
        loop = asyncio.get_running_loop()
        called: asyncio.Future[int] = loop.create_future()
        watcher = Watcher(
            {"deploy": (FileToWatch(str(certificate)),)},
            lambda _name: called.set_result(threading.get_ident()),
            loop,
            EVENTS_ONLY,
        )
        watcher.start()
        try:
            replaced(certificate, "two")
            return await asyncio.wait_for(called, DEADLINE_SECONDS)
        finally:
            watcher.close()

    assert asyncio.run(called_in()) == threading.get_ident()


def test_nobody_is_called_after_the_end(folder: Path) -> None:
    certificate = replaced(folder / "cert.pem", "one")
    pending: queue.Queue[Callable[[], None]] = queue.Queue()

    class SlowLoop:
        def call_soon_threadsafe(self, callback: Callable[[], None], /) -> None:
            pending.put(callback)

    calls = Calls()
    watcher = Watcher({"deploy": (FileToWatch(str(certificate)),)}, calls.add, SlowLoop(), EVENTS_ONLY)
    watcher.start()
    replaced(certificate, "two")
    call = pending.get(timeout=DEADLINE_SECONDS)
    call()
    assert calls.next() == "deploy"  # the negative control
    watcher.close()
    call()
    assert calls.are_over()


def test_closing_leaves_no_thread_and_no_descriptor(folder: Path) -> None:
    certificate = replaced(folder / "cert.pem", "0")
    descriptors = Path("/proc/self/fd")

    def watch_once(version: str) -> tuple[int, int]:
        with watched({"deploy": (certificate,)}, EVENTS_ONLY) as calls:
            replaced(certificate, version)
            calls.next()
        return threading.active_count(), len(list(descriptors.iterdir()))

    first = watch_once("1")
    assert [watch_once(str(number)) for number in range(2, 8)] == [first] * 6


def test_closing_before_the_start_is_no_error(folder: Path) -> None:
    Watcher({"deploy": (FileToWatch(str(folder / "cert.pem")),)}, pytest.fail, DirectLoop()).close()


def test_a_loop_that_has_ended_is_no_error(folder: Path) -> None:
    certificate = replaced(folder / "cert.pem", "one")
    loop = asyncio.new_event_loop()
    loop.close()
    told = threading.Event()

    class Ended:
        def call_soon_threadsafe(self, callback: Callable[[], None], /) -> None:
            told.set()
            loop.call_soon_threadsafe(callback)

    watcher = Watcher({"deploy": (FileToWatch(str(certificate)),)}, pytest.fail, Ended(), EVENTS_ONLY)
    watcher.start()
    replaced(certificate, "two")
    assert told.wait(DEADLINE_SECONDS)
    watcher.close()
    assert not watcher._thread.is_alive()
