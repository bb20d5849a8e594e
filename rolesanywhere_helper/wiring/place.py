"""Where a session rests: its name in the cache, and its place in the cache's directory.

Apart from ``wiring.mint``, since what serves needs the place and must not know what signs.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.cache_key import cache_key
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.domain.workload_reference import ENDPOINT_VARIABLE
from rolesanywhere_helper.errors import HelperError, UnsafeFileError

if TYPE_CHECKING:
    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.system.private_directory import PrivateDirectory
    from rolesanywhere_helper.system.references import References

# A place that is read whole, so that what is in it tells one certificate from the next.
_READ_WHOLE = frozenset({None, "env", "fd", "command", "credential"})
_log = logging.getLogger(__name__)


def open_directory(path: str | None) -> PrivateDirectory | None:
    """Open the cache directory; where it cannot be used, say so once and go without (promises 37, 39)."""
    from rolesanywhere_helper.system.private_directory import PrivateDirectory  # noqa: PLC0415 - not without a cache

    if path is None:
        _log.warning("nothing is cached: neither HOME nor ROLESANYWHERE_HELPER_CACHE_DIR is set")
        return None
    try:
        return PrivateDirectory(Path(path))
    except UnsafeFileError as error:
        _log.warning("nothing is cached: %s (%s)", error.what, error.hint)
    except OSError as error:
        _log.warning("nothing is cached: %s: %s", path, error.strerror)
    return None


def key_of(settings: SessionSettings, references: References) -> str | None:
    """Name the session's place in the cache, or return None where its files cannot be read (minting will say why)."""
    identity = _what_identifies(settings.identity, references)
    if identity is None:
        return None
    connection = settings.connection
    verification = "verified" if connection.verify_tls else "not verified"
    # What a strict call would refuse must not be answered from what a lenient one kept.
    strictness = f"{settings.identity.strict_key_permissions} {settings.identity.accept_insecure_key_file}"
    parts = [str(connection.endpoint), connection.ca_bundle or "", connection.proxy or "", verification, strictness]
    return cache_key(settings.spec, identity, [*parts, *(repr(hop.asked) for hop in settings.hops)])


def _what_identifies(reference: IdentityReference, references: References) -> list[bytes] | None:
    """Return the bytes of certificates, or the name of a place that is no file, and the name of the key's place."""
    found: list[bytes] = []
    try:
        found += [_content(each, references) for each in (reference.certificate, reference.intermediates) if each]
        if reference.certificate_directory is not None:
            found += _directory(reference.certificate_directory)
    except (OSError, HelperError):
        return None
    selection = f"{reference.certificate_selector} {reference.use_latest_expiring}"
    key = reference.private_key
    path = os.path.abspath(key) if scheme_of(key) is None and key else key  # noqa: PTH100 - links stay links
    return [*found, selection.encode(), (reference.pkcs11_library or "").encode(), os.fsencode(path)]


def _content(reference: str, references: References) -> bytes:
    if scheme_of(reference) in _READ_WHOLE:
        return references.read(reference).content
    if scheme_of(reference) == "spiffe":  # the same name means another identity where another agent is asked
        reference += f" {os.environ.get(ENDPOINT_VARIABLE, '')}"
    return reference.encode("utf-8", "surrogateescape")


def _directory(path: str) -> list[bytes]:
    """Return the files from which a certificate is chosen, by name, size and time: keys among them stay unread."""
    with os.scandir(path) as entries:
        files = sorted((entry.name, entry.stat()) for entry in entries if entry.is_file())
    return [os.fsencode(name) + f" {found.st_size} {found.st_mtime_ns}".encode() for name, found in files]
