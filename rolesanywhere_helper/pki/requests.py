"""Certificate signing requests (PKCS#10, RFC 2986) for leaves that the service accepts.

A request is signed by whoever has the key, which may be a token: this module puts its parts together, and asks for one
signature. What is asked of the CA are the extensions that the service wants in a leaf (user guide, "trust model"):
keyUsage digitalSignature and CA:FALSE, both critical, and extendedKeyUsage clientAuth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from rolesanywhere_helper.errors import UsageError
from rolesanywhere_helper.pki.der import (
    BIT_STRING,
    INTEGER,
    NULL,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SET,
    SHORT_FORM,
    der,
    pem,
    sequence,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

DIGEST = "SHA256"
"""The hash under a request's signature, which every token can make; ML-DSA has none."""

_ATTRIBUTES = 0xA0
_BOOLEAN_TRUE = bytes.fromhex("0101ff")
_EXTENSION_REQUEST = bytes.fromhex("2a864886f70d01090e")  # 1.2.840.113549.1.9.14
_SHA256_WITH_RSA = bytes.fromhex("2a864886f70d01010b")  # 1.2.840.113549.1.1.11
_ECDSA_WITH_SHA256 = bytes.fromhex("2a8648ce3d040302")  # 1.2.840.10045.4.3.2

_ATTRIBUTE_TYPES = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "STREET": NameOID.STREET_ADDRESS,
    "POSTALCODE": NameOID.POSTAL_CODE,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
    "DC": NameOID.DOMAIN_COMPONENT,
    "UID": NameOID.USER_ID,
    "EMAILADDRESS": NameOID.EMAIL_ADDRESS,
}
_SLASHES = re.compile(r"(?:\\.|[^/\\])+", re.DOTALL)
_PLUSES = re.compile(r"(?:\\.|[^+\\])+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RequestedLeaf:
    """What the CA is asked to certify: a subject, and DNS names and URIs for the subject alternative name."""

    subject: x509.Name
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


def requested_leaf(subject: str, dns_names: Iterable[str] = (), uris: Iterable[str] = ()) -> RequestedLeaf:
    """Check what somebody wrote: the subject as OpenSSL has it (``/C=DE/O=Example/CN=host``), or after RFC 4514.

    Raises:
        UsageError: the subject is empty or has no meaning, or a name cannot stand in a certificate.

    """
    wanted = RequestedLeaf(_subject(subject), tuple(dns_names), tuple(uris))
    _alternative_names(wanted)
    return wanted


def request_pem(wanted: RequestedLeaf, public_key: CertificatePublicKeyTypes, sign: Callable[[bytes], bytes]) -> bytes:
    """Put a request together and have it signed; ``sign`` signs a whole message with :data:`DIGEST`.

    Raises:
        IdentityError: as ``sign`` raises it.

    """
    key = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    extensions = _extensions(wanted)
    attribute = sequence(der(OBJECT_IDENTIFIER, _EXTENSION_REQUEST), der(SET, sequence(*extensions)))
    information = sequence(der(INTEGER, b"\0"), wanted.subject.public_bytes(), key, der(_ATTRIBUTES, attribute))
    signature = der(BIT_STRING, b"\0" + sign(information))
    return pem("CERTIFICATE REQUEST", sequence(information, _algorithm(public_key, key), signature))


# What is asked for


def _subject(text: str) -> x509.Name:
    try:
        name = _from_slashes(text) if text.startswith("/") else x509.Name.from_rfc4514_string(text)
    except ValueError as error:
        raise _no_subject(f"is no subject: {error}") from None
    if not name.rdns:
        raise _no_subject("is empty, and the service refuses a certificate without a subject")
    return name


def _from_slashes(text: str) -> x509.Name:
    """Read OpenSSL's form: a slash before each part, a plus between attributes of one, a backslash takes meanings away.

    Raises:
        ValueError: it is not of this form.

    """
    return x509.Name(
        [
            x509.RelativeDistinguishedName([_attribute(each) for each in _PLUSES.findall(part)])
            for part in _SLASHES.findall(text)
        ]
    )


def _attribute(text: str) -> x509.NameAttribute[str]:
    kind, equals, value = text.partition("=")
    kind, value = kind.strip(), _ESCAPED.sub(r"\1", value)
    known = _ATTRIBUTE_TYPES.get(kind.upper())
    if known is None and kind[:1].isdigit():
        known = ObjectIdentifier(kind)
    if not equals or not value or known is None:
        raise ValueError(f"{text!a}")
    return x509.NameAttribute(known, value)


def _no_subject(what: str) -> UsageError:
    return UsageError(f"--subject {what}", "write it as '/O=Example/CN=this-host', or 'CN=this-host,O=Example'")


def _alternative_names(wanted: RequestedLeaf) -> list[x509.GeneralName]:
    try:
        return [
            *(x509.DNSName(name) for name in wanted.dns_names),
            *(x509.UniformResourceIdentifier(uri) for uri in wanted.uris),
        ]
    except ValueError as error:
        raise UsageError(
            f"--dns or --uri cannot stand in a certificate: {error}", "write a name in ASCII (xn--…), and a whole URI"
        ) from None


def _extensions(wanted: RequestedLeaf) -> list[bytes]:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    extensions = [
        _extension(x509.BasicConstraints(ca=False, path_length=None), critical=True),
        _extension(usage, critical=True),
        _extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False),
    ]
    names = _alternative_names(wanted)
    if names:
        extensions.append(_extension(x509.SubjectAlternativeName(names), critical=False))
    return extensions


# DER


def _extension(value: x509.ExtensionType, *, critical: bool) -> bytes:
    number = {
        x509.BasicConstraints: ExtensionOID.BASIC_CONSTRAINTS,
        x509.KeyUsage: ExtensionOID.KEY_USAGE,
        x509.ExtendedKeyUsage: ExtensionOID.EXTENDED_KEY_USAGE,
        x509.SubjectAlternativeName: ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }[type(value)]
    first, second, third, last = (int(part) for part in number.dotted_string.split("."))  # 2.5.29.N, each below 128
    name = der(OBJECT_IDENTIFIER, bytes([40 * first + second, third, last]))
    return sequence(name, _BOOLEAN_TRUE if critical else b"", der(OCTET_STRING, value.public_bytes()))


def _algorithm(public_key: CertificatePublicKeyTypes, encoded: bytes) -> bytes:
    if isinstance(public_key, rsa.RSAPublicKey):
        return sequence(der(OBJECT_IDENTIFIER, _SHA256_WITH_RSA), der(NULL, b""))
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return sequence(der(OBJECT_IDENTIFIER, _ECDSA_WITH_SHA256))
    # ML-DSA: the signature's algorithm is the key's own (RFC 9881, section 2). It is the first part of the key.
    _, inside = _opened(encoded)
    whole, _ = _opened(inside)
    return whole


def _opened(content: bytes) -> tuple[bytes, bytes]:
    """Return the first value as it is, and what is inside of it."""
    first, begin = content[1], 2
    if first >= SHORT_FORM:
        begin += first - SHORT_FORM
        first = int.from_bytes(content[2:begin], "big")
    return content[: begin + first], content[begin : begin + first]
