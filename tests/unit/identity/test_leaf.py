"""The leaf: which one it is, and what the service asks of it."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from rolesanywhere_helper.errors import (
    KeyMismatchError,
    LeafExpiredError,
    LeafIsCaError,
    LeafLacksDigitalSignatureError,
    LeafNotYetValidError,
    LeafVersionError,
    UnusableLeafError,
)
from rolesanywhere_helper.identity.leaf import check_leaf, choose_leaf
from tests.unit.identity import making
from tests.unit.identity.making import DAY, NOW, Authority, Wanted, ec_key

ROOT = Authority.root()


def issued(wanted: Wanted | None = None) -> x509.Certificate:
    return ROOT.issue(ec_key(), wanted)


def tlv(tag: int, content: bytes) -> bytes:
    """Write one DER element."""
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(octets)]) + octets
    return bytes([tag]) + length + content


def as_version_1(certificate: x509.Certificate) -> x509.Certificate:
    """Take version and extensions out of a certificate; the signature no longer fits, which nobody checks here."""
    tbs, outer = certificate.tbs_certificate_bytes, making.der(certificate)
    after = outer[outer.index(tbs) + len(tbs) :]
    fields = tbs[tbs.index(b"\xa0\x03\x02\x01\x02") + 5 :]
    fields = fields[: fields.rindex(b"\xa3", 0, fields.index(bytes.fromhex("551d13")))]
    return x509.load_der_x509_certificate(tlv(0x30, tlv(0x30, fields) + after))


def test_a_usable_leaf_passes() -> None:
    check_leaf(issued(), NOW)
    check_leaf(issued(Wanted(hash=hashes.SHA384())), NOW)


def test_its_validity_has_two_inclusive_ends() -> None:
    leaf = issued(Wanted(begins=0, ends=10))
    for moment in (NOW, NOW + 10, NOW + 10.9):
        check_leaf(leaf, moment)
    with pytest.raises(LeafNotYetValidError, match=r"CN=host is not valid before 2027-01-15T08:00:00Z"):
        check_leaf(leaf, NOW - 0.1)
    with pytest.raises(LeafExpiredError, match=r"CN=host expired at 2027-01-15T08:00:10Z"):
        check_leaf(leaf, NOW + 11)


def test_a_leaf_of_version_1_is_refused() -> None:
    leaf = as_version_1(issued())
    assert leaf.version is x509.Version.v1
    with pytest.raises(LeafVersionError, match=r"CN=host is X\.509 v1"):
        check_leaf(leaf, NOW)


def test_a_ca_certificate_is_refused() -> None:
    with pytest.raises(LeafIsCaError, match="CN=host"):
        check_leaf(issued(Wanted(ca=True)), NOW)


def test_a_leaf_without_digital_signature_is_refused() -> None:
    with pytest.raises(LeafLacksDigitalSignatureError, match="has no keyUsage"):
        check_leaf(issued(Wanted(usage=None)), NOW)
    with pytest.raises(LeafLacksDigitalSignatureError, match="lacks digitalSignature"):
        check_leaf(issued(Wanted(usage=making.usage(digital_signature=False))), NOW)


def test_a_leaf_signed_with_sha1_is_refused() -> None:
    leaf = Authority.root(key=making.rsa_key()).issue(ec_key())
    check_leaf(leaf, NOW)
    with pytest.raises(UnusableLeafError, match="SHA1"):
        check_leaf(making.as_if_signed_with_sha1(leaf), NOW)


def test_a_leaf_without_a_subject_is_refused() -> None:
    with pytest.raises(UnusableLeafError, match="serial 4096 has an empty subject"):
        check_leaf(issued(Wanted(subject=x509.Name([]))), NOW)


def test_a_leaf_whose_extensions_cannot_be_read_is_refused() -> None:
    leaf = issued()
    broken = making.der(leaf).replace(bytes.fromhex("551d0f"), bytes.fromhex("551d13"))  # two basicConstraints
    with pytest.raises(UnusableLeafError, match="extensions"):
        check_leaf(x509.load_der_x509_certificate(broken), NOW)


def test_every_refusal_has_a_hint_of_its_own() -> None:
    hints = {
        error.default_hint
        for error in (
            LeafExpiredError,
            LeafNotYetValidError,
            LeafIsCaError,
            LeafVersionError,
            LeafLacksDigitalSignatureError,
        )
    }
    assert len(hints) == 5
    assert UnusableLeafError.default_hint not in hints


def test_a_name_cannot_break_the_line() -> None:
    leaf = issued(Wanted(subject=making.name("a\nhint: b\x1b[2J"), ends=-1))
    with pytest.raises(LeafExpiredError) as caught:
        check_leaf(leaf, NOW)
    assert caught.value.what.isprintable()


# Which one it is


def test_the_leaf_is_the_certificate_of_the_key_wherever_it_stands() -> None:
    key = ec_key()
    leaf = ROOT.issue(key)
    for certificates in ([leaf, ROOT.certificate], [ROOT.certificate, issued(), leaf]):
        assert choose_leaf(certificates, key.public_key(), NOW) == leaf


def test_of_two_with_the_same_key_the_valid_one_is_the_leaf() -> None:
    key = ec_key()
    old, new = ROOT.issue(key, Wanted(begins=-2 * DAY, ends=-DAY)), ROOT.issue(key)
    assert choose_leaf([old, new], key.public_key(), NOW) == new
    assert choose_leaf([old, new], key.public_key(), NOW - 1.5 * DAY) == old


def test_an_end_entity_comes_before_a_ca_with_the_same_key() -> None:
    leaf = ROOT.issue(ROOT.key)
    assert choose_leaf([ROOT.certificate, leaf], ROOT.key.public_key(), NOW) == leaf


def test_a_key_without_a_certificate_is_a_mismatch_with_the_presumed_leaf() -> None:
    with pytest.raises(KeyMismatchError, match="CN=host"):
        choose_leaf([ROOT.certificate, issued()], ec_key().public_key(), NOW)
