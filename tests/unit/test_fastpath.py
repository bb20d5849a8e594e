"""The fast path's own rules: what makes another route, and what makes it step aside."""

from __future__ import annotations

import os
import posix
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.config.environment import VARIABLES
from rolesanywhere_helper.domain.freshness import CLOCK_TOLERANCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ARGUMENTS = ["credential-process", "--role-arn", "arn:aws:iam::111122223333:role/Deploy"]
ENVIRONMENT = {b"HOME": b"/home/me", b"PATH": b"/usr/bin"}


def name(arguments: list[str] = ARGUMENTS, *, here: bytes = b"/", environment: dict[str, str] | None = None) -> bytes:
    added = {key.encode(): value.encode() for key, value in (environment or {}).items()}
    return fastpath.route_name(arguments, {**ENVIRONMENT, **added}, here)


def test_the_same_call_leads_to_the_same_route() -> None:
    assert name() == name()
    assert name(environment={"PATH": "/elsewhere"}) == name(), "a variable that nobody reads changes nothing"


@pytest.mark.promise(40)
def test_every_part_of_the_call_makes_another_route() -> None:
    names = [
        name(),
        name([*ARGUMENTS, "--region", "eu-west-1"]),
        name(ARGUMENTS[::-1]),
        name(["credential-process", "--role-arn arn:aws:iam::111122223333:role/Deploy"]),
        name(here=b"/srv"),
        *(name(environment={variable: "changed"}) for variable in sorted(VARIABLES)),
        name(environment={"ROLESANYWHERE_HELPER_ANYTHING_TO_COME": "1"}),
    ]
    assert len(set(names)) == len(names)


def test_it_keys_on_every_variable_that_the_configuration_reads() -> None:
    """A variable is either in the list or has our prefix; the list may hold more (the transport's own)."""
    read = {variable.encode() for variable in VARIABLES}
    assert {variable for variable in read if not variable.startswith(fastpath.PREFIX)} <= set(fastpath.VARIABLES)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ROLESANYWHERE_HELPER_CACHE_DIR": "/c", "CACHE_DIRECTORY": "/s"}, b"/c"),
        ({"CACHE_DIRECTORY": "/var/cache/a:/var/cache/b", "HOME": "/h"}, b"/var/cache/a"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, b"/x/rolesanywhere-helper"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, b"/h/.cache/rolesanywhere-helper"),
        ({"HOME": "/h/"}, b"/h/.cache/rolesanywhere-helper"),
        ({"HOME": "relative"}, None),
        ({}, None),
    ],
)
def test_where_the_cache_is(environment: dict[str, str], expected: bytes | None) -> None:
    assert fastpath.cache_directory({key.encode(): value.encode() for key, value in environment.items()}) == expected


@pytest.mark.parametrize("user", [1000, 0])
def test_it_follows_the_link_that_root_put_before_systemds_cache(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    """/proc/self is such a link: root's, relative, everywhere. Root itself gets no such cache, and follows nothing."""
    monkeypatch.setattr(posix, "geteuid", lambda: user)
    expected = b"/proc/%d" % os.getpid() if user else b"/proc/self"
    assert fastpath.cache_directory({b"CACHE_DIRECTORY": b"/proc/self:/var/cache/b"}) == expected
    named = {b"ROLESANYWHERE_HELPER_CACHE_DIR": b"/proc/self"}
    assert fastpath.cache_directory(named) == b"/proc/self", "only systemd's"


@pytest.mark.promise(39)
def test_it_follows_no_other_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    link = tmp_path / "cache"
    link.symlink_to("private")
    if os.geteuid() == 0:
        os.chown(link, 1000, 1000, follow_symlinks=False)
    monkeypatch.setattr(posix, "geteuid", lambda: 1000)
    assert fastpath.cache_directory({b"CACHE_DIRECTORY": os.fsencode(link)}) == os.fsencode(link)


@pytest.fixture
def files(tmp_path: Path) -> list[bytes]:
    for each in ("config.toml", "leaf.pem"):
        (tmp_path / each).write_bytes(b"content of " + each.encode())
        (tmp_path / each).chmod(0o644)
    return [os.fsencode(tmp_path / each) for each in ("absent.toml", "config.toml", "leaf.pem")]


def change(tmp_path: Path) -> None:
    (tmp_path / "leaf.pem").write_bytes(b"content of leaf.PEM")


def remove(tmp_path: Path) -> None:
    (tmp_path / "leaf.pem").unlink()


def appear(tmp_path: Path) -> None:
    (tmp_path / "absent.toml").write_bytes(b"")


def open_up(tmp_path: Path) -> None:
    (tmp_path / "config.toml").chmod(0o666)


def shift(tmp_path: Path) -> None:
    whole = b"content of config.tomlcontent of leaf.pem"
    (tmp_path / "config.toml").write_bytes(whole[:-1])
    (tmp_path / "leaf.pem").write_bytes(whole[-1:])


@pytest.mark.promise(40)
@pytest.mark.parametrize("harm", [change, remove, appear, open_up, shift])
def test_whatever_happens_to_a_file_is_seen(files: list[bytes], tmp_path: Path, harm: Callable[[Path], None]) -> None:
    before = fastpath.evidence(files)
    assert fastpath.evidence(files) == before
    harm(tmp_path)
    assert fastpath.evidence(files) != before


@pytest.mark.parametrize("kind", ["fifo", "directory", "large"])
def test_it_steps_aside_for_what_is_no_small_plain_file(tmp_path: Path, kind: str) -> None:
    odd = tmp_path / "odd"
    if kind == "fifo":
        os.mkfifo(odd)
    elif kind == "directory":
        odd.mkdir()
    else:
        odd.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises((OSError, ValueError)):
        fastpath.evidence([os.fsencode(odd)])


def test_a_path_with_a_newline_gets_no_route(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        fastpath.route_content(b"key", [os.fsencode(tmp_path / "two\nlines")])


def test_one_renewal_at_a_time(tmp_path: Path) -> None:
    marker = os.fsencode(tmp_path / "key.renewal")
    assert fastpath.claim_renewal(marker, now=1_000)
    assert not fastpath.claim_renewal(marker, now=1_001)
    assert not fastpath.claim_renewal(marker, now=1_000 + fastpath.RENEWAL_SECONDS - 0.5)
    assert fastpath.claim_renewal(marker, now=1_000 + fastpath.RENEWAL_SECONDS)
    # A time far in the future was written by a clock that was wrong.
    assert fastpath.claim_renewal(marker, now=500 - 3600)
    assert (tmp_path / "key.renewal").stat().st_mode & 0o777 == 0o600


@pytest.mark.promise(39)
@pytest.mark.parametrize("harm", ["link", "mode", "parent", "file"])
def test_it_steps_aside_for_a_directory_that_is_not_private(tmp_path: Path, harm: str) -> None:
    cache = tmp_path / "parent" / "cache"
    cache.mkdir(parents=True, mode=0o700)
    assert fastpath.why_not_private(os.fsencode(cache)) == "", "the negative control"
    if harm == "link":
        cache.rename(tmp_path / "real")
        cache.symlink_to(tmp_path / "real")
    elif harm == "mode":
        cache.chmod(0o750)
    elif harm == "parent":
        cache.parent.chmod(0o777)
    else:
        cache.rmdir()
        cache.write_bytes(b"")
    assert fastpath.why_not_private(os.fsencode(cache))


@pytest.mark.promise(39)
@pytest.mark.parametrize(
    ("mode", "uid", "gid", "expected"),
    [
        (0o755, 1000, 100, False),
        (0o775, 1000, 100, True),
        (0o775, 1000, 1000, False),
        (0o775, 1000, 0, False),
        (0o757, 0, 0, True),
        (0o777, 1000, 1000, True),
        (0o1777, 0, 0, False),
    ],
)
def test_who_else_can_write_a_directory(mode: int, uid: int, gid: int, expected: bool) -> None:  # noqa: FBT001 - a table
    assert fastpath.can_others_write(mode, uid, gid) is expected


def test_both_ways_agree_on_when_a_clock_was_set_back() -> None:
    assert fastpath.CLOCK_TOLERANCE == CLOCK_TOLERANCE_SECONDS


def test_who_is_outside_is_told_by_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uid_map").write_text("         0     100000      65536\n")
    monkeypatch.setattr(fastpath, "_UID_MAP", os.fsencode(tmp_path / "uid_map"))
    assert [fastpath.is_outside(uid) for uid in (0, 1000, fastpath.OVERFLOW_UID)] == [False, False, True]

    monkeypatch.setattr(fastpath, "_UID_MAP", os.fsencode(tmp_path / "no-such-file"))
    assert not fastpath.is_outside(fastpath.OVERFLOW_UID)
