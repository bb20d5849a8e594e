"""``serve``: the daemon, until it is told to stop."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import logs, session
from rolesanywhere_helper.cli.descriptors import STDERR
from rolesanywhere_helper.cli.logs import LogSettings
from rolesanywhere_helper.cli.parser import add_flag, add_settings_flags
from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.config.serve import load_serve
from rolesanywhere_helper.config.serve_keys import SERVE_FLAGS
from rolesanywhere_helper.domain.identity_reference import HeldAs, IdentityReference
from rolesanywhere_helper.system.listeners import passed_names
from rolesanywhere_helper.system.terminal import ask_secret

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Mapping, Sequence

    from rolesanywhere_helper.cli.commands import Invocation
    from rolesanywhere_helper.config.serve_settings import ServeSettings

EXAMPLE = """\
  rolesanywhere-helper serve --certificate /etc/pki/host.pem --private-key /etc/pki/host.key \
--trust-anchor-arn ARN --profile-arn ARN --role-arn ARN
  AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9911 aws sts get-caller-identity

  rolesanywhere-helper serve --config /etc/rolesanywhere-helper/config.toml"""

_log = logging.getLogger(__name__)
# syslog's numbers, which the journal reads at the start of a line (sd-daemon(3)).
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7


def add_flags(parser: ArgumentParser) -> None:
    """Declare the session flags and those of the endpoints."""
    group = parser.add_argument_group("endpoints")
    for flag in SERVE_FLAGS:
        add_flag(group, flag)
    add_settings_flags(parser)


def run(invocation: Invocation) -> int:
    """Serve until SIGTERM or SIGINT; SIGHUP reads everything again.

    Raises:
        HelperError: what was asked cannot be served. Once it serves, what fails is told in the log.

    """
    passed = passed_names(os.environ, os.getpid())
    settings = _load(invocation, passed)
    _set_up_log(invocation, settings)
    _tell(settings)
    held = hold_secrets(_identities(settings), {}, ask_secret)
    if settings.event_loop != "uvloop":  # which cannot do without
        do_without_openssl()
    from rolesanywhere_helper.wiring import serve  # noqa: PLC0415 - imports asyncio, which is to find no TLS

    def reload() -> ServeSettings:
        loaded = _load(invocation, passed)
        _tell(loaded)
        held.update(hold_secrets(_identities(loaded), held, lambda _: None))  # nobody can be asked any more
        return loaded

    return serve.run(settings, reload=reload, secrets=held)


def hold_secrets(
    identities: Sequence[IdentityReference], known: Mapping[HeldAs, str], ask: Callable[[str], str | None]
) -> dict[HeldAs, str]:
    """Ask for what has to be typed in, once, and take what variables and descriptors hold; not what is known."""
    if not any(identity.secrets for identity in identities):
        return {}
    from rolesanywhere_helper.system.references import References  # noqa: PLC0415 - only where there are secrets
    from rolesanywhere_helper.wiring.access import secrets_to_hold  # noqa: PLC0415 - as above

    references, held = References(os.environ), dict[HeldAs, str]()
    for identity in identities:
        held |= secrets_to_hold(identity, references, ask, {**known, **held})
    return held


def _identities(settings: ServeSettings) -> list[IdentityReference]:
    return [served.settings.identity for served in settings.sessions]


def _load(invocation: Invocation, passed: frozenset[str]) -> ServeSettings:
    return load_serve(invocation.flags, session.surroundings(), read_trusted, invocation.config, passed)


def _tell(settings: ServeSettings) -> None:
    for warning in settings.warnings:
        _log.warning("%s", warning)
    for note in settings.notes:
        _log.info("%s", note)
    _log.debug("settings: %s", settings)


def do_without_openssl() -> None:
    """Let what loads OpenSSL fail to import, as on a Python that was built without it: 8 MB of memory.

    This process serves plain HTTP on this machine and makes no connection of its own, but asyncio imports ssl where it
    can. Digests are then Python's own, which are as right and fast enough for a token.
    """
    for name in ("ssl", "_ssl", "_hashlib"):
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment] # what typeshed does not know: imports then fail


def _set_up_log(invocation: Invocation, settings: ServeSettings) -> None:
    """Begin the log anew if the file says how, and let the journal know each line's priority.

    Raises:
        UsageError: the log file cannot be written, or is no plain file.

    """
    typed = invocation.log
    is_format_typed = any(word.partition("=")[0] == "--log-format" for word in invocation.arguments)
    form = typed.format if is_format_typed else settings.log_format or typed.format
    chosen = LogSettings(typed.debug, form, typed.file or settings.log_file)
    if chosen != typed:
        logs.start(chosen, is_quiet=False, stderr_is_terminal=False)
    if chosen.file is None and chosen.format == "text" and _stderr_is_the_journal():
        for handler in logging.getLogger(logs.OWN).handlers:
            if handler.formatter is not None:
                handler.setFormatter(_WithPriority(handler.formatter))


def _stderr_is_the_journal() -> bool:
    """Tell whether standard error is the stream that systemd named (systemd.exec(5), ``JOURNAL_STREAM``)."""
    try:
        entry = os.fstat(STDERR)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{entry.st_dev}:{entry.st_ino}"


class _WithPriority(logging.Formatter):
    """Lines with the prefix by which the journal tells an error from a remark."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Put the priority before the line."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), _DEBUG_PRIORITY)
        return f"<{priority}>{self._inner.format(record)}"
