"""The machinery of ``tests/plugins``, tried from the outside: pytest in a process of its own, on tests made up here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.peers import Package, find, listed_packages, read_packages

ROOT = Path(__file__).parents[2]
PLUGINS = ("alone", "peers", "promises")
NO_TERRAFORM = """
import pytest
from tests.plugins import peers

@pytest.fixture(autouse=True)
def bare_machine(monkeypatch):
    monkeypatch.setattr(peers, "find_by_hand", lambda name: None)

def test_with_terraform(peer): peer("terraform")
"""
NO_OPENSSL = """
import pytest
from tests.plugins import peers

@pytest.fixture(autouse=True)
def bare_machine(monkeypatch):
    monkeypatch.setattr(peers, "find", lambda package: None)

def test_here(): pass

def test_with_openssl(peer): peer("openssl")
"""


def session(folder: Path, test: str, *arguments: str, ci: str = "") -> subprocess.CompletedProcess[str]:
    """Run pytest on one made-up file, with this project's plugins and nothing else of it."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    promise\n    alone\n")
    (folder / "conftest.py").write_text(f"pytest_plugins = {[f'tests.plugins.{name}' for name in PLUGINS]}\n")
    (folder / "test_made_up.py").write_text(test)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "COLUMNS": "200", "CI": ci}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


class TestPeers:
    def test_a_missing_peer_is_told_at_the_end_with_the_command_that_brings_it(self, tmp_path: Path) -> None:
        done = session(tmp_path, NO_OPENSSL, "--numprocesses=2")

        assert done.returncode == pytest.ExitCode.OK, done.stdout
        assert "not run: test_made_up.py::test_with_openssl needs openssl\n" in done.stdout
        command = next(line for line in done.stdout.splitlines() if line.startswith("to run them: "))
        assert command.startswith("to run them: sudo apt-get install -y ")
        assert {"curl", "git", "openssl"} <= set(command.split())
        assert "1 passed, 1 skipped" in done.stdout.splitlines()[-1]

    def test_in_ci_a_missing_peer_is_a_failure(self, tmp_path: Path) -> None:
        done = session(tmp_path, NO_OPENSSL, "--numprocesses=2", ci="true")

        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        assert "needs the Debian package openssl: sudo apt-get install -y" in done.stdout
        assert "1 failed, 1 passed" in done.stdout.splitlines()[-1]

    def test_what_no_package_brings_is_named_with_where_it_comes_from(self, tmp_path: Path) -> None:
        here, in_ci = (session(tmp_path, NO_TERRAFORM, ci=ci) for ci in ("", "true"))

        assert here.returncode == pytest.ExitCode.OK, here.stdout
        assert "not run: test_made_up.py::test_with_terraform needs terraform\n" in here.stdout
        assert in_ci.returncode == pytest.ExitCode.TESTS_FAILED
        assert "needs terraform: https://developer.hashicorp.com/terraform/install" in in_ci.stdout

    @pytest.mark.parametrize(("ci", "code"), [("", pytest.ExitCode.OK), ("true", pytest.ExitCode.TESTS_FAILED)])
    def test_in_ci_nothing_is_left_out(self, tmp_path: Path, ci: str, code: int) -> None:
        leaves_out = "import unittest\ndef test_here(): pass\ndef test_it(): raise unittest.SkipTest('no')\n"

        assert session(tmp_path, leaves_out, ci=ci).returncode == code

    def test_a_program_that_nobody_listed_is_a_mistake(self, tmp_path: Path) -> None:
        done = session(tmp_path, "def test_it(peer): peer('sendmail')")

        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        assert "sendmail is neither on the list" in done.stdout

    def test_what_is_there_is_found(self, tmp_path: Path) -> None:
        done = session(tmp_path, "def test_it(peer): assert peer('pytest').exists()")

        assert done.returncode == pytest.ExitCode.OK, done.stdout

    def test_a_probe_decides_and_not_the_name(self) -> None:
        assert find(Package("sh", ("sh", "-c", "exit 0"))) == Path("/usr/bin/sh")
        assert find(Package("sh", ("sh", "-c", "exit 1"))) is None
        assert find(Package("none", ("no-such-program",))) is None

    def test_the_list_has_a_probe_for_each_package(self) -> None:
        assert read_packages("# c\n\na  b -c 'd e'\n") == {"a": Package("a", ("b", "-c", "d e"))}
        assert all(package.probe for package in listed_packages().values())


class TestPromises:
    def test_the_worst_outcome_counts_and_workers_report_to_one_file(self, tmp_path: Path) -> None:
        tests = (
            "import pytest\n"
            "@pytest.mark.promise(34, 35)\ndef test_good(): pass\n"
            "@pytest.mark.promise(35)\n@pytest.mark.parametrize('n', [0, 1])\ndef test_half(n): assert n\n"
            "@pytest.fixture\ndef broken():\n    yield\n    raise OSError\n"
            "@pytest.mark.promise(36)\ndef test_teardown(broken): pass\n"
        )

        session(tmp_path, tests, "--numprocesses=2", "--promise-results=results.json")

        assert json.loads((tmp_path / "results.json").read_text()) == {
            "34": {"test_made_up.py::test_good": "passed"},
            "35": {
                "test_made_up.py::test_good": "passed",
                "test_made_up.py::test_half[0]": "failed",
                "test_made_up.py::test_half[1]": "passed",
            },
            "36": {"test_made_up.py::test_teardown": "failed"},
        }


class TestAlone:
    # Each test holds its place for a moment and writes when it began and ended. It waits for no event: without
    # a stretch of time nothing could overlap.
    STRETCH = (
        "import json, os, pathlib, time, pytest\n"
        "def stretch(name):\n"
        "    begin = time.monotonic(); time.sleep(0.05)\n"
        "    pathlib.Path(f'{name}.json').write_text(json.dumps([begin, time.monotonic()]))\n"
        "@pytest.mark.parametrize('n', range(12))\n"
        "def test_many(n): stretch(f'many-{n}')\n"
        "MARK\n@pytest.mark.parametrize('n', range(4))\n"
        "def test_one(n): stretch(f'one-{n}')\n"
    )

    @pytest.mark.parametrize(("mark", "overlaps"), [("@pytest.mark.alone", False), ("", True)])
    def test_nothing_runs_beside_it(self, tmp_path: Path, mark: str, *, overlaps: bool) -> None:
        done = session(tmp_path, self.STRETCH.replace("MARK", mark), "--numprocesses=4")

        assert done.returncode == pytest.ExitCode.OK, done.stdout
        spans = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("*-*.json")}
        assert len(spans) == 16
        found = any(
            begin < end_of_other and begin_of_other < end
            for name, (begin, end) in spans.items()
            for other, (begin_of_other, end_of_other) in spans.items()
            if name != other and name.startswith("one")
        )
        assert found is overlaps
