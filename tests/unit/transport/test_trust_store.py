"""Which CAs are believed, and what it costs to load them."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest

from rolesanywhere_helper.domain.ports import HttpRequest
from rolesanywhere_helper.errors import ConfigurationError, NetworkError
from rolesanywhere_helper.transport.requests_transport import RequestsTransport
from rolesanywhere_helper.transport.trust_store import (
    TrustStore,
    client_context,
    given_trust_store,
    system_trust_store,
    unverified_context,
)
from tests.fakes.http_server import Connection, ScriptedServer

FIRST_CA = Path(certifi.where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----")[0]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    file = tmp_path / "bundle.pem"
    file.write_text(FIRST_CA + "-----END CERTIFICATE-----\n", encoding="utf-8")
    return file


@pytest.fixture
def hashed(tmp_path: Path, bundle: Path) -> Path:
    directory = tmp_path / "hashed"
    directory.mkdir()
    (directory / "0a1b2c3d.0").symlink_to(bundle)
    return directory


@pytest.fixture
def unhashed(tmp_path: Path) -> Path:
    directory = tmp_path / "unhashed"
    directory.mkdir()
    (directory / "ca-bundle.crt").touch()
    return directory


def system_has(monkeypatch: pytest.MonkeyPatch, file: Path | None, directory: Path | None) -> None:
    """Let OpenSSL's own places be these; a variable of the environment comes before them, as in OpenSSL."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    found = {"cafile": str(file) if file else None, "capath": str(directory) if directory else None}
    paths = ssl.DefaultVerifyPaths(**{**ssl.get_default_verify_paths()._asdict(), **found})
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)


def test_a_hashed_directory_is_preferred(monkeypatch: pytest.MonkeyPatch, bundle: Path, hashed: Path) -> None:
    system_has(monkeypatch, bundle, hashed)

    assert system_trust_store() == TrustStore(directory=str(hashed))


def test_a_directory_that_openssl_cannot_look_up_in_is_not(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, unhashed: Path
) -> None:
    system_has(monkeypatch, bundle, unhashed)

    assert system_trust_store() == TrustStore(file=str(bundle))


def test_a_file_named_in_the_environment_is_loaded_too(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, hashed: Path
) -> None:
    system_has(monkeypatch, bundle, hashed)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    assert system_trust_store() == TrustStore(file=str(bundle), directory=str(hashed))


def test_variables_of_the_environment_are_openssls(monkeypatch: pytest.MonkeyPatch, bundle: Path, hashed: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(hashed))

    assert system_trust_store() == TrustStore(file=str(bundle), directory=str(hashed))


@pytest.mark.parametrize("has_directory", [True, False])
def test_without_a_system_store_certifi_serves(
    monkeypatch: pytest.MonkeyPatch,
    unhashed: Path,
    has_directory: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    system_has(monkeypatch, None, unhashed if has_directory else None)

    store = system_trust_store()

    assert store == TrustStore(file=certifi.where())
    assert client_context(store).cert_store_stats()["x509_ca"] > 50


def test_a_given_file_takes_the_place_of_all_others(bundle: Path) -> None:
    context = client_context(given_trust_store(bundle))

    assert context.cert_store_stats()["x509_ca"] == 1


def test_requests_adds_no_other_ca(bundle: Path) -> None:
    transport = RequestsTransport(ca_bundle=bundle)

    with ScriptedServer(Connection.reset) as server:
        url = f"https://127.0.0.1:{server.port}/"
        with pytest.raises(NetworkError):
            transport.send(HttpRequest("POST", url, "/", (("Host", "127.0.0.1"),), b""), 5)

    assert transport._context.cert_store_stats()["x509_ca"] == 1


def test_a_given_directory_must_be_hashed(hashed: Path, unhashed: Path) -> None:
    assert given_trust_store(hashed) == TrustStore(directory=str(hashed))
    with pytest.raises(ConfigurationError, match="no hashed names") as caught:
        given_trust_store(unhashed)
    assert caught.value.hint == f"run: openssl rehash {unhashed}"


@pytest.mark.parametrize(
    ("content", "text"), [(None, "No such file"), ("", "no PEM certificate"), ("no certificate", "no PEM certificate")]
)
def test_a_given_file_must_hold_certificates(tmp_path: Path, content: str | None, text: str) -> None:
    file = tmp_path / "given.pem"
    if content is not None:
        file.write_text(content, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=text) as caught:
        RequestsTransport(ca_bundle=file)

    assert str(file) in caught.value.what


@pytest.mark.promise(64)
def test_a_context_verifies_chain_name_and_version(bundle: Path) -> None:
    context = client_context(TrustStore(file=str(bundle)))

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.promise(64)
def test_the_unverified_one_still_asks_for_the_version() -> None:
    context = unverified_context()

    assert context.verify_mode == ssl.CERT_NONE
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
