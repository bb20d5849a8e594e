"""The credentials files that the daemon keeps fresh: ``[update.NAME]``."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest
from botocore.configloader import raw_config_parse

from tests.fakes.daemon import OUTLETS, Daemon, fetch, owned, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.plugins.emulated import Emulated

UPDATES = """
[update.one]
session = "default"
file = "{folder}/files/credentials"
[update.two]
session = "default"
file = "{folder}/files/credentials"
profile = "two"
[update.three]
session = "default"
file = "{folder}/else where/credentials"
profile = "three"
"""


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated) -> Iterator[Daemon]:
    with owned(Daemon(helper, tmp_path, emulated)) as one:
        yield one


def configure(daemon: Daemon, updates: str = UPDATES) -> None:
    daemon.configure(more=updates.replace("{folder}", str(daemon.folder)))


def key_in(file: Path, profile: str) -> str | None:
    if not file.exists():
        return None
    found = raw_config_parse(str(file)).get(profile, {}).get("aws_access_key_id")
    return None if found is None else str(found)


def metric(daemon: Daemon, name: str, update: str) -> float:
    page = fetch(daemon.urls["metrics"], "/metrics").body.decode()
    begin = f'rolesanywhere_helper_{name}{{update="{update}"}} '
    return next((float(line.removeprefix(begin)) for line in page.splitlines() if line.startswith(begin)), 0.0)


def test_several_profiles_follow_the_session(daemon: Daemon) -> None:
    configure(daemon)
    daemon.start()
    places = dict.fromkeys(("default", "two"), daemon.folder / "files" / "credentials")
    places["three"] = daemon.folder / "else where" / "credentials"

    def all_have(key: str) -> bool:
        return all(key_in(file, profile) == key for profile, file in places.items())

    first = daemon.access_key()
    until(lambda: all_have(first), what=daemon.log)
    daemon.send_attempt()
    until(lambda: daemon.access_key() != first, what=daemon.log)
    second = daemon.access_key()
    until(lambda: all_have(second), what=daemon.log)

    assert {file.stat().st_mode & 0o777 for file in places.values()} == {0o600}
    assert metric(daemon, "file_last_write_timestamp_seconds", "three") > 0
    secret = raw_config_parse(str(places["three"]))["three"]["aws_secret_access_key"]
    assert secret not in daemon.log


@pytest.mark.promise(36)
def test_a_file_that_cannot_be_written_is_told_once_counted_and_changes_nothing_else(daemon: Daemon) -> None:
    configure(daemon)
    old = daemon.folder / "files" / "credentials"
    old.parent.mkdir(mode=0o700)
    old.write_text("[two]\n" + "# long\n" * 20_000)  # the new one would be larger than the limit
    old.chmod(0o644)

    daemon.start(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))

    until(lambda: metric(daemon, "file_write_errors_total", "two") > 0, what=daemon.log)
    assert daemon.access_key()
    until(lambda: key_in(daemon.folder / "else where" / "credentials", "three") == daemon.access_key())
    assert daemon.log.count("update two: ") == 1
    assert "File too large" in daemon.log
    assert old.read_text() == "[two]\n" + "# long\n" * 20_000
    assert sorted(os.listdir(old.parent)) == [".credentials.lock", "credentials"]  # noqa: PTH208 - names are enough


def test_a_reload_adds_and_removes(daemon: Daemon) -> None:
    configure(daemon)
    daemon.start()
    until(lambda: key_in(daemon.folder / "files" / "credentials", "two") is not None, what=daemon.log)

    configure(daemon, '\n[update.four]\nsession = "default"\nfile = "{folder}/four"\n')
    daemon.reload()
    until(lambda: key_in(daemon.folder / "four", "default") is not None, what=daemon.log)
    gone = key_in(daemon.folder / "files" / "credentials", "two")
    daemon.send_attempt()
    until(lambda: key_in(daemon.folder / "four", "default") == daemon.access_key() != gone, what=daemon.log)

    assert key_in(daemon.folder / "files" / "credentials", "two") == gone
    assert metric(daemon, "file_last_write_timestamp_seconds", "two") == 0


def test_a_daemon_for_files_alone_opens_no_endpoint(daemon: Daemon) -> None:
    alone = "\n".join(line for line in OUTLETS.splitlines()[:4])
    updates = '\n[update.one]\nfile = "{folder}/f"\n'.replace("{folder}", str(daemon.folder))
    daemon.configure(outlets=alone, more=updates)
    daemon.start()

    until(lambda: key_in(daemon.folder / "f", "default") is not None, what=daemon.log)
    assert daemon.urls == {}
