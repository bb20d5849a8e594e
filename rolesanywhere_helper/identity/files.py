"""The backend for certificates and keys that are read whole: from files, variables, descriptors, commands.

Certificates and key may share one file, in any order, under either flag. Symbolic links are followed, as Kubernetes
needs (``..data``). What is in a file decides how it is read, not its name: PEM, DER or PKCS#12, and each of them as
base64 too, so that it fits into a variable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import IdentityError, UnreadableCertificateError, UnreadableKeyError, UsageError
from rolesanywhere_helper.frozen import dataclass, replace
from rolesanywhere_helper.identity import certificates as facts
from rolesanywhere_helper.identity import pkcs12
from rolesanywhere_helper.identity.blocks import out_of_base64
from rolesanywhere_helper.identity.material import Material
from rolesanywhere_helper.identity.passphrases import Passphrases
from rolesanywhere_helper.identity.private_key import PASSPHRASE, TPM_LABEL, key_block, read_private_key
from rolesanywhere_helper.identity.software import SoftwareKey
from rolesanywhere_helper.system.inputs import check_private_key_file, explain

if TYPE_CHECKING:
    from cryptography import x509

    from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.identity.blocks import Block
    from rolesanywhere_helper.identity.material import PrivateHalf
    from rolesanywhere_helper.system.references import Content

    Secrets = tuple[tuple[str, SecretSource], ...]


def material(reference: IdentityReference, access: Access) -> Material:
    """Read certificates and key.

    Raises:
        UsageError: no key was named, and there is none beside the certificate.
        UnsafeFileError: a file is no plain one, or others could have changed the key.
        IdentityError: certificate or key cannot be read.

    """
    password = _Secret(pkcs12.PASSWORD, reference.secrets, access)
    holder = _opened(read(reference.certificate, access, UnreadableCertificateError), password)
    found = holder.certificates()  # before the key: who has swapped the two shall not be asked for a passphrase
    key_holder = holder
    if reference.private_key not in {"", reference.certificate}:  # one file is read once: both are of one generation
        key_holder = _opened(read(reference.private_key, access, UnreadableKeyError), password)
    try:
        key, warnings = _private_key(key_holder, reference, access)
    except UnreadableKeyError as error:
        if reference.private_key:
            raise
        raise UsageError(f"missing: --private-key ({error.what})", error.hint) from None
    return Material(found, key, key_holder.beside(), (*warnings, *password.unused()))


def private_key(file: Content, reference: IdentityReference, access: Access) -> tuple[PrivateHalf, tuple[str, ...]]:
    """Take the private key out of what was read, and return it with what the user should hear.

    Raises:
        UnsafeFileError: others could have changed the file.
        IdentityError: there is none, or it cannot be used.

    """
    password = _Secret(pkcs12.PASSWORD, reference.secrets, access)
    key, warnings = _private_key(_opened(file, password), reference, access)
    return key, (*warnings, *password.unused())


def signing_key(reference: IdentityReference, access: Access) -> tuple[PrivateHalf, tuple[str, ...]]:
    """Read the private key alone, and return it with what the user should hear.

    Raises:
        UnsafeFileError: the file is no plain one, or others could have changed it.
        IdentityError: there is none, or it cannot be used.

    """
    return private_key(read(reference.private_key, access, UnreadableKeyError), reference, access)


def certificates(place: str, access: Access, secrets: Secrets = ()) -> tuple[x509.Certificate, ...]:
    """Read every certificate of what is named; there is at least one. ``secrets`` are those of the reference.

    Raises:
        UnsafeFileError: the file is no plain one.
        EncryptedKeyError, WrongSecretError: it is PKCS#12, and its password is missing or wrong.
        UnreadableCertificateError: there is none, or one of them is broken.

    """
    password = _Secret(pkcs12.PASSWORD, secrets, access)
    return _opened(read(place, access, UnreadableCertificateError), password).certificates()


def read(reference: str, access: Access, error_class: type[IdentityError]) -> Content:
    """Read what is named; what the operating system says against it becomes an error of the class.

    Raises:
        IdentityError: of that class.
        UnsafeFileError, UsageError, SilentSourceError: as :meth:`References.read` raises them.

    """
    try:
        found = access.references.read(reference)
    except OSError as error:
        what, hint = explain(error, reference)
        raise error_class(what, hint) from error
    return replace(found, content=out_of_base64(found.content))


class _Secret:
    """A passphrase, read when it is asked for; whether it was is known afterwards."""

    def __init__(self, name: str, sources: Secrets, access: Access) -> None:
        self._name = name
        self._sources = sources
        self._access = access
        self._was_needed = False

    def __call__(self) -> bytes | None:
        self._was_needed = True
        return Passphrases(self._sources, self._access.references, self._access.secrets).read(self._name)

    def unused(self) -> tuple[str, ...]:
        """Warn of a passphrase that was given for what is not encrypted: somebody believes that it is."""
        if self._was_needed or all(name != self._name for name, _ in self._sources):
            return ()
        what = "PKCS#12 file" if self._name == pkcs12.PASSWORD else "private key"
        return (f"--{self._name} is given, but the {what} is not encrypted",)


@dataclass(frozen=True, slots=True)
class _Holder:
    """What was read, and what is in it where it is PKCS#12."""

    file: Content
    container: pkcs12.Pkcs12 | None

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Return its certificates, of which there must be one."""
        if self.container is None:
            return facts.require_certificates(self.file.content, self.file.shown)
        if not self.container.certificates:
            raise UnreadableCertificateError(f"{self.file.shown} holds no certificate")
        return self.container.certificates

    def beside(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates that there are beside the key (a DER file holds the key and nothing else)."""
        if self.container is not None:
            return self.container.certificates
        if b"-----BEGIN " not in self.file.content:
            return ()
        return facts.read_certificates(self.file.content, self.file.shown)


def _opened(file: Content, password: _Secret) -> _Holder:
    if not pkcs12.is_pkcs12(file.content):
        return _Holder(file, None)
    return _Holder(file, pkcs12.read_pkcs12(file.content, file.shown, password))


def _private_key(holder: _Holder, reference: IdentityReference, access: Access) -> tuple[PrivateHalf, tuple[str, ...]]:
    file = holder.file
    warnings: tuple[str, ...] = ()
    if file.file is not None:
        warnings = check_private_key_file(
            file.file,
            strict=reference.strict_key_permissions,
            accept_insecure=reference.accept_insecure_key_file,
            in_gitlab_ci=access.in_gitlab_ci,
        )
    if holder.container is not None:
        return SoftwareKey(holder.container.key), warnings
    block = key_block(file.content, file.shown)
    if block.label == TPM_LABEL:
        from rolesanywhere_helper.identity import tpm  # noqa: PLC0415 - only when the key is wrapped by one

        return tpm.from_pem(_tpm_der(block, file), reference, access), warnings
    passphrase = _Secret(PASSPHRASE, reference.secrets, access)
    key = SoftwareKey(read_private_key(file.content, file.shown, passphrase))
    return key, (*warnings, *passphrase.unused())


def _tpm_der(block: Block, file: Content) -> bytes:
    try:
        return block.der
    except ValueError:
        raise UnreadableKeyError(f"the private key in {file.shown} is broken") from None
