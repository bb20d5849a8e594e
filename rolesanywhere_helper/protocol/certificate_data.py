"""What ``read-certificate-data`` prints: the official helper's view of a certificate (its ``signer.go``, 1.8.0).

One JSON object without spaces or newline, the keys in the order of the official helper's struct. Where a token's URI
fits several certificates it is our own list of them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, assert_never

from rolesanywhere_helper.domain.keys import KeyType

if TYPE_CHECKING:
    from collections.abc import Iterable


class ListEntry(Protocol):
    """One certificate of a list; the dates in seconds since the epoch."""

    @property
    def uri(self) -> str:
        """What names it alone."""
        ...

    @property
    def der(self) -> bytes:
        """The certificate."""
        ...

    @property
    def serial(self) -> int:
        """Its serial number."""
        ...

    @property
    def key_type(self) -> KeyType | None:
        """Its key's type, or None for one that the service does not accept."""
        ...

    @property
    def subject(self) -> str:
        """Its subject."""
        ...

    @property
    def not_before(self) -> int:
        """When its validity begins."""
        ...

    @property
    def not_after(self) -> int:
        """When its validity ends."""
        ...


class MatchingEntry(Protocol):
    """What is printed of a certificate that a selector means."""

    @property
    def der(self) -> bytes:
        """The certificate."""
        ...

    @property
    def subject(self) -> str:
        """Whose it is."""
        ...

    @property
    def issuer(self) -> str:
        """Who issued it."""
        ...

    @property
    def serial(self) -> int:
        """Its number."""
        ...


def render(der: bytes, serial: int, key_type: KeyType) -> bytes:
    """Write what is printed for a certificate: its key's type, its DER in base64, its serial in decimal."""
    document = {
        "keyType": key_type.value,
        "certificateData": base64.b64encode(der).decode("ascii"),
        "serialNumber": str(serial),
        "supportedAlgorithms": supported_algorithms(key_type),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def render_list(entries: Iterable[ListEntry]) -> bytes:
    """Write what is printed where several certificates fit: ``{"certificates": […]}``, indented by two spaces.

    Each has ``uri`` (which names it alone), ``subject``, ``serialNumber`` in decimal, ``keyType`` (null where the
    service accepts no such key), ``notBefore`` and ``notAfter`` (RFC 3339, UTC), and ``certificateData`` (DER in
    base64).
    """
    listed = [
        {
            "uri": entry.uri,
            "subject": entry.subject,
            "serialNumber": str(entry.serial),
            "keyType": None if entry.key_type is None else entry.key_type.value,
            "notBefore": _moment(entry.not_before),
            "notAfter": _moment(entry.not_after),
            "certificateData": base64.b64encode(entry.der).decode("ascii"),
        }
        for entry in entries
    ]
    return json.dumps({"certificates": listed}, indent=2).encode("ascii")


def render_matching(entries: Iterable[MatchingEntry]) -> bytes:
    """Write what is printed of the certificates that a selector means, as the official helper does: text, numbered.

    The fingerprint is SHA-1's, which names a certificate here and proves nothing.
    """
    lines = [
        f"{number}) Hex Fingerprint: {hashlib.sha1(entry.der, usedforsecurity=False).hexdigest()}\n"
        f"Subject: {entry.subject}\nIssuer: {entry.issuer}\nSerial Number: {entry.serial:X}\n\n"
        for number, entry in enumerate(entries, 1)
    ]
    head = "Matching identities\n" if lines else "No matching identities\n"
    return "".join([head, *lines]).encode()


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def supported_algorithms(key_type: KeyType) -> list[str]:
    """Name what a key can sign with: type and digest, or for ML-DSA the variant alone."""
    match key_type:
        case KeyType.RSA | KeyType.EC:
            return [f"{key_type.value}{digest}" for digest in ("SHA256", "SHA384", "SHA512")]
        case KeyType.ML_DSA_44 | KeyType.ML_DSA_65 | KeyType.ML_DSA_87:
            return [key_type.value]
        case _:
            assert_never(key_type)
