"""What was typed after ``serve`` besides the flags of a session, as values that mean something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.addresses import parse_host, parse_port
from rolesanywhere_helper.config.values import absolute
from rolesanywhere_helper.domain.session import parse_duration
from rolesanywhere_helper.errors import InvalidParameterError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_HOPS = 255


@dataclass(frozen=True, slots=True)
class ServeFlags:
    """The flags of ``serve``; None or empty for what was not typed. Paths are absolute."""

    port: int | None = None
    bind: tuple[str, ...] = ()
    hop_limit: int | None = None
    container_port: int | None = None
    agent_socket: str | None = None
    allow_users: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    metrics_port: int | None = None
    ready_file: str | None = None
    start_jitter_seconds: int | None = None


def read_flags(flags: Mapping[str, object], working_directory: str) -> ServeFlags:
    """Read what was typed, by flag name; an empty value is as good as none.

    Raises:
        InvalidParameterError: a value has the wrong form.

    """
    hops, jitter = _text(flags, "hop-limit"), _text(flags, "start-jitter")
    return ServeFlags(
        port=_port(flags, "port"),
        bind=tuple(dict.fromkeys(parse_host(text, "--bind") for text in _texts(flags, "bind"))),
        hop_limit=None if hops is None else check_hop_limit(_number(hops, "--hop-limit"), "--hop-limit"),
        container_port=_port(flags, "container-port"),
        agent_socket=_path(flags, "agent-socket", working_directory),
        allow_users=_texts(flags, "allow-user"),
        allow_groups=_texts(flags, "allow-group"),
        metrics_port=_port(flags, "metrics-port"),
        ready_file=_path(flags, "ready-file", working_directory),
        start_jitter_seconds=None if jitter is None else parse_duration(jitter),
    )


def check_hop_limit(hops: int, origin: str) -> int:
    """Return an IP TTL that an answer can have.

    Raises:
        InvalidParameterError: it is none.

    """
    if not 1 <= hops <= _MOST_HOPS:
        raise InvalidParameterError(f"{origin} is not a hop limit", f"give a number from 1 to {_MOST_HOPS}")
    return hops


def _text(flags: Mapping[str, object], name: str) -> str | None:
    value = flags.get(name)
    return value if isinstance(value, str) and value else None


def _texts(flags: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = flags.get(name)
    return tuple(text for text in value if text) if isinstance(value, list) else ()


def _port(flags: Mapping[str, object], name: str) -> int | None:
    text = _text(flags, name)
    return None if text is None else parse_port(text, f"--{name}")


def _path(flags: Mapping[str, object], name: str, working_directory: str) -> str | None:
    text = _text(flags, name)
    return None if text is None else absolute(text, f"--{name}", working_directory)


def _number(text: str, origin: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(_MOST_HOPS)):
        raise InvalidParameterError(f"{origin} is not a number: {text[:20]!a}", "give a whole number")
    return int(text)
