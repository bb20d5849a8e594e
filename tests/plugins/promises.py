"""``@pytest.mark.promise(34)``: which test proves which promise of ``docs/promises.md``.

With ``--promise-results FILE`` the session ends with a JSON file ``{"34": {"tests/faults/…::test_…": "passed"}}``; with
``--collect-only`` the outcome is ``collected``. Workers of xdist send the numbers along with each report, and only the
process that started them writes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCUMENT = Path(__file__).parents[2] / "docs" / "promises.md"
_PROMISE = re.compile(r"^(\d+)\. (.+(?:\n   .+)*)$", re.MULTILINE)
_PROPERTY = "promise"

Outcomes = dict[str, dict[str, str]]


def read_promises(text: str) -> dict[int, str]:
    """Read the numbered items of the document; a sentence that runs over lines becomes one line."""
    return {int(number): " ".join(sentence.split()) for number, sentence in _PROMISE.findall(text)}


def promises() -> dict[int, str]:
    return read_promises(DOCUMENT.read_text(encoding="utf-8"))


class Results:
    """What became of each test that carries a number."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._outcomes: Outcomes = {}

    def note(self, properties: Iterable[tuple[str, object]], test: str, outcome: str) -> None:
        """Note one outcome; of a test's phases, the worst one counts."""
        ranks = ("collected", "passed", "skipped", "failed")
        for name, number in properties:
            if name == _PROPERTY:
                tests = self._outcomes.setdefault(str(number), {})
                tests[test] = max(tests.get(test, outcome), outcome, key=ranks.index)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.note(report.user_properties, report.nodeid, report.outcome)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            for item in session.items:
                self.note(item.user_properties, item.nodeid, "collected")

    def pytest_sessionfinish(self) -> None:
        ordered = {number: self._outcomes[number] for number in sorted(self._outcomes, key=int)}
        self._file.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--promise-results", type=Path, metavar="FILE", help="write which test proved which promise")


def pytest_configure(config: pytest.Config) -> None:
    file: Path | None = config.getoption("promise_results")
    if file is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(file.absolute()), "promise-results")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the numbers where they travel with the report, and refuse one that no promise has."""
    known = promises()
    for item in items:
        for number in numbers_of(item):
            if number not in known:
                message = f"{item.nodeid}: there is no promise {number!r} in {DOCUMENT.name}"
                raise pytest.UsageError(message)
            item.user_properties.append((_PROPERTY, number))


def numbers_of(item: pytest.Item) -> list[int]:
    """Return the numbers of every ``promise`` marker on a test, its class and its module."""
    return sorted({number for marker in item.iter_markers("promise") for number in marker.args})
