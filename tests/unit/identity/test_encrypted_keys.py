"""Encrypted private keys, made by OpenSSL: each is opened by its passphrase, by no other, and not without one."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import (
    EncryptedKeyError,
    HelperError,
    UnreadableKeyError,
    UnsupportedKeyError,
    WrongSecretError,
)
from rolesanywhere_helper.identity import der, encrypted, registry
from rolesanywhere_helper.identity.access import Access
from rolesanywhere_helper.identity.blocks import read_blocks
from rolesanywhere_helper.identity.private_key import read_private_key
from tests.unit.identity import making

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.identity.conftest import OpenSsl

PASSPHRASE = "correct horse battery stäple"
GENERATE = {
    "RSA": ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "made.pem"),
    "EC": ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "made.pem"),
}
PRFS = ("hmacWithSHA1", "hmacWithSHA224", "hmacWithSHA256", "hmacWithSHA384", "hmacWithSHA512")
CIPHERS = ("aes-128-cbc", "aes-192-cbc", "aes-256-cbc")
PBES2 = [("-v2", cipher, "-v2prf", prf) for cipher in CIPHERS for prf in PRFS]
SCRYPT = [("-v2", cipher, "-scrypt") for cipher in CIPHERS]
# What OpenSSL 1.0 wrote, an iteration count as high as it is advised today, and what is older than PBES2.
OTHERS = [
    ("-v2", "des3"),
    ("-v2", "aes-256-cbc", "-iter", "600000"),
    ("-v1", "PBE-SHA1-3DES"),
    ("-v1", "PBE-MD5-DES", "-provider", "legacy", "-provider", "default"),
]
# Amazon's ACM exports keys with HMAC-SHA1, the default that is then left out of the file (RFC 8018, appendix A.2).
ACM = ("-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1", "-iter", "2048")


def encrypt(openssl: OpenSsl, kind: str, *how: str) -> None:
    openssl(*GENERATE[kind])
    words = ("pkcs8", "-topk8", "-in", "made.pem", "-out", "key", "-passout", f"pass:{PASSPHRASE}")
    openssl(*words, *how)


def reference(folder: Path, passphrase: str | None = PASSPHRASE) -> IdentityReference:
    (folder / "key").chmod(0o600)
    secrets = () if passphrase is None else (("pkcs8-password", SecretSource(text=passphrase)),)
    return IdentityReference("", str(folder / "key"), secrets=secrets)


def refused(named: IdentityReference, error: type[HelperError]) -> HelperError:
    with pytest.raises(error) as caught:
        registry.load_signing_key(named)
    assert named.private_key in caught.value.what
    assert PASSPHRASE not in f"{caught.value.what} {caught.value.hint}"
    assert caught.value.__cause__ is None, "a library's words about a key are not passed on"
    return caught.value


def assert_opened_by_its_passphrase_alone(openssl: OpenSsl, folder: Path, kind: str) -> None:
    loaded = registry.load_signing_key(reference(folder))
    assert (loaded.key.key_type, loaded.warnings) == (KeyType[kind], ())
    making.write(folder / "message", b"a message")
    making.write(folder / "signature", loaded.key.sign(b"a message"))
    openssl("dgst", "-sha256", "-prverify", "made.pem", "-signature", "signature", "message")
    for wrong in ("wrong", PASSPHRASE + " ", PASSPHRASE[:-1], PASSPHRASE.upper(), ""):
        refused(reference(folder, wrong), WrongSecretError)
    error = refused(reference(folder, None), EncryptedKeyError)
    assert "--pkcs8-password-file FILE" in error.hint
    assert isinstance(error, EncryptedKeyError)
    assert error.needs == "pkcs8-password"


@pytest.mark.parametrize("how", [*PBES2, *SCRYPT, *OTHERS, ACM], ids=lambda words: " ".join(words[1:]))
@pytest.mark.parametrize("outform", ["PEM", "DER"])
def test_encrypted_pkcs8_is_opened(openssl: OpenSsl, tmp_path: Path, how: tuple[str, ...], outform: str) -> None:
    encrypt(openssl, "EC", *how, "-outform", outform)
    assert_opened_by_its_passphrase_alone(openssl, tmp_path, "EC")


@pytest.mark.parametrize("how", [PBES2[0], PBES2[-1], SCRYPT[-1], ACM], ids=lambda words: " ".join(words[1:]))
def test_encrypted_rsa_keys_are_opened(openssl: OpenSsl, tmp_path: Path, how: tuple[str, ...]) -> None:
    encrypt(openssl, "RSA", *how)
    assert_opened_by_its_passphrase_alone(openssl, tmp_path, "RSA")


@pytest.mark.parametrize("cipher", ["des3", "aes128", "aes192", "aes256"])
@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_the_traditional_form_is_opened(openssl: OpenSsl, tmp_path: Path, kind: str, cipher: str) -> None:
    openssl(*GENERATE[kind])
    words = ("pkey", "-in", "made.pem", "-out", "key", "-traditional", f"-{cipher}", "-passout", f"pass:{PASSPHRASE}")
    openssl(*words)
    assert b"DEK-Info: " in (tmp_path / "key").read_bytes(), "the case this test is about"
    assert_opened_by_its_passphrase_alone(openssl, tmp_path, kind)


def test_how_the_hash_is_named_does_not_matter(openssl: OpenSsl, tmp_path: Path) -> None:
    """HMAC-SHA1 is the default and then left out; some programs write it all the same, and the key's length."""
    encrypt(openssl, "EC", *ACM, "-outform", "DER")
    without = (tmp_path / "key").read_bytes()
    algorithm, ciphertext = der.outer(without)
    name, parameters = der.inside(algorithm)
    derivation, scheme = der.inside(parameters)
    salt, count = der.inside(der.inside(derivation)[1])
    function = der.write(der.SEQUENCE, der.write(der.OBJECT_IDENTIFIER, bytes.fromhex("2a864886f70d0207")) + b"\5\0")

    def again(*elements: der.Element) -> bytes:
        return b"".join(der.write(each.tag, each.content) for each in elements)

    for more in (b"\x02\x01\x20", function, b"\x02\x01\x20" + function):
        inner = again(der.inside(derivation)[0]) + der.write(der.SEQUENCE, again(salt, count) + more)
        outer = again(name) + der.write(der.SEQUENCE, der.write(der.SEQUENCE, inner) + again(scheme))
        made = der.write(der.SEQUENCE, der.write(der.SEQUENCE, outer) + again(ciphertext))
        making.write(tmp_path / "key", made)
        assert_opened_by_its_passphrase_alone(openssl, tmp_path, "EC")


def test_the_passphrase_is_read_only_for_a_key_that_is_encrypted(openssl: OpenSsl, tmp_path: Path) -> None:
    encrypt(openssl, "EC", *ACM)
    read: list[str] = []

    def passphrase() -> bytes:
        read.append("passphrase")
        return PASSPHRASE.encode()

    read_private_key((tmp_path / "made.pem").read_bytes(), "made.pem", passphrase)
    assert read == []
    read_private_key((tmp_path / "key").read_bytes(), "key", passphrase)
    assert read == ["passphrase"]


def test_a_passphrase_for_a_key_that_is_not_encrypted_is_told_of(openssl: OpenSsl, tmp_path: Path) -> None:
    encrypt(openssl, "EC", *ACM)
    named = replace(reference(tmp_path), private_key=str(tmp_path / "made.pem"))
    assert registry.load_signing_key(named).warnings == (
        "--pkcs8-password is given, but the private key is not encrypted",
    )
    assert registry.load_signing_key(replace(named, secrets=())).warnings == ()


def test_the_passphrase_may_stand_in_a_file_or_have_been_typed(openssl: OpenSsl, tmp_path: Path) -> None:
    encrypt(openssl, "EC", *ACM)
    file = tmp_path / "passphrase"
    named = replace(reference(tmp_path), secrets=(("pkcs8-password", SecretSource(str(file))),))
    for ending in (b"", b"\n", b"\r\n"):
        making.write(file, PASSPHRASE.encode() + ending)
        registry.load_signing_key(named)
    making.write(file, PASSPHRASE.encode() + b"\n\n")
    refused(named, WrongSecretError)
    registry.load_signing_key(reference(tmp_path, None), Access(secrets={"pkcs8-password": PASSPHRASE}))
    refused(replace(named, secrets=(("pkcs12-password", SecretSource(text=PASSPHRASE)),)), EncryptedKeyError)


def test_a_passphrase_file_that_is_missing_is_named(openssl: OpenSsl, tmp_path: Path) -> None:
    encrypt(openssl, "EC", *ACM)
    missing = str(tmp_path / "passphrase")
    named = replace(reference(tmp_path), secrets=(("pkcs8-password", SecretSource(missing)),))
    with pytest.raises(WrongSecretError, match=f"{missing} cannot be read"):
        registry.load_signing_key(named)


@pytest.mark.parametrize(
    "how",
    [
        ("-v1", "PBE-SHA1-RC2-64", "-provider", "legacy", "-provider", "default"),
        ("-v2", "camellia-128-cbc"),
        ("-v2", "aria-128-cbc"),
    ],
    ids=lambda words: words[1],
)
def test_encryption_that_is_not_known_is_refused_with_the_way_out(
    openssl: OpenSsl, tmp_path: Path, how: tuple[str, ...]
) -> None:
    encrypt(openssl, "EC", *how)
    error = refused(reference(tmp_path), UnsupportedKeyError)
    command = error.hint.partition("umask 077; ")[2].rstrip(")").split()
    assert command[0] == "openssl"
    secrets = ("-passin", f"pass:{PASSPHRASE}", "-passout", f"pass:{PASSPHRASE}")
    openssl(*command[1:], *secrets, *how[2:])  # what the hint says is true
    (tmp_path / "key").unlink()
    (tmp_path / "key.new").rename(tmp_path / "key")
    assert_opened_by_its_passphrase_alone(openssl, tmp_path, "EC")


def test_a_cost_that_would_take_too_long_is_refused(openssl: OpenSsl, tmp_path: Path) -> None:
    encrypt(openssl, "EC", *ACM, "-outform", "DER")
    content = (tmp_path / "key").read_bytes()
    assert b"\x02\x02\x08\x00" in content, "2048 iterations"
    making.write(tmp_path / "key", content.replace(b"\x02\x02\x08\x00", b"\x02\x02\x00\x00"))
    refused(reference(tmp_path), UnsupportedKeyError)
    encrypt(openssl, "EC", *SCRYPT[0], "-outform", "DER")
    content = (tmp_path / "key").read_bytes()
    for cost, damaged in ((b"\x02\x02\x40\x00", b"\x02\x02\x7f\xff"), (b"\x02\x01\x08", b"\x02\x01\x7f")):
        assert cost in content
        making.write(tmp_path / "key", content.replace(cost, damaged))
        with pytest.raises((UnsupportedKeyError, WrongSecretError)):
            registry.load_signing_key(reference(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"AES-256-CBC", b"BF-CBC", UnsupportedKeyError),
        (b"DEK-Info", b"Other", UnsupportedKeyError),
        (b",", b",xyz", UnsupportedKeyError),
        (b"AES-256-CBC", b"AES-128-CBC", WrongSecretError),
    ],
    ids=["cipher", "no cipher", "vector", "another cipher"],
)
def test_headers_that_have_no_meaning_are_refused(
    openssl: OpenSsl, tmp_path: Path, old: bytes, new: bytes, error: type[HelperError]
) -> None:
    openssl(*GENERATE["RSA"])
    words = ("pkey", "-in", "made.pem", "-out", "key", "-traditional", "-aes256", "-passout", f"pass:{PASSPHRASE}")
    openssl(*words)
    first, second = (tmp_path / "key").read_bytes().split(b"DEK-Info", 1)
    changed = first + (b"DEK-Info" + second).replace(old, new, 1)
    making.write(tmp_path / "key", changed)
    refused(reference(tmp_path), error)


def test_a_label_that_is_not_true_does_not_matter(openssl: OpenSsl, tmp_path: Path) -> None:
    openssl(*GENERATE["EC"])
    plain = (tmp_path / "made.pem").read_bytes()
    making.write(tmp_path / "key", plain.replace(b" PRIVATE", b" ENCRYPTED PRIVATE"))
    registry.load_signing_key(reference(tmp_path, None))
    encrypt(openssl, "EC", *ACM)
    making.write(tmp_path / "key", (tmp_path / "key").read_bytes().replace(b" ENCRYPTED PRIVATE", b" PRIVATE"))
    assert_opened_by_its_passphrase_alone(openssl, tmp_path, "EC")


def test_a_damaged_ciphertext_looks_like_a_wrong_passphrase(openssl: OpenSsl, tmp_path: Path) -> None:
    encrypt(openssl, "EC", *ACM, "-outform", "DER")
    content = (tmp_path / "key").read_bytes()
    making.write(tmp_path / "key", content[:-1] + bytes([content[-1] ^ 1]))
    refused(reference(tmp_path), WrongSecretError)
    making.write(tmp_path / "key", content[:-1])
    refused(reference(tmp_path), UnreadableKeyError)


def test_a_wrong_passphrase_whose_padding_looks_right_is_wrong_too(openssl: OpenSsl, tmp_path: Path) -> None:
    """One of about 256 does: without a look at what comes out it would be called a broken key."""
    encrypt(openssl, "EC", "-v2", "aes-128-cbc", "-iter", "1", "-outform", "DER")
    (block,) = read_blocks((tmp_path / "key").read_bytes())
    for number in range(3000):
        with pytest.raises(encrypted.WrongPassphraseError):
            encrypted.decrypt_pkcs8(block.der, str(number).encode())
    encrypted.decrypt_pkcs8(block.der, PASSPHRASE.encode())


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_key_in_base64_is_read_as_what_it_is(openssl: OpenSsl, tmp_path: Path, *, wrapped: bool) -> None:
    for outform in ("PEM", "DER"):
        encrypt(openssl, "EC", *ACM, "-outform", outform)
        content = (tmp_path / "key").read_bytes()
        making.write(tmp_path / "key", base64.encodebytes(content) if wrapped else base64.b64encode(content))
        assert_opened_by_its_passphrase_alone(openssl, tmp_path, "EC")
