"""The import contracts of pyproject.toml hold, and each of them can be broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "rolesanywhere_helper"

LAYERS = "Imports point one way"
APART = "What serves, keeps, hands out and decides knows nothing of how a session is made"
EMULATOR = "The emulator shares no code with the client"
PURE = "The core is pure"


def test_the_contracts_hold() -> None:
    result = lint_imports(ROOT)

    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        pytest.param("domain/intruder.py", f"import {PACKAGE}.protocol", LAYERS, id="upwards"),
        pytest.param("identity/intruder.py", f"import {PACKAGE}.transport", LAYERS, id="sideways"),
        pytest.param("protocol/intruder.py", f"import {PACKAGE}.system", LAYERS, id="from the core to the platform"),
        pytest.param("attic/__init__.py", "", LAYERS, id="a room without a place"),
        pytest.param("cache/intruder.py", f"def late():\n    import {PACKAGE}.identity", APART, id="inside a function"),
        pytest.param("emulator/intruder.py", f"import {PACKAGE}.protocol", EMULATOR, id="what it checks"),
        pytest.param("emulator/intruder.py", f"import {PACKAGE}.wiring.intruder", EMULATOR, id="by a detour"),
        pytest.param("protocol/intruder.py", "import os", PURE, id="the platform"),
        pytest.param("domain/intruder.py", "import cryptography.x509", PURE, id="a heavy library"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / PACKAGE, tmp_path / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, text in ((f"wiring/{Path(module).name}", f"import {PACKAGE}.protocol\n"), (module, f"{line}\n")):
        (tmp_path / PACKAGE / path).parent.mkdir(exist_ok=True)
        (tmp_path / PACKAGE / path).write_text(text)

    result = lint_imports(tmp_path)

    assert result.returncode == 1, result.stdout
    assert f"{contract} BROKEN" in " ".join(result.stdout.split())


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Check the package that lies in a checkout, wherever another one is installed."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(checkout), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
