"""Run the tests that carry a promise's number, and print number, sentence, tests and result.

The exit code is pytest's: a failing test fails ``make promises``, a promise that is not yet proven does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.plugins.promises import promises  # noqa: E402 - a script finds the checkout only after the line above

_WIDTH = 118
_SENTENCE = 130


def main() -> int:
    """Run, print, and pass pytest's exit code on."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        command = [sys.executable, "-m", "pytest", "-q", "--numprocesses=auto", "-m", "promise"]
        run = subprocess.run([*command, f"--promise-results={file}", *sys.argv[1:]], cwd=ROOT, check=False)
        results: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    print("\n" + render(promises(), results))
    return run.returncode


def render(sentences: dict[int, str], results: dict[str, dict[str, str]]) -> str:
    """Make the report: a paragraph for each promise, then who is still without a proof."""
    verdicts = {number: verdict(results.get(str(number), {})) for number in sentences}
    lines: list[str] = []
    for number, sentence in sentences.items():
        head = f"{number:>3}  {verdicts[number].upper():<14}  "
        lines.append(head + textwrap.shorten(sentence, _SENTENCE, placeholder=" …"))
        lines += [f"       {outcome}: {test}" for test, outcome in sorted(results.get(str(number), {}).items())]
    lines.append("")
    for wanted in ("proven", "failing", "not run", "not yet proven"):
        numbers = [str(number) for number, found in verdicts.items() if found == wanted]
        if numbers:
            head = f"{wanted} ({len(numbers)} of {len(sentences)}): "
            lines += textwrap.wrap(head + ", ".join(numbers), _WIDTH, subsequent_indent="    ")
    return "\n".join(lines)


def verdict(tests: dict[str, str]) -> str:
    """Judge one promise: one failing test breaks it, and one that did not run leaves it open."""
    outcomes = set(tests.values())
    if "failed" in outcomes:
        return "failing"
    if "skipped" in outcomes:
        return "not run"
    return "proven" if outcomes else "not yet proven"


if __name__ == "__main__":
    sys.exit(main())
