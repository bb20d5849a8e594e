"""Command lines as the documentation of the official helper writes them, with nothing but the program's name replaced.

Sources: the user guide ("credential-helper", its synopsis, options and example of a config file), the SDK reference
guide ("IAM Roles Anywhere"), and README.md and commands.md of aws/rolesanywhere-credential-helper. What the
documentation leaves open (``/path/to/certificate``, ``TA_ID`` …) is filled in as a reader would.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.emulator.server import Running
    from tests.conftest import RunHelper

OFFICIAL = "./aws_signing_helper"

# The synopsis has every value in a place of its own; order and spelling are the documentation's.
GUIDE = (
    "./aws_signing_helper credential-process --certificate /path/to/certificate --private-key /path/to/private-key "
    "--trust-anchor-arn arn:aws:rolesanywhere:region:account:trust-anchor/TA_ID "
    "--profile-arn arn:aws:rolesanywhere:region:account:profile/PROFILE_ID "
    "--role-arn arn:aws:iam::account:role/role-name-with-path --endpoint ENDPOINT"
)
SYNOPSIS = (
    "./aws_signing_helper credential-process --certificate /path/to/certificate --endpoint ENDPOINT --region region "
    "--intermediates /path/to/intermediates --private-key /path/to/private-key "
    "--profile-arn arn:aws:rolesanywhere:region:account:profile/PROFILE_ID "
    "--role-arn arn:aws:iam::account:role/role-name-with-path --session-duration 900 "
    "--trust-anchor-arn arn:aws:rolesanywhere:region:account:trust-anchor/TA_ID "
    "--with-proxy --no-verify-ssl --role-session-name deploy"
)
README = (
    "./aws_signing_helper credential-process --certificate credential-process-data/client-cert.pem "
    "--private-key credential-process-data/client-key.pem --role-arn arn:aws:iam::account:role/role-name-with-path "
    "--trust-anchor-arn arn:aws:rolesanywhere:region:account:trust-anchor/TA_ID "
    "--profile-arn arn:aws:rolesanywhere:region:account:profile/PROFILE_ID --endpoint ENDPOINT"
)
LINES = {
    "the user guide's config file": GUIDE,
    "the user guide's synopsis": SYNOPSIS,
    "the README's example": README,
    "with an equals sign": re.sub(r"(--[a-z-]+) ", r"\1=", GUIDE),
    "with --debug": f"{GUIDE} --debug",
    "with --with-proxy": f"{GUIDE} --with-proxy",
    "with --region": f"{GUIDE} --region region",
    "with --session-duration": f"{GUIDE} --session-duration 900",
    "with --session-duration=": f"{GUIDE} --session-duration=900",
    "with --role-session-name": f"{GUIDE} --role-session-name deploy",
    "with switches that say true": f"{GUIDE} --debug=true --with-proxy=T --no-verify-ssl=1",
    "with switches that say false": f"{GUIDE} --debug=false --with-proxy=F --no-verify-ssl=0",
    "with a switch between other flags": GUIDE.replace(" --private-key", " --with-proxy --private-key"),
    "with a flag twice, of which the last counts": f"{GUIDE} --session-duration 3600 --session-duration 900",
}
SHORT = {line for line in LINES if "duration" in line or "synopsis" in line or "the last" in line}
NAMED = {line for line in LINES if "role-session-name" in line or "synopsis" in line}

# Asks for every profile of the AWS config file who it is, in one process: to start boto3 takes a second.
WHO_AM_I = """
import datetime, json, sys, boto3
endpoint, told = sys.argv[1], {}
for profile in boto3.Session().available_profiles:
    try:
        session = boto3.Session(profile_name=profile)
        client = session.client("sts", endpoint_url=endpoint)
        answer = client.get_caller_identity()
        left = session.get_credentials()._expiry_time - datetime.datetime.now(datetime.timezone.utc)
        told[profile] = {"arn": answer["Arn"], "left": left.total_seconds(), "region": client.meta.region_name}
    except Exception as error:
        told[profile] = {"error": str(error)}
json.dump(told, sys.stdout)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Settings(tmp_path_factory.mktemp("emulator"))) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def machine(service: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of a user who has put the files where the documentation has them."""
    home = tmp_path_factory.mktemp("home")
    said = service.announcement
    for path, content in (
        ("credential-process-data/client-cert.pem", said["certificate"]),
        ("credential-process-data/client-key.pem", said["privateKey"]),
        ("credential-process-data/root-cert.pem", said["caCertificate"]),
    ):
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).touch(mode=0o600)
        (home / path).write_bytes(Path(content).read_bytes())
    return home


def filled_in(line: str, service: Running, machine: Path, helper: Path) -> str:
    """Replace the program's name, and what the documentation leaves to the reader."""
    said, data = service.announcement, machine / "credential-process-data"
    for place, value in {
        OFFICIAL: helper,
        "/path/to/certificate": data / "client-cert.pem",
        "/path/to/private-key": data / "client-key.pem",
        "/path/to/intermediates": data / "root-cert.pem",
        "arn:aws:rolesanywhere:region:account:trust-anchor/TA_ID": said["trustAnchorArn"],
        "arn:aws:rolesanywhere:region:account:profile/PROFILE_ID": said["profileArn"],
        "arn:aws:iam::account:role/role-name-with-path": said["roleArn"],
        "ENDPOINT": service.endpoint,
        "--region region": f"--region {said['region']}",
    }.items():
        line = line.replace(place, str(value))
    return line


def environment(home: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AWS_EC2_METADATA_DISABLED": "true",
        # What --with-proxy may not use for this machine: nothing listens there.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "",
    }


@pytest.fixture(scope="module")
def told(service: Running, machine: Path, helper: Path) -> dict[str, dict[str, Any]]:
    """Let boto3 use every line from one AWS config file; return what STS says to each."""
    (machine / ".aws").mkdir()
    lines = {f"line-{number}": line for number, line in enumerate(LINES.values())} | {"broken": BROKEN}
    profiles = [
        f"[profile {name}]\n"
        f"    credential_process = {filled_in(line, service, machine, helper)}\n"
        f"    region = {service.announcement['region']}\n"
        for name, line in lines.items()
    ]
    (machine / ".aws" / "config").write_text("\n".join(profiles))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WHO_AM_I, service.endpoint],
        env=environment(machine),
        cwd=machine,
        capture_output=True,
        check=True,
        timeout=120,
    )
    answers: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return dict(zip([*LINES, "broken"], (answers[name] for name in lines), strict=True))


BROKEN = f"{GUIDE} --role-arn arn:aws:iam::111122223333:role/Nobody"


@pytest.mark.parametrize("line", LINES)
def test_boto3_works_with_the_line_as_it_is(line: str, told: dict[str, dict[str, Any]], service: Running) -> None:
    answer = told[line]
    assert "error" not in answer, answer
    role = str(service.announcement["roleArn"]).rpartition("/")[2]
    assert f":assumed-role/{role}/" in answer["arn"]
    assert answer["arn"].endswith("/deploy") is (line in NAMED)
    assert (answer["left"] <= 900) is (line in SHORT)
    assert 850 < answer["left"] <= 3_600


def test_the_negative_control_a_line_with_another_role(told: dict[str, dict[str, Any]]) -> None:
    assert "Requested Role isn't one of those listed in the Profile" in told["broken"]["error"]


def test_the_readmes_shell_lines_work(service: Running, machine: Path, helper: Path) -> None:
    """As one would type them, with the ARNs in variables and the line broken with backslashes."""
    script = """
/path/to/aws_signing_helper credential-process \\
    --certificate credential-process-data/client-cert.pem \\
    --private-key credential-process-data/client-key.pem \\
    --role-arn ${ROLE_ARN} \\
    --trust-anchor-arn ${TA_ARN} \\
    --profile-arn ${PROFILE_ARN}
"""
    said = service.announcement
    given = {
        "ROLE_ARN": said["roleArn"],
        "TA_ARN": said["trustAnchorArn"],
        "PROFILE_ARN": said["profileArn"],
        "AWS_ENDPOINT_URL_ROLESANYWHERE": service.endpoint,
    }
    done = subprocess.run(
        ["sh", "-euc", script.replace("/path/to/aws_signing_helper", str(helper))],
        env=environment(machine) | given,
        cwd=machine,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["Version"] == 1


def test_the_line_of_commands_md_lacks_what_it_calls_required(run_helper: RunHelper) -> None:
    """Its example leaves out --profile-arn, which the service requires: that is said, before anything is read."""
    done = run_helper(
        "credential-process",
        *("--certificate", "client-cert.pem"),
        *("--private-key", "client-key.pem"),
        *("--role-arn", "arn:aws:iam::123456789012:role/MyRole"),
        *("--trust-anchor-arn", "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/abcdef1234567890"),
    )
    assert (done.exit_code, done.stdout) == (2, b"")
    assert done.err.startswith("error: missing: --profile-arn\nhint: give --profile-arn")


# Flags for keys that are elsewhere mean nothing for a key in a file, and are no errors there.

HARMLESS = (
    "--use-latest-expiring-certificate",
    "--pkcs11-lib /usr/lib/libsofthsm2.so",
    "--reuse-pin",
    "--reuse-pin=true",
    "--tpm-key-password canary",
    "--no-tpm-key-password",
    "--pkcs8-password canary",
)


@pytest.mark.parametrize("flags", HARMLESS)
def test_a_flag_for_another_kind_of_key_changes_nothing(
    run_helper: RunHelper, service: Running, machine: Path, helper: Path, flags: str
) -> None:
    words = filled_in(GUIDE, service, machine, helper).split()[1:]
    done = run_helper(*words, *flags.split())
    assert (done.exit_code, done.err) == (0, "")
    assert json.loads(done.out)["AccessKeyId"].startswith("ASIA")


# Keys and certificates that are not there: one line that says where they were looked for, and no call.

SELECTOR = "Key=x509Subject,Value=CN=Subject Key=x509Issuer,Value=CN=Issuer Key=x509Serial,Value=15D19632234BF759"
NOT_THERE = {
    f"--cert-selector '{SELECTOR}'": (
        2,
        "--cert-selector alone chooses from the certificate store of Windows or macOS",
    ),
    "--cert-selector file://path/to/selector.json": (2, "--cert-selector alone chooses from"),
    "--system-store-name MY": (2, "--system-store-name names a certificate store of Windows"),
    "--certificate pkcs11:manufacturer=piv_II;id=%01": (1, ""),
    "--certificate pkcs11:object=My%20RA%20key": (1, ""),
    "--private-key pkcs11:model=SoftHSM%20v2;object=My%20RA%20key": (1, ""),
    "--private-key handle:0x81000001": (1, ""),
}


@pytest.mark.parametrize("flags", NOT_THERE)
def test_what_is_not_there_is_one_clear_line(
    run_helper: RunHelper, service: Running, machine: Path, helper: Path, flags: str
) -> None:
    exit_code, begins = NOT_THERE[flags]
    words = filled_in(GUIDE, service, machine, helper).split()[1:]
    before = len(service.requests())
    environment = {"SOFTHSM2_CONF": "/dev/null", "TPM2TOOLS_TCTI": "device:/nonexistent"}
    done = run_helper(*words, *shlex.split(flags), env=environment)
    assert (done.exit_code, done.stdout) == (exit_code, b"")
    what, hint = done.err.splitlines()
    assert what.startswith(f"error: {begins}")
    assert hint.startswith("hint: ")
    assert len(service.requests()) == before
