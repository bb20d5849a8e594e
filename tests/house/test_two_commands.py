"""The README's first command, as a newcomer runs it: a clean clone, Debian's own Python, root and a normal user.

(The second one, ``make test``, is how these tests are run.)
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
NORMAL_USER = "nobody"
# Root can be both; anybody else is a normal user.
USERS = ("root", NORMAL_USER) if os.geteuid() == 0 else (str(os.geteuid()),)
# How pip reaches its index on this machine is this machine's business.
FOR_PIP = ("PIP_", "SSL_CERT_", "REQUESTS_CA_", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Clone:
    """A clone of what would be committed now, and the user it belongs to."""

    folder: Path
    user: str
    environment: dict[str, str]

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make in it, as that user."""
        account = pwd.getpwnam(self.user) if os.geteuid() == 0 else None
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env=self.environment,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=() if account else None,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )


@pytest.fixture(params=USERS)
def clone(request: pytest.FixtureRequest, peer: Callable[[str], Path]) -> Iterator[Clone]:
    python = peer("python3-venv")
    peer("make")
    with tempfile.TemporaryDirectory(prefix="clone-") as place:
        # mkdtemp's 0700 belongs to whoever runs the tests.
        checkout, home = Path(place) / "checkout", Path(place) / "home"
        for file in files_to_commit(peer("git")):
            (checkout / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, checkout / file)
        home.mkdir(mode=0o700)
        give(Path(place), request.param)
        environment = {name: value for name, value in os.environ.items() if name.startswith(FOR_PIP)}
        environment |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
        yield Clone(checkout, request.param, environment | {"PYTHON": str(python)})


def files_to_commit(git: Path) -> list[str]:
    """Return what a commit of everything would hold: tracked and new files, not the ignored ones."""
    listing = subprocess.run(
        [git, "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return sorted({name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()})


def give(folder: Path, user: str) -> None:
    if os.geteuid() != 0:
        return
    account = pwd.getpwnam(user)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)


def test_make_demo_prints_one_document_on_stdout_and_the_way_there_on_stderr(clone: Clone) -> None:
    first = clone.make("demo")
    second = clone.make("demo")

    assert first.returncode == 0, first.stderr
    assert set(json.loads(first.stdout)) >= {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert json.loads(first.stdout)["Version"] == 1
    assert "setup: making .venv" in first.stderr
    assert "arn:aws:sts::" in first.stderr
    assert json.loads(first.stdout)["SecretAccessKey"] not in first.stderr
    # What is set up stays set up.
    assert second.returncode == 0, second.stderr
    assert "setup:" not in second.stderr


def test_make_help_names_both_commands(clone: Clone) -> None:
    shown = clone.make()

    assert shown.returncode == 0
    assert {"make demo", "make test"} <= {line[:9] for line in shown.stdout.splitlines()}


def test_a_python_without_venv_is_told_with_what_to_install(clone: Clone) -> None:
    told = clone.make("PYTHON=false", "demo")

    assert told.returncode != 0
    assert told.stdout == ""
    assert "hint: sudo apt-get install -y python3 python3-venv" in told.stderr
    assert not (clone.folder / ".venv").exists()
