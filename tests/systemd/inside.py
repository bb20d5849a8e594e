"""Runs inside the machine, as a service: does what the test asks through a socket that both sides see.

A question and an answer are one line of JSON each. Plain Python of the machine's own, with nothing installed.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from typing import Any


def run(question: dict[str, Any]) -> dict[str, Any]:
    """Run a command to its end."""
    done = subprocess.run(
        question["command"],
        input=question["input"],
        env=os.environ | question["env"],
        timeout=question["timeout"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def start(question: dict[str, Any]) -> dict[str, Any]:
    """Start a command that goes on, and return its first line."""
    process = subprocess.Popen(question["command"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return {"code": 0, "out": process.stdout.readline(), "err": ""}


def journal(question: dict[str, Any]) -> dict[str, Any]:
    """Return a unit's lines after a cursor; with a pattern, wait until one matches.

    The unit is picked out here: ``journalctl --unit= --after-cursor=`` (of 252) drops the unit's first entry if that of
    the cursor is not the unit's.
    """
    deadline = time.monotonic() + question["timeout"]
    while True:
        seen = _lines(question["unit"], question["cursor"])
        if re.search(question["pattern"], seen, re.MULTILINE):
            return {"code": 0, "out": seen, "err": ""}
        if time.monotonic() > deadline:
            return {"code": 124, "out": seen, "err": f"no line like {question['pattern']!r}"}
        time.sleep(0.05)


def _lines(unit: str, cursor: str) -> str:
    command = ["journalctl", "--no-pager", "--output=json", f"--after-cursor={cursor}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    entries = [json.loads(line) for line in text.splitlines()]
    return "".join(
        f"{entry['MESSAGE']}\n" for entry in entries if unit in {entry.get("UNIT"), entry.get("_SYSTEMD_UNIT")}
    )


DEEDS = {"run": run, "start": start, "journal": journal}


def main(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        with line.makefile("rw", encoding="utf-8") as stream:
            for text in stream:
                question = json.loads(text)
                try:
                    answer = DEEDS[question["do"]](question)
                except (OSError, subprocess.SubprocessError) as error:
                    answer = {"code": 125, "out": "", "err": repr(error)}
                stream.write(json.dumps(answer) + "\n")
                stream.flush()


if __name__ == "__main__":
    main(sys.argv[1])
