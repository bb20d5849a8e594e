"""``configure`` as it is installed: the profile that it writes works, and nothing else in the file has changed."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.configloader import load_config

if TYPE_CHECKING:
    from tests.conftest import RunHelper
    from tests.plugins.emulated import Emulated


@pytest.fixture
def config(clean_environment: dict[str, str]) -> Path:
    return Path(clean_environment["HOME"]) / ".aws" / "config"


def process_of(config: Path, profile: str) -> list[str]:
    return shlex.split(load_config(str(config))["profiles"][profile]["credential_process"])


def test_the_aws_cli_uses_the_profile(
    run_helper: RunHelper, emulated: Emulated, clean_environment: dict[str, str], config: Path
) -> None:
    config.parent.mkdir(mode=0o700)
    config.write_text("# mine\n[default]\nregion = eu-central-1\ns3 =\n  addressing_style = path\n")
    config.chmod(0o644)

    done = run_helper("configure", "--profile", "deploy", "--profile-region", "us-east-1", *emulated.flags())

    assert (done.exit_code, done.out) == (0, ""), done.err
    assert f"wrote profile deploy of {config}:" in done.err
    aws = Path(sys.executable).parent / "aws"
    words = [str(aws), "sts", "get-caller-identity", "--profile", "deploy", "--endpoint-url", emulated.endpoint]
    told = subprocess.run(words, env=clean_environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert ":assumed-role/EmulatorRole/" in json.loads(told.stdout)["Arn"]
    assert config.read_text().startswith("# mine\n[default]\nregion = eu-central-1\ns3 =\n  addressing_style = path\n")
    assert config.stat().st_mode & 0o777 == 0o644
    assert run_helper("configure", "--profile", "deploy", *emulated.flags()).err.startswith("nothing to change")


def test_a_line_with_everything_odd_is_read_alike_by_shlex_and_sh(
    run_helper: RunHelper, emulated: Emulated, config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'it\'s a #1 ; $HOME \\ "folder" ünï'
    folder.mkdir()
    for name in ("certificate", "private_key"):
        (folder / name).write_bytes(Path(getattr(emulated, name)).read_bytes())
        (folder / name).chmod(0o600)
    flags = emulated.flags(certificate=f"{folder.name}/certificate", private_key=f"{folder.name}/private_key")

    done = run_helper("configure", "--profile", "odd", *flags)

    assert done.exit_code == 0, done.err
    words = process_of(config, "odd")
    assert words[words.index("--certificate") + 1] == str(folder / "certificate"), "relative paths are made absolute"
    line = load_config(str(config))["profiles"]["odd"]["credential_process"]
    by_sh = subprocess.run(["sh", "-c", line], env={"HOME": str(tmp_path)}, capture_output=True, check=False)
    assert json.loads(by_sh.stdout)["Version"] == 1, by_sh.stderr
    assert " #" not in line
    assert " ;" not in line
    assert line.startswith("/")


def test_a_session_is_named_with_its_file(run_helper: RunHelper, emulated: Emulated, config: Path) -> None:
    file = str(emulated.announcement["config"])

    done = run_helper("configure", "--profile", "deploy", "--config", file)

    assert done.exit_code == 0, done.err
    assert process_of(config, "deploy")[1:] == ["credential-process", "--config", file, "--session", "default"]


def test_what_the_environment_says_is_written_too(run_helper: RunHelper, emulated: Emulated, config: Path) -> None:
    flags = emulated.flags()
    at = flags.index("--role-arn")
    variables = {"ROLESANYWHERE_HELPER_ROLE_ARN": flags[at + 1], "ROLESANYWHERE_HELPER_NO_CACHE": "1"}

    done = run_helper("configure", "--profile", "p", *flags[:at], *flags[at + 2 :], env=variables)

    assert done.exit_code == 0, done.err
    assert {"--role-arn", "--no-cache"} < set(process_of(config, "p"))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "missing: --profile"),
        (("--profile", "p"), "missing: --certificate, --private-key"),
        (("--profile", "a]"), "cannot be the name of a profile"),
        (("--profile", "p", "--profile-region", "here"), "not the name of an AWS region"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    run_helper: RunHelper, emulated: Emulated, config: Path, words: tuple[str, ...], error: str
) -> None:
    flags = emulated.flags() if "missing: --cert" not in error else []

    done = run_helper("configure", *words, *flags)

    assert done.exit_code == 2
    assert error in done.err
    assert not config.exists()


def test_a_secret_is_never_written(run_helper: RunHelper, emulated: Emulated, config: Path) -> None:
    key = "pkcs11:object=x?pin-value=CANARY"

    done = run_helper("configure", "--profile", "p", *emulated.flags(private_key=key))

    assert done.exit_code == 2
    assert "holds a secret" in done.err
    assert "CANARY" not in done.err
    assert not config.exists()


def test_what_aws_clients_prefer_is_told(run_helper: RunHelper, emulated: Emulated, config: Path) -> None:
    config.parent.mkdir(mode=0o700)
    config.write_text("[profile p]\nrole_arn = arn\n")
    (config.parent / "credentials").write_text("[p]\naws_access_key_id = X\n")

    done = run_helper("configure", "--profile", "p", *emulated.flags())

    assert "the profile also has role_arn" in done.err
    assert "AWS clients prefer the keys of [p]" in done.err


def test_a_file_that_cannot_be_read_is_left_alone(run_helper: RunHelper, emulated: Emulated, config: Path) -> None:
    config.parent.mkdir(mode=0o700)
    config.write_text("\ufeff[default]\n")

    done = run_helper("configure", "--profile", "p", *emulated.flags())

    assert done.exit_code == 1
    assert "byte order mark" in done.err
    assert config.read_text() == "\ufeff[default]\n"


def test_on_a_terminal_it_asks_for_what_is_missing(
    helper: Path, emulated: Emulated, clean_environment: dict[str, str], config: Path
) -> None:
    given = emulated.flags()
    at = given.index("--role-arn")
    ours, theirs = pty.openpty()
    words = [str(helper), "configure", "--endpoint", emulated.endpoint, *given[:at]]
    with subprocess.Popen(words, env=clean_environment, stdin=theirs, stderr=theirs) as process:
        try:
            os.close(theirs)
            os.write(ours, f"deploy\n\n{given[at + 1]}\neu-central-1\n".encode())
            said = b""
            while part := read(ours):
                said += part
            assert process.wait(30) == 0, said
        finally:
            process.kill()
            os.close(ours)
    assert b"name of the profile: " in said
    assert b"(--role-arn): " in said
    assert b"(--certificate)" not in said, "what is given is not asked for"
    found = load_config(str(config))["profiles"]["deploy"]
    assert found["region"] == "eu-central-1"
    assert given[at + 1] in found["credential_process"]


def read(terminal: int) -> bytes:
    """Return what was written to a terminal; nothing once the other end is closed (Linux says EIO)."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
