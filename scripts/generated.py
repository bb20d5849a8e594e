"""Writes every file of the checkout that is made from the program itself: ``python -m scripts.generated``.

The tables in docs/configuration.md, the manual pages in ``man/`` and the completion scripts in ``completions/``. Run it
after a change of a command or flag.
"""

from __future__ import annotations

from pathlib import Path

from rolesanywhere_helper.cli.completion import script
from scripts import configuration_table
from scripts.man_pages import pages

ROOT = Path(__file__).parents[1]
MAN, COMPLETIONS = ROOT / "man", ROOT / "completions"
# The names under which each shell looks for them.
SCRIPTS = {"bash": "rolesanywhere-helper.bash", "fish": "rolesanywhere-helper.fish", "zsh": "_rolesanywhere-helper"}


def files() -> dict[Path, str]:
    """Return what every generated file should hold."""
    document = configuration_table.DOCUMENT
    return {
        document: configuration_table.with_tables(document.read_text(encoding="utf-8")),
        **{MAN / name: text for name, text in pages().items()},
        **{COMPLETIONS / name: script(shell) for shell, name in SCRIPTS.items()},
    }


def outdated(made: dict[Path, str]) -> list[Path]:
    """Return the files that are not what they should be: changed, missing, or left of a command that has gone."""
    there = {path for folder in (MAN, COMPLETIONS) for path in folder.glob("*")}
    changed = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    return sorted([*changed, *(there - made.keys())])


def write() -> None:
    """Bring them up to date."""
    made = files()
    for path in outdated(made):
        if path not in made:
            path.unlink()
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_text(made[path], encoding="utf-8")


if __name__ == "__main__":
    write()
