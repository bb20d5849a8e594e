"""Which backend serves a reference: a path, or a URI by its scheme.

A backend is one module, imported when it is chosen: each brings a library that the others do not need. It finds
certificates and a key (:class:`~rolesanywhere_helper.identity.material.Material`); which of them is the leaf, whether
the service would accept it, and what belongs into the chain is the same for all, and decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import UnsupportedKeyError, UsageError
from rolesanywhere_helper.identity import certificates as facts
from rolesanywhere_helper.identity import files
from rolesanywhere_helper.identity.access import Access
from rolesanywhere_helper.identity.chain import build_chain
from rolesanywhere_helper.identity.keyed import KeyedIdentity
from rolesanywhere_helper.identity.leaf import check_leaf, choose_leaf
from rolesanywhere_helper.identity.loaded import CertificateFacts, ListedCertificate, LoadedIdentity, LoadedKey

if TYPE_CHECKING:
    from cryptography import x509

    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.identity.loaded import MatchingCertificate
    from rolesanywhere_helper.identity.material import Material, PrivateHalf

# What is read whole, and then looked into.
_READ_WHOLE = frozenset({None, "env", "fd", "command", "credential"})


def load(
    reference: IdentityReference, *, now: float, access: Access | None = None, accept_unusable: bool = False
) -> LoadedIdentity:
    """Load a certificate, its chain and its key, and make sure that the service would accept them at ``now``.

    ``now`` is in seconds since the epoch. The leaf is the certificate that belongs to the key; intermediates are taken
    from everything that was found. ``accept_unusable`` is for who wants to hear the service itself say no: the leaf is
    then not looked at.

    Raises:
        UsageError: no backend knows the reference's scheme, or an optional dependency is missing.
        UnsafeFileError: a file is no plain one, or others could have changed the key.
        IdentityError: certificate or key cannot be read, do not match, or would be refused by the service.

    """
    doors = access or Access()
    found = _material(reference, doors)
    leaf = choose_leaf(found.certificates, found.key.public_key, now)
    if not accept_unusable:
        check_leaf(leaf, now)
    above = reference.intermediates
    more = () if above is None else files.certificates(above, doors, reference.secrets)
    chain = build_chain(leaf, (*found.certificates, *more, *found.beside), now)
    identity = KeyedIdentity(
        leaf_der=_der(leaf),
        chain_der=tuple(map(_der, chain)),
        serial=facts.serial(leaf),
        key_type=facts.key_type(leaf),
        not_after=facts.not_after(leaf),
        _key=found.key,
    )
    return LoadedIdentity(identity, (*found.warnings, *_expired(chain, now)))


def load_signing_key(reference: IdentityReference, access: Access | None = None) -> LoadedKey:
    """Load a private key alone, for ``sign-string``; the reference's certificate is not looked at.

    Raises:
        UsageError: no backend knows the reference's scheme, or an optional dependency is missing.
        UnsafeFileError: the file is no plain one, or others could have changed it.
        IdentityError: the key cannot be read or is of a kind that the service does not accept.

    """
    key, warnings = _signing_key(reference, access or Access())
    return LoadedKey(key, warnings)


def load_private_half(
    reference: IdentityReference, access: Access | None = None
) -> tuple[PrivateHalf, tuple[str, ...]]:
    """Load a private key with its public half, for ``csr``, and return it with what the user should hear.

    Raises:
        UsageError, UnsafeFileError, IdentityError: as :func:`load_signing_key` raises them.

    """
    return _signing_key(reference, access or Access())


def load_certificate(reference: IdentityReference, access: Access | None = None) -> CertificateFacts:
    """Load the first certificate alone, whatever its validity and use, for ``read-certificate-data``.

    Raises:
        UsageError: no backend knows the reference's scheme, or an optional dependency is missing.
        UnsafeFileError: the file is no plain one.
        IdentityError: there is no certificate, or its key is of no type that the service accepts.

    """
    return _facts(_certificates(reference, access or Access())[0])


def list_certificates(
    reference: IdentityReference, access: Access | None = None
) -> tuple[ListedCertificate, ...] | CertificateFacts:
    """Return the one certificate that is meant, or list those that a token's URI may mean, if there are several.

    Raises:
        UsageError, UnsafeFileError, IdentityError: as :func:`load_certificate` raises them.

    """
    doors = access or Access()
    if scheme_of(reference.certificate) != "pkcs11":
        return load_certificate(reference, doors)
    from rolesanywhere_helper.identity import pkcs11  # noqa: PLC0415 - a backend is imported when it is chosen

    found = pkcs11.certificates(reference, doors)
    if len(found) == 1:
        return _facts(found[0].certificate)
    return tuple(_listed(each.uri, each.certificate) for each in found)


def matching_certificates(
    reference: IdentityReference, access: Access | None = None
) -> tuple[MatchingCertificate, ...]:
    """List the certificates of the reference's directory that its selector means; there may be none.

    Raises:
        UnsafeFileError: it is no directory.
        IdentityError: it cannot be read.

    """
    from rolesanywhere_helper.identity import directory  # noqa: PLC0415 - only when chosen

    return directory.listed(reference, access or Access())


# The backends


def _material(reference: IdentityReference, access: Access) -> Material:
    if reference.certificate_directory is not None:
        from rolesanywhere_helper.identity import directory  # noqa: PLC0415 - only when chosen

        return directory.material(reference, access, _key_of_place)
    schemes = {scheme_of(reference.certificate), scheme_of(reference.private_key)}
    if "spiffe" in schemes:
        from rolesanywhere_helper.identity import spiffe  # noqa: PLC0415 - as above

        return spiffe.material(reference, access)
    if "handle" in schemes and schemes <= {*_READ_WHOLE, "handle"}:
        from rolesanywhere_helper.identity import tpm  # noqa: PLC0415 - as above

        return tpm.material(reference, access)
    if "pkcs11" in schemes and schemes <= {*_READ_WHOLE, "pkcs11"}:
        from rolesanywhere_helper.identity import pkcs11  # noqa: PLC0415 - as above

        return pkcs11.material(reference, access)
    if schemes <= _READ_WHOLE:
        return files.material(reference, access)
    raise _unknown(schemes - _READ_WHOLE)


def _signing_key(reference: IdentityReference, access: Access) -> tuple[PrivateHalf, tuple[str, ...]]:
    if reference.certificate_directory is not None and not reference.private_key:
        from rolesanywhere_helper.identity import directory  # noqa: PLC0415 - as above

        return directory.signing_key(reference, access, _key_of_place)
    return _key_of_place(reference, access)


def _key_of_place(reference: IdentityReference, access: Access) -> tuple[PrivateHalf, tuple[str, ...]]:
    scheme = scheme_of(reference.private_key)
    if scheme == "spiffe":
        from rolesanywhere_helper.identity import spiffe  # noqa: PLC0415 - as above

        return spiffe.signing_key(reference, access)
    if scheme == "handle":
        from rolesanywhere_helper.identity import tpm  # noqa: PLC0415 - as above

        return tpm.signing_key(reference, access)
    if scheme == "pkcs11":
        from rolesanywhere_helper.identity import pkcs11  # noqa: PLC0415 - as above

        return pkcs11.signing_key(reference, access)
    if scheme in _READ_WHOLE:
        return files.signing_key(reference, access)
    raise _unknown({scheme})


def _certificates(reference: IdentityReference, access: Access) -> tuple[x509.Certificate, ...]:
    scheme = scheme_of(reference.certificate)
    if scheme == "spiffe":
        from rolesanywhere_helper.identity import spiffe  # noqa: PLC0415 - as above

        return spiffe.certificates(reference.certificate, access)
    if scheme == "handle":
        from rolesanywhere_helper.identity import tpm  # noqa: PLC0415 - as above

        return tpm.certificates(reference, access)
    if scheme == "pkcs11":
        from rolesanywhere_helper.identity import pkcs11  # noqa: PLC0415 - as above

        return tuple(each.certificate for each in pkcs11.certificates(reference, access))
    if scheme in _READ_WHOLE:
        return files.certificates(reference.certificate, access, reference.secrets)
    raise _unknown({scheme})


def _listed(uri: str, certificate: x509.Certificate) -> ListedCertificate:
    try:
        kind = facts.key_type(certificate)
    except UnsupportedKeyError:
        kind = None
    return ListedCertificate(
        uri=uri,
        der=_der(certificate),
        serial=facts.serial(certificate),
        key_type=kind,
        subject=facts.subject(certificate),
        not_before=facts.not_before(certificate),
        not_after=facts.not_after(certificate),
    )


def _unknown(schemes: set[str | None]) -> UsageError:
    names = ", ".join(sorted(f"{scheme}:…" for scheme in schemes))  # the rest is not shown: a URI may hold a PIN
    return UsageError(
        f"there is no way to load a certificate or key from {names}",
        "give the path of a file; write ./NAME if the file's name has a colon",
    )


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    return CertificateFacts(
        der=_der(certificate),
        serial=facts.serial(certificate),
        key_type=facts.key_type(certificate),
        subject=facts.subject(certificate),
        not_before=facts.not_before(certificate),
        not_after=facts.not_after(certificate),
    )


def _expired(chain: tuple[x509.Certificate, ...], now: float) -> tuple[str, ...]:
    return tuple(
        f"the intermediate certificate {facts.subject(certificate)} is valid only from "
        f"{facts.utc(certificate.not_valid_before_utc)} to {facts.utc(certificate.not_valid_after_utc)}"
        for certificate in chain
        if not facts.is_valid_at(certificate, now)
    )


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
