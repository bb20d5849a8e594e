"""``LoadCredential=`` of another unit reads a token from the daemon: systemd itself asks, and an SDK uses it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.fakes.guides import Guide
from tests.systemd.machine import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture
def guided(host: Host) -> Iterator[Host]:
    """Lend the machine, and end and forget the services in the end."""
    yield host
    host.machine.sh(
        "systemctl stop app report other 2>/dev/null || true\n"
        "rm -f /run/systemd/system/app.service /run/systemd/system/report.service /run/systemd/system/other.service\n"
        "systemctl daemon-reload\nsystemctl reset-failed\n"
    )


def configure(host: Host, user: str) -> None:
    """Configure what the guide serves, of the one session that there is."""
    host.configure(
        "[serve.agent]" + SERVE.replace('session = "app"', 'session = "deploy"'), session=f'allow-users = ["{user}"]'
    )


def write_unit(host: Host, name: str) -> None:
    host.machine.write(f"/run/systemd/system/{name}.service", GUIDE.files[f"/etc/systemd/system/{name}.service"])


def start_service_of_the_guide(host: Host, name: str) -> str:
    """Start a service with its unit and files as the guide has them, as its own user; return the access key it got."""
    machine = host.machine
    machine.sh(f"id -u {name} >/dev/null 2>&1 || useradd --system {name}")
    write_unit(host, name)
    for path in GUIDE.files.keys() & {f"/etc/aws/{name}.config"}:
        machine.write(path, GUIDE.files[path].replace("--session report", "--session deploy"))
    machine.write(f"/usr/local/bin/{name}", KEY_OF, mode="755")
    configure(host, name)
    machine.run("systemctl", "daemon-reload")
    cursor = machine.cursor()
    host.start()
    machine.run("systemctl", "start", f"{name}.service")
    found = re.search(r"^key is (\w+)$", machine.wait_for_log(f"{name}.service", "^key is ", cursor), re.MULTILINE)
    assert found is not None
    return found[1]


def test_a_unit_of_the_guide_is_given_a_token_and_reads_credentials_with_it(guided: Host) -> None:
    key = start_service_of_the_guide(guided, "app")

    log = guided.log()
    uid = guided.machine.run("id", "-u", "app").out.strip()
    told = r"granted session=deploy uid=0 pid=\d+ channel=load-credential unit=app\.service endpoint=app"
    assert re.search(told, log), log
    assert re.search(rf"granted session=deploy uid={uid} channel=container key={key}", log), log
    token = guided.machine.run("cat", "/run/rolesanywhere-helper/app/token").out
    assert len(token) == 64
    assert token not in log


def test_a_service_of_the_guide_is_served_by_its_user(guided: Host) -> None:
    key = start_service_of_the_guide(guided, "report")

    uid = guided.machine.run("id", "-u", "report").out.strip()
    assert re.search(rf"granted session=deploy uid={uid} pid=\d+ channel=agent key={key}", guided.log()), guided.log()


def test_a_unit_that_is_not_named_is_given_nothing(guided: Host) -> None:
    configure(guided, "alice")
    guided.start()
    for name in ("app", "other"):
        guided.machine.write(f"/run/systemd/system/{name}.service", SHOW)
    guided.machine.run("systemctl", "daemon-reload")

    for name in ("app", "other"):
        guided.start(f"{name}.service")

    assert "token of 0 bytes" in guided.log("other.service")
    assert "token of 64 bytes" in guided.log("app.service"), "the negative control"
    assert re.search(
        r"refused session=- uid=0 pid=\d+ channel=load-credential unit=other\.service reason=unit", guided.log()
    )


def test_a_unit_of_the_guide_does_not_begin_without_a_token(guided: Host) -> None:
    guided.machine.sh("id -u app >/dev/null 2>&1 || useradd --system app")
    guided.configure("[serve.agent]" + SERVE.replace('session = "app"', 'session = "deploy"').replace("app.s", "b.s"))
    write_unit(guided, "app")
    guided.machine.write("/usr/local/bin/app", KEY_OF, mode="755")
    guided.machine.run("systemctl", "daemon-reload")
    guided.start()

    assert guided.machine.run("systemctl", "start", "app.service", check=False).code == 1

    assert "key is" not in guided.log("app.service")
    assert "status=1/FAILURE" in guided.log("app.service")


def test_a_unit_of_the_guide_does_not_begin_without_a_daemon(guided: Host) -> None:
    guided.machine.sh("id -u app >/dev/null 2>&1 || useradd --system app")
    guided.machine.write("/etc/rolesanywhere-helper/config.toml", "this is no TOML\n")
    write_unit(guided, "app")
    guided.machine.run("systemctl", "daemon-reload")

    assert guided.machine.run("systemctl", "start", "app.service", check=False).code == 1

    assert "status=243/CREDENTIALS" in guided.log("app.service")
