"""A CA in a directory: its key is encrypted, what it has issued is written down, what it has revoked is a list.

======================  =======================================================================================
``ca.pem, ca.key``      the CA's certificate, and its key (PKCS#8, encrypted)
``leaves/NAME.pem``     the newest certificate of a name; ``NAME.key`` its key, unless the key is elsewhere
``issued/SERIAL.pem``   every certificate that was issued, by its serial number in hexadecimal
``crl.pem``             the newest revocation list, once something was revoked
``.lock``               whoever has it issues or revokes; the others wait
======================  =======================================================================================

The passphrase is asked for when the CA signs, and for nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import (
    InvalidParameterError,
    UnreadableCertificateError,
    UnsafeFileError,
    UnwritableFileError,
    UsageError,
)
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.pki.local_authority import (
    LocalAuthority,
    key_of,
    list_alone,
    lost_revocations,
    new_authority,
    revoked_serials,
    serial_of,
    subject_of,
)
from rolesanywhere_helper.system.directory_lock import alone_in
from rolesanywhere_helper.system.inputs import check_own_key_file, explain, inspect_input, read_input
from rolesanywhere_helper.system.new_directory import put_new_directory
from rolesanywhere_helper.system.new_key_file import sweep_unfinished_keys, write_new_key
from rolesanywhere_helper.system.public_file import put_in_place
from rolesanywhere_helper.system.replaced_file import read_if_there, rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.ports import Clock
    from rolesanywhere_helper.pki.local_authority import IssuedLeaf

# A common name that is also the name of a file; RFC 5280 allows 64 characters.
_NAME = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_@.-]{0,63}", re.ASCII)
_SERIAL = re.compile(r"(?:0x)?[0-9a-fA-F]{1,40}", re.ASCII)
_SHORTEST_DAYS, _LONGEST_DAYS = 1, 825


@dataclass(frozen=True, slots=True)
class LeafFiles:
    """Where a leaf lies; ``key`` is None where it is elsewhere, ``is_new_key`` tells that it replaced a revoked one."""

    certificate: Path
    key: Path | None
    is_new_key: bool = False


class AuthorityDirectory:
    """The directory of one CA.

    Args:
        path: The directory, absolute.
        passphrase: Returns the passphrase of the CA's key; it is told whether the key is a new one.
        clock: The time.

    """

    def __init__(self, path: Path, passphrase: Callable[[bool], bytes], clock: Clock) -> None:
        self._path = path
        self._passphrase = passphrase
        self._clock = clock
        # Who has just made it need not open it.
        self._made: LocalAuthority | None = None

    @property
    def certificate(self) -> Path:
        """The CA's certificate."""
        return self._path / "ca.pem"

    @property
    def _key(self) -> Path:
        return self._path / "ca.key"

    @property
    def crl(self) -> Path:
        """The newest revocation list."""
        return self._path / "crl.pem"

    @property
    def exists(self) -> bool:
        """Tell whether the CA was made."""
        return self.certificate.exists()

    def make(self, name: str) -> None:
        """Make the CA.

        Raises:
            UnwritableFileError: the directory is not empty, or cannot be written.
            UnsafeFileError: others could change what lies in it.
            IdentityError: there is no passphrase.

        """
        passphrase = self._passphrase(True)
        new = new_authority(name, self._clock.now(), passphrase)
        put_new_directory(self._path, {"ca.key": new.key, "ca.pem": new.certificate})
        self._check_key()
        self._made = LocalAuthority.opened(new.certificate, new.key, passphrase, str(self._key))

    def leaf(self, name: str) -> LeafFiles | None:
        """Return where the newest leaf of a name lies; None if none was issued."""
        certificate, key = (self._path / "leaves" / f"{name}.{ending}" for ending in ("pem", "key"))
        if not _NAME.fullmatch(name) or not certificate.exists():
            return None
        return LeafFiles(certificate, key if key.exists() else None)

    def is_revoked(self, certificate: str) -> bool:
        """Tell whether the certificate in a file is on the revocation list; a file that holds none is not.

        Raises:
            UsageError: the list cannot be read.

        """
        crl = self._list()
        if crl is None:
            return False
        try:
            return serial_of(_read(certificate), certificate) in revoked_serials(crl)
        except (UsageError, UnsafeFileError, UnreadableCertificateError):
            return False

    def revocations(self) -> str | None:
        """Return the revocation list as PEM; None if nothing was ever revoked.

        Raises:
            UsageError: it cannot be read.

        """
        crl = self._list()
        return None if crl is None else list_alone(crl)

    def name_of(self, certificate: Path) -> str | None:
        """Return the name whose newest leaf a file is; None if it is none of those."""
        return certificate.stem if certificate.parent == self._path / "leaves" else None

    def require_nothing_lost(self, imported: bytes, identifier: str) -> None:
        """Require that the list here revokes whatever an imported one does, which it is going to replace.

        Raises:
            UsageError: it does not: this directory is an old copy, or its list was lost.

        """
        lost = lost_revocations(imported, _read(str(self.crl)), _read(str(self.certificate)))
        if lost:
            raise UsageError(
                f"the imported revocation list has {', '.join(f'{serial:x}' for serial in sorted(lost))}, "
                f"and {self.crl} has not: to replace it would let them in again",
                f"take the imported one: aws rolesanywhere get-crl --crl-id {identifier} --query crl.crlData "
                f"--output text | base64 -d > {self.crl}, and run the same command again",
            )

    def issue(self, subject: tuple[tuple[str, str], ...], days: int, request: Path | None) -> LeafFiles:
        """Issue a leaf, or renew it with the key that it has. ``request`` is a signing request for another key.

        A key of a certificate that was revoked is not certified again: a new one takes its place. A subject of a
        common name alone is, for a name that has a leaf, the subject of that leaf.

        Raises:
            UsageError: the name or the days make no sense, the name's key is here, or it is no signing request, or
                one for a key that was revoked.
            UnwritableFileError: a file cannot be written.
            IdentityError: the CA's key cannot be opened, or the leaf before cannot be read.

        """
        name = dict(subject)["CN"]
        if not _NAME.fullmatch(name):
            raise InvalidParameterError(
                f"this cannot be the name of a leaf: {name!a}", "1 to 64 letters, digits or any of _@.-"
            )
        if not _SHORTEST_DAYS <= days <= _LONGEST_DAYS:
            raise InvalidParameterError(
                f"a leaf cannot be valid for {days} days", f"from {_SHORTEST_DAYS} to {_LONGEST_DAYS} days"
            )
        certificate, key = (self._path / "leaves" / f"{name}.{ending}" for ending in ("pem", "key"))
        files = LeafFiles(certificate, key if request is None else None)
        authority = self._open()
        with alone_in(self._path, self._clock):
            sweep_unfinished_keys(str(key.parent))
            if request is not None and key.exists():
                raise UsageError(
                    f"the key of {name} is {key}, and not that of the signing request",
                    "leave --csr out to renew it, or give the request another name with --issue",
                )
            if len(subject) == 1 and certificate.exists():
                # Else the renewed leaf would lack what a trust policy may ask for.
                subject = subject_of(_read(str(certificate)), str(certificate))
            return self._issued(authority, files, subject, days, request)

    def revoke(self, named: str) -> int:
        """Put a certificate (a PEM file, or its serial number in hexadecimal) on the list; return its serial number.

        Raises:
            UsageError: this CA has not issued it.
            UnwritableFileError: the list cannot be written.
            IdentityError: the certificate cannot be read, or the CA's key cannot be opened.

        """
        serial = self._serial(named)
        if not (self._path / "issued" / f"{serial:x}.pem").exists():
            raise UsageError(
                f"the CA in {self._path} has not issued a certificate with the serial number {serial:x}",
                f"ls {self._path}/issued shows what it has issued",
            )
        authority, now = self._open(), self._clock.now()
        with alone_in(self._path, self._clock):
            sweep_unfinished_keys(str(self._path / "leaves"))
            # The list is whose the CA is, also where root keeps it in a user's home.
            rewrite(
                str(self.crl), lambda before: authority.revoke(serial, before, now), self._clock, mode=0o644, own=True
            )
        return serial

    def _issued(
        self,
        authority: LocalAuthority,
        files: LeafFiles,
        subject: tuple[tuple[str, str], ...],
        days: int,
        request: Path | None,
    ) -> LeafFiles:
        now, revoked = self._clock.now(), self._revoked_keys()
        before = None if files.key is None else read_if_there(str(files.key))
        if request is None:
            issued = authority.issue(subject, days, now, before, revoked=revoked)
        else:
            issued = authority.issue_for(_read(str(request)), subject, days, now, str(request), revoked=revoked)
        is_new_key = before is not None and issued.key is not None
        self._write(issued, files, replace=is_new_key)
        return LeafFiles(files.certificate, files.key, is_new_key)

    def _write(self, issued: IssuedLeaf, files: LeafFiles, *, replace: bool) -> None:
        try:
            # First, so that whatever was issued can be revoked.
            put_in_place(self._path / "issued" / f"{issued.serial:x}.pem", issued.certificate)
            files.certificate.parent.mkdir(mode=0o755, exist_ok=True)
            if issued.key is not None:
                write_new_key(str(files.key), issued.key, replace=replace)
            put_in_place(files.certificate, issued.certificate)
        except OSError as error:
            raise UnwritableFileError(
                f"{files.certificate} cannot be written: {error.strerror}",
                f"namei -l {files.certificate} shows who may",
            ) from error

    def _list(self) -> bytes | None:
        return _read(str(self.crl)) if self.crl.exists() else None

    def _revoked_keys(self) -> frozenset[bytes]:
        """Return the keys of all certificates that were revoked: a renewal has the key of the one before."""
        crl = self._list()
        serials = frozenset[int]() if crl is None else revoked_serials(crl)
        files = (self._path / "issued" / f"{serial:x}.pem" for serial in serials)
        return frozenset(key_of(_read(str(file)), str(file)) for file in files if file.exists())

    def _serial(self, named: str) -> int:
        if _SERIAL.fullmatch(named) and not Path(named).exists():
            return int(named, 16)
        return serial_of(_read(named), named)

    def _open(self) -> LocalAuthority:
        if self._made is not None:
            return self._made
        if not self.exists:
            raise UsageError(
                f"there is no CA in {self._path}",
                f"make it: rolesanywhere-helper setup --with-local-ca {self._path} --subject-cn NAME",
            )
        self._check_key()
        certificate, key = _read(str(self.certificate)), _read(str(self._key))
        return LocalAuthority.opened(certificate, key, self._passphrase(False), str(self._key))

    def _check_key(self) -> None:
        key = str(self._key)
        try:
            check_own_key_file(inspect_input(key))
        except OSError as error:
            raise UsageError(*explain(error, key)) from error


def _read(path: str) -> bytes:
    try:
        return read_input(path).content
    except OSError as error:
        raise UsageError(*explain(error, path)) from error
