"""What the real daemon costs, installed as a user of Debian 12 installs it."""

from __future__ import annotations

import json
import statistics
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from bench.compare_serving import Server, build, compare, go_server, token_from
from tests.fakes.daemon import ROLE, ROLES, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.plugins.emulated import Emulated

MOST_RESIDENT_KILOBYTES = 26 * 1024
LEAST_RATIO = 1.5
REQUESTS, TOKENS = 1_000_000, 100_000
FORBIDDEN = ("cryptography", "requests", "urllib3", "boto3", "botocore", "_ssl", "libssl", "libcrypto")


@pytest.fixture
def daemon(
    debian_environment: Path, emulated: Emulated, clean_environment: dict[str, str], tmp_path: Path
) -> Iterator[Server]:
    ready = tmp_path / "ready.json"
    command = [str(debian_environment / "bin" / "rolesanywhere-helper"), "serve", *emulated.flags(), "--port", "0"]
    with subprocess.Popen([*command, "--ready-file", str(ready)], env=clean_environment) as process:
        try:
            until(ready.exists)
            port = urlsplit(json.loads(ready.read_text())["imds"]).port
            assert port is not None
            yield Server(process.pid, port, token_from(port), ROLES + ROLE)
        finally:
            process.terminate()


@pytest.fixture
def generator(peer: Callable[[str], Path], tmp_path: Path) -> Path:
    return build(peer("go"), "go_load", tmp_path)


@pytest.mark.promise(22)
@pytest.mark.alone
def test_memory_stays_small_and_where_it_is(daemon: Server, generator: Path) -> None:
    assert daemon.load(generator, count=REQUESTS // 10) == REQUESTS // 10
    assert daemon.ask_for_tokens(generator, TOKENS // 10) == TOKENS // 10
    warm = daemon.resident_kilobytes()
    assert daemon.ask_for_tokens(generator, TOKENS) == TOKENS
    assert daemon.load(generator, count=REQUESTS) == REQUESTS
    after = daemon.resident_kilobytes()
    print(f"resident: {warm} KB warm, {after} KB after {REQUESTS} requests and {TOKENS} tokens")
    assert after <= MOST_RESIDENT_KILOBYTES
    assert after - warm < 512


@pytest.mark.alone
def test_a_request_costs_at_most_two_thirds_of_what_it_costs_go(
    daemon: Server, generator: Path, peer: Callable[[str], Path], tmp_path: Path
) -> None:
    # The daemon has one core as the yardstick has, and leaves the other to the load.
    subprocess.run(
        ["taskset", "--all-tasks", "--cpu-list", "--pid", "0", str(daemon.pid)], check=True, capture_output=True
    )
    with go_server(peer("go"), tmp_path, daemon.get()) as theirs:
        pairs = compare(daemon, theirs, generator)
    for ours, yours in pairs:
        print(f"ours {ours:.0f}, Go {yours:.0f} requests per CPU-second: {ours / yours:.2f}")
    assert statistics.median(ours / yours for ours, yours in pairs) >= LEAST_RATIO


def test_the_serving_process_has_loaded_nothing_that_signs(daemon: Server) -> None:
    """Compiled libraries show in the process's map; those of Python alone are banned by the import contracts."""
    with open(f"/proc/{daemon.pid}/maps") as maps:  # noqa: PTH123 - no file, a window into the kernel
        mapped = maps.read()
    assert "httptools" in mapped, "the negative control: what is loaded is seen"
    assert [name for name in FORBIDDEN if name in mapped] == []
