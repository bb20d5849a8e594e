"""The ``docker`` and ``podman`` lines of docs/on-prem.md, word for word, in containers that Podman starts.

They run on a host of their own: namespaces with the paths, users, addresses and ports that the document names, and the
document's configurations, in which only the ARNs are this test's. Podman runs its own line as the user ``app``, and
Docker's lines as root under Docker's name, whose command line it has (as Debian's package podman-docker does it). No
image is fetched: one with empty folders has the images' names, this machine's programs are mounted into it, and its
entry point is the AWS CLI.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.fakes.daemon import Daemon, owned
from tests.fakes.guide_configuration import with_the_emulator
from tests.fakes.guides import Guide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.plugins.emulated import Emulated

GUIDE = Guide.named("on-prem.md")
EVERYWHERE, ON_A_NETWORK_OF_ITS_OWN = GUIDE.blocks("toml")
LINES = [block for block in GUIDE.blocks("sh") if block.startswith(("docker ", "podman "))]
DOCKER_ON_THE_HOSTS_NETWORK, PODMAN, WITH_THE_SOCKET, AT_THE_ADDRESS_OF_ECS = LINES
[INTERFACE] = [block for block in GUIDE.blocks("sh") if block.startswith("ip link add")]
[NETWORK_OF_CONTAINERS] = re.findall("`(docker network [^`]+)`", GUIDE.text)
ECS_ADDRESS = "169.254.170.2"
IDS = {"app": 61_001, "report": 61_002, "backup": 61_003}

# The host: its own /etc (a copy), /run, /var/lib and network, which end with the shell that holds them. Not every
# kernel has dummy interfaces; a bridge that nothing is connected to is as good a place for an address.
HOST = f"""
exec 2>&1
mkdir -p "$1/etc"
mount -t tmpfs -o mode=755 none "$1/etc"
cp --archive /etc/. "$1/etc"
cp --recursive "$1/files/." "$1/etc"
mount --bind "$1/etc" /etc
for place in run var/lib; do mount -t tmpfs -o mode=755 none /$place; done
mkdir -p /run/rolesanywhere-helper /run/tests/venv /run/tests/base
mount --bind "$2" /run/tests/venv
mount --bind "$3" /run/tests/base
ln -s /usr/bin/podman /run/tests/docker
install -d -o app -g app -m 700 /run/home /run/tests/runtime
install -d -m 1777 /run/tests/networks
ip link set lo up
{INTERFACE.replace("type dummy", "type bridge")}
echo is there
read until_the_end || true
"""
# What Podman leaves running ends with the first process of a PID namespace.
WITH_ITS_PROCESSES = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
BECOME = {
    "docker": (),
    "podman": ("setpriv", "--reuid=app", "--regid=app", "--init-groups"),
}
# This machine may allow less than Podman would ask for.
ENGINE = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
env = ["AWS_ENDPOINT_URL_STS=http://{address}:{port}"]
volumes = {volumes}
[network]
default_subnet = "172.17.0.0/16"
default_network = "bridge"
network_config_dir = "/run/tests/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
"""
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "/var/lib/containers"\nrunroot = "/run/containers"\n'
# An image whose command needs no more words has them itself; `docker run` with words replaces them.
IMPORT = """\
podman image exists {name} || podman import --quiet --change 'ENTRYPOINT ["/venv/bin/python", "-m", "awscli"]' \
    --change 'CMD ["sts", "get-caller-identity"]' {archive} {name} >&2
"""
# Make a listening socket in another network namespace, and hand it out by standard input.
LISTEN = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
socket.send_fds(socket.socket(fileno=0), [b"-"], [listener.fileno()])
"""


class _Relay(socketserver.ThreadingTCPServer):
    """Passes on to the emulator what comes to a listening socket of another network."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, emulator: tuple[str, int]) -> None:
        super().__init__(emulator, _Relayed, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.emulator = emulator


class _Relayed(socketserver.BaseRequestHandler):
    server: _Relay

    def handle(self) -> None:
        with socket.create_connection(self.server.emulator) as there:
            back = Thread(target=_pump, args=(there, self.request))
            back.start()
            _pump(self.request, there)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    while part := source.recv(65_536):
        sink.sendall(part)
    sink.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(pid: int, address: str, emulator: tuple[str, int]) -> Iterator[None]:
    """Let the emulator be met at an address of a process's network, at the port that it has here."""
    ours, theirs = socket.socketpair()
    enter = ("nsenter", f"--target={pid}", "--net", sys.executable, "-c", LISTEN, address, str(emulator[1]))
    with ours, theirs:
        subprocess.run(enter, stdin=theirs.fileno(), check=True)
        _, [descriptor], _, _ = socket.recv_fds(ours, 1, 1)
    with _Relay(socket.socket(fileno=descriptor), emulator) as relay:
        thread = Thread(target=relay.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            relay.shutdown()
            thread.join()


def empty_image() -> bytes:
    """Return empty folders as a tar archive, and the links of Debian's merged /usr."""
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("etc", "usr", "proc", "sys", "dev", "tmp", "run"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name in ("bin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(entry)
    return content.getvalue()


class Host:
    """The document's machine: a process that holds its namespaces, and the daemon in them."""

    def __init__(self, pid: int, daemon: Daemon) -> None:
        self._enter = ("nsenter", f"--target={pid}", "--mount", "--net")
        self.daemon = daemon

    @property
    def role(self) -> str:
        return str(self.daemon.emulated.announcement["roleArn"]).rpartition("/")[2]

    def serve(self, configuration: str) -> None:
        """Start the daemon with a configuration of the document."""
        self.daemon.config.write_text(with_the_emulator(configuration, self.daemon.emulated.announcement))
        self.daemon.close()
        self.daemon.start(prefix=self._enter)

    def run(self, block: str) -> subprocess.CompletedProcess[str]:
        """Run a line of the document; the image that it names is made first."""
        name = "my-image" if "my-image" in block else "docker.io/amazon/aws-cli"
        made = IMPORT.format(archive=self.daemon.folder / "image.tar", name=name)
        environment = {
            "PATH": "/run/tests:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/run/home",
            "XDG_RUNTIME_DIR": "/run/tests/runtime",
        }
        become = BECOME[block.split(maxsplit=1)[0]]
        return subprocess.run(
            [*self._enter, *WITH_ITS_PROCESSES, *become, "sh", "-euc", f"cd /\n{made}{block}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def files_of_the_host(folder: Path, emulated: Emulated) -> None:
    """Write what is new below /etc, with the users at the end of their files."""
    volumes = ["/usr:/usr:ro", "/run/tests/venv:/venv:ro"]
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        volumes.append(f"/run/tests/base:{sys.base_prefix}:ro")
    port = urlsplit(emulated.endpoint).port
    accounts = {"passwd": "{0}:x:{1}:{1}::/run/home:/bin/sh\n", "group": "{0}:x:{1}:\n"}
    files = {
        **{name: Path("/etc", name).read_text() for name in accounts},
        "subuid": "app:200000:65536\n",
        "subgid": "app:200000:65536\n",
        "containers/containers.conf": ENGINE.format(address=ECS_ADDRESS, port=port, volumes=json.dumps(volumes)),
        "containers/storage.conf": STORAGE,
        "aws/container.config": GUIDE.files["/etc/aws/container.config"],
        "ssl/host.pem": Path(emulated.certificate).read_text(),
        "ssl/private/host.key": Path(emulated.private_key).read_text(),
    }
    for name, line in accounts.items():
        files[name] += "".join(line.format(*each) for each in IDS.items())
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o600 if name.endswith(".key") else 0o644)


@pytest.fixture
def host(helper: Path, as_root: None, emulated: Emulated, peer: Callable[[str], Path]) -> Iterator[Host]:
    """Return the host, with nothing running yet."""
    del as_root
    for package in ("curl", "iproute2", "podman", "runc", "uidmap"):
        peer(package)
    folder = Path(tempfile.mkdtemp(prefix="host-"))
    folder.chmod(0o755)
    (folder / "image.tar").write_bytes(empty_image())
    files_of_the_host(folder / "files", emulated)
    command = ("unshare", "--mount", "--net", "sh", "-euc", HOST, "sh", str(folder), sys.prefix, sys.base_prefix)
    parts = urlsplit(emulated.endpoint)
    emulator = (str(parts.hostname), int(parts.port or 80))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as outside:
        assert outside.stdout is not None
        said = outside.stdout.readline()
        assert said == "is there\n", said + outside.stdout.read()
        with (
            relayed(outside.pid, emulator[0], emulator),
            relayed(outside.pid, ECS_ADDRESS, emulator),
            owned(Daemon(helper, folder, emulated)) as daemon,
        ):
            yield Host(outside.pid, daemon)
        outside.kill()
    shutil.rmtree(folder)


def role_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["Arn"]).split("/")[1]


def changed(text: str, pattern: str, instead: str) -> str:
    """Return a block of the document with one thing in it changed."""
    found, times = re.subn(pattern, instead, text)
    assert times == 1
    return found


# The document's configuration has no group for the token; the text around its line tells of it.
TO_CONTAINERS = ('token-file = ("/run/rolesanywhere-helper/app/token")\n', r'token-file = \1\ntoken-group = "app"\n')


@pytest.mark.parametrize("block", [DOCKER_ON_THE_HOSTS_NETWORK, PODMAN], ids=["docker", "podman"])
def test_on_the_hosts_network_token_and_user_decide(host: Host, block: str) -> None:
    configuration = changed(EVERYWHERE, *TO_CONTAINERS)
    host.serve(configuration)

    assert role_of(host.run(block)) == host.role
    assert f"granted session=app uid={IDS['app']} channel=container key=ASIA" in host.daemon.log

    no_token = host.run(changed(block, r"--volume \S+ ", ""))
    assert no_token.returncode != 0
    assert "No such file or directory: '/run/aws/token'" in no_token.stderr
    host.serve(changed(configuration, r'allow-users = \["app"\]', 'allow-users = ["backup"]'))
    assert host.run(block).returncode != 0
    assert f"refused session=app uid={IDS['app']} channel=container reason=user" in host.daemon.log


def test_with_the_agent_socket_the_user_decides(host: Host) -> None:
    host.serve(EVERYWHERE)

    assert role_of(host.run(WITH_THE_SOCKET)) == host.role
    assert re.search(rf"granted session=app uid={IDS['app']} pid=\d+ channel=agent key=ASIA", host.daemon.log)

    assert host.run(changed(WITH_THE_SOCKET, r"--volume \S+agent.sock ", "")).returncode != 0
    assert host.run(changed(WITH_THE_SOCKET, r"id -u app", "id -u report")).returncode != 0
    assert re.search(rf"refused session=app uid={IDS['report']} pid=\d+ channel=agent reason=user", host.daemon.log)


def test_at_the_address_of_ecs_the_token_decides(host: Host) -> None:
    configuration = changed(ON_A_NETWORK_OF_ITS_OWN, *TO_CONTAINERS)
    host.serve(configuration)

    assert role_of(host.run(AT_THE_ADDRESS_OF_ECS)) == host.role
    assert "granted session=app uid=unknown channel=network key=ASIA" in host.daemon.log

    told = json.loads(host.run(NETWORK_OF_CONTAINERS).stdout)
    assert [subnet["subnet"] for network in told for subnet in network["subnets"]] == ["172.17.0.0/16"]

    assert host.run(changed(AT_THE_ADDRESS_OF_ECS, r"--volume \S+ ", "")).returncode != 0
    host.serve(changed(configuration, r"\[session.app\]\n", '[session.app]\nallow-users = ["app"]\n'))
    assert host.run(AT_THE_ADDRESS_OF_ECS).returncode != 0
    assert "refused session=app" in host.daemon.log


def test_every_line_for_containers_is_run() -> None:
    assert [block.split(maxsplit=1)[0] for block in LINES] == ["docker", "podman", "docker", "docker"]
