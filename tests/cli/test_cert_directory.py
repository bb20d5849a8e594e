"""``--cert-directory`` and ``--cert-selector`` from the outside."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.pki.certificates import Validity
from tests.fakes.daemon import OUTLETS, Daemon, owned, replace_file, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rolesanywhere_helper.pki.certificates import Issued
    from tests.conftest import Finished, RunHelper
    from tests.plugins.emulated import Emulated


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def daemon(helper: Path, tmp_path: Path, emulated: Emulated, store: Path) -> Iterator[Daemon]:
    with owned(Daemon(helper, tmp_path, emulated)) as made:
        outlets = OUTLETS.replace('certificate = "{folder}/host.pem"', f'cert-directory = "{store}"')
        outlets = outlets.replace('private-key = "{folder}/host.key"', "use-latest-expiring-certificate = true")
        made.configure(outlets=outlets)
        yield made


def put(daemon: Daemon, store: Path, name: str, days: int = 30) -> Issued:
    issued = daemon.issue(subject=name, validity=Validity.days(time.time(), days))
    replace_file(store / f"{name}.key", issued.key_pem())
    replace_file(store / f"{name}.pem", issued.full_chain_pem)
    return issued


def ask(run: RunHelper, emulated: Emulated, store: Path, *flags: str) -> Finished:
    words = emulated.flags()
    return run("credential-process", *words[4:], "--cert-directory", store, *flags)


def test_a_selector_chooses_the_certificate(
    run_helper: RunHelper, emulated: Emulated, daemon: Daemon, store: Path, tmp_path: Path
) -> None:
    one, two = put(daemon, store, "one"), put(daemon, store, "two", days=60)
    (tmp_path / "selector.json").write_text(json.dumps([{"Key": "x509Subject", "Value": "CN=two"}]))

    ambiguous = ask(run_helper, emulated, store)
    chosen = ask(run_helper, emulated, store, "--cert-selector", "Key=x509Subject,Value=CN=one")
    by_file = ask(run_helper, emulated, store, "--cert-selector", "file://selector.json")
    latest = ask(run_helper, emulated, store, "--use-latest-expiring-certificate=true")
    cached = ask(run_helper, emulated, store, "--cert-selector", "Key=x509Subject,Value=CN=one")

    assert ambiguous.exit_code == 1
    assert "2 certificates in" in ambiguous.err
    assert [each.exit_code for each in (chosen, by_file, latest)] == [0, 0, 0]
    assert cached.stdout == chosen.stdout
    used = [str(call["serial"]) for call in emulated.create_session_calls()]
    expected = [each.certificate.serial_number for each in (one, two, two)]
    assert used == [str(each) for each in expected]


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("laksdjadf", "--cert-selector cannot be read"),
        ("Key=aljsdf,Value=aljsdfadsf", "unknown key"),
        ("file:///nowhere/selector.json", "no certificate selector /nowhere/selector.json"),
    ],
)
def test_a_bad_selector_is_refused_when_the_configuration_is_read(
    selector: str, words: str, run_helper: RunHelper, store: Path, daemon: Daemon
) -> None:
    done = ask(run_helper, daemon.emulated, store, "--cert-selector", selector)
    assert (done.exit_code, done.stdout) == (2, b"")
    assert words in done.err
    daemon.config.write_text(
        daemon.config.read_text().replace("use-latest", f'cert-selector = "{selector}"\nuse-latest')
    )
    served = run_helper("serve", "--config", daemon.config)
    assert served.exit_code == 2
    assert words in served.err


def test_a_selector_file_that_others_can_write_is_refused(
    run_helper: RunHelper, emulated: Emulated, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "selector.json").write_text("[]")
    (tmp_path / "selector.json").chmod(0o666)
    done = ask(run_helper, emulated, store, "--cert-selector", f"file://{tmp_path}/selector.json")
    assert done.exit_code == 1
    assert "certificate selector" in done.err


@pytest.mark.parametrize(
    "flags",
    [
        ("--cert-selector", "Key=x509Subject,Value=CN=host"),
        ("--system-store-name", "MY", "--cert-selector", "Key=x509Subject,Value=CN=host"),
    ],
)
def test_the_platforms_own_store_is_not_here(flags: tuple[str, ...], run_helper: RunHelper, emulated: Emulated) -> None:
    done = run_helper("credential-process", *emulated.flags()[4:], *flags)
    assert done.exit_code == 2
    assert "there is none here" in done.err
    assert "--cert-directory" in done.err


def test_read_certificate_data_lists_as_the_official_helper_does(
    run_helper: RunHelper, daemon: Daemon, store: Path
) -> None:
    one = put(daemon, store, "one")
    put(daemon, store, "two")
    flags: list[str | Path] = ["read-certificate-data", "--cert-directory", store, "--cert-selector"]

    found = run_helper(*flags, "Key=x509Subject,Value=CN=one")
    none = run_helper(*flags, "Key=x509Subject,Value=CN=three")
    both = run_helper(*flags[:-1])

    issuer = one.certificate.issuer.rfc4514_string()
    assert found.out == (
        "Matching identities\n"
        f"1) Hex Fingerprint: {hashlib.sha1(one.der, usedforsecurity=False).hexdigest()}\n"
        f"Subject: CN=one\nIssuer: {issuer}\nSerial Number: {one.certificate.serial_number:X}\n\n"
    )
    assert none.out == "No matching identities\n"
    assert "\n2) Hex Fingerprint: " in both.out
    assert {found.exit_code, none.exit_code, both.exit_code} == {0}


def test_sign_string_signs_with_the_key_of_the_chosen_certificate(
    run_helper: RunHelper, daemon: Daemon, store: Path
) -> None:
    put(daemon, store, "one")
    put(daemon, store, "two")
    key = store / "one.key"
    directly = run_helper("sign-string", "--private-key", key)
    chosen = run_helper("sign-string", "--cert-directory", store, "--cert-selector", "Key=x509Subject,Value=CN=one")
    ambiguous = run_helper("sign-string", "--cert-directory", store)

    assert (directly.exit_code, chosen.exit_code, ambiguous.exit_code) == (0, 0, 1)
    assert chosen.stdout


def test_serve_notices_a_certificate_that_comes_and_a_key_that_is_replaced(daemon: Daemon, store: Path) -> None:
    put(daemon, store, "one")
    daemon.start()

    renewed = put(daemon, store, "two", days=60)
    took = until(lambda: len(_serials(daemon)) == 2, what="the new certificate was not noticed")
    (store / "README").write_text("of no use\n")
    put(daemon, store, "one", days=90)
    until(lambda: len(set(_serials(daemon))) == 3, what="the replaced one was not noticed")

    assert took < 10
    assert _serials(daemon)[1] == str(renewed.certificate.serial_number)
    assert not daemon.has_ended


def test_a_directory_of_links_as_kubernetes_makes_it(daemon: Daemon, store: Path) -> None:
    for number in (1, 2):
        version = store / f"..version-{number}"
        version.mkdir()
        put(daemon, version, "tls", days=30 * number)
    (store / "..data").symlink_to("..version-1")
    for name in ("tls.pem", "tls.key"):
        (store / name).symlink_to(f"..data/{name}")
    daemon.start()
    assert len(_serials(daemon)) == 1

    (store / "..new").symlink_to("..version-2")
    (store / "..new").replace(store / "..data")

    until(lambda: len(set(_serials(daemon))) == 2, what="the exchange was not noticed")


def _serials(daemon: Daemon) -> list[str]:
    return [str(call["serial"]) for call in daemon.emulated.create_session_calls()]
