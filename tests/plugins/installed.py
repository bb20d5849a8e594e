"""The package as a user of Debian 12 installs it: its Python, a plain virtual environment, the pip that it brings."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.shared_folder import shared_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    place = shared_folder(tmp_path_factory) / "debian-environment"
    pip: list[str | Path] = [place / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", CHECKOUT]
    return _made_once(place, ["/usr/bin/python3", "-m", "venv", place], pip)


@pytest.fixture(scope="session")
def environment_with_every_extra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment of the tests' Python with the wheel, and with the libraries that the tests have.

    The tests' own has the package as a checkout, which starts in another way (docs/adr/0002-the-fast-path.md).
    """
    return _beside_the_tests_own(shared_folder(tmp_path_factory) / "environment-with-every-extra")


@pytest.fixture(scope="session")
def environment_with_aiobotocore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one with aiobotocore and s3fs too, which want a botocore of their own."""
    place = shared_folder(tmp_path_factory) / "environment-with-aiobotocore"
    return _beside_the_tests_own(place, ["aiobotocore[boto3]", "s3fs"])


def _beside_the_tests_own(place: Path, *besides: Sequence[str]) -> Path:
    """Make an environment with the wheel, and ``besides``; what it has not is found among the tests' own libraries."""
    python, libraries = place / "bin" / "python", sysconfig.get_path("purelib")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    create: list[str | Path] = [sys.executable, "-m", "venv", "--without-pip", place]
    _made_once(place, create, [*pip, "--no-deps", CHECKOUT], *([*pip, *each] for each in besides))
    [packages] = place.glob("lib/python3*/site-packages")
    (packages / "every-extra.pth").write_text(f"import site; site.addsitedir({libraries!r})\n")
    return place


def _made_once(place: Path, *commands: Sequence[str | Path]) -> Path:
    """Run these commands, of one worker at a time, unless they have been."""
    with place.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            environment = {
                "PATH": "/usr/bin:/bin",
                **{name: os.environ[name] for name in PIP_VARIABLES if name in os.environ},
            }
            for command in commands:
                subprocess.run([str(word) for word in command], env=environment, check=True)
            (place / "ready").touch()
    return place
