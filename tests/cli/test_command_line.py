"""Help, flags, errors and exit codes, as a script or a person meets them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunHelper

COMMANDS = [
    "credential-process",
    "demo",
    "emulator",
    "read-certificate-data",
    "serve",
    "sign-string",
    "status",
    "version",
]
ERROR = re.compile(r"error: .+\nhint: .+\n")
CANARY = "CANARY-on-the-command-line"


def test_help_lists_every_command(run_helper: RunHelper) -> None:
    done = run_helper("--help")

    assert done.exit_code == 0
    assert done.stderr == b""
    assert all(f"  {command} " in done.out for command in COMMANDS)
    assert "\n  renew " not in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run_helper: RunHelper, command: str) -> None:
    done = run_helper(command, "-h")

    assert done.exit_code == 0
    assert done.stderr == b""
    assert "--debug" in done.out
    assert f"rolesanywhere-helper {command}" in done.out.partition("example:")[2]


def test_version_is_the_number_and_nothing_else(run_helper: RunHelper) -> None:
    assert run_helper("version").out == f"{__version__}\n"
    assert run_helper("--version").out == f"rolesanywhere-helper {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ([], "no command was given", "--help"),
        (["credential-proces"], "unknown command 'credential-proces'", "did you mean credential-process?"),
        (["xyzzy"], "unknown command 'xyzzy'", "there is: completion"),
        (["version", "--debgu"], "unknown flag '--debgu'", "did you mean --debug?"),
        (["version", "--xyzzy=1"], "unknown flag '--xyzzy'", "version --help"),
        (["version", "more"], "1 argument(s) too many", "version --help"),
        (["credential-process", "--cert", "x"], "unknown flag '--cert'", "--cert"),
        (["credential-process", "--certificate"], "argument --certificate: expected one argument", "--help"),
        (["credential-process", "--with-proxy=maybe"], "--with-proxy", "--help"),
        (
            ["credential-process", "--cert-selector=Key=x509Subject,Value=CN=x"],
            "--cert-selector alone",
            "--cert-directory",
        ),
        (["credential-process", "--private-key", "https://x"], "names a https: reference", "pkcs11"),
        (["credential-process", "--session-duration", "soon"], "not a duration: 'soon'", "1h"),
        (["credential-process", "--session", "x"], "no configuration file", "looked for"),
        (["credential-process", "--config", "none.toml"], "no configuration file", "--config"),
        (["read-certificate-data"], "missing: --certificate", "--certificate FILE"),
        (["sign-string"], "missing: --private-key", "--private-key FILE"),
        (["sign-string", "--digest", "MD5"], "--digest", "--help"),
        (["emulator"], "missing: --directory", "--directory DIR"),
        (["emulator", "--directory", "d", "--port", "70000"], "not a port", "65535"),
        (["--log-format", "xml", "version"], "--log-format", "--help"),
        (["--log-file", "no/such/directory/log", "version"], "log file no/such/directory/log", "plain file"),
        (["--log-file", "/dev/null", "version"], "log file /dev/null is no plain file", "plain file"),
    ],
)
def test_a_wrong_command_line_is_one_error_and_one_hint(
    run_helper: RunHelper, arguments: list[str], error: str, hint: str
) -> None:
    done = run_helper(*arguments)

    assert done.exit_code == 2
    assert done.stdout == b""
    assert ERROR.fullmatch(done.err)
    assert error in done.err.splitlines()[0]
    assert hint in done.err.splitlines()[1]


@pytest.mark.promise(72)
@pytest.mark.parametrize(
    "arguments",
    [
        ["credential-process", "--pkcs8-password", CANARY],
        ["credential-process", f"--tpm-key-password={CANARY}"],
        ["credential-process", f"--pkcs8-pasword={CANARY}"],
        ["credential-process", "--pkcs8-pasword", CANARY],
        ["credential-process", CANARY],
        ["credential-process", "--private-key", f"pkcs11:token=x?pin-value={CANARY}"],
        ["credential-process", f"--with-proxy={CANARY}"],
        ["sign-string", "--pkcs8-password", CANARY],
    ],
)
def test_a_wrong_command_line_is_not_repeated(run_helper: RunHelper, arguments: list[str]) -> None:
    done = run_helper(*arguments, "--debug")

    assert done.exit_code == 2
    assert CANARY not in done.out + done.err


@pytest.mark.parametrize("flags", [["--debug"], ["--debug=true"], ["--log-format", "json"], ["--log-file", "log"]])
def test_flags_of_every_command_stand_before_or_after_it(run_helper: RunHelper, flags: list[str]) -> None:
    assert run_helper(*flags, "version").out == f"{__version__}\n"
    assert run_helper("version", *flags).out == f"{__version__}\n"


def test_the_value_of_a_global_flag_is_not_taken_for_the_command(run_helper: RunHelper) -> None:
    assert run_helper("--log-file", "serve", "version").exit_code == 0
    assert run_helper("--config", "serve", "version").exit_code == 0
    assert run_helper("--debug", "serve", "version").exit_code == 2


def test_without_the_extra_the_emulator_says_what_to_install(run_helper: RunHelper, tmp_path: Path) -> None:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "aiohttp.py").write_text("raise ModuleNotFoundError('no', name='aiohttp')\n")

    done = run_helper("emulator", "--directory", "d", env={"PYTHONPATH": str(tmp_path / "missing")})

    assert done.exit_code == 2
    assert done.err.splitlines()[1] == "hint: pip install 'rolesanywhere-helper[emulator]'"
