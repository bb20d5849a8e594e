"""Which certification authorities a server's certificate may come from.

By default the system's, as on-premises TLS inspection needs; certifi's where the system has none. A directory that
OpenSSL can look a CA up in by the hash of its name is read only for the one CA that is needed, and costs 0.2 ms; the
bundle file of a system holds all of them and costs 37 ms.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import TYPE_CHECKING

import certifi

from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from pathlib import Path

_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrustStore:
    """A PEM bundle, a directory of hashed names, or both, as paths."""

    file: str | None = None
    directory: str | None = None


def system_trust_store() -> TrustStore:
    """Find the system's store where OpenSSL looks for it, by its environment variables also (SSL_CERT_FILE, _DIR).

    A file that a variable names is always loaded: somebody added a CA with it. The system's own bundle only where there
    is no directory of hashed names.
    """
    paths = ssl.get_default_verify_paths()
    directory = paths.capath if paths.capath and _has_hashed_names(paths.capath) else None
    is_file_wanted = directory is None or bool(os.environ.get(paths.openssl_cafile_env))
    file = paths.cafile if is_file_wanted else None
    return TrustStore(file, directory) if file or directory else TrustStore(certifi.where())


def given_trust_store(path: Path) -> TrustStore:
    """Use a CA bundle that was given: a PEM file, or a directory that ``openssl rehash`` was run on.

    Raises:
        ConfigurationError: there is no such thing, or nothing in it that OpenSSL could find.

    """
    if path.is_dir():
        if not _has_hashed_names(str(path)):
            raise ConfigurationError(f"the CA directory {path} has no hashed names", f"run: openssl rehash {path}")
        return TrustStore(directory=str(path))
    return TrustStore(file=str(path))


def client_context(store: TrustStore) -> ssl.SSLContext:
    """Make a context that verifies chain and host name, from TLS 1.2 up.

    Raises:
        ConfigurationError: the store cannot be read, or holds no certificate.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=store.file, capath=store.directory)
    except OSError as error:  # SSLError is one: no certificate in the file
        reason = "it holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(
            f"the CA bundle {store.file or store.directory} cannot be used: {reason}",
            "give a readable PEM file of CA certificates with --ca-bundle or AWS_CA_BUNDLE",
        ) from None
    return context


def unverified_context() -> ssl.SSLContext:
    """Make a context that believes every certificate, from TLS 1.2 up: only for --no-verify-ssl."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _has_hashed_names(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(_HASHED_NAME.fullmatch(entry.name) for entry in entries)
    except OSError:
        return False
