"""Reading what steers this program: only files that nobody else could have written (promise 81)."""

from __future__ import annotations

import os

from rolesanywhere_helper.errors import ConfigurationError, UnsafeConfigurationError, UnsafeFileError
from rolesanywhere_helper.system.inputs import MEBIBYTE, check_trusted_file, explain, read_input

# The CA bundles of distributions have a quarter of a mebibyte; a company may add hundreds of its own.
_LARGEST = 8 * MEBIBYTE
CONFIGURATION = "configuration file"


def read_trusted(path: str, what: str) -> bytes | None:
    """Return a file's content, or None if there is none that this user can see; ``what`` names it in errors.

    Raises:
        UnsafeFileError: somebody else could have written it, it is no plain file, or it is too large. Of a
            configuration file it is an UnsafeConfigurationError.
        ConfigurationError: it is there and cannot be read.

    """
    try:
        return _read_trusted(path, what)
    except UnsafeFileError as error:
        if what != CONFIGURATION:
            raise
        raise UnsafeConfigurationError(error.what, error.hint) from None


def _read_trusted(path: str, what: str) -> bytes | None:
    try:
        file = read_input(path, limit=_LARGEST)
    except OSError as error:
        # Also not there for us: below a directory we may not enter, such as another user's home that HOME names.
        if not os.path.lexists(path):
            return None
        raise ConfigurationError(*explain(error, path)) from None
    check_trusted_file(file, what)
    return file.content
