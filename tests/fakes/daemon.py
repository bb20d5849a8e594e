"""The installed ``serve`` as a process that a test owns: its configuration, its files, its log, its signals.

Nothing here sleeps for a while and hopes: whatever is waited for has a condition and a deadline.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.domain.ports import StoredSet
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Issued, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.system.private_directory import PrivateDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from tests.plugins.emulated import Emulated

ROLES = "/latest/meta-data/iam/security-credentials/"
ROLE = "EmulatorRole"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
_LISTENING = re.compile(r" rolesanywhere_helper\.wiring\.outlets: listening: (\{.*\})$", re.MULTILINE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_TURN_SECONDS = 0.01
# Python has no names for them: SO_TIMESTAMPNS and SCM_TIMESTAMPNS (asm-generic/socket.h).
_TIMESTAMPS = 35
_TIMESTAMP = (socket.SOL_SOCKET, _TIMESTAMPS)
_ROOM_FOR_TIMESTAMPS = 64
# Becomes the program it is told to, with sockets ("7,9", their names "agent:metrics") as its descriptors from 3 on and
# its pid in LISTEN_PID (sd_listen_fds(3)).
PASS_ON = (
    "import fcntl, os, sys; "
    "own = [fcntl.fcntl(int(each), fcntl.F_DUPFD_CLOEXEC, 99) for each in sys.argv[1].split(',')]; "
    "[os.dup2(each, at) for at, each in enumerate(own, 3)]; "
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(own)), LISTEN_FDNAMES=sys.argv[2]); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)

SESSION = """
[session.{name}]
identity = "host"
trust-anchor-arn = "{trustAnchorArn}"
profile-arn = "{profileArn}"
role-arn = "{roleArn}"
endpoint = "{endpoint}"
{extra}
"""
OUTLETS = """
[identity.host]
certificate = "{folder}/host.pem"
private-key = "{folder}/host.key"
[serve]
container-listen = ["127.0.0.1:0"]
[serve.imds.main]
session = "default"
listen = ["127.0.0.1:0"]
[serve.container.app]
session = "default"
token-file = "{folder}/run/app.token"
[serve.agent]
socket = "{folder}/run/agent.sock"
[serve.metrics]
listen = "127.0.0.1:0"
"""


def until(condition: Callable[[], bool], seconds: float = 20.0, what: str = "it did not happen") -> float:
    """Wait for something that another process does; return how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, what
        time.sleep(_TURN_SECONDS)
    return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Answer:
    """``seconds`` is from the sending of the request (of the first: from connecting) to the end of the answer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float = 0.0

    @property
    def document(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def fetch(
    place: str, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, timeout: float = 10
) -> Answer:
    """Ask once; ``place`` is a URL's beginning, or the path of a unix socket."""
    parts = urlsplit(place)
    connection = (
        _UnixConnection(place, timeout)
        if place.startswith("/")
        else http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    )
    began = time.perf_counter()
    try:
        connection.request(method, parts.path + path if parts.scheme else path, headers=dict(headers or {}))
        got = connection.getresponse()
        body = got.read()
        fields = {name.lower(): value for name, value in got.getheaders()}
        return Answer(got.status, fields, body, time.perf_counter() - began)
    finally:
        connection.close()


def imds_token(url: str, ttl: int = 21_600) -> str:
    got = fetch(url, "/latest/api/token", "PUT", {TTL_HEADER: str(ttl)})
    assert got.status == 200, got.body
    return got.body.decode()


def imds_get(url: str, path: str, token: str | None = None) -> Answer:
    return fetch(url, path, headers={TOKEN_HEADER: imds_token(url) if token is None else token})


class Daemon:
    """``serve`` in a folder of its own: ``host.pem`` and ``host.key``, ``config.toml``, ``run/``, ``home/``."""

    def __init__(self, helper: Path, folder: Path, emulated: Emulated) -> None:
        self.helper = helper
        self.folder = folder
        self.emulated = emulated
        self.config = folder / "config.toml"
        self.certificate, self.key = folder / "host.pem", folder / "host.key"
        self.cache = folder / "home" / ".cache" / "rolesanywhere-helper"
        self.ready_file = folder / "ready.json"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder / "home"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
        }
        self._log = folder / "serve.log"
        self._log_begins = 0
        self._process: subprocess.Popen[bytes] | None = None
        for directory in ("home", "run"):
            (folder / directory).mkdir(mode=0o700, exist_ok=True)
        self._log.touch()
        shutil.copy(emulated.certificate, self.certificate)
        shutil.copy(emulated.private_key, self.key)
        self.configure()

    # Files

    def configure(self, extra: str = "", *, outlets: str = OUTLETS, more: str = "", name: str = "default") -> None:
        """Write the configuration: ``extra`` lines for the session, other outlets, ``more`` after all."""
        self.config.write_text(self.session(name, extra) + outlets.replace("{folder}", str(self.folder)) + more)
        self.config.chmod(0o600)

    def session(self, name: str, extra: str = "") -> str:
        told = {**self.emulated.announcement, "endpoint": self.emulated.endpoint}
        return SESSION.format_map({**told, "name": name, "extra": extra})

    def issue(self, key: KeyKind = KeyKind.P_256, validity: Validity | None = None, subject: str = "renewed") -> Issued:
        """Let the emulator's CA issue another certificate."""
        directory = Path(self.emulated.certificate).parent
        authority = CertificateAuthority.from_pem(
            (directory / "ca.pem").read_bytes(), (directory / "ca.key").read_bytes()
        )
        days = validity or Validity.days(time.time(), 30)
        return authority.issue(LeafRequest(days, (("CN", subject),), key))

    def install(self, issued: Issued) -> None:
        replace_file(self.certificate, issued.pem)
        replace_file(self.key, issued.key_pem())

    def send_attempt(self) -> None:
        """Let it believe that the certificate is another one (a comment in it is): it tries at once."""
        replace_file(self.certificate, self.certificate.read_bytes() + b"# touched\n")

    def age_cache(self, seconds: int) -> None:
        """Make every cached set so many seconds older, as if the clock had moved on."""
        for file in self.cache.glob("*.set"):
            with PrivateDirectory(self.cache) as directory:
                store = DiskStore(directory, file.stem, str(self.emulated.announcement["roleArn"]), SystemClock())
                entry = store.load()
                assert entry is not None
                made = entry.credentials
                older = replace(made, issued_at=made.issued_at - seconds, expires_at=made.expires_at - seconds)
                store.save(StoredSet(older, entry.due_at - seconds))
        for marker in self.cache.iterdir():  # and no attempt was made a moment ago
            if marker.suffix == ".attempt":
                marker.unlink()

    # Life

    def start(
        self,
        *flags: str,
        wait: bool = True,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
        prefix: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> Self:
        """Start it, and wait until its ready file is there, or only (``wait=False``) until it is a process."""
        self.ready_file.unlink(missing_ok=True)
        self._log_begins = self._log.stat().st_size
        command = [*prefix, str(self.helper), "serve", "--config", str(self.config), *flags]
        with self._log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*command, "--ready-file", str(self.ready_file)],
                env={**self.environment, **(environment or {})},
                cwd=self.folder,
                stdout=stderr,
                stderr=stderr,
                preexec_fn=before,  # noqa: PLW1509 - it sets a limit, or a variable with its own pid
                pass_fds=pass_fds,
            )
        if wait:
            self.await_ready()
        return self

    def await_ready(self, seconds: float = 20.0) -> float:
        """Return how long it took until there was something to be had."""
        took = until(lambda: self.ready_file.exists() or self.has_ended, seconds, "serve did not become ready")
        assert not self.has_ended, self.log
        return took

    def await_listening(self) -> None:
        until(lambda: bool(_LISTENING.search(self.log)) or self.has_ended, what=f"not listening: {self.log}")
        assert not self.has_ended, self.log

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, seconds: float = 10) -> int:
        """End it as a supervisor does; return its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def crash(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        if self._process is not None and not self.has_ended:
            self.send(signal.SIGCONT)
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.crash()

    def reload(self) -> None:
        """Send SIGHUP, and wait until it has been obeyed, or refused."""
        before = self._reloads()
        self.send(signal.SIGHUP)
        until(lambda: self._reloads() > before, what=f"no reload: {self.log}")

    def _reloads(self) -> int:
        return self.log.count("were read again") + self.log.count("the new configuration is not used")

    # What it says

    @property
    def log(self) -> str:
        """What it wrote since it was last started."""
        return self._log.read_bytes()[self._log_begins :].decode()

    @property
    def urls(self) -> dict[str, Any]:
        """Where it listens, as it said last."""
        found = _LISTENING.findall(self.log)
        document = json.loads(found[-1])
        assert isinstance(document, dict)
        return document

    @property
    def imds(self) -> str:
        return str(self.urls["imds"])

    @property
    def agent(self) -> str:
        return str(self.urls["agent"])

    def credentials(self, token: str | None = None) -> Answer:
        """Ask the IMDS endpoint for the credentials."""
        return imds_get(self.imds, ROLES + ROLE, token)

    def access_key(self) -> str:
        got = self.credentials()
        assert got.status == 200, (got.status, got.body)
        return str(got.document["AccessKeyId"])

    def container(self, name: str = "app") -> Answer:
        place = self.urls["container"][name]
        return fetch(place["url"], "", headers={"Authorization": Path(place["tokenFile"]).read_text()})

    def from_agent(self, name: str = "default") -> Answer:
        return fetch(self.agent, f"/v1/sessions/{name}")

    def status(self, name: str = "default") -> dict[str, Any]:
        found = fetch(self.agent, "/v1/status").document["sessions"][name]
        assert isinstance(found, dict)
        return found

    def error_code(self, name: str = "default") -> str | None:
        error = self.status(name)["lastError"]
        return None if error is None else str(error["code"])

    def metrics(self) -> str:
        return fetch(self.urls["metrics"], "/metrics").body.decode()

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels, or with those given: ``requests_total{…}``."""
        lines = [line for line in self.metrics().splitlines() if line.startswith(f"rolesanywhere_helper_{name} ")]
        assert len(lines) == 1, (name, self.metrics())
        return float(lines[0].rpartition(" ")[2])

    # What the kernel says

    def rss(self) -> int:
        """Return its resident memory in KiB."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1])

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 - only how many

    def cpu_seconds(self) -> float:
        """Return the time that it has had on a processor, its children not counted."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a careful program does: aside, then renamed over the old one."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    new.chmod(0o600)
    new.replace(path)


@contextmanager
def owned(daemon: Daemon) -> Iterator[Daemon]:
    """Lend a daemon that is ended in the end, whatever happened."""
    try:
        yield daemon
    finally:
        daemon.close()
        print(daemon.log)  # pytest shows it where a test has failed


# Crowds


def imds_client(url: str, into: list[Answer]) -> Generator[bytes, Answer, None]:
    """What an SDK does: a token, the role's name, its credentials, on one connection."""
    host = f"Host: {urlsplit(url).netloc}\r\n"
    token = yield f"PUT /latest/api/token HTTP/1.1\r\n{host}{TTL_HEADER}: 21600\r\nContent-Length: 0\r\n\r\n".encode()
    into.append(token)
    if token.status != 200:
        return
    given = f"{TOKEN_HEADER}: {token.body.decode()}\r\n"
    role = yield f"GET {ROLES} HTTP/1.1\r\n{host}{given}\r\n".encode()
    into.append(role)
    into.append((yield f"GET {ROLES}{ROLE} HTTP/1.1\r\n{host}{given}\r\n".encode()))


def _nanoseconds(timespec: bytes) -> int:
    seconds, rest = struct.unpack("@ll", timespec)
    return int(seconds * 1_000_000_000 + rest)


class _Client:
    """One connection that follows a script. What it sends is small: it never has to wait for room.

    The kernel says when an answer has come (SO_TIMESTAMPNS, socket(7)): when this process, which plays a thousand
    clients, comes to look at it is not the server's doing.
    """

    def __init__(self, address: tuple[str, int], script: Generator[bytes, Answer, None]) -> None:
        self._script = script
        self._received = b""
        self._began = time.time_ns()
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
        self.sock.send(next(script))

    def readable(self) -> bool:
        """Read on; return whether the script goes on."""
        part, told, _, _ = self.sock.recvmsg(65_536, _ROOM_FOR_TIMESTAMPS)
        if not part:
            raise ConnectionError("closed without an answer")
        self._received += part
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return True
        self._received = b""
        [came_at] = [_nanoseconds(data) for level, kind, data in told if (level, kind) == _TIMESTAMP]
        answer = Answer(int(head[9:12]), {}, body, (came_at - self._began) / 1e9)
        self._began = time.time_ns()
        try:
            self.sock.send(self._script.send(answer))
        except StopIteration:
            return False
        return True


def crowd(url: str, scripts: Sequence[Generator[bytes, Answer, None]], seconds: float = 30) -> list[OSError]:
    """Let clients that come all at once follow their scripts; return what went wrong with connections.

    Their answers are without headers.
    """
    parts = urlsplit(url)
    address = (str(parts.hostname), int(parts.port or 80))
    failures: list[OSError] = []
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as waiting:
        for script in scripts:
            client = _Client(address, script)
            waiting.register(client.sock, selectors.EVENT_READ, client)
        while waiting.get_map():
            assert time.monotonic() < deadline, f"{len(waiting.get_map())} clients are still waiting"
            for key, _ in waiting.select(0.1):
                goes_on = False
                try:
                    goes_on = key.data.readable()
                except OSError as error:
                    failures.append(error)
                if not goes_on:
                    waiting.unregister(key.data.sock)
                    key.data.sock.close()
    return failures


def percentile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


@contextmanager
def notify_socket(path: Path) -> Iterator[socket.socket]:
    """Be the supervisor's end of sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(path))
        line.settimeout(20)
        yield line
    with suppress(FileNotFoundError):
        path.unlink()
