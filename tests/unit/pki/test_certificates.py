from __future__ import annotations

import ipaddress
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from rolesanywhere_helper.pki.certificates import CertificateAuthority, Digest, Issued, LeafRequest, Validity
from rolesanywhere_helper.pki.forgery import of_version_1, signed_with_sha1
from rolesanywhere_helper.pki.keys import KeyKind, generate_key, ml_dsa_available

NOW = 1_800_000_000
VALIDITY = Validity.days(NOW, 30)


@pytest.fixture(scope="module")
def root() -> CertificateAuthority:
    return CertificateAuthority.root("root", VALIDITY)


def _usage(certificate: x509.Certificate) -> x509.KeyUsage:
    return certificate.extensions.get_extension_for_class(x509.KeyUsage).value


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value


def test_a_root_is_what_a_trust_anchor_must_be(root: CertificateAuthority) -> None:
    certificate = root.certificate
    certificate.verify_directly_issued_by(certificate)
    assert _constraints(certificate).ca
    assert _usage(certificate).key_cert_sign
    assert certificate.version is x509.Version.v3
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)


def test_a_leaf_is_what_the_service_wants(root: CertificateAuthority) -> None:
    leaf = root.issue(LeafRequest(VALIDITY, (("O", "Example"), ("CN", "host")))).certificate
    leaf.verify_directly_issued_by(root.certificate)
    assert leaf.subject.rfc4514_string() == "CN=host,O=Example"
    assert _usage(leaf).digital_signature
    assert not _constraints(leaf).ca
    assert leaf.not_valid_before_utc.timestamp() == NOW - 3600
    assert leaf.not_valid_after_utc.timestamp() == NOW + 30 * 86_400


def test_the_knobs_of_negative_controls(root: CertificateAuthority) -> None:
    leaf = root.issue(
        LeafRequest(
            Validity.days(NOW, -2),
            subject=(),
            key=KeyKind.P_256,
            serial=0x1000,
            names=("host.example", "192.0.2.1", "spiffe://example/host"),
            digital_signature=False,
            is_ca=True,
        )
    ).certificate
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert leaf.not_valid_before_utc < leaf.not_valid_after_utc
    assert leaf.not_valid_after_utc.timestamp() == NOW - 2 * 86_400
    assert (leaf.serial_number, list(leaf.subject), names.critical) == (0x1000, [], True)
    assert names.value.get_values_for_type(x509.DNSName) == ["host.example"]
    assert names.value.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.1")]
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example/host"]
    assert not _usage(leaf).digital_signature
    assert _constraints(leaf).ca


@pytest.mark.parametrize(
    ("digest", "algorithm"),
    [(Digest.SHA256, hashes.SHA256), (Digest.SHA384, hashes.SHA384), (Digest.SHA512, hashes.SHA512)],
)
def test_the_issuers_hash_can_be_chosen(
    root: CertificateAuthority, digest: Digest, algorithm: type[hashes.HashAlgorithm]
) -> None:
    leaf = root.issue(LeafRequest(VALIDITY, key=KeyKind.P_256, digest=digest))
    assert isinstance(leaf.certificate.signature_hash_algorithm, algorithm)


@pytest.mark.parametrize("kind", [kind for kind in KeyKind if ml_dsa_available() or "ML" not in kind.value])
def test_every_kind_of_key_can_be_certified(root: CertificateAuthority, kind: KeyKind) -> None:
    leaf = root.issue(LeafRequest(VALIDITY, key=kind))
    assert leaf.certificate.public_key() == leaf.private_key.public_key()


def test_an_ec_root_issues_too() -> None:
    authority = CertificateAuthority.root("ec", VALIDITY, KeyKind.P_384, Digest.SHA384)
    leaf = authority.issue(LeafRequest(VALIDITY))
    leaf.certificate.verify_directly_issued_by(authority.certificate)


def test_intermediates_stack_and_leaves_carry_them_upwards(root: CertificateAuthority) -> None:
    upper = root.intermediate("upper", VALIDITY, KeyKind.P_256)
    lower = upper.intermediate("lower", VALIDITY, KeyKind.P_256, path_length=0)
    leaf = lower.issue(LeafRequest(VALIDITY, key=KeyKind.P_256))
    assert leaf.intermediates == (lower.certificate, upper.certificate)
    assert leaf.full_chain_pem == leaf.pem + leaf.intermediates_pem == leaf.pem + lower.pem + upper.pem
    links = [leaf.certificate, *leaf.intermediates, root.certificate]
    for child, issuer in pairwise(links):
        child.verify_directly_issued_by(issuer)
    with pytest.raises((InvalidSignature, ValueError)):
        leaf.certificate.verify_directly_issued_by(root.certificate)
    assert _constraints(lower.certificate).path_length == 0
    assert root.issue(LeafRequest(VALIDITY, key=KeyKind.P_256)).intermediates_pem == b""


def test_a_root_can_be_written_and_read_again(root: CertificateAuthority) -> None:
    again = CertificateAuthority.from_pem(root.pem, root.key_pem())
    again.issue(LeafRequest(VALIDITY, key=KeyKind.P_256)).certificate.verify_directly_issued_by(root.certificate)
    with pytest.raises(ValueError):
        CertificateAuthority.from_pem(b"noise", root.key_pem())


def test_a_renewal_keeps_its_key(root: CertificateAuthority) -> None:
    key = generate_key(KeyKind.P_256)
    first, second = (root.issue(LeafRequest(VALIDITY), key) for _ in range(2))
    assert first.certificate.public_key() == second.certificate.public_key() == key.public_key()
    assert first.certificate.serial_number != second.certificate.serial_number


def test_no_repr_holds_a_key(root: CertificateAuthority) -> None:
    assert "private_key" not in repr(root)
    assert "private_key" not in repr(root.issue(LeafRequest(VALIDITY, key=KeyKind.P_256)))


# Forgeries


def test_a_sha1_forgery_verifies_but_is_weak(root: CertificateAuthority) -> None:
    forged = signed_with_sha1(root.issue(LeafRequest(VALIDITY, key=KeyKind.P_256)), root).certificate
    key = root.certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert isinstance(forged.signature_hash_algorithm, hashes.SHA1)
    key.verify(forged.signature, forged.tbs_certificate_bytes, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - the weak hash is the point


def test_a_version_1_forgery_verifies_and_has_no_extensions(root: CertificateAuthority) -> None:
    leaf = root.issue(LeafRequest(VALIDITY, key=KeyKind.P_256))
    forged = of_version_1(leaf, root).certificate
    forged.verify_directly_issued_by(root.certificate)
    assert forged.version is x509.Version.v1
    assert len(forged.extensions) == 0
    assert forged.subject == leaf.certificate.subject


def test_only_an_rsa_issuer_can_forge() -> None:
    authority = CertificateAuthority.root("ec", VALIDITY, KeyKind.P_256)
    leaf = authority.issue(LeafRequest(VALIDITY, key=KeyKind.P_256))
    for forge in (signed_with_sha1, of_version_1):
        with pytest.raises(ValueError):
            forge(Issued(leaf.certificate, leaf.private_key), authority)
