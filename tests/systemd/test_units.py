"""The units as ``systemd --install`` writes them: what systemd's own programs say, and that they stand in one place."""

from __future__ import annotations

import configparser
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.cli.commands import COMMANDS
from rolesanywhere_helper.cli.systemd import Units
from tests.systemd import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import RunHelper

TEMPLATES = machine.ROOT / "systemd"
SERVICE = "rolesanywhere-helper.service"
DROP_INS = sorted(file.stem for file in (TEMPLATES / "drop-ins").glob("*.conf"))
LIMIT = 1.5


@pytest.fixture
def installed(run_helper: RunHelper, tmp_path: Path) -> Path:
    """Return the folder of the system's units, installed below a prefix."""
    assert run_helper("systemd", "--install", "--prefix", tmp_path / "root").exit_code == 0
    return tmp_path / "root/etc/systemd/system"


@pytest.fixture
def analyze(peer: Callable[[str], Path], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    program = peer("systemd")

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        # As short as a real one: the path of a socket in it has at most 107 bytes.
        with tempfile.TemporaryDirectory(prefix="run-") as runtime:
            return analyze_in(runtime, *words)

    def analyze_in(runtime: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": runtime}
        return subprocess.run([program, *words], env=environment, capture_output=True, text=True, check=False)

    return run


def exposure(report: str) -> float:
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", report)
    assert found is not None, report
    return float(found[1])


def test_systemd_finds_nothing_to_say(
    installed: Path, analyze: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    units = sorted(file for file in installed.iterdir() if file.is_file())

    said = {unit.name: analyze("verify", unit).stderr for unit in units}

    assert {SERVICE, "rolesanywhere-helper@.service", "rolesanywhere-helper-imds@.socket"} <= set(said)
    assert {name: text for name, text in said.items() if text} == {}


def test_systemd_finds_nothing_to_say_for_a_user(
    run_helper: RunHelper, tmp_path: Path, analyze: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_helper("systemd", "--install", "--user")

    units = [Path(line) for line in done.out.splitlines()]
    assert tmp_path / "home/.config/systemd/user" / SERVICE in units
    assert {unit.name: analyze("verify", "--user", unit).stderr for unit in units if unit.suffix != ".conf"} == {
        unit.name: "" for unit in units if unit.suffix != ".conf"
    }


def test_a_mistake_in_a_unit_is_found(
    installed: Path, analyze: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    unit = installed / SERVICE
    unit.write_text(unit.read_text().replace("UMask=", "Umask="))

    assert "Umask" in analyze("verify", unit).stderr


@pytest.mark.parametrize("drop_ins", [(), ("ssl-cert",), ("credentials",), ("dynamic-user",)], ids=str)
def test_the_system_service_is_hardened(
    run_helper: RunHelper,
    tmp_path: Path,
    analyze: Callable[..., subprocess.CompletedProcess[str]],
    drop_ins: tuple[str, ...],
) -> None:
    chosen = [word for name in drop_ins for word in ("--with", name)]
    run_helper("systemd", "--install", "--prefix", tmp_path / "root", *chosen)
    unit = tmp_path / "root/etc/systemd/system" / SERVICE

    assert analyze("verify", unit).stderr == ""
    assert exposure(analyze("security", "--offline=true", "--no-pager", unit).stdout) <= LIMIT
    assert (
        exposure(analyze("security", "--offline=true", "--no-pager", unit.with_stem(f"{unit.stem}@")).stdout) <= LIMIT
    )


def test_a_service_that_is_not_hardened_is_found(
    tmp_path: Path, analyze: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    unit = tmp_path / SERVICE
    unit.write_text("[Service]\nExecStart=/bin/true\n")

    assert exposure(analyze("security", "--offline=true", "--no-pager", unit).stdout) > LIMIT


def lines(name: str) -> list[str]:
    text = (TEMPLATES / name).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_an_instance_differs_by_its_names_alone() -> None:
    alone, instance = lines(SERVICE), lines("rolesanywhere-helper@.service")

    assert [line for line in alone if line not in instance] == [
        "Description=AWS credentials from an X.509 certificate (IAM Roles Anywhere)",
        "ExecStart=/usr/bin/rolesanywhere-helper serve --config /etc/rolesanywhere-helper/config.toml",
        "CacheDirectory=rolesanywhere-helper",
        "RuntimeDirectory=rolesanywhere-helper",
    ]
    assert [line.replace("-%i", "").replace(", %i", "").replace("%i.toml", "config.toml") for line in instance] == alone


@pytest.mark.parametrize(
    "trap", ["PrivateUsers=", "ProcSubset=", "IPAddressDeny=", "IPAddressAllow=", "PrivateNetwork=", "PAMName="]
)
def test_the_daemon_is_not_blinded(trap: str) -> None:
    """Each of these looks like hardening, and takes something away that the daemon lives on."""
    for name in (SERVICE, "rolesanywhere-helper@.service", f"user/{SERVICE}"):
        assert not [line for line in lines(name) if line.startswith(trap)], name


def test_units_run_commands_that_exist() -> None:
    known = {command.name for command in COMMANDS}
    text = "\n".join(file.read_text() for file in TEMPLATES.rglob("*") if file.suffix in {".service", ".conf"})
    run = set(re.findall(r"^Exec\w+=/usr/bin/rolesanywhere-helper (\S+)", text, re.MULTILINE))

    assert run == {"serve", "status", "update"}
    assert run <= known


def test_sockets_have_the_names_that_the_daemon_knows() -> None:
    names = {}
    for file in TEMPLATES.glob("*.socket"):
        unit = configparser.ConfigParser(interpolation=None, strict=False)
        unit.read(file)
        names[file.name] = (unit["Socket"]["FileDescriptorName"], unit["Socket"]["Service"])

    assert names == {
        "rolesanywhere-helper-agent.socket": ("agent", SERVICE),
        "rolesanywhere-helper-container.socket": ("container", SERVICE),
        "rolesanywhere-helper-imds@.socket": ("imds-%i", SERVICE),
        "rolesanywhere-helper-metrics.socket": ("metrics", SERVICE),
    }


class TestCommand:
    def test_print_gives_the_unit_with_the_path_of_the_command(self, run_helper: RunHelper, helper: Path) -> None:
        done = run_helper("systemd", "--print", SERVICE)

        assert (done.exit_code, done.err) == (0, "")
        assert f"ExecStart={helper} serve --config" in done.out
        assert done.out.replace(str(helper), "/usr/bin/rolesanywhere-helper") == (TEMPLATES / SERVICE).read_text()

    def test_print_alone_gives_all_units(self, run_helper: RunHelper) -> None:
        told = re.findall(r"^# === (\S+)$", run_helper("systemd", "--print").out, re.MULTILINE)

        assert set(told) == {file.name for file in TEMPLATES.glob("rolesanywhere-helper*")}

    def test_install_writes_readable_files_and_says_what_comes_next(
        self, run_helper: RunHelper, tmp_path: Path
    ) -> None:
        done = run_helper("systemd", "--install", "--prefix", tmp_path / "root", "--with", "tpm")
        written = [Path(line) for line in done.out.splitlines()]

        assert done.exit_code == 0
        assert sorted(written) == sorted(file for file in (tmp_path / "root").rglob("*") if file.is_file())
        assert {file.stat().st_mode & 0o777 for file in written} == {0o644}
        assert tmp_path / f"root/etc/systemd/system/{SERVICE}.d/tpm.conf" in written
        assert tmp_path / "root/etc/sysusers.d/rolesanywhere-helper.conf" in written
        assert "systemctl daemon-reload" in done.err
        assert f"systemctl enable --now {SERVICE}" in done.err

    def test_installed_again_it_replaces_the_units_and_keeps_local_changes(
        self, run_helper: RunHelper, tmp_path: Path, installed: Path
    ) -> None:
        before = (installed / SERVICE).read_text()
        (installed / SERVICE).write_text("old")
        local = installed / f"{SERVICE}.d/override.conf"
        local.parent.mkdir(exist_ok=True)
        local.write_text("mine")

        assert run_helper("systemd", "--install", "--prefix", tmp_path / "root").exit_code == 0

        assert (installed / SERVICE).read_text() == before
        assert local.read_text() == "mine"

    def test_what_cannot_be_written_is_told(self, run_helper: RunHelper, tmp_path: Path) -> None:
        (tmp_path / "root").write_text("a file")

        done = run_helper("systemd", "--install", "--prefix", tmp_path / "root")

        assert done.exit_code == 1
        assert done.err.splitlines()[-2].startswith(f"error: cannot write {tmp_path}/root/etc/systemd/system/")

    @pytest.mark.parametrize(
        ("words", "error"),
        [
            ((), "error: say either --print or --install"),
            (("--print", "--install"), "error: say either --print or --install"),
            (("--print", "other.service"), "error: there is no unit 'other.service'"),
            (("--install", "--prefix", "root", "--with", "other"), "error: --with: there is no drop-in 'other'"),
        ],
    )
    def test_what_has_no_meaning_is_refused(
        self, run_helper: RunHelper, tmp_path: Path, words: tuple[str, ...], error: str
    ) -> None:
        done = run_helper("systemd", *words)

        assert done.exit_code == 2
        assert error in done.err
        assert not (tmp_path / "root").exists()

    @pytest.mark.parametrize(
        ("command", "written"),
        [
            ("/opt/rah/bin/rolesanywhere-helper", "/opt/rah/bin/rolesanywhere-helper"),
            ("/opt/a b/rolesanywhere-helper", '"/opt/a b/rolesanywhere-helper"'),
            ('/opt/100%/"x"/rolesanywhere-helper', '"/opt/100%%/\\"x\\"/rolesanywhere-helper"'),
        ],
    )
    def test_the_path_is_written_as_systemd_reads_it(self, command: str, written: str) -> None:
        units = Units(TEMPLATES, command, for_user=False)

        assert f"ExecStart={written} serve " in units.content(TEMPLATES / SERVICE).decode()

    def test_every_drop_in_can_be_chosen(self, run_helper: RunHelper, tmp_path: Path) -> None:
        chosen = [word for name in DROP_INS for word in ("--with", name)]

        run_helper("systemd", "--install", "--prefix", tmp_path / "root", *chosen)

        place = tmp_path / "root/etc/systemd/system"
        assert sorted(file.stem for file in (place / f"{SERVICE}.d").iterdir()) == DROP_INS
        of_instances = sorted(file.stem for file in (place / "rolesanywhere-helper@.service.d").iterdir())
        assert of_instances == [name for name in DROP_INS if name != "credentials"]
