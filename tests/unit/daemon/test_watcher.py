"""What counts as a change, where to listen, and how often to look: no thread, no waiting."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.daemon.watcher import FileToWatch, Places, Rhythm, WatchedFiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory whose path holds no symbolic link."""
    return tmp_path.resolve()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def later(path: Path, seconds: int = 60) -> None:
    """Touch a file as if time had passed."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + seconds * 10**9))


def certificate(path: Path) -> WatchedFiles:
    return WatchedFiles({"deploy": (FileToWatch(str(path)),)})


def test_changed_content_is_a_change_once(folder: Path) -> None:
    file = write(folder / "cert.pem", "one")
    files = certificate(file)

    assert files.look() == ()
    file.write_text("two")
    assert files.look() == ("deploy",)
    assert files.look() == ()


@pytest.mark.promise(51)
def test_a_touched_certificate_is_none(folder: Path) -> None:
    file = write(folder / "cert.pem", "one")
    files = certificate(file)

    later(file)
    assert files.look() == ()
    replacement = write(folder / "new", "one")
    replacement.replace(file)  # another inode, the same content
    assert files.look() == ()
    file.write_text("two")  # the negative control
    assert files.look() == ("deploy",)


def test_content_counts_even_where_size_and_time_are_the_same(folder: Path) -> None:
    file = write(folder / "cert.pem", "one")
    before = file.stat()
    files = certificate(file)

    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert files.look() == ("deploy",)


def test_each_name_is_told_of_its_own_files_only(folder: Path) -> None:
    shared, own = write(folder / "ca.pem", "1"), write(folder / "own.pem", "1")
    files = WatchedFiles(
        {
            "one": (FileToWatch(str(shared)),),
            "two": (FileToWatch(str(shared)), FileToWatch(str(own))),
            "configuration": (FileToWatch(str(folder / "config.toml")),),
        }
    )

    own.write_text("2")
    assert files.look() == ("two",)
    shared.write_text("2")
    assert files.look() == ("one", "two")
    (folder / "config.toml").write_text("x")  # it appears
    assert files.look() == ("configuration",)


# The private key


def key(path: Path, *others: Path) -> WatchedFiles:
    plain = tuple(FileToWatch(str(other)) for other in others)
    return WatchedFiles({"deploy": (FileToWatch(str(path), is_private_key=True), *plain)})


@pytest.mark.parametrize("change", ["written", "replaced", "permitted"])
def test_a_key_is_judged_by_its_status(folder: Path, change: str) -> None:
    file = write(folder / "key.pem", "one")
    file.chmod(0o600)
    files = key(file)

    assert files.look() == ()
    if change == "written":
        file.write_text("two")
        later(file)
    elif change == "replaced":
        write(folder / "new", "two").replace(file)
    else:
        file.chmod(0o640)
    assert files.look() == ("deploy",)
    assert files.look() == ()


READ = """
import os, sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
from rolesanywhere_helper.daemon.watcher import FileToWatch, WatchedFiles
key, *others = sys.argv[1:]
files = WatchedFiles({"s": (FileToWatch(key, is_private_key=True), *map(FileToWatch, others))})
read = []
real = os.read
os.read = lambda descriptor, size: read.append(os.fstat(descriptor).st_ino) or real(descriptor, size)
for path in (key, *others):
    with open(path, "a") as file:
        file.write("more")
assert files.look() == ("s",)
assert (os.stat(key).st_ino in read) is False, "the key was read"
assert len(set(read)) == int(os.environ["READ"]), read
"""


@pytest.mark.parametrize("also", ["", "link.pem", "hard.pem"])
def test_the_key_is_never_read_by_whatever_name(folder: Path, also: str) -> None:
    """A PEM file can hold certificate and key, and be named as both."""
    write(folder / "key.pem", "secret")
    (folder / "link.pem").symlink_to("key.pem")
    (folder / "hard.pem").hardlink_to(folder / "key.pem")
    write(folder / "cert.pem", "public")
    paths = [str(folder / name) for name in ("key.pem", also, "cert.pem") if name]

    # That the certificate is read, and nothing else, is the negative control.
    subprocess.run([sys.executable, "-c", READ, *paths], check=True, env={"READ": "1"})


# Between two states


@pytest.mark.parametrize("state", ["missing", "empty", "unreadable", "directory", "fifo", "dangling", "circle"])
def test_a_file_between_two_states_keeps_what_was_seen(folder: Path, state: str) -> None:
    file = write(folder / "cert.pem", "one")
    files = certificate(file)

    file.unlink()
    if state == "empty":
        file.touch()
    elif state == "unreadable":  # for root too
        file.symlink_to("/proc/self/mem")
    elif state == "directory":
        file.mkdir()
    elif state == "fifo":
        os.mkfifo(file)
    elif state == "dangling":
        file.symlink_to("nowhere")
    elif state == "circle":
        file.symlink_to("cert.pem")
    assert files.look() == ()
    files.places()  # does not hang or raise either

    if state == "directory":
        file.rmdir()
    else:
        file.unlink(missing_ok=True)
    file.write_text("one")
    assert files.look() == ()
    file.write_text("two")
    assert files.look() == ("deploy",)


def test_a_file_that_was_never_there_is_a_change_when_it_comes(folder: Path) -> None:
    files = certificate(folder / "a" / "b" / "cert.pem")

    assert files.look() == ()
    (folder / "a" / "b").mkdir(parents=True)
    assert files.look() == ()
    write(folder / "a" / "b" / "cert.pem", "one")
    assert files.look() == ("deploy",)


def test_certificate_and_key_at_different_times_are_two_changes(folder: Path) -> None:
    file, key_file = write(folder / "cert.pem", "one"), write(folder / "key.pem", "one")
    files = key(key_file, file)

    file.write_text("two")
    assert files.look() == ("deploy",)
    assert files.look() == ()
    write(folder / "new", "two").replace(key_file)
    assert files.look() == ("deploy",)


def test_a_path_that_is_none_is_no_error() -> None:
    files = WatchedFiles({"deploy": (FileToWatch("/a\0b"), FileToWatch("/a\0c", is_private_key=True))})

    assert files.look() == ()
    assert files.places() == {"/": {"/a\0b", "/a\0c"}}


def test_a_huge_file_is_judged_by_its_status(folder: Path) -> None:
    file = folder / "cert.pem"
    with file.open("wb") as huge:
        huge.truncate(1 << 40)  # sparse: reading it would take for ever
    files = certificate(file)

    later(file)
    assert files.look() == ("deploy",)


# Where to listen


def places(path: Path) -> Places:
    return certificate(path).places()


def test_a_file_is_listened_for_in_its_directory(folder: Path) -> None:
    file = write(folder / "cert.pem", "one")

    assert places(file) == {str(folder): {str(file)}}


def test_every_link_on_the_way_is_listened_for(folder: Path) -> None:
    """As Kubernetes lays a secret out: tls.crt → ..data/tls.crt, ..data → ..2026."""
    (folder / "..2026").mkdir()
    write(folder / "..2026" / "tls.crt", "one")
    (folder / "..data").symlink_to("..2026")
    (folder / "tls.crt").symlink_to("..data/tls.crt")

    assert places(folder / "tls.crt") == {
        str(folder): {str(folder / "tls.crt"), str(folder / "..data")},
        str(folder / "..2026"): {str(folder / "..2026" / "tls.crt")},
    }


def test_links_may_lead_up_and_to_the_root(folder: Path) -> None:
    (folder / "a").mkdir()
    file = write(folder / "cert.pem", "one")
    (folder / "a" / "up").symlink_to("../cert.pem")
    (folder / "a" / "away").symlink_to(folder / "a" / "." / "up")

    assert places(folder / "a" / "away") == {
        str(folder / "a"): {str(folder / "a" / "away"), str(folder / "a" / "up")},
        str(folder): {str(file)},
    }


def test_of_what_is_missing_the_nearest_directory_is_listened_to(folder: Path) -> None:
    assert places(folder / "a" / "b" / "cert.pem") == {str(folder): {str(folder / "a")}}


def test_a_circle_of_links_ends(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")

    assert places(folder / "a") == {str(folder): {str(folder / "a"), str(folder / "b")}}


def test_a_file_where_a_directory_should_be_is_listened_for(folder: Path) -> None:
    write(folder / "a", "no directory")

    assert places(folder / "a" / "cert.pem") == {str(folder): {str(folder / "a")}}


# How often to look


@pytest.mark.promise(50)
def test_everything_is_read_again_every_thirty_seconds() -> None:
    rhythm = Rhythm()

    assert rhythm.pause(None) + rhythm.settle < 60  # the promise
    assert rhythm.pause(None) == rhythm.pause(61) == 30
    assert Rhythm(poll=61).pause(None) > 60  # the negative control: it is the setting that decides


def directory(path: Path) -> WatchedFiles:
    return WatchedFiles({"deploy": (FileToWatch(str(path), is_directory=True),)})


def test_in_a_directory_every_file_counts(folder: Path) -> None:
    store = folder / "store"
    store.mkdir()
    files = directory(store)
    assert files.look() == ()

    first = write(store / "first.key", "one")
    assert files.look() == ("deploy",)
    later(first)
    assert files.look() == ("deploy",), "by its status: it may be a key"
    first.unlink()
    assert files.look() == ("deploy",)
    write(store / "being-written", "")
    (store / "to-nowhere").symlink_to("gone")
    (store / "more").mkdir()
    write(folder / "outside", "one")
    assert files.look() == ()


def test_a_directory_that_is_away_for_a_moment_has_not_changed(folder: Path) -> None:
    store = folder / "store"
    store.mkdir()
    write(store / "first", "one")
    files = directory(store)

    store.rename(folder / "away")
    assert files.look() == ()
    (folder / "away").rename(store)
    assert files.look() == ()


def test_no_file_of_a_directory_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "host.key", "secret")

    def refuse(*_: object) -> int:
        raise AssertionError("opened")

    monkeypatch.setattr("os.open", refuse)
    files = directory(folder)
    monkeypatch.undo()
    assert files.look() == ()


def test_where_to_listen_for_a_directory(folder: Path) -> None:
    for name in ("store", "target"):
        (folder / name).mkdir()
    write(folder / "target" / "real.pem", "one")
    (folder / "store" / "cert.pem").symlink_to("../target/real.pem")
    (folder / "link").symlink_to("store")

    assert directory(folder / "link").places() == {
        str(folder): {str(folder / "link")},
        str(folder / "store"): {"*", str(folder / "store" / "cert.pem")},
        str(folder / "target"): {str(folder / "target" / "real.pem")},
    }
    assert directory(folder / "gone").places() == {str(folder): {str(folder / "gone")}}


def test_after_a_change_the_next_one_is_looked_for_eagerly() -> None:
    """What belongs together is often written one by one, and a key's directory is often closed to us."""
    rhythm = Rhythm()

    assert rhythm.pause(0.0) == rhythm.pause(59.9) == 1
    assert rhythm.pause(60.0) == 30
    assert Rhythm(poll=0.5).pause(0.0) == 0.5


def test_watchdog_is_loaded_only_when_watching_begins() -> None:
    loaded = "import sys, rolesanywhere_helper.daemon.watcher as w; w.Watcher({}, print, None)"
    heavy = "{'watchdog', 'hashlib', '_hashlib', 'asyncio', 'pathlib', 'ssl'} & set(sys.modules)"
    begins = "import watchdog.observers"  # the negative control

    told = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}; {loaded}; print({heavy}); {begins}; print(len({heavy}) > 0)",
        ],
        check=True,
        capture_output=True,
        text=True,
    )

    assert told.stdout.split("\n")[:2] == ["set()", "True"]
