"""``keygen``: a new private key for a leaf, in a file that only its owner can read, in a token, or of a TPM.

A key in a token never leaves it; the file of a TPM's key can only be opened by that TPM.
"""

from __future__ import annotations

import logging
import os
import shlex
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import parser as command_line
from rolesanywhere_helper.cli.session import surroundings, warn_of_secrets
from rolesanywhere_helper.config.flags import Flag, Kind, Place
from rolesanywhere_helper.config.load import load_identity
from rolesanywhere_helper.config.values import from_text
from rolesanywhere_helper.domain.identity_reference import SecretSource, scheme_of
from rolesanywhere_helper.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from rolesanywhere_helper.cli.commands import Invocation

EXAMPLE = "  rolesanywhere-helper keygen --type ec --out host.key"

_TYPES: Mapping[str, str] = {
    "ec": "P-256",
    "ec-p256": "P-256",
    "ec-p384": "P-384",
    "ec-p521": "P-521",
    "rsa": "RSA-2048",
    "rsa-2048": "RSA-2048",
    "rsa-3072": "RSA-3072",
    "rsa-4096": "RSA-4096",
    "ml-dsa-44": "ML-DSA-44",
    "ml-dsa-65": "ML-DSA-65",
    "ml-dsa-87": "ML-DSA-87",
}
_OUT = Flag(
    "out",
    Kind.REFERENCE,
    Place.NOWHERE,
    "the new file, with mode 0600; or a new object in a token: pkcs11:token=my-token;object=host",
    "FILE",
)
_OF_TOKENS = ("pkcs11-lib", "pkcs11-pin", "pkcs11-pin-file")
_PASSWORD = Flag(
    "password-file",
    Kind.REFERENCE,
    Place.NOWHERE,
    "encrypt the key, or lock it with --tpm: a file that holds the passphrase, or env:NAME, fd:N, credential:NAME, "
    "command:…, prompt:",
    "FILE",
)
_SECRET = "pkcs8-password"  # noqa: S105 - the name of a flag
_log = logging.getLogger(__name__)


def add_flags(parser: ArgumentParser) -> None:
    """Declare the kind of key and where it goes."""
    parser.add_argument("--type", choices=list(_TYPES), help="type and size (default: ec, which is P-256)")
    command_line.add_flag(parser, _OUT)
    command_line.add_flag(parser, _PASSWORD)
    command_line.add_switch(parser, "tpm", "let the TPM make the key: the file is of use to this TPM only")
    command_line.add_flags(parser, _OF_TOKENS)
    command_line.add_switch(parser, "force", "replace the file if there is one; the key in it is lost")


def run(invocation: Invocation) -> int:
    """Make the key and write it.

    Raises:
        UsageError: nothing was named for it, or nothing that can hold it.
        UnsupportedKeyError: such a key cannot be made there.
        UnwritableFileError: there is a file or key of this name, or it cannot be written.
        UnsafeFileError: others could change a key that lies there.
        IdentityError: the passphrase cannot be read, or token or TPM cannot be used.

    """
    given, place = invocation.flags, surroundings()
    out = given.get(_OUT.name)
    if not isinstance(out, str) or not out:
        raise UsageError("missing: --out", "name the file for the new key: --out FILE")
    scheme, kind = scheme_of(out), _TYPES[str(given.get("type", "ec"))]
    if scheme == "pkcs11":
        made = _in_token(invocation, kind)
    elif scheme is not None:
        raise UsageError(
            f"--out names a {scheme}: reference, where no key can be made", "name a file, or a token: pkcs11:…"
        )
    else:
        made = str(from_text(_OUT, out, _OUT.option, place.working_directory))
        passphrase = _passphrase(given.get(_PASSWORD.name), place.working_directory)
        _write(made, kind, passphrase, given)
    _log.info("the new key is %s; next: rolesanywhere-helper csr --private-key %s", made, shlex.quote(made))
    return 0


def _write(path: str, kind: str, passphrase: bytes | None, given: Mapping[str, object]) -> None:
    from rolesanywhere_helper.system.new_key_file import write_new_key  # noqa: PLC0415 - only when chosen

    if given.get("tpm") is True:
        from rolesanywhere_helper.identity import tpm_generate  # noqa: PLC0415 - needs an optional library
        from rolesanywhere_helper.wiring.access import open_access  # noqa: PLC0415 - only when chosen

        content = tpm_generate.generate(kind, passphrase, open_access(os.environ))
    else:
        from rolesanywhere_helper.pki.keys import KeyKind, generate_key, key_pem  # noqa: PLC0415 - as above

        content = key_pem(generate_key(KeyKind(kind)), passphrase=passphrase)
    write_new_key(path, content, replace=given.get("force") is True)


def _in_token(invocation: Invocation, kind: str) -> str:
    """Make the key in a token, and return the URI that names it."""
    from rolesanywhere_helper.system.references import References  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.system.terminal import ask_secret  # noqa: PLC0415 - as above
    from rolesanywhere_helper.wiring.access import asking, open_access  # noqa: PLC0415 - as above

    given, place = invocation.flags, surroundings()
    for flag in ("tpm", "force", _PASSWORD.name):
        if given.get(flag):
            raise UsageError(f"--{flag} has no meaning for a key in a token", "leave it out")
    named = {name: given[name] for name in _OF_TOKENS if name in given}
    warn_of_secrets(invocation)
    reference = load_identity({**named, "private-key": given[_OUT.name]}, place)
    references = References(os.environ)
    try:
        from rolesanywhere_helper.identity import pkcs11_generate  # noqa: PLC0415 - needs an optional library
    except ModuleNotFoundError:
        raise MissingExtraError.named("a PKCS#11 token", "pkcs11") from None

    def generate(typed: Mapping[str, str]) -> str:
        doors = open_access(os.environ, secrets=typed, references=references, cache_directory=place.cache_directory)
        return pkcs11_generate.generate(reference, kind, doors)

    return asking(generate, ask_secret, {})


def _passphrase(reference: object, directory: str) -> bytes | None:
    if not isinstance(reference, str) or not reference:
        return None
    from rolesanywhere_helper.identity.passphrases import Passphrases  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.system.references import References  # noqa: PLC0415 - as above
    from rolesanywhere_helper.system.terminal import ask_secret  # noqa: PLC0415 - as above
    from rolesanywhere_helper.wiring.access import asking  # noqa: PLC0415 - as above

    source = SecretSource(str(from_text(_PASSWORD, reference, _PASSWORD.option, directory)))
    references = References(os.environ)

    def read(typed: Mapping[str, str]) -> bytes | None:
        return Passphrases(((_SECRET, source),), references, typed).read(_SECRET)

    found = asking(read, ask_secret, {})
    if not found:
        raise UsageError("the passphrase is empty", "leave --password-file out for a key that is not encrypted")
    return found
