"""Looking through the tokens of a PKCS#11 library for the certificate and the key of one identity."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute

from rolesanywhere_helper.domain import pkcs11_uri
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.domain.pkcs11_uri import SCHEME, Pkcs11Uri
from rolesanywhere_helper.errors import (
    AmbiguousObjectError,
    EncryptedKeyError,
    IdentityError,
    KeyMismatchError,
    ObjectNotFoundError,
)
from rolesanywhere_helper.identity import certificates as facts
from rolesanywhere_helper.identity.pin_guard import Pin, read_pin
from rolesanywhere_helper.identity.pkcs11_key import RawKey, TokenKey, verified
from rolesanywhere_helper.identity.pkcs11_module import load_module
from rolesanywhere_helper.identity.pkcs11_token import (
    PIN,
    Token,
    TokenCertificate,
    TokenObject,
    removed,
    shown,
    tokens,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cryptography import x509

    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.identity.access import Access

_PIN_AGAIN = "pkcs11-key-pin"
_PROOF = b"rolesanywhere-helper: which certificate belongs to this key?"


class Search:
    """The tokens of one library, looked through for one identity."""

    def __init__(self, reference: IdentityReference, access: Access) -> None:
        # Without their types: each flag has its own.
        self.certificate_uri = _uri(reference.certificate)
        self.key_uri = _uri(reference.private_key)
        uris = tuple(each for each in (self.key_uri, self.certificate_uri) if each is not None)
        pins = [each.pin for each in uris if each.pin is not None]
        if pins and reference.secret(PIN) is None:  # the configuration has usually taken it out already
            reference = replace(reference, secrets=(*reference.secrets, (PIN, pins[0])))
        self._reference = reference
        self._access = access
        self._module = load_module(reference.pkcs11_library, uris)
        self._open: dict[int, Token] = {}
        self._logged_in: Token | None = None

    def certificates(self, uri: Pkcs11Uri) -> tuple[TokenCertificate, ...]:
        """Return the certificates that fit a URI; there is at least one."""
        found = self._present(uri)
        seen = [each for token in found for each in token.certificates()]
        if not any(each.fits(uri) for each in seen) and len(found) == 1 and found[0].asks_for_pin and self._knows_pin:
            self._log_in(found[0])  # a few tokens hide their certificates too
            seen = list(found[0].certificates())
        fitting = tuple(each for each in seen if each.fits(uri))
        if not fitting:
            raise _nothing("certificate", uri, found, seen)
        return fitting

    def token_of_key(self, uri: Pkcs11Uri, own: Iterable[x509.Certificate]) -> Token:
        """Return the one token in which a key must be, by what can be seen without a PIN.

        Raises:
            TokenError: there is none.
            AmbiguousObjectError: there are several.

        """
        found = self._present(uri)
        known = set(own)
        by_key = [token for token in found if any(each.fits(uri) for each in token.private_keys())]
        by_certificate = [
            token
            for token in found
            if any(each.certificate in known or (not known and each.fits(uri)) for each in token.certificates())
        ]
        for narrowed in (found, by_key, by_certificate):
            if len(narrowed) == 1:
                return narrowed[0]
        raise _ambiguous("token", [str(each.uri) for each in by_key or by_certificate or found])

    @staticmethod
    def only_token(candidates: tuple[TokenCertificate, ...]) -> Token:
        """Return the token of the certificates; one that has nothing but CAs does not count.

        Raises:
            AmbiguousObjectError: there are several.

        """
        leaves = [each for each in candidates if not facts.is_ca(each.certificate)] or list(candidates)
        if len({each.token.uri for each in leaves}) > 1:
            raise _ambiguous("certificate", [each.uri for each in leaves])
        return leaves[0].token

    def key(
        self, token: Token, uri: Pkcs11Uri, candidates: Sequence[TokenCertificate] | Sequence[x509.Certificate]
    ) -> TokenKey:
        """Return the key that a URI means; of several the one that a certificate belongs to.

        Raises:
            IdentityError: there is none, or more than one.

        """
        raws = self._raw_keys(token, uri)
        own = [each.certificate if isinstance(each, TokenCertificate) else each for each in candidates]
        made = [(raw, self._whole(raw, own)) for raw in raws]
        found = {key.public_bytes: (raw, key) for raw, key in made if key is not None}
        publics = [facts.public_key(each) for each in own]
        fitting = [pair for pair in found.values() if pair[1].public_key in publics] or list(found.values())
        if len(fitting) > 1 and self._reference.use_latest_expiring:
            latest = sorted(own, key=facts.not_after, reverse=True)
            known = [pair for each in latest for pair in fitting if pair[1].public_key == facts.public_key(each)]
            fitting = known[:1] or fitting
        if len(fitting) > 1:
            names = [each for _, key in fitting for each in _names_of(key, candidates)]
            raise _ambiguous("identity", names or [raw.found.uri for raw, _ in fitting])
        if not fitting:
            raise _no_pair(own, raws)
        return fitting[0][1]

    def _raw_keys(self, token: Token, uri: Pkcs11Uri) -> list[RawKey]:
        """Return the private keys of a token that fit, after a login where one is needed; there is at least one."""
        seen = [each for each in token.private_keys() if each.fits(uri)]
        is_open = bool(seen) and all(each.attribute(Attribute.PRIVATE) is False for each in seen)
        if token.asks_for_pin and not is_open:
            self._log_in(token)
            seen = [each for each in token.private_keys() if each.fits(uri)]
        if not seen:
            raise _nothing("private key", uri, (token,), [*token.private_keys(), *token.certificates()])
        return [self._raw(each) for each in seen]

    def _raw(self, found: TokenObject) -> RawKey:
        is_rsa = found.attribute(Attribute.KEY_TYPE) == pkcs11.KeyType.RSA
        asks = found.attribute(Attribute.ALWAYS_AUTHENTICATE) is True
        return RawKey(
            found, KeyType.RSA if is_rsa else KeyType.EC, self._access, self._pin_reader(found) if asks else None
        )

    def _pin_reader(self, found: TokenObject) -> Callable[[], Pin]:
        def read() -> Pin:
            name = PIN if self._reference.reuse_pin else _PIN_AGAIN
            pin = read_pin(name, self._reference, self._access)
            if pin is None:
                raise EncryptedKeyError(
                    f"the key {found.uri} asks for the PIN before every signature",
                    "give --reuse-pin, so that the PIN that is known is given each time",
                    needs=name,
                )
            return pin

        return read

    def _whole(self, raw: RawKey, own: Sequence[x509.Certificate]) -> TokenKey | None:
        """Put a key together with its public half: as the token tells it, or as a signature shows it."""
        public = raw.found.token.public_half(raw.found)
        if isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            return TokenKey(raw, public)
        here = raw.found.token.certificates()
        same_id = [each.certificate for each in here if each.object_id and each.object_id == raw.found.object_id]
        halves = [
            half
            for half in map(facts.public_key, (*own, *same_id))
            if isinstance(half, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        ]
        if raw.asks_each_time and not self._reference.reuse_pin:
            named = [half for half in map(facts.public_key, same_id) if half in halves]
            fitting = [half for half in halves if half in named] or halves
        else:
            proof = raw.sign(_PROOF, "SHA256") if halves else b""
            fitting = [half for half in halves if verified(proof, _PROOF, "SHA256", half) is not None]
        return TokenKey(raw, fitting[0]) if fitting else None

    def _present(self, uri: Pkcs11Uri) -> tuple[Token, ...]:
        found = tuple(self._open.setdefault(each.slot.slot_id, each) for each in tokens(self._module, uri))
        if not found:
            raise removed(uri)
        return found

    @property
    def _knows_pin(self) -> bool:
        return self._reference.secret(PIN) is not None or PIN in self._access.secrets

    def _log_in(self, token: Token) -> None:
        if self._logged_in is not token:
            token.log_in(self._reference, self._access)
            self._logged_in = token


def _uri(reference: str) -> Pkcs11Uri | None:
    return replace(pkcs11_uri.parse(reference), type=None) if scheme_of(reference) == SCHEME else None


def _names_of(key: TokenKey, candidates: Iterable[object]) -> list[str]:
    found = [each for each in candidates if isinstance(each, TokenCertificate)]
    return [each.uri for each in found if facts.public_key(each.certificate) == key.public_key][:1]


def _ambiguous(what: str, uris: list[str]) -> AmbiguousObjectError:
    return AmbiguousObjectError(
        f"more than one {what} fits what was asked for", f"name one of: {shown(tuple(dict.fromkeys(uris)))}"
    )


def _nothing(what: str, uri: Pkcs11Uri, searched: Iterable[Token], there: Sequence[TokenObject]) -> ObjectNotFoundError:
    where = shown(tuple(str(each.uri) for each in searched))
    hint = f"there is: {shown(tuple(each.uri for each in there))}" if there else "nothing can be seen in it"
    return ObjectNotFoundError(f"no {what} fits {uri} in {where}", hint)


def _no_pair(own: Sequence[x509.Certificate], keys: Sequence[RawKey]) -> IdentityError:
    names = shown(tuple(each.found.uri for each in keys))
    if own:
        subject = facts.subject(min(own, key=facts.is_ca))
        return KeyMismatchError(f"the private key does not belong to the certificate {subject}", f"there is: {names}")
    return ObjectNotFoundError(
        f"the token does not tell the public half of {names}",
        "write the certificate or the public key into the token, with the id of the key",
    )
