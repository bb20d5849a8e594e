"""Whether a leaf is good, and a path leads from it to the trust anchor (user guide, "trust model").

The order of the chain header is not documented, so the path is searched in an unordered set. A CA on the path must be
valid now, be CA:true, have keyCertSign, and keep its path length; every signature on the path is SHA-256 or stronger.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from rolesanywhere_helper.emulator.answers import access_denied, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_CHAIN = 5
_PRIVATE_KEY = re.compile(rb"BEGIN[ A-Z0-9]*PRIVATE KEY", re.IGNORECASE)
_WEAK = (hashes.MD5, hashes.SHA1, hashes.SHA224)

# What the library raises for certificates that it parses and then cannot read.
_UNREADABLE = (
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    TypeError,
    KeyError,
)

UNTRUSTED = "Untrusted signing certificate"
INSUFFICIENT = "Untrusted certificate. Insufficient certificate"
INCORRECT_CA = "Incorrect basic constraints for CA certificate"


def decode_certificate(text: str) -> x509.Certificate:
    """Read base64 DER, as the headers hold it, down to every part that is looked at later.

    Raises:
        ValueError: it is not a certificate, or has a part that cannot be read.

    """
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        _read_through(certificate)
    except (binascii.Error, ValueError, *_UNREADABLE) as error:
        raise ValueError("not the base64 of a DER certificate") from error
    return certificate


def require_path(
    leaf: x509.Certificate, chain: Iterable[x509.Certificate], anchors: Iterable[x509.Certificate], now: float
) -> None:
    """Require a path from the leaf through the chain to one of the anchors. ``now`` is in seconds since the epoch.

    Raises:
        Refusal: there is none.

    """
    if not has_path(leaf, chain, anchors, now):
        raise access_denied(UNTRUSTED, "no path of valid CA certificates leads from the leaf to the trust anchor")


def has_path(
    leaf: x509.Certificate, chain: Iterable[x509.Certificate], anchors: Iterable[x509.Certificate], now: float
) -> bool:
    """Tell whether a path leads from the leaf through the chain to one of the anchors."""
    roots = set(anchors)
    return _reaches(leaf, roots, set(chain) - roots - {leaf}, 0, now)


def require_usable_leaf(leaf: x509.Certificate, now: float) -> None:
    """Require what the user guide asks of an end-entity certificate.

    The service's text for an expired leaf is not documented; this one says what is true of it.

    Raises:
        Refusal: something is missing.

    """
    for why in _leaf_faults(leaf, now):
        raise access_denied(INSUFFICIENT, why)


def require_ca(certificate: x509.Certificate) -> None:
    """Require what the user guide asks of a trust anchor's certificate.

    Raises:
        Refusal: ValidationException, as CreateTrustAnchor answers.

    """
    if not _is_ca(certificate) or is_weak(certificate):
        raise invalid(INCORRECT_CA)


def require_no_private_key(data: bytes) -> None:
    """Require data to be without a private key, before anything keeps it. The refusal does not repeat the data.

    Raises:
        Refusal: ValidationException; there is a PEM block of a private key in it.

    """
    if _PRIVATE_KEY.search(data):
        raise invalid("A private key is in the data. It was not stored; only certificates and CRLs are taken")


def bundle_of(pem: str) -> list[x509.Certificate]:
    """Read a trust anchor's certificates.

    Raises:
        Refusal: ValidationException; the text holds no certificate that can be read, or one that is no CA.

    """
    try:
        bundle = x509.load_pem_x509_certificates(pem.encode("utf-8"))
        for certificate in bundle:
            _read_through(certificate)
    except (ValueError, *_UNREADABLE):
        raise invalid("Unable to parse certificate data: PEM certificates are expected") from None
    return bundle


def common_name(certificate: x509.Certificate) -> str | None:
    """Return the subject's first CN."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return name_text(names[0].value) if names else None


def _read_through(certificate: x509.Certificate) -> None:
    """Read what the library otherwise reads, and fails to read, only when it is asked for."""
    certificate.public_key()
    for part in ("version", "subject", "issuer", "extensions", "not_valid_before_utc", "not_valid_after_utc"):
        getattr(certificate, part)


def _reaches(
    child: x509.Certificate,
    roots: set[x509.Certificate],
    others: set[x509.Certificate],
    below: int,
    now: float,
) -> bool:
    """Climb one step. ``below`` counts the CAs between the leaf and the issuer that is looked for."""
    if any(_issued(child, root, below, now) for root in roots):
        return True
    return any(
        _reaches(issuer, roots, others - {issuer}, below + 1, now)
        for issuer in others
        if _issued(child, issuer, below, now)
    )


def _issued(child: x509.Certificate, issuer: x509.Certificate, below: int, now: float) -> bool:
    return (
        child.issuer == issuer.subject
        and _is_valid_at(issuer, now)
        and _is_ca(issuer)
        and _allows_depth(issuer, below)
        and not is_weak(child)
        and _is_signed_by(child, issuer)
    )


def _is_signed_by(child: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _leaf_faults(leaf: x509.Certificate, now: float) -> Iterator[str]:
    if leaf.version is not x509.Version.v3:
        yield "the leaf is not X.509 version 3"
        return
    if not _is_valid_at(leaf, now):
        yield "the leaf is expired or not yet valid"
    if not list(leaf.subject):
        yield "the leaf's subject is empty"
    if is_weak(leaf):
        yield "the leaf is signed with a hash weaker than SHA-256"
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        yield "the leaf is a CA"
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        yield "the leaf's key usage lacks digitalSignature"


def _is_valid_at(certificate: x509.Certificate, now: float) -> bool:
    moment = datetime.fromtimestamp(now, UTC)
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


def is_weak(certificate: x509.Certificate) -> bool:
    """Tell whether the signature's hash is below SHA-256; ML-DSA has none."""
    try:
        return isinstance(certificate.signature_hash_algorithm, _WEAK)
    except UnsupportedAlgorithm:
        return True


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and usage is not None and usage.key_cert_sign


def _allows_depth(issuer: x509.Certificate, below: int) -> bool:
    constraints = _extension(issuer, x509.BasicConstraints)
    return constraints is None or constraints.path_length is None or below <= constraints.path_length


_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def name_text(value: str | bytes) -> str:
    """Return an attribute's value as text."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
