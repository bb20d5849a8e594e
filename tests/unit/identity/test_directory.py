"""A directory of certificates, as certificate stores are used elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
from rolesanywhere_helper.errors import (
    AmbiguousObjectError,
    EncryptedKeyError,
    KeyMismatchError,
    LeafIsCaError,
    ObjectNotFoundError,
    UnreadableCertificateError,
    UnsafeFileError,
)
from rolesanywhere_helper.identity import registry
from rolesanywhere_helper.identity.distinguished_names import official
from tests.unit.identity import making

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from rolesanywhere_helper.identity.loaded import LoadedIdentity


@pytest.fixture
def lower() -> making.Authority:
    return making.Authority.root().intermediate("Lower")


def put(folder: Path, lower: making.Authority, name: str, **wanted: object) -> x509.Certificate:
    """Put a certificate and its key into a directory."""
    key = making.ec_key()
    leaf = lower.issue(key, making.Wanted(**{"subject": making.name(name), **wanted}))  # type: ignore[arg-type]
    making.write(folder / f"{name}.pem", making.pem(leaf), 0o644)
    making.write(folder / f"{name}.key", making.key_pem(key))
    return leaf


def load(folder: Path, selector: str | None = None, private_key: str = "", **more: object) -> LoadedIdentity:
    reference = IdentityReference(
        certificate="",
        private_key=private_key,
        certificate_directory=str(folder),
        certificate_selector=selector,
        **more,  # type: ignore[arg-type]
    )
    return registry.load(reference, now=making.NOW)


def test_the_only_one_needs_no_selector(tmp_path: Path, lower: making.Authority) -> None:
    leaf = put(tmp_path, lower, "host")
    making.write(tmp_path / "above.pem", making.pem(lower.certificate))
    making.write(tmp_path / "README", b"keys of this machine\n")
    (tmp_path / "more").mkdir()

    loaded = load(tmp_path)

    assert loaded.identity.leaf_der == making.der(leaf)
    assert loaded.identity.chain_der == (making.der(lower.certificate),)
    assert loaded.identity.sign(b"message")
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    "selector",
    [
        "Key=x509Subject,Value=CN=b",
        "Key=x509Serial,Value=2B",
        "Key=x509Issuer,Value=CN=Lower Key=x509Serial,Value=2b",
        '[{"Key": "x509Subject", "Value": "CN=b"}]',
    ],
)
def test_a_selector_chooses(selector: str, tmp_path: Path, lower: making.Authority) -> None:
    put(tmp_path, lower, "a", serial=0x2A)
    chosen = put(tmp_path, lower, "b", serial=0x2B)

    assert load(tmp_path, selector).identity.leaf_der == making.der(chosen)


def test_several_are_listed_unless_the_latest_is_wanted(tmp_path: Path, lower: making.Authority) -> None:
    put(tmp_path, lower, "a", serial=0x2A, ends=making.DAY)
    latest = put(tmp_path, lower, "b", serial=0x2B, ends=3 * making.DAY)
    put(tmp_path, lower, "c", serial=0x2C, ends=2 * making.DAY)

    with pytest.raises(AmbiguousObjectError) as caught:
        load(tmp_path)
    assert caught.value.what.endswith(
        "3 certificates in "
        f"{tmp_path} fit: CN=a (serial 2A, until 2027-01-16T08:00:00Z); CN=b (serial 2B, until 2027-01-18T08:00:00Z); "
        "CN=c (serial 2C, until 2027-01-17T08:00:00Z)"
    )
    assert "--use-latest-expiring-certificate" in caught.value.hint
    assert load(tmp_path, use_latest_expiring=True).identity.leaf_der == making.der(latest)


def test_the_same_certificate_in_two_files_is_one(tmp_path: Path, lower: making.Authority) -> None:
    leaf = put(tmp_path, lower, "host")
    making.write(tmp_path / "fullchain.pem", making.pem(leaf, lower.certificate))
    (tmp_path / "current.pem").symlink_to("host.pem")

    assert load(tmp_path).identity.leaf_der == making.der(leaf)


def test_one_without_its_key_is_not_chosen(tmp_path: Path, lower: making.Authority) -> None:
    put(tmp_path, lower, "other")
    leaf = put(tmp_path, lower, "host")
    (tmp_path / "other.key").unlink()

    assert load(tmp_path).identity.leaf_der == making.der(leaf)
    with pytest.raises(KeyMismatchError, match=r"has not the private key of CN=other"):
        load(tmp_path, "Key=x509Subject,Value=CN=other")


def test_the_key_may_lie_elsewhere(tmp_path: Path, lower: making.Authority) -> None:
    put(tmp_path, lower, "other")
    leaf = put(tmp_path, lower, "host")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    key = (tmp_path / "host.key").rename(elsewhere / "key")

    assert load(tmp_path, private_key=str(key)).identity.leaf_der == making.der(leaf)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS#8", "traditional"])
def test_der_files_are_told_apart_by_what_they_hold(
    form: PrivateFormat, tmp_path: Path, lower: making.Authority
) -> None:
    key = making.rsa_key()
    leaf = lower.issue(key)
    making.write(tmp_path / "a", key.private_bytes(Encoding.DER, form, NoEncryption()))
    making.write(tmp_path / "b", making.der(leaf))

    loaded = load(tmp_path)
    assert (loaded.identity.leaf_der, loaded.warnings) == (making.der(leaf), ())


def test_broken_files_are_left_out_and_told_of(tmp_path: Path, lower: making.Authority) -> None:
    leaf = put(tmp_path, lower, "host")
    making.write(tmp_path / "cut.pem", making.pem(leaf)[:200])
    making.write(tmp_path / "broken.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    making.write(tmp_path / "broken.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    making.write(tmp_path / "big.iso", bytes(2 << 20))

    loaded = load(tmp_path)

    assert loaded.identity.leaf_der == making.der(leaf)
    assert len(loaded.warnings) == 4
    assert all(warning.startswith("left out: ") for warning in loaded.warnings)
    assert all(name in "".join(loaded.warnings) for name in ("cut.pem", "broken.pem", "broken.key", "big.iso"))


def test_a_key_that_others_can_write_is_refused(tmp_path: Path, lower: making.Authority) -> None:
    put(tmp_path, lower, "host")
    (tmp_path / "host.key").chmod(0o666)

    with pytest.raises(UnsafeFileError, match=r"host\.key"):
        load(tmp_path)
    assert any("can be written" in each for each in load(tmp_path, accept_insecure_key_file=True).warnings)


def test_somebody_elses_unsafe_key_does_not_matter(tmp_path: Path, lower: making.Authority) -> None:
    leaf = put(tmp_path, lower, "host")
    put(tmp_path, lower, "other")
    (tmp_path / "other.key").chmod(0o666)

    assert load(tmp_path, "Key=x509Subject,Value=CN=host").identity.leaf_der == making.der(leaf)


def test_an_encrypted_key_is_opened_or_asked_for(tmp_path: Path, lower: making.Authority) -> None:
    key = making.ec_key()
    making.write(tmp_path / "host.pem", making.pem(lower.issue(key)))
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame"))
    making.write(tmp_path / "host.key", encrypted)

    with pytest.raises(EncryptedKeyError) as caught:
        load(tmp_path)
    assert caught.value.needs == "pkcs8-password"
    assert load(tmp_path, secrets=(("pkcs8-password", SecretSource(text="sesame")),)).identity.sign(b"message")


def test_nothing_fits(tmp_path: Path, lower: making.Authority) -> None:
    put(tmp_path, lower, "host")
    with pytest.raises(ObjectNotFoundError, match="fits Key=x509Subject,Value=CN=hosts") as caught:
        load(tmp_path, "Key=x509Subject,Value=CN=hosts")
    assert f"read-certificate-data --cert-directory {tmp_path}" in caught.value.hint


def test_a_ca_is_not_meant(tmp_path: Path, lower: making.Authority) -> None:
    making.write(tmp_path / "ca.pem", making.pem(lower.certificate))
    making.write(tmp_path / "ca.key", making.key_pem(lower.key))
    with pytest.raises(LeafIsCaError):
        load(tmp_path)
    leaf = put(tmp_path, lower, "host")
    assert load(tmp_path).identity.leaf_der == making.der(leaf)


def test_no_directory(tmp_path: Path) -> None:
    making.write(tmp_path / "file", b"x")
    with pytest.raises(UnsafeFileError, match="is no directory"):
        load(tmp_path / "file")
    with pytest.raises(UnreadableCertificateError, match="No such file"):
        load(tmp_path / "gone")


def test_a_key_alone_is_that_of_the_chosen_certificate(tmp_path: Path, lower: making.Authority) -> None:
    put(tmp_path, lower, "other")
    leaf = put(tmp_path, lower, "host")
    reference = IdentityReference(
        "",
        "",
        certificate_directory=str(tmp_path),
        certificate_selector=f"Key=x509Subject,Value={official(leaf.subject)}",
    )

    loaded = registry.load_signing_key(reference)
    assert loaded.key.public_bytes == leaf.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
