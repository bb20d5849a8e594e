"""The key files of TPM 2.0: a private key that only one TPM can open, as OpenSSL's providers and engines write it.

"ASN.1 Specification for TPM 2.0 Key Files" (Bottomley, 2021), PEM label ``TSS2 PRIVATE KEY``:

.. code-block:: text

    TPMKey ::= SEQUENCE {
        type        OBJECT IDENTIFIER,                              2.23.133.10.1.3, a loadable key
        emptyAuth   [0] EXPLICIT BOOLEAN OPTIONAL,
        policy      [1] EXPLICIT SEQUENCE OF TPMPolicy OPTIONAL,
        secret      [2] EXPLICIT OCTET STRING OPTIONAL,
        authPolicy  [3] EXPLICIT SEQUENCE OF TPMAuthPolicy OPTIONAL,
        description [4] EXPLICIT UTF8String OPTIONAL,
        rsaParent   [5] EXPLICIT BOOLEAN OPTIONAL,
        parent      INTEGER,
        pubkey      OCTET STRING,                                   TPM2B_PUBLIC
        privkey     OCTET STRING }                                  TPM2B_PRIVATE

A BOOLEAN is true unless it is 0: both OpenSSL's engine and its provider have written TRUE as 1, which DER forbids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import UnreadableKeyError, UnsupportedKeyError
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.identity import der

if TYPE_CHECKING:
    from rolesanywhere_helper.identity.der import Element

OWNER = 0x4000_0001
HIERARCHIES = frozenset({OWNER, 0x4000_0007, 0x4000_000B, 0x4000_000C})
"""Handles of the hierarchies that can have a primary key: owner, null, endorsement, platform (TPM 2.0 part 2, 7.4)."""

_PERSISTENT = range(0x8100_0000, 0x8200_0000)
_BOOLEAN = 0x01
_FIRST_OPTION = 0xA0
_EMPTY_AUTH, _POLICY, _SECRET, _AUTH_POLICY, _RSA_PARENT = 0xA0, 0xA1, 0xA2, 0xA3, 0xA5
_LAST_OPTION = 0xA5
_TYPE = bytes.fromhex("678105")  # 2.23.133, the Trusted Computing Group
_LOADABLE, _IMPORTABLE, _SEALED = (_TYPE + bytes((10, 1, number)) for number in (3, 4, 5))
_OTHER_TYPES = {_IMPORTABLE: "to be imported into a TPM", _SEALED: "sealed data, and no key"}
_SIZE_OCTETS = 2


@dataclass(frozen=True, slots=True)
class Tss2Key:
    """A key file's content.

    ``parent`` is the handle of the key that opens it: a persistent one, or a hierarchy, whose primary key is then made
    anew: an RSA one if ``rsa_parent``. ``public`` and ``private`` are TPM2B structures, their size first.
    ``empty_auth`` says that there is no password; where the file does not say, there may be none either.
    """

    empty_auth: bool
    parent: int
    rsa_parent: bool
    public: bytes = field(repr=False)
    private: bytes = field(repr=False)


def parse(encoded: bytes, shown: str) -> Tss2Key:
    """Read what a ``TSS2 PRIVATE KEY`` block holds; ``shown`` names its place in errors.

    Raises:
        UnsupportedKeyError: it is no key that can be loaded as it is, or it is bound to a policy.
        UnreadableKeyError: it is broken.

    """
    try:
        kind, *fields = der.outer(encoded, der.OBJECT_IDENTIFIER)
        _check_type(kind.content, shown)
        options, (parent, public, private, *_) = _options(fields)
        key = Tss2Key(
            empty_auth=_truth(options.get(_EMPTY_AUTH)),
            parent=der.number(parent) & 0xFFFF_FFFF,  # some write 0x81…… as a negative number
            rsa_parent=_truth(options.get(_RSA_PARENT)),
            public=_sized(public),
            private=_sized(private),
        )
    except ValueError:
        raise UnreadableKeyError(f"the TPM key in {shown} is broken") from None
    _check_usable(options, key, shown)
    return key


def _check_type(kind: bytes, shown: str) -> None:
    if kind != _LOADABLE:
        what = _OTHER_TYPES.get(kind, "of an unknown type")
        raise UnsupportedKeyError(
            f"the TPM key in {shown} is {what}", "make a key that the TPM can load: openssl genpkey -provider tpm2 …"
        )


def _options(fields: list[Element]) -> tuple[dict[int, Element], list[Element]]:
    options: dict[int, Element] = {}
    rest = list(fields)
    while rest and _FIRST_OPTION <= rest[0].tag <= _LAST_OPTION:
        found = rest.pop(0)
        options[found.tag] = found
    return options, rest


def _truth(option: Element | None) -> bool:
    if option is None:
        return False
    (found,) = der.elements(option.content)
    if found.tag != _BOOLEAN or len(found.content) != 1:
        raise ValueError("not a BOOLEAN")
    return found.content != b"\0"


def _sized(element: Element) -> bytes:
    size = len(element.content) - _SIZE_OCTETS
    if element.tag != der.OCTET_STRING or int.from_bytes(element.content[:_SIZE_OCTETS], "big") != size:
        raise ValueError("not a TPM2B structure")
    return element.content


def _check_usable(options: dict[int, Element], key: Tss2Key, shown: str) -> None:
    if _POLICY in options or _AUTH_POLICY in options:
        raise UnsupportedKeyError(
            f"the TPM key in {shown} is bound to a policy", "use a key with a password, or without one"
        )
    if _SECRET in options:
        raise UnsupportedKeyError(
            f"the TPM key in {shown} is to be imported into a TPM", "load it with the tool that made it, and save it"
        )
    if key.parent not in HIERARCHIES and key.parent not in _PERSISTENT:
        raise UnsupportedKeyError(
            f"the TPM key in {shown} has a parent that does not last: 0x{key.parent:08x}",
            "make it below a persistent key, or below the owner's hierarchy",
        )
