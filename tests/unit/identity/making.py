"""Keys and certificates for the tests of ``identity``, made with ``cryptography`` and kept small.

Every certificate is valid around :data:`NOW`, a fixed moment, so that no test depends on the day it runs.
"""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

    from rolesanywhere_helper.pki.certificates import CertificateAuthority

SigningKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
MlDsaKey: TypeAlias = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
Key: TypeAlias = SigningKey | MlDsaKey

NOW = 1_800_000_000  # 2027-01-15T08:00:00Z
DAY = 86_400


@functools.cache
def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """Return the same key for the same arguments: RSA keys are slow to make."""
    del number
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def usage(*, digital_signature: bool = True, ca: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class Wanted:
    """What a certificate shall say; times are seconds from NOW."""

    subject: x509.Name = field(default_factory=lambda: name("host"))
    usage: x509.KeyUsage | None = field(default_factory=usage)
    ca: bool = False
    begins: int = -DAY
    ends: int = DAY
    serial: int = 0x1000
    hash: hashes.SHA256 | hashes.SHA384 = field(default_factory=hashes.SHA256)


def certify(wanted: Wanted, key: Key, issuer: x509.Name, issuer_key: SigningKey) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(wanted.subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(wanted.serial)
        .not_valid_before(moment(wanted.begins))
        .not_valid_after(moment(wanted.ends))
        .add_extension(x509.BasicConstraints(ca=wanted.ca, path_length=None), critical=True)
    )
    if wanted.usage is not None:
        builder = builder.add_extension(wanted.usage, critical=True)
    return builder.sign(issuer_key, wanted.hash)


def moment(offset: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(NOW + offset, dt.UTC)


@dataclass(frozen=True)
class Authority:
    """A CA: a root, or what another CA made one."""

    certificate: x509.Certificate
    key: SigningKey

    @classmethod
    def root(cls, common_name: str = "Root", key: SigningKey | None = None, serial: int = 1) -> Authority:
        own = key or ec_key()
        return cls(certify(ca_named(common_name, serial), own, name(common_name), own), own)

    def issue(self, key: Key, wanted: Wanted | None = None) -> x509.Certificate:
        return certify(wanted or Wanted(), key, self.certificate.subject, self.key)

    def intermediate(self, common_name: str, key: SigningKey | None = None) -> Authority:
        own = key or ec_key()
        return Authority(self.issue(own, ca_named(common_name)), own)


def ca_named(common_name: str, serial: int = 1) -> Wanted:
    return Wanted(subject=name(common_name), usage=usage(digital_signature=False, ca=True), ca=True, serial=serial)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def key_pem(key: Key, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def write(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def as_if_signed_with_sha1(certificate: x509.Certificate) -> x509.Certificate:
    """Rename the algorithm of an RSA signature from SHA-256 to SHA-1, with which the library no longer signs."""
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    return x509.load_der_x509_certificate(der(certificate).replace(sha256, sha1))


def as_requested(request: x509.CertificateSigningRequest, ca: CertificateAuthority) -> x509.Certificate:
    """Do what a CA does with a request: certify it with its extensions."""
    now = dt.datetime.now(dt.UTC)
    begins, ends = now - dt.timedelta(hours=1), now + dt.timedelta(days=1)
    builder = x509.CertificateBuilder(
        ca.certificate.subject, request.subject, request.public_key(), x509.random_serial_number(), begins, ends
    )
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(ca.private_key, hashes.SHA256())
