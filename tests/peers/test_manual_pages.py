"""Manual pages as real formatters read them."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from scripts.generated import MAN
from scripts.man_pages import date

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGES = sorted(MAN.glob("*.1"))
# An example is a line that can be typed, however long.
KNOWN = re.compile(r"input text line longer than 80 bytes")


def complaints(mandoc: Path, page: Path) -> list[str]:
    done = subprocess.run([mandoc, "-T", "lint", page], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if not KNOWN.search(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_mandoc_has_nothing_to_say(peer: Callable[[str], Path], page: Path) -> None:
    assert complaints(peer("mandoc"), page) == []


def test_the_date_is_that_of_the_last_release_and_not_todays() -> None:
    released = "# Changes\n\n## 0.3.0, not released yet\n\n## 0.2.0, 2027-02-01\n\n## 0.1.0, 2027-01-01\n"

    assert date(released) == "2027-02-01"
    assert date("## 0.1.0, not released yet\n") == "2026-11-24"


def test_a_page_without_a_date_is_found(peer: Callable[[str], Path], tmp_path: Path) -> None:
    page = tmp_path / "undated.1"
    page.write_text(re.sub(r'(?m)^(\.TH \S+ 1) "[^"]*"', r'\1 ""', PAGES[0].read_text()))

    assert ["missing date" in line for line in complaints(peer("mandoc"), page)] == [True]


def test_a_mistake_is_found(peer: Callable[[str], Path], tmp_path: Path) -> None:
    page = tmp_path / "wrong.1"
    page.write_text(PAGES[0].read_text().replace(".TP", ".TQ.", 1) + ".SH\n.EE\n")

    assert complaints(peer("mandoc"), page) != []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_man_shows_flags_and_examples_as_they_are_typed(
    peer: Callable[[str], Path], clean_environment: dict[str, str], page: Path
) -> None:
    environment = clean_environment | {"MANWIDTH": "300", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [peer("man-db"), "--warnings=w", "-l", page], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stderr == ""
    shown = " ".join(done.stdout.split())
    assert f"{page.stem} - " in shown
    assert "--config FILE" in shown
    if page.stem != "rolesanywhere-helper":
        assert f"{page.stem.replace('-', ' ', 2).replace(' ', '-', 1)} " in shown.partition("EXAMPLES")[2]
    assert not {"\u2010", "\u2212", "\u2019", "\u2018"} & set(shown)
