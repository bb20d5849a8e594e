"""A TPM 2.0 in software (swtpm), with a state of its own, on ports of its own; and the tools that make keys in it."""

from __future__ import annotations

import base64
import contextlib
import random
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.identity import der
from tests.plugins.peers import search_path
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Iterator

_TURN_SECONDS = 0.01
_START_SECONDS = 10.0
_OCTETS = re.compile(r" ([0-9A-F]{2} )+")
STORAGE = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
SIGNING = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
IMPORTED = "userwithauth|noda|sign|decrypt"


class Swtpm:
    """One TPM. It is switched off and on with :meth:`stop` and :meth:`start`, and keeps what it has stored."""

    def __init__(self, folder: Path, *, is_traced: bool = False) -> None:
        self.folder = folder
        self._trace = folder / "trace" if is_traced else None
        self._state = folder / "state"
        self._state.mkdir(parents=True, exist_ok=True)
        self._log = folder / "swtpm.log"
        self._port = _two_free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0

    @property
    def tcti(self) -> str:
        return f"swtpm:host=127.0.0.1,port={self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the tools, OpenSSL's provider and we are told of it."""
        return {"TPM2TOOLS_TCTI": self.tcti, "TPM2OPENSSL_TCTI": self.tcti}

    def start(self) -> None:
        ends = [
            *("--server", f"type=tcp,port={self._port},bindaddr=127.0.0.1"),
            *("--ctrl", f"type=tcp,port={self._port + 1},bindaddr=127.0.0.1"),
        ]
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._state}", *ends]
        if self._trace is not None:
            command += ["--log", f"file={self._trace},level=20"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--flags", "not-need-init,startup-clear"],
                env={"PATH": search_path()},
                stdout=log,
                stderr=log,
            )
        gives_up_at = time.monotonic() + _START_SECONDS
        while not (self._listens(self._port) and self._listens(self._port + 1)):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < gives_up_at, "swtpm does not listen"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_TURN_SECONDS)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _listens(self, port: int) -> bool:
        """Look into the kernel's table: the TPM serves one connection at a time, which must not be ours."""
        wanted = f"0100007F:{port:04X} 00000000:0000 0A"
        return any(wanted in line for line in Path("/proc/net/tcp").read_text().splitlines())

    def was_heard(self, text: str) -> bool:
        """Tell whether a text went over the bus as it is."""
        assert self._trace is not None
        octets = "".join(line for line in self._trace.read_text().splitlines() if _OCTETS.fullmatch(line))
        return text.encode() in bytes.fromhex(octets)

    def forget_trace(self) -> None:
        assert self._trace is not None
        self._trace.write_bytes(b"")

    # Tools

    def run(self, *words: str | Path) -> bytes:
        """Run a tool to its end; it must succeed."""
        done = self.try_to_run(*words)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def try_to_run(self, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*map(str, words)],
            env={"PATH": search_path(), "HOME": str(self.folder), **self.environment},
            cwd=self.folder,
            capture_output=True,
            check=False,
        )

    def openssl(self, command: str, *words: str | Path) -> bytes:
        """Run OpenSSL with the provider that knows TPMs."""
        return self.run(
            "openssl", command, "-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2", *words
        )

    def flush(self) -> None:
        for kind in ("--transient-object", "--loaded-session"):
            self.run("tpm2_flushcontext", kind)

    def left(self) -> str:
        """Return the keys and sessions that somebody has left in it."""
        return "".join(self.run("tpm2_getcap", f"handles-{kind}").decode() for kind in ("transient", "loaded-session"))

    def clear(self) -> None:
        """Throw away all that was made in it."""
        self.flush()
        for handle in self._handles("persistent"):
            self.remove(int(handle, 16))
        for index in self._handles("nv-index"):
            self.run("tpm2_nvundefine", "-C", "o", index)

    def _handles(self, kind: str) -> list[str]:
        return re.findall(r"0x[0-9A-Fa-f]+", self.run("tpm2_getcap", f"handles-{kind}").decode())

    def failures(self) -> int:
        """Return how many wrong passwords it has counted."""
        told = self.run("tpm2_getcap", "properties-variable").decode()
        return next(int(line.split()[1], 16) for line in told.splitlines() if "LOCKOUT_COUNTER" in line)

    def forgive(self) -> None:
        """Forget wrong passwords, and let there be 32 of them until it locks."""
        self.run("tpm2_dictionarylockout", "--clear-lockout")
        self.run("tpm2_dictionarylockout", "--setup-parameters", "--max-tries=32", "--recovery-time=1000")

    # Keys

    def genpkey(self, algorithm: str, *options: str) -> Path:
        """Let OpenSSL make a key file; options are for ``-pkeyopt``."""
        path = self._new("key.pem")
        self.openssl(
            "genpkey", "-algorithm", algorithm, *(word for each in options for word in ("-pkeyopt", each)), "-out", path
        )
        path.chmod(0o600)
        return path

    def parent(self, handle: int, *words: str, attributes: str = STORAGE) -> int:
        """Make a storage key persistent; ``words`` are for tpm2_createprimary."""
        context = self._new("parent.ctx")
        self.run("tpm2_createprimary", "-C", "o", "-G", "ecc", "-a", attributes, "-c", context, *words)
        return self._persist(context, handle)

    def create(self, parent: int, *words: str, attributes: str = SIGNING, kind: str = "ecc256") -> tuple[Path, Path]:
        """Let tpm2_create make a key; return its public and private parts."""
        public, private = self._new("public"), self._new("private")
        self.run("tpm2_create", "-C", hex(parent), "-G", kind, "-a", attributes, "-u", public, "-r", private, *words)
        self.flush()
        return public, private

    def keep(self, parent: int, key: tuple[Path, Path], handle: int, *words: str) -> int:
        """Make a key persistent; ``words`` are for tpm2_load."""
        context = self._new("key.ctx")
        self.run("tpm2_load", "-C", hex(parent), "-u", key[0], "-r", key[1], "-c", context, *words)
        return self._persist(context, handle)

    def public_of(self, parent: int, key: tuple[Path, Path], *words: str) -> bytes:
        """Return a key's public half as PEM; ``words`` are for tpm2_load."""
        context, path = self._new("key.ctx"), self._new("public.pem")
        self.run("tpm2_load", "-C", hex(parent), "-u", key[0], "-r", key[1], "-c", context, *words)
        self.run("tpm2_readpublic", "-c", context, "-f", "pem", "-o", path)
        self.flush()
        return path.read_bytes()

    def encode(self, parent: int, key: tuple[Path, Path], *words: str) -> Path:
        """Let tpm2_encodeobject write a key file."""
        path = self._new("encoded.pem")
        self.run("tpm2_encodeobject", "-C", hex(parent), "-u", key[0], "-r", key[1], "-o", path, *words)
        self.flush()
        path.chmod(0o600)
        return path

    def import_key(self, parent: int, key_file: Path, algorithm: str) -> tuple[Path, Path]:
        """Let tpm2_import take a key that was made outside."""
        public, private = self._new("public"), self._new("private")
        words = ("-G", algorithm, "-a", IMPORTED, "-i", key_file, "-u", public, "-r", private)
        self.run("tpm2_import", "-C", hex(parent), *words)
        self.flush()
        return public, private

    def remove(self, handle: int) -> None:
        self.run("tpm2_evictcontrol", "-C", "o", "-c", hex(handle))

    def _persist(self, context: Path, handle: int) -> int:
        self.run("tpm2_evictcontrol", "-C", "o", "-c", context, hex(handle))
        self.flush()
        return handle

    def _new(self, name: str) -> Path:
        self._made += 1
        return self.folder / f"{self._made}-{name}"


@contextlib.contextmanager
def running(folder: Path, *, is_traced: bool = False) -> Iterator[Swtpm]:
    tpm = Swtpm(folder, is_traced=is_traced)
    tpm.start()
    try:
        yield tpm
    finally:
        tpm.stop()


def key_file(path: Path, parent: int, public: Path, private: Path, *, rsa_parent: bool = False) -> Path:
    """Write a key file ourselves, of a key without a password."""
    truth = der.write(0x01, b"\xff")
    parts = [
        der.write(der.OBJECT_IDENTIFIER, bytes.fromhex("6781050a0103")),
        der.write(0xA0, truth),
        *([der.write(0xA5, truth)] if rsa_parent else []),
        der.write(der.INTEGER, parent.to_bytes(5, "big")),
        *(der.write(der.OCTET_STRING, part.read_bytes()) for part in (public, private)),
    ]
    text = base64.encodebytes(der.write(der.SEQUENCE, b"".join(parts)))
    making.write(path, b"-----BEGIN TSS2 PRIVATE KEY-----\n" + text + b"-----END TSS2 PRIVATE KEY-----\n")
    return path


def _two_free_ports() -> int:
    """Return a port that is free, and the one after it too: the library finds the second by counting.

    They are not among those that the system gives out itself: after a test with many connections each second one of
    these is taken for a minute.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100):
        port = random.randrange(1024, lowest - 1)  # noqa: S311 - nothing secret
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no two ports are free")
