"""The backend for plain files: certificate, intermediates and an unencrypted key, PEM or DER.

Certificates and key may share one file, in any order, under either flag. Symbolic links are followed, as Kubernetes
needs (``..data``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_helper.errors import IdentityError, UnreadableCertificateError, UnreadableKeyError
from rolesanywhere_helper.identity import certificates as facts
from rolesanywhere_helper.identity.chain import build_chain
from rolesanywhere_helper.identity.leaf import check_leaf, choose_leaf
from rolesanywhere_helper.identity.loaded import CertificateFacts, LoadedIdentity, LoadedKey
from rolesanywhere_helper.identity.private_key import read_private_key
from rolesanywhere_helper.identity.software import SoftwareIdentity, SoftwareKey
from rolesanywhere_helper.system.inputs import check_private_key_file, explain, read_input

if TYPE_CHECKING:
    from cryptography import x509

    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.system.inputs import InputFile


def load(reference: IdentityReference, *, now: float, in_gitlab_ci: bool = False) -> LoadedIdentity:
    """Load certificate, chain and key, and make sure that the service would accept them at ``now``.

    The leaf is the certificate in the certificate file that belongs to the key. Intermediates are taken from all files.

    Raises:
        UnsafeFileError: a file is no plain one, or others could have changed the key.
        IdentityError: certificate or key cannot be read, do not match, or would be refused by the service.

    """
    certificate_file = _read(reference.certificate, UnreadableCertificateError)
    one_file = reference.private_key == reference.certificate  # read once, so that both are of one generation
    key_file = certificate_file if one_file else _read(reference.private_key, UnreadableKeyError)
    warnings = check_private_key_file(
        key_file,
        strict=reference.strict_key_permissions,
        accept_insecure=reference.accept_insecure_key_file,
        in_gitlab_ci=in_gitlab_ci,
    )
    certificates = facts.require_certificates(certificate_file.content, certificate_file.path)
    key = read_private_key(key_file.content, key_file.path)
    leaf = choose_leaf(certificates, key.public_key(), now)
    check_leaf(leaf, now)
    pool = (*certificates, *_intermediates(reference), *_beside(key_file))
    chain = build_chain(leaf, pool, now)
    identity = SoftwareIdentity(
        leaf_der=_der(leaf),
        chain_der=tuple(map(_der, chain)),
        serial=facts.serial(leaf),
        key_type=facts.key_type(leaf),
        not_after=facts.not_after(leaf),
        _key=SoftwareKey(key),
    )
    return LoadedIdentity(identity, (*warnings, *_expired(chain, now)))


def load_signing_key(
    path: str, *, strict_permissions: bool, accept_insecure_file: bool, in_gitlab_ci: bool
) -> LoadedKey:
    """Load a key alone.

    Raises:
        UnsafeFileError: the file is no plain one, or others could have changed it.
        IdentityError: the key cannot be read or is of a kind that the service does not accept.

    """
    file = _read(path, UnreadableKeyError)
    warnings = check_private_key_file(
        file, strict=strict_permissions, accept_insecure=accept_insecure_file, in_gitlab_ci=in_gitlab_ci
    )
    return LoadedKey(SoftwareKey(read_private_key(file.content, path)), warnings)


def load_certificate(path: str) -> CertificateFacts:
    """Load the first certificate alone, whatever its validity and use.

    Raises:
        UnsafeFileError: the file is no plain one.
        IdentityError: there is no certificate, or its key is of no type that the service accepts.

    """
    certificate = facts.require_certificates(_read(path, UnreadableCertificateError).content, path)[0]
    return CertificateFacts(
        der=_der(certificate),
        serial=facts.serial(certificate),
        key_type=facts.key_type(certificate),
        subject=facts.subject(certificate),
        not_before=facts.not_before(certificate),
        not_after=facts.not_after(certificate),
    )


def _read(path: str, error_class: type[IdentityError]) -> InputFile:
    try:
        return read_input(path)
    except OSError as error:
        what, hint = explain(error, path)
        raise error_class(what, hint) from error


def _intermediates(reference: IdentityReference) -> tuple[x509.Certificate, ...]:
    if reference.intermediates is None:
        return ()
    file = _read(reference.intermediates, UnreadableCertificateError)
    return facts.require_certificates(file.content, file.path)


def _beside(key_file: InputFile) -> tuple[x509.Certificate, ...]:
    """Return the certificates in the key's file, if it is PEM (a DER file holds the key and nothing else)."""
    if b"-----BEGIN " not in key_file.content:
        return ()
    return facts.read_certificates(key_file.content, key_file.path)


def _expired(chain: tuple[x509.Certificate, ...], now: float) -> tuple[str, ...]:
    return tuple(
        f"the intermediate certificate {facts.subject(certificate)} is valid only from "
        f"{facts.utc(certificate.not_valid_before_utc)} to {facts.utc(certificate.not_valid_after_utc)}"
        for certificate in chain
        if not facts.is_valid_at(certificate, now)
    )


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
