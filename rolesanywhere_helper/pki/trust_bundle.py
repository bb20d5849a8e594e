"""The certificates of a trust anchor, checked by the service's rules for a CA (user guide, "trust model")."""

from __future__ import annotations

from cryptography import x509

from rolesanywhere_helper.errors import UnreadableCertificateError
from rolesanywhere_helper.pki.certificates import certificates_pem

_HINT = "give the CA's own certificate as PEM: X.509 v3, basicConstraints CA:TRUE, keyUsage keyCertSign"


def trust_bundle(content: bytes, shown: str) -> str:
    """Return the CA certificates in a PEM or DER file as PEM, and nothing else that may be in it (a private key).

    ``shown`` names the file in errors.

    Raises:
        UnreadableCertificateError: there is no certificate in it, or one that cannot be a trust anchor.

    """
    try:
        if b"-----BEGIN" in content:
            found = x509.load_pem_x509_certificates(content)
        else:
            found = [x509.load_der_x509_certificate(content)]
        problem = next((why for why in map(_why_not, found) if why), None)
    except ValueError:
        raise UnreadableCertificateError(f"{shown} holds no certificate that can be read", _HINT) from None
    if problem:
        raise UnreadableCertificateError(f"{shown} cannot be a trust anchor: {problem}", _HINT)
    return certificates_pem(*found).decode("ascii")


def _why_not(certificate: x509.Certificate) -> str | None:
    """Say why the service would refuse a certificate in a trust anchor; None if it would not."""
    if certificate.version is not x509.Version.v3:
        return "it is not X.509 version 3"
    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "it is not a CA's (CA:FALSE)"
    except x509.ExtensionNotFound:
        return "it is not a CA's (no basicConstraints)"
    try:
        if not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return "its keyUsage lacks keyCertSign"
    except x509.ExtensionNotFound:
        return "it has no keyUsage"
    return None
