from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rolesanywhere_helper.emulator.directory import prepare
from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.unit.emulator.signing import Signing, call, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.emulator.conftest import Bench, FakeClock

SECRET = (
    "ca.key",
    "client.key",
    "client-ec.key",
    "tls-ca.key",
    "tls.key",
    "state.json",
    "config.toml",
    "aws-config",
    "admin-credentials.json",
)


def _own_request(announcement: Any, now: float, name: str = "client", **body: Any) -> Any:
    directory = Path(announcement["certificate"]).parent
    leaf = x509.load_pem_x509_certificate((directory / f"{name}.pem").read_bytes())
    key = load_pem_private_key((directory / f"{name}.key").read_bytes(), None)
    arns = {name: announcement[name] for name in ("trustAnchorArn", "profileArn", "roleArn")}
    return Signing(leaf, key, now).request(announcement["endpoint"], {**arns, **body})


@pytest.mark.parametrize("name", ["client", "client-ec"])
def test_what_is_made_works_at_once(bench: Bench, name: str) -> None:
    request = _own_request(bench.emulator.announcement, bench.clock(), name)
    assert bench.send(request).status == 201


def test_the_directory_and_its_secrets_are_private_from_birth(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        prepare(Settings(tmp_path / "new", tls=True), 1_800_000_000)
    finally:
        os.umask(old)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert set(SECRET) - {"config.toml", "aws-config"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_directories_that_are_made_on_the_way_are_private_too(tmp_path: Path) -> None:
    """Otherwise a umask of 002 would make the emulator's own configuration one that the client refuses."""
    old = os.umask(0o002)
    try:
        prepare(Settings(tmp_path / "a" / "b" / "new"), 1_800_000_000)
    finally:
        os.umask(old)
    assert [(tmp_path / part).stat().st_mode & 0o777 for part in ("a", "a/b", "a/b/new")] == [0o700, 0o700, 0o700]


def test_the_announcement_and_the_configuration_agree(bench: Bench, tmp_path: Path) -> None:
    told = bench.emulator.announcement
    directory = tmp_path / "emulator"
    assert list(told) == [
        *("endpoint", "region", "trustAnchorArn", "profileArn", "roleArn", "otherRoleArn"),
        *("certificate", "privateKey", "caCertificate", "config", "adminCredentials", "awsConfig", "trustAnchors"),
    ]
    assert told["region"] == "us-east-1"
    assert set(told["trustAnchors"]) == {str(directory / "ca.pem"), str(tmp_path / "tests-ca.pem")}
    assert told["trustAnchors"][told["caCertificate"]] == told["trustAnchorArn"]
    assert tomllib.loads((directory / "config.toml").read_text()) == {
        "identity": {"client": {"certificate": told["certificate"], "private-key": told["privateKey"]}},
        "session": {
            "default": {
                "identity": "client",
                "trust-anchor-arn": told["trustAnchorArn"],
                "profile-arn": told["profileArn"],
                "role-arn": told["roleArn"],
                "endpoint": told["endpoint"],
            }
        },
    }


def test_a_later_start_is_the_same_service(open_bench: Callable[..., Bench], tmp_path: Path) -> None:
    first = open_bench()
    first.change_profile(duration_seconds=1234)
    files = _files(tmp_path / "emulator")
    second = open_bench()
    again = _files(tmp_path / "emulator")
    known = {key: value for key, value in first.emulator.announcement.items() if key != "endpoint"}
    assert known == {key: value for key, value in second.emulator.announcement.items() if key != "endpoint"}
    assert again == files
    assert second.emulator.state.profiles[0].duration_seconds == 1234
    assert second.endpoint in (tmp_path / "emulator/config.toml").read_text()


def _files(directory: Path) -> dict[str, bytes]:
    """Read all that does not name the port."""
    of_this_run = {"config.toml", "aws-config"}
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name not in of_this_run}


def test_a_restarted_emulator_knows_what_it_issued(open_bench: Callable[..., Bench]) -> None:
    issued = open_bench().create().json["credentialSet"][0]["credentials"]
    issuer = open_bench().emulator._emulator.service._issuer
    assert issuer.recognise(issued["accessKeyId"], issued["sessionToken"]) is not None
    assert issuer.secret_access_key(issued["accessKeyId"]) == issued["secretAccessKey"]
    assert issuer.recognise("ASIAAAAAAAAAAAAAAAAA", issued["sessionToken"]) is None


def test_expired_client_certificates_are_renewed(open_bench: Callable[..., Bench], clock: FakeClock) -> None:
    before = Path(open_bench().emulator.announcement["certificate"]).read_bytes()
    clock.advance(365 * 86_400)
    bench = open_bench()
    assert Path(bench.emulator.announcement["certificate"]).read_bytes() != before
    assert bench.send(_own_request(bench.emulator.announcement, clock())).status == 201


def test_a_key_that_does_not_fit_is_replaced(open_bench: Callable[..., Bench], tmp_path: Path) -> None:
    open_bench()
    directory = tmp_path / "emulator"
    (directory / "client.key").write_bytes((directory / "client-ec.key").read_bytes())
    bench = open_bench()
    assert bench.send(_own_request(bench.emulator.announcement, bench.clock())).status == 201


def test_a_ca_is_a_trust_anchor_only_while_it_is_given(
    bench: Bench, made_directory: Path, tmp_path: Path, clock: FakeClock
) -> None:
    request = bench.signed()
    assert bench.send(request).status == 201
    copied = Path(shutil.copytree(bench.emulator.directory.path, tmp_path / "copied"))
    with running(Settings(copied), clock) as alone:
        again = Signing.of(bench.leaf(), clock()).request(alone.endpoint, bench.arns)
        assert send(alone.endpoint, again).refusal[2] == "Specified Trust Anchor wasn't found."
    assert made_directory.exists()


def test_a_ca_file_that_cannot_be_an_anchor_is_refused(tmp_path: Path, made_directory: Path) -> None:
    authority = CertificateAuthority.root("other", Validity.days(1_800_000_000, 1), KeyKind.P_256)
    leaf = authority.issue(LeafRequest(Validity.days(1_800_000_000, 1), key=KeyKind.P_256))
    (tmp_path / "leaf.pem").write_bytes(leaf.pem)
    (tmp_path / "noise.pem").write_bytes(b"noise")
    for name in ("leaf.pem", "noise.pem", "missing.pem"):
        with pytest.raises(ConfigurationError, match=name):
            prepare(Settings(made_directory, extra_cas=(str(tmp_path / name),)), 1_800_000_000)


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "ca.pem"
    mine.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        prepare(Settings(tmp_path), 1_800_000_000)
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        running(Settings(tmp_path)).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["ca.pem"]
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', '{"format": 2}', "[]"])
def test_a_state_that_cannot_be_read_is_an_error_with_a_hint(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"state\.json") as caught:
        prepare(Settings(tmp_path), 1_800_000_000)
    assert caught.value.hint


def test_a_directory_has_one_emulator_at_a_time(made_directory: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(made_directory, tmp_path / "emulator"))
    with running(Settings(directory)) as first:
        for in_memory in (False, True):
            with pytest.raises(ConfigurationError, match="another emulator is running on the directory") as caught:
                running(Settings(directory, in_memory=in_memory)).__enter__()
            assert "--directory" in caught.value.hint
        first.change_state(lambda state: replace(state, profiles=()))
        assert call(first.endpoint, "GET", "/_emulator/requests").status == 200
    # It has ended: the directory is free, also after a start that failed.
    with pytest.raises(ConfigurationError, match=r"missing\.pem"):
        running(Settings(directory, extra_cas=("missing.pem",))).__enter__()
    with running(Settings(directory)) as second:
        assert second.state.profiles == ()


def test_a_port_that_is_taken_is_an_error_with_a_hint(made_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=str(port)), running(Settings(made_directory, port=port)):
            pass


def test_tls_serves_a_certificate_for_this_machine(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(tls=True)
    told = bench.emulator.announcement
    ca_file = told["tlsCaCertificate"]
    assert told["endpoint"].startswith("https://127.0.0.1:")
    assert tomllib.loads(Path(told["config"]).read_text())["session"]["default"]["ca-bundle"] == ca_file
    assert send(bench.endpoint, _own_request(told, bench.clock()), ca_file).status == 201
    port = told["endpoint"].rpartition(":")[2]
    named = Signing.of(bench.leaf(), bench.clock()).request(f"https://localhost:{port}", bench.arns)
    assert send(f"https://localhost:{port}", named, ca_file).status == 201
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        send(bench.endpoint, _own_request(told, bench.clock()), told["caCertificate"])


def test_listening_elsewhere_is_warned_about(made_directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(Settings(made_directory)) as emulator:
        assert emulator.endpoint.startswith("http://127.0.0.1:")
    assert not caplog.messages
    with running(Settings(made_directory, host="0.0.0.0")) as emulator:  # noqa: S104 - the warning is what is tested
        assert call(emulator.endpoint, "GET", "/_emulator/requests").json == []
    assert "whoever reaches it" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(made_directory: Path, number: signal.Signals) -> None:
    program = (
        "import sys, pathlib\n"
        "from rolesanywhere_helper.emulator.server import serve_forever\n"
        "from rolesanywhere_helper.emulator.settings import Settings\n"
        "print(serve_forever(Settings(pathlib.Path(sys.argv[1])), lambda line: print(line, flush=True)).name)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(made_directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(20, process.kill)
        watchdog.start()
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert call(told["endpoint"], "GET", "/_emulator/requests").json == []
        process.send_signal(number)
        rest, errors = process.communicate()
        watchdog.cancel()
    assert (process.returncode, rest, errors) == (0, f"{number.name}\n", "")
