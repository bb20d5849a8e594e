"""A private key encrypted for a long rest: PKCS#8 with PBES2 (RFC 8018), at a price for whoever guesses passphrases.

The cryptography library writes the same form with 2048 rounds, and lets nobody ask for more. Every program that reads
its keys reads these.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from rolesanywhere_helper.pki.der import INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, der, pem, sequence

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

ROUNDS = 600_000
"""What OWASP asks of PBKDF2 with HMAC-SHA-256; a few tenths of a second."""

_PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")  # 1.2.840.113549.1.5.12
_HMAC_SHA256 = bytes.fromhex("2a864886f70d0209")  # 1.2.840.113549.2.9
_AES_256_CBC = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42
_KEY_BYTES, _SALT_BYTES, _BLOCK_BYTES = 32, 16, 16


def encrypted_key_pem(key: CertificateIssuerPrivateKeyTypes, passphrase: bytes) -> bytes:
    """Write a private key as PEM (``ENCRYPTED PRIVATE KEY``)."""
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, start = os.urandom(_SALT_BYTES), os.urandom(_BLOCK_BYTES)
    secret = PBKDF2HMAC(hashes.SHA256(), _KEY_BYTES, salt, ROUNDS).derive(passphrase)
    padder = padding.PKCS7(8 * _BLOCK_BYTES).padder()
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(start)).encryptor()
    content = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    derivation = sequence(
        der(OBJECT_IDENTIFIER, _PBKDF2),
        sequence(
            der(OCTET_STRING, salt),
            der(INTEGER, ROUNDS.to_bytes(3, "big")),  # its highest bit is not set
            sequence(der(OBJECT_IDENTIFIER, _HMAC_SHA256), der(NULL, b"")),
        ),
    )
    cipher = sequence(der(OBJECT_IDENTIFIER, _AES_256_CBC), der(OCTET_STRING, start))
    how = sequence(der(OBJECT_IDENTIFIER, _PBES2), sequence(derivation, cipher))
    return pem("ENCRYPTED PRIVATE KEY", sequence(how, der(OCTET_STRING, content)))
