"""Real programs that tests meet, and what happens where one is missing.

A test asks for ``peer("openssl")`` and gets the program's path. Where it is missing the test did not run, and nothing
hides that: on a developer's machine the session ends with the tests that did not run and the one command that installs
everything; under ``CI`` the test fails. There, any other test that did not run makes the session fail too.

The programs come from ``tests/peers/debian-packages.txt`` (one list, also for ``.ci/run``) or from the virtual
environment (``aws``). Neither Debian nor PyPI has Terraform and its plugins: they are installed by hand, and their
absence is treated in the same way.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES_FILE = Path(__file__).parents[1] / "peers" / "debian-packages.txt"
# Where packages install to: first, so that neither a version manager's shim nor the virtual environment stands in for
# what the package brings.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROPERTY = "needs-package"
_TERRAFORM = "terraform"
_PROVIDER = "terraform-provider-aws"
# What no package manager brings, and where it comes from.
BY_HAND = {
    _TERRAFORM: "https://developer.hashicorp.com/terraform/install",
    _PROVIDER: "terraform providers mirror /opt/tf-plugins (in a folder that requires hashicorp/aws)",
}
_PLUGIN_FOLDERS = ("/opt/tf-plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins")


@dataclass(frozen=True, slots=True)
class Package:
    """One line of the list: a Debian package, and a command that succeeds when it is installed."""

    name: str
    probe: tuple[str, ...]


def read_packages(text: str) -> dict[str, Package]:
    """Read the list; a line is a name and a command, ``#`` begins a comment."""
    packages: dict[str, Package] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, *probe = shlex.split(line)
            packages[name] = Package(name, tuple(probe))
    return packages


def listed_packages() -> dict[str, Package]:
    return read_packages(PACKAGES_FILE.read_text(encoding="utf-8"))


def install_command(packages: dict[str, Package]) -> str:
    return "sudo apt-get install -y " + " ".join(packages)


def search_path() -> str:
    """Where peers are looked for: the system, this virtual environment, then the caller's own PATH."""
    return os.pathsep.join((_SYSTEM_PATH, str(Path(sys.executable).parent), os.environ.get("PATH", "")))


def find(package: Package) -> Path | None:
    """Return the path of what the package brings, or None where its probe fails."""
    program = shutil.which(package.probe[0], path=search_path())
    if program is None:
        return None
    probe = subprocess.run([program, *package.probe[1:]], capture_output=True, timeout=30, check=False)
    return Path(program) if probe.returncode == 0 else None


def find_by_hand(name: str) -> Path | None:
    """Return the path of a program, or the folder of a plugin, that was installed by hand; None where it is not."""
    if name == _TERRAFORM:
        program = shutil.which(name, path=search_path())
        return None if program is None else Path(program)
    found = (
        file for folder in _PLUGIN_FOLDERS for file in sorted(Path(folder).glob(f"**/{_PROVIDER}_v*"), reverse=True)
    )
    return next((file.parent for file in found if os.access(file, os.X_OK)), None)


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Return a function: the name of a Debian package on the list, or of a program from PyPI, becomes a path.

    So does ``terraform``, and ``terraform-provider-aws`` becomes the folder of that plugin.
    """

    def look_up(name: str) -> Path:
        if name in BY_HAND:
            return find_by_hand(name) or _left_out(request, name, f"needs {name}: {BY_HAND[name]}")
        package = listed_packages().get(name)
        if package is None:
            return _from_environment(name)
        found = find(package)
        if found is None:
            _did_not_run(request, name)
        return found

    return look_up


@pytest.fixture
def as_root(request: pytest.FixtureRequest) -> None:
    """Run the test as root, or not at all: it boots machines, or becomes other users."""
    if os.geteuid() != 0:
        _left_out(request, "root (sudo make test)", "needs root: sudo make test")


def _from_environment(name: str) -> Path:
    program = Path(sys.executable).parent / name
    if not program.exists():
        pytest.fail(f"{name} is neither on the list {PACKAGES_FILE.name} nor in the virtual environment: add it")
    return program


def _did_not_run(request: pytest.FixtureRequest, package: str) -> NoReturn:
    _left_out(request, package, f"needs the Debian package {package}: {install_command(listed_packages())}")


def _left_out(request: pytest.FixtureRequest, need: str, message: str) -> NoReturn:
    request.node.user_properties.append((_PROPERTY, need))
    if in_ci():
        pytest.fail(message)
    pytest.skip(message)


def in_ci() -> bool:
    """Tell whether nothing may be left out (GitHub, GitLab and most others set ``CI``)."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def not_run(terminalreporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    return list(terminalreporter.stats.get("skipped", []))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End with what did not run, and the one command that changes it."""
    reports = not_run(terminalreporter)
    if not reports:
        return
    terminalreporter.section("not run", yellow=True)
    for report in reports:
        needs = [str(value) for key, value in report.user_properties if key == _PROPERTY]
        terminalreporter.line(f"not run: {report.nodeid} needs {', '.join(needs) or 'something it does not name'}")
    terminalreporter.line(f"to run them: {install_command(listed_packages())}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Refuse, in CI, a session that left something out."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if in_ci() and reporter is not None and not_run(reporter) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
