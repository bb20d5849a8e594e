"""Where a session rests: its name in the cache, and its place in the cache's directory.

Apart from ``wiring.mint``, since what serves needs the place and must not know what signs.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.cache_key import cache_key
from rolesanywhere_helper.errors import UnsafeFileError

if TYPE_CHECKING:
    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.system.private_directory import PrivateDirectory

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


def key_of(settings: SessionSettings) -> str | None:
    """Name the session's place in the cache, or return None where its files cannot be read (minting will say why)."""
    identity = _what_identifies(settings.identity)
    if identity is None:
        return None
    connection = settings.connection
    verification = "verified" if connection.verify_tls else "not verified"
    # What a strict call would refuse must not be answered from what a lenient one kept.
    strictness = f"{settings.identity.strict_key_permissions} {settings.identity.accept_insecure_key_file}"
    parts = [str(connection.endpoint), connection.ca_bundle or "", connection.proxy or "", verification, strictness]
    return cache_key(settings.spec, identity, parts)


def _what_identifies(reference: IdentityReference) -> list[bytes] | None:
    """Return the bytes of certificate and intermediates and the key's path."""
    from rolesanywhere_helper.system.inputs import read_input  # noqa: PLC0415 - not without a cache

    files = [path for path in (reference.certificate, reference.intermediates) if path is not None]
    try:
        contents = [read_input(path).content for path in files]
    except (OSError, UnsafeFileError):
        return None
    return [*contents, os.fsencode(os.path.abspath(reference.private_key))]  # noqa: PTH100 - links stay links
