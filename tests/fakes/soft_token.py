"""A real token in software: SoftHSM2 in a folder of its own, filled with ``pkcs11-tool``."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

PIN = "canary-73829146"
SO_PIN = "so-canary-5512"
_CONF = """
directories.tokendir = {tokens}
objectstore.backend = file
log.level = ERROR
slots.removable = false
"""
# Debian's, Fedora's.
_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
_SPIES = ("/usr/lib/x86_64-linux-gnu/pkcs11-spy.so", "/usr/lib/aarch64-linux-gnu/pkcs11-spy.so")
_TOOL_PATH = "/usr/bin:/bin"


def module() -> str:
    """Return the path of SoftHSM's library."""
    return next(path for path in _MODULES if Path(path).exists())


@dataclass(frozen=True)
class SoftTokens:
    """A folder with tokens, and what a program must be told to find them."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> SoftTokens:
        made = cls(folder)
        made.tokens.mkdir(parents=True)
        made.conf.write_text(_CONF.format(tokens=made.tokens))
        return made

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"

    @property
    def conf(self) -> Path:
        return self.folder / "softhsm2.conf"

    @property
    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.conf)}

    def add(self, label: str, pin: str = PIN) -> None:
        """Make one more token."""
        words = ("--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", pin)
        self._run("softhsm2-util", *words)

    def generate(self, token: str, key_type: str, *more: str, object_id: str = "01", label: str = "host") -> None:
        """Let the token make a key that never leaves it."""
        words = ("--keypairgen", "--key-type", key_type, "--id", object_id, "--label", label)
        self.tool("--token-label", token, "--login", "--pin", PIN, *words, *more)

    def put_key(self, token: str, key: PrivateKeyTypes, *more: str, object_id: str = "01", label: str = "host") -> None:
        file = self.folder / "key.der"
        file.write_bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        words = ("--write-object", str(file), "--type", "privkey", "--id", object_id, "--label", label, "--usage-sign")
        self.tool("--token-label", token, "--login", "--pin", PIN, *words, *more)
        file.unlink()

    def put_key_file(self, token: str, path: str, *, object_id: str = "01", label: str = "host") -> None:
        key = load_pem_private_key(Path(path).read_bytes(), None)
        self.put_key(token, key, object_id=object_id, label=label)

    def put_certificate(
        self, token: str, certificate: x509.Certificate, *, object_id: str = "01", label: str = "host"
    ) -> None:
        file = self.folder / "certificate.der"
        file.write_bytes(certificate.public_bytes(Encoding.DER))
        words = ("--write-object", str(file), "--type", "cert", "--id", object_id, "--label", label)
        self.tool("--token-label", token, "--login", "--pin", PIN, *words)

    def remove(self, token: str, kind: str, object_id: str = "01") -> None:
        words = ("--delete-object", "--type", kind, "--id", object_id)
        self.tool("--token-label", token, "--login", "--pin", PIN, *words)

    def token_info(self) -> str:
        return self.tool("--list-token-slots")

    def tool(self, *words: str) -> str:
        return self._run("pkcs11-tool", "--module", module(), *words)

    def _run(self, program: str, *words: str) -> str:
        done = subprocess.run(
            [program, *words],
            env={"PATH": _TOOL_PATH, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert not done.returncode, (program, done.stdout, done.stderr)
        return done.stdout

    # What a program that must not be plugged in sees

    def take_out(self) -> None:
        self.tokens.rename(self.folder / "taken-out")
        self.tokens.mkdir()

    def put_back(self) -> None:
        shutil.rmtree(self.tokens)
        (self.folder / "taken-out").rename(self.tokens)


@dataclass(frozen=True)
class Spy:
    """OpenSC's library that writes down every call on its way to SoftHSM's."""

    log: Path

    @property
    def module(self) -> str:
        return next(path for path in _SPIES if Path(path).exists())

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PKCS11SPY": module(), "PKCS11SPY_OUTPUT": str(self.log)}

    def logins(self) -> int:
        """Count the PINs that were given, those for a single signature among them."""
        return self.log.read_text(errors="replace").count(": C_Login\n") if self.log.exists() else 0


def forget_library() -> None:
    """Let SoftHSM in this process begin anew, with the tokens that the environment names now."""
    import pkcs11  # noqa: PLC0415 - of an extra

    loaded = pkcs11._loaded.get(os.path.realpath(module()))
    if loaded is not None and loaded.initialized:
        loaded.finalize()
