"""Certificates that no library makes any more, for negative controls: a verifier must refuse them.

The cryptography library neither signs with SHA-1 nor makes X.509 version 1. Both differ from a good certificate in a
few bytes of DER, which are changed here before the issuer signs again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

if TYPE_CHECKING:
    from rolesanywhere_helper.pki.certificates import CertificateAuthority, Issued

# AlgorithmIdentifier of sha256WithRSAEncryption and sha1WithRSAEncryption (RFC 4055, RFC 3279): one byte apart.
_RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")
_RSA_SHA1 = bytes.fromhex("300d06092a864886f70d0101050500")
_SEQUENCE = 0x30
_BIT_STRING = 0x03
_VERSION = 0xA0
_EXTENSIONS = 0xA3
_LONG_FORM = 0x80


def signed_with_sha1(issued: Issued, issuer: CertificateAuthority) -> Issued:
    """Return the certificate as its RSA issuer would have signed it in 2010.

    Raises:
        ValueError: the issuer's key is not RSA, or the certificate was not signed with SHA-256.

    """
    body = issued.certificate.tbs_certificate_bytes
    if body.count(_RSA_SHA256) != 1:
        raise ValueError("not signed with SHA-256 and RSA")
    return _signed_again(issued, issuer, body.replace(_RSA_SHA256, _RSA_SHA1), _RSA_SHA1, hashes.SHA1())  # noqa: S303 - the weak hash is the point


def of_version_1(issued: Issued, issuer: CertificateAuthority) -> Issued:
    """Return the certificate without version field and extensions, signed again by its RSA issuer.

    Raises:
        ValueError: the issuer's key is not RSA.

    """
    _, fields = _first(issued.certificate.tbs_certificate_bytes)
    kept = b"".join(_element(tag, value) for tag, value in _elements(fields) if tag not in {_VERSION, _EXTENSIONS})
    return _signed_again(issued, issuer, _element(_SEQUENCE, kept), _RSA_SHA256, hashes.SHA256())


def _signed_again(
    issued: Issued, issuer: CertificateAuthority, body: bytes, algorithm: bytes, digest: hashes.HashAlgorithm
) -> Issued:
    key = issuer.private_key
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("only an RSA issuer can sign this again")  # noqa: TRY004 - a value of the wrong kind, as documented
    signature = key.sign(body, padding.PKCS1v15(), digest)
    der = _element(_SEQUENCE, body + algorithm + _element(_BIT_STRING, b"\x00" + signature))
    return replace(issued, certificate=x509.load_der_x509_certificate(der))


def _elements(content: bytes) -> list[tuple[int, bytes]]:
    found = []
    while content:
        tag, value = _first(content)
        found.append((tag, value))
        content = content[len(_element(tag, value)) :]
    return found


def _first(content: bytes) -> tuple[int, bytes]:
    """Split off tag and value of the first element (DER: definite lengths in their shortest form)."""
    tag, length, start = content[0], content[1], 2
    if length & _LONG_FORM:
        start += length & ~_LONG_FORM
        length = int.from_bytes(content[2:start])
    return tag, content[start : start + length]


def _element(tag: int, value: bytes) -> bytes:
    if len(value) < _LONG_FORM:
        return bytes([tag, len(value)]) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8)
    return bytes([tag, _LONG_FORM | len(length)]) + length + value
