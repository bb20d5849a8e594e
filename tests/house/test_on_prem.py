"""docs/on-prem.md: its blocks are run here, or read by who would read them; its units boot in tests/systemd."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.serve import load_serve
from rolesanywhere_helper.errors import ConfigurationError
from tests.fakes.daemon import Daemon, owned, until
from tests.fakes.guide_configuration import with_the_emulator
from tests.fakes.guides import Guide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.plugins.emulated import Emulated

GUIDE = Guide.named("on-prem.md")
HELPER = "/opt/rolesanywhere-helper/bin/rolesanywhere-helper"
CONFIGURATION = GUIDE.blocks("toml")[0]
# Run in tests/peers/test_on_prem_containers.py, and in tests/systemd/test_playbook.py.
RUN_ELSEWHERE = ("docker ", "podman ", "systemctl ")
INTERFACE, SCRIPT = sorted((block for block in GUIDE.blocks("sh") if not block.startswith(RUN_ELSEWHERE)), reverse=True)
# crontab(5): five fields of time, in /etc/cron.d also the user.
CRON_LINE = re.compile(r"(?:[\d*/,-]+ ){5}(?P<user>\w+) (?P<command>.+)")
CRON_LINES = [line for line in GUIDE.blocks("crontab")[0].splitlines() if not line.startswith("#")]


def localised(daemon: Daemon) -> str:
    """Return the document's configuration with the files, ARNs, users and addresses of a test."""
    text = CONFIGURATION.replace("/etc/ssl/private", str(daemon.folder)).replace("/etc/ssl", str(daemon.folder))
    text = text.replace("/run/rolesanywhere-helper", f"{daemon.folder}/run")
    text = re.sub("^allow-users = .*$", f'allow-users = ["{os.geteuid()}"]', text, flags=re.MULTILINE)
    text = with_the_emulator(text, daemon.emulated.announcement)
    return text + '[serve]\ncontainer-listen = ["127.0.0.1:0"]\n'


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated, peer: Callable[[str], Path]) -> Iterator[Daemon]:
    """Return a daemon with the document's configuration, which its user's commands find by themselves."""
    peer("curl")
    with owned(Daemon(helper, tmp_path, emulated)) as made:
        made.config = tmp_path / "home" / ".config" / "rolesanywhere-helper" / "config.toml"
        made.config.parent.mkdir(parents=True, mode=0o700)
        made.config.write_text(localised(made))
        made.config.chmod(0o600)
        # As systemd gives it one, which users cannot read: what their commands have, the daemon has handed out. In this
        # test the sessions have one role, and with it one place in a cache.
        made.cache = tmp_path / "cache"
        made.cache.mkdir(mode=0o700)
        made.environment["CACHE_DIRECTORY"] = str(made.cache)
        made.start()
        until(lambda: all(made.from_agent(name).status == 200 for name in ("app", "report")))
        made.key.unlink()  # like the users of a machine, who cannot read it: all comes from the daemon
        yield made


def run(daemon: Daemon, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as cron does: /bin/sh, and four variables."""
    home = str(daemon.folder / "home")
    environment = {"HOME": home, "LOGNAME": "backup", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", **more}
    return subprocess.run(
        ["/bin/sh", "-c", command.replace(HELPER, str(daemon.helper))],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Files


@pytest.mark.parametrize("text", GUIDE.blocks("toml"), ids=["all", "dummy interface"])
def test_the_configurations_load(text: str) -> None:
    settings = load_serve({}, Surroundings({}, "/"), lambda _path, _what: text.encode(), "/c.toml")

    assert settings.warnings == ()
    assert {each.session for each in settings.containers} == {"app"}
    with pytest.raises(ConfigurationError):
        load_serve({}, Surroundings({}, "/"), lambda _path, _what: text.replace("-file", "-fil").encode(), "/c.toml")


def test_nothing_that_is_shell_is_run_by_no_test() -> None:
    blocks = [block.split(maxsplit=1)[0] for block in GUIDE.blocks("sh") if block not in {INTERFACE, SCRIPT}]

    assert sorted(blocks) == ["docker", "docker", "docker", "podman", "systemctl"]


def test_the_parts_fit_together() -> None:
    settings = load_serve({}, Surroundings({}, "/"), lambda _path, _what: CONFIGURATION.encode(), "/c.toml")
    users = {session.name: session.access.users for session in settings.sessions}
    unit, report = (GUIDE.files[f"/etc/systemd/system/{name}.service"] for name in ("app", "report"))
    port = settings.container_listeners[0].port

    assert settings.load_credential is not None
    assert f"LoadCredential=aws-token:{settings.load_credential.socket}\n" in unit
    assert settings.load_credential.units == (("app.service", "app"),)
    assert f"FULL_URI=http://127.0.0.1:{port}/{settings.containers[0].name}\n" in unit
    for text, session in ((unit, "app"), (report, "report")):
        named = re.search("^User=(.+)$", text, re.MULTILINE)
        assert named is not None
        assert named[1] in users[session]
    for line in CRON_LINES:
        found = CRON_LINE.fullmatch(line)
        assert found is not None
        assert found["user"] in users["report"]


@pytest.mark.parametrize("path", [path for path in GUIDE.files if path.endswith(".service")])
def test_systemd_finds_nothing_to_say_about_the_units(path: str, peer: Callable[[str], Path], tmp_path: Path) -> None:
    analyze = peer("systemd")

    def said_of(text: str) -> str:
        unit = tmp_path / Path(path).name
        unit.write_text(text)
        done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False, env={})
        return done.stderr

    text = re.sub("^ExecStart=.*$", "ExecStart=/bin/true", GUIDE.files[path], flags=re.MULTILINE)
    assert said_of(text) == ""
    assert "Usr" in said_of(text.replace("User=", "Usr="))


# cron


def test_the_cron_lines_run_with_crons_environment(daemon: Daemon, tmp_path: Path) -> None:
    job = tmp_path / "backup"
    job.write_text(
        "#!/bin/sh\n"
        'curl -fsS -H "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN" "$AWS_CONTAINER_CREDENTIALS_FULL_URI"\n'
    )
    job.chmod(0o755)
    held = daemon.from_agent("report").document["AccessKeyId"]
    asked = daemon.log.count(f"channel=agent key={held}")
    commands = [found["command"] for line in CRON_LINES if (found := CRON_LINE.fullmatch(line))]
    assert len(commands) == 2
    assert "%" not in "".join(commands), "cron makes lines of it"

    done = [run(daemon, command.replace("/usr/local/bin/backup", str(job))) for command in commands]

    assert [each.returncode for each in done] == [0, 0]
    assert done[0].stderr == "", "cron would send it by mail"
    assert (daemon.folder / "home" / "update.log").read_text().count("wrote credentials") == 1
    assert done[1].stdout + done[1].stderr == ""
    assert json.loads(done[0].stdout)["AccessKeyId"] == held
    assert daemon.log.count(f"channel=agent key={held}") > asked
    written = (tmp_path / "home" / ".aws" / "credentials").read_text()
    assert written.startswith("[legacy]\n")
    assert held in written


def test_the_script_runs_with_crons_environment(daemon: Daemon) -> None:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    more = {"PATH": path, "AWS_ENDPOINT_URL_STS": daemon.emulated.endpoint}

    done = run(daemon, "set -eu\n" + SCRIPT, **more)

    assert done.returncode == 0, done.stderr
    identity = json.loads(done.stdout[done.stdout.index("{") :])
    assert identity["Arn"].split("/")[1] == str(daemon.emulated.announcement["roleArn"]).rpartition("/")[2]


def test_without_the_daemon_the_commands_fail(daemon: Daemon) -> None:
    """The negative control: what they print comes from the daemon."""
    daemon.stop()
    found = CRON_LINE.fullmatch(CRON_LINES[0])
    assert found is not None
    command = found["command"].replace("/usr/local/bin/backup", "/bin/echo ran")

    done = run(daemon, command)

    assert done.returncode != 0
    assert "ran" not in done.stdout


# Containers


def test_curl_on_the_mounted_socket_is_a_credential_process(daemon: Daemon) -> None:
    found = re.search("^credential_process = (.+)$", GUIDE.files["/etc/aws/container.config"], re.MULTILINE)
    assert found is not None
    command = found[1].replace("/run/aws/agent.sock", daemon.agent)

    done = run(daemon, command)

    document = json.loads(done.stdout)
    assert document["Version"] == 1
    assert document["AccessKeyId"] == daemon.from_agent("app").document["AccessKeyId"]
    assert run(daemon, command.replace("sessions/app", "sessions/none")).returncode != 0


# A host with a bridge for containers, in a network of its own. Not every kernel has dummy interfaces; a bridge that
# nothing is connected to is as good a place for an address.
HOST = "set -e; ip link set lo up\n" + INTERFACE.replace("type dummy", "type bridge")
BRIDGE = """
ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip link set docker0 up
exec "$@"
"""
CONTAINER = """
echo is there
read go
ip address add 172.17.0.2/16 dev eth0
ip link set eth0 up
ip route add default via 172.17.0.1
exec "$@"
"""
ASK = """
import os, sys, urllib.request, botocore.session
request = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
request.add_header("Authorization", open(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read())
try:
    urllib.request.urlopen(request, timeout=10)
except urllib.error.HTTPError as error:
    sys.exit(str(error.code))
except OSError:
    sys.exit("cut off")
print(botocore.session.get_session().get_credentials().access_key)
"""


@pytest.fixture
def bridged(daemon: Daemon, as_root: None, peer: Callable[[str], Path]) -> Daemon:
    """Return the daemon stopped, with a cached session and the configuration for the interface."""
    del as_root
    peer("iproute2")
    daemon.stop()
    listens = re.search(r"^\[serve\]\n.*?\n\n", GUIDE.blocks("toml")[1], re.MULTILINE | re.DOTALL)
    assert listens is not None
    text = daemon.config.read_text().partition("[serve]\n")[0]
    daemon.config.write_text(re.sub("^allow-users = .*\n", "", text, flags=re.MULTILINE) + listens[0])
    return daemon


def ask_from_a_container(daemon: Daemon) -> tuple[str, str]:
    """Start the daemon on such a host and ask it from a container; return the key that an SDK found, or what it met."""
    daemon.start(prefix=("unshare", "--net", "sh", "-c", HOST + BRIDGE, "sh"))
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/bin",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.2:9912/app",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": daemon.urls["container"]["app"]["tokenFile"],
    }
    command = ["unshare", "--net", "sh", "-ec", CONTAINER, "sh", sys.executable, "-c", ASK]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as container:
        assert container.stdout is not None
        assert container.stdout.readline() == "is there\n"
        wire = f"ip link add veth0 master docker0 type veth peer name eth0 netns {container.pid}; ip link set veth0 up"
        subprocess.run(["nsenter", f"--target={daemon.pid}", "--net", "sh", "-ec", wire], check=True)
        out, err = container.communicate("go\n", timeout=60)
    return out.strip(), err.strip()


def test_a_container_on_a_bridge_is_served_at_the_address_of_ecs(bridged: Daemon) -> None:
    bridged.start(prefix=("unshare", "--net", "sh", "-c", HOST + BRIDGE, "sh"))
    held = bridged.from_agent("app").document["AccessKeyId"]
    bridged.stop()

    assert ask_from_a_container(bridged) == (held, "")


@pytest.mark.parametrize(
    ("old", "new", "met"),
    [
        ("172.17.0.0/16", "172.18.0.0/16", "cut off"),
        ("[session.app]\n", '[session.app]\nallow-users = ["12345"]\n', "403"),
    ],
)
def test_a_container_that_is_not_meant_is_not_served(bridged: Daemon, old: str, new: str, met: str) -> None:
    text = bridged.config.read_text()
    assert old in text
    bridged.config.write_text(text.replace(old, new))

    assert ask_from_a_container(bridged) == ("", met)
