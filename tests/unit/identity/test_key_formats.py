"""Every form in which OpenSSL writes a private key, and every kind that is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rolesanywhere_helper.domain.identity_reference import IdentityReference
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import (
    HelperError,
    UnreadableKeyError,
    UnsafeFileError,
    UnsupportedKeyError,
)
from rolesanywhere_helper.identity import registry, tpm
from rolesanywhere_helper.identity.access import Access
from rolesanywhere_helper.identity.private_key import read_private_key
from rolesanywhere_helper.identity.software import SoftwareKey
from tests.unit.identity import making

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.identity.conftest import OpenSsl


def key_at(path: Path | str) -> IdentityReference:
    return IdentityReference("", str(path))


def make_rsa(openssl: OpenSsl, bits: int = 2048) -> None:
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}", "-out", "made.pem")


def make_ec(openssl: OpenSsl, curve: str = "P-256") -> None:
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", "made.pem")


def make(openssl: OpenSsl, algorithm: str) -> None:
    openssl("genpkey", "-algorithm", algorithm, "-out", "made.pem")


def convert(openssl: OpenSsl, *arguments: str) -> None:
    openssl("pkey", "-in", "made.pem", "-out", "key", *arguments)


def assert_signs(openssl: OpenSsl, folder: Path, key_type: KeyType) -> None:
    """Load ``key``, sign with it, and let OpenSSL check the signature with the key as it was made."""
    (folder / "key").chmod(0o600)
    loaded = registry.load_signing_key(key_at(folder / "key"))
    assert loaded.warnings == ()
    assert loaded.key.key_type is key_type
    making.write(folder / "message", b"a message")
    making.write(folder / "signature", loaded.key.sign(b"a message"))
    checked = openssl("dgst", "-sha256", "-prverify", "made.pem", "-signature", "signature", "message")
    assert checked == b"Verified OK\n"


def refused(path: Path, error: type[HelperError]) -> HelperError:
    path.chmod(0o600)
    with pytest.raises(error) as caught:
        registry.load_signing_key(key_at(path))
    assert str(path) in caught.value.what
    assert caught.value.hint != HelperError.default_hint
    return caught.value


@pytest.mark.parametrize("outform", ["PEM", "DER"])
@pytest.mark.parametrize("form", [[], ["-traditional"]], ids=["PKCS#8", "PKCS#1 or SEC1"])
def test_rsa_and_ec_keys_are_read(openssl: OpenSsl, tmp_path: Path, form: list[str], outform: str) -> None:
    make_rsa(openssl)
    convert(openssl, "-outform", outform, *form)
    assert_signs(openssl, tmp_path, KeyType.RSA)
    make_ec(openssl)
    convert(openssl, "-outform", outform, *form)
    assert_signs(openssl, tmp_path, KeyType.EC)


@pytest.mark.parametrize("bits", [3072, 4096])
def test_larger_rsa_keys_are_read(openssl: OpenSsl, tmp_path: Path, bits: int) -> None:
    make_rsa(openssl, bits)
    convert(openssl)
    assert_signs(openssl, tmp_path, KeyType.RSA)


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
def test_a_sec1_key_after_its_parameters_is_read(openssl: OpenSsl, tmp_path: Path, curve: str) -> None:
    openssl("ecparam", "-name", curve, "-genkey", "-out", "key")
    content = (tmp_path / "key").read_bytes()
    assert content.startswith(b"-----BEGIN EC PARAMETERS-----"), "the case this test is about"
    making.write(tmp_path / "made.pem", content)
    assert_signs(openssl, tmp_path, KeyType.EC)


def test_text_and_other_blocks_around_a_key_are_skipped(openssl: OpenSsl, tmp_path: Path) -> None:
    make_ec(openssl)
    text = openssl("pkey", "-in", "made.pem", "-text")  # the block, then the key in words
    root = making.pem(making.Authority.root().certificate)
    around = b"\xef\xbb\xbfBag Attributes\n    friendlyName: a: b\n" + root + b"Key:\n" + text + b"\n# the end\n" + root
    making.write(tmp_path / "key", around)
    assert_signs(openssl, tmp_path, KeyType.EC)
    making.write(tmp_path / "key", around.replace(b"\n", b"\r\n"))
    assert_signs(openssl, tmp_path, KeyType.EC)
    making.write(tmp_path / "key", around.replace(b"\n", b"\n    "))
    assert_signs(openssl, tmp_path, KeyType.EC)


@pytest.mark.parametrize("bits", [1024, 2047, 4104])
def test_rsa_keys_of_other_sizes_are_refused(openssl: OpenSsl, tmp_path: Path, bits: int) -> None:
    make_rsa(openssl, bits)
    convert(openssl)
    assert f"RSA of {bits} bits" in refused(tmp_path / "key", UnsupportedKeyError).what


@pytest.mark.parametrize("curve", ["secp256k1", "brainpoolP256r1", "secp224r1", "sect233k1"])
def test_other_curves_are_refused(openssl: OpenSsl, tmp_path: Path, curve: str) -> None:
    make_ec(openssl, curve)
    convert(openssl)
    refused(tmp_path / "key", UnsupportedKeyError)


@pytest.mark.parametrize("algorithm", ["ED25519", "ED448", "X25519"])
def test_other_kinds_are_refused(openssl: OpenSsl, tmp_path: Path, algorithm: str) -> None:
    make(openssl, algorithm)
    convert(openssl)
    assert algorithm.lower() in refused(tmp_path / "key", UnsupportedKeyError).what.lower()


@pytest.mark.parametrize("form", [[], ["-traditional"]], ids=["PKCS#8", "traditional"])
def test_dsa_keys_are_refused(openssl: OpenSsl, tmp_path: Path, form: list[str]) -> None:
    openssl("dsaparam", "-genkey", "-noout", "-out", "made.pem", "1024")
    convert(openssl, *form)
    assert "DSA" in refused(tmp_path / "key", UnsupportedKeyError).what


def test_a_key_in_openssh_format_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    making.write(tmp_path / "key", making.key_pem(making.ec_key(), PrivateFormat.OpenSSH))
    assert "ssh-keygen -p -N '' -m PKCS8" in refused(tmp_path / "key", UnsupportedKeyError).hint


def test_a_key_wrapped_by_a_tpm_is_the_tpms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = b"-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n-----END TSS2 PRIVATE KEY-----\n"
    key = SoftwareKey(making.ec_key())
    asked: list[bytes] = []

    def from_pem(content: bytes, reference: IdentityReference, access: Access) -> SoftwareKey:
        assert (reference.private_key, access) == (str(tmp_path / "key"), doors)
        asked.append(content)
        return key

    monkeypatch.setattr(tpm, "from_pem", from_pem)
    doors = Access()
    path = making.write(tmp_path / "key", b"# a comment\n" + block)
    assert registry.load_signing_key(key_at(path), doors).key is key
    assert asked == [bytes(3)]
    making.write(tmp_path / "key", block.replace(b"AAAA", b"A%AA"))
    refused(tmp_path / "key", UnreadableKeyError)
    with pytest.raises(UnsupportedKeyError, match="TPM"):  # where there is no file to name
        read_private_key(block, "the Workload API")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"0\x03abc",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n%%%%\n-----END PRIVATE KEY-----\n",
        making.key_pem(making.ec_key())[:-30],
        making.key_pem(making.ec_key()).replace(b"END PRIVATE", b"END EC PRIVATE"),
        b"-----BEGIN CERTIFICATE-----\n" + making.key_pem(making.ec_key()),
    ],
    ids=["empty", "text", "DER", "short", "not base64", "cut short", "another end", "nested"],
)
def test_what_is_no_key_is_refused_without_quoting_it(tmp_path: Path, content: bytes) -> None:
    making.write(tmp_path / "key", content)
    error = refused(tmp_path / "key", UnreadableKeyError)
    body = content.splitlines()[1] if content.count(b"\n") > 1 else b"nonsense"
    assert body.decode("latin-1") not in f"{error.what} {error.hint}"
    assert error.__cause__ is None, "a library's words about a key are not passed on"


def test_a_certificate_in_place_of_the_key_is_recognised(tmp_path: Path) -> None:
    making.write(tmp_path / "key", making.pem(making.Authority.root().certificate))
    assert "swapped" in refused(tmp_path / "key", UnreadableKeyError).hint


def test_a_damaged_rsa_key_gives_no_signature(tmp_path: Path) -> None:
    key = making.rsa_key()
    good = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    numbers = key.private_numbers()
    damaged = good
    for part in (numbers.p.to_bytes(128, "big"), numbers.d.to_bytes(256, "big").lstrip(b"\0")):  # OpenSSL mends one
        assert part in damaged
        damaged = damaged.replace(part, part[:100] + bytes([part[100] ^ 1]) + part[101:])
    making.write(tmp_path / "good", good)
    making.write(tmp_path / "damaged", damaged)
    registry.load_signing_key(key_at(tmp_path / "good")).key.sign(b"a message")
    loaded = registry.load_signing_key(key_at(tmp_path / "damaged"))
    with pytest.raises(UnreadableKeyError, match="does not verify"):
        loaded.key.sign(b"a message")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_public_half_of_an_ec_key_is_the_uncompressed_point(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    key = making.ec_key(curve)
    loaded = registry.load_signing_key(key_at(making.write(tmp_path / "key", making.key_pem(key))))
    size, numbers = (curve.key_size + 7) // 8, key.public_key().public_numbers()
    assert loaded.key.public_bytes == b"\x04" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")


def test_a_loaded_key_does_not_show_itself(tmp_path: Path) -> None:
    key = making.ec_key()
    loaded = registry.load_signing_key(key_at(making.write(tmp_path / "key", making.key_pem(key))))
    assert repr(loaded) == "LoadedKey(key=SoftwareKey(), warnings=())"


@pytest.mark.promise(30)
def test_the_key_files_permissions_are_checked(tmp_path: Path) -> None:
    path = making.write(tmp_path / "key", making.key_pem(making.ec_key()), 0o666)
    with pytest.raises(UnsafeFileError, match="private key") as caught:
        registry.load_signing_key(key_at(path), Access(in_gitlab_ci=True))
    assert "install -m 600" in caught.value.hint
    assert len(registry.load_signing_key(replace(key_at(path), accept_insecure_key_file=True)).warnings) == 2
    (tmp_path / "key").chmod(0o644)
    (warning,) = registry.load_signing_key(key_at(path)).warnings
    assert "every user of this machine" in warning
    with pytest.raises(UnsafeFileError, match="read by every user"):
        registry.load_signing_key(replace(key_at(path), strict_key_permissions=True))


def test_a_key_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableKeyError, match="No such file") as caught:
        registry.load_signing_key(key_at(tmp_path / "key"))
    assert "ls -l" in caught.value.hint
