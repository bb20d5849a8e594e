"""What the official helper's own tests put into it, made anew by OpenSSL: the same is accepted and refused here.

Its table is key type x format of the key x encryption, certificates signed with each digest, certificate and key in one
file, PKCS#12, and bundles with text between the blocks. Where this program refuses what the official helper takes, the
service would refuse it too, and here it is told why before anything is sent:

* RSA keys of 1024 bits, and leaves signed with MD5 or SHA-1 (user guide, "trust model");
* a key that does not belong to the certificate.

It takes more, too: a passphrase for a key that is not encrypted is a warning, and other blocks in a bundle are skipped.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import (
    EncryptedKeyError,
    KeyMismatchError,
    UnreadableCertificateError,
    UnreadableKeyError,
    UnsupportedKeyError,
    UnusableLeafError,
    WrongSecretError,
)
from rolesanywhere_helper.identity import registry
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rolesanywhere_helper.identity.loaded import LoadedIdentity

PASSWORD = "password"
KEYS = {
    "rsa-1024": ("genrsa", "-traditional", "1024"),
    "rsa-2048": ("genrsa", "-traditional", "2048"),
    "rsa-4096": ("genrsa", "-traditional", "4096"),
    "ec-prime256v1": ("ecparam", "-name", "prime256v1", "-genkey"),
    "ec-secp384r1": ("ecparam", "-name", "secp384r1", "-genkey"),
}
ENCRYPTIONS = {
    "aes128cbc": ("-v2", "aes-128-cbc"),
    "aes192cbc": ("-v2", "aes-192-cbc"),
    "aes256cbc": ("-v2", "aes-256-cbc"),
    "hmacWithSHA256": ("-v2prf", "hmacWithSHA256"),
    "hmacWithSHA384": ("-v2prf", "hmacWithSHA384"),
    "hmacWithSHA512": ("-v2prf", "hmacWithSHA512"),
    "scrypt": ("-scrypt",),
    "as ACM exports it": ("-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1"),
}
FORMATS = ("as made", "PKCS#8", *ENCRYPTIONS)
DIGESTS = ("md5", "sha1", "sha256", "sha384", "sha512")
# Go reads no others.
PKCS12 = ("-macalg", "SHA1", "-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES")
WEAK_KEY = "rsa-1024"
WEAK_DIGESTS = frozenset({"md5", "sha1"})


@dataclass(frozen=True)
class Inputs:
    """A folder with ``KIND.pem`` and ``KIND-FORMAT.pem`` for each key, and ``KIND-DIGEST.crt`` for each leaf."""

    folder: Path
    openssl: Path

    def run(self, *words: str, **variables: str) -> None:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **variables}
        subprocess.run([self.openssl, *words], cwd=self.folder, env=environment, capture_output=True, check=True)

    def make(self) -> None:
        for kind, words in KEYS.items():
            self.run(words[0], "-out", f"{kind}.pem", *words[1:])
            encrypt = ("pkcs8", "-topk8", "-in", f"{kind}.pem")
            self.run(*encrypt, "-nocrypt", "-out", f"{kind}-PKCS#8.pem")
            for name, how in ENCRYPTIONS.items():
                self.run(*encrypt, *how, "-passout", f"pass:{PASSWORD}", "-out", f"{kind}-{name}.pem")
            self.run("req", "-new", "-key", f"{kind}.pem", "-subj", f"/CN={kind}", "-out", f"{kind}.csr")
        self.write("leaf.cnf", b"keyUsage = critical, digitalSignature\nbasicConstraints = CA:FALSE\n")
        self.run("req", "-x509", "-key", "rsa-2048.pem", "-subj", "/CN=ca", "-out", "ca.pem")
        for kind, digest in itertools.product(KEYS, DIGESTS):
            sign = ("x509", "-req", "-in", f"{kind}.csr", "-CA", "ca.pem", "-CAkey", "rsa-2048.pem", f"-{digest}")
            self.run(*sign, "-set_serial", "17", "-extfile", "leaf.cnf", "-out", f"{kind}-{digest}.crt")
        for file in self.folder.iterdir():
            file.chmod(0o600)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def key(self, kind: str, form: str) -> str:
        return self.path(f"{kind}.pem" if form == "as made" else f"{kind}-{form}.pem")

    def leaf(self, kind: str, digest: str) -> str:
        return self.path(f"{kind}-{digest}.crt")

    def write(self, name: str, content: bytes) -> str:
        return making.write(self.folder / name, content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture
def inputs(folder: Path, peer: Callable[[str], Path]) -> Inputs:
    made = Inputs(folder, peer("openssl"))
    if not (folder / "ca.pem").exists():
        made.make()
    return made


def secrets(form: str, password: str = PASSWORD) -> tuple[tuple[str, SecretSource], ...]:
    return (("pkcs8-password", SecretSource(text=password)),) if form in ENCRYPTIONS else ()


def load(reference: IdentityReference) -> LoadedIdentity:
    return registry.load(reference, now=time.time())


def assert_signs_or_is_refused(reference: IdentityReference, kind: str, digest: str) -> None:
    """Expect the official helper's answer, and a refusal where the service would refuse the leaf or its key."""
    if kind == WEAK_KEY:
        with pytest.raises(UnsupportedKeyError, match="RSA of 1024 bits"):
            load(reference)
    elif digest in WEAK_DIGESTS:
        with pytest.raises(UnusableLeafError, match=f"signed with {digest.upper()}"):
            load(reference)
    else:
        identity = load(reference).identity
        assert identity.key_type is (KeyType.EC if kind.startswith("ec") else KeyType.RSA)
        assert identity.sign(b"a message")


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KEYS)
def test_a_leaf_and_its_key_in_two_files(inputs: Inputs, kind: str, form: str, digest: str) -> None:
    reference = IdentityReference(inputs.leaf(kind, digest), inputs.key(kind, form), secrets=secrets(form))
    assert_signs_or_is_refused(reference, kind, digest)


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("kind", KEYS)
def test_a_leaf_and_its_key_in_one_file(inputs: Inputs, kind: str, digest: str) -> None:
    combo = inputs.write("combo.pem", inputs.read(f"{kind}.pem") + inputs.read(f"{kind}-{digest}.crt"))
    for private_key in ("", combo):
        assert_signs_or_is_refused(IdentityReference(combo, private_key), kind, digest)


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("kind", KEYS)
def test_a_leaf_and_its_key_in_pkcs12(inputs: Inputs, kind: str, digest: str) -> None:
    """With an empty password, since the official helper knows no other; with one it says that it is wrong."""
    pack = ("pkcs12", "-export", "-in", f"{kind}-{digest}.crt", "-inkey", f"{kind}.pem", *PKCS12)
    inputs.run(*pack, "-passout", "pass:", "-out", "all.p12")
    inputs.run(*pack, "-passout", "pass:test", "-out", "all-pass.p12")
    for name in ("all.p12", "all-pass.p12"):
        (inputs.folder / name).chmod(0o600)
    assert_signs_or_is_refused(IdentityReference(inputs.path("all.p12"), ""), kind, digest)
    with pytest.raises(EncryptedKeyError):
        load(IdentityReference(inputs.path("all-pass.p12"), ""))


@pytest.mark.parametrize("form", ENCRYPTIONS)
@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(
    "wrong",
    ["incorrect-password", "a" * 1000, "!@#$%^&*()_+-=[]{}|;:,.<>?", "пароль密码パスワード"],
    ids=["another", "long", "special characters", "other scripts"],
)
def test_a_wrong_password_is_refused(inputs: Inputs, kind: str, form: str, wrong: str) -> None:
    reference = IdentityReference("", inputs.key(kind, form), secrets=secrets(form, wrong))
    with pytest.raises(WrongSecretError):
        registry.load_signing_key(reference)


@pytest.mark.parametrize("form", ENCRYPTIONS)
def test_an_encrypted_key_without_a_password_has_to_be_asked_for(inputs: Inputs, form: str) -> None:
    with pytest.raises(EncryptedKeyError) as caught:
        registry.load_signing_key(IdentityReference("", inputs.key("ec-prime256v1", form)))
    assert caught.value.needs == "pkcs8-password"


@pytest.mark.parametrize(("kind", "key_type"), [("ec-prime256v1", KeyType.EC), ("rsa-2048", KeyType.RSA)])
def test_the_key_type_of_a_certificate(inputs: Inputs, kind: str, key_type: KeyType) -> None:
    found = registry.load_certificate(IdentityReference(inputs.leaf(kind, "sha256"), ""))
    assert (found.key_type, found.serial) == (key_type, 17)


# Bundles


def bundle(inputs: Inputs, between: bytes) -> bytes:
    """Put every certificate into one file, as their make does."""
    names = [f"{kind}-{digest}.crt" for kind, digest in itertools.product(KEYS, DIGESTS)]
    return b"".join(inputs.read(name) + between for name in (*names, "ca.pem"))


@pytest.mark.parametrize(
    "between",
    [
        b"",
        b"Comment in bundle\n\n",
        b"Comment in bundle\\n\n",
        b"\r\n",
        b"Bag Attributes\n    friendlyName: a\nKey: b\n",
    ],
    ids=["nothing", "comments", "comments as sh writes them", "empty lines", "attributes"],
)
def test_a_bundle_may_have_text_between_its_blocks(inputs: Inputs, between: bytes) -> None:
    path = inputs.write("bundle.pem", bundle(inputs, between))
    reference = IdentityReference(inputs.leaf("rsa-2048", "sha256"), inputs.path("rsa-2048.pem"), path)
    assert load(reference).identity.chain_der == ()  # the root is the trust anchor, and no leaf issued another
    found = registry.load_certificate(IdentityReference(path, ""))
    assert found.subject == "CN=rsa-1024"


def test_the_leaf_is_found_in_a_bundle(inputs: Inputs) -> None:
    """The official helper takes the first certificate, and signs with a key that does not belong to it."""
    path = inputs.write("bundle.pem", bundle(inputs, b"Comment in bundle\n"))
    for kind in ("rsa-2048", "ec-secp384r1"):
        with pytest.raises(UnusableLeafError, match="MD5"):  # of five leaves with one key the first
            load(IdentityReference(path, inputs.path(f"{kind}.pem")))
    good = inputs.read("rsa-1024-sha256.crt") + inputs.read("ec-secp384r1-sha256.crt") + inputs.read("ca.pem")
    path = inputs.write("bundle.pem", good)
    leaf = load(IdentityReference(path, inputs.path("ec-secp384r1.pem"))).identity.leaf_der
    assert leaf == registry.load_certificate(IdentityReference(inputs.leaf("ec-secp384r1", "sha256"), "")).der


# What is refused


def test_what_cannot_be_parsed_is_refused(inputs: Inputs) -> None:
    """Their ``invalid-rsa-…`` files: a note in words, and a block whose content is not what its label says."""
    words = b"Note: this is one that can't be parsed.\n\n"
    key = inputs.read("rsa-2048.pem").replace(b"M", b"N", 1)
    certificate = inputs.read("rsa-2048-sha256.crt").replace(b"A", b"B", 3)
    for content in (words + key, words):
        path = inputs.write("invalid.pem", content)
        with pytest.raises(UnreadableKeyError, match=re.escape(path)):
            registry.load_signing_key(IdentityReference("", path))
    for content in (words + certificate, words):
        path = inputs.write("invalid.pem", content)
        with pytest.raises(UnreadableCertificateError, match=re.escape(path)):
            registry.load_certificate(IdentityReference(path, ""))


def test_what_is_not_there_is_refused(inputs: Inputs) -> None:
    with pytest.raises(UnreadableKeyError, match="No such file"):
        registry.load_signing_key(IdentityReference("", inputs.path("non-existent-key.pem")))


def test_a_key_of_another_certificate_is_refused(inputs: Inputs) -> None:
    with pytest.raises(KeyMismatchError):
        load(IdentityReference(inputs.leaf("rsa-2048", "sha256"), inputs.path("rsa-4096.pem")))
