"""A Debian that boots in a second, on which units run for real, and that is forgotten afterwards.

Its image is made once (debootstrap, then the project's libraries in /opt/rolesanywhere-helper; one to two minutes) and
kept in /var/cache/rolesanywhere-helper-tests, named after what it was made from. A machine lays its own memory over it,
and has a network of its own (loopback only), so that several run side by side on the ports that users know.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
IMAGES = Path("/var/cache/rolesanywhere-helper-tests")
SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,curl"
PYTHON_OF_SUITE = "3.11"
PREFIX = "/opt/rolesanywhere-helper"
HELPER = f"{PREFIX}/bin/rolesanywhere-helper"
BOOT_SECONDS = 60
_MAKE_SECONDS = 1200
_END_SECONDS = 20

_COMMANDER = """\
[Unit]
After=basic.target systemd-journald.service dbus.socket
[Service]
ExecStart=/usr/bin/python3 /share/inside.py /share/host.sock
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command inside."""

    code: int
    out: str
    err: str


class MachineError(Exception):
    """A command failed that should not, or the machine did not come up."""


class Machine:
    """A running Debian and the line into it."""

    def __init__(self, line: socket.socket, name: str) -> None:
        self.name = name
        self._line = line
        self._stream = line.makefile("rw", encoding="utf-8")

    def run(
        self,
        *command: str,
        given: str = "",
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> Done:
        """Run a command as root, to its end.

        Raises:
            MachineError: it failed, and ``check`` is set.

        """
        done = self._ask({"do": "run", "command": command, "input": given, "env": dict(env or {}), "timeout": timeout})
        if check and done.code:
            raise MachineError(f"{command} ended with {done.code}:\n{done.out}\n{done.err}")
        return done

    def sh(self, script: str, *, timeout: float = 60, check: bool = True) -> Done:
        """Run a shell script as root."""
        return self.run("sh", "-euc", script, timeout=timeout, check=check)

    def start(self, *command: str) -> str:
        """Start a command that goes on for as long as the machine runs; return its first line."""
        return self._ask({"do": "start", "command": command}).out

    def write(self, path: str, text: str, *, mode: str = "644", owner: str = "root:root") -> None:
        """Write a file, by a rename as careful programs do."""
        directory = path.rpartition("/")[0]
        script = f"mkdir -p {directory} && cat > {path}.new && chmod {mode} {path}.new && chown {owner} {path}.new"
        self.run("sh", "-euc", f"{script} && mv {path}.new {path}", given=text)

    def cursor(self) -> str:
        """Return where the journal ends now."""
        return self.sh("journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p'").out.strip()

    def wait_for_log(self, unit: str, pattern: str, cursor: str, *, timeout: float = 60) -> str:
        """Wait for a line of a unit (its full name) after the cursor; return the lines up to now.

        Raises:
            MachineError: it did not come.

        """
        question = {"do": "journal", "unit": unit, "pattern": pattern, "cursor": cursor, "timeout": timeout}
        done = self._ask(question)
        if done.code:
            raise MachineError(f"{unit}: {done.err} in:\n{done.out}")
        return done.out

    def log(self, unit: str, cursor: str) -> str:
        """Return a unit's journal after the cursor."""
        return self.wait_for_log(unit, "", cursor)

    def show(self, unit: str, property_name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={property_name}", unit).out.strip()

    def _ask(self, question: Mapping[str, Any]) -> Done:
        self._line.settimeout(float(question.get("timeout", 60)) + 30)
        self._stream.write(json.dumps(question) + "\n")
        self._stream.flush()
        return Done(**json.loads(self._stream.readline()))


@contextmanager
def booted(image: Path, wheel: Path) -> Iterator[Machine]:
    """Boot a machine from an image, with the project's wheel installed.

    Raises:
        MachineError: it did not come up.

    """
    share = Path(tempfile.mkdtemp(prefix="machine-"))
    name = f"machine-{secrets.token_hex(4)}"  # a host name, which mkdtemp's need not be
    try:
        shutil.copy(ROOT / "tests/systemd/inside.py", share)
        shutil.copy(wheel, share)
        (share / "commander.service").write_text(_COMMANDER)
        with _door(share) as door, _running(image, share, name) as process, _line(door, process, share) as line:
            machine = Machine(line, name)
            install = (f"{PREFIX}/bin/pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile")
            machine.run(*install, f"/share/{wheel.name}")
            yield machine
    finally:
        shutil.rmtree(share, ignore_errors=True)
        with suppress(OSError):
            Path("/run/systemd/nspawn/propagate", name).rmdir()


@contextmanager
def _running(image: Path, share: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a machine in a PID namespace and a cgroup of its own.

    Killing systemd-nspawn leaves alive what it booted; the end of a PID namespace's first process ends all of it. And
    two machines in one cgroup stop each other's units.
    """
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    command += ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot"]
    command += ["--private-network", "--read-only", "--volatile=overlay", "--console=pipe", f"--machine={name}"]
    command += [f"--directory={image}", f"--bind={share}:/share"]
    command += [f"--bind-ro={share}/commander.service:/etc/systemd/system/commander.service"]
    command += ["systemd.unit=multi-user.target", "systemd.wants=commander.service"]
    with _own_cgroups(name) as cgroups, (share / "console").open("wb") as console:
        enter = "".join(f"echo $$ > {cgroup}/cgroup.procs; " for cgroup in cgroups)
        machine = subprocess.Popen(
            ["sh", "-euc", f'{enter}exec "$@"', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
        try:
            yield machine
        finally:
            machine.kill()  # nothing in it is worth a shutdown
            machine.wait()


@contextmanager
def _own_cgroups(name: str) -> Iterator[list[Path]]:
    """Make a cgroup in each hierarchy that systemd manages: its own of version 1, and version 2."""
    made = [current / name for current in _current_cgroups()]
    for cgroup in made:
        cgroup.mkdir()
    try:
        yield made
    finally:
        for cgroup in made:
            remove_cgroup(cgroup)


def _current_cgroups() -> Iterator[Path]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", "name=systemd"}:
            continue
        for _, point, kind, options, *_ in mounts:
            if kind == ("cgroup" if controllers else "cgroup2") and (
                not controllers or controllers in options.split(",")
            ):
                yield Path(point) / path.lstrip("/")
                break


def cgroups_named(name: str) -> list[Path]:
    """Return a machine's cgroups."""
    return [current / name for current in _current_cgroups() if (current / name).exists()]


def text_if_there(file: Path) -> str:
    """Read a file of a process, which may end at any moment."""
    try:
        return file.read_text()
    except OSError:
        return ""


def remove_cgroup(cgroup: Path) -> None:
    """Remove an emptied cgroup; what was in it has been killed, and takes a moment to be gone."""
    deadline = time.monotonic() + _END_SECONDS
    while any(file.read_text() for file in cgroup.rglob("cgroup.procs")):
        if time.monotonic() > deadline:
            raise MachineError(f"processes of the machine are left in {cgroup}")
        time.sleep(0.02)
    for directory in sorted((entry for entry in cgroup.rglob("*") if entry.is_dir()), reverse=True):
        directory.rmdir()
    cgroup.rmdir()


@contextmanager
def _door(share: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(share / "host.sock"))
        door.listen()
        yield door


@contextmanager
def _line(door: socket.socket, machine: subprocess.Popen[bytes], share: Path) -> Iterator[socket.socket]:
    """Wait until the machine calls, or is no more."""
    end = os.pidfd_open(machine.pid)
    try:
        ready, _, _ = select.select([door.fileno(), end], [], [], BOOT_SECONDS)
    finally:
        os.close(end)
    if door.fileno() not in ready:
        how = f"ended with {machine.wait()}" if ready else f"did not come up within {BOOT_SECONDS} s"
        raise MachineError(f"it {how}:\n{(share / 'console').read_text(errors='replace')}")
    line, _ = door.accept()
    with line:
        yield line


# The image


def image() -> Path:
    """Return the image, after making it if need be: Debian, and on a copy of it the libraries of the day."""
    debian = _made([SUITE, PACKAGES], _make_debian)
    libraries = _libraries()
    return _made([debian.name, PREFIX, *libraries], lambda place: _add_libraries(debian, place, libraries))


def _made(recipe: list[str], make: Callable[[Path], None]) -> Path:
    """Return what a recipe makes; one process makes it, others wait."""
    place = IMAGES / f"{SUITE}-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}"
    IMAGES.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (IMAGES / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            unfinished = IMAGES / f"{place.name}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(place)
    return place


def _libraries() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted(project["dependencies"] + project["optional-dependencies"]["emulator"])


def _make_debian(place: Path) -> None:
    _step("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(place))


def _add_libraries(debian: Path, place: Path, libraries: list[str]) -> None:
    _step("cp", "--archive", "--reflink=auto", str(debian), str(place))
    # Our own pip knows the way to its index; the machine's needs none.
    wheels = place / "var/tmp/wheels"
    download = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--dest={wheels}")
    _step(*download, f"--python-version={PYTHON_OF_SUITE}", *libraries)
    nspawn = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={place}", "--pipe")
    _step(*nspawn, "python3", "-m", "venv", PREFIX)
    pip = (f"{PREFIX}/bin/pip", "install", "--quiet", "--no-index", "--find-links=/var/tmp/wheels")
    _step(*nspawn, *pip, *libraries)
    shutil.rmtree(wheels)


def _step(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_MAKE_SECONDS, check=False)
    if done.returncode:
        raise MachineError(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def build_wheel(directory: Path) -> Path:
    """Build the project's wheel from this checkout."""
    _step(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={directory}", str(ROOT))
    (wheel,) = directory.glob("*.whl")
    return wheel
