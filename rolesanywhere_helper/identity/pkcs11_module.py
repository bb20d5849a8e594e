"""The PKCS#11 library: which one, whether it may be trusted, and loaded.

Without ``--pkcs11-lib``, ``module-path=`` or ``module-name=`` it is p11-kit's proxy, which has the tokens of all
libraries that the system has registered (``p11-kit list-modules``).
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, NoReturn

import pkcs11

from rolesanywhere_helper.errors import TokenError, UnsafeFileError, UsageError
from rolesanywhere_helper.system.inputs import check_trusted_file, explain, inspect_input

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pkcs11._pkcs11 import lib

    from rolesanywhere_helper.domain.pkcs11_uri import Pkcs11Uri

_PROXY = "p11-kit-proxy"
# Debian, Ubuntu; Fedora, RHEL, SUSE; Alpine, Arch; FreeBSD and what was built here; Homebrew.
_DIRECTORIES = ("/usr/lib/*-linux-*", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/opt/homebrew/lib")
_ENDINGS = ("so", "so.0", "dylib")
# Where modules lie, below each of these.
_BELOW = ("", "/pkcs11", "/softhsm")


def load_module(named: str | None, uris: Iterable[Pkcs11Uri]) -> lib:
    """Load the library that the flag names, or else the first of the URIs that names one, or else p11-kit's proxy.

    Raises:
        UnsafeFileError: somebody else could have changed it (promise 81).
        UsageError: there is none of this name.
        TokenError: it cannot be loaded.

    """
    known = tuple(uris)
    path = named or next((each.module_path for each in known if each.module_path), None)
    name = next((each.module_name for each in known if each.module_name), None)
    if path is not None and not path.startswith("/"):
        raise UsageError("module-path= of a PKCS#11 URI is not a whole path", "give it with --pkcs11-lib FILE")
    if path is None:
        path = _proxy() if name is None else _module(name)
        if name is None and any(each.names_library for each in known):
            raise UsageError(
                "p11-kit's proxy hides which library a token belongs to: it cannot be chosen by library-…= of a URI",
                "name the library with --pkcs11-lib FILE, or leave library-…= out",
            )
    real = os.path.realpath(path)
    try:
        check_trusted_file(inspect_input(real), "PKCS#11 library")
    except OSError as error:
        what, hint = explain(error, path)
        raise UnsafeFileError(what, hint) from error
    try:
        module = pkcs11.lib(real)
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        failed(error, f"the PKCS#11 library {path} cannot be loaded")
    _refuse_others(module, known, path)
    return module


def failed(error: Exception, what: str) -> NoReturn:
    """Raise what a library said, as the error of a token.

    Raises:
        TokenError: always.

    """
    if isinstance(error, pkcs11.exceptions.DeviceRemoved | pkcs11.exceptions.TokenNotPresent):
        raise TokenError(f"{what}: the token was removed", "put it back: it is looked for again each time") from error
    reason = str(error)
    kind = type(error).__name__
    shown = kind if not reason.isprintable() or not reason or kind in reason else f"{kind}: {reason}"
    raise TokenError(f"{what}: {shown}") from error


def _refuse_others(module: lib, uris: tuple[Pkcs11Uri, ...], path: str) -> None:
    version = ".".join(map(str, module.library_version))
    for uri in uris:
        pairs = (
            (uri.library_manufacturer, module.manufacturer_id),
            (uri.library_description, module.library_description),
            (uri.library_version, version),
        )
        if any(wanted is not None and wanted != found.rstrip() for wanted, found in pairs):
            raise UsageError(
                f"{path} is not the library that the PKCS#11 URI names: it is {module.library_description!a} "
                f"{version} of {module.manufacturer_id!a}",
                "leave library-…= out of the URI, or name the other library with --pkcs11-lib",
            )


def _proxy() -> str:
    found = _find((_PROXY,))
    if found is None:
        raise TokenError(
            "p11-kit's proxy is not installed (p11-kit-proxy.so)",
            "install it (Debian: apt-get install p11-kit-modules; Fedora: dnf install p11-kit-server), or name the "
            "library of the token with --pkcs11-lib FILE",
        )
    return found


def _module(name: str) -> str:
    found = _find((f"lib{name}", name, f"{name}-pkcs11", f"lib{name}-pkcs11"))
    if found is None:
        raise UsageError(
            f"there is no PKCS#11 library called {name!a} where libraries are", "give its path: --pkcs11-lib FILE"
        )
    return found


def _find(names: tuple[str, ...]) -> str | None:
    """Return the first that is there; in names of modules upper and lower case are one (RFC 7512, section 2.3)."""
    wanted = {f"{name}.{ending}".lower() for name in names for ending in _ENDINGS}
    for pattern in _DIRECTORIES:
        for directory in sorted(glob.glob(pattern)):  # noqa: PTH207 - paths stay text
            for below in _BELOW:
                found = sorted(each for each in _listed(directory + below) if each.lower() in wanted)
                if found:
                    return f"{directory}{below}/{found[0]}"
    return None


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []
