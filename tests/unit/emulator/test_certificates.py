from __future__ import annotations

import base64
import time
import warnings

import pytest
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given, settings
from hypothesis import strategies as st

from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.certificates import (
    decode_certificate,
    require_ca,
    require_path,
    require_usable_leaf,
)
from rolesanywhere_helper.emulator.session_tags import unmappable
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind

NOW = time.time()
VALIDITY = Validity.days(NOW, 1)
AUTHORITY = CertificateAuthority.root("root", VALIDITY, KeyKind.P_256)
LEAF = AUTHORITY.issue(
    LeafRequest(VALIDITY, key=KeyKind.P_256, names=("host.example", "192.0.2.1", "spiffe://example/host"))
)


def _accept(der: bytes) -> None:
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    leaf = decode_certificate(base64.b64encode(der).decode())
    unmappable(leaf)
    require_path(leaf, (), (AUTHORITY.certificate,), NOW)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(LEAF.der) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_certificate_is_refused_and_never_an_accident(damage: list[tuple[int, int]]) -> None:
    der = bytearray(LEAF.der)
    for place, byte in damage:
        der[place] = byte
    if der == LEAF.der:
        return
    with warnings.catch_warnings(), pytest.raises((Refusal, ValueError)):
        _accept(bytes(der))
    require_path(LEAF.certificate, (), (AUTHORITY.certificate,), NOW)


@pytest.mark.parametrize("text", ["", "%", "AAAA", base64.b64encode(LEAF.pem).decode()])
def test_what_is_no_base64_of_der_is_no_certificate(text: str) -> None:
    with pytest.raises(ValueError):
        decode_certificate(text)
    assert decode_certificate(base64.b64encode(LEAF.der).decode()) == LEAF.certificate


def test_a_leaf_is_no_ca_and_a_ca_is_no_leaf() -> None:
    require_ca(load_pem_x509_certificate(AUTHORITY.pem))
    require_usable_leaf(LEAF.certificate, NOW)
    with pytest.raises(Refusal, match="Incorrect basic constraints for CA certificate") as caught:
        require_ca(LEAF.certificate)
    assert (caught.value.status, caught.value.kind) == (400, "ValidationException")
    with pytest.raises(Refusal, match="Insufficient certificate"):
        require_usable_leaf(AUTHORITY.certificate, NOW)
