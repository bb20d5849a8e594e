"""Promises and tests name each other: no number without a promise, no promise of what is built without a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.promises import render, verdict
from tests.plugins.promises import promises, read_promises

ROOT = Path(__file__).parents[2]
# What is built so far: certificate files, CreateSession, the cache and `credential-process`.
BUILT = {*range(30, 43), 47, 58, 59, *range(61, 67), 72, *range(81, 85)}


def pytest_in_a_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run pytest as a user would; nothing of this session reaches it."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *map(str, arguments)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_promise_of_what_is_built_has_a_test(tmp_path: Path) -> None:
    file = tmp_path / "promises.json"

    collected = pytest_in_a_process("--collect-only", f"--promise-results={file}", "tests")

    assert collected.returncode == 0, collected.stdout
    numbered = {int(number) for number, tests in json.loads(file.read_text()).items() if tests}
    assert sorted(BUILT - numbered) == [], "these promises have no test yet"


def test_the_document_holds_every_number_once() -> None:
    assert list(promises()) == list(range(1, 86))


def test_an_unknown_number_is_refused(tmp_path: Path) -> None:
    test = tmp_path / "test_unknown.py"
    test.write_text("import pytest\n@pytest.mark.promise(86)\ndef test_it(): pass\n")

    refused = pytest_in_a_process("-c", ROOT / "pyproject.toml", f"--rootdir={ROOT}", ROOT / "tests" / "house", test)

    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert "there is no promise 86" in refused.stdout + refused.stderr


def test_a_sentence_over_two_lines_is_one_sentence() -> None:
    assert read_promises("# Title\n\n1. One\n   and a half.\n2. Two.\n") == {1: "One and a half.", 2: "Two."}


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], "not yet proven"),
        (["passed", "passed"], "proven"),
        (["passed", "failed"], "failing"),
        (["passed", "skipped"], "not run"),
    ],
)
def test_one_failing_test_breaks_a_promise(outcomes: list[str], expected: str) -> None:
    assert verdict({f"test_{at}": outcome for at, outcome in enumerate(outcomes)}) == expected


def test_the_report_names_sentence_test_and_result() -> None:
    report = render({1: "It holds.", 2: "It comes."}, {"1": {"tests/test_a.py::test_a": "passed"}})

    assert report.splitlines() == [
        "  1  PROVEN          It holds.",
        "       passed: tests/test_a.py::test_a",
        "  2  NOT YET PROVEN  It comes.",
        "",
        "proven (1 of 2): 1",
        "not yet proven (1 of 2): 2",
    ]
