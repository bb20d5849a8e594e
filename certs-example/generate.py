# ruff: noqa: INP001 - a script beside the package, not a part of one
"""Make throwaway certificates to try things with: a CA, an intermediate, leaves. README.md tells what each file is.

Usage: ``python certs-example/generate.py [--out DIR]``
"""

from __future__ import annotations

import argparse  # noqa: TID253 - a script needs no fast start
import os
import sys
import time
from pathlib import Path

from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyFormat, KeyKind

_OUT = Path(__file__).parent / "out"
_CA_DAYS = 365
_LEAF_DAYS = 30


def make(now: float) -> dict[str, bytes]:
    """Make everything and return it by file name. ``now`` is in seconds since the epoch."""
    ca = CertificateAuthority.root("Example Root CA", Validity.days(now, _CA_DAYS))
    intermediate = ca.intermediate("Example Issuing CA", Validity.days(now, _CA_DAYS), path_length=0)
    validity = Validity.days(now, _LEAF_DAYS)
    rsa = intermediate.issue(LeafRequest(validity, (("O", "Example"), ("CN", "host-rsa")), KeyKind.RSA_2048))
    ec = intermediate.issue(LeafRequest(validity, (("O", "Example"), ("CN", "host-ec")), KeyKind.P_256))
    return {
        "ca.pem": ca.pem,
        "ca.key": ca.key_pem(),
        "intermediate.pem": intermediate.pem,
        "intermediate.key": intermediate.key_pem(),
        "rsa.pem": rsa.pem,
        "rsa.key": rsa.key_pem(),
        "rsa-pkcs1.key": rsa.key_pem(KeyFormat.TRADITIONAL),
        "rsa-full-chain.pem": rsa.full_chain_pem,
        "ec.pem": ec.pem,
        "ec.key": ec.key_pem(),
        "ec-sec1.key": ec.key_pem(KeyFormat.TRADITIONAL),
        "ec-full-chain.pem": ec.full_chain_pem,
    }


def main() -> None:
    """Write the files, in place of those of an earlier run."""
    parser = argparse.ArgumentParser(description="Make throwaway certificates; README.md tells what each file is.")
    parser.add_argument("--out", type=Path, default=_OUT, help="directory to write to (default: %(default)s)")
    out: Path = parser.parse_args().out
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in make(time.time()).items():
        _write_private(out / name, content)
    sys.stdout.write(f"wrote {out}\n")


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


if __name__ == "__main__":
    main()
