"""The backend for keys in a TPM 2.0: persistent ones (``handle:0x81…``), and files that only one TPM can open.

A file holds the key wrapped by another one, its parent (:mod:`rolesanywhere_helper.identity.tss2_pem`). The key is
loaded for one signature and flushed again; nothing of it is ever in this process. Its public half is read without the
TPM.

=========================  ==========================================================================================
``--private-key FILE``     a block ``TSS2 PRIVATE KEY`` among others
``--private-key handle:``  a persistent handle, 0x81000000 to 0x81ffffff
``--certificate handle:``  an NV index, 0x01000000 to 0x01ffffff, that everybody may read; PEM or DER
=========================  ==========================================================================================

Which TPM it is says the first of ``TPM2TOOLS_TCTI``, ``TPM2TSS_TCTI`` and ``TCTI``, as for the tpm2 tools; without them
it is ``/dev/tpmrm0``.

A TPM counts wrong passwords and locks itself, unless key or parent has the attribute noda. Such a password is tried
once and not again (:mod:`rolesanywhere_helper.identity.pin_guard`), an empty one too.
"""

from __future__ import annotations

import hashlib
import os
import string
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import (
    EncryptedKeyError,
    IdentityError,
    InvalidParameterError,
    MissingExtraError,
    PinRefusedError,
    TokenError,
    UsageError,
    WrongSecretError,
)
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.identity import certificates as facts
from rolesanywhere_helper.identity import files, tss2_pem
from rolesanywhere_helper.identity.material import Material
from rolesanywhere_helper.identity.pin_guard import Pin, one_attempt, read_pin
from rolesanywhere_helper.system.clocks import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import TypeVar

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
    from tpm2_pytss import ESYS_TR

    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.domain.ports import Clock
    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.identity.material import PrivateHalf
    from rolesanywhere_helper.identity.tpm_public import Public
    from rolesanywhere_helper.identity.tpm_session import Lockout, Tpm
    from rolesanywhere_helper.identity.tss2_pem import Tss2Key

    _Result = TypeVar("_Result")

KEY_PASSWORD, PARENT_PASSWORD = "tpm-key-password", "tpm-parent-password"
DEFAULT_TCTI = "device:/dev/tpmrm0"

_SCHEME = "handle"
_LONG_SEQUENCE = b"\x30\x82"  # DER of 256 to 65535 octets, as every certificate is
_TCTI_VARIABLES = ("TPM2TOOLS_TCTI", "TPM2TSS_TCTI", "TCTI")
_PERSISTENT = range(0x8100_0000, 0x8200_0000)
_NV_INDICES = range(0x0100_0000, 0x0200_0000)
_NO_PASSWORD = Pin("", "no password", "")
_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384,
    "SHA512": hashes.SHA512,
}


def material(reference: IdentityReference, access: Access) -> Material:
    """Find the certificate, which may be a file or in the TPM, and the key.

    Raises:
        MissingExtraError: the library for TPMs is not installed.
        UsageError: this is no handle.
        IdentityError: certificate or key cannot be found or used.

    """
    found = certificates(reference, access)
    if scheme_of(reference.private_key) == _SCHEME:
        return Material(found, _persistent(reference, access))
    key, warnings = files.signing_key(reference, access)
    return Material(found, key, warnings=warnings)


def signing_key(reference: IdentityReference, access: Access) -> tuple[PrivateHalf, tuple[str, ...]]:
    """Find a persistent key alone.

    Raises:
        MissingExtraError: the library for TPMs is not installed.
        UsageError: this is no handle.
        IdentityError: there is no key, or it cannot be used.

    """
    return _persistent(reference, access), ()


def certificates(reference: IdentityReference, access: Access) -> tuple[x509.Certificate, ...]:
    """Read certificates, from an NV index of the TPM or from where else they are; there is at least one.

    Raises:
        MissingExtraError: the library for TPMs is not installed.
        UsageError: this is no handle.
        IdentityError: there is none, or one of them is broken.

    """
    place = reference.certificate
    if scheme_of(place) != _SCHEME:
        return files.certificates(place, access, reference.secrets)
    index = _handle(place, _NV_INDICES, "certificate", "an NV index: handle:0x01…")
    content = _in_conversation(access, SystemClock(), lambda tpm: tpm.stored(index))
    return facts.require_certificates(_without_padding(content), f"handle:0x{index:08x}")


def from_pem(block: bytes, reference: IdentityReference, access: Access) -> PrivateHalf:
    """Take a key out of the content (DER) of a ``TSS2 PRIVATE KEY`` block.

    Raises:
        MissingExtraError: the library for TPMs is not installed.
        EncryptedKeyError: the key has a password, and it was not given.
        IdentityError: the key is broken, or cannot be used.

    """
    place = reference.private_key or reference.certificate
    place = "command:…" if scheme_of(place) == "command" else place  # whose words may be secret
    shown = f"in {place}"
    wrapped = tss2_pem.parse(block, place)
    _library()
    from rolesanywhere_helper.identity.tpm_public import read_public  # noqa: PLC0415 - loads the library

    key = TpmKey(read_public(wrapped.public, shown), _Secrets(reference, access, wrapped.empty_auth), wrapped=wrapped)
    key.public.check()
    key.ask()
    return key


@dataclass(frozen=True, slots=True)
class _Secrets:
    """Where the passwords of a key and its parent come from.

    ``empty_auth`` if its file says that the key has none. It may be wrong: tpm2_encodeobject has said the opposite in
    all its versions until 5.7 (tpm2-tools, #3458). So a password that is given is used, and without one an empty one.
    """

    reference: IdentityReference
    access: Access = field(repr=False)
    empty_auth: bool

    def read(self, name: str) -> Pin | None:
        if name == KEY_PASSWORD and self.reference.no_tpm_key_password:
            return None
        return read_pin(name, self.reference, self.access)

    def is_missing(self) -> bool:
        """Tell whether nothing is known about the key's password."""
        is_given = KEY_PASSWORD in self.access.secrets or self.reference.secret(KEY_PASSWORD) is not None
        return not (is_given or self.empty_auth or self.reference.no_tpm_key_password)

    def error(self, name: str, what: str) -> IdentityError:
        """Say that there is a password, though none was given."""
        if name == KEY_PASSWORD and self.reference.no_tpm_key_password:
            return WrongSecretError(
                f"{what} has a password", f"give it in the place of --no-{name}: --{name}-file FILE"
            )
        hint = f"give it with --{name}-file FILE"
        if name == KEY_PASSWORD:
            hint = f"{hint}; if there is none: --no-{name}"
        return EncryptedKeyError(f"{what} has a password, and it was not given", hint, needs=name)


@dataclass(frozen=True, slots=True)
class TpmKey:
    """A key of a TPM (:class:`rolesanywhere_helper.identity.material.PrivateHalf`).

    It lies there at ``handle``, or is loaded out of ``wrapped`` for each signature.
    """

    public: Public
    _secrets: _Secrets = field(repr=False)
    handle: int | None = None
    wrapped: Tss2Key | None = field(default=None, repr=False)
    _clock: Clock = field(default_factory=SystemClock, repr=False)

    @property
    def key_type(self) -> KeyType:
        """The key's type."""
        return KeyType.RSA if isinstance(self.public.key, rsa.RSAPublicKey) else KeyType.EC

    @property
    def public_key(self) -> CertificatePublicKeyTypes:
        """The public half."""
        return self.public.key

    @property
    def public_bytes(self) -> bytes:
        """The public half: PKCS#1 DER for RSA, the uncompressed point for EC."""
        if isinstance(self.public.key, rsa.RSAPublicKey):
            return self.public.key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        return self.public.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def sign(self, message: bytes, digest: str = "SHA256") -> bytes:
        """Sign a whole message: RSA PKCS#1 v1.5, or ECDSA as DER; ``digest`` is SHA256, SHA384 or SHA512.

        Raises:
            EncryptedKeyError: key or parent has a password, and it was not given.
            WrongSecretError, PinRefusedError: a password is wrong.
            TokenError: the TPM cannot be used, or its signature does not verify.
            InvalidParameterError: there is no such digest, or the key does not sign with it.
            IdentityError: the key cannot be used.

        """
        if digest not in _HASHES:
            raise InvalidParameterError(f"there is no digest {digest!a}", f"use one of {', '.join(_HASHES)}")
        hashed = hashlib.new(digest.lower(), message).digest()
        number, scheme = self.public.to_sign(hashed, digest)
        # Who waits for the turn of another attempt holds none of the TPM's few places for keys meanwhile.
        signature = self._with_password(
            KEY_PASSWORD,
            _Lock(f"TPM key {self.public.name}", f"the TPM key {self.public.shown}", self.public.locks),
            lambda: self._talk(lambda tpm: tpm.lockout()),
            lambda password: self._talk(lambda tpm: self._sign(tpm, number, scheme, password)),
        )
        self._verify(signature, message, _HASHES[digest]())
        return signature

    def ask(self) -> None:
        """Make sure that the password is given, if there is one.

        A file says whether its key has one; for a persistent key a signature is tried, if nothing is known.

        Raises:
            EncryptedKeyError: there is one, and it was not given.
            IdentityError: the key cannot be used.

        """
        if not self._secrets.is_missing():
            return
        if self.wrapped is not None:
            raise self._secrets.error(KEY_PASSWORD, f"the TPM key {self.public.shown}")
        self.sign(b"rolesanywhere-helper: has this key a password?")

    def _talk(self, talk: Callable[[Tpm], _Result]) -> _Result:
        return _in_conversation(self._secrets.access, self._clock, talk)

    def _sign(self, tpm: Tpm, number: bytes, scheme: tuple[int, int], password: bytes) -> bytes:
        if self.wrapped is None:
            key, _ = tpm.persistent(self.handle or 0)
            return tpm.sign(key, number, scheme, password, None)
        parent, key = self._load(tpm, self.wrapped)
        return tpm.sign(key, number, scheme, password, parent)

    def _load(self, tpm: Tpm, wrapped: Tss2Key) -> tuple[ESYS_TR, ESYS_TR]:
        """Return the parent and the key, loaded."""
        if wrapped.parent not in tss2_pem.HIERARCHIES:
            return self._load_below_key(tpm, wrapped)
        # Older engines made an RSA parent where the file does not say so.
        for is_rsa in (True,) if wrapped.rsa_parent or not tpm.has_ecc() else (False, True):
            parent = self._primary(tpm, wrapped.parent, is_rsa=is_rsa)
            key = tpm.load(wrapped, parent, b"")
            if key is not None:
                return parent, key
            tpm.discard(parent)
        raise self._foreign()

    def _primary(self, tpm: Tpm, hierarchy: int, *, is_rsa: bool) -> ESYS_TR:
        return self._with_password(
            PARENT_PASSWORD,
            _Lock(f"TPM hierarchy 0x{hierarchy:08x}", f"the TPM's hierarchy 0x{hierarchy:08x}", counts=False),
            tpm.lockout,
            lambda password: tpm.primary(hierarchy, password, rsa=is_rsa),
        )

    def _load_below_key(self, tpm: Tpm, wrapped: Tss2Key) -> tuple[ESYS_TR, ESYS_TR]:
        parent, public = tpm.persistent(wrapped.parent)
        key = self._with_password(
            PARENT_PASSWORD,
            _Lock(f"TPM key {public.name}", f"the parent of the TPM key {self.public.shown}", public.locks),
            tpm.lockout,
            lambda password: tpm.load(wrapped, parent, password),
        )
        if key is None:
            raise self._foreign()
        return parent, key

    def _foreign(self) -> TokenError:
        return TokenError(
            f"this TPM cannot open the key {self.public.shown}",
            "the key belongs to another TPM or parent, or the TPM was cleared since: make a new key and certificate",
        )

    def _with_password(
        self, name: str, lock: _Lock, lockout: Callable[[], Lockout], use: Callable[[bytes], _Result]
    ) -> _Result:
        """Do something that needs a password, an empty one where none is given; what the TPM counts is tried once."""
        from rolesanywhere_helper.identity.tpm_session import PasswordRefused  # noqa: PLC0415 - loads the library

        given = self._secrets.read(name)
        pin = given or _NO_PASSWORD
        try:
            if lock.counts:
                return self._once(lock.name, pin, lockout, use)
            return use(pin.text.encode())
        except PasswordRefused as refusal:
            if given is None:
                raise self._secrets.error(name, lock.shown) from None
            if refusal.counts:
                raise PinRefusedError(f"the TPM refused the password of {lock.shown}", given.hint) from None
            raise WrongSecretError(f"the password of {lock.shown} is wrong") from None

    def _once(self, lock: str, pin: Pin, lockout: Callable[[], Lockout], use: Callable[[bytes], _Result]) -> _Result:
        from rolesanywhere_helper.identity.tpm_session import PasswordRefused  # noqa: PLC0415 - loads the library

        has_begun = False
        try:
            with one_attempt(self._secrets.access, lock, pin, is_count_low=lockout().is_near) as attempt:
                has_begun = True
                try:
                    return use(pin.text.encode())
                except PasswordRefused:
                    raise
                except Exception:
                    attempt.was_not_judged()  # the TPM said something else, or nothing
                    raise
        except PinRefusedError:
            if has_begun or pin is not _NO_PASSWORD:
                raise
            raise PasswordRefused(counts=True) from None  # there was one, as an earlier attempt has shown

    def _verify(self, signature: bytes, message: bytes, algorithm: hashes.HashAlgorithm) -> None:
        try:
            if isinstance(self.public.key, rsa.RSAPublicKey):
                self.public.key.verify(signature, message, padding.PKCS1v15(), algorithm)
            else:
                self.public.key.verify(signature, message, ec.ECDSA(algorithm))
        except InvalidSignature:
            raise TokenError(
                f"the TPM's signature with the key {self.public.shown} does not verify", "try: tpm2_selftest --fulltest"
            ) from None


@dataclass(frozen=True, slots=True)
class _Lock:
    """What a password opens: ``name`` for the record of attempts, ``shown`` for errors; ``counts`` wrong ones."""

    name: str
    shown: str
    counts: bool


def _persistent(reference: IdentityReference, access: Access) -> TpmKey:
    handle = _handle(reference.private_key, _PERSISTENT, "private-key", "a persistent key: handle:0x81…")
    clock = SystemClock()
    public = _in_conversation(access, clock, lambda tpm: tpm.persistent(handle)[1])
    public.check()
    key = TpmKey(public, _Secrets(reference, access, empty_auth=False), handle=handle)
    key.ask()
    return key


def _handle(reference: str, allowed: range, flag: str, example: str) -> int:
    """Read the hexadecimal number after ``handle:``, with 0x or without."""
    digits = reference.partition(":")[2].lower().removeprefix("0x")
    is_number = bool(digits) and all(digit in string.hexdigits for digit in digits)
    if not is_number or int(digits, 16) not in allowed:
        raise UsageError(f"--{flag} does not name a place in the TPM: {reference!a}", f"give the handle of {example}")
    return int(digits, 16)


def _without_padding(content: bytes) -> bytes:
    """Leave out what follows in an NV index that is longer than what is in it."""
    if b"-----BEGIN " in content:
        return content.rstrip(b"\0\xff")
    if content.startswith(_LONG_SEQUENCE):
        return content[: len(_LONG_SEQUENCE) + 2 + int.from_bytes(content[2:4], "big")]
    return content


# The library


def talk_to(access: Access, talk: Callable[[Tpm], _Result]) -> _Result:
    """Have one conversation with the TPM that the environment names.

    Raises:
        MissingExtraError: the library for TPMs is not installed.
        TokenError: the TPM cannot be used.
        IdentityError: as ``talk`` raises it.

    """
    return _in_conversation(access, SystemClock(), talk)


def _in_conversation(access: Access, clock: Clock, talk: Callable[[Tpm], _Result]) -> _Result:
    named = (access.environment.get(variable) for variable in _TCTI_VARIABLES)
    tcti = next((name for name in named if name), DEFAULT_TCTI)
    found: _Result = _library().in_conversation(tcti, clock, talk)
    return found


def _library() -> ModuleType:
    """Import what talks to TPMs.

    Raises:
        MissingExtraError: it is not installed.
        TokenError: it cannot be loaded.

    """
    # Or the C libraries would write to standard error what is told here in our own words. They read it from the
    # process's own environment.
    os.environ.setdefault("TSS2_LOG", "all+none")
    try:
        from rolesanywhere_helper.identity import tpm_session  # noqa: PLC0415 - only where a TPM is named
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "rolesanywhere_helper":
            raise
        raise MissingExtraError.named("a TPM key", "tpm") from None
    except ImportError as error:
        raise TokenError(
            f"the library for TPMs cannot be loaded: {error}",
            "install tpm2-tss (Debian: libtss2-esys-3.0.2-0, libtss2-tctildr0), then: "
            "pip install --force-reinstall --no-binary tpm2-pytss tpm2-pytss",
        ) from None
    return tpm_session
