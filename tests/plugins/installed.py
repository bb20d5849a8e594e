"""The package as a user of Debian 12 installs it: its Python, a plain virtual environment, the pip that it brings."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
# What this machine sets for pip's own use: where its packages come from.
PIP_VARIABLES = (
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_DEFAULT_TIMEOUT",
    "SSL_CERT_FILE",
    "PIP_PROXY",
)


@pytest.fixture(scope="session")
def debian_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment of Debian's Python, with the wheel installed by the pip that comes with it.

    Made once for all workers.
    """
    base = tmp_path_factory.getbasetemp()
    # Workers have folders of their own in one that is this session's.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    place, lock = shared / "debian-environment", shared / "debian-environment.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            environment = {
                "PATH": "/usr/bin:/bin",
                **{name: os.environ[name] for name in PIP_VARIABLES if name in os.environ},
            }
            for command in (
                ["/usr/bin/python3", "-m", "venv", place],
                [place / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", CHECKOUT],
            ):
                subprocess.run([str(word) for word in command], env=environment, check=True)
            (place / "ready").touch()
    return place
