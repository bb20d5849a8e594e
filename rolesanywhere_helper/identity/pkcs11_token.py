"""The tokens of a PKCS#11 library, and what lies in them: certificates, keys, and their names.

A token is asked for its PIN at most once, and never more than one token: the PIN of one would count as a wrong one in
another.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pkcs11
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, ObjectClass, TokenFlag
from pkcs11 import exceptions as said

from rolesanywhere_helper.domain.pkcs11_uri import Pkcs11Uri
from rolesanywhere_helper.errors import EncryptedKeyError, PinRefusedError, TokenError
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.identity.pin_guard import one_attempt, read_pin
from rolesanywhere_helper.identity.pkcs11_module import failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
    from pkcs11._pkcs11 import lib

    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.identity.access import Access

PIN = "pkcs11-pin"
REFUSED = (said.PinIncorrect, said.PinInvalid, said.PinLenRange, said.PinExpired, said.PinLocked)
"""What a token says to a PIN that it has looked at."""
NOT_JUDGED = (
    *(said.DeviceRemoved, said.TokenNotPresent, said.TokenNotRecognised, said.SessionHandleInvalid, said.SessionClosed),
    *(said.UserPinNotInitialized, said.UserAlreadyLoggedIn, said.AnotherUserAlreadyLoggedIn, said.OperationActive),
    *(said.FunctionNotSupported, said.FunctionCancelled, said.HostMemory, said.ArgumentsBad),
)
"""What it says when it did not."""
_LOW = TokenFlag.USER_PIN_COUNT_LOW | TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED
# 1.2.840.10045.3.1.7, 1.3.132.0.34 and 1.3.132.0.35 in DER, as CKA_EC_PARAMS has them.
_CURVES: dict[bytes, ec.EllipticCurve] = {
    bytes.fromhex("06082a8648ce3d030107"): ec.SECP256R1(),
    bytes.fromhex("06052b81040022"): ec.SECP384R1(),
    bytes.fromhex("06052b81040023"): ec.SECP521R1(),
}
# The lengths of an uncompressed point of these.
_BARE_POINTS = frozenset({65, 97, 133})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenObject:
    """One object, and how it is called."""

    token: Token = field(repr=False)
    handle: Any = field(repr=False)
    object_id: bytes
    label: str
    type: str

    @property
    def uri(self) -> str:
        """The URI that names it."""
        uri = replace(self.token.uri, object_id=self.object_id or None, object=self.label or None, type=self.type)
        return str(uri)

    def fits(self, uri: Pkcs11Uri) -> bool:
        """Tell whether a URI may mean this object."""
        return uri.object in {None, self.label} and uri.object_id in {None, self.object_id}

    def attribute(self, name: Attribute) -> Any:
        """Return the value of an attribute, or None where the token does not tell it."""
        return _attribute(self.handle, name)


@dataclass(frozen=True, slots=True)
class TokenCertificate(TokenObject):
    """An X.509 certificate in a token."""

    certificate: x509.Certificate = field(repr=False)


class Token:
    """One token that is there, looked at without a PIN until :meth:`log_in`."""

    def __init__(self, found: pkcs11.Token) -> None:
        self._found = found
        self._session: pkcs11.Session | None = None
        self.uri = Pkcs11Uri(
            token=found.label or None,
            serial=_shown_serial(found.serial) or None,
            manufacturer=found.manufacturer_id or None,
            model=found.model or None,
        )
        self.slot = found.slot

    @property
    def flags(self) -> TokenFlag:
        """What the token says of itself, asked again each time."""
        try:
            return self.slot.get_token().flags
        except pkcs11.PKCS11Error as error:
            failed(error, f"the token {self.uri} does not answer")

    @property
    def is_count_low(self) -> bool:
        """Whether it says that few attempts with a PIN are left, or none."""
        return bool(self.flags & _LOW)

    @property
    def asks_for_pin(self) -> bool:
        """Whether its private objects are seen only after a login."""
        return bool(self.flags & TokenFlag.LOGIN_REQUIRED)

    def certificates(self) -> tuple[TokenCertificate, ...]:
        """Return every X.509 certificate that can be seen; one that cannot be read is left out."""
        return tuple(self._certificates())

    def private_keys(self) -> tuple[TokenObject, ...]:
        """Return the RSA and EC private keys that can be seen."""
        kinds = {pkcs11.KeyType.RSA, pkcs11.KeyType.EC}
        return tuple(
            each
            for each in self._objects(ObjectClass.PRIVATE_KEY, "private")
            if each.attribute(Attribute.KEY_TYPE) in kinds
        )

    def public_half(self, key: TokenObject) -> CertificatePublicKeyTypes | None:
        """Return the public half of a private key, as the token tells it: by the key itself or its public key."""
        others = (
            each
            for each in self._objects(ObjectClass.PUBLIC_KEY, "public")
            if each.object_id == key.object_id and (key.object_id or each.label == key.label)
        )
        for candidate in (key, *others):
            found = _public_key(candidate)
            if found is not None:
                return found
        return None

    def has_mechanism(self, mechanism: pkcs11.Mechanism) -> bool:
        """Tell whether the token can do something; one that does not tell is believed to."""
        try:
            return mechanism in self.slot.get_mechanisms()
        except (pkcs11.PKCS11Error, ValueError):
            return True

    def log_in(self, reference: IdentityReference, access: Access) -> None:
        """Give the token its PIN, once (promise 57).

        Raises:
            EncryptedKeyError: nobody said where the PIN is.
            PinRefusedError: it was refused, now or before.
            TokenError: the token did not look at it.

        """
        flags = self.flags
        self.refuse_if_locked(flags)
        pin = read_pin(PIN, reference, access)
        if pin is None:
            if flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH:
                self._log_in_on_its_own(pkcs11.PROTECTED_AUTH)
                return
            raise EncryptedKeyError(
                f"the token {self.uri} asks for its PIN",
                "give it with --pkcs11-pin-file FILE, or pin-source=file:/PATH at the end of the URI",
                needs=PIN,
            )
        with one_attempt(access, self.lock, pin, is_count_low=self.is_count_low) as attempt:
            self.try_pin(lambda: self._log_in_on_its_own(pin.text), attempt.was_not_judged, pin.hint)

    @property
    def lock(self) -> str:
        """What a PIN opens here, for the records: the token with its serial number; the PIN is not the key's."""
        return str(self.uri)

    def refuse_if_locked(self, flags: TokenFlag | None = None) -> None:
        """Refuse to try anything on a token whose PIN is locked.

        Raises:
            PinRefusedError: it is.

        """
        if (self.flags if flags is None else flags) & TokenFlag.USER_PIN_LOCKED:
            raise PinRefusedError(f"the PIN of the token {self.uri} is locked", _UNLOCK)

    def try_pin(self, attempt: Callable[[], None], was_not_judged: Callable[[], None], hint: str) -> None:
        """Call what gives the token a PIN, and say what came of it.

        Raises:
            PinRefusedError: the PIN was refused.
            TokenError: the token did not look at it, or does not say whether it did.

        """
        try:
            attempt()
        except said.PinLocked as error:
            raise PinRefusedError(f"the PIN of the token {self.uri} is locked", _UNLOCK) from error
        except REFUSED as error:
            raise PinRefusedError(f"the token {self.uri} refused the PIN ({type(error).__name__})", hint) from error
        except pkcs11.PKCS11Error as error:
            if isinstance(error, NOT_JUDGED):
                was_not_judged()
            failed(error, f"the token {self.uri} cannot be logged in to")

    def _log_in_on_its_own(self, pin: Any) -> None:
        # The login is the token's, not the session's: the one that is open gains it too.
        try:
            self._found.open(user_pin=pin)
        except said.UserAlreadyLoggedIn:
            return

    @property
    def session(self) -> pkcs11.Session:
        """A session with the token."""
        if self._session is None:
            try:
                self._session = self._found.open()
            except pkcs11.PKCS11Error as error:
                failed(error, f"the token {self.uri} cannot be opened")
        return self._session

    def _certificates(self) -> Iterator[TokenCertificate]:
        for each in self._objects(ObjectClass.CERTIFICATE, "cert"):
            value = each.attribute(Attribute.VALUE)
            if not value:
                continue  # an attribute certificate, or one whose value lies elsewhere (CKA_URL)
            try:
                certificate = x509.load_der_x509_certificate(value)
            except (ValueError, x509.InvalidVersion):
                _log.debug("a certificate cannot be read: %s", each.uri)
                continue
            yield TokenCertificate(each.token, each.handle, each.object_id, each.label, each.type, certificate)

    def _objects(self, kind: ObjectClass, name: str) -> tuple[TokenObject, ...]:
        try:
            found = list(self.session.get_objects({Attribute.CLASS: kind}))
        except pkcs11.PKCS11Error as error:
            failed(error, f"the objects of the token {self.uri} cannot be listed")
        objects = (
            TokenObject(
                self,
                each,
                bytes(_attribute(each, Attribute.ID) or b""),
                _label(_attribute(each, Attribute.LABEL)),
                name,
            )
            for each in found
        )
        return tuple(sorted(objects, key=lambda each: (each.object_id, each.label)))  # tokens list them in any order


_UNLOCK = (
    "unlock it with the token's own tool and its SO PIN or PUK (pkcs11-tool --login --login-type so --init-pin); "
    "nothing is tried before"
)


def tokens(module: lib, uri: Pkcs11Uri) -> tuple[Token, ...]:
    """Return the tokens that are there and that a URI may mean, in the order of their slots.

    Raises:
        TokenError: the library does not answer.

    """
    try:
        slots = module.get_slots(token_present=True)
    except pkcs11.PKCS11Error as error:
        failed(error, "the slots of the PKCS#11 library cannot be listed")
    found: list[Token] = []
    for slot in slots:
        try:
            token = slot.get_token()
        except pkcs11.PKCS11Error as error:  # taken out in between, or nothing that can be read
            _log.debug("slot %d has no token that answers: %s", slot.slot_id, type(error).__name__)
            continue
        if token.flags & TokenFlag.TOKEN_INITIALIZED and _fits(token, uri):
            found.append(Token(token))
    return tuple(found)


def shown(found: tuple[str, ...], most: int = 12) -> str:
    """List URIs in an error: each one can be copied, and no more than can be read."""
    more = f", and {len(found) - most} more" if len(found) > most else ""
    return " , ".join(found[:most]) + more


def removed(uri: Pkcs11Uri) -> TokenError:
    """Return the error for a token that is not there."""
    return TokenError(
        f"no token fits {replace(uri, object=None, object_id=None, type=None)}",
        "plug it in, or look which ones there are: rolesanywhere-helper read-certificate-data --certificate pkcs11:",
    )


def _fits(token: pkcs11.Token, uri: Pkcs11Uri) -> bool:
    slot = token.slot
    pairs = (
        (uri.token, token.label),
        (uri.serial, _shown_serial(token.serial)),
        (uri.manufacturer, token.manufacturer_id),
        (uri.model, token.model),
        (uri.slot_description, slot.slot_description),
        (uri.slot_manufacturer, slot.manufacturer_id),
    )
    texts_fit = all(wanted is None or wanted.rstrip() == found.rstrip() for wanted, found in pairs)
    return texts_fit and uri.slot_id in {None, slot.slot_id}


def _shown_serial(serial: bytes) -> str:
    return serial.decode("utf-8", "replace").strip("\0 ")


def _label(value: object) -> str:
    return value if isinstance(value, str) else ""


def _attribute(handle: Any, name: Attribute) -> Any:
    """Read an attribute of an object; None for one that it does not have, or that has no meaning."""
    try:
        return handle[name]
    except (pkcs11.PKCS11Error, ValueError, LookupError, NotImplementedError):
        return None


def _public_key(found: TokenObject) -> CertificatePublicKeyTypes | None:
    """Make a public key of the attributes of a private or public key object, if they tell it."""
    modulus, exponent = found.attribute(Attribute.MODULUS), found.attribute(Attribute.PUBLIC_EXPONENT)
    try:
        if modulus and exponent:
            numbers = rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))
            return numbers.public_key()
        curve = _CURVES.get(bytes(found.attribute(Attribute.EC_PARAMS) or b""))
        point = found.attribute(Attribute.EC_POINT)
        if curve is not None and point:
            return ec.EllipticCurvePublicKey.from_encoded_point(curve, _point(bytes(point)))
    except ValueError:
        return None
    return None


def _point(value: bytes) -> bytes:
    """Take a point out of its OCTET STRING; older tokens give the bare point."""
    if len(value) in _BARE_POINTS:
        return value
    header = 3 if value[1:2] == b"\x81" else 2
    return value[header:]
