"""The backend for certificates and keys in PKCS#11 tokens: smart cards, YubiKeys, HSMs, SoftHSM.

What may be named (RFC 7512 URIs):

====================  =================  ==========================================================================
``--certificate``     ``--private-key``  what is used
====================  =================  ==========================================================================
a URI                 a URI              the certificate and the key that they name
a URI                 nothing            the key in the certificate's token whose public half the certificate has
nothing               a URI              the certificate in the key's token that belongs to the key
a file                a URI              the file's leaf; more certificates in the token may be its chain
a URI                 a file             the token's certificate, without a PIN
====================  =================  ==========================================================================

A pair is recognised by the public key; by CKA_ID only where neither the key nor a public key object tells it and a
signature would cost a PIN. Further certificates in the token are taken for the chain.

Only one token is ever given the PIN. Before that everything is looked up without it, as far as the token lets one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.pkcs11_uri import Pkcs11Uri
from rolesanywhere_helper.errors import MissingExtraError, ObjectNotFoundError
from rolesanywhere_helper.identity import certificates as facts
from rolesanywhere_helper.identity import files
from rolesanywhere_helper.identity.material import Material

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.identity.material import PrivateHalf
    from rolesanywhere_helper.identity.pkcs11_search import Search
    from rolesanywhere_helper.identity.pkcs11_token import TokenCertificate


def material(reference: IdentityReference, access: Access) -> Material:
    """Find certificate and key.

    Raises:
        IdentityError: they are not there, not to be told apart, or the token does not give them.
        UsageError: a URI is malformed.
        UnsafeFileError: the library or a file could have been changed by others.

    """
    search = _search(reference, access)
    if search.certificate_uri is None:
        return _with_key_only(search, reference, access)
    candidates = search.certificates(search.certificate_uri)
    if search.key_uri is None and reference.private_key:
        half, warnings = files.signing_key(reference, access)
        return Material(_plain(candidates), half, _beside(candidates), warnings)
    if search.key_uri is None:
        token = search.only_token(candidates)
        candidates = tuple(each for each in candidates if each.token is token)
    else:
        token = search.token_of_key(search.key_uri, _plain(candidates))
    key = search.key(token, search.key_uri or Pkcs11Uri(), candidates)
    own = [each.certificate for each in candidates if facts.public_key(each.certificate) == key.public_key]
    if reference.use_latest_expiring:
        own.sort(key=facts.not_after, reverse=True)
    return Material(tuple(own) or _plain(candidates), key, _beside(candidates))


def signing_key(reference: IdentityReference, access: Access) -> tuple[PrivateHalf, tuple[str, ...]]:
    """Find the private key alone.

    Raises:
        IdentityError: it is not there, not to be told apart, or the token does not give it.
        UsageError: the URI is malformed.
        UnsafeFileError: the library could have been changed by others.

    """
    search = _search(replace(reference, certificate=""), access)
    uri = search.key_uri or Pkcs11Uri()
    token = search.token_of_key(uri, ())
    return search.key(token, uri, token.certificates()), ()


def certificates(reference: IdentityReference, access: Access) -> tuple[TokenCertificate, ...]:
    """Find every certificate that the reference's certificate may mean, without a PIN as far as that goes.

    Raises:
        ObjectNotFoundError, TokenError: there is none, or no such token.
        UsageError: the URI is malformed.
        UnsafeFileError: the library could have been changed by others.

    """
    search = _search(replace(reference, private_key=""), access)
    return search.certificates(search.certificate_uri or Pkcs11Uri())


def _with_key_only(search: Search, reference: IdentityReference, access: Access) -> Material:
    """Take the certificate from a file, or else from the key's token: there it is known by the key."""
    uri = search.key_uri or Pkcs11Uri()
    if reference.certificate:
        own = files.certificates(reference.certificate, access, reference.secrets)
        token = search.token_of_key(uri, own)
        return Material(own, search.key(token, uri, own), _plain(token.certificates()))
    token = search.token_of_key(uri, ())
    key = search.key(token, uri, token.certificates())
    here = _plain(token.certificates())
    if all(facts.public_key(each) != key.public_key for each in here):
        raise ObjectNotFoundError(
            f"no certificate in the token {token.uri} belongs to the key",
            "give it with --certificate FILE, or write it into the token: pkcs11-tool --write-object FILE --type cert",
        )
    return Material(here, key)


def _search(reference: IdentityReference, access: Access) -> Search:
    try:
        from rolesanywhere_helper.identity.pkcs11_search import Search  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError:
        raise MissingExtraError.named("a PKCS#11 token", "pkcs11") from None
    return Search(reference, access)


def _plain(found: Iterable[TokenCertificate]) -> tuple[x509.Certificate, ...]:
    return tuple(each.certificate for each in found)


def _beside(candidates: Iterable[TokenCertificate]) -> tuple[x509.Certificate, ...]:
    """Return everything in the tokens of these certificates."""
    places = {each.token.uri: each.token for each in candidates}
    return tuple(each for token in places.values() for each in _plain(token.certificates()))
