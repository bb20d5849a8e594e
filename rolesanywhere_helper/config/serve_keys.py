"""The keys and flags of the daemon, declared once.

The command line of ``serve``, the check of the configuration file and the table in docs/configuration.md are all built
from :data:`SERVE_KEYS`, so that none of them can know a key that the others do not.
"""

from __future__ import annotations

from rolesanywhere_helper.config.flags import Flag, Kind, Place
from rolesanywhere_helper.frozen import dataclass

SERVE = "serve"
IMDS = "serve.imds.NAME"
CONTAINER = "serve.container.NAME"
AGENT = "serve.agent"
METRICS = "serve.metrics"
LOAD_CREDENTIAL = "serve.load-credential"
SESSION = "session.NAME"
UPDATE = "update.NAME"


@dataclass(frozen=True, slots=True)
class ServeKey:
    """One key of a table of the configuration file, and the flags of ``serve`` that stand for it."""

    table: str
    name: str
    example: str
    help: str
    flags: tuple[Flag, ...] = ()


def _flag(name: str, kind: Kind, metavar: str, text: str, *, is_repeatable: bool = False) -> Flag:
    return Flag(name, kind, Place.NOWHERE, text, metavar, is_repeatable=is_repeatable)


_PORT = _flag("port", Kind.TEXT, "PORT", "port of the IMDS endpoint; 0 picks a free one (default: 9911)")
_BIND = _flag(
    "bind",
    Kind.TEXT,
    "ADDRESS",
    "address of the IMDS and container endpoints (repeatable; default: 127.0.0.1)",
    is_repeatable=True,
)
_HOP_LIMIT = _flag(
    "hop-limit", Kind.TEXT, "HOPS", "IP TTL of answers, 1 to 255 (default: 1: they stay on this machine)"
)
_CONTAINER_PORT = _flag(
    "container-port", Kind.TEXT, "PORT", "serve the container endpoint on this port; 0 picks a free one"
)
_AGENT_SOCKET = _flag("agent-socket", Kind.PATH, "PATH", "serve credential-process and status on this unix socket")
_ALLOW_USER = _flag(
    "allow-user",
    Kind.TEXT,
    "USER",
    "user who may be given the session, by name or number; '*' is everybody (repeatable; default: root and this user)",
    is_repeatable=True,
)
_ALLOW_GROUP = _flag(
    "allow-group",
    Kind.TEXT,
    "GROUP",
    "group whose members may be given the session, by name or number (repeatable)",
    is_repeatable=True,
)
_METRICS_PORT = _flag("metrics-port", Kind.TEXT, "PORT", "serve metrics on this port of 127.0.0.1; 0 picks a free one")
_READY_FILE = _flag("ready-file", Kind.PATH, "FILE", "write the URLs there as JSON once there are credentials")
_START_JITTER = _flag(
    "start-jitter",
    Kind.DURATION,
    "SECONDS",
    "put the first request off by a part of this that the machine's id decides, or for example 5m (default: 0)",
)

_ALLOW_FROM = '["10.0.0.0/8"]'
_ALLOW_FROM_HELP = "networks that may connect to an address that is not loopback; required there"
_ALLOWED_HOSTS = '["host.docker.internal"]'
_ALLOWED_HOSTS_HELP = "names that the Host header may have besides the addresses"

SERVE_KEYS: tuple[ServeKey, ...] = (
    ServeKey(SESSION, "allow-users", '["gitlab-runner"]', _ALLOW_USER.help, (_ALLOW_USER,)),
    ServeKey(SESSION, "allow-groups", '["deployers"]', _ALLOW_GROUP.help, (_ALLOW_GROUP,)),
    ServeKey(IMDS, "session", '"deploy"', "session that this endpoint hands out (default: the only one)"),
    ServeKey(
        IMDS,
        "listen",
        '["127.0.0.1:9911", "[::1]:9911"]',
        "addresses, with port 0 to pick a free one (default: 127.0.0.1:9911)",
        (_PORT, _BIND),
    ),
    ServeKey(IMDS, "allow-from", _ALLOW_FROM, _ALLOW_FROM_HELP),
    ServeKey(
        IMDS,
        "serve-imds-to-the-network",
        "true",
        "DANGEROUS: serve IMDS on an address that is not loopback, where whoever is in allow-from has the credentials",
    ),
    ServeKey(IMDS, "allowed-hosts", _ALLOWED_HOSTS, _ALLOWED_HOSTS_HELP),
    ServeKey(IMDS, "hop-limit", "2", "IP TTL of this endpoint's answers (default: hop-limit in [serve])"),
    ServeKey(CONTAINER, "session", '"deploy"', "session that is handed out at /NAME (default: the only one)"),
    ServeKey(
        CONTAINER,
        "token-file",
        '"/run/rolesanywhere-helper/NAME.token"',
        "file that the token is written to (default: NAME.token in the runtime directory)",
    ),
    ServeKey(CONTAINER, "token-group", '"customer-app"', "group that may read the token file"),
    ServeKey(
        SERVE,
        "container-listen",
        '["127.0.0.1:9912"]',
        "addresses of all container endpoints (default: 127.0.0.1:9912)",
        (_CONTAINER_PORT, _BIND),
    ),
    ServeKey(SERVE, "container-allow-from", _ALLOW_FROM, _ALLOW_FROM_HELP),
    ServeKey(SERVE, "container-allowed-hosts", _ALLOWED_HOSTS, _ALLOWED_HOSTS_HELP),
    ServeKey(SERVE, "hop-limit", "1", _HOP_LIMIT.help, (_HOP_LIMIT,)),
    ServeKey(AGENT, "socket", '"/run/rolesanywhere-helper/agent.sock"', _AGENT_SOCKET.help, (_AGENT_SOCKET,)),
    ServeKey(
        LOAD_CREDENTIAL,
        "socket",
        '"/run/rolesanywhere-helper/credentials.sock"',
        "unix socket that LoadCredential= of systemd units reads a token from; required",
    ),
    ServeKey(
        LOAD_CREDENTIAL,
        "units",
        '{ "app.service" = "NAME" }',
        "units of the system's systemd, and the container endpoint whose token each is given; required",
    ),
    ServeKey(METRICS, "listen", '"127.0.0.1:9913"', "address of the metrics", (_METRICS_PORT,)),
    ServeKey(METRICS, "allow-from", _ALLOW_FROM, _ALLOW_FROM_HELP),
    ServeKey(METRICS, "allowed-hosts", _ALLOWED_HOSTS, _ALLOWED_HOSTS_HELP),
    ServeKey(METRICS, "socket", '"/run/rolesanywhere-helper/metrics.sock"', "unix socket of the metrics"),
    ServeKey(SERVE, "ready-file", '"/run/rolesanywhere-helper/ready.json"', _READY_FILE.help, (_READY_FILE,)),
    ServeKey(SERVE, "start-jitter", '"5m"', _START_JITTER.help, (_START_JITTER,)),
    ServeKey(SERVE, "event-loop", '"uvloop"', "asyncio, or uvloop (an extra): faster, at 8 MB more (default: asyncio)"),
    ServeKey(SERVE, "log-format", '"json"', "form of log lines, text or json; --log-format wins"),
    ServeKey(UPDATE, "session", '"deploy"', "session whose credentials are written (default: the only one)"),
    ServeKey(UPDATE, "file", '"/var/lib/agent/credentials"', "credentials file that is kept fresh; required"),
    ServeKey(UPDATE, "profile", '"default"', "profile of it that is written (default: default)"),
    ServeKey(SERVE, "log-file", '"/var/log/rolesanywhere-helper.log"', "append log lines there; --log-file wins"),
)

SERVE_FLAGS: tuple[Flag, ...] = tuple({flag.name: flag for key in SERVE_KEYS for flag in key.flags}.values())
"""The flags that ``serve`` has besides those of a session, each once."""


# What other endpoints have keys of their own for.
_OF_ALL_CONTAINERS = {
    "listen": "container-listen",
    "allow-from": "container-allow-from",
    "allowed-hosts": "container-allowed-hosts",
    "hop-limit": "hop-limit",
}


def hint_for(key: str, title: str) -> str | None:
    """Return where a key is written that a table does not have; ``title`` is the table's with brackets."""
    key_in_serve = _OF_ALL_CONTAINERS.get(key.removeprefix("container-"))
    if not title.startswith("[serve.container.") or key_in_serve is None:
        return None
    return (
        f"write {key_in_serve} in [serve]: all container endpoints share their addresses, which are container-listen "
        "and container-allow-from there"
    )


def keys_of(table: str) -> frozenset[str]:
    """Return the keys that a table may have, of those declared here."""
    return frozenset(key.name for key in SERVE_KEYS if key.table == table)
