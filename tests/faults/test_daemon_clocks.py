"""Clocks that are set under the running daemon, as chrony, an administrator or a virtual machine's host do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.daemon import Daemon, fetch, imds_token, owned, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.plugins.emulated import Emulated

HOUR = 3_600


class Clock:
    """The wall clock that a process sees: the machine's, moved by what a file says. BOOTTIME is as it is."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set("+0")

    def set(self, offset: str) -> None:
        new = self._file.with_name("new")
        new.write_text(offset)
        new.replace(self._file)


@pytest.fixture
def clock(peer: Callable[[str], Path], tmp_path: Path) -> Clock:
    peer("faketime")
    [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return Clock(library, tmp_path / "clock")


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated) -> Iterator[Daemon]:
    with owned(Daemon(helper, tmp_path, emulated)) as owner:
        yield owner


def calls(daemon: Daemon) -> int:
    return len(daemon.emulated.create_session_calls())


@pytest.mark.promise(43)
def test_a_clock_two_hours_ahead_serves_nothing_old_and_asks_at_once(daemon: Daemon, clock: Clock) -> None:
    daemon.start(environment=clock.environment)
    token, before = imds_token(daemon.imds), daemon.access_key()
    assert calls(daemon) == 1

    clock.set("+2h")
    assert daemon.credentials(token).status == 503, "by this clock it has expired"
    assert daemon.container().status == daemon.from_agent().status == 503
    until(lambda: calls(daemon) > 1, seconds=31, what="no refresh")
    until(lambda: "its credentials have expired" in daemon.log)

    clock.set("+0")
    # The negative control: it is the clock alone that was wrong.
    assert daemon.credentials(token).status == 200
    until(lambda: daemon.error_code() is None, seconds=31, what="no attempt after the clock was put right")
    assert daemon.credentials(token).status == 200
    assert before in daemon.log


@pytest.mark.promise(44)
def test_a_clock_two_hours_behind_makes_no_set_live_longer_and_no_storm(daemon: Daemon, clock: Clock) -> None:
    daemon.start().stop()
    daemon.age_cache(HOUR - 8)  # eight seconds are left
    for end in daemon.cache.glob("*.end"):  # as if it was made by a boot before this one
        end.unlink()
    daemon.emulated.emulator.forget_requests()
    daemon.emulated.emulator.set_fault(status=500)
    daemon.start(environment=clock.environment)
    token = imds_token(daemon.imds)
    ends_at = time.time() + 8
    clock.set("-2h")
    served = 0
    while (status := daemon.credentials(token).status) == 200:
        served += 1
        assert time.time() < ends_at + 1, "served past its end"
    assert (status, served > 0) == (503, True)
    assert fetch(daemon.urls["metrics"], "/healthz").status == 503
    per_attempt = 3  # a child tries again by itself
    assert calls(daemon) <= 2 * per_attempt
    assert daemon.credentials(token).status == 503
    until(lambda: "its credentials have expired" in daemon.log)


@pytest.mark.promise(44, 45)
@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(("slept", "is_served"), [(0, True), (2 * HOUR, False)])
def test_a_restart_knows_how_long_the_machine_slept(daemon: Daemon, slept: int, *, is_served: bool) -> None:
    """What tells is BOOTTIME: the wall clock says that no time has passed, as after it was set back."""
    daemon.start()
    before = daemon.access_key()
    until(lambda: any(daemon.cache.glob("*.end")), what="when the set ends was not written down")
    daemon.crash()
    daemon.emulated.emulator.set_fault(status=500)
    daemon.start(wait=False, prefix=("/usr/bin/unshare", "--time", "--fork", "--kill-child", "--boottime", str(slept)))
    daemon.await_listening()
    token = imds_token(daemon.imds)
    answer = daemon.credentials(token)
    assert answer.status == (200 if is_served else 503)
    assert not is_served or answer.document["AccessKeyId"] == before
    daemon.crash()  # unshare(1) passes no SIGTERM on
