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


def follow(question: dict[str, Any]) -> dict[str, Any]:
    """Read the journal from a cursor on, until a line matches (journalctl --follow, of 252, leaves out lines)."""
    command = ["journalctl", "--no-pager", "--output=cat"]
    command += [f"--unit={question['unit']}", f"--after-cursor={question['cursor']}"]
    deadline = time.monotonic() + question["timeout"]
    while True:
        seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if re.search(question["pattern"], seen, re.MULTILINE):
            return {"code": 0, "out": seen, "err": ""}
        if time.monotonic() > deadline:
            return {"code": 124, "out": seen, "err": f"no line like {question['pattern']!r}"}
        time.sleep(0.05)


DEEDS = {"run": run, "start": start, "follow": follow}


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
