"""A GitLab project in a folder, and gitlab-ci-local to run its pipelines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes import npm_folder
from tests.fakes.gitlab import DEPLOY, ROOT, STAND_INS, Project, forget_file_variables
from tests.fakes.shared_folder import shared_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.plugins.emulated import Emulated


@pytest.fixture(scope="session")
def gitlab_ci_local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with gitlab-ci-local."""
    return npm_folder.installed(ROOT / "tests/peers/gitlab", shared_folder(tmp_path_factory), "gitlab")


@pytest.fixture
def make_project(
    gitlab_ci_local: Path, peer: Callable[[str], Path], clean_environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[Emulated], Project]]:
    """Return a function that makes a project whose jobs reach an emulator; what is left in /tmp is removed."""
    for program in ("git", "rsync", "curl", "bash", "aws"):
        peer(program)
    folder, seen, programs = (tmp_path / name for name in ("project", "seen", "programs"))
    environment = {
        **clean_environment,
        "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "TMPDIR": str(tmp_path / "tmp"),
    }
    for directory in (folder, seen, programs, tmp_path / "tmp"):
        directory.mkdir()
    for name, script in STAND_INS.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    (folder / "deploy.sh").write_text(DEPLOY)
    (folder / "deploy.sh").chmod(0o755)
    (folder / "templates").mkdir()
    (folder / "templates/credentials.yml").write_text((ROOT / "templates/credentials.yml").read_text())
    for words in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        ("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=all"),
        ("remote", "add", "origin", "git@gitlab.com:platform/rolesanywhere-helper.git"),
        ("update-ref", "refs/remotes/origin/main", "HEAD"),
        ("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"),
    ):
        subprocess.run(["git", *words], cwd=folder, env=environment, check=True)
    command = (str(npm_folder.program("node")), str(gitlab_ci_local / "node_modules/gitlab-ci-local/dist/index.js"))
    made: list[Project] = []

    def make(emulated: Emulated) -> Project:
        made.append(Project(folder, seen, command, environment, emulated))
        return made[-1]

    yield make
    for each in made:
        forget_file_variables({Path(each.emulated.certificate).read_text(), each.lines()["AWS_CERTIFICATE"]})


@pytest.fixture
def project(make_project: Callable[[Emulated], Project], emulated: Emulated) -> Project:
    return make_project(emulated)
