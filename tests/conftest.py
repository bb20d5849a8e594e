"""What every test may ask for: a clean environment, the installed command, and the programs it meets.

The machinery behind the markers is in ``tests/plugins``.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytest_plugins = [
    "tests.plugins.alone",
    "tests.plugins.emulated",
    "tests.plugins.gitlab",
    "tests.plugins.installed",
    "tests.plugins.peers",
    "tests.plugins.promises",
    "tests.plugins.served",
    "tests.plugins.tpm",
]


def pytest_configure() -> None:
    """Undo what a caller has said to ignore (``nohup``, a job in the background): every program inherits that."""
    for number, usual in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGQUIT, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


# A project of somebody else's: tests/peers/test_pytest_plugin.py lets it test itself.
collect_ignore = ["sample_project"]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Undo what a test that runs the command line in this process does to logging: the next test listens to it."""
    own, root = logging.getLogger("rolesanywhere_helper"), logging.getLogger()
    before = own.handlers[:], own.propagate, own.level, root.handlers[:]
    yield
    own.handlers, own.propagate, root.handlers = before[0], before[1], before[3]
    own.setLevel(before[2])
    logging.captureWarnings(capture=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended: what it wrote, byte for byte, and its exit code."""

    arguments: tuple[str, ...]
    exit_code: int
    stdout: bytes = field(repr=False)
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()


class RunHelper(Protocol):
    """Runs the installed command."""

    def __call__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        input: bytes = b"",  # noqa: A002 - the name that subprocess.run has for it
        timeout: float = 60,
    ) -> Finished:
        """Run it to its end; ``env`` is added to the clean environment.

        Raises:
            subprocess.TimeoutExpired: it did not end within ``timeout`` seconds; it has been killed.

        """
        ...


@pytest.fixture
def clean_environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a new user: nothing of AWS, TLS, pip, proxies or XDG, and a home that is empty."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}


@pytest.fixture(scope="session", autouse=True)
def coverage_environment() -> Iterator[dict[str, str]]:
    """Return what lets coverage follow a command into its own process; empty when nothing is measured.

    It is taken out of this process's environment, so that coverage is only where a test asks for it: it loads modules,
    takes time, and would otherwise be in the way of tests that look at either.
    """
    taken = {name: os.environ.pop(name) for name in ("COVERAGE_PROCESS_CONFIG",) if name in os.environ}
    yield taken
    os.environ.update(taken)


@pytest.fixture(scope="session")
def helper() -> Path:
    """Return the installed command, as pip put it beside this interpreter."""
    return Path(sys.executable).parent / "rolesanywhere-helper"


@pytest.fixture
def run_helper(
    helper: Path, clean_environment: dict[str, str], coverage_environment: dict[str, str], tmp_path: Path
) -> RunHelper:
    """Return a function that runs the installed command in a clean environment, in a folder of its own."""

    def run(
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        input: bytes = b"",  # noqa: A002 - the name that subprocess.run has for it
        timeout: float = 60,
    ) -> Finished:
        words = (str(helper), *map(str, arguments))
        environment = clean_environment | coverage_environment | dict(env or {})
        done = subprocess.run(
            words, env=environment, input=input, timeout=timeout, cwd=tmp_path, capture_output=True, check=False
        )
        return Finished(words, done.returncode, done.stdout, done.stderr)

    return run
