"""One suite for every backend of ``identity``: what the port promises, seen from outside with OpenSSL."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rolesanywhere_helper.domain.identity_reference import IdentityReference
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import (
    InvalidParameterError,
    KeyMismatchError,
    LeafExpiredError,
    LeafIsCaError,
    LeafLacksDigitalSignatureError,
    LeafNotYetValidError,
)
from rolesanywhere_helper.identity import registry
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

    from rolesanywhere_helper.domain.ports import Identity

Peer: TypeAlias = "Callable[[str], Path]"

_KEYS: dict[str, tuple[Callable[[], making.Key], KeyType]] = {
    "RSA 2048": (making.rsa_key, KeyType.RSA),
    "EC P-256": (making.ec_key, KeyType.EC),
    "EC P-384": (lambda: making.ec_key(ec.SECP384R1()), KeyType.EC),
    "EC P-521": (lambda: making.ec_key(ec.SECP521R1()), KeyType.EC),
}


@dataclass(frozen=True)
class Parts:
    """What a backend is given to keep: the leaf, what lies above it (in any order), and the key."""

    leaf: x509.Certificate
    above: tuple[x509.Certificate, ...]
    key: making.Key


class Backend(Protocol):
    """Puts the parts where a backend finds them, and says how a user would name them."""

    def __call__(self, parts: Parts, folder: Path) -> IdentityReference: ...


def in_files(parts: Parts, folder: Path) -> IdentityReference:
    return IdentityReference(
        certificate=making.write(folder / "leaf.pem", making.pem(parts.leaf)),
        private_key=making.write(folder / "key.pem", making.key_pem(parts.key)),
        intermediates=making.write(folder / "above.pem", making.pem(*parts.above)) if parts.above else None,
    )


def in_one_file(parts: Parts, folder: Path) -> IdentityReference:
    both = making.write(
        folder / "all.pem", making.pem(*parts.above) + making.key_pem(parts.key) + making.pem(parts.leaf)
    )
    return IdentityReference(certificate=both, private_key=both)


BACKENDS: dict[str, Backend] = {"PEM files": in_files, "one PEM file": in_one_file}


@pytest.fixture(params=list(BACKENDS.values()), ids=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


def load(parts: Parts, backend: Backend, folder: Path) -> Identity:
    return registry.load(backend(parts, folder), now=making.NOW).identity


def usual(key: making.Key, wanted: making.Wanted | None = None) -> Parts:
    root = making.Authority.root()
    upper = root.intermediate("Upper")
    lower = upper.intermediate("Lower")
    return Parts(lower.issue(key, wanted), (root.certificate, upper.certificate, lower.certificate), key)


@pytest.mark.parametrize("kind", _KEYS)
def test_an_identity_says_who_it_is(kind: str, backend: Backend, tmp_path: Path) -> None:
    make, key_type = _KEYS[kind]
    parts = usual(make())
    identity = load(parts, backend, tmp_path)
    root, upper, lower = parts.above
    assert identity.leaf_der == making.der(parts.leaf)
    assert identity.chain_der == (making.der(lower), making.der(upper))
    assert making.der(root) not in identity.chain_der
    assert (identity.serial, identity.key_type) == (0x1000, key_type)
    assert identity.not_after == making.NOW + making.DAY


@pytest.mark.parametrize("kind", _KEYS)
@pytest.mark.parametrize("digest", ["SHA256", "SHA384", "SHA512"])
def test_openssl_verifies_what_an_identity_signs(
    kind: str, digest: str, backend: Backend, tmp_path: Path, peer: Peer
) -> None:
    parts = usual(_KEYS[kind][0]())
    signature = load(parts, backend, tmp_path).sign(b"a message", digest)
    public = parts.leaf.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    making.write(tmp_path / "public.pem", public)
    making.write(tmp_path / "signature", signature)

    def verifies(message: bytes, claimed: str) -> bool:
        making.write(tmp_path / "message", message)
        command = (peer("openssl"), "dgst", f"-{claimed.lower()}", "-verify", "public.pem", "-signature", "signature")
        return not subprocess.run([*command, "message"], cwd=tmp_path, capture_output=True, check=False).returncode

    assert verifies(b"a message", digest)
    assert not verifies(b"another message", digest)
    assert not verifies(b"a message", "SHA224")


def test_sha256_is_what_is_signed_with_unless_asked(backend: Backend, tmp_path: Path) -> None:
    identity = load(usual(making.rsa_key()), backend, tmp_path)
    assert identity.sign(b"a message") == identity.sign(b"a message", "SHA256")
    assert identity.sign(b"a message") != identity.sign(b"a message", "SHA384")


def test_a_digest_that_does_not_exist_is_refused(backend: Backend, tmp_path: Path) -> None:
    identity = load(usual(making.ec_key()), backend, tmp_path)
    with pytest.raises(InvalidParameterError, match="SHA1"):
        identity.sign(b"a message", "SHA1")


def test_an_identity_does_not_show_its_key(backend: Backend, tmp_path: Path) -> None:
    key = making.ec_key()
    shown = repr(load(usual(key), backend, tmp_path))
    assert "4096" in shown, "the serial is no secret"
    assert str(key.private_numbers().private_value) not in shown
    assert "PrivateKey" not in shown


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (making.Wanted(begins=-2 * making.DAY, ends=-1), LeafExpiredError),
        (making.Wanted(begins=1), LeafNotYetValidError),
        (making.Wanted(ca=True), LeafIsCaError),
        (making.Wanted(usage=None), LeafLacksDigitalSignatureError),
        (making.Wanted(usage=making.usage(digital_signature=False)), LeafLacksDigitalSignatureError),
    ],
    ids=["expired", "not yet valid", "CA", "no keyUsage", "no digitalSignature"],
)
def test_a_leaf_that_the_service_would_refuse_makes_no_identity(
    wanted: making.Wanted, error: type[Exception], backend: Backend, tmp_path: Path
) -> None:
    with pytest.raises(error, match="CN=host"):
        load(usual(making.ec_key(), wanted), backend, tmp_path)


def test_a_key_of_another_certificate_makes_no_identity(backend: Backend, tmp_path: Path) -> None:
    parts = usual(making.ec_key())
    with pytest.raises(KeyMismatchError, match="CN=host"):
        load(Parts(parts.leaf, parts.above, making.ec_key()), backend, tmp_path)
