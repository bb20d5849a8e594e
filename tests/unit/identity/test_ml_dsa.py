"""ML-DSA keys: every form of PKCS#8 that RFC 9881 has for them, encrypted or not, and what they sign."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, TypeAlias

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import (
    HelperError,
    KeyMismatchError,
    UnreadableKeyError,
    UnsupportedKeyError,
    WrongSecretError,
)
from rolesanywhere_helper.identity import registry
from rolesanywhere_helper.identity.der import INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, write
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rolesanywhere_helper.identity.loaded import SigningKey

    # Makes of a salt what stands in the file about it, and the key.
    Derive = Callable[[bytes], tuple[bytes, bytes]]

MlDsaKey: TypeAlias = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey

PASSPHRASE = "sesame"
# What FIPS 204 (table 2) has for each: the last octet of the identifier, the sizes of expanded key and signature.
KINDS: dict[KeyType, tuple[type[MlDsaKey], int, int, int]] = {
    KeyType.ML_DSA_44: (mldsa.MLDSA44PrivateKey, 17, 2560, 2420),
    KeyType.ML_DSA_65: (mldsa.MLDSA65PrivateKey, 18, 4032, 3309),
    KeyType.ML_DSA_87: (mldsa.MLDSA87PrivateKey, 19, 4896, 4627),
}
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)


def pkcs8(kind: KeyType, key: bytes) -> bytes:
    """Put a key in any form into PKCS#8, as RFC 9881 and RFC 5958 have it."""
    algorithm = write(OBJECT_IDENTIFIER, bytes.fromhex("6086480165030403") + bytes([KINDS[kind][1]]))
    return write(SEQUENCE, write(INTEGER, b"\0") + write(SEQUENCE, algorithm) + write(OCTET_STRING, key))


def in_both_forms(kind: KeyType, key: MlDsaKey) -> bytes:
    """Write what OpenSSL writes by default; the expanded key is not computed here, since nobody looks at it."""
    return write(SEQUENCE, write(OCTET_STRING, key.private_bytes_raw()) + write(OCTET_STRING, bytes(KINDS[kind][2])))


def load(folder: Path, content: bytes, passphrase: str | None = None) -> SigningKey:
    path = making.write(folder / "key", content)
    secrets = () if passphrase is None else (("pkcs8-password", SecretSource(text=passphrase)),)
    return registry.load_signing_key(IdentityReference("", path, secrets=secrets)).key


def assert_signs(loaded: SigningKey, kind: KeyType, key: MlDsaKey) -> None:
    signature = loaded.sign(b"a message")
    assert len(signature) == KINDS[kind][3]
    key.public_key().verify(signature, b"a message")  # not its digest, and with an empty context
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, b"another message")
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, b"a message", b"a context")


@every_kind
def test_every_form_with_a_seed_is_read(kind: KeyType, tmp_path: Path) -> None:
    key = KINDS[kind][0].generate()
    written = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    by_hand = pkcs8(kind, write(0x80, key.private_bytes_raw()))
    assert written == by_hand, "what this test takes apart is what the library writes"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (written, pem, pkcs8(kind, in_both_forms(kind, key))):
        loaded = load(tmp_path, content)
        assert loaded.key_type is kind
        assert loaded.public_bytes == key.public_key().public_bytes_raw()
        assert_signs(loaded, kind, key)


@every_kind
def test_the_digest_is_the_algorithms_own(kind: KeyType, tmp_path: Path) -> None:
    key = KINDS[kind][0].generate()
    loaded = load(tmp_path, pkcs8(kind, write(0x80, key.private_bytes_raw())))
    for digest in ("SHA256", "SHA384", "SHA512"):
        key.public_key().verify(loaded.sign(b"a message", digest), b"a message")


@every_kind
def test_an_expanded_key_alone_is_refused_with_what_helps(kind: KeyType, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedKeyError, match="expanded key without its seed") as caught:
        load(tmp_path, pkcs8(kind, write(OCTET_STRING, bytes(KINDS[kind][2]))))
    assert "openssl genpkey -algorithm ML-DSA-" in caught.value.hint


@every_kind
@pytest.mark.parametrize("way", ["PBKDF2", "scrypt"])
def test_encrypted_keys_are_opened(kind: KeyType, way: str, tmp_path: Path) -> None:
    """In both forms: as the library writes it, and the one that OpenSSL writes by default."""
    key = KINDS[kind][0].generate()
    ours = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode()))
    assert_signs(load(tmp_path, ours, PASSPHRASE), kind, key)
    derive = by_pbkdf2 if way == "PBKDF2" else by_scrypt
    theirs = encrypted(pkcs8(kind, in_both_forms(kind, key)), derive)
    assert_signs(load(tmp_path, theirs, PASSPHRASE), kind, key)
    with pytest.raises(WrongSecretError):
        load(tmp_path, theirs, "wrong")
    theirs = encrypted(pkcs8(kind, write(OCTET_STRING, bytes(KINDS[kind][2]))), derive)
    with pytest.raises(UnsupportedKeyError, match="without its seed"):
        load(tmp_path, theirs, PASSPHRASE)


def encrypted(content: bytes, derive: Derive) -> bytes:
    """Encrypt PKCS#8 as OpenSSL would (PBES2, AES-256-CBC), whose version here knows no ML-DSA."""
    salt, vector = os.urandom(16), os.urandom(16)
    derivation, key = derive(salt)
    padding = 16 - len(content) % 16
    encryptor = Cipher(AES(key), CBC(vector)).encryptor()
    ciphertext = encryptor.update(content + bytes([padding]) * padding) + encryptor.finalize()
    scheme = named("60864801650304012a", write(OCTET_STRING, vector))
    algorithm = named("2a864886f70d01050d", write(SEQUENCE, derivation + scheme))
    return write(SEQUENCE, algorithm + write(OCTET_STRING, ciphertext))


def named(identifier: str, parameters: bytes) -> bytes:
    return write(SEQUENCE, write(OBJECT_IDENTIFIER, bytes.fromhex(identifier)) + parameters)


def by_pbkdf2(salt: bytes) -> tuple[bytes, bytes]:
    parameters = write(OCTET_STRING, salt) + write(INTEGER, b"\x08\x00") + named("2a864886f70d0209", b"\5\0")
    key = hashlib.pbkdf2_hmac("sha256", PASSPHRASE.encode(), salt, 2048, 32)
    return named("2a864886f70d01050c", write(SEQUENCE, parameters)), key


def by_scrypt(salt: bytes) -> tuple[bytes, bytes]:
    numbers = b"".join(write(INTEGER, each) for each in (b"\x40\x00", b"\x08", b"\x01"))
    key = hashlib.scrypt(PASSPHRASE.encode(), salt=salt, n=16_384, r=8, p=1, dklen=32)
    return named("2b06010401da47040b", write(SEQUENCE, write(OCTET_STRING, salt) + numbers)), key


@pytest.mark.parametrize(
    "key",
    [
        write(0x80, bytes(31)),
        write(0x80, bytes(33)),
        write(SEQUENCE, write(OCTET_STRING, bytes(31)) + write(OCTET_STRING, bytes(2560))),
        write(SEQUENCE, write(OCTET_STRING, bytes(32))),
        write(SEQUENCE, write(INTEGER, b"\0") + write(OCTET_STRING, bytes(2560))),
        write(INTEGER, b"\0"),
        bytes(32),
        b"",
    ],
    ids=["short seed", "long seed", "short in both", "only half of both", "no seed", "number", "bare", "empty"],
)
def test_what_is_no_form_of_a_key_is_broken(key: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableKeyError) as caught:
        load(tmp_path, pkcs8(KeyType.ML_DSA_44, key))
    assert caught.value.__cause__ is None


def test_a_loaded_key_does_not_show_itself(tmp_path: Path) -> None:
    key = mldsa.MLDSA44PrivateKey.generate()
    loaded = load(tmp_path, pkcs8(KeyType.ML_DSA_44, write(0x80, key.private_bytes_raw())))
    assert repr(loaded) == "SoftwareKey()"


@every_kind
def test_a_certificate_and_its_key_are_an_identity(kind: KeyType, tmp_path: Path) -> None:
    root = making.Authority.root()
    key, other = KINDS[kind][0].generate(), KINDS[kind][0].generate()
    leaf = making.write(tmp_path / "leaf.pem", making.pem(root.issue(key)))

    def reference(of: MlDsaKey) -> IdentityReference:
        return IdentityReference(leaf, making.write(tmp_path / "key.pem", pkcs8(kind, in_both_forms(kind, of))))

    identity = registry.load(reference(key), now=making.NOW).identity
    assert identity.key_type is kind
    assert identity.key_type.signing_algorithm == "AWS4-X509-MLDSA"
    key.public_key().verify(identity.sign(b"a message"), b"a message")
    with pytest.raises(KeyMismatchError):
        registry.load(reference(other), now=making.NOW)


@every_kind
def test_a_library_that_does_not_know_them_says_so(
    kind: KeyType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As releases before 47 do: they know no such identifier."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - one use

    from rolesanywhere_helper.identity import private_key  # noqa: PLC0415 - as above

    def unknown(*_: object, **__: object) -> None:
        raise UnsupportedAlgorithm("unknown")

    content = pkcs8(kind, in_both_forms(kind, KINDS[kind][0].generate()))
    load(tmp_path, content)
    monkeypatch.setattr(private_key, "load_der_private_key", unknown)
    with pytest.raises(HelperError) as caught:
        load(tmp_path, content)
    assert kind.value in caught.value.what
    assert "pip install --upgrade cryptography" in caught.value.hint
