"""The store on disk: whatever lies there, it is a set that can be used or it is nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.domain.cache_key import cache_key
from rolesanywhere_helper.domain.freshness import low_at
from rolesanywhere_helper.domain.ports import StoredFailure, StoredSet
from rolesanywhere_helper.errors import UntrustedCertificateError
from rolesanywhere_helper.protocol import credential_process
from rolesanywhere_helper.system.private_directory import PrivateDirectory
from tests.fakes.clock import FakeClock
from tests.fakes.sessions import ROLE_ARN, SECRET, TOKEN, credentials, spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "0" * 32
NOW = 1_800_000_000
ENTRY = StoredSet(credentials(NOW), NOW + 1800)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[PrivateDirectory]:
    with PrivateDirectory(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def store(directory: PrivateDirectory) -> DiskStore:
    return DiskStore(directory, KEY, ROLE_ARN, FakeClock(NOW))


def test_a_set_comes_back_as_it_went_in(store: DiskStore) -> None:
    assert store.load() is None
    store.save(ENTRY)
    assert store.load() == ENTRY


def test_the_fast_path_reads_what_the_store_writes(store: DiskStore, tmp_path: Path) -> None:
    store.save(ENTRY)
    content = fastpath.read_private(os.fsencode(tmp_path / "cache" / f"{KEY}.set"))
    head, document = fastpath.read_set(content, KEY.encode())
    made = ENTRY.credentials
    assert document == credential_process.render(made)
    times = (head.issued_at, head.due_at, head.low_at, head.expires_at)
    assert times == (NOW, NOW + 1800, low_at(NOW, NOW + 3600), NOW + 3600)


@pytest.mark.promise(38)
@pytest.mark.parametrize("length", range(0, 280, 7))
def test_a_torn_file_is_a_miss_and_replaced(store: DiskStore, tmp_path: Path, length: int) -> None:
    store.save(ENTRY)
    file = tmp_path / "cache" / f"{KEY}.set"
    whole = file.read_bytes()
    assert length < len(whole)
    file.write_bytes(whole[:length])
    assert store.load() is None
    store.save(ENTRY)
    assert store.load() == ENTRY


@pytest.mark.promise(38)
def test_a_changed_byte_is_a_miss(store: DiskStore, tmp_path: Path) -> None:
    store.save(ENTRY)
    file = tmp_path / "cache" / f"{KEY}.set"
    whole = file.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1
        file.write_bytes(bytes(changed))
        assert store.load() is None, position


@pytest.mark.promise(38)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"rah1",
        b"\xff" * 3000,
        b'{"Version": 1}',
        b"rah2 " + KEY.encode() + b" 1 2 3 4 0 0\n",
        b"rah1 " + KEY.encode() + b" 1 2 3 4 0 0\n",
        b"rah1 " + KEY.encode() + b" a b c d 0 0\n",
    ],
)
def test_garbage_is_a_miss(store: DiskStore, directory: PrivateDirectory, content: bytes) -> None:
    for name in ("set", "failure"):
        directory.write(f"{KEY}.{name}", content)
    assert store.load() is None
    assert store.load_failure() is None


@pytest.mark.promise(38)
def test_a_foreign_owners_file_is_a_miss_and_replaced(store: DiskStore, tmp_path: Path) -> None:
    store.save(ENTRY)
    file = tmp_path / "cache" / f"{KEY}.set"
    if os.geteuid() == 0:
        os.chown(file, 12_345, -1)
    else:  # who is not root cannot give a file away, but can make it as open as a foreign one would be
        file.chmod(0o666)
    assert store.load() is None
    store.save(ENTRY)
    assert store.load() == ENTRY
    assert file.stat().st_uid == os.geteuid()


@pytest.mark.promise(40)
def test_a_set_of_another_key_is_never_used(store: DiskStore, directory: PrivateDirectory, tmp_path: Path) -> None:
    store.save(ENTRY)
    (tmp_path / "cache" / f"{KEY}.set").rename(tmp_path / "cache" / f"{'1' * 32}.set")
    assert DiskStore(directory, "1" * 32, ROLE_ARN, FakeClock(NOW)).load() is None


@pytest.mark.promise(40)
def test_every_part_of_what_is_asked_makes_another_key() -> None:
    asked = spec()
    endpoint = ["https://rolesanywhere.eu-central-1.amazonaws.com", "", "", "verified"]
    other = dataclasses.replace(asked.role_arn, resource="role/Other")
    keys = {
        cache_key(asked, [b"certificate", b"key"], endpoint),
        cache_key(asked, [b"renewed certificate", b"key"], endpoint),
        cache_key(asked, [b"certificate", b"other key"], endpoint),
        cache_key(asked, [b"certificate", b"chain", b"key"], endpoint),
        cache_key(asked, [b"certificate", b"key"], ["http://127.0.0.1:1", "", "", "verified"]),
        cache_key(asked, [b"certificate", b"key"], [*endpoint[:3], "not verified"]),
        cache_key(dataclasses.replace(asked, role_arn=other), [b"certificate", b"key"], endpoint),
        cache_key(dataclasses.replace(asked, profile_arn=other), [b"certificate", b"key"], endpoint),
        cache_key(dataclasses.replace(asked, trust_anchor_arn=other), [b"certificate", b"key"], endpoint),
        cache_key(dataclasses.replace(asked, region="us-east-1"), [b"certificate", b"key"], endpoint),
        cache_key(dataclasses.replace(asked, duration_seconds=900), [b"certificate", b"key"], endpoint),
        cache_key(dataclasses.replace(asked, role_session_name="me"), [b"certificate", b"key"], endpoint),
        cache_key(dataclasses.replace(asked, instance_properties=(("a", "b"),)), [b"certificate", b"key"], endpoint),
    }
    assert len(keys) == 13
    assert cache_key(asked, [b"certificate", b"key"], endpoint) in keys


def test_a_failure_comes_back_as_it_went_in_and_a_set_ends_it(store: DiskStore) -> None:
    store.save_failure(StoredFailure(NOW, NOW + 30, UntrustedCertificateError("Untrusted signing certificate")))
    found = store.load_failure()
    assert found is not None
    assert (found.failed_at, found.until) == (NOW, NOW + 30)
    assert isinstance(found.error, UntrustedCertificateError)
    assert str(found.error) == "Untrusted signing certificate"
    store.save(ENTRY)
    assert store.load_failure() is None


def test_no_file_makes_anybody_wait_for_ever(store: DiskStore, directory: PrivateDirectory) -> None:
    told = {"failedAt": NOW, "until": NOW + 10**9, "code": "refused", "what": "no", "hint": "wait"}
    directory.write(f"{KEY}.failure", json.dumps(told).encode())
    found = store.load_failure()
    assert found is not None
    assert found.until == NOW + 60


@pytest.mark.promise(36)
def test_a_full_disk_keeps_the_old_set_and_is_told(store: DiskStore, caplog: pytest.LogCaptureFixture) -> None:
    """A file-size limit stands for a full disk and a quota: the same call fails, half way through the write."""
    store.save(ENTRY)
    newer = StoredSet(credentials(NOW + 5), NOW + 1900)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        store.save(newer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.load() == ENTRY
    assert ["cannot write to the cache directory" in record.message for record in caplog.records] == [True]
    store.save(newer)  # the negative control: with room again it is written
    assert store.load() == newer


def test_nothing_secret_is_told(
    store: DiskStore, caplog: pytest.LogCaptureFixture, directory: PrivateDirectory
) -> None:
    caplog.set_level("DEBUG")
    directory.write(f"{KEY}.set", f"rah1 {KEY} {SECRET} {TOKEN}".encode())
    assert store.load() is None
    store.save(ENTRY)
    assert caplog.records
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text
    assert SECRET not in repr(ENTRY)


@pytest.mark.promise(33)
def test_whoever_leads_sweeps(store: DiskStore, directory: PrivateDirectory, tmp_path: Path) -> None:
    directory.write(f".new-{KEY}.set-1-2", b"left by somebody who was killed")
    directory.write(f"{'1' * 32}.set", b"of a certificate of the past")
    with store.try_lead(15) as leads:
        assert leads
        assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [f"{KEY}.lock"]


def test_the_cache_is_read_without_anything_heavy(store: DiskStore, tmp_path: Path) -> None:
    store.save(ENTRY)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from rolesanywhere_helper.cache.disk import DiskStore\n"
        "from rolesanywhere_helper.system.clocks import SystemClock\n"
        "from rolesanywhere_helper.system.private_directory import PrivateDirectory\n"
        "with PrivateDirectory(Path(sys.argv[1])) as directory:\n"
        "    assert DiskStore(directory, sys.argv[2], sys.argv[3], SystemClock()).load() is not None\n"
        "heavy = {'cryptography', 'requests', 'urllib3', 'boto3', 'botocore', 'asyncio', 'ssl', 'socket'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "cache"), KEY, ROLE_ARN],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
