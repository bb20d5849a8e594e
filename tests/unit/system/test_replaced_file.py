"""Rewriting a user's file: whole or not at all, as the user had it, and never where somebody else has a hand in it."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.errors import UnsafeFileError, UnwritableFileError
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.system.replaced_file import LARGEST, LOCK_SECONDS, read_if_there, rewrite
from tests.fakes.clock import FakeClock
from tests.fakes.other_user import ALICE, NOBODY, running_as

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK = SystemClock()
ANOTHER = 54_321
_REWRITE = """
import fcntl
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.system.replaced_file import rewrite
from rolesanywhere_helper.errors import HelperError
def attempt(path, content):
    try: say(rewrite(path, lambda _: content.encode(), SystemClock(), mode=0o600))
    except HelperError as error: say(type(error).__name__, error.what, "->", error.hint)
"""


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def owner(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def put(path: Path, content: bytes = b"new", file_mode: int | None = 0o600) -> bool:
    return rewrite(str(path), lambda _: content, CLOCK, mode=file_mode)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir(mode=0o755)
    return place


def test_a_new_file_and_its_directories_are_private(home: Path) -> None:
    file = home / "a" / ".aws" / "credentials"
    previous = os.umask(0)
    try:
        assert put(file)
    finally:
        os.umask(previous)
    assert (file.read_bytes(), mode(file), mode(file.parent), mode(home / "a")) == (b"new", 0o600, 0o700, 0o700)
    assert sorted(entry.name for entry in file.parent.iterdir()) == [".credentials.lock", "credentials"]
    assert mode(file.parent / ".credentials.lock") == 0o600


def test_what_would_stay_as_it_is_is_not_touched(home: Path) -> None:
    put(home / "f")
    before = (home / "f").stat()

    assert put(home / "f") is False
    assert (home / "f").stat() == before
    assert put(home / "f", b"other") is True


@pytest.mark.promise(41)
@pytest.mark.parametrize("content", [b"new", b"old"])
def test_a_looser_file_is_tightened_before_a_secret_enters_it(home: Path, content: bytes) -> None:
    """Whoever has opened the loose file reads on in it, and never sees the secret."""
    file = home / "f"
    file.write_bytes(b"old")
    file.chmod(0o644)
    with file.open("rb") as opened_before:
        put(file, content)
        assert opened_before.read() == b"old"
        assert os.fstat(opened_before.fileno()).st_mode & 0o777 == 0o600
    assert (mode(file), file.read_bytes()) == (0o600, content)


def test_without_a_mode_the_old_one_is_kept(home: Path) -> None:
    (home / "config").write_bytes(b"old")
    (home / "config").chmod(0o640)

    put(home / "config", file_mode=None)

    assert mode(home / "config") == 0o640
    put(home / "new", file_mode=None)
    assert mode(home / "new") == 0o600


@pytest.mark.promise(32, 33)
def test_kill_at_every_step_leaves_old_or_new(home: Path) -> None:
    script = Path(__file__).with_name("kill_a_rewrite.py")
    done = subprocess.run(
        [sys.executable, script, str(home / "f"), "1000"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kills, old, new, left = (int(word) for word in done.stdout.split())
    assert (kills, old + new) == (1000, 1000)
    assert old > 100
    assert new > 0
    assert left == 2, "the negative control: kills leave something; and no more, since each writer sweeps"
    put(home / "f", b"last")
    assert sorted(entry.name for entry in home.iterdir()) == [".f.lock", "f"]


@pytest.mark.promise(36)
def test_a_full_disk_leaves_the_old_file(home: Path) -> None:
    put(home / "f", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UnwritableFileError, match="File too large") as refusal:
            put(home / "f", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "ulimit" in refusal.value.hint
    assert (home / "f").read_bytes() == b"old"
    assert sorted(entry.name for entry in home.iterdir()) == [".f.lock", "f"]
    assert put(home / "f", b"x" * 5000), "the negative control: with room it is written"


def test_writers_take_turns(home: Path) -> None:
    """Twenty threads count up in one file: no step is lost."""

    def count() -> None:
        rewrite(str(home / "f"), lambda old: str(int(old or b"0") + 1).encode(), CLOCK)

    threads = [threading.Thread(target=count) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (home / "f").read_bytes() == b"20"


def test_a_lock_that_is_kept_is_not_waited_for_without_end(home: Path) -> None:
    clock = FakeClock(1_000)
    with (home / ".f.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UnwritableFileError, match="another process has had its lock for 30 seconds"):
            rewrite(str(home / "f"), lambda _: b"new", clock)
    assert clock.monotonic() >= LOCK_SECONDS
    assert not (home / "f").exists()


def test_what_an_editor_saves_meanwhile_is_taken_up(home: Path) -> None:
    put(home / "f", b"one")
    edits: list[bytes | None] = []

    def edit(old: bytes | None) -> bytes:
        edits.append(old)
        if len(edits) == 1:
            (home / "f").write_bytes(b"saved")
        return (old or b"") + b"+"

    rewrite(str(home / "f"), edit, CLOCK)

    assert edits == [b"one", b"saved"]
    assert (home / "f").read_bytes() == b"saved+"


def test_who_writes_all_the_time_is_not_fought(home: Path) -> None:
    put(home / "f", b"one")

    def edit(old: bytes | None) -> bytes:
        (home / "f").write_bytes((old or b"") + b"!")
        return b"ours"

    with pytest.raises(UnwritableFileError, match="something else writes it all the time"):
        rewrite(str(home / "f"), edit, CLOCK)
    assert b"ours" not in (home / "f").read_bytes()


@pytest.mark.parametrize("kind", ["directory", "fifo", "too large", "root"])
def test_what_is_no_file_of_a_sane_size_is_refused(home: Path, kind: str) -> None:
    file = home / "f"
    if kind == "directory":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "too large":
        with file.open("wb") as large:
            large.truncate(LARGEST + 1)
    with pytest.raises(UnsafeFileError):
        put(Path("/") if kind == "root" else file)
    assert read_if_there(str(file)) is None


def test_links_of_the_user_are_followed_to_the_file(home: Path) -> None:
    (home / "dotfiles").mkdir(mode=0o700)
    (home / ".aws").symlink_to("dotfiles/aws")
    (home / "dotfiles" / "aws").mkdir(mode=0o700)
    (home / "dotfiles" / "aws" / "credentials").symlink_to(home / "real")
    (home / "real").write_bytes(b"old")

    put(home / ".aws" / "credentials")

    assert (home / "real").read_bytes() == b"new"
    assert (home / "dotfiles" / "aws" / "credentials").is_symlink()


def test_links_in_a_circle_end(home: Path) -> None:
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    with pytest.raises(UnwritableFileError, match="Too many levels"):
        put(home / "a")


@pytest.mark.parametrize("bits", [0o777, 0o1777])
def test_a_directory_that_others_can_write_is_refused(home: Path, bits: int) -> None:
    home.chmod(bits)
    with pytest.raises(UnsafeFileError, match=r"can be written by others|everybody can write"):
        put(home / "f")
    assert list(home.iterdir()) == []
    (home / "own").mkdir(mode=0o700)
    if bits & 0o1000:  # the negative control: a directory of one's own below a sticky one
        put(home / "own" / "f")


def test_a_mounted_file_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    (home / "f").write_bytes(b"old")
    monkeypatch.setattr(os, "rename", busy)
    with pytest.raises(UnwritableFileError) as refusal:
        put(home / "f")
    assert f"mount its directory {home}" in refusal.value.hint
    assert sorted(entry.name for entry in home.iterdir()) == [".f.lock", "f"]


# Root and other users


@pytest.fixture
def alices_home() -> Iterator[Path]:
    """Return a home that its user can reach: pytest's own directories are closed to others."""
    with tempfile.TemporaryDirectory(prefix="homes-") as folder:
        Path(folder).chmod(0o755)
        place = Path(folder) / "alice"
        place.mkdir()
        os.chown(place, ALICE.uid, ALICE.gid)
        yield place


@pytest.mark.usefixtures("as_root")
def test_what_root_makes_in_a_users_home_is_the_users(alices_home: Path) -> None:
    file = alices_home / ".aws" / "credentials"

    put(file)

    assert {owner(path) for path in (file, file.parent, file.parent / ".credentials.lock")} == {(ALICE.uid, ALICE.gid)}
    assert (mode(file.parent), mode(file)) == (0o700, 0o600)
    with running_as(ALICE, "attempt(arguments[0], 'by alice')", file, imports=_REWRITE) as child:
        assert child.hear() == "True"
    assert file.read_bytes() == b"by alice"


@pytest.mark.usefixtures("as_root")
def test_owner_group_and_label_of_a_users_file_stay(alices_home: Path) -> None:
    file = alices_home / "credentials"
    file.write_bytes(b"old")
    os.chown(file, ALICE.uid, ANOTHER)
    file.chmod(0o640)
    label = b"system_u:object_r:user_home_t:s0\0"
    os.setxattr(file, "security.selinux", label)

    put(file)

    assert (owner(file), mode(file)) == ((ALICE.uid, ANOTHER), 0o600)
    assert os.getxattr(file, "security.selinux") == label


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("trap", ["file", "directory", "file in a shared directory"])
def test_root_is_not_led_astray_by_a_users_link(alices_home: Path, tmp_path: Path, trap: str) -> None:
    secret = tmp_path / "etc"
    secret.mkdir(mode=0o755)
    (secret / "credentials").write_bytes(b"precious")
    link = alices_home / "credentials"
    if trap == "file":
        link.symlink_to(secret / "credentials")
    elif trap == "directory":
        (alices_home / ".aws").symlink_to(secret)
        link = alices_home / ".aws" / "credentials"
    else:
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        (shared / "x").symlink_to(alices_home)
        os.chown(shared / "x", ALICE.uid, ALICE.gid, follow_symlinks=False)
        link = shared / "x" / "credentials"
    for each in alices_home.iterdir():
        os.chown(each, ALICE.uid, ALICE.gid, follow_symlinks=False)

    with pytest.raises(UnsafeFileError) as refusal:
        put(link)

    assert refusal.value.hint
    assert (secret / "credentials").read_bytes() == b"precious"
    assert [entry.name for entry in secret.iterdir()] == ["credentials"]


@pytest.mark.usefixtures("as_root")
def test_root_follows_its_own_link_to_a_users_file(alices_home: Path, tmp_path: Path) -> None:
    (alices_home / "real").write_bytes(b"old")
    os.chown(alices_home / "real", ALICE.uid, ALICE.gid)
    (tmp_path / "link").symlink_to(alices_home / "real")

    put(tmp_path / "link")

    assert ((alices_home / "real").read_bytes(), owner(alices_home / "real")) == (b"new", (ALICE.uid, ALICE.gid))


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("theirs", ["file", "directory", "link"])
def test_a_user_touches_nothing_of_another_user(alices_home: Path, theirs: str) -> None:
    place = alices_home / "place"
    place.mkdir()
    file = place / "credentials"
    real = alices_home / "real"
    real.write_bytes(b"old")
    if theirs == "link":
        file.symlink_to(real)
    else:
        file.write_bytes(b"old")
    for each in (place, file, real):
        os.chown(each, ALICE.uid, ALICE.gid, follow_symlinks=False)
    os.chown({"file": file, "directory": place, "link": file}[theirs], NOBODY.uid - 1, 1, follow_symlinks=False)
    place.chmod(0o755)
    real.chmod(0o666)

    with running_as(ALICE, "attempt(arguments[0], 'new')", file, imports=_REWRITE) as child:
        said = child.hear()

    assert said.startswith("UnsafeFileError"), said
    assert "belongs to user" in said
    assert real.read_bytes() == b"old"


@pytest.mark.usefixtures("as_root")
def test_a_file_of_root_in_a_users_directory_is_refused_with_the_command_that_mends_it(alices_home: Path) -> None:
    file = alices_home / "credentials"
    file.write_bytes(b"old")

    with pytest.raises(UnsafeFileError) as refusal:
        put(file)

    assert refusal.value.hint == f"chown {ALICE.uid} {file}"


@pytest.fixture
def roots_directory(alices_home: Path) -> Path:
    """Return a directory of root's that everybody can look into, beside the user's home."""
    place = alices_home.parent / "profile.d"
    place.mkdir(mode=0o755)
    return place


def of_alice(path: Path) -> Path:
    os.chown(path, ALICE.uid, ALICE.gid, follow_symlinks=False)
    return path


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("missing", ["evil.sh", "new/evil.sh", "../new/evil.sh"])
def test_a_users_link_makes_nothing_of_his_where_others_trust_every_file(
    alices_home: Path, roots_directory: Path, missing: str
) -> None:
    link = alices_home / "credentials"
    link.symlink_to(roots_directory / missing)
    of_alice(link)

    with pytest.raises(UnsafeFileError, match=f"what is to be made in it to user {ALICE.uid}") as refusal:
        put(link)

    assert "chown" not in refusal.value.hint
    assert list(roots_directory.iterdir()) == []
    assert sorted(roots_directory.parent.iterdir()) == [alices_home, roots_directory]
    put(roots_directory / missing)
    assert owner(roots_directory / missing) == (0, 0), "the negative control: root's own way to it makes root's file"


@pytest.mark.usefixtures("as_root")
def test_a_users_link_to_his_own_directory_elsewhere_is_followed(alices_home: Path, roots_directory: Path) -> None:
    (roots_directory / "alices").mkdir(mode=0o700)
    of_alice(roots_directory / "alices")
    (alices_home / ".aws").symlink_to(roots_directory / "alices")
    of_alice(alices_home / ".aws")

    put(alices_home / ".aws" / "a" / "credentials")

    assert owner(roots_directory / "alices" / "a" / "credentials") == (ALICE.uid, ALICE.gid)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("missing", ["credentials", "new/credentials"])
def test_a_directory_of_roots_in_a_home_is_refused_with_the_command_that_mends_it(
    alices_home: Path, missing: str
) -> None:
    """It may be what a killed run left before it gave it away: its user could not use a file in it."""
    aws = alices_home / ".aws"
    aws.mkdir(mode=0o700)

    with pytest.raises(UnsafeFileError) as refusal:
        put(aws / missing)

    assert list(aws.iterdir()) == []
    assert refusal.value.hint == f"chown {ALICE.uid} {aws}"
    subprocess.run(refusal.value.hint.split(), check=True)
    put(aws / missing)
    assert owner(aws / missing)[0] == ALICE.uid, "the negative control"


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("by_link", [True, False])
def test_roots_own_file_in_its_own_directory_in_a_home_is_roots(
    alices_home: Path, roots_directory: Path, *, by_link: bool
) -> None:
    """So is a CA that root keeps there, and its list. Where the user's link leads, it is not written."""
    if by_link:
        (alices_home / "ca").symlink_to(roots_directory)
        of_alice(alices_home / "ca")
        with pytest.raises(UnsafeFileError, match="belongs to user 0"):
            rewrite(str(alices_home / "ca" / "crl.pem"), lambda _: b"one", CLOCK, own=True)
        assert list(roots_directory.iterdir()) == []
        return
    (alices_home / "ca").mkdir(mode=0o700)
    for content in (b"one", b"two"):
        rewrite(str(alices_home / "ca" / "crl.pem"), lambda _, content=content: content, CLOCK, own=True)  # type: ignore[misc]
        assert (alices_home / "ca" / "crl.pem").read_bytes() == content
    assert {owner(path) for path in (alices_home / "ca").iterdir()} == {(0, 0)}
    rewrite(str(alices_home / "of-alice"), lambda _: b"one", CLOCK, own=True)
    assert owner(alices_home / "of-alice") == (ALICE.uid, ALICE.gid), "the negative control: this directory is hers"


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("whose", ["alice's", "root's, which she can move"])
def test_no_hint_has_root_give_away_what_a_users_link_leads_to(
    alices_home: Path, roots_directory: Path, whose: str
) -> None:
    (roots_directory / "shadow").write_bytes(b"precious")
    (alices_home / "credentials").symlink_to(roots_directory / "shadow")
    if whose == "alice's":
        of_alice(alices_home / "credentials")

    with pytest.raises(UnsafeFileError, match="the file belongs to user 0") as refusal:
        put(alices_home / "credentials")

    assert "chown" not in refusal.value.hint
    assert f"namei -l {alices_home / 'credentials'}" in refusal.value.hint


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("by_link", [True, False])
def test_a_users_file_in_a_directory_of_roots_stays_his_and_nothing_else_there_is(
    alices_home: Path, roots_directory: Path, *, by_link: bool
) -> None:
    file = roots_directory / "credentials"
    file.write_bytes(b"old")
    of_alice(file)
    (alices_home / "link").symlink_to(file)
    of_alice(alices_home / "link")
    found: list[tuple[int, int]] = []

    def edit(_: bytes | None) -> bytes:
        found.append(owner(roots_directory / ".credentials.lock"))
        return b"new"

    rewrite(str(alices_home / "link" if by_link else file), edit, CLOCK)

    assert (file.read_bytes(), owner(file)) == (b"new", (ALICE.uid, ALICE.gid))
    assert found == [(0, 0)], "the lock is root's"
    assert list(roots_directory.iterdir()) == [file], "and nobody finds it later"


@pytest.mark.usefixtures("as_root")
def test_a_users_file_that_goes_meanwhile_is_not_made_anew_in_a_directory_of_roots(roots_directory: Path) -> None:
    file = roots_directory / "credentials"
    file.write_bytes(b"old")
    of_alice(file)

    def edit(_: bytes | None) -> bytes:
        file.unlink(missing_ok=True)
        return b"new"

    with pytest.raises(UnsafeFileError, match="has gone"):
        rewrite(str(file), edit, CLOCK)

    assert list(roots_directory.iterdir()) == []
    rewrite(str(file), edit, CLOCK)
    assert owner(file) == (0, 0), "the negative control: where there was no file the new one is root's"


@pytest.mark.usefixtures("as_root")
def test_a_lock_that_a_killed_root_left_is_mended_by_its_next_run(alices_home: Path) -> None:
    file = alices_home / "credentials"
    (alices_home / ".credentials.lock").touch(mode=0o600)
    with running_as(ALICE, "attempt(arguments[0], 'new')", file, imports=_REWRITE) as child:
        assert child.hear().startswith("UnwritableFileError"), "the negative control"

    put(file, b"by root")

    with running_as(ALICE, "attempt(arguments[0], 'by alice')", file, imports=_REWRITE) as child:
        assert child.hear() == "True"
    assert owner(alices_home / ".credentials.lock") == (ALICE.uid, ALICE.gid)


def test_a_lock_without_its_name_is_none(home: Path) -> None:
    """Who waits for a lock that is removed by who has it begins anew, with the one that has the name by then."""
    file, lock = home / "f", home / ".f.lock"
    clock = FakeClock(1_000)
    with lock.open("w") as first, (home / "second").open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        fcntl.flock(second, fcntl.LOCK_EX)

        def pass_on() -> None:
            if len(clock.slept) == 1:
                (home / "second").rename(lock)
                first.close()
            else:
                second.close()

        clock.while_asleep = pass_on
        assert rewrite(str(file), lambda _: b"new", clock)
    assert len(clock.slept) == 2, "the second one was waited for"


def test_only_what_a_rewrite_leaves_is_swept(home: Path) -> None:
    kept = {".f.new-acct.lock", ".f.new-backup", ".f.new-7-0123abcd.lock", ".f.new-7-0123abcde", ".fxnew-7-0123abcd"}
    for name in kept | {".f.new-7-0123abcd"}:
        (home / name).touch()

    put(home / "f")

    assert {entry.name for entry in home.iterdir()} == kept | {"f", ".f.lock"}


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    ("bits", "left"), [(0o640, 0o600), (0o664, 0o644), (0o604, 0o600), (0o600, 0o600), (0o4755, 0o755)]
)
def test_another_group_does_not_inherit_the_rights_of_the_old_one(alices_home: Path, bits: int, left: int) -> None:
    mine, anothers = alices_home / "mine", alices_home / "anothers"
    for file, group in ((mine, ALICE.gid), (anothers, ANOTHER)):
        file.write_bytes(b"old")
        os.chown(file, ALICE.uid, group)
        file.chmod(bits)
        code = "say(rewrite(arguments[0], lambda _: b'new', SystemClock()))"
        with running_as(ALICE, code, file, imports=_REWRITE) as child:
            assert child.hear() == "True"

    assert (owner(anothers), mode(anothers)) == ((ALICE.uid, ALICE.gid), left)
    assert (owner(mine), mode(mine)) == ((ALICE.uid, ALICE.gid), bits & 0o777), "the negative control"


def planted(alices_home: Path, kind: str) -> Path:
    """Put something of root's where the lock of ``credentials`` is looked for, as its user can with rename and link."""
    lock = alices_home / ".credentials.lock"
    if kind == "fifo":
        os.mkfifo(lock, 0o600)
    elif kind == "directory":
        lock.mkdir()
    elif kind == "link":
        lock.symlink_to("/etc/hostname")
    else:
        lock.write_bytes(b"precious")
        lock.chmod(0o660 if kind == "hard link" else 0o600)
    if kind == "hard link":
        os.link(lock, alices_home / "another-name")
    if kind == "another user's":
        os.chown(lock, ANOTHER, ANOTHER)
    return lock


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "hard link", "another user's"])
def test_what_is_no_lock_of_ours_is_refused_and_stays_whose_it_is(alices_home: Path, kind: str) -> None:
    lock = planted(alices_home, kind)
    before = lock.lstat()

    with pytest.raises(UnsafeFileError) as refusal:
        put(alices_home / "credentials")

    assert f"its lock {lock} " in refusal.value.what
    assert f"ls -l {lock}" in refusal.value.hint
    assert lock.lstat() == before
    assert not (alices_home / "credentials").exists()


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("name", ["credentials", "config"])
def test_root_gives_no_file_away_that_it_did_not_make(alices_home: Path, name: str) -> None:
    """A file of root's may be a lock that root made; if it is the user's trap, he gets nothing by it."""
    lock = planted(alices_home, "root's").rename(alices_home / f".{name}.lock")
    before = lock.stat()

    put(alices_home / name)

    assert lock.read_bytes() == b"precious"
    now = lock.stat()
    assert (now.st_uid, now.st_gid, now.st_mode, now.st_mtime_ns) == (0, 0, before.st_mode, before.st_mtime_ns)
    assert owner(alices_home / name) == (ALICE.uid, ALICE.gid), "the negative control: what it made is the user's"
    with running_as(ALICE, "attempt(arguments[0], 'new')", alices_home / name, imports=_REWRITE) as child:
        said = child.hear()
    assert said.startswith("UnwritableFileError"), said
    assert said.endswith(f"-> rm -f {lock}"), said


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("kind", ["directory", "file", "as made"])
def test_root_gives_no_directory_away_that_it_did_not_make(
    alices_home: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The user swaps the new directory for something of root's that lies beside it, before it becomes his."""
    aws = alices_home / ".aws"
    make = os.mkdir

    def make_and_swap(name: str, bits: int, *, dir_fd: int) -> None:
        make(name, bits, dir_fd=dir_fd)
        if kind == "as made":
            return
        aws.rmdir()
        if kind == "file":
            aws.write_bytes(b"precious")
        else:
            make(aws, 0o700)
            (aws / "secret").write_bytes(b"precious")

    monkeypatch.setattr(os, "mkdir", make_and_swap)
    if kind == "as made":
        put(aws / "credentials")
        assert owner(aws) == (ALICE.uid, ALICE.gid), "the negative control"
        return
    with pytest.raises((UnsafeFileError, UnwritableFileError)):
        put(aws / "credentials")
    assert owner(aws) == (0, 0)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("numbers", ["0 0 4294967295", "0 100000 65536"])
def test_nobody_is_a_user_like_any_other_where_every_number_has_a_meaning(
    alices_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: str
) -> None:
    os.chown(alices_home, NOBODY.uid, NOBODY.gid)
    (tmp_path / "uid_map").write_text(numbers)
    monkeypatch.setattr(fastpath, "_UID_MAP", os.fsencode(tmp_path / "uid_map"))

    put(alices_home / "credentials")

    is_machine_itself = numbers.startswith("0 0")
    assert owner(alices_home / "credentials")[0] == (NOBODY.uid if is_machine_itself else 0)
