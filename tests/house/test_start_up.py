"""What a cached `credential-process` costs and imports, installed as a user of Debian 12 installs it."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_credential_process_cached import age, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugins.emulated import Emulated

MOST = 1.15
PAIRS = 40


@dataclass(frozen=True)
class Installed:
    """The package in a plain virtual environment, and a user who has called it once."""

    bin: Path
    environment: dict[str, str]

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
        command = [str(word) for word in words]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False)

    def credential_process(self, *flags: str) -> subprocess.CompletedProcess[bytes]:
        return self.run(self.bin / "rolesanywhere-helper", "credential-process", *flags)

    def seconds(self, *words: str | Path) -> float:
        command = [str(word) for word in words]
        began = time.perf_counter()
        subprocess.run(command, env=self.environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began

    def ratio(self, words: list[str | Path], other: list[str | Path]) -> float:
        """Return the median ratio of paired runs: the machine's mood is the same for both of a pair."""
        self.seconds(*words), self.seconds(*other)
        return statistics.median(self.seconds(*words) / self.seconds(*other) for _ in range(PAIRS))


@pytest.fixture
def installed(debian_environment: Path, clean_environment: dict[str, str], peer: Callable[[str], Path]) -> Installed:
    peer("python3-venv")
    return Installed(debian_environment / "bin", clean_environment)


@pytest.fixture
def warm(installed: Installed, emulated: Emulated) -> Installed:
    done = installed.credential_process(*emulated.flags())
    assert done.returncode == 0, done.stderr
    return installed


@pytest.mark.alone
def test_with_every_extra_installed_it_costs_no_more(
    emulated: Emulated, clean_environment: dict[str, str], environment_with_every_extra: Path
) -> None:
    here = Installed(environment_with_every_extra / "bin", clean_environment)
    for library in ("pkcs11", "h2", "aiohttp", "uvloop", "tpm2_pytss"):
        assert here.run(here.bin / "python", "-c", f"import {library}").returncode == 0, library
    assert here.credential_process(*emulated.flags()).returncode == 0

    bare: list[str | Path] = [here.bin / "python", "-c", "pass"]
    ratio = here.ratio([here.bin / "rolesanywhere-helper", "credential-process", *emulated.flags()], bare)

    print(f"a cached credential-process, with every extra: {ratio:.2f} of a bare Python")
    assert ratio <= MOST


@pytest.mark.alone
def test_a_cached_answer_costs_hardly_more_than_python(warm: Installed, emulated: Emulated) -> None:
    bare: list[str | Path] = [warm.bin / "python", "-c", "pass"]
    cached: list[str | Path] = [warm.bin / "rolesanywhere-helper", "credential-process", *emulated.flags()]
    ratio = warm.ratio(cached, bare)
    print(f"a cached credential-process: {ratio:.2f} of a bare Python")
    assert ratio <= MOST
    assert len(emulated.create_session_calls()) == 1
    # The negative control: the slow way does not get through.
    assert warm.seconds(*cached, "--no-cache") > 3 * warm.seconds(*bare)


@pytest.mark.alone
def test_a_due_answer_costs_hardly_more_than_a_cached_one(warm: Installed, emulated: Emulated) -> None:
    """Each due run starts a renewal, and the service is slow: that the next one finds it is tested in tests/cli."""
    cache = Path(warm.environment["HOME"]) / ".cache" / "rolesanywhere-helper"
    command: list[str | Path] = [warm.bin / "rolesanywhere-helper", "credential-process", *emulated.flags()]
    emulated.emulator.set_fault(delaySeconds=60)

    def due_over_fresh() -> float:
        fresh = warm.seconds(*command)
        age(cache, 2400)
        for marker in cache.glob("*.renewal"):
            marker.unlink()  # as if the last renewal had been long ago: each run starts one
        due = warm.seconds(*command)
        # The next pair is measured when this one's renewal has found that the first one still leads, and has ended.
        until(lambda: renewals() <= 1)
        age(cache, -2400)
        return due / fresh

    ratio = statistics.median(due_over_fresh() for _ in range(PAIRS))
    print(f"with a set that is due: {ratio:.2f} of a cached run")
    assert ratio <= 1.5


def test_a_cached_answer_imports_nothing_heavy(warm: Installed, emulated: Emulated) -> None:
    launcher = (warm.bin / "rolesanywhere-helper").read_text()
    assert launcher.startswith("#!/bin/sh\n")
    [main] = warm.bin.glob("../lib/python3*/site-packages/rolesanywhere_helper/__main__.py")
    words = ["credential-process", *emulated.flags()]
    done = warm.run(warm.bin / "python", "-I", "-S", "-X", "importtime", main, *words)
    assert done.returncode == 0
    imported = _imported(done.stderr)
    assert "rolesanywhere_helper.fastpath" in imported
    assert imported & {"site", "os", "re", "json", "argparse", "logging", "dataclasses", "enum", "typing"} == set()
    ours = {name for name in imported if name.startswith("rolesanywhere_helper")}
    assert ours == {"rolesanywhere_helper", "rolesanywhere_helper.fastpath"}
    # The negative control: the slow way imports them, and they are seen.
    slow = warm.run(warm.bin / "python", "-I", "-S", "-X", "importtime", main, *words, "--no-cache")
    assert {"site", "json", "argparse", "cryptography", "requests"} <= _imported(slow.stderr)


def test_the_slow_way_imports_no_library_until_it_mints(warm: Installed, emulated: Emulated) -> None:
    """Another command line for the same session finds the set, and needs neither cryptography nor requests for it."""
    [main] = warm.bin.glob("../lib/python3*/site-packages/rolesanywhere_helper/__main__.py")
    words = ["credential-process", *emulated.flags(), "--session-duration", "3600"]
    done = warm.run(warm.bin / "python", "-I", "-S", "-X", "importtime", main, *words)
    assert done.returncode == 0
    imported = _imported(done.stderr)
    assert "rolesanywhere_helper.cli.main" in imported
    assert imported & {"cryptography", "requests", "urllib3", "boto3", "asyncio", "watchdog", "ssl"} == set()
    assert len(emulated.create_session_calls()) == 1


def test_a_link_to_the_command_leads_to_it(warm: Installed, emulated: Emulated, tmp_path: Path) -> None:
    """As pipx and administrators lay it."""
    first, second = tmp_path / "one", tmp_path / "two"
    first.symlink_to(warm.bin / "rolesanywhere-helper")
    second.symlink_to("one")
    done = warm.run(second, "credential-process", *emulated.flags())
    assert done.returncode == 0, done.stderr
    assert len(emulated.create_session_calls()) == 1


def test_the_launcher_finds_itself_without_a_slash(warm: Installed, emulated: Emulated) -> None:
    done = subprocess.run(
        ["sh", "rolesanywhere-helper", "version"], cwd=warm.bin, env=warm.environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert len(emulated.create_session_calls()) == 1


def test_without_a_virtual_environment_the_other_script_answers(
    warm: Installed, emulated: Emulated, tmp_path: Path
) -> None:
    for name in ("rolesanywhere-helper", "rolesanywhere-helper-python"):
        shutil.copy(warm.bin / name, tmp_path / name)
    done = warm.run(tmp_path / "rolesanywhere-helper", "credential-process", *emulated.flags())
    assert done.returncode == 0, done.stderr
    assert len(emulated.create_session_calls()) == 1


def renewals() -> int:
    """Count the renewals in the background that are running."""
    count = 0
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            count += b"\0renew\0" in process.read_bytes()
    return count


def _imported(importtime: bytes) -> set[str]:
    return set(re.findall(r"^import time:[^|]*\|[^|]*\| +([\w.]+)$", importtime.decode(), re.MULTILINE))
