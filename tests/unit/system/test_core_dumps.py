"""No core file, no look into the memory (promise 72)."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = """
import ctypes, resource
{forbid}
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
FORBID = "from rolesanywhere_helper.system.core_dumps import forbid_core_dumps; forbid_core_dumps()"


def look(forbid: str) -> str:
    program = LOOK.format(forbid=forbid)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.strip()


@pytest.mark.promise(72)
def test_core_dumps_are_forbidden_in_both_ways() -> None:
    assert look(FORBID) == "(0, 0) 0"


def test_they_are_not_forbidden_by_themselves() -> None:
    assert look("").endswith(" 1")
