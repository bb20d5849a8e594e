"""Certificates as bytes and facts: reading them from a file, and what the other modules ask of one."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import UnreadableCertificateError, UnsupportedKeyError
from rolesanywhere_helper.identity.blocks import read_blocks

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from rolesanywhere_helper.identity.blocks import Block

_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
_KEY_TYPES = {
    "1.2.840.113549.1.1.1": KeyType.RSA,
    "1.2.840.10045.2.1": KeyType.EC,
    "2.16.840.1.101.3.4.3.17": KeyType.ML_DSA_44,
    "2.16.840.1.101.3.4.3.18": KeyType.ML_DSA_65,
    "2.16.840.1.101.3.4.3.19": KeyType.ML_DSA_87,
}
_LONGEST_NAME = 200

UNREADABLE = (ValueError, TypeError, x509.InvalidVersion)
"""What the library raises for a certificate that it cannot read."""

UNREADABLE_EXTENSIONS = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What the library raises for extensions that it cannot read."""


def read_certificates(content: bytes, path: str) -> tuple[x509.Certificate, ...]:
    """Read every certificate of a file, in the file's order; there may be none.

    Raises:
        UnreadableCertificateError: the file is cut short, or one of its certificates is broken.

    """
    try:
        blocks = read_blocks(content)
        return tuple(_parse(block) for block in blocks if block.label in _LABELS or block.label is None)
    except UNREADABLE as error:
        raise UnreadableCertificateError(f"a certificate in {path} cannot be read: {_first_line(error)}") from error


def require_certificates(content: bytes, path: str) -> tuple[x509.Certificate, ...]:
    """Read every certificate of a file that must have one.

    Raises:
        UnreadableCertificateError: there is none, the file is cut short, or one of its certificates is broken.

    """
    found = read_certificates(content, path)
    if found:
        return found
    if any((block.label or "").endswith("PRIVATE KEY") for block in read_blocks(content)):
        raise UnreadableCertificateError(
            f"{path} holds a private key but no certificate",
            "check whether --certificate and --private-key are swapped",
        )
    raise UnreadableCertificateError(f"{path} holds no certificate")


def subject(certificate: x509.Certificate) -> str:
    """Name a certificate in an error: its subject (RFC 4514) on one line, at most 200 characters."""
    text = certificate.subject.rfc4514_string() or "without a subject"
    return "".join(character if character.isprintable() else "?" for character in text)[:_LONGEST_NAME]


def serial(certificate: x509.Certificate) -> int:
    """Return the serial number, also one that RFC 5280 forbids, without the library's warning on stderr."""
    with quiet():
        return certificate.serial_number


def key_type(certificate: x509.Certificate) -> KeyType:
    """Tell the type of a certificate's key by its algorithm, so that the key itself need not be understood.

    Raises:
        UnsupportedKeyError: it is none that the service accepts.

    """
    oid = certificate.public_key_algorithm_oid
    found = _KEY_TYPES.get(oid.dotted_string)
    if found is None:
        raise UnsupportedKeyError(
            f"the key of certificate {subject(certificate)} has an unsupported type ({oid.dotted_string})"
        )
    return found


def public_key(certificate: x509.Certificate) -> CertificatePublicKeyTypes | None:
    """Return a certificate's key, or None if the library cannot read it."""
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def is_ca(certificate: x509.Certificate) -> bool:
    """Tell whether basicConstraints says CA:TRUE; extensions that cannot be read say nothing."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *UNREADABLE_EXTENSIONS):
        return False


def is_valid_at(certificate: x509.Certificate, now: float) -> bool:
    """Tell whether ``now``, in seconds since the epoch, lies in a certificate's validity."""
    return not_before(certificate) <= now < not_after(certificate) + 1


def not_before(certificate: x509.Certificate) -> int:
    """Return the first second of validity, since the epoch."""
    return int(certificate.not_valid_before_utc.timestamp())


def not_after(certificate: x509.Certificate) -> int:
    """Return the last second of validity, since the epoch: RFC 5280 counts it in."""
    return int(certificate.not_valid_after_utc.timestamp())


def utc(moment: dt.datetime) -> str:
    """Write a moment as an error shows it: ``2026-01-31T12:00:00Z``."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_readable(certificate: x509.Certificate) -> None:
    """Look at what the library reads only when asked: what is broken shall be found here, not on first use.

    Raises:
        ValueError, TypeError, x509.InvalidVersion: a part cannot be read (:data:`UNREADABLE`).

    """
    _ = (
        certificate.version,
        certificate.subject,
        certificate.issuer,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.public_key_algorithm_oid,
    )


def quiet() -> warnings.catch_warnings[None]:
    """Keep what the library says about odd certificates off a credential_process's stderr.

    Of roots with serial 0 and countries of three letters there are many.
    """
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def _parse(block: Block) -> x509.Certificate:
    with quiet():
        certificate = x509.load_der_x509_certificate(block.der)
        check_readable(certificate)
        return certificate


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else "it is broken"
