"""Manual pages as real formatters read them."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from scripts.generated import MAN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGES = sorted(MAN.glob("*.1"))
# A page has no date: it changes with the version. An example is a line that can be typed, however long.
KNOWN = re.compile(r'missing date, using "": TH|input text line longer than 80 bytes')


def complaints(mandoc: Path, page: Path) -> list[str]:
    done = subprocess.run([mandoc, "-T", "lint", page], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if not KNOWN.search(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_mandoc_has_nothing_to_say(peer: Callable[[str], Path], page: Path) -> None:
    assert complaints(peer("mandoc"), page) == []


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
