"""No test leaves something out in silence: only ``tests/plugins/peers.py`` may say that one did not run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
THE_ONE_PLACE = TESTS / "plugins" / "peers.py"
LEFT_OUT = {
    "pytest.skip",
    "pytest.xfail",
    "pytest.importorskip",
    "pytest.mark.skip",
    "pytest.mark.skipif",
    "pytest.mark.xfail",
    "unittest.skip",
    "unittest.SkipTest",
}


def left_out(text: str) -> list[str]:
    """Return every way of leaving a test out that a file uses."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(text)) if ast.unparse(node) in LEFT_OUT]


def test_no_test_is_skipped() -> None:
    found = {file.name: left_out(file.read_text()) for file in TESTS.rglob("*.py") if file != THE_ONE_PLACE}

    assert {name: ways for name, ways in found.items() if ways} == {}


@pytest.mark.parametrize("way", sorted(LEFT_OUT))
def test_a_skip_is_found(way: str) -> None:
    assert left_out(f"@{way}\ndef test_it(): ...") == [way]
