from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rolesanywhere_helper.errors import UnsupportedKeyError
from rolesanywhere_helper.pki.keys import KeyFormat, KeyKind, generate_key, key_pem, ml_dsa_available

if TYPE_CHECKING:
    from types import ModuleType


@pytest.mark.parametrize(
    ("kind", "bits"), [(KeyKind.RSA_2048, 2048), (KeyKind.RSA_3072, 3072), (KeyKind.RSA_4096, 4096)]
)
def test_rsa_keys_have_the_size_asked_for(kind: KeyKind, bits: int) -> None:
    key = generate_key(kind)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == bits


@pytest.mark.parametrize(
    ("kind", "curve"), [(KeyKind.P_256, "secp256r1"), (KeyKind.P_384, "secp384r1"), (KeyKind.P_521, "secp521r1")]
)
def test_ec_keys_are_on_the_curve_asked_for(kind: KeyKind, curve: str) -> None:
    key = generate_key(kind)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == curve


@pytest.mark.parametrize(
    ("kind", "form", "begins"),
    [
        (KeyKind.RSA_2048, KeyFormat.PKCS8, b"-----BEGIN PRIVATE KEY-----"),
        (KeyKind.RSA_2048, KeyFormat.TRADITIONAL, b"-----BEGIN RSA PRIVATE KEY-----"),
        (KeyKind.P_256, KeyFormat.PKCS8, b"-----BEGIN PRIVATE KEY-----"),
        (KeyKind.P_256, KeyFormat.TRADITIONAL, b"-----BEGIN EC PRIVATE KEY-----"),
    ],
)
def test_the_forms_of_a_key(kind: KeyKind, form: KeyFormat, begins: bytes) -> None:
    key = generate_key(kind)
    pem = key_pem(key, form)
    assert pem.startswith(begins)
    assert serialization.load_pem_private_key(pem, None).public_key() == key.public_key()


def test_a_passphrase_encrypts() -> None:
    key = generate_key(KeyKind.P_256)
    pem = key_pem(key, passphrase=b"open sesame")
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert serialization.load_pem_private_key(pem, b"open sesame").public_key() == key.public_key()
    with pytest.raises(ValueError):
        serialization.load_pem_private_key(pem, b"wrong")


def test_ml_dsa_is_made_where_the_library_knows_it_and_refused_with_a_hint_where_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package: ModuleType = importlib.import_module("cryptography.hazmat.primitives.asymmetric")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    monkeypatch.delattr(package, "mldsa", raising=False)
    assert not ml_dsa_available()
    with pytest.raises(UnsupportedKeyError, match="ML-DSA-65") as caught:
        generate_key(KeyKind.ML_DSA_65)
    assert "cryptography" in caught.value.hint
    monkeypatch.undo()
    if ml_dsa_available():
        with pytest.raises(UnsupportedKeyError, match="SEC1"):
            key_pem(generate_key(KeyKind.ML_DSA_65), KeyFormat.TRADITIONAL)
