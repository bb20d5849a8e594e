"""The playbook of docs/on-prem.md, word for word, run by Ansible on a machine that boots.

Ansible reaches it as it reaches every machine, through a program that is called like ssh; this one enters the machine's
namespaces. Where the playbook installs from is a folder of wheels on the machine, which has no network but its own.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.guide_configuration import with_the_emulator
from tests.fakes.guides import Guide
from tests.systemd import machine as machines
from tests.systemd.conftest import UNIT
from tests.systemd.machine import HELPER, PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.systemd.conftest import Host

GUIDE = Guide.named("on-prem.md")
[PLAYBOOK] = GUIDE.blocks("yaml")
CONFIGURATION = GUIDE.blocks("toml")[0]
[HOLD_THE_SOCKET] = [block for block in GUIDE.blocks("sh") if "systemctl" in block]
FOR_ANSIBLE = "/usr/local/lib/python3.11/dist-packages"
# Its last argument is what a shell there shall run.
SSH = """\
#!/bin/sh
for command; do :; done
exec nsenter --target={pid} --mount --uts --ipc --net --pid -- /bin/sh -c "$command"
"""
# A small Debian has no sudo.
INVENTORY = """\
[all]
machine ansible_connection=ssh ansible_ssh_executable={ssh} ansible_ssh_transfer_method=piped \
ansible_become_method=su ansible_python_interpreter=/usr/bin/python3
"""
# What a machine has that was never told of the helper.
_BARE = f"""\
mv {PREFIX} {PREFIX}.aside
rm -rf /etc/systemd/system/rolesanywhere-helper*
systemctl daemon-reload
for user in app report backup; do id -u $user >/dev/null 2>&1 || useradd --system $user; done
mkdir -p {FOR_ANSIBLE}
python3 -m zipfile --extract /srv/wheels/packaging-*.whl {FOR_ANSIBLE}
printf '[global]\\nno-index = true\\nfind-links = /srv/wheels\\n[install]\\nno-compile = true\\n' > /etc/pip.conf
"""
_AS_BEFORE = f"""\
systemctl disable --quiet --now {UNIT} rolesanywhere-helper-agent.socket || true
rm -rf /etc/pip.conf /srv/wheels {FOR_ANSIBLE}/packaging*
if test -e {PREFIX}.aside; then rm -rf {PREFIX}; mv {PREFIX}.aside {PREFIX}; fi
{HELPER} systemd --install
systemctl daemon-reload
"""
_CAME_OF = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.+)\] \*+\n(?:.*\n)*?(\w+): \[machine\]", re.MULTILINE)


class Controller:
    """Where Ansible runs: the playbook, its template, and the way to the machine."""

    def __init__(self, program: Path, folder: Path, host: Host) -> None:
        self._program = program
        self._folder = folder
        self._ssh = folder / "ssh"
        self._ssh.write_text(SSH.format(pid=init_of(host.machine.name)))
        self._ssh.chmod(0o755)
        (folder / "inventory.ini").write_text(INVENTORY.format(ssh=self._ssh))
        (folder / "playbook.yml").write_text(PLAYBOOK)

    def template(self, text: str) -> None:
        (self._folder / "rolesanywhere-helper.toml.j2").write_text(text)

    def send(self, files: Path, place: str) -> None:
        """Copy a folder to the machine."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            archive.add(files, ".")
        command = [str(self._ssh), f"mkdir -p {place} && tar --extract --no-same-owner --directory={place}"]
        subprocess.run(command, input=content.getvalue(), check=True)

    def play(self, *flags: str) -> dict[str, str]:
        """Run the playbook; return what came of each task and handler, in their order: ok, changed or fatal."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_PIPELINING": "true",
        }
        done = subprocess.run(
            [self._program, "--inventory", "inventory.ini", *flags, "playbook.yml"],
            env=environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        print(done.stdout, done.stderr)  # pytest shows it where a test has failed
        return dict(_CAME_OF.findall(done.stdout))


def init_of(machine: str) -> int:
    """Return the number that the machine's init has here."""
    for process in Path("/proc").glob("[0-9]*"):
        cgroup, command, status = (machines.text_if_there(process / name) for name in ("cgroup", "comm", "status"))
        if f"/{machine}" in cgroup and command == "systemd\n" and re.search(r"^NSpid:.*\t1$", status, re.MULTILINE):
            return int(process.name)
    raise AssertionError(f"{machine} has no init")


@pytest.fixture
def controller(host: Host, peer: Callable[[str], Path], tmp_path: Path) -> Iterator[Controller]:
    """Return Ansible, and the machine without the helper, its environment and its units."""
    made = Controller(peer("ansible-playbook"), tmp_path, host)
    wheels = tmp_path / "wheels"
    download = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--dest={wheels}")
    subprocess.run([*download, f"--python-version={machines.PYTHON_OF_SUITE}", "packaging", host.wheel], check=True)
    made.send(wheels, "/srv/wheels")
    try:
        host.machine.sh(_BARE)
        yield made
    finally:
        host.machine.sh(_AS_BEFORE)


def keeps_its_socket(host: Host) -> bool:
    """Tell whether what a container has mounted is still the agent socket after a restart of the daemon."""
    before, after = (
        host.machine.sh(f"{restart}stat --format=%i /run/rolesanywhere-helper/agent.sock").out
        for restart in ("", f"systemctl restart {UNIT}; ")
    )
    return before == after


def test_the_playbook_sets_a_machine_up(host: Host, controller: Controller) -> None:
    machine = host.machine
    configuration = with_the_emulator(CONFIGURATION, host.announcement)
    controller.template(configuration)

    assert controller.play() == {
        "Gathering Facts": "ok",
        "Install the helper": "changed",
        "Make the folder of its configuration": "changed",
        "Configure it": "changed",
        "Install its units": "ok",
        "Start it now and at every boot": "changed",
        "Wait until there are credentials": "ok",
        "Reload the helper": "changed",
    }
    assert machine.run("systemctl", "is-enabled", UNIT).out == "enabled\n"
    ask = ("runuser", "-u", "report", "--", HELPER, "credential-process", "--session", "report")
    assert json.loads(machine.run(*ask).out)["AccessKeyId"].startswith("ASIA")

    assert not keeps_its_socket(host)
    machine.sh(HOLD_THE_SOCKET)
    assert keeps_its_socket(host)
    assert json.loads(machine.run(*ask).out)["AccessKeyId"].startswith("ASIA")

    # And back: what systemd has held is gone with its unit, and the daemon makes its own again.
    machine.sh(f"systemctl stop {UNIT} rolesanywhere-helper-agent.socket; systemctl start {UNIT}")
    assert json.loads(machine.run(*ask).out)["AccessKeyId"].startswith("ASIA")
    assert not keeps_its_socket(host)

    # The negative control, on a machine that has all of it but this session.
    controller.template(configuration.replace("[session.report]", "[session.other]"))
    machine.run("systemctl", "stop", UNIT)

    assert controller.play("--start-at-task", "Configure it") == {
        "Gathering Facts": "ok",
        "Configure it": "changed",
        "Install its units": "ok",
        "Start it now and at every boot": "changed",
        "Wait until there are credentials": "fatal",
    }
    assert machine.run(*ask, check=False).code != 0
