"""A new key of a TPM, wrapped in a file that only this TPM can open (:mod:`rolesanywhere_helper.identity.tss2_pem`)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import UnsupportedKeyError
from rolesanywhere_helper.identity import der, tpm, tss2_pem

if TYPE_CHECKING:
    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.identity.tpm_session import Tpm

_KINDS = {"P-256": "ecc256", "P-384": "ecc384", "P-521": "ecc521", "RSA-2048": "rsa2048", "RSA-3072": "rsa3072"}
_LOADABLE_KEY = bytes.fromhex("678105") + bytes((10, 1, 3))  # 2.23.133.10.1.3
_BOOLEAN, _EMPTY_AUTH = 0x01, 0xA0
_LINE = 64


def generate(kind: str, password: bytes | None, access: Access) -> bytes:
    """Make a key below the primary key of the owner's hierarchy, and return its file's content.

    ``kind`` is ``P-256``, ``P-384``, ``P-521``, ``RSA-2048`` or ``RSA-3072``; which of them there are, the TPM decides.
    With a password the TPM counts wrong ones, and locks itself against guessing.

    Raises:
        MissingExtraError: the library for TPMs is not installed.
        UnsupportedKeyError: TPMs have no such keys.
        TokenError: the TPM cannot be reached, or does not make the key.

    """
    if kind not in _KINDS:
        raise UnsupportedKeyError(f"a TPM makes no {kind} key", "use ec or rsa, or a file without --tpm")

    def make(device: Tpm) -> tuple[bytes, bytes]:
        is_rsa = not device.has_ecc()
        parent = device.primary(tss2_pem.OWNER, b"", rsa=is_rsa)
        return device.create(parent, _KINDS[kind], password or b"")

    public, private = tpm.talk_to(access, make)
    return _pem(_encoded(public, private, has_password=bool(password)))


def _encoded(public: bytes, private: bytes, *, has_password: bool) -> bytes:
    # Said in both cases: OpenSSL's provider takes a file that says nothing for one of a key without a password.
    empty = der.write(_EMPTY_AUTH, der.write(_BOOLEAN, b"\0" if has_password else b"\xff"))
    parent = der.write(der.INTEGER, tss2_pem.OWNER.to_bytes(4, "big"))
    halves = der.write(der.OCTET_STRING, public) + der.write(der.OCTET_STRING, private)
    return der.write(der.SEQUENCE, der.write(der.OBJECT_IDENTIFIER, _LOADABLE_KEY) + empty + parent + halves)


def _pem(encoded: bytes) -> bytes:
    text = base64.b64encode(encoded).decode("ascii")
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join(["-----BEGIN TSS2 PRIVATE KEY-----", *lines, "-----END TSS2 PRIVATE KEY-----", ""]).encode()
