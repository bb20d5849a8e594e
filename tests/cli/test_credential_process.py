"""``credential-process`` as SDKs run it: standard output, standard error, exit code."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from rolesanywhere_helper.emulator.server import Running
    from tests.conftest import RunHelper

KEYS = {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration", "AccountId"}
CANARY = "CANARYCANARYCANARY"


def is_document(output: bytes) -> bool:
    return set(json.loads(output)) == KEYS


def test_the_official_helpers_flags_give_a_document(run_helper: RunHelper, session_flags: list[str]) -> None:
    done = run_helper("credential-process", *session_flags)

    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)


def test_values_after_an_equals_sign_mean_the_same(run_helper: RunHelper, session_flags: list[str]) -> None:
    joined = [f"{name}={value}" for name, value in zip(session_flags[::2], session_flags[1::2], strict=True)]

    done = run_helper("credential-process", *joined, "--with-proxy=false", "--no-verify-ssl=0", "--debug")

    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)


def test_everything_can_come_from_the_environment(run_helper: RunHelper, session_flags: list[str]) -> None:
    pairs = zip(session_flags[::2], session_flags[1::2], strict=True)
    variables = {"ROLESANYWHERE_HELPER_" + name[2:].upper().replace("-", "_"): value for name, value in pairs}

    done = run_helper("credential-process", env=variables)

    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)


@pytest.mark.parametrize("arguments", [[], ["--session", "default"], ["--session=default", "--no-cache"]])
def test_the_emulators_configuration_file_works(run_helper: RunHelper, emulator: Running, arguments: list[str]) -> None:
    config = emulator.announcement["config"]

    assert is_document(run_helper("credential-process", *arguments, "--config", config).stdout)
    assert is_document(run_helper("--config", config, "credential-process", *arguments).stdout)


def test_what_is_asked_for_reaches_the_service(
    run_helper: RunHelper, emulator: Running, session_flags: list[str]
) -> None:
    more = ["--session-duration", "900", "--role-session-name", "deploy", "--instance-properties", "a=b"]

    assert run_helper("credential-process", "--no-cache", *session_flags, *more).exit_code == 0

    seen = json.dumps(emulator.requests())
    assert "deploy" in seen


@pytest.mark.promise(42)
@pytest.mark.parametrize("where", ["before", "after"])
def test_debug_on_success_writes_nothing_to_a_stderr_that_is_no_terminal(
    run_helper: RunHelper, session_flags: list[str], where: str
) -> None:
    words = ["credential-process", *session_flags, "--no-cache"]

    done = run_helper(*(["--debug", *words] if where == "before" else [*words, "--debug"]))

    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)


def test_debug_on_failure_tells_how_it_went(run_helper: RunHelper, emulator: Running, session_flags: list[str]) -> None:
    emulator.set_fault(status=403, message="Certificate revoked")

    quiet = run_helper("credential-process", *session_flags, "--no-cache")
    debug = run_helper("credential-process", *session_flags, "--no-cache", "--debug")

    assert (quiet.exit_code, quiet.stdout) == (1, b"")
    assert quiet.err.startswith("error: ")
    assert quiet.err.count("\n") == 2
    assert debug.stdout == b""
    assert "DEBUG rolesanywhere_helper" in debug.err
    assert debug.err.endswith(quiet.err)


def test_a_warning_is_written_to_a_terminal(
    helper: Path, clean_environment: dict[str, str], session_flags: list[str]
) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [helper, "credential-process", *session_flags, "--no-cache", "--no-verify-ssl"],
            env=clean_environment,
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            timeout=60,
        )
        assert b"NOT verified" in os.read(ours, 65536)
        assert is_document(done.stdout)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_warning_is_not_written_to_a_pipe_but_to_the_log_file(
    run_helper: RunHelper, session_flags: list[str], tmp_path: Path
) -> None:
    words = ["credential-process", *session_flags, "--no-cache", "--no-verify-ssl"]

    without = run_helper(*words)
    logged = run_helper(*words, "--log-file", "run.log", "--log-format", "json")

    assert (without.exit_code, without.stderr) == (0, b"")
    assert (logged.exit_code, logged.stderr) == (0, b"")
    log = tmp_path / "run.log"
    assert log.stat().st_mode & 0o777 == 0o600
    entry = json.loads(log.read_text().splitlines()[0])
    assert set(entry) == {"time", "level", "logger", "message"}
    assert entry["level"] == "WARNING"
    assert "NOT verified" in entry["message"]


def test_a_log_file_is_never_written_through_a_link(
    run_helper: RunHelper, session_flags: list[str], tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"untouched")
    (tmp_path / "link").symlink_to(target)

    done = run_helper("credential-process", *session_flags, "--log-file", "link", "--debug")

    assert (done.exit_code, done.stdout) == (2, b"")
    assert target.read_bytes() == b"untouched"


def test_a_working_directory_that_is_gone_is_no_obstacle(
    clean_environment: dict[str, str], session_flags: list[str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    # Not through the launcher: a shell complains about the directory by itself.
    program = "import os, sys; os.rmdir(os.getcwd()); os.execv(sys.argv[1], sys.argv[1:])"
    words = [sys.executable, "-P", "-m", "rolesanywhere_helper", "credential-process", *session_flags]

    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=clean_environment,
        cwd=gone,
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert is_document(done.stdout)


@pytest.mark.promise(65)
def test_the_log_says_that_a_proxy_is_used(run_helper: RunHelper, session_flags: list[str]) -> None:
    words = ["credential-process", *session_flags, "--no-cache", "--endpoint", "https://rolesanywhere.example.com"]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = {"HTTPS_PROXY": f"http://me:{CANARY}@127.0.0.1:{unused.getsockname()[1]}"}

        done = run_helper(*words, "--with-proxy", "--debug", env=proxy)

    assert (done.exit_code, done.stdout) == (3, b"")
    assert "CreateSession goes through the proxy http://127.0.0.1:" in done.err
    assert CANARY not in done.err


# Standard output is one document, or nothing


@pytest.mark.promise(42)
def test_a_closed_stderr_changes_nothing(
    helper: Path, clean_environment: dict[str, str], session_flags: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [str(helper), "credential-process", *session_flags, "--no-cache", "--no-verify-ssl", "--debug"]
    broken = subprocess.run(
        words, env=clean_environment, stdout=subprocess.PIPE, stderr=writer, check=False, timeout=60
    )
    os.close(writer)
    closed = subprocess.run(
        ["/bin/sh", "-c", '"$@" 2>&-', "sh", *words],
        env=clean_environment,
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert (broken.returncode, is_document(broken.stdout)) == (0, True)
    assert (closed.returncode, is_document(closed.stdout)) == (0, True)


@pytest.mark.promise(42)
def test_a_failure_with_a_broken_stderr_still_says_so_by_its_code(
    helper: Path, clean_environment: dict[str, str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [helper, "credential-process"],
        env=clean_environment,
        stdout=subprocess.PIPE,
        stderr=writer,
        check=False,
        timeout=60,
    )
    os.close(writer)

    assert (done.returncode, done.stdout) == (2, b"")


def test_a_reader_that_has_gone_is_met_in_silence(
    helper: Path, clean_environment: dict[str, str], session_flags: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [helper, "credential-process", *session_flags, "--no-cache"],
        env=clean_environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.promise(42)
def test_credentials_never_land_in_another_file_when_stdout_is_closed(
    helper: Path, clean_environment: dict[str, str], session_flags: list[str], tmp_path: Path
) -> None:
    words = [str(helper), "credential-process", *session_flags, "--debug", "--log-file", "log"]

    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" 1>&-', "sh", *words],
        env=clean_environment,
        capture_output=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )

    assert done.returncode == 1
    assert b"SecretAccessKey" not in (tmp_path / "log").read_bytes()


def test_a_full_disk_under_stdout_is_an_error(
    helper: Path, clean_environment: dict[str, str], session_flags: list[str]
) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [helper, "credential-process", *session_flags, "--no-cache"],
            env=clean_environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )

    assert done.returncode == 1
    assert b"No space left" in done.stderr


# Refusals


@pytest.mark.promise(81)
@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_configuration_that_others_can_write_is_refused(
    run_helper: RunHelper, emulator: Running, tmp_path: Path, mode: int
) -> None:
    config = tmp_path / "config.toml"
    config.write_bytes(emulator.directory.file("config.toml").read_bytes())
    config.chmod(mode)

    refused = run_helper("credential-process", "--config", config)
    config.chmod(0o644)
    accepted = run_helper("credential-process", "--config", config)

    assert (refused.exit_code, refused.stdout) == (2, b"")
    assert "configuration file" in refused.err
    assert "chmod" in refused.err
    assert accepted.exit_code == 0


@pytest.mark.promise(81)
def test_plain_http_is_only_for_this_machine(run_helper: RunHelper, session_flags: list[str]) -> None:
    done = run_helper("credential-process", *session_flags, "--endpoint", "http://192.0.2.1")

    assert (done.exit_code, done.stdout) == (2, b"")
    assert "plain http is only for this machine" in done.err


@pytest.mark.promise(84)
def test_an_aws_client_of_ours_that_asks_us_is_a_loop(run_helper: RunHelper, session_flags: list[str]) -> None:
    done = run_helper("credential-process", *session_flags, env={"ROLESANYWHERE_HELPER_INSIDE_AWS_CLIENT": "1"})

    assert (done.exit_code, done.stdout) == (2, b"")
    assert "an AWS client inside rolesanywhere-helper asked for credentials" in done.err


def test_nothing_reachable_is_exit_code_3(run_helper: RunHelper, session_flags: list[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"

        done = run_helper("credential-process", *session_flags, "--endpoint", endpoint)

    assert (done.exit_code, done.stdout) == (3, b"")
    assert done.err.splitlines()[-1].startswith("hint: ")


# Secrets


@pytest.mark.promise(72)
@pytest.mark.parametrize(
    "fault",
    [
        {"body": '{"credentialSet": "' + CANARY},
        {"status": 500, "body": CANARY},
        {"status": 403, "body": '{"secret": "' + CANARY + '"}'},
        {
            "body": json.dumps(
                {
                    "credentialSet": [
                        {
                            "roleArn": "arn:aws:iam::111122223333:role/Other",
                            "credentials": {
                                "accessKeyId": "ASIAEXAMPLE",
                                "secretAccessKey": CANARY,
                                "sessionToken": CANARY,
                                "expiration": "2099-01-01T00:00:00Z",
                            },
                        }
                    ]
                }
            )
        },
        {"truncate": True},
        {"headers": {"Location": f"https://{CANARY}/"}, "status": 302},
        {"headers": {"X-Amzn-Trace-Id": CANARY}, "status": 404},
    ],
    ids=["garbage", "500", "403", "wrong role", "truncated", "redirect", "header"],
)
def test_what_a_failing_service_sends_is_shown_nowhere(
    run_helper: RunHelper, emulator: Running, session_flags: list[str], fault: dict[str, object], tmp_path: Path
) -> None:
    emulator.set_fault(**fault)
    key = emulator.directory.file("client.key").read_text().splitlines()[3]
    words = ["credential-process", *session_flags, "--no-cache", "--debug"]

    shown = run_helper(*words)
    logged = run_helper(*words, "--log-file", "run.log")
    written = shown.out + shown.err + logged.out + logged.err + (tmp_path / "run.log").read_text()

    assert shown.exit_code != 0
    assert shown.stdout == b""
    assert "DEBUG" in written
    assert CANARY not in written
    assert key not in written


@pytest.mark.promise(72)
@pytest.mark.parametrize(
    "content",
    [
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}=\n-----END RSA PRIVATE KEY-----\n",
        f"{CANARY}",
        f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{CANARY}\n-----END ENCRYPTED PRIVATE KEY-----\n",
    ],
    ids=["PKCS#8", "PKCS#1", "no PEM", "encrypted"],
)
def test_a_broken_key_is_shown_nowhere(
    run_helper: RunHelper, session_flags: list[str], content: str, tmp_path: Path
) -> None:
    key = tmp_path / "broken.key"
    key.write_text(content)
    key.chmod(0o600)

    for command in (["credential-process", *session_flags], ["sign-string"]):
        done = run_helper(*command, "--private-key", key, "--debug")

        assert (done.exit_code, done.stdout) == (1, b"")
        assert CANARY not in done.err


@pytest.mark.promise(72)
def test_a_session_that_works_is_in_the_document_only(
    run_helper: RunHelper, session_flags: list[str], tmp_path: Path, emulator: Running
) -> None:
    done = run_helper("credential-process", *session_flags, "--debug", "--log-file", "run.log")
    document = json.loads(done.stdout)
    log = (tmp_path / "run.log").read_text()

    assert "DEBUG" in log
    assert document["SecretAccessKey"] not in log + done.err
    assert document["SessionToken"] not in log + done.err
    assert "Signature=" not in log
    assert emulator.directory.file("client.key").read_text().splitlines()[3] not in log
