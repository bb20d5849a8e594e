"""Files that the user names: what is refused, with which command, and that nothing hangs."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.errors import UnsafeFileError, UsageError
from rolesanywhere_helper.system.inputs import (
    MEBIBYTE,
    Facts,
    InspectedFile,
    Step,
    check_private_key_file,
    check_trusted_file,
    explain,
    inspect_input,
    read_input,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ME, MALLORY, STAFF = 1000, 1001, 50
_DIRECTORY, _LINK, _FILE = stat.S_IFDIR, stat.S_IFLNK, stat.S_IFREG


def found(mode: int = 0o600, uid: int = ME, gid: int = ME, *way: Step) -> InspectedFile:
    usual = (Step("/", Facts(_DIRECTORY | 0o755, 0, 0)), Step("/etc", Facts(_DIRECTORY | 0o755, 0, 0)))
    return InspectedFile("/etc/host.key", Facts(_FILE | mode, uid, gid), (*usual, *way), ME)


def directory(mode: int, uid: int = 0, gid: int = STAFF) -> Step:
    return Step("/srv/keys", Facts(_DIRECTORY | mode, uid, gid))


def link(uid: int) -> Step:
    return Step("/tmp/link", Facts(_LINK | 0o777, uid, uid))  # noqa: S108 - a name in an example, never opened


def key_error(file: InspectedFile, *, strict: bool = False, in_gitlab_ci: bool = False) -> UnsafeFileError:
    with pytest.raises(UnsafeFileError) as caught:
        check_private_key_file(file, strict=strict, accept_insecure=False, in_gitlab_ci=in_gitlab_ci)
    return caught.value


# Reading


def test_a_file_is_read_whole_with_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    path.chmod(0o640)
    read = read_input(str(path))
    assert (read.content, read.path) == (b"content", str(path))
    assert (stat.S_IMODE(read.facts.mode), read.facts.size, read.facts.uid) == (0o640, 7, os.geteuid())
    assert read.facts.mtime_ns == path.stat().st_mtime_ns
    assert "content" not in repr(read), "what was read may be a key"


def test_a_relative_path_and_links_as_kubernetes_makes_them_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "..2026_11_23").mkdir()
    (tmp_path / "..2026_11_23" / "tls.key").write_bytes(b"key")
    (tmp_path / "..data").symlink_to("..2026_11_23")
    (tmp_path / "tls.key").symlink_to("..data/tls.key")
    monkeypatch.chdir(tmp_path)
    read = read_input("tls.key")
    assert read.content == b"key"
    passed = [step.path for step in read.way]
    assert passed[0] == "/"
    assert passed[-3:] == [str(tmp_path / name) for name in ("tls.key", "..data", "..2026_11_23")]
    assert str(tmp_path) in passed


def test_the_way_leads_through_both_the_given_and_the_resolved_directories(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"")
    (tmp_path / "given" / "link").symlink_to(tmp_path / "real" / "sub" / ".." / "file")
    (tmp_path / "real" / "sub").mkdir()
    passed = {step.path for step in inspect_input(str(tmp_path / "given" / "link")).way}
    assert {str(tmp_path / name) for name in ("given", "given/link", "real", "real/sub")} <= passed
    assert str(tmp_path / "real" / "file") not in passed


def test_exactly_the_limit_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MEBIBYTE)
    assert len(read_input(str(path)).content) == MEBIBYTE
    path.write_bytes(b"x" * (MEBIBYTE + 1))
    with pytest.raises(UnsafeFileError, match="larger than 1048576 bytes"):
        read_input(str(path))


def test_a_file_that_hides_its_size_is_read_no_further_than_the_limit() -> None:
    with pytest.raises(UnsafeFileError, match="larger than 10 bytes"):
        read_input("/proc/self/status", limit=10)  # whose st_size is 0


def _make_socket(path: Path, stack: contextlib.ExitStack) -> None:
    stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))


def _make_huge(path: Path, _: contextlib.ExitStack) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


_STRANGE: dict[str, tuple[Callable[[Path, contextlib.ExitStack], object], str]] = {
    "FIFO": (lambda path, _: os.mkfifo(path), "FIFO"),
    "directory": (lambda path, _: path.mkdir(), "directory"),
    "device": (lambda path, _: path.symlink_to("/dev/zero"), "device"),
    "socket": (_make_socket, "socket"),
    "huge": (_make_huge, "larger than"),
}


@pytest.mark.promise(31)
@pytest.mark.parametrize("kind", _STRANGE)
def test_what_is_no_plain_file_of_a_sane_size_is_refused_within_a_second(kind: str, tmp_path: Path) -> None:
    make, word = _STRANGE[kind]
    path = tmp_path / "k"
    with contextlib.ExitStack() as stack:
        make(path, stack)
        started = time.monotonic()
        with pytest.raises(UnsafeFileError, match=word) as caught:
            read_input(str(path))
        assert time.monotonic() - started < 1
    assert caught.value.hint != UnsafeFileError.default_hint


@pytest.mark.promise(31)
def test_a_fifo_that_takes_the_files_place_just_before_it_is_opened_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"key")
    really_open = os.open

    def swap_then_open(name: str, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return really_open(name, flags)

    monkeypatch.setattr(os, "open", swap_then_open)
    with pytest.raises(UnsafeFileError, match="FIFO"):
        read_input(str(path))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 20)

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    read_input(str(path))
    with pytest.raises(UnsafeFileError):
        read_input(str(path), limit=10)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("make", "word", "hint"),
    [
        (lambda _: None, "No such file", "ls -l"),
        (lambda path: path.symlink_to(path), "symbolic links", "circle"),
        (lambda path: path.symlink_to("nowhere"), "No such file", "ls -l"),
    ],
    ids=["missing", "circle", "dangling"],
)
def test_what_cannot_be_opened_is_an_os_error_that_can_be_explained(
    make: Callable[[Path], object], word: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    make(path)
    for look in (read_input, inspect_input):
        with pytest.raises(OSError, match=word) as caught:
            look(str(path))
        what, advice = explain(caught.value, str(path))
        assert str(path) in what
        assert word in what
        assert hint in advice


def test_a_lack_of_permission_is_explained() -> None:
    what, hint = explain(PermissionError(13, "Permission denied"), "/etc/my key")
    assert what == "/etc/my key cannot be read: Permission denied"
    assert "namei -l '/etc/my key'" in hint


def test_any_other_failure_is_explained_in_one_line() -> None:
    what, hint = explain(OSError(5, "Input/output error"), "a\nb")
    assert what == r"'a\nb' cannot be read: Input/output error"
    assert "df" in hint


def test_a_path_with_a_nul_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"'a\\x00b'"):
        read_input("a\0b")


# Judging a private key


@pytest.mark.promise(30)
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440, 0o700])
def test_a_private_key_that_only_owner_and_group_can_read_is_fine(mode: int) -> None:
    for uid in (ME, 0):
        assert check_private_key_file(found(mode, uid), strict=True, accept_insecure=False) == ()


@pytest.mark.promise(30)
@pytest.mark.parametrize(
    ("mode", "who"),
    [(0o620, "its group"), (0o602, "every user of this machine"), (0o666, "its group and every user of this machine")],
)
def test_a_private_key_that_others_can_write_is_refused_with_the_chmod(mode: int, who: str) -> None:
    error = key_error(found(mode))
    assert f"can be written by {who}" in error.what
    assert "chmod go-w /etc/host.key" in error.hint


@pytest.mark.promise(30)
def test_a_private_key_of_somebody_else_is_refused_with_the_chown() -> None:
    error = key_error(found(0o600, MALLORY))
    assert "owned by user 1001, neither root nor user 1000" in error.what
    assert "chown 1000 /etc/host.key" in error.hint


@pytest.mark.promise(30)
def test_root_does_not_trust_a_users_key_either() -> None:
    error = key_error(replace(found(0o600, MALLORY), reader=0))
    assert "chown root /etc/host.key" in error.hint


@pytest.mark.promise(30)
@pytest.mark.parametrize(
    ("step", "command"),
    [
        (directory(0o777), "chmod go-w /srv/keys"),
        (directory(0o775), "chmod go-w /srv/keys"),
        (directory(0o757), "chmod o-w /srv/keys"),
        (directory(0o777, gid=0), "chmod o-w /srv/keys"),
        (directory(0o777, uid=ME, gid=ME), "chmod o-w /srv/keys"),
        (directory(0o755, uid=MALLORY), "chown 1000 /srv/keys"),
        (directory(0o1777, uid=MALLORY), "chown 1000 /srv/keys"),
        (link(MALLORY), "chown -h 1000 /tmp/link"),
    ],
    ids=[
        "everybody",
        "group",
        "others",
        "root's group too",
        "private group too",
        "owner",
        "sticky one's owner",
        "link",
    ],
)
def test_a_private_key_that_others_can_swap_is_refused_with_the_command(step: Step, command: str) -> None:
    error = key_error(found(0o600, ME, ME, step))
    assert step.path in error.what
    assert error.hint.startswith(f"run: {command} (")


@pytest.mark.promise(30)
@pytest.mark.parametrize(
    "step",
    [
        directory(0o1777),
        directory(0o3777),
        directory(0o775, gid=0),
        directory(0o775, uid=ME, gid=ME),
        directory(0o700, uid=ME),
        link(0),
        link(ME),
    ],
    ids=["sticky", "Kubernetes", "root's group", "private group", "ours", "root's link", "our link"],
)
def test_a_private_key_on_a_way_that_others_cannot_change_is_fine(step: Step) -> None:
    assert check_private_key_file(found(0o600, ME, ME, step), strict=True, accept_insecure=False) == ()


@pytest.mark.promise(30)
@pytest.mark.parametrize("numbers", ["0 0 4294967295", "0 100000 65536"])
def test_an_owner_without_a_number_is_nobody_in_a_namespace_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: str
) -> None:
    (tmp_path / "uid_map").write_text(numbers)
    monkeypatch.setattr(fastpath, "_UID_MAP", os.fsencode(tmp_path / "uid_map"))
    key = found(0o600, ME, ME, directory(0o755, uid=fastpath.OVERFLOW_UID))

    if numbers.startswith("0 0"):
        with pytest.raises(UnsafeFileError, match="of user 65534"):
            check_private_key_file(key, strict=True, accept_insecure=False)
    else:
        assert check_private_key_file(key, strict=True, accept_insecure=False) == ()


@pytest.mark.promise(30)
def test_every_finding_is_named_with_its_command() -> None:
    error = key_error(found(0o666, MALLORY, ME, directory(0o777)))
    commands = "chown 1000 /etc/host.key && chmod go-w /etc/host.key && chmod go-w /srv/keys"
    assert error.hint == f"run: {commands} (or accept it as it is: --accept-insecure-private-key-file)"


@pytest.mark.promise(30)
def test_a_private_key_that_everybody_can_read_is_a_warning_and_refused_when_strict() -> None:
    (warning,) = check_private_key_file(found(0o644), strict=False, accept_insecure=False)
    assert "the private key /etc/host.key can be read by every user of this machine" in warning
    assert "chmod o-r /etc/host.key" in warning
    assert "chmod o-r /etc/host.key" in key_error(found(0o644), strict=True).hint


@pytest.mark.promise(30)
def test_in_gitlab_ci_the_hint_has_the_line_that_helps_there() -> None:
    error = key_error(found(0o666), in_gitlab_ci=True)
    assert 'SAFE_KEY="$(mktemp -d)/key.pem" && install -m 600 /etc/host.key "$SAFE_KEY"' in error.hint
    assert "chmod go-w /etc/host.key" in error.hint
    assert "install" not in key_error(found(0o666)).hint


@pytest.mark.promise(30)
@pytest.mark.parametrize("strict", [False, True])
def test_one_setting_accepts_an_insecure_key_and_turns_refusals_into_warnings(*, strict: bool) -> None:
    file = found(0o666, MALLORY, ME, directory(0o777))
    warnings = check_private_key_file(file, strict=strict, accept_insecure=True)
    assert len(warnings) == 4
    assert all("the private key /etc/host.key" in warning for warning in warnings)
    assert check_private_key_file(found(), strict=strict, accept_insecure=True) == ()


def test_commands_are_quoted_for_a_shell() -> None:
    awkward = replace(found(0o666), path="-my key's")
    assert "chmod go-w './-my key'\"'\"'s'" in key_error(awkward).hint


@pytest.mark.promise(30)
def test_real_files_are_judged_by_what_the_operating_system_says(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    key = folder / "key"
    key.write_bytes(b"key")
    key.chmod(0o600)

    def judge() -> tuple[str, ...]:
        return check_private_key_file(read_input(str(key)), strict=True, accept_insecure=False)

    assert judge() == ()
    folder.chmod(0o777)
    with pytest.raises(UnsafeFileError, match="directory"):
        judge()
    folder.chmod(0o1777)
    assert judge() == ()
    key.chmod(0o606)
    with pytest.raises(UnsafeFileError, match="written"):
        judge()


# Judging what steers this program


@pytest.mark.promise(81)
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o444])
def test_a_trusted_file_may_be_read_by_everybody(mode: int) -> None:
    for uid in (0, ME):
        check_trusted_file(found(mode, uid), "configuration file")


@pytest.mark.promise(81)
@pytest.mark.parametrize(
    ("file", "command"),
    [
        (found(0o664), "chmod go-w /etc/host.key"),
        (found(0o646), "chmod go-w /etc/host.key"),
        (found(0o644, MALLORY), "chown 1000 /etc/host.key"),
        (found(0o644, 0, 0, directory(0o777)), "chmod go-w /srv/keys"),
        (found(0o644, 0, 0, directory(0o755, MALLORY)), "chown 1000 /srv/keys"),
    ],
    ids=["group", "everybody", "owner", "directory", "directory's owner"],
)
@pytest.mark.parametrize("what", ["configuration file", "CA bundle", "command", "PKCS#11 library"])
def test_a_trusted_file_that_others_can_change_is_refused(file: InspectedFile, command: str, what: str) -> None:
    with pytest.raises(UnsafeFileError, match=what) as caught:
        check_trusted_file(file, what)
    assert caught.value.hint == f"run: {command}"


@pytest.mark.promise(81)
def test_a_real_command_is_inspected_without_being_read(tmp_path: Path) -> None:
    command = tmp_path / "command"
    with command.open("wb") as file:
        file.truncate(2 * MEBIBYTE)
    command.chmod(0o755)
    check_trusted_file(inspect_input(str(command)), "command")
    command.chmod(0o757)
    with pytest.raises(UnsafeFileError, match="written"):
        check_trusted_file(inspect_input(str(command)), "command")


# A platform without user ids


@pytest.fixture
def no_user_ids(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.delattr(os, "geteuid")
        yield


@pytest.mark.usefixtures("no_user_ids")
def test_without_user_ids_files_are_read_and_nothing_is_found_wrong(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    path.chmod(0o666)
    read = read_input(str(path))
    assert (read.content, read.reader, read.way) == (b"content", None, ())
    assert check_private_key_file(read, strict=True, accept_insecure=False) == ()
    check_trusted_file(read, "configuration file")
