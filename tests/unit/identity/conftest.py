"""What the tests of ``identity`` share."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class OpenSsl(Protocol):
    """Runs ``openssl`` in the test's folder, and returns what it prints."""

    def __call__(self, *arguments: str) -> bytes: ...


@pytest.fixture
def openssl(peer: Callable[[str], Path], tmp_path: Path, clean_environment: dict[str, str]) -> OpenSsl:
    def run(*arguments: str) -> bytes:
        done = subprocess.run(
            [peer("openssl"), *arguments], cwd=tmp_path, env=clean_environment, capture_output=True, check=True
        )
        return done.stdout

    return run
