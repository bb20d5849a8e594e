"""What can be a trust anchor, and what the service would refuse as one."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_helper.errors import UnreadableCertificateError
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.forgery import of_version_1
from rolesanywhere_helper.pki.keys import KeyKind
from rolesanywhere_helper.pki.trust_bundle import trust_bundle

ROOT = CertificateAuthority.root("Root", Validity.days(time.time(), 2))  # RSA: of_version_1 needs it


def with_extensions(*extensions: x509.ExtensionType) -> bytes:
    """Make a certificate of the root's name and key with these extensions alone."""
    own = ROOT.certificate
    builder = (
        x509.CertificateBuilder(own.subject, own.subject, ROOT.private_key.public_key(), own.serial_number)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(ROOT.private_key, SHA256()).public_bytes(Encoding.PEM)


def test_certificates_come_out_as_pem_and_nothing_else_does() -> None:
    intermediate = ROOT.intermediate("Between", Validity.days(time.time(), 1), KeyKind.P_256)
    text = b"subject=Root\n" + ROOT.key_pem() + ROOT.pem + intermediate.pem

    assert trust_bundle(text, "ca.pem").encode() == ROOT.pem + intermediate.pem
    assert trust_bundle(ROOT.certificate.public_bytes(Encoding.DER), "ca.der").encode() == ROOT.pem


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "holds no certificate"),
        (b"not a certificate", "holds no certificate"),
        (ROOT.key_pem(), "holds no certificate"),
        (ROOT.pem.replace(b"M", b"N"), "holds no certificate"),
        (ROOT.issue(LeafRequest(Validity.days(time.time(), 1))).pem, "CA:FALSE"),
        (ROOT.pem + ROOT.issue(LeafRequest(Validity.days(time.time(), 1))).pem, "CA:FALSE"),
        (with_extensions(), "no basicConstraints"),
        (with_extensions(x509.BasicConstraints(ca=True, path_length=None)), "no keyUsage"),
        (
            with_extensions(
                x509.BasicConstraints(ca=True, path_length=None),
                x509.KeyUsage(True, False, False, False, False, False, True, False, False),
            ),
            "lacks keyCertSign",
        ),
        (of_version_1(ROOT.issue(LeafRequest(Validity.days(time.time(), 1))), ROOT).pem, "not X.509 version 3"),
    ],
)
def test_what_cannot_be_one_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(UnreadableCertificateError, match=rf"ca\.pem.*{why}") as caught:
        trust_bundle(content, "ca.pem")
    assert "keyCertSign" in caught.value.hint
