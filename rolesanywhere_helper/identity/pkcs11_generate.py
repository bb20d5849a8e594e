"""A new key in a PKCS#11 token, which never leaves it: sensitive and not extractable, good for signatures only."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import pkcs11
from pkcs11 import Attribute, MechanismFlag

from rolesanywhere_helper.domain.pkcs11_uri import parse
from rolesanywhere_helper.errors import AmbiguousObjectError, UnsupportedKeyError, UnwritableFileError, UsageError
from rolesanywhere_helper.identity.pkcs11_module import failed, load_module
from rolesanywhere_helper.identity.pkcs11_token import PIN, TokenObject, removed, shown, tokens

if TYPE_CHECKING:
    from typing import Any

    from pkcs11._pkcs11 import lib

    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.domain.pkcs11_uri import Pkcs11Uri
    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.identity.pkcs11_token import Token

_RSA = "RSA-"
# As CKA_EC_PARAMS has them.
_CURVES = {
    "P-256": bytes.fromhex("06082a8648ce3d030107"),
    "P-384": bytes.fromhex("06052b81040022"),
    "P-521": bytes.fromhex("06052b81040023"),
}
_ID_BYTES = 8
_PRIVATE = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}


def generate(reference: IdentityReference, kind: str, access: Access) -> str:
    """Make a key pair in the token of the reference's private key, under its name, and return the URI that names it.

    ``kind`` is ``P-256``, ``P-384``, ``P-521``, ``RSA-2048``, ``RSA-3072`` or ``RSA-4096``.

    Raises:
        UsageError: the URI is malformed or gives no name (``object=``).
        UnsupportedKeyError: tokens have no such keys here.
        UnwritableFileError: there is a key of this name.
        AmbiguousObjectError: the URI fits several tokens.
        IdentityError: there is no such token, it refuses the PIN, or it does not make the key.

    """
    uri = parse(reference.private_key)
    if not uri.object:
        raise UsageError(
            "--out names no object in the token", "give the new key a name: pkcs11:token=my-token;object=host"
        )
    if kind not in _CURVES and not kind.startswith(_RSA):
        raise UnsupportedKeyError(f"a {kind} key is not made in a token", "use RSA or EC, or a file")
    if uri.pin is not None and reference.secret(PIN) is None:
        reference = replace(reference, secrets=(*reference.secrets, (PIN, uri.pin)))
    token = _token(load_module(reference.pkcs11_library, [uri]), uri)
    session = token.session  # a login lasts as long as there is one
    if token.asks_for_pin:
        token.log_in(reference, access)
    _refuse_existing(token, uri)
    object_id = uri.object_id or secrets.token_bytes(_ID_BYTES)
    try:
        _generate(token, kind, object_id, uri.object)
    except pkcs11.PKCS11Error as error:
        failed(error, f"the token {token.uri} does not make a {kind} key")
    del session
    return str(replace(token.uri, object=uri.object, object_id=object_id, type="private"))


def _token(module: lib, uri: Pkcs11Uri) -> Token:
    found = tokens(module, uri)
    if not found:
        raise removed(uri)
    if len(found) > 1:
        raise AmbiguousObjectError(
            f"{len(found)} tokens fit: {shown(tuple(str(each.uri) for each in found))}", "name one of them in --out"
        )
    return found[0]


def _refuse_existing(token: Token, uri: Pkcs11Uri) -> None:
    wanted = replace(uri, object_id=None)
    same: TokenObject | None = next((each for each in token.private_keys() if each.fits(wanted)), None)
    if same is not None:
        raise UnwritableFileError(
            f"the token has a key of this name already: {same.uri}", "give the new key another name: object=…"
        )


def _generate(token: Token, kind: str, object_id: bytes, label: str) -> None:
    named: dict[str, Any] = {"id": object_id, "label": label, "store": True, "private_template": _PRIVATE}
    can = MechanismFlag.SIGN | MechanismFlag.VERIFY
    with token.slot.get_token().open(rw=True) as session:
        if kind in _CURVES:
            curve = session.create_domain_parameters(
                pkcs11.KeyType.EC, {Attribute.EC_PARAMS: _CURVES[kind]}, local=True
            )
            curve.generate_keypair(capabilities=can, **named)
        else:
            bits = int(kind.removeprefix(_RSA))
            session.generate_keypair(pkcs11.KeyType.RSA, bits, capabilities=can, **named)
