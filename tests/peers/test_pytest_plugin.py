"""The pytest plugin, as a project meets it that knows nothing of this one but the fixture."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLE = Path(__file__).parents[1] / "sample_project"
USES_IT = "def test_it(roles_anywhere): assert roles_anywhere.endpoint\n"
# What must be in no run of pytest that does not use the fixture.
WATCHES = """
import sys

def pytest_unconfigure():
    loaded = sorted(name for name in sys.modules if name.partition(".")[0] in {
        "rolesanywhere_helper", "aiohttp", "asyncio", "boto3", "botocore", "cryptography", "requests"})
    print("loaded:", *loaded, file=sys.__stderr__)
"""


def pytest_in(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder as its owner would, in an environment of a new user."""
    own = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "200"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=own | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_sample_project_tests_its_use_of_roles_anywhere(tmp_path: Path, coverage_environment: dict[str, str]) -> None:
    project = Path(shutil.copytree(SAMPLE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__")))

    done = pytest_in(project, environment=coverage_environment)

    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert " passed" in done.stdout.splitlines()[-1]


def test_each_worker_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "test_workers.py").write_text(f"{USES_IT}{USES_IT.replace('test_it', 'test_that')}")

    done = pytest_in(tmp_path, "--numprocesses=2")

    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr


def test_without_the_plugin_there_is_no_such_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(USES_IT)

    done = pytest_in(tmp_path, "-p", "no:rolesanywhere-helper")

    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "fixture 'roles_anywhere' not found" in done.stdout


@pytest.mark.parametrize(("test", "is_used"), [("def test_it(): pass\n", False), (USES_IT, True)])
def test_a_run_that_does_not_use_it_loads_next_to_nothing(tmp_path: Path, test: str, is_used: bool) -> None:  # noqa: FBT001 - a parameter
    (tmp_path / "test_it.py").write_text(test)
    (tmp_path / "conftest.py").write_text(WATCHES)

    done = pytest_in(tmp_path)

    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    loaded = next(line for line in done.stderr.splitlines() if line.startswith("loaded:")).split()[1:]
    light = ["rolesanywhere_helper", "rolesanywhere_helper.emulator", "rolesanywhere_helper.emulator.pytest_plugin"]
    assert set(light) <= set(loaded)
    assert (loaded == light) is not is_used


def test_a_missing_extra_is_told_with_the_line_that_installs_it(
    tmp_path: Path, coverage_environment: dict[str, str]
) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / "aiohttp.py").write_text("raise ModuleNotFoundError('gone', name='aiohttp')\n")
    (tmp_path / "test_it.py").write_text(f"{USES_IT}def test_other(): pass\n")

    done = pytest_in(tmp_path, environment=coverage_environment | {"PYTHONPATH": str(missing)})

    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "pip install 'rolesanywhere-helper[emulator]'" in done.stdout
    assert "Traceback" not in done.stdout
    assert "1 passed, 1 error" in done.stdout.splitlines()[-1]


def test_an_installation_brings_it_and_this_checkout_does_not_load_it(request: pytest.FixtureRequest) -> None:
    found = entry_points(group="pytest11", name="rolesanywhere-helper")

    assert [each.value for each in found] == ["rolesanywhere_helper.emulator.pytest_plugin"]
    # It would be imported before coverage begins, and its lines would never be seen.
    assert not request.config.pluginmanager.has_plugin("rolesanywhere-helper")
