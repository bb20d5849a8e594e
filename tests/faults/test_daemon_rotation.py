"""Certificates come, go, expire and are refused under a running daemon, and it serves on."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.pki.certificates import Issued, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.fakes.daemon import Daemon, owned, replace_file, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.plugins.emulated import Emulated

HOUR = 3_600
SWITCH_SECONDS = 2.0


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated) -> Iterator[Daemon]:
    with owned(Daemon(helper, tmp_path, emulated)) as owner:
        yield owner


def serial(issued: Issued) -> int:
    return issued.certificate.serial_number


def serials(daemon: Daemon) -> list[int]:
    """Return what certificates the service has seen; each of them with its own key."""
    calls = daemon.emulated.create_session_calls()
    assert {call["status"] for call in calls} <= {200, 201}, calls
    return [int(call["serial"]) for call in calls]


def await_serial(daemon: Daemon, issued: Issued, before: str, since: float) -> float:
    """Wait until credentials made with this certificate are served; return how long it took."""
    until(lambda: daemon.access_key() != before)
    took = time.monotonic() - since
    assert serials(daemon)[-1] == serial(issued)
    return took


@pytest.mark.promise(48, 52, 53)
def test_a_pair_that_is_replaced_in_two_steps_is_used_once_it_matches(daemon: Daemon) -> None:
    """From RSA to EC, so that a torn pair could not even be signed with."""
    daemon.start()
    before = daemon.access_key()
    issued = daemon.issue(KeyKind.P_256)

    replace_file(daemon.certificate, issued.pem)
    until(lambda: daemon.error_code() == "key-mismatch")
    until(lambda: _failures(daemon) >= 4)  # it goes on trying: some seconds have passed
    assert daemon.access_key() == before
    replace_file(daemon.key, issued.key_pem())
    took = await_serial(daemon, issued, before, time.monotonic())

    print(f"in use {took:.2f} s after the pair matched")
    assert took < SWITCH_SECONDS
    assert not daemon.has_ended
    assert len(serials(daemon)) == 2
    assert daemon.error_code() is None


@pytest.mark.promise(53)
def test_a_new_key_beside_an_old_certificate_is_signed_with_for_neither(daemon: Daemon) -> None:
    daemon.start()
    before = daemon.access_key()
    issued = daemon.issue(KeyKind.P_256)

    replace_file(daemon.key, issued.key_pem())
    daemon.send_attempt()
    until(lambda: daemon.error_code() == "key-mismatch")
    assert daemon.access_key() == before
    replace_file(daemon.certificate, issued.pem)

    assert await_serial(daemon, issued, before, time.monotonic()) < SWITCH_SECONDS
    assert len(serials(daemon)) == 2


def _failures(daemon: Daemon) -> int:
    [line] = [line for line in daemon.metrics().splitlines() if 'code="key-mismatch"} ' in line and "_total{" in line]
    return int(line.rpartition(" ")[2])


@pytest.mark.promise(49, 52, 53)
def test_every_swap_of_a_kubernetes_volume_is_seen(daemon: Daemon) -> None:
    volume = daemon.folder / "volume"
    volume.mkdir()

    def publish(issued: Issued, generation: int) -> None:
        """What the kubelet does: a new directory, and then one rename."""
        directory = volume / f"..generation-{generation}"
        directory.mkdir()
        replace_file(directory / "tls.crt", issued.pem)
        replace_file(directory / "tls.key", issued.key_pem())
        (volume / "..data_tmp").symlink_to(directory.name)
        (volume / "..data_tmp").replace(volume / "..data")

    issued = daemon.issue(KeyKind.P_256)
    publish(issued, 0)
    for name, link in (("tls.crt", daemon.certificate), ("tls.key", daemon.key)):
        (volume / name).symlink_to(f"..data/{name}")
        link.unlink()
        link.symlink_to(volume / name)
    daemon.start()
    seen = [serial(issued)]
    for generation, kind in enumerate((KeyKind.RSA_2048, KeyKind.P_256, KeyKind.RSA_2048), start=1):
        before = daemon.access_key()
        issued = daemon.issue(kind)
        publish(issued, generation)
        took = await_serial(daemon, issued, before, time.monotonic())
        print(f"swap {generation}: in use after {took:.2f} s")
        seen.append(serial(issued))

    assert serials(daemon) == seen
    assert daemon.metric('create_session_attempts_total{session="default"}') == 4
    assert "create_session_failures_total" not in daemon.metrics()


@pytest.mark.promise(51)
def test_files_that_are_touched_or_written_anew_with_the_same_content_cost_no_call(daemon: Daemon) -> None:
    daemon.start()
    before = daemon.access_key()
    for path in (daemon.certificate, daemon.key):
        os.utime(path)
        replace_file(path, path.read_bytes())
    for path in (daemon.certificate, daemon.key):
        os.utime(path)

    # The negative control, and proof that the watcher has been past the touches: attempts come one after the other.
    issued = daemon.issue()
    daemon.install(issued)
    until(lambda: daemon.access_key() != before)
    assert serials(daemon)[1:] == [serial(issued)]


@pytest.mark.promise(54)
@pytest.mark.parametrize(
    ("validity", "code", "said"),
    [
        ((-40 * HOUR, -HOUR), "leaf-expired", "expired"),
        ((HOUR, 40 * HOUR), "leaf-not-yet-valid", "is not valid before"),
    ],
)
def test_with_a_certificate_that_is_not_valid_it_stays_up_and_waits_for_another(
    daemon: Daemon, validity: tuple[int, int], code: str, said: str
) -> None:
    now = int(time.time())
    daemon.install(daemon.issue(validity=Validity(now + validity[0], now + validity[1])))
    daemon.start(wait=False)
    daemon.await_listening()
    until(lambda: daemon.error_code() == code)

    assert daemon.credentials().status == 503
    assert said in str(daemon.status()["lastError"]["message"])
    assert f"session default: {daemon.status()['lastError']['message']}" in daemon.log
    assert daemon.emulated.create_session_calls() == []
    assert not daemon.ready_file.exists()

    issued = daemon.issue()
    daemon.install(issued)
    daemon.await_ready()
    assert daemon.credentials().status == 200
    assert serials(daemon) == [serial(issued)]


@pytest.mark.promise(54)
def test_a_certificate_that_becomes_valid_is_used_without_being_asked(daemon: Daemon) -> None:
    now = int(time.time())
    issued = daemon.issue(validity=Validity(now + 4, now + HOUR))
    daemon.install(issued)
    daemon.start(wait=False)
    daemon.await_listening()
    until(lambda: daemon.error_code() == "leaf-not-yet-valid")
    daemon.await_ready()
    assert time.time() >= now + 4
    assert serials(daemon) == [serial(issued)]


@pytest.mark.promise(55)
def test_a_certificate_that_expires_takes_no_valid_credentials_with_it(daemon: Daemon) -> None:
    ends_at = int(time.time()) + 4
    daemon.install(daemon.issue(validity=Validity(ends_at - HOUR, ends_at)))
    daemon.start()
    before = daemon.access_key()
    assert daemon.metric('certificate_remaining_seconds{session="default"}') > 0
    until(lambda: time.time() > ends_at + 0.5)

    assert daemon.access_key() == before
    assert daemon.metric('certificate_remaining_seconds{session="default"}') < 0
    assert daemon.metric('credentials_remaining_seconds{session="default"}') > 3000
    daemon.send_attempt()
    until(lambda: daemon.error_code() is not None)
    assert daemon.access_key() == before
    assert daemon.log.count("new credentials") == 1


@pytest.mark.promise(60)
def test_a_refusal_keeps_what_is_valid_and_a_new_certificate_tries_at_once(daemon: Daemon) -> None:
    daemon.start().stop()
    daemon.age_cache(HOUR - 900)
    daemon.emulated.emulator.forget_requests()
    daemon.emulated.emulator.set_fault(status=403, message="Certificate revoked")
    daemon.start()
    before = daemon.access_key()
    until(lambda: daemon.error_code() == "certificate-revoked")
    at = time.time()

    assert daemon.access_key() == before
    left = daemon.metric('next_refresh_timestamp_seconds{session="default"}') - at
    assert 290 < left < 601
    assert len(daemon.emulated.create_session_calls()) == 1
    daemon.emulated.emulator.clear_faults()
    daemon.emulated.emulator.forget_requests()
    issued = daemon.issue()
    daemon.install(issued)
    assert await_serial(daemon, issued, before, time.monotonic()) < SWITCH_SECONDS
    assert daemon.error_code() is None
