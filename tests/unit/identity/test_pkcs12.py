"""PKCS#12 files, made by OpenSSL in today's way and in older ones."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import (
    EncryptedKeyError,
    HelperError,
    KeyMismatchError,
    UnreadableCertificateError,
    UnsafeFileError,
    UnsupportedKeyError,
    UsageError,
    WrongSecretError,
)
from rolesanywhere_helper.identity import registry
from rolesanywhere_helper.identity.access import Access
from rolesanywhere_helper.identity.pkcs12 import is_pkcs12
from tests.unit.identity import making
from tests.unit.identity.making import NOW, Authority, Wanted, ec_key

if TYPE_CHECKING:
    from pathlib import Path

    from rolesanywhere_helper.identity.loaded import LoadedIdentity
    from tests.unit.identity.conftest import OpenSsl

PASSWORD = "correct horse battery stäple"
ROOT = Authority.root()
UPPER = ROOT.intermediate("Upper")
LOWER = UPPER.intermediate("Lower")
KEY = ec_key()
LEAF = LOWER.issue(KEY)
CHAIN = (making.der(LOWER.certificate), making.der(UPPER.certificate))
LEGACY = ("-provider", "legacy", "-provider", "default")
WAYS = {
    "OpenSSL 3": (),
    "OpenSSL 1, Windows, Java": ("-legacy",),
    "as the official helper wants it": (
        *("-macalg", "SHA1"),
        *("-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES"),
    ),
    "AES-128": ("-certpbe", "aes-128-cbc", "-keypbe", "aes-128-cbc"),
    "AES-192": ("-certpbe", "aes-192-cbc", "-keypbe", "aes-192-cbc"),
    "RC2-128": ("-certpbe", "PBE-SHA1-RC2-128", "-keypbe", "PBE-SHA1-RC2-128", *LEGACY),
    "MAC SHA384": ("-macalg", "SHA384"),
    "MAC SHA512": ("-macalg", "SHA512"),
    "no MAC": ("-nomac",),
    "100000 iterations": ("-iter", "100000"),
    "certificates in the clear": ("-certpbe", "NONE"),
}


def pack(openssl: OpenSsl, folder: Path, *how: str, password: str = PASSWORD) -> Path:
    """Write key, leaf and everything above into ``made.bin``, whose name says nothing."""
    making.write(folder / "in.pem", making.key_pem(KEY) + making.pem(LEAF))
    making.write(folder / "above.pem", making.pem(ROOT.certificate, UPPER.certificate, LOWER.certificate))
    words = ("pkcs12", "-export", "-in", "in.pem", "-certfile", "above.pem", "-out", "made.bin")
    openssl(*words, "-passout", f"pass:{password}", *how)
    (folder / "made.bin").chmod(0o600)
    return folder / "made.bin"


def named(path: Path, password: str | None = PASSWORD) -> IdentityReference:
    secrets = () if password is None else (("pkcs12-password", SecretSource(text=password)),)
    return IdentityReference(str(path), "", secrets=secrets)


def load(reference: IdentityReference) -> LoadedIdentity:
    return registry.load(reference, now=NOW)


def refused(reference: IdentityReference, error: type[HelperError]) -> HelperError:
    with pytest.raises(error) as caught:
        load(reference)
    assert reference.certificate in caught.value.what
    assert PASSWORD not in f"{caught.value.what} {caught.value.hint}"
    assert caught.value.__cause__ is None, "a library's words are not passed on"
    return caught.value


@pytest.mark.parametrize("way", WAYS)
def test_one_file_is_a_whole_identity(openssl: OpenSsl, tmp_path: Path, way: str) -> None:
    file = pack(openssl, tmp_path, *WAYS[way])
    loaded = load(named(file))
    assert (loaded.identity.leaf_der, loaded.identity.chain_der) == (making.der(LEAF), CHAIN)
    assert loaded.warnings == ()
    assert loaded.identity.sign(b"a message")
    for wrong in ("wrong", PASSWORD + " ", PASSWORD[:-1], ""):
        refused(named(file, wrong), WrongSecretError)
    error = refused(named(file, None), EncryptedKeyError)
    assert "--pkcs12-password-file FILE" in error.hint
    assert isinstance(error, EncryptedKeyError)
    assert error.needs == "pkcs12-password"


@pytest.mark.parametrize("way", ["OpenSSL 3", "OpenSSL 1, Windows, Java", "as the official helper wants it", "no MAC"])
def test_an_empty_password_is_the_same_as_none(openssl: OpenSsl, tmp_path: Path, way: str) -> None:
    file = pack(openssl, tmp_path, *WAYS[way], password="")
    for password in (None, ""):
        assert load(named(file, password)).identity.chain_der == CHAIN
    assert load(named(file, None)).warnings == ()
    # A password for what has none is no error: the file opens. But somebody believes that it is closed.
    assert load(named(file, "other")).warnings == ("--pkcs12-password is given, but the PKCS#12 file is not encrypted",)


def test_nothing_may_be_encrypted(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path, "-certpbe", "NONE", "-keypbe", "NONE", "-nomac")
    assert load(named(file, None)).identity.chain_der == CHAIN
    file = pack(openssl, tmp_path, "-certpbe", "NONE", "-keypbe", "NONE")  # but checked by the password
    assert load(named(file)).identity.chain_der == CHAIN
    refused(named(file, None), EncryptedKeyError)


def test_a_password_may_be_of_any_script(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path, password="пароль €")
    assert load(named(file, "пароль €")).identity.chain_der == CHAIN
    refused(named(file, "пароль"), WrongSecretError)


def test_the_leaf_is_the_certificate_of_the_key(openssl: OpenSsl, tmp_path: Path) -> None:
    """Other end entities may stand before it, and be younger."""
    others = [LOWER.issue(ec_key(), Wanted(serial=serial, ends=2 * making.DAY)) for serial in (7, 8)]
    making.write(tmp_path / "in.pem", making.key_pem(KEY))
    making.write(tmp_path / "all.pem", making.pem(others[0], UPPER.certificate, LEAF, others[1], LOWER.certificate))
    words = ("pkcs12", "-export", "-inkey", "in.pem", "-in", "all.pem", "-out", "made.bin")
    openssl(*words, "-passout", f"pass:{PASSWORD}")
    identity = load(replace(named(tmp_path / "made.bin"), accept_insecure_key_file=True)).identity
    assert (identity.leaf_der, identity.chain_der) == (making.der(LEAF), CHAIN)


def test_an_rsa_key_is_read(openssl: OpenSsl, tmp_path: Path) -> None:
    key = making.rsa_key()
    making.write(tmp_path / "in.pem", making.key_pem(key) + making.pem(ROOT.issue(key)))
    openssl("pkcs12", "-export", "-in", "in.pem", "-out", "made.bin", "-passout", f"pass:{PASSWORD}")
    (tmp_path / "made.bin").chmod(0o600)
    assert load(named(tmp_path / "made.bin")).identity.key_type is KeyType.RSA


# Under which flag


def test_the_same_file_under_both_flags(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path)
    assert load(replace(named(file), private_key=str(file))).identity.chain_der == CHAIN


def test_the_certificate_in_a_pem_file_and_the_key_in_pkcs12(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path)
    leaf = making.write(tmp_path / "leaf.pem", making.pem(LEAF))
    identity = load(replace(named(file), certificate=leaf, private_key=str(file))).identity
    assert (identity.leaf_der, identity.chain_der) == (making.der(LEAF), CHAIN)
    other = making.write(tmp_path / "leaf.pem", making.pem(LOWER.issue(ec_key())))
    with pytest.raises(KeyMismatchError):
        load(replace(named(file), certificate=other, private_key=str(file)))


def test_the_certificate_in_pkcs12_and_the_key_in_a_pem_file(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path, "-nokeys")
    key = making.write(tmp_path / "key.pem", making.key_pem(KEY))
    assert load(replace(named(file), private_key=key)).identity.chain_der == CHAIN
    other = making.write(tmp_path / "key.pem", making.key_pem(ec_key()))
    with pytest.raises(KeyMismatchError):
        load(replace(named(file), private_key=other))


def test_intermediates_may_stand_in_pkcs12_too(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path, "-nokeys")
    leaf = making.write(tmp_path / "leaf.pem", making.pem(LEAF))
    key = making.write(tmp_path / "key.pem", making.key_pem(KEY))
    reference = replace(named(file), certificate=leaf, private_key=key, intermediates=str(file))
    assert load(reference).identity.chain_der == CHAIN


def test_both_kinds_of_secret_may_be_needed(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path, "-nokeys")
    openssl("pkcs8", "-topk8", "-in", "in.pem", "-out", "key.pem", "-passout", "pass:another")
    reference = replace(named(file), private_key=str(tmp_path / "key.pem"))
    with pytest.raises(EncryptedKeyError) as caught:
        load(reference)
    assert caught.value.needs == "pkcs8-password"
    both = (*reference.secrets, ("pkcs8-password", SecretSource(text="another")))
    assert load(replace(reference, secrets=both)).warnings == ()
    typed = Access(secrets={"pkcs8-password": "another", "pkcs12-password": PASSWORD})
    assert registry.load(replace(reference, secrets=()), now=NOW, access=typed).warnings == ()


def test_the_key_alone_signs(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path)
    loaded = registry.load_signing_key(replace(named(file), certificate="", private_key=str(file)))
    assert loaded.key.key_type is KeyType.EC
    assert loaded.key.sign(b"a message")


def test_the_certificate_alone_is_read(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path)
    assert registry.load_certificate(named(file)).der == making.der(LEAF)
    with pytest.raises(EncryptedKeyError):
        registry.load_certificate(named(file, None))


# What is missing, broken or not to be trusted


def test_a_file_without_a_key_says_so(openssl: OpenSsl, tmp_path: Path) -> None:
    error = refused(named(pack(openssl, tmp_path, "-nokeys")), UsageError)
    assert "--private-key FILE" in error.hint


def test_a_file_without_a_certificate_says_so(openssl: OpenSsl, tmp_path: Path) -> None:
    making.write(tmp_path / "in.pem", making.key_pem(KEY))
    words = ("pkcs12", "-export", "-nocerts", "-inkey", "in.pem", "-out", "made.bin")
    openssl(*words, "-passout", f"pass:{PASSWORD}")
    refused(named(tmp_path / "made.bin"), UnreadableCertificateError)


def test_a_key_that_the_service_does_not_accept_is_refused(openssl: OpenSsl, tmp_path: Path) -> None:
    openssl("genpkey", "-algorithm", "ED25519", "-out", "ed.pem")
    openssl("req", "-x509", "-key", "ed.pem", "-subj", "/CN=a", "-out", "ed.crt")
    words = ("pkcs12", "-export", "-inkey", "ed.pem", "-in", "ed.crt", "-out", "made.bin")
    openssl(*words, "-passout", f"pass:{PASSWORD}")
    (tmp_path / "made.bin").chmod(0o600)
    assert "Ed25519" in refused(named(tmp_path / "made.bin"), UnsupportedKeyError).what


@pytest.mark.parametrize("place", [3, -1])
def test_a_damaged_file_is_refused(openssl: OpenSsl, tmp_path: Path, place: int) -> None:
    file = pack(openssl, tmp_path)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    making.write(file, bytes(content))
    refused(named(file), WrongSecretError)


@pytest.mark.promise(30)
def test_a_file_with_a_key_that_others_may_write_is_refused(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path)
    file.chmod(0o666)
    refused(named(file), UnsafeFileError)
    file.chmod(0o644)
    (warning,) = load(named(file)).warnings
    assert "every user of this machine" in warning
    # Where the key lies elsewhere the file holds nothing to be kept.
    file = pack(openssl, tmp_path, "-nokeys")
    file.chmod(0o666)
    key = making.write(tmp_path / "key.pem", making.key_pem(KEY))
    assert load(replace(named(file), private_key=key)).warnings == ()


# What is one


def test_a_file_is_told_by_its_content(openssl: OpenSsl, tmp_path: Path) -> None:
    content = pack(openssl, tmp_path).read_bytes()
    assert is_pkcs12(content)
    assert is_pkcs12(b"\x30\x80" + content[4:]), "BER, without a length"
    others = [making.der(LEAF), making.pem(LEAF), making.key_pem(KEY), b"", b"0", b"0\x80", b"nonsense"]
    others.append(openssl("pkey", "-in", "in.pem", "-outform", "DER", "-traditional"))
    for form in (("-nocrypt",), ("-passout", "pass:a")):
        others += [openssl("pkcs8", "-topk8", "-in", "in.pem", "-outform", "DER", *form)]
    openssl("genrsa", "-traditional", "-out", "rsa.pem", "2048")
    others.append(openssl("rsa", "-in", "rsa.pem", "-outform", "DER", "-traditional"))
    assert [other for other in others if is_pkcs12(other)] == []


def test_a_file_may_have_been_written_without_lengths(openssl: OpenSsl, tmp_path: Path) -> None:
    """As some programs write it (BER); OpenSSL does not, so it is put together from what it writes."""
    file = pack(openssl, tmp_path, "-nomac")
    content = file.read_bytes()
    assert content[1] == 0x82, "a length of two octets"
    making.write(file, b"\x30\x80" + content[4:] + b"\0\0")
    assert load(named(file)).identity.chain_der == CHAIN


def test_it_may_stand_in_a_variable_as_base64(openssl: OpenSsl, tmp_path: Path) -> None:
    file = pack(openssl, tmp_path)
    making.write(file, base64.encodebytes(file.read_bytes()))
    assert load(named(file)).identity.chain_der == CHAIN


def test_what_another_program_writes_is_opened(tmp_path: Path, openssl: OpenSsl) -> None:
    """Python's own library is the other writer at hand; its defaults differ from OpenSSL's."""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12  # noqa: PLC0415 - one use

    above = [LOWER.certificate, UPPER.certificate]
    encryption = BestAvailableEncryption(PASSWORD.encode())
    content = pkcs12.serialize_key_and_certificates("naïve".encode(), KEY, LEAF, above, encryption)
    file = tmp_path / "made.bin"
    making.write(file, content)
    assert load(named(file)).identity.chain_der == CHAIN
    listed = openssl("pkcs12", "-in", "made.bin", "-nokeys", "-passin", f"pass:{PASSWORD}")
    assert listed.count(b"BEGIN CERTIFICATE") == 3
    with pytest.raises(subprocess.CalledProcessError):
        openssl("pkcs12", "-in", "made.bin", "-nokeys", "-passin", "pass:wrong")
