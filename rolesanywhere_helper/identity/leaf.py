"""Which certificate is the leaf, and whether the service would accept it (user guide, "trust model")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from rolesanywhere_helper.errors import (
    KeyMismatchError,
    LeafExpiredError,
    LeafIsCaError,
    LeafLacksDigitalSignatureError,
    LeafNotYetValidError,
    LeafVersionError,
    UnusableLeafError,
)
from rolesanywhere_helper.identity import certificates as facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

_WEAK_HASHES = frozenset({"md5", "sha1", "sha224"})


def choose_leaf(
    certificates: Sequence[x509.Certificate], key: CertificatePublicKeyTypes, now: float
) -> x509.Certificate:
    """Find the certificate that belongs to a key, wherever in the file it stands.

    Of several (a renewal that kept its key) an end entity comes before a CA, a valid one before one that is not, and
    then the first.

    Raises:
        KeyMismatchError: the key belongs to none of them.

    """
    matching = [certificate for certificate in certificates if facts.public_key(certificate) == key]
    if matching:
        return min(matching, key=lambda found: (facts.is_ca(found), not facts.is_valid_at(found, now)))
    presumed = min(certificates, key=facts.is_ca)
    raise KeyMismatchError(f"the private key does not belong to the certificate {facts.subject(presumed)}")


def check_leaf(leaf: x509.Certificate, now: float) -> None:
    """Refuse a leaf that the service would refuse at ``now``, in seconds since the epoch.

    Raises:
        LeafVersionError: it is not X.509 v3.
        LeafIsCaError: it is a CA certificate.
        LeafLacksDigitalSignatureError: its keyUsage is missing or lacks digitalSignature.
        LeafNotYetValidError: its validity has not begun.
        LeafExpiredError: its validity has ended.
        UnusableLeafError: its extensions cannot be read, it has no subject, or its signature is weaker than
            SHA-256.

    """
    name = facts.subject(leaf)
    if leaf.version is not x509.Version.v3:
        raise LeafVersionError(f"the certificate {name} is X.509 {leaf.version.name}")
    _check_extensions(leaf, name)
    _check_signature_and_subject(leaf, name)
    _check_dates(leaf, name, now)


def _check_extensions(leaf: x509.Certificate, name: str) -> None:
    try:
        extensions = leaf.extensions
    except facts.UNREADABLE_EXTENSIONS as error:
        raise UnusableLeafError(
            f"the extensions of the certificate {name} cannot be read", "re-issue the certificate"
        ) from error
    if facts.is_ca(leaf):
        raise LeafIsCaError(f"the certificate {name} is a CA certificate")
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise LeafLacksDigitalSignatureError(f"the certificate {name} has no keyUsage") from None
    if not usage.digital_signature:
        raise LeafLacksDigitalSignatureError(f"the keyUsage of the certificate {name} lacks digitalSignature")


def _check_signature_and_subject(leaf: x509.Certificate, name: str) -> None:
    if not leaf.subject.rdns:
        raise UnusableLeafError(
            f"the certificate with serial {facts.serial(leaf)} has an empty subject",
            "re-issue the certificate with a subject, for example /CN=this-host",
        )
    algorithm = _hash_name(leaf)
    if algorithm in _WEAK_HASHES:
        raise UnusableLeafError(
            f"the certificate {name} is signed with {algorithm.upper()}",
            "re-issue the certificate: the service accepts signatures with SHA-256 or stronger",
        )


def _check_dates(leaf: x509.Certificate, name: str, now: float) -> None:
    if now < facts.not_before(leaf):
        raise LeafNotYetValidError(f"the certificate {name} is not valid before {facts.utc(leaf.not_valid_before_utc)}")
    if not facts.is_valid_at(leaf, now):
        raise LeafExpiredError(f"the certificate {name} expired at {facts.utc(leaf.not_valid_after_utc)}")


def _hash_name(leaf: x509.Certificate) -> str:
    """Name the hash of the issuer's signature, or say nothing where there is none or it is not known."""
    try:
        algorithm = leaf.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return ""
    return "" if algorithm is None else algorithm.name
