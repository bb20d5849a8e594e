"""What `credential-process` does with what it already has, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.domain.ports import StoredSet
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.system.private_directory import PrivateDirectory
from tests.plugins.emulated import issue

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Finished, RunHelper
    from tests.plugins.emulated import Emulated


@pytest.fixture
def cache(clean_environment: dict[str, str]) -> Path:
    return Path(clean_environment["HOME"]) / ".cache" / "rolesanywhere-helper"


def age(cache: Path, seconds: int) -> None:
    """Make the one cached set so many seconds older, as if the clock had moved on."""
    [file] = cache.glob("*.set")
    key = file.stem
    with PrivateDirectory(cache) as directory:
        store = DiskStore(directory, key, "arn:aws:iam::111122223333:role/EmulatorRole", SystemClock())
        entry = store.load()
        assert entry is not None
        made = entry.credentials
        older = replace(made, issued_at=made.issued_at - seconds, expires_at=made.expires_at - seconds)
        aged = StoredSet(older, entry.due_at - seconds)
        # We write without the lock: a renewal that begins just now may sweep our temporary file away.
        while store.load() != aged:
            store.save(aged)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another process does; the deadline is for a machine that is very busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def document(done: Finished) -> dict[str, object]:
    assert done.exit_code == 0, done.err
    told = json.loads(done.out)
    assert isinstance(told, dict)
    return told


def test_the_second_run_asks_nobody(run_helper: RunHelper, emulated: Emulated) -> None:
    first = document(run_helper("credential-process", *emulated.flags()))
    second = document(run_helper("credential-process", *emulated.flags()))
    assert first == second
    assert len(emulated.create_session_calls()) == 1
    third = document(run_helper("credential-process", "--no-cache", *emulated.flags()))
    assert third["AccessKeyId"] != first["AccessKeyId"], "the negative control"
    assert len(emulated.create_session_calls()) == 2


@pytest.mark.promise(34)
def test_fifty_at_once_make_one_call(run_helper: RunHelper, emulated: Emulated) -> None:
    with ThreadPoolExecutor(50) as pool:
        done = list(pool.map(lambda _: run_helper("credential-process", *emulated.flags()), range(50)))
    assert {finished.exit_code for finished in done} == {0}, done[0].err
    assert len({finished.stdout for finished in done}) == 1
    assert len(emulated.create_session_calls()) == 1


@pytest.mark.promise(35, 82)
def test_fifty_at_once_that_are_refused_make_one_attempt(run_helper: RunHelper, emulated: Emulated) -> None:
    emulated.emulator.set_fault(status=403, message="Certificate revoked")
    with ThreadPoolExecutor(50) as pool:
        done = list(pool.map(lambda _: run_helper("credential-process", *emulated.flags()), range(50)))
    assert {finished.exit_code for finished in done} == {1}
    assert {finished.stdout for finished in done} == {b""}
    assert len(emulated.create_session_calls()) == 1


@pytest.mark.alone
@pytest.mark.promise(35, 82)
def test_an_outage_is_found_out_once(run_helper: RunHelper, emulated: Emulated) -> None:
    """One attempt is three calls. Fifteen start well within the five seconds that an outage is remembered."""
    emulated.emulator.set_fault(status=500)
    with ThreadPoolExecutor(15) as pool:
        done = list(pool.map(lambda _: run_helper("credential-process", *emulated.flags()), range(15)))
    assert {finished.exit_code for finished in done} == {1}
    assert len(emulated.create_session_calls()) == 3


@pytest.mark.promise(35)
def test_a_stopped_leader_does_not_keep_the_others(
    run_helper: RunHelper, emulated: Emulated, helper: Path, clean_environment: dict[str, str], cache: Path
) -> None:
    emulated.emulator.set_fault(delaySeconds=3600, times=1)
    command = [str(helper), "credential-process", *emulated.flags()]
    leader = subprocess.Popen(command, env=clean_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(emulated.create_session_calls()) == 1)
        os.kill(leader.pid, signal.SIGSTOP)
        [lock] = cache.glob("*.lock")
        # As if it had been stopped 15 seconds ago.
        lock.write_bytes(b"%.3f %d" % (time.monotonic() - 3, leader.pid))
        with ThreadPoolExecutor(10) as pool:
            done = list(pool.map(lambda _: run_helper("credential-process", *emulated.flags()), range(10)))
        assert {finished.exit_code for finished in done} == {0}, done[0].err
        assert len({finished.stdout for finished in done}) == 1
        assert len(emulated.create_session_calls()) == 2
    finally:
        leader.kill()
        leader.wait()


def test_a_due_set_is_printed_at_once_and_renewed_behind(
    run_helper: RunHelper, emulated: Emulated, cache: Path
) -> None:
    first = document(run_helper("credential-process", *emulated.flags()))
    age(cache, 2400)
    emulated.emulator.set_fault(delaySeconds=2, times=1)
    began = time.monotonic()
    due = document(run_helper("credential-process", *emulated.flags()))
    assert time.monotonic() - began < 1.5, "it did not wait for the service"
    assert due["AccessKeyId"] == first["AccessKeyId"]
    # Another one meanwhile starts no second renewal.
    assert document(run_helper("credential-process", *emulated.flags()))["AccessKeyId"] == first["AccessKeyId"]
    until(lambda: document(run_helper("credential-process", *emulated.flags()))["AccessKeyId"] != first["AccessKeyId"])
    assert len(emulated.create_session_calls()) == 2


def test_the_renewal_holds_nothing_of_the_callers(
    emulated: Emulated, helper: Path, clean_environment: dict[str, str], cache: Path, run_helper: RunHelper
) -> None:
    """Whoever reads the pipe to its end is done as soon as the document is there, whatever the service does."""
    document(run_helper("credential-process", *emulated.flags()))
    age(cache, 2400)
    emulated.emulator.set_fault(delaySeconds=10, times=1)
    reading, writing = os.pipe()
    command = [str(helper), "credential-process", *emulated.flags()]
    began = time.monotonic()
    child = subprocess.Popen(command, env=clean_environment, stdout=writing, stderr=writing, pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    assert time.monotonic() - began < 5
    assert child.wait() == 0
    assert json.loads(told)["Version"] == 1
    until(lambda: len(emulated.create_session_calls()) == 2)


@pytest.mark.promise(83)
def test_a_low_set_is_renewed_first_and_used_if_that_fails(
    run_helper: RunHelper, emulated: Emulated, cache: Path
) -> None:
    first = document(run_helper("credential-process", *emulated.flags()))
    age(cache, 3600 - 290)
    emulated.emulator.set_fault(status=503)
    assert document(run_helper("credential-process", *emulated.flags()))["AccessKeyId"] == first["AccessKeyId"]
    emulated.emulator.clear_faults()
    for failure in cache.glob("*.failure"):
        failure.unlink()  # as if the five seconds were over
    renewed = document(run_helper("credential-process", *emulated.flags()))
    assert renewed["AccessKeyId"] != first["AccessKeyId"]


@pytest.mark.promise(83)
def test_a_set_that_is_short_from_the_start_is_renewed_each_time(run_helper: RunHelper, emulated: Emulated) -> None:
    emulated.emulator.set_fault(expiresInSeconds=240)
    first = document(run_helper("credential-process", *emulated.flags()))
    time.sleep(1.1)  # a set remembers the second it was made in
    second = document(run_helper("credential-process", *emulated.flags()))
    assert first["AccessKeyId"] != second["AccessKeyId"]


@pytest.mark.promise(82)
def test_a_refusal_is_remembered_until_the_certificate_changes(
    run_helper: RunHelper, emulated: Emulated, tmp_path: Path
) -> None:
    directory = emulated.emulator.directory
    ca = (str(directory.file("ca.pem")), str(directory.file("ca.key")))
    leaf, key = issue(tmp_path, ca, config="keyUsage=critical,digitalSignature")
    flags = emulated.flags(certificate=str(leaf), private_key=str(key))
    emulated.emulator.set_fault(status=403, message="Certificate revoked")
    for _ in range(5):
        refused = run_helper("credential-process", *flags)
        assert refused.exit_code == 1
        assert "Certificate revoked\nhint: " in refused.err
    assert "remembered" in refused.err
    assert len(emulated.create_session_calls()) == 1
    emulated.emulator.clear_faults()
    renewed, new_key = issue(tmp_path, ca, config="keyUsage=critical,digitalSignature", name="renewed")
    key.write_bytes(new_key.read_bytes())
    leaf.write_bytes(renewed.read_bytes())
    document(run_helper("credential-process", *flags))
    assert len(emulated.create_session_calls()) == 2


@pytest.mark.promise(37)
@pytest.mark.parametrize("harm", ["absent", "a file", "read-only"])
def test_without_a_usable_cache_it_works_and_warns_once(
    run_helper: RunHelper, emulated: Emulated, tmp_path: Path, harm: str
) -> None:
    place = tmp_path / "cache"
    if harm == "a file":
        place.write_text("")
    elif harm == "read-only":
        place = Path("/proc/self/rolesanywhere-helper")
    env = {"ROLESANYWHERE_HELPER_CACHE_DIR": str(place)}
    if harm == "absent":
        env = {"HOME": ""}
    log = tmp_path / "log"
    words = ["credential-process", "--log-file", str(log), *emulated.flags()]
    first, second = (document(run_helper(*words, env=env)) for _ in range(2))
    assert first["AccessKeyId"] != second["AccessKeyId"]
    assert log.read_text().count("nothing is cached") == 2, "once for each run"


@pytest.mark.promise(39)
@pytest.mark.parametrize("harm", ["link", "writable parent"])
def test_a_cache_that_others_control_is_not_used(
    run_helper: RunHelper, emulated: Emulated, tmp_path: Path, harm: str
) -> None:
    place = tmp_path / "shared" / "cache"
    place.parent.mkdir()
    if harm == "link":
        (tmp_path / "target").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "target")
    else:
        place.mkdir(mode=0o700)
        place.parent.chmod(0o777)
    env = {"ROLESANYWHERE_HELPER_CACHE_DIR": str(place)}
    for _ in range(2):
        document(run_helper("credential-process", *emulated.flags(), env=env))
    assert list(place.iterdir()) == []
    assert len(emulated.create_session_calls()) == 2


@pytest.mark.promise(41)
def test_an_open_cache_is_tightened_before_a_secret_enters(
    run_helper: RunHelper, emulated: Emulated, cache: Path
) -> None:
    document(run_helper("credential-process", *emulated.flags()))
    [file] = cache.glob("*.set")
    file.chmod(0o644)
    cache.chmod(0o755)
    document(run_helper("credential-process", *emulated.flags()))
    assert (cache.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.promise(36)
def test_a_full_disk_costs_no_answer(emulated: Emulated, helper: Path, clean_environment: dict[str, str]) -> None:
    limited = f"ulimit -f 0; exec {helper} credential-process {' '.join(emulated.flags())}"
    done = subprocess.run(["sh", "-c", limited], env=clean_environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Version"] == 1
    assert done.stderr == b""


@pytest.mark.promise(42)
def test_a_reader_that_has_gone_gets_nothing_and_no_noise(
    emulated: Emulated, helper: Path, clean_environment: dict[str, str]
) -> None:
    for _ in range(2):  # minted, then cached
        reading, writing = os.pipe()
        os.close(reading)
        command = [str(helper), "credential-process", *emulated.flags()]
        done = subprocess.run(command, env=clean_environment, stdout=writing, stderr=subprocess.PIPE, check=False)
        os.close(writing)
        assert done.returncode == 1
        assert done.stderr == b""


def test_a_full_pipe_that_does_not_block_gets_it_all(
    emulated: Emulated, helper: Path, clean_environment: dict[str, str]
) -> None:
    for _ in range(2):  # minted, then cached
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        filled = os.write(writing, b"x" * (1 << 20))
        command = [str(helper), "credential-process", *emulated.flags()]
        child = subprocess.Popen(command, env=clean_environment, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()[filled:]
        _, errors = child.communicate()
        assert (child.returncode, errors) == (0, b"")
        assert json.loads(told)["Version"] == 1


def test_a_full_disk_behind_the_output_is_told(
    emulated: Emulated, helper: Path, clean_environment: dict[str, str]
) -> None:
    for _ in range(2):
        command = [str(helper), "credential-process", *emulated.flags()]
        with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
            done = subprocess.run(command, env=clean_environment, stdout=full, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(b"error: standard output cannot be written: No space left on device\nhint: ")


def test_debug_tells_each_time(run_helper: RunHelper, emulated: Emulated, tmp_path: Path) -> None:
    log = tmp_path / "log"
    told = []
    for _ in range(2):
        document(run_helper("credential-process", "--debug", "--log-file", str(log), *emulated.flags()))
        told.append(log.read_text().count("settings:"))
    assert told == [1, 2]


def test_a_torn_cache_is_replaced(run_helper: RunHelper, emulated: Emulated, cache: Path) -> None:
    document(run_helper("credential-process", *emulated.flags()))
    [file] = cache.glob("*.set")
    file.write_bytes(file.read_bytes()[:-10])
    document(run_helper("credential-process", *emulated.flags()))
    assert len(emulated.create_session_calls()) == 2
    document(run_helper("credential-process", *emulated.flags()))
    assert len(emulated.create_session_calls()) == 2
