"""``@pytest.mark.alone``: nothing else runs while this test measures time.

Tests run in several worker processes. Each test holds one lock shared, and a test that is alone holds it exclusively.
A second lock is the turnstile before it: a test that waits to be alone keeps the others from entering, so that it is
not overtaken for ever.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


def _locks(session: int) -> tuple[Path, Path]:
    """Return the two lock files of a session, which is known by the process that started the workers."""
    folder = Path(tempfile.gettempdir())
    return folder / f"pytest-room-{session}", folder / f"pytest-turnstile-{session}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the locks, once the workers have gone."""
    if not hasattr(config, "workerinput"):
        for lock in _locks(os.getpid()):
            lock.unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test begin when it may."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    room, turnstile = _locks(os.getppid())
    kind = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    with _locked(room, kind, turnstile):
        return (yield)


@contextmanager
def _locked(room: Path, kind: int, turnstile: Path) -> Iterator[None]:
    inside = os.open(room, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        before = os.open(turnstile, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(before, fcntl.LOCK_EX)
            fcntl.flock(inside, kind)
        finally:
            os.close(before)
        yield
    finally:
        os.close(inside)
