"""The backend for a directory of certificates: the one that a selector means, with its key.

What a certificate store is elsewhere (``--cert-selector`` of the official helper), a directory is here. Every plain
file in it is looked into, unless its name begins with a dot; what is in a file decides what it is, not its name. A
certificate counts if its private key is to be had: from ``--private-key``, or from the same directory, found by its
public half. One of a CA counts only where nothing else fits, to be refused by name. Everything else in the directory
may lie between leaf and trust anchor.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_helper.domain.certificate_selector import parse_selector
from rolesanywhere_helper.domain.identity_reference import shown_reference
from rolesanywhere_helper.errors import (
    AmbiguousObjectError,
    EncryptedKeyError,
    HelperError,
    IdentityError,
    KeyMismatchError,
    ObjectNotFoundError,
    UnreadableCertificateError,
    UnsafeFileError,
)
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.identity import certificates as facts
from rolesanywhere_helper.identity import files
from rolesanywhere_helper.identity.blocks import read_blocks
from rolesanywhere_helper.identity.distinguished_names import official, spellings
from rolesanywhere_helper.identity.loaded import MatchingCertificate
from rolesanywhere_helper.identity.material import Material

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.identity.material import PrivateHalf
    from rolesanywhere_helper.system.references import Content

    # What a key's place gives: the key, and what the user should hear.
    FoundKey = tuple[PrivateHalf, tuple[str, ...]]
    LoadKey = Callable[[IdentityReference, Access], FoundKey]

_MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class _Inventory:
    """What is in a directory; ``keys`` are files that hold one, or look like it."""

    certificates: tuple[x509.Certificate, ...] = field(repr=False)
    keys: tuple[Content, ...] = field(repr=False)
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate = field(repr=False)
    key: PrivateHalf = field(repr=False)
    warnings: tuple[str, ...] = ()


def material(reference: IdentityReference, access: Access, load_key: LoadKey) -> Material:
    """Choose a certificate and its key; ``load_key`` loads the one that ``--private-key`` names.

    Raises:
        ObjectNotFoundError: no certificate fits.
        KeyMismatchError: the key of none of those is here.
        AmbiguousObjectError: more than one fits.
        UnsafeFileError: others could have changed the key, or the directory is none.
        EncryptedKeyError: the key may be one that needs a passphrase.
        IdentityError: the directory cannot be read.

    """
    found = _inventory(reference, access)
    selected = _selected(reference, found)
    if not selected:
        raise _nothing_fits(reference)
    if reference.private_key:
        key, warnings = load_key(reference, access)
        pairs = [_Pair(each, key, warnings) for each in selected if facts.public_key(each) == key.public_key]
    else:
        pairs = _with_keys_of(found, selected, reference, access)
    if not pairs:
        raise _no_key(reference, selected)
    chosen = _one_of(pairs, reference)
    return Material((chosen.certificate,), chosen.key, found.certificates, (*found.warnings, *chosen.warnings))


def signing_key(reference: IdentityReference, access: Access, load_key: LoadKey) -> FoundKey:
    """Return the key of the certificate that is chosen, and what the user should hear.

    Raises:
        IdentityError, UnsafeFileError: as :func:`material` raises them.

    """
    chosen = material(reference, access, load_key)
    return chosen.key, chosen.warnings


def listed(reference: IdentityReference, access: Access) -> tuple[MatchingCertificate, ...]:
    """Return the certificates that the selector means, those of CAs only where there are no others; there may be none.

    Raises:
        IdentityError: the directory cannot be read.
        UnsafeFileError: it is no directory.

    """
    return tuple(
        MatchingCertificate(
            each.public_bytes(Encoding.DER), official(each.subject), official(each.issuer), facts.serial(each)
        )
        for each in _selected(reference, _inventory(reference, access))
    )


# What is there


def _inventory(reference: IdentityReference, access: Access) -> _Inventory:
    path = reference.certificate_directory or ""
    found: list[x509.Certificate] = []
    keys: list[Content] = []
    warnings: list[str] = []
    for name in _names(path):
        try:
            file = files.read(f"{path.rstrip('/')}/{name}", access, UnreadableCertificateError)
            of_file, has_key = _look_into(file)
        except HelperError as error:
            warnings.append(f"left out: {error.what}")
            continue
        found += of_file
        keys += [file] if has_key else []
    return _Inventory(tuple(dict.fromkeys(found)), tuple(keys), tuple(warnings))


def _names(path: str) -> list[str]:
    """Name the plain files of a directory; one that is being written has a dot before its name, as ``..data`` has."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    except NotADirectoryError:
        raise UnsafeFileError(f"{path} is no directory", "name the directory itself: --cert-directory") from None
    except OSError as error:
        raise UnreadableCertificateError(
            f"the directory {path} cannot be read: {error.strerror}",
            f"check who may enter and list it: namei -l {path}",
        ) from error


def _look_into(file: Content) -> tuple[tuple[x509.Certificate, ...], bool]:
    """Return a file's certificates, and whether it may hold a key."""
    try:
        labels = [block.label for block in read_blocks(file.content)]
    except ValueError as error:
        raise UnreadableCertificateError(f"{file.shown} cannot be read: {error}") from None
    if labels == [None]:  # DER: one thing or the other
        try:
            return facts.read_certificates(file.content, file.shown), False
        except UnreadableCertificateError:
            return (), True
    return facts.read_certificates(file.content, file.shown), any(
        label is not None and label.endswith("PRIVATE KEY") for label in labels
    )


def _selected(reference: IdentityReference, found: _Inventory) -> tuple[x509.Certificate, ...]:
    selector = parse_selector(reference.certificate_selector or "")
    fitting = tuple(
        each
        for each in found.certificates
        if selector.fits(spellings(each.subject), spellings(each.issuer), facts.serial(each))
    )
    return tuple(each for each in fitting if not facts.is_ca(each)) or fitting


# Which of it


def _with_keys_of(
    found: _Inventory, selected: Iterable[x509.Certificate], reference: IdentityReference, access: Access
) -> list[_Pair]:
    """Pair certificates with keys of the directory.

    A key that cannot be used is only told of where no other one fits: it may be the one.
    """
    keys: list[tuple[CertificatePublicKeyTypes, FoundKey]] = []
    refused: list[HelperError] = []
    warnings: list[str] = []
    for file in found.keys:
        try:
            key, said = files.private_key(file, reference, access)
            keys.append((key.public_key, (key, said)))
        except (EncryptedKeyError, UnsafeFileError) as error:
            refused.append(error)
        except IdentityError as error:
            warnings.append(f"left out: {error.what}")
    pairs = [
        _Pair(each, key, (*said, *warnings))
        for each in selected
        for key, said in [fitting for public, fitting in keys if public == facts.public_key(each)][:1]
    ]
    if refused and not pairs:
        raise min(refused, key=lambda error: not isinstance(error, EncryptedKeyError))
    return pairs


def _one_of(pairs: Sequence[_Pair], reference: IdentityReference) -> _Pair:
    if len(pairs) > 1 and not reference.use_latest_expiring:
        listed = "; ".join(_shown(pair.certificate) for pair in pairs[:_MOST_LISTED])
        more = f"; and {len(pairs) - _MOST_LISTED} more" if len(pairs) > _MOST_LISTED else ""
        raise AmbiguousObjectError(
            f"{len(pairs)} certificates in {reference.certificate_directory} fit: {listed}{more}",
            "say which with --cert-selector, for example 'Key=x509Serial,Value="
            f"{facts.serial(pairs[0].certificate):X}', or take the one that is valid longest: "
            "--use-latest-expiring-certificate",
        )
    return max(pairs, key=lambda pair: facts.not_after(pair.certificate))


def _shown(certificate: x509.Certificate) -> str:
    until = facts.utc(certificate.not_valid_after_utc)
    return f"{official(certificate.subject)} (serial {facts.serial(certificate):X}, until {until})"


def _nothing_fits(reference: IdentityReference) -> ObjectNotFoundError:
    selector = parse_selector(reference.certificate_selector or "")
    return ObjectNotFoundError(
        f"no certificate in {reference.certificate_directory} fits {selector}",
        "list what is there: rolesanywhere-helper read-certificate-data --cert-directory "
        f"{reference.certificate_directory}",
    )


def _no_key(reference: IdentityReference, selected: Sequence[x509.Certificate]) -> KeyMismatchError:
    names = "; ".join(_shown(each) for each in selected[:_MOST_LISTED])
    where = shown_reference(reference.private_key) or reference.certificate_directory
    return KeyMismatchError(
        f"{where} has not the private key of {names}",
        "put the key beside its certificate, or name it: --private-key FILE",
    )
