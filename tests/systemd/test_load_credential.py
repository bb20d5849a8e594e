"""``LoadCredential=`` of another unit reads a token from the daemon: systemd itself asks, and an SDK uses it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.fakes.guides import Guide
from tests.systemd.machine import PREFIX

if TYPE_CHECKING:
    from tests.systemd.conftest import Host

GUIDE = Guide.named("on-prem.md")
SERVE = GUIDE.blocks("toml")[0].partition("[serve.agent]")[2]
KEY_OF = f"""\
#!{PREFIX}/bin/python
import botocore.session
print("key is", botocore.session.get_session().get_credentials().access_key)
"""
SHOW = f"""\
[Service]
Type=oneshot
LoadCredential=aws-token:/run/rolesanywhere-helper/credentials.sock
ExecStart={PREFIX}/bin/python -c 'import os; \\
    print("token of", os.path.getsize(os.environ["CREDENTIALS_DIRECTORY"] + "/aws-token"), "bytes")'
"""


def configure(host: Host, user: str) -> None:
    """Configure what the guide serves, of the one session that there is."""
    host.configure(
        "[serve.agent]" + SERVE.replace('session = "app"', 'session = "deploy"'), session=f'allow-users = ["{user}"]'
    )


def start_service_of_the_guide(host: Host, name: str) -> str:
    """Start a service with its unit and files as the guide has them, as its own user; return the access key it got."""
    machine = host.machine
    machine.sh(f"id -u {name} >/dev/null 2>&1 || useradd --system {name}")
    for path in (f"/etc/systemd/system/{name}.service", f"/etc/aws/{name}.config"):
        if path in GUIDE.files:
            machine.write(path, GUIDE.files[path].replace("--session report", "--session deploy"))
    machine.write(f"/usr/local/bin/{name}", KEY_OF, mode="755")
    configure(host, name)
    machine.run("systemctl", "daemon-reload")
    cursor = machine.cursor()
    host.start()
    machine.run("systemctl", "start", f"{name}.service")
    return re.findall(r"^key is (\w+)$", machine.wait_for_log(f"{name}.service", "^key is ", cursor), re.MULTILINE)[0]


def test_a_unit_of_the_guide_is_given_a_token_and_reads_credentials_with_it(host: Host) -> None:
    key = start_service_of_the_guide(host, "app")

    log = host.log()
    uid = host.machine.run("id", "-u", "app").out.strip()
    told = r"granted session=deploy uid=0 pid=\d+ channel=load-credential unit=app\.service endpoint=app"
    assert re.search(told, log), log
    assert re.search(rf"granted session=deploy uid={uid} channel=container key={key}", log), log
    token = host.machine.run("cat", "/run/rolesanywhere-helper/app/token").out
    assert len(token) == 64
    assert token not in log


def test_a_service_of_the_guide_is_served_by_its_user(host: Host) -> None:
    key = start_service_of_the_guide(host, "report")

    uid = host.machine.run("id", "-u", "report").out.strip()
    assert re.search(rf"granted session=deploy uid={uid} pid=\d+ channel=agent key={key}", host.log()), host.log()


def test_a_unit_that_is_not_named_is_given_nothing(host: Host) -> None:
    configure(host, "alice")
    host.start()
    for name in ("app", "other"):
        host.machine.write(f"/run/systemd/system/{name}.service", SHOW)
    host.machine.run("systemctl", "daemon-reload")

    for name in ("app", "other"):
        host.start(f"{name}.service")

    assert "token of 0 bytes" in host.log("other.service")
    assert "token of 64 bytes" in host.log("app.service"), "the negative control"
    assert re.search(
        r"refused session=- uid=0 pid=\d+ channel=load-credential unit=other\.service reason=unit", host.log()
    )


def test_a_unit_of_the_guide_does_not_begin_without_a_token(host: Host) -> None:
    host.machine.sh("id -u app >/dev/null 2>&1 || useradd --system app")
    host.configure("[serve.agent]" + SERVE.replace('session = "app"', 'session = "deploy"').replace("app.s", "b.s"))
    host.machine.write("/etc/systemd/system/app.service", GUIDE.files["/etc/systemd/system/app.service"])
    host.machine.write("/usr/local/bin/app", KEY_OF, mode="755")
    host.machine.run("systemctl", "daemon-reload")
    host.start()

    assert host.machine.run("systemctl", "start", "app.service", check=False).code == 1

    assert "key is" not in host.log("app.service")
    host.machine.run("systemctl", "stop", "rolesanywhere-helper")
    host.machine.run("systemctl", "start", "app.service", check=False)
    assert host.machine.show("app.service", "ExecMainStatus") == "243" or "CREDENTIALS" in host.log("app.service")
