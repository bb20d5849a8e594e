"""A SPIFFE agent for tests: it has a socket, what it says can be changed at any time, and it can go and come back."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

CHECKOUT = Path(__file__).parents[2]
SPIFFE_ID = "spiffe://example.org/host"


def svid(
    key: CertificateIssuerPrivateKeyTypes, *certificates: x509.Certificate, spiffe_id: str = SPIFFE_ID
) -> list[str]:
    """Return an SVID as the agent's process is told of it; the leaf comes first."""
    chain = b"".join(each.public_bytes(Encoding.DER) for each in certificates)
    secret = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return [spiffe_id, base64.b64encode(chain).decode(), base64.b64encode(secret).decode()]


class WorkloadAgent:
    """An agent in a process of its own; it runs between :meth:`start` and :meth:`stop`, and within a context."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "agent.sock"
        self.svids: tuple[list[str], ...] = ()
        self._told: dict[str, object] = {"svids": []}
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """What SPIFFE_ENDPOINT_SOCKET says."""
        return f"unix://{self.socket}"

    @property
    def reference(self) -> str:
        """What ``--certificate`` says."""
        return f"spiffe:unix:{self.socket}"

    def start(self) -> Self:
        """Run, and say what was said before."""
        command = [sys.executable, "-m", "tests.fakes.workload_agent_process", str(self.socket)]
        self._process = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._tell(self._told)
        return self

    def stop(self) -> None:
        """Hang up on everybody, and be gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        self.socket.unlink(missing_ok=True)

    def push(self, *svids: list[str]) -> None:
        """Tell everybody, and who comes later, of these SVIDs."""
        self.svids = svids
        self._tell({"svids": list(svids)})

    def refuse(self, code: str = "PERMISSION_DENIED", text: str = "no identity issued") -> None:
        """End every call, and those that come later, with a status."""
        self._tell({"status": [code, text]})

    def _tell(self, told: dict[str, object]) -> None:
        self._told = told
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(told), file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "told\n"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
