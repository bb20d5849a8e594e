"""The machine itself: that it boots, runs units, and tells what became of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.systemd.conftest import CERTIFICATE, KEY
from tests.systemd.machine import HELPER, MachineError

if TYPE_CHECKING:
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

    assert "begins" in machine.wait_for_log("try", "begins", cursor)
    assert machine.show("try", "ActiveState") == "active"
    with pytest.raises(MachineError):
        machine.run("systemctl", "start", "broken")
    machine.run("systemctl", "stop", "try")
    machine.run("systemctl", "reset-failed", "broken")
    assert machine.run("systemctl", "is-system-running").out == "running\n"


def test_a_log_line_that_does_not_come_is_told(host: Host) -> None:
    with pytest.raises(MachineError, match="no line like"):
        host.machine.wait_for_log("systemd-journald", "nobody writes this", host.machine.cursor(), timeout=1)


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
