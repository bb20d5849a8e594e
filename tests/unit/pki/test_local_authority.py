"""A CA of one's own: what it signs ends with it, and only its own passphrase opens it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_helper.errors import UnreadableKeyError, UnsupportedKeyError, UsageError, WrongSecretError
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Validity
from rolesanywhere_helper.pki.keys import KeyKind, generate_key
from rolesanywhere_helper.pki.local_authority import LocalAuthority, new_authority
from rolesanywhere_helper.pki.revocation import RevocationList, read_list

SUBJECT = (("CN", "leaf"),)


def test_the_passphrase_opens_it_and_no_other_does() -> None:
    made = new_authority("CA", time.time(), b"right")

    assert LocalAuthority.opened(made.certificate, made.key, b"right", "ca.key").authority.pem == made.certificate
    with pytest.raises(WrongSecretError, match=r"does not open ca\.key"):
        LocalAuthority.opened(made.certificate, made.key, b"wrong", "ca.key")


def test_a_key_that_is_not_encrypted_or_not_its_own_is_refused() -> None:
    made, other = (new_authority("CA", time.time(), b"right") for _ in range(2))
    plain = CertificateAuthority.root("CA", Validity.days(time.time(), 1), KeyKind.P_256)

    with pytest.raises(UnreadableKeyError, match="is not encrypted"):
        LocalAuthority.opened(plain.pem, plain.key_pem(), b"right", "ca.key")
    with pytest.raises(UnreadableKeyError, match="is not the key of the CA's certificate"):
        LocalAuthority.opened(made.certificate, other.key, b"right", "ca.key")


def test_a_leaf_ends_with_its_ca_at_the_latest() -> None:
    now = time.time()
    authority = LocalAuthority(CertificateAuthority.root("CA", Validity.days(now, 10), KeyKind.P_256))

    ends = [
        x509.load_pem_x509_certificate(authority.issue(SUBJECT, days, now).certificate).not_valid_after_utc.timestamp()
        for days in (9, 10, 11)
    ]

    assert [round((end - now) / 86_400) for end in ends] == [9, 10, 10]


@pytest.mark.parametrize("kind", [KeyKind.P_256, KeyKind.RSA_2048])
def test_a_list_grows_by_number_and_is_signed_by_its_ca(kind: KeyKind) -> None:
    now = time.time()
    root = CertificateAuthority.root("CA", Validity.days(now, 10), kind)
    authority = LocalAuthority(root)

    one = authority.revoke(1, None, now)
    both = authority.revoke(2, one, now)

    crl = x509.load_pem_x509_crl(both)
    assert crl.is_signature_valid(root.certificate.public_key())  # type: ignore[arg-type]  # RSA or EC
    assert [read_list(each).number for each in (one, both)] == [1, 2]
    assert [each.serial for each in read_list(both).revoked] == [1, 2]
    assert authority.revoke(1, both, now) == both
    assert not RevocationList().holds(1)
    with pytest.raises(UsageError, match="cannot be read"):
        authority.revoke(3, b"no list", now)


def request(key: Any, digest: hashes.SHA256 | None) -> bytes:
    return x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, digest).public_bytes(Encoding.PEM)


def test_a_request_for_a_key_that_the_service_refuses_is_refused() -> None:
    now, sha = time.time(), hashes.SHA256()
    authority = LocalAuthority(CertificateAuthority.root("CA", Validity.days(now, 10), KeyKind.P_256))

    def issued(key: Any, digest: hashes.SHA256 | None = sha) -> int:
        return authority.issue_for(request(key, digest), SUBJECT, 1, now, "host.csr").serial

    assert issued(rsa.generate_private_key(65_537, 2_048))
    assert issued(ec.generate_private_key(ec.SECP384R1()))
    assert issued(generate_key(KeyKind.ML_DSA_65), None)
    for key, digest, kind in (
        (rsa.generate_private_key(65_537, 1_024), sha, "RSA of 1024 bits"),  # noqa: S505 - what is refused
        (ec.generate_private_key(ec.SECP256K1()), sha, "on the curve secp256k1"),
        (ed25519.Ed25519PrivateKey.generate(), None, "Ed25519"),
    ):
        with pytest.raises(UnsupportedKeyError, match=f"the key of host.csr is {kind}, which the service"):
            issued(key, digest)
