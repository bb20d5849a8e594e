"""Throwaway and local certificates: a CA, intermediates below it, leaves below those.

Everything here returns values and bytes; who writes a file decides where, and with which mode. Time is an argument, in
seconds since the epoch. What a :class:`LeafRequest` can ask for includes what the service refuses, because a test
without such a negative control proves little.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Self, assert_never

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rolesanywhere_helper.pki.keys import KeyFormat, KeyKind, generate_key, key_pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        CertificatePublicKeyTypes,
    )

_SECONDS_A_DAY = 86_400
# Machines whose clocks differ a little must agree that a new certificate is valid.
_BACKDATED_SECONDS = 3_600
_NAME_PARTS = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
}
NameParts = tuple[tuple[str, str], ...]


class Digest(Enum):
    """The hash under an issuer's signature; ML-DSA issuers have none of their own and ignore it."""

    SHA256 = "SHA-256"
    SHA384 = "SHA-384"
    SHA512 = "SHA-512"


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when a certificate is valid: seconds since the epoch, both inclusive."""

    not_before: int
    not_after: int

    @classmethod
    def days(cls, now: float, days: int) -> Self:
        """Begin an hour before ``now`` and end ``days`` after it; negative days make an expired certificate."""
        end = int(now) + days * _SECONDS_A_DAY
        return cls(min(int(now), end - 1) - _BACKDATED_SECONDS, end)


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """What a leaf shall be. Only the validity has no default that suits every caller.

    ``subject`` is a sequence of (``C``, ``ST``, ``L``, ``O``, ``OU`` or ``CN``, value); it may be empty. ``names`` go
    into the subject alternative name: IP addresses as such, what holds ``://`` as URI, everything else as DNS name.
    ``serial`` is drawn at random (as RFC 5280 wants) if None.
    """

    validity: Validity
    subject: NameParts = (("CN", "client"),)
    key: KeyKind = KeyKind.RSA_2048
    serial: int | None = None
    names: tuple[str, ...] = ()
    digest: Digest = Digest.SHA256
    digital_signature: bool = True
    is_ca: bool = False
    server: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate, its private key, and the intermediates above it (its issuer first, without the root)."""

    certificate: x509.Certificate
    private_key: CertificateIssuerPrivateKeyTypes = field(repr=False)
    intermediates: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        """The certificate as DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate alone as PEM."""
        return certificates_pem(self.certificate)

    @property
    def intermediates_pem(self) -> bytes:
        """The intermediates as PEM; empty if a root issued the certificate."""
        return certificates_pem(*self.intermediates)

    @property
    def full_chain_pem(self) -> bytes:
        """The certificate and its intermediates as PEM, in the order in which TLS sends them."""
        return self.pem + self.intermediates_pem

    def key_pem(self, form: KeyFormat = KeyFormat.PKCS8, passphrase: bytes | None = None) -> bytes:
        """Write the private key as PEM.

        Raises:
            UnsupportedKeyError: the key's type cannot be written in this form.

        """
        return key_pem(self.private_key, form, passphrase)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A CA that can issue: its certificate, its key, and the intermediates from itself up to below the root."""

    certificate: x509.Certificate
    private_key: CertificateIssuerPrivateKeyTypes = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(
        cls, name: str, validity: Validity, key: KeyKind = KeyKind.RSA_2048, digest: Digest = Digest.SHA256
    ) -> Self:
        """Make a self-signed root that the service accepts as a trust anchor.

        Raises:
            UnsupportedKeyError: an ML-DSA key, and a cryptography library that knows none.

        """
        private_key = generate_key(key)
        subject = _name((("CN", name),))
        builder = _ca_builder(subject, validity, private_key.public_key(), None).issuer_name(subject)
        return cls(_signed(builder, private_key.public_key(), private_key, digest), private_key)

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes, passphrase: bytes | None = None) -> Self:
        """Load a root that was written before.

        Raises:
            ValueError: one of the two is not what it should be, or the passphrase is not the key's.
            TypeError: the key is encrypted and no passphrase was given, or the other way round.

        """
        private_key = serialization.load_pem_private_key(key, passphrase)
        if not hasattr(private_key, "sign"):
            raise ValueError("a key that cannot sign")
        return cls(x509.load_pem_x509_certificate(certificate), private_key)  # type: ignore[arg-type]  # it can sign

    @property
    def pem(self) -> bytes:
        """The CA's own certificate as PEM."""
        return certificates_pem(self.certificate)

    def key_pem(self) -> bytes:
        """Write the CA's private key as PKCS#8 PEM, unencrypted."""
        return key_pem(self.private_key)

    def intermediate(
        self,
        name: str,
        validity: Validity,
        key: KeyKind = KeyKind.RSA_2048,
        path_length: int | None = None,
        digest: Digest = Digest.SHA256,
    ) -> CertificateAuthority:
        """Issue a CA below this one.

        Raises:
            UnsupportedKeyError: an ML-DSA key, and a cryptography library that knows none.

        """
        private_key = generate_key(key)
        builder = _ca_builder(_name((("CN", name),)), validity, private_key.public_key(), path_length)
        certificate = self._sign(builder, private_key.public_key(), digest)
        return CertificateAuthority(certificate, private_key, (certificate, *self.chain))

    def issue(self, request: LeafRequest, private_key: CertificateIssuerPrivateKeyTypes | None = None) -> Issued:
        """Issue a leaf, for a new key or (a renewal) for a given one.

        Raises:
            UnsupportedKeyError: an ML-DSA key, and a cryptography library that knows none.

        """
        if private_key is None:
            private_key = generate_key(request.key)
        return Issued(self.certify(request, private_key.public_key()), private_key, self.chain)

    def certify(self, request: LeafRequest, public_key: CertificatePublicKeyTypes) -> x509.Certificate:
        """Issue a leaf for a key that somebody else has."""
        return self._sign(_leaf_builder(request, public_key), public_key, request.digest)

    def _sign(
        self, builder: x509.CertificateBuilder, public_key: CertificatePublicKeyTypes, digest: Digest
    ) -> x509.Certificate:
        builder = builder.issuer_name(self.certificate.subject).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.private_key.public_key()), critical=False
        )
        return _signed(builder, public_key, self.private_key, digest)


def certificates_pem(*certificates: x509.Certificate) -> bytes:
    """Write certificates as one PEM bundle, in the order given."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def name_parts(name: x509.Name) -> NameParts:
    """Return the parts of a name that :data:`NameParts` can hold; others are left out."""
    known = {oid: part for part, oid in _NAME_PARTS.items()}
    return tuple((known[each.oid], str(each.value)) for each in name if each.oid in known)


def _name(parts: NameParts) -> x509.Name:
    return x509.Name([x509.NameAttribute(_NAME_PARTS[part], value) for part, value in parts])


def _ca_builder(
    subject: x509.Name, validity: Validity, public_key: CertificatePublicKeyTypes, path_length: int | None
) -> x509.CertificateBuilder:
    return (
        _builder(subject, validity, None)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _leaf_builder(request: LeafRequest, public_key: CertificatePublicKeyTypes) -> x509.CertificateBuilder:
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if request.server else ExtendedKeyUsageOID.CLIENT_AUTH
    # A leaf without digitalSignature still needs some usage: an empty one is no valid extension.
    usage = _key_usage(
        digital_signature=request.digital_signature,
        key_encipherment=not request.digital_signature,
        key_cert_sign=request.is_ca,
    )
    builder = (
        _builder(_name(request.subject), request.validity, request.serial)
        .add_extension(x509.BasicConstraints(ca=request.is_ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    if not request.names:
        return builder
    names = x509.SubjectAlternativeName([_alternative_name(name) for name in request.names])
    return builder.add_extension(names, critical=not request.subject)


def _builder(subject: x509.Name, validity: Validity, serial: int | None) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(datetime.fromtimestamp(validity.not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(validity.not_after, UTC))
    )


def _signed(
    builder: x509.CertificateBuilder,
    public_key: CertificatePublicKeyTypes,
    issuer_key: CertificateIssuerPrivateKeyTypes,
    digest: Digest,
) -> x509.Certificate:
    builder = builder.public_key(public_key)
    if not isinstance(issuer_key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        return builder.sign(issuer_key, None)
    match digest:
        case Digest.SHA256:
            return builder.sign(issuer_key, hashes.SHA256())
        case Digest.SHA384:
            return builder.sign(issuer_key, hashes.SHA384())
        case Digest.SHA512:
            return builder.sign(issuer_key, hashes.SHA512())
        case _:
            assert_never(digest)


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_name(text: str) -> x509.GeneralName:
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
