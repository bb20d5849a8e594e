"""The installed units on a booted Debian: the daemon under systemd's rule, asked by curl, against the emulator."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.systemd.conftest import AT_IMDS, IMDS, UNIT
from tests.systemd.machine import HELPER

if TYPE_CHECKING:
    from tests.systemd.conftest import Host

IMDS_SOCKET = "rolesanywhere-helper-imds@main.socket"
AGENT = '[serve.agent]\nsocket = "/run/rolesanywhere-helper/agent.sock"\n'


def status_of_process(host: Host, unit: str = UNIT) -> dict[str, str]:
    """Return what the kernel says of the serving process."""
    text = host.machine.run("cat", f"/proc/{host.machine.show(unit, 'MainPID')}/status").out
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_the_hardened_service_serves_what_curl_asks_for(host: Host) -> None:
    host.configure()

    host.start()

    assert host.access_key().startswith("ASIA")
    assert host.create_session_calls() == 1
    process = status_of_process(host)
    uid = host.machine.run("id", "-u", "rolesanywhere-helper").out.strip()
    assert process["Uid"].split() == [uid] * 4
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    assert {name: value for name, value in process.items() if name.startswith("Cap") and int(value, 16)} == {}
    assert host.machine.show(UNIT, "StatusText"), "STATUS= tells of the next expiry"


@pytest.mark.promise(26)
def test_another_user_is_refused_and_the_journal_says_whom_it_refused(host: Host) -> None:
    host.configure()
    host.start()
    alice = host.machine.run("id", "-u", "alice").out.strip()

    assert host.status_for("root") == "200"
    assert host.status_for("alice") != "200"
    assert re.search(rf"refused .*uid={alice}\b", host.log())


@pytest.mark.promise(74)
def test_a_reload_reads_the_configuration_again_and_keeps_the_old_if_the_new_is_bad(host: Host) -> None:
    host.configure()
    host.start()
    before = status_of_process(host)["Pid"]
    assert host.status_for("alice") != "200"

    host.configure(session='allow-users = ["alice"]')
    reload_and_wait(host)
    assert host.status_for("alice") == "200"

    host.machine.write("/etc/rolesanywhere-helper/config.toml", "this is no TOML\n")
    reload_and_wait(host)
    assert host.status_for("alice") == "200"
    assert status_of_process(host)["Pid"] == before
    assert "config.toml" in host.log()


def reload_and_wait(host: Host) -> None:
    """Reload; under 252 ``systemctl reload`` may return before the daemon has said READY=1 again."""
    cursor = host.machine.cursor()
    host.machine.run("systemctl", "reload", UNIT)
    host.machine.wait_for_log(UNIT, r"^Reloaded ", cursor)
    host.machine.sh("timeout 20 sh -c 'until systemctl is-active -q rolesanywhere-helper; do sleep 0.05; done'")
    host.machine.sh(
        'timeout 20 sh -c \'while test reload-notify = "$(systemctl show --value -p SubState rolesanywhere-helper)"; '
        "do sleep 0.05; done'"
    )


@pytest.mark.promise(70, 75)
def test_the_watchdog_replaces_a_process_that_hangs(host: Host) -> None:
    host.configure()
    host.drop_in("[Service]\nWatchdogSec=2\nRestartSec=100ms\n")
    host.start()
    key = host.access_key()
    stuck = host.machine.show(UNIT, "MainPID")
    cursor = host.machine.cursor()

    host.machine.sh(f"kill -STOP {stuck}")

    host.machine.wait_for_log(UNIT, r"Watchdog timeout", cursor)
    host.machine.wait_for_log(UNIT, r"^Started rolesanywhere-helper\.service", cursor)
    assert host.machine.show(UNIT, "NRestarts") == "1"
    assert host.machine.show(UNIT, "MainPID") != stuck
    assert host.access_key() == key
    assert host.create_session_calls() == 1


def test_a_process_that_runs_is_left_alone_by_the_watchdog(host: Host) -> None:
    """The negative control: longer than the watchdog's patience, and no restart."""
    host.configure()
    host.drop_in("[Service]\nWatchdogSec=1\n")
    host.start()

    host.machine.sh("sleep 3")

    assert host.machine.show(UNIT, "NRestarts") == "0"


@pytest.mark.promise(70)
def test_a_token_and_the_cached_set_outlive_a_restart(host: Host) -> None:
    host.configure()
    host.start()
    token = host.token()
    key = host.access_key(token)

    host.machine.run("systemctl", "stop", UNIT)
    host.start()

    assert host.access_key(token) == key
    assert host.create_session_calls() == 1


@pytest.mark.promise(73)
def test_a_stop_is_a_clean_end(host: Host) -> None:
    host.configure()
    host.start()

    host.machine.run("systemctl", "stop", UNIT)

    assert host.machine.show(UNIT, "Result") == "success"
    assert host.machine.show(UNIT, "ExecMainStatus") == "0"


@pytest.mark.promise(79)
def test_a_socket_that_systemd_holds_starts_the_daemon_and_outlives_it(host: Host) -> None:
    host.configure(f"{IMDS}{AGENT}")
    sockets = (IMDS_SOCKET, "rolesanywhere-helper-agent.socket")
    host.machine.run("systemctl", "start", *sockets)
    assert host.machine.show(UNIT, "ActiveState") == "inactive"

    token = host.token()  # the connection that starts it
    host.start()  # ready is when its first attempt has ended
    key = host.access_key(token)

    # While it restarts, a connection waits; without the sockets it would be refused.
    host.machine.run("systemctl", "restart", "--no-block", UNIT)
    assert host.access_key(token) == key
    by_agent = host.machine.run(
        "curl", "-fsS", "--unix-socket", "/run/rolesanywhere-helper/agent.sock", "http://localhost/v1/sessions/deploy"
    ).out
    assert key in by_agent
    assert host.create_session_calls() == 1


def test_the_key_may_be_roots_alone(host: Host) -> None:
    """``LoadCredential=``: the daemon's user cannot read the file; new files mean a restart."""
    place = "/etc/rolesanywhere-helper"
    given = "/run/credentials/rolesanywhere-helper.service"
    host.configure(certificate=f"{given}/certificate.pem", key=f"{given}/private-key.pem")
    host.machine.run("install", "-m", "600", host.announcement["certificate"], f"{place}/certificate.pem")
    host.machine.run("install", "-m", "600", host.announcement["privateKey"], f"{place}/private-key.pem")
    host.install("credentials")
    host.start()
    assert host.access_key().startswith("ASIA")
    assert host.create_session_calls() == 1
    host.machine.run("systemctl", "start", "rolesanywhere-helper-credentials.path")
    cursor = host.machine.cursor()

    host.machine.run("install", "-m", "600", host.announcement["privateKey"], f"{place}/private-key.pem")

    host.machine.wait_for_log(UNIT, r"^Started rolesanywhere-helper\.service", cursor)
    assert host.access_key().startswith("ASIA")


def test_without_the_credential_the_key_is_out_of_reach(host: Host) -> None:
    """The negative control: the same key, and no ``LoadCredential=``."""
    place = "/etc/rolesanywhere-helper"
    host.configure(certificate=f"{place}/certificate.pem", key=f"{place}/private-key.pem")
    host.machine.run("install", "-m", "644", host.announcement["certificate"], f"{place}/certificate.pem")
    host.machine.run("install", "-m", "600", host.announcement["privateKey"], f"{place}/private-key.pem")

    host.start()

    assert host.create_session_calls() == 0
    assert "Permission denied" in host.log()


def test_a_dynamic_user_serves_and_caches(host: Host) -> None:
    host.configure()
    host.install("dynamic-user")
    host.start()

    key = host.access_key()
    host.machine.run("systemctl", "restart", UNIT)

    assert host.access_key() == key
    assert host.create_session_calls() == 1
    assert host.machine.sh("ls /var/cache/private/rolesanywhere-helper/*.set").out.count(".set") == 1


def test_an_instance_reads_its_own_configuration(host: Host) -> None:
    host.configure(f'{IMDS}listen = ["127.0.0.1:9921"]\n', name="second")

    host.start("rolesanywhere-helper@second.service")

    assert host.access_key(at=AT_IMDS.replace("9911", "9921")).startswith("ASIA")
    assert host.machine.sh("ls /var/cache/rolesanywhere-helper-second/*.set").out.count(".set") == 1


def test_a_dependent_waits_until_there_are_credentials(host: Host) -> None:
    host.configure(f"{IMDS}{AGENT}")

    host.start("rolesanywhere-helper-wait@deploy.service")

    assert host.create_session_calls() == 1
    assert host.machine.show(UNIT, "ActiveState") == "active"
    unknown = host.machine.run("systemctl", "start", "rolesanywhere-helper-wait@nobody.service", check=False)
    assert unknown.code != 0


@pytest.mark.promise(28)
def test_a_unit_that_blinds_the_daemon_is_named(host: Host) -> None:
    host.configure()
    host.drop_in("[Service]\nPrivateUsers=yes\n")

    assert host.machine.run("systemctl", "start", UNIT, check=False).code != 0

    assert "PrivateUsers" in host.log()


def test_a_configuration_without_meaning_ends_the_start_at_once(host: Host) -> None:
    host.machine.write("/etc/rolesanywhere-helper/config.toml", "[serve.imds.main]\nsesion = 1\n")

    assert host.machine.run("systemctl", "start", UNIT, check=False).code != 0

    assert host.machine.show(UNIT, "ActiveState") == "failed"
    assert host.machine.show(UNIT, "NRestarts") == "0"
    assert "error: " in host.log()


def test_a_users_own_systemd_runs_it(host: Host) -> None:
    alice = host.machine.run("id", "-u", "alice").out.strip()
    # What libpam-systemd, which a minimal Debian leaves out, does for a login.
    plain = "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n"
    host.machine.write("/run/systemd/system/user@.service.d/plain.conf", plain)
    host.machine.run("systemctl", "daemon-reload")
    host.machine.run("systemctl", "start", f"user@{alice}.service")
    as_alice = ("runuser", "-u", "alice", "--", "env", f"XDG_RUNTIME_DIR=/run/user/{alice}", "HOME=/home/alice")
    host.configure()
    config = "/home/alice/.config/rolesanywhere-helper"
    host.machine.sh(
        f"runuser -u alice -- mkdir -p {config}\n"
        f"sed 's|/etc/ssl/private/host.key|{config}/host.key|' /etc/rolesanywhere-helper/config.toml "
        f"> {config}/config.toml\n"
        f"install -m 600 -o alice {host.announcement['privateKey']} {config}/host.key\n"
    )
    try:
        host.machine.run(*as_alice, HELPER, "systemd", "--install", "--user")
        host.machine.run(*as_alice, "systemctl", "--user", "daemon-reload")
        started = host.machine.run(*as_alice, "systemctl", "--user", "start", UNIT, check=False)

        assert started.code == 0, host.machine.run("journalctl", "--no-pager", "-n", "50").out
        assert host.status_for("alice") == "200"
    finally:
        host.machine.run("systemctl", "stop", f"user@{alice}.service")
