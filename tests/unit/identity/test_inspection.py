"""The way from a leaf to a trust anchor's certificate, and what is said where it ends."""

from __future__ import annotations

import time

import pytest

from rolesanywhere_helper.errors import UnreadableCertificateError, UntrustedCertificateError
from rolesanywhere_helper.identity.inspection import check_way, describe
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Issued, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind

NOW = time.time()
MONTH = Validity.days(NOW, 30)
ROOT = CertificateAuthority.root("Root", MONTH, KeyKind.P_256)


def leaf_of(authority: CertificateAuthority) -> Issued:
    return authority.issue(LeafRequest(MONTH, key=KeyKind.P_256))


def way(leaf: Issued, anchors: bytes, *, chain: bool = True, now: float = NOW) -> str:
    above = [Issued(each, leaf.private_key).der for each in leaf.intermediates] if chain else []
    return check_way(leaf.der, above, anchors, "anchor.pem", now).subject


def below(name: str, authority: CertificateAuthority = ROOT, path_length: int | None = None) -> CertificateAuthority:
    return authority.intermediate(name, MONTH, KeyKind.P_256, path_length)


def test_the_way_leads_to_the_root_or_to_the_first_that_is_an_anchor() -> None:
    issuing = below("Issuing")

    assert way(leaf_of(ROOT), ROOT.pem) == "CN=Root"
    assert way(leaf_of(issuing), ROOT.pem) == "CN=Root"
    assert way(leaf_of(issuing), issuing.pem, chain=False) == "CN=Issuing"
    stranger = CertificateAuthority.root("Stranger", MONTH, KeyKind.P_256)
    assert way(leaf_of(ROOT), stranger.pem + ROOT.pem) == "CN=Root"


def test_the_missing_one_is_named() -> None:
    with pytest.raises(UntrustedCertificateError, match="was issued by CN=Issuing") as caught:
        way(leaf_of(below("Issuing")), ROOT.pem, chain=False)

    assert "give the certificate of CN=Issuing with --intermediates" in caught.value.hint


def test_a_ca_of_the_same_name_with_another_key_is_told_apart() -> None:
    renewed = CertificateAuthority.root("Root", MONTH, KeyKind.P_256)

    with pytest.raises(UntrustedCertificateError, match="not the key that signed"):
        way(leaf_of(ROOT), renewed.pem)
    assert way(leaf_of(ROOT), renewed.pem + ROOT.pem) == "CN=Root"


def test_an_anchor_that_has_expired_is_named() -> None:
    with pytest.raises(UntrustedCertificateError, match="the CA CN=Root is valid only from"):
        way(leaf_of(ROOT), ROOT.pem, now=NOW + 40 * 86_400)


def test_a_path_that_is_too_long_is_named() -> None:
    first = below("First", path_length=0)
    second = below("Second", first)

    with pytest.raises(UntrustedCertificateError, match="CN=First allows 0 CAs below it, and there are 1"):
        way(leaf_of(second), ROOT.pem)
    assert way(leaf_of(first), ROOT.pem) == "CN=Root"


def test_a_leaf_issues_nothing() -> None:
    leaf = leaf_of(ROOT)
    as_a_ca = CertificateAuthority(leaf.certificate, leaf.private_key, (leaf.certificate,))

    with pytest.raises(UntrustedCertificateError, match="CN=client may not issue certificates"):
        way(leaf_of(as_a_ca), ROOT.pem)


def test_a_file_without_a_certificate_is_no_trust_anchor() -> None:
    with pytest.raises(UnreadableCertificateError, match=r"anchor\.pem"):
        way(leaf_of(ROOT), b"nothing")


def test_names_are_one_line() -> None:
    leaf = ROOT.issue(LeafRequest(MONTH, (("O", "two\nlines"), ("CN", "x")), KeyKind.P_256))

    told = describe(leaf.der)

    assert "\n" not in told.subject
    assert (told.issuer, told.issuer_organization, told.serial) == ("CN=Root", "", leaf.certificate.serial_number)
