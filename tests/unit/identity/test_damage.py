"""Whatever bytes a file holds, the answer is an identity or one of this program's own errors."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from rolesanywhere_helper.errors import HelperError, UnreadableCertificateError, UnreadableKeyError
from rolesanywhere_helper.identity import der, leaf
from rolesanywhere_helper.identity.certificates import key_type, read_certificates, require_certificates
from rolesanywhere_helper.identity.chain import build_chain
from rolesanywhere_helper.identity.pkcs12 import is_pkcs12, read_pkcs12
from rolesanywhere_helper.identity.private_key import read_private_key
from rolesanywhere_helper.identity.software import SoftwareKey
from tests.unit.identity import making
from tests.unit.identity.making import NOW, Authority, ec_key

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Authority.root()
KEY = ec_key()
LEAF = ROOT.issue(KEY)
CERTIFICATE_DER = making.der(LEAF)
KEYS_DER = tuple(
    key.private_bytes(Encoding.DER, form, NoEncryption())
    for key in (KEY, making.rsa_key())
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
)

SECRET = b"sesame"
ENCRYPTED_DER = tuple(
    key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET))
    for key in (KEY, mldsa.MLDSA44PrivateKey.generate())
)
# As OpenSSL writes it: seed and expanded key.
ML_DSA_DER = der.write(
    der.SEQUENCE,
    der.write(der.INTEGER, b"\0")
    + der.write(der.SEQUENCE, der.write(der.OBJECT_IDENTIFIER, bytes.fromhex("608648016503040311")))
    + der.write(
        der.OCTET_STRING,
        der.write(der.SEQUENCE, der.write(der.OCTET_STRING, bytes(32)) + der.write(der.OCTET_STRING, bytes(2560))),
    ),
)
PKCS12 = pkcs12.serialize_key_and_certificates(
    b"", KEY, LEAF, None, PrivateFormat.PKCS12.encryption_builder().kdf_rounds(1).build(SECRET)
)

changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4)


def changed(content: bytes, places: list[tuple[int, int]]) -> bytes:
    made = bytearray(content)
    for place, value in places:
        made[place % len(made)] = value
    return bytes(made)


def use_certificate(content: bytes) -> None:
    with contextlib.suppress(HelperError):
        (certificate,) = require_certificates(content, "leaf.der")
        key_type(certificate)
        build_chain(LEAF, (certificate,), NOW)
        build_chain(certificate, (ROOT.certificate,), NOW)
        leaf.choose_leaf((certificate, LEAF), KEY.public_key(), NOW)
        leaf.check_leaf(certificate, NOW)


def use_key(content: bytes) -> None:
    with contextlib.suppress(HelperError):
        SoftwareKey(read_private_key(content, "key.der", lambda: SECRET)).sign(b"a message")


def use_pkcs12(content: bytes) -> None:
    if not is_pkcs12(content):
        return
    with contextlib.suppress(HelperError):
        opened = read_pkcs12(content, "all.p12", lambda: SECRET)
        leaf.choose_leaf(opened.certificates or (LEAF,), SoftwareKey(opened.key).public_key, NOW)


@settings(deadline=None)  # a busy machine is no defect
@given(changes)
def test_a_certificate_with_changed_bytes(places: list[tuple[int, int]]) -> None:
    use_certificate(changed(CERTIFICATE_DER, places))


@settings(deadline=None)  # a busy machine is no defect
@given(st.sampled_from((*KEYS_DER, ML_DSA_DER)), changes)
def test_a_key_with_changed_bytes(key: bytes, places: list[tuple[int, int]]) -> None:
    use_key(changed(key, places))


@settings(deadline=None)  # a busy machine is no defect
@given(st.sampled_from(ENCRYPTED_DER), st.lists(st.tuples(st.integers(0, 130), st.integers(0, 255)), min_size=1))
def test_an_encrypted_key_with_changed_bytes(key: bytes, places: list[tuple[int, int]]) -> None:
    """Most of all where it says how it is encrypted: nothing there may take minutes."""
    use_key(changed(key, places))


@settings(deadline=None)  # a busy machine is no defect
@given(changes)
def test_pkcs12_with_changed_bytes(places: list[tuple[int, int]]) -> None:
    use_pkcs12(changed(PKCS12, places))


@settings(deadline=None)  # a busy machine is no defect
@given(
    st.binary() | st.lists(st.sampled_from([b"-----BEGIN PRIVATE KEY-----", b"-----END ", b"0", b"\n"])).map(b"".join)
)
def test_any_bytes(content: bytes) -> None:
    for read, error in ((read_certificates, UnreadableCertificateError), (read_private_key, UnreadableKeyError)):
        with contextlib.suppress(error):
            read(content, "file")


@pytest.mark.parametrize(
    ("use", "content", "last"),
    [
        (use_certificate, CERTIFICATE_DER, (leaf, "check_leaf")),
        (use_key, KEYS_DER[0], (SoftwareKey, "sign")),
        (use_key, ML_DSA_DER, (SoftwareKey, "sign")),
        (use_key, ENCRYPTED_DER[0], (SoftwareKey, "sign")),
        (use_key, ENCRYPTED_DER[1], (SoftwareKey, "sign")),
        (use_pkcs12, PKCS12, (leaf, "choose_leaf")),
    ],
)
def test_undamaged_content_gets_to_the_last_step_of_these_tests(
    use: Callable[[bytes], None], content: bytes, last: tuple[object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[bool] = []
    monkeypatch.setattr(*last, lambda *_: reached.append(True))
    use(content)
    assert reached


# Particular damage


def test_a_certificate_whose_key_cannot_be_read_belongs_to_no_key() -> None:
    p256, unknown_curve = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030106")
    odd = x509.load_der_x509_certificate(CERTIFICATE_DER.replace(p256, unknown_curve))
    assert leaf.choose_leaf((odd, LEAF), KEY.public_key(), NOW) == LEAF


def test_a_certificate_whose_extensions_cannot_be_read_is_no_ca() -> None:
    two_the_same = CERTIFICATE_DER.replace(bytes.fromhex("551d0f"), bytes.fromhex("551d13"))
    odd = x509.load_der_x509_certificate(two_the_same)
    assert leaf.choose_leaf((odd,), KEY.public_key(), NOW) == odd


def test_a_signature_algorithm_that_is_not_known_here_is_the_services_to_judge() -> None:
    with_sha256, with_unknown = bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d04037f")
    leaf.check_leaf(x509.load_der_x509_certificate(CERTIFICATE_DER.replace(with_sha256, with_unknown)), NOW)
