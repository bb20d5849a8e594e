"""The machine itself: that it boots, runs units, and tells what became of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.systemd import machine as machines
from tests.systemd.conftest import CERTIFICATE, KEY
from tests.systemd.machine import HELPER, ROOT, MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.systemd.conftest import Host

_NOTIFIES = """\
[Service]
Type=notify
NotifyAccess=all
ExecStart=sh -c 'echo begins; systemd-notify --ready; exec sleep infinity'
"""


def test_it_runs_a_unit_and_tells_what_became_of_it(host: Host) -> None:
    machine = host.machine
    machine.write("/run/systemd/system/try.service", _NOTIFIES)
    machine.write("/run/systemd/system/broken.service", "[Service]\nType=oneshot\nExecStart=false\n")
    cursor = machine.cursor()

    machine.run("systemctl", "start", "try")

    assert "begins" in machine.wait_for_log("try.service", "begins", cursor)
    assert machine.show("try", "ActiveState") == "active"
    with pytest.raises(MachineError):
        machine.run("systemctl", "start", "broken")
    machine.run("systemctl", "stop", "try")
    machine.run("systemctl", "reset-failed", "broken")
    assert machine.run("systemctl", "is-system-running").out == "running\n"


def test_a_log_line_that_does_not_come_is_told(host: Host) -> None:
    with pytest.raises(MachineError, match="no line like"):
        host.machine.wait_for_log("systemd-journald.service", "nobody writes this", host.machine.cursor(), timeout=1)


def test_the_first_line_after_a_cursor_is_not_lost(host: Host) -> None:
    machine = host.machine
    cursor = machine.cursor()

    machine.run("systemd-run", "--quiet", "--wait", "--unit=first", "true")

    assert machine.log("first.service", cursor).startswith("Started first.service")


def test_two_machines_leave_each_other_alone(host: Host) -> None:
    with host.another() as other:
        for machine in (host.machine, other):
            machine.run("systemd-run", "--quiet", "--unit=same", "sleep", "infinity")

        host.machine.run("systemctl", "stop", "same")

        assert other.show("same", "ActiveState") == "active"


def test_a_machine_that_is_closed_leaves_nothing(host: Host) -> None:
    with host.another() as other:
        name = other.name
        assert len(processes_of(name)) > 3, "the negative control"

    assert processes_of(name) == set()
    assert list(Path("/sys/fs/cgroup").glob(f"**/{name}")) == []


@pytest.fixture
def scratch() -> Iterator[str]:
    """Return a folder with a short path: there will be a socket in it."""
    with tempfile.TemporaryDirectory(prefix="killed-") as folder:
        yield folder


def test_a_machine_dies_with_the_process_that_booted_it(host: Host, scratch: str) -> None:
    """A test run that is killed cleans up nothing: what it booted must end by itself."""
    script = (
        "import sys; from pathlib import Path; from tests.systemd import machine\n"
        f"with machine.booted(Path({str(host.image)!r}), Path({str(host.wheel)!r})) as m:\n"
        "    print(m.name, flush=True); sys.stdin.read()\n"
    )
    environment = os.environ | {"TMPDIR": scratch}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        name = run.stdout.readline().strip()
        assert len(processes_of(name)) > 3, "the negative control"
        run.kill()

    cgroups = machines.cgroups_named(name)
    assert cgroups
    for cgroup in cgroups:
        machines.remove_cgroup(cgroup)  # fails if a process is still there after 20 seconds
    assert processes_of(name) == set()


def processes_of(name: str) -> set[str]:
    """Return the living processes in a machine's cgroup; a dead one is listed until this system's init has noticed."""
    return {
        file.parent.name
        for file in Path("/proc").glob("[0-9]*/cgroup")
        if f"/{name}" in machines.text_if_there(file)
        and "\nState:\tZ" not in machines.text_if_there(file.with_name("status"))
    }


@pytest.mark.promise(39)
@pytest.mark.parametrize("link", ["systemd's", "of the user"])
def test_a_dynamic_users_cache_lies_behind_systemds_link(host: Host, link: str) -> None:
    """What systemd calls the cache is root's link to it, and is used; a link that the user made is not."""
    made = host.announcement
    flags = [
        f"--{name}={value}"
        for name, value in {
            "certificate": CERTIFICATE,
            "private-key": KEY,
            "trust-anchor-arn": made["trustAnchorArn"],
            "profile-arn": made["profileArn"],
            "role-arn": made["roleArn"],
            "endpoint": host.endpoint,
        }.items()
    ]
    unit = ["systemd-run", "--wait", "--pipe", "--quiet", "--property=DynamicUser=yes"]
    unit += ["--property=CacheDirectory=rolesanywhere-helper", "--property=CacheDirectoryMode=0700"]
    unit += ["--property=SupplementaryGroups=ssl-cert", "--property=User=rolesanywhere-dynamic"]
    command = [HELPER, "credential-process", *flags]
    if link == "of the user":
        own = 'ln -sfn /var/cache/private/rolesanywhere-helper /tmp/link && CACHE_DIRECTORY=/tmp/link exec "$@"'
        command = ["sh", "-c", own, "sh", *command]

    first, second = (json.loads(host.machine.run(*unit, *command).out) for _ in range(2))

    assert host.machine.sh("readlink /var/cache/rolesanywhere-helper").out == "private/rolesanywhere-helper\n"
    if link == "systemd's":
        assert first == second
        assert host.create_session_calls() == 1
    else:
        assert host.create_session_calls() == 2, "nothing was cached"
