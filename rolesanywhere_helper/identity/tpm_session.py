"""One conversation with a TPM 2.0 through tpm2-tss, and what its answers mean.

This is the home of ``tpm2_pytss``: importing this module loads it, and the C libraries below it. Everything that a
conversation makes in the TPM (keys, sessions) is flushed at its end. A password proves itself by an HMAC (TPM 2.0 part
1, chapter 19) in a session that is salted with a storage key, so that it does not cross the bus to the TPM.

Numbers are those of TPM 2.0 part 2: handles in 7, response codes in 6.6.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2_PT,
    TPM2_RH,
    TPM2_SE,
    TPM2B_DATA,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_SESSION,
    TPML_PCR_SELECTION,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF,
    TSS2_Exception,
)

from rolesanywhere_helper.errors import (
    ObjectNotFoundError,
    TokenError,
    UnreadableCertificateError,
    UnsupportedKeyError,
    WrongSecretError,
)
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.identity.tpm_public import Public, read_public
from rolesanywhere_helper.system.devices import why_unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from rolesanywhere_helper.domain.ports import Clock
    from rolesanywhere_helper.identity.tss2_pem import Tss2Key

    _Result = TypeVar("_Result")

_DEVICE = "device:"
_REACH = "check that it is there: tpm2_getcap properties-fixed; TPM2TOOLS_TCTI says where it is"
_BUSY_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts while the TPM has no room or no time: it is shared by all of a machine."""

_HIERARCHIES = {
    0x4000_0001: ESYS_TR.RH_OWNER,
    0x4000_0007: ESYS_TR.RH_NULL,
    0x4000_000B: ESYS_TR.RH_ENDORSEMENT,
    0x4000_000C: ESYS_TR.RH_PLATFORM,
}
# The primary keys that OpenSSL's provider and engine make: the storage templates without unique data, never locked out.
_PRIMARY_ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
_PRIMARY_ECC, _PRIMARY_RSA = "ecc256:aes128cfb", "rsa2048:aes128cfb"
_SIGNING_ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
_LONGEST_PASSWORD = 64  # octets: TPM2B_AUTH holds the longest digest
_NV_CHUNK = 512  # octets: every TPM answers with as many (TPM2_PT_NV_BUFFER_MAX)

# Response codes without the handle, parameter or session that they speak of.
_AUTH_FAIL, _BAD_AUTH = 0x08E, 0x0A2
_LOCKOUT = 0x921
_HANDLE, _VALUE, _SCHEME, _HASH, _CURVE = 0x08B, 0x084, 0x092, 0x083, 0x0A6
_NV_UNINITIALIZED, _NV_AUTHORIZATION, _NV_LOCKED = 0x14A, 0x149, 0x148
_INITIALIZE = 0x100
# Retry, yielded, testing; no memory or handle for one more object or session; NV not available now, or too often.
_BUSY = frozenset({0x922, 0x908, 0x90A, 0x902, 0x903, 0x904, 0x905, 0x906, 0x920, 0x923})
_TPM_LAYERS = frozenset({0, 11, 12})  # the TPM itself, and a resource manager that answers for it


class PasswordRefused(Exception):  # noqa: N818 - it is told to the user as another error
    """A password is wrong; ``counts`` if the TPM counted it and may lock itself (dictionary attack protection)."""

    def __init__(self, *, counts: bool) -> None:
        super().__init__("refused")
        self.counts = counts


@dataclass(frozen=True, slots=True)
class Lockout:
    """The dictionary attack protection: failures so far, how many lock, seconds until one is forgotten."""

    failures: int
    most: int
    seconds: int

    @property
    def is_near(self) -> bool:
        """Tell whether half of the failures that lock have been made."""
        return 2 * self.failures >= self.most


def in_conversation(tcti: str, clock: Clock, talk: Callable[[Tpm], _Result]) -> _Result:
    """Open the TPM, talk to it, and leave it as it was; while it is busy, try again for three seconds.

    ``tcti`` is written as the tpm2 tools do it: ``device:/dev/tpmrm0``, ``swtpm:host=127.0.0.1,port=2321`` …

    Raises:
        TokenError: it cannot be reached, has no room left, or said something unexpected.
        PasswordRefused: a password is wrong.
        IdentityError: as ``talk`` raises it.

    """
    for pause in _BUSY_PAUSES:
        try:
            return _talk(tcti, talk)
        except _BusyError:
            clock.sleep(pause)
    try:
        return _talk(tcti, talk)
    except _BusyError as busy:
        raise TokenError(
            f"the TPM at {tcti} is busy: {busy}",
            "use the kernel's resource manager, /dev/tpmrm0, which many programs can share; without one, "
            "tpm2_flushcontext --transient-object --loaded-session --saved-session makes room",
        ) from None


class _BusyError(Exception):
    """Somebody else has the device, or the TPM has no time or no room now; the text says what it said."""


class Tpm:
    """A TPM that is listening.

    Its methods raise ``TSS2_Exception`` for what they do not expect, which :func:`in_conversation` puts into words.
    """

    def __init__(self, esapi: ESAPI, made: ExitStack) -> None:
        self._esapi = esapi
        self._made = made

    # Keys

    def persistent(self, handle: int) -> tuple[ESYS_TR, Public]:
        """Return a key that lies in the TPM.

        Raises:
            ObjectNotFoundError: there is none.
            UnsupportedKeyError: it is of an unknown kind.

        """
        try:
            found = self._esapi.tr_from_tpmpublic(handle)
            public, _, _ = self._esapi.read_public(found)
        except TSS2_Exception as error:
            if _code(error) in {_HANDLE, _VALUE}:
                raise ObjectNotFoundError(
                    f"the TPM has no key at 0x{handle:08x}", "list what it has: tpm2_getcap handles-persistent"
                ) from None
            raise
        return found, read_public(bytes(public.marshal()), f"handle:0x{handle:08x}")

    def primary(self, hierarchy: int, password: bytes, *, rsa: bool) -> ESYS_TR:
        """Make a hierarchy's primary key, which is the same every time; ``password`` is the hierarchy's.

        Raises:
            PasswordRefused: the password is wrong.
            WrongSecretError: no TPM can have this password.

        """
        root = _HIERARCHIES[hierarchy]
        session = self._session(root, password, None)
        with _passwords():
            made, *_ = self._esapi.create_primary(
                in_sensitive=TPM2B_SENSITIVE_CREATE(),
                in_public=TPM2B_PUBLIC.parse(
                    alg=_PRIMARY_RSA if rsa else _PRIMARY_ECC, objectAttributes=_PRIMARY_ATTRIBUTES
                ),
                primary_handle=root,
                outside_info=TPM2B_DATA(),
                creation_pcr=TPML_PCR_SELECTION(),
                session1=session,
            )
        return self._to_flush(made)

    def create(self, parent: ESYS_TR, algorithm: str, password: bytes) -> tuple[bytes, bytes]:
        """Make a signing key below a parent without a password; return its halves (TPM2B structures), the public first.

        ``algorithm`` is written as the tpm2 tools do it. A key without a password is never locked out.

        Raises:
            UnsupportedKeyError: the TPM makes no such keys.
            WrongSecretError: no TPM can have this password.

        """
        if len(password) > _LONGEST_PASSWORD:
            raise WrongSecretError(f"no TPM has a password of more than {_LONGEST_PASSWORD} bytes")
        sensitive = TPM2B_SENSITIVE_CREATE()
        sensitive.sensitive.userAuth = password
        attributes = _SIGNING_ATTRIBUTES if password else f"{_SIGNING_ATTRIBUTES}|noda"
        session = self._hidden(parent) if password else ESYS_TR.PASSWORD
        try:
            private, public, *_ = self._esapi.create(
                parent, sensitive, TPM2B_PUBLIC.parse(alg=algorithm, objectAttributes=attributes), session1=session
            )
        except TSS2_Exception as error:
            if _code(error) in {_SCHEME, _HASH, _VALUE, _CURVE}:
                raise UnsupportedKeyError(
                    f"this TPM makes no {algorithm} key: {_words(error)}", "use --type ec (P-256) or --type rsa"
                ) from None
            raise
        return bytes(public.marshal()), bytes(private.marshal())

    def load(self, key: Tss2Key, parent: ESYS_TR, password: bytes) -> ESYS_TR | None:
        """Load a key below its parent, whose ``password`` it is; None if this parent cannot open it.

        Raises:
            PasswordRefused: the password is wrong.
            WrongSecretError: no TPM can have this password.

        """
        session = self._session(parent, password, parent)
        try:
            with _passwords():
                private, _ = TPM2B_PRIVATE.unmarshal(key.private)
                public, _ = TPM2B_PUBLIC.unmarshal(key.public)
                return self._to_flush(self._esapi.load(parent, private, public, session1=session))
        except TSS2_Exception as error:
            if _code(error) is not None and error.parameter == 1:  # the private half
                return None
            raise

    def has_ecc(self) -> bool:
        """Tell whether it knows elliptic curves; a few old ones do not."""
        _, found = self._esapi.get_capability(TPM2_CAP.ALGS, TPM2_ALG.ECC, 1)
        algorithms = found.data.algorithms
        return bool(algorithms.count) and algorithms.algProperties[0].alg == TPM2_ALG.ECC

    def sign(
        self, key: ESYS_TR, digest: bytes, scheme: tuple[int, int], password: bytes, salt: ESYS_TR | None
    ) -> bytes:
        """Sign a digest; ``scheme`` is the algorithm and its hash, ``salt`` a storage key for the session.

        Returns:
            A PKCS#1 v1.5 signature, or ECDSA as DER.

        Raises:
            PasswordRefused: the password is wrong.
            WrongSecretError: no TPM can have this password.
            UnsupportedKeyError: the key or the TPM does not sign in this way.

        """
        session = self._session(key, password, salt)
        algorithm, digest_algorithm = scheme
        wanted = TPMT_SIG_SCHEME(scheme=algorithm)
        wanted.details.any.hashAlg = digest_algorithm
        try:
            with _passwords():
                return bytes(self._esapi.sign(key, digest, wanted, session1=session))
        except TSS2_Exception as error:
            if _code(error) in {_SCHEME, _HASH, _VALUE}:
                raise UnsupportedKeyError(
                    f"the TPM does not sign so with this key: {_words(error)}", "use --digest SHA256, or another key"
                ) from None
            raise

    def lockout(self) -> Lockout:
        """Return how near the TPM is to locking itself."""
        _, found = self._esapi.get_capability(TPM2_CAP.TPM_PROPERTIES, TPM2_PT.LOCKOUT_COUNTER, 3)
        properties = found.data.tpmProperties
        told = {int(properties[at].property): int(properties[at].value) for at in range(properties.count)}
        return Lockout(
            told.get(int(TPM2_PT.LOCKOUT_COUNTER), 0),
            told.get(int(TPM2_PT.MAX_AUTH_FAIL), 0),
            told.get(int(TPM2_PT.LOCKOUT_INTERVAL), 0),
        )

    # What is stored

    def stored(self, index: int) -> bytes:
        """Read an NV index that everybody may read.

        Raises:
            ObjectNotFoundError: there is none.
            UnreadableCertificateError: it is empty, or may not be read without a password.

        """
        try:
            found = self._esapi.tr_from_tpmpublic(index)
            public, _ = self._esapi.nv_read_public(found)
            size = int(public.nvPublic.dataSize)
            readers = (
                (found, ESYS_TR.RH_OWNER) if "authread" in str(public.nvPublic.attributes) else (ESYS_TR.RH_OWNER,)
            )
            with _passwords():
                parts = [
                    bytes(self._esapi.nv_read(found, min(_NV_CHUNK, size - at), at, auth_handle=readers[0]))
                    for at in range(0, size, _NV_CHUNK)
                ]
        except TSS2_Exception as error:
            if _code(error) in {_HANDLE, _VALUE}:
                raise ObjectNotFoundError(
                    f"the TPM has nothing at 0x{index:08x}", "list what it has: tpm2_getcap handles-nv-index"
                ) from None
            if _code(error) in {_NV_UNINITIALIZED, _NV_AUTHORIZATION, _NV_LOCKED}:
                raise UnreadableCertificateError(
                    f"what the TPM has at 0x{index:08x} cannot be read: {_words(error)}",
                    "write the certificate there, readable without a password: tpm2_nvdefine -a 'ownerwrite|authread'",
                ) from None
            raise
        return b"".join(parts)

    # Sessions

    def _session(self, owner: ESYS_TR, password: bytes, salt: ESYS_TR | None) -> ESYS_TR:
        """Say how commands are authorised for an object; where there is no password, nothing has to be hidden."""
        if len(password) > _LONGEST_PASSWORD:
            raise WrongSecretError(f"no TPM has a password of more than {_LONGEST_PASSWORD} bytes")
        self._esapi.tr_set_auth(owner, password)
        if not password:
            return ESYS_TR.PASSWORD
        # The null hierarchy has no password; its primary key is as good as any that we have not been told of.
        own = self.primary(int(TPM2_RH.NULL), b"", rsa=not self.has_ecc()) if salt is None else None
        session = self._esapi.start_auth_session(
            tpm_key=salt if own is None else own,
            bind=ESYS_TR.NONE,
            session_type=TPM2_SE.HMAC,
            symmetric=None,
            auth_hash=TPM2_ALG.SHA256,
        )
        self._to_flush(session)
        self._esapi.trsess_set_attributes(session, TPMA_SESSION.CONTINUESESSION)
        if own is not None:
            self.discard(own)  # some TPMs have room for three keys
        return session

    def _hidden(self, parent: ESYS_TR) -> ESYS_TR:
        """Return a session in which the first parameter is encrypted on its way: it holds a new password."""
        session = self._esapi.start_auth_session(
            tpm_key=parent,
            bind=ESYS_TR.NONE,
            session_type=TPM2_SE.HMAC,
            symmetric=TPMT_SYM_DEF.parse("aes128cfb"),
            auth_hash=TPM2_ALG.SHA256,
        )
        self._to_flush(session)
        self._esapi.trsess_set_attributes(session, TPMA_SESSION.CONTINUESESSION | TPMA_SESSION.DECRYPT)
        return session

    def _to_flush(self, handle: ESYS_TR) -> ESYS_TR:
        self._made.callback(self.discard, handle)
        return handle

    def discard(self, handle: ESYS_TR) -> None:
        """Flush a key that was made or loaded here, before the end."""
        with suppress(TSS2_Exception):  # it is gone already, or the TPM is
            self._esapi.flush_context(handle)


def _talk(tcti: str, talk: Callable[[Tpm], _Result]) -> _Result:
    try:
        with _opened(tcti) as tpm:
            return talk(tpm)
    except TSS2_Exception as error:
        if _code(error) in _BUSY:
            raise _BusyError(_words(error)) from None
        raise _unexpected(tcti, error) from None


@contextmanager
def _opened(tcti: str) -> Iterator[Tpm]:
    try:
        esapi = ESAPI(tcti)
    except TSS2_Exception as error:
        _explain(tcti, error)
    with esapi, ExitStack() as made:
        yield Tpm(esapi, made)


def _explain(tcti: str, error: TSS2_Exception) -> NoReturn:
    path = tcti.removeprefix(_DEVICE) if tcti.startswith(_DEVICE) else None
    reason = None if path is None else why_unusable(path)
    match reason:
        case PermissionError():
            raise TokenError(
                f"{path} may not be opened by this user",
                "add the user to its group, which is tss on most systems: usermod --append --groups tss USER",
            ) from None
        case FileNotFoundError():
            raise TokenError(
                f"there is no TPM: {path} does not exist",
                "enable the TPM in the firmware; TPM2TOOLS_TCTI names another one (device:/dev/tpm0, swtpm:port=2321)",
            ) from None
        case OSError(errno=errno.EBUSY):
            raise _BusyError(reason.strerror) from None
        case _:
            raise TokenError(
                f"the TPM at {tcti} cannot be reached: {_words(error) if reason is None else reason.strerror}",
                _REACH,
            ) from None


@contextmanager
def _passwords() -> Iterator[None]:
    """Tell refused passwords from all else that can be wrong with a command."""
    try:
        yield
    except TSS2_Exception as error:
        code = _code(error)
        if code in {_AUTH_FAIL, _BAD_AUTH}:
            raise PasswordRefused(counts=code == _AUTH_FAIL) from None
        raise


def _unexpected(tcti: str, error: TSS2_Exception) -> TokenError:
    code = _code(error)
    if code is None:
        return TokenError(f"the TPM at {tcti} does not answer: {_words(error)}", _REACH)
    if code == _LOCKOUT:
        return TokenError(
            f"the TPM at {tcti} is locked: too many wrong passwords were tried",
            "wait (tpm2_getcap properties-variable tells TPM2_PT_LOCKOUT_INTERVAL, in seconds), or let its owner run: "
            "tpm2_dictionarylockout --clear-lockout",
        )
    if code == _INITIALIZE:
        return TokenError(
            f"the TPM at {tcti} was not started", "firmware does it at boot; by hand: tpm2_startup --clear"
        )
    return TokenError(f"the TPM at {tcti} cannot do what was asked: {_words(error)}", "try: tpm2_selftest --fulltest")


def _code(error: TSS2_Exception) -> int | None:
    """Return the TPM's response code without the place that it speaks of, or None if the TPM did not answer."""
    code = int(error.rc)
    if code >> 16 not in _TPM_LAYERS:
        return None
    code &= 0xFFFF
    return code & 0x0BF if code & 0x080 else code


def _words(error: TSS2_Exception) -> str:
    return f"{error} (0x{int(error.rc):x})"
