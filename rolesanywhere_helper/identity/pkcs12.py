"""PKCS#12 files (RFC 7292): a key, its certificate and others in one encrypted container.

The library reads what OpenSSL reads: AES with PBES2 and a MAC by SHA-256, as OpenSSL 3 writes it, and what is older,
RC2 and 3DES with a MAC by SHA-1. A file is told by its content, whatever it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from rolesanywhere_helper.errors import (
    EncryptedKeyError,
    UnreadableCertificateError,
    UnreadableKeyError,
    UnsupportedKeyError,
    WrongSecretError,
)
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.identity import certificates as facts
from rolesanywhere_helper.identity.private_key import supported

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates

    from rolesanywhere_helper.identity.private_key import SupportedKey

PASSWORD = "pkcs12-password"  # noqa: S105 - the name of a flag

_SEQUENCE = 0x30
_LONG_FORM = 0x80
# Version, and the first octet of the content. PKCS#8 has version 0 or 1, PKCS#1 0, SEC1 1, and a certificate none.
_VERSION_3 = b"\x02\x01\x03\x30"


@dataclass(frozen=True, slots=True)
class Pkcs12:
    """What one file holds: the key's own certificate comes first."""

    path: str
    certificates: tuple[x509.Certificate, ...] = field(repr=False)
    _key: PrivateKeyTypes | None = field(repr=False)

    @property
    def key(self) -> SupportedKey:
        """The private key.

        Raises:
            UnreadableKeyError: there is none.
            UnsupportedKeyError: it is none that the service accepts.

        """
        if self._key is None:
            raise UnreadableKeyError(
                f"the PKCS#12 file {self.path} holds no private key", "give the key too: --private-key FILE"
            )
        return supported(self._key, self.path)


def is_pkcs12(content: bytes) -> bool:
    """Tell whether a file is PKCS#12: a SEQUENCE that begins with the version 3 and another SEQUENCE.

    Also where its length is not known beforehand (BER), as some programs write it.
    """
    if len(content) < 2 or content[0] != _SEQUENCE:  # noqa: PLR2004 - a tag and a length
        return False
    octets = content[1] & ~_LONG_FORM if content[1] & _LONG_FORM else 0
    start = 2 + octets
    return content[start : start + 4] == _VERSION_3


def read_pkcs12(content: bytes, path: str, password: Callable[[], bytes | None]) -> Pkcs12:
    """Open a file; the password is asked for if it does not open without one, and only then.

    No password and an empty one are the same here: programs do not agree on which of them they mean.

    Raises:
        EncryptedKeyError: it needs a password, and there is none.
        WrongSecretError: the password does not open it, or the file is damaged, which looks the same.
        UnsupportedKeyError: it is encrypted in a way, or holds a key of a kind, that is not known.
        UnreadableCertificateError: one of its certificates is broken.

    """
    opened = _open(content, path, None)
    if opened is not None:
        return _taken(opened, path)
    given = password()
    if given is None:
        raise EncryptedKeyError(
            f"the PKCS#12 file {path} is encrypted",
            f"say where its password is: --{PASSWORD}-file FILE (or credential:NAME, env:NAME, fd:N, command:…)",
            needs=PASSWORD,
        )
    opened = _open(content, path, given)
    if opened is None:
        raise WrongSecretError(f"the password does not open the PKCS#12 file {path}, or the file is damaged")
    return _taken(opened, path)


def _open(content: bytes, path: str, password: bytes | None) -> PKCS12KeyAndCertificates | None:
    with facts.quiet():
        try:
            return load_pkcs12(content, password)
        except UnsupportedAlgorithm:
            raise UnsupportedKeyError(
                f"the PKCS#12 file {path} is encrypted in an unknown way, or holds a key of an unknown kind",
                "write it anew: openssl pkcs12 -in FILE -legacy -nodes | openssl pkcs12 -export -out NEW",
            ) from None
        except ValueError:  # a wrong password and damage are the same to the library
            return None


def _taken(opened: PKCS12KeyAndCertificates, path: str) -> Pkcs12:
    own = () if opened.cert is None else (opened.cert.certificate,)
    found = (*own, *(each.certificate for each in opened.additional_certs))
    try:
        for certificate in found:
            facts.check_readable(certificate)
    except facts.UNREADABLE as error:
        raise UnreadableCertificateError(f"a certificate in {path} cannot be read") from error
    return Pkcs12(path, found, opened.key)
