"""Which backend serves a reference: a path, or a URI by its scheme.

A backend is one module, imported when it is chosen: each brings a library that the others do not need.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.identity.loaded import CertificateFacts, LoadedIdentity, LoadedKey

# RFC 3986, section 3.1; one letter is the drive of a Windows path.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def load(reference: IdentityReference, *, now: float, in_gitlab_ci: bool = False) -> LoadedIdentity:
    """Load a certificate, its chain and its key, and make sure that the service would accept them at ``now``.

    ``now`` is in seconds since the epoch; ``in_gitlab_ci`` adds to a hint what helps in a GitLab job.

    Raises:
        UsageError: no backend knows the reference's scheme.
        UnsafeFileError: a file is no plain one, or others could have changed the key.
        IdentityError: certificate or key cannot be read, do not match, or would be refused by the service.

    """
    _only_paths(reference.certificate, reference.private_key, reference.intermediates)
    from rolesanywhere_helper.identity import pem  # noqa: PLC0415 - a backend is imported when it is chosen

    return pem.load(reference, now=now, in_gitlab_ci=in_gitlab_ci)


def load_signing_key(
    private_key: str,
    *,
    strict_permissions: bool = False,
    accept_insecure_file: bool = False,
    in_gitlab_ci: bool = False,
) -> LoadedKey:
    """Load a private key alone, for ``sign-string``.

    Raises:
        UsageError: no backend knows the reference's scheme.
        UnsafeFileError: the file is no plain one, or others could have changed it.
        IdentityError: the key cannot be read or is of a kind that the service does not accept.

    """
    _only_paths(private_key)
    from rolesanywhere_helper.identity import pem  # noqa: PLC0415 - a backend is imported when it is chosen

    return pem.load_signing_key(
        private_key,
        strict_permissions=strict_permissions,
        accept_insecure_file=accept_insecure_file,
        in_gitlab_ci=in_gitlab_ci,
    )


def load_certificate(certificate: str) -> CertificateFacts:
    """Load the first certificate alone, whatever its validity and use, for ``read-certificate-data``.

    Raises:
        UsageError: no backend knows the reference's scheme.
        UnsafeFileError: the file is no plain one.
        IdentityError: there is no certificate, or its key is of no type that the service accepts.

    """
    _only_paths(certificate)
    from rolesanywhere_helper.identity import pem  # noqa: PLC0415 - a backend is imported when it is chosen

    return pem.load_certificate(certificate)


def scheme(reference: str) -> str | None:
    """Return a reference's scheme in lower case, or None for a path.

    A path whose first component has a colon must be written with ``./`` before it.
    """
    found = _SCHEME.match(reference)
    return found[1].lower() if found else None


def _only_paths(*references: str | None) -> None:
    for reference in references:
        name = None if reference is None else scheme(reference)
        if name is not None:  # the rest is not shown: a URI may hold a PIN
            raise UsageError(
                f"there is no way to load a certificate or key from {name}:…",
                "give the path of a PEM file; write ./NAME if the file's name has a colon",
            )
