"""What the configuration depends on besides flags and files: the environment, and where the program was started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.config.flags import AGENT_SOCKET, PREFIX, SESSION_FLAGS
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_VARIABLE = f"{PREFIX}CONFIG"
CACHE_VARIABLE = f"{PREFIX}CACHE_DIR"
# The directory of what systemd hands over: systemd.exec(5), section "Credentials".
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
# Lower case first, as curl and urllib read them. HTTP_PROXY is not among them: plain http is only for this machine,
# and calls to this machine take no proxy.
PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
NO_PROXY_VARIABLES = ("no_proxy", "NO_PROXY")

VARIABLES: frozenset[str] = frozenset(
    {
        *(flag.variable for flag in SESSION_FLAGS),
        *(flag.aws_variable for flag in SESSION_FLAGS if flag.aws_variable is not None),
        CONFIG_VARIABLE,
        CACHE_VARIABLE,
        AGENT_SOCKET.variable,
        "CACHE_DIRECTORY",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "HOME",
        "GITLAB_CI",
        "AWS_REGION",
        CREDENTIALS_VARIABLE,
        *PROXY_VARIABLES,
        *NO_PROXY_VARIABLES,
    }
)
"""Every variable that the settings of one session are made from: who remembers an answer keys it on these."""
DAEMON_VARIABLES: frozenset[str] = frozenset({"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"})
"""What ``serve`` and ``status`` read besides."""
_SYSTEM_RUNTIME_DIRECTORY = "/run/rolesanywhere-helper"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a command was started, and whether by root.

    ``working_directory`` is absolute, or empty if it has been removed.
    """

    environment: Mapping[str, str]
    working_directory: str
    is_root: bool = False

    def variable(self, *names: str) -> str | None:
        """Return the first of these variables that is set and not empty."""
        for name in names:
            value = self.environment.get(name)
            if value:
                return value
        return None

    @property
    def home(self) -> str | None:
        """The home directory, or None where the environment names none (a system service)."""
        home = self.environment.get("HOME", "")
        return home if home.startswith("/") else None

    @property
    def in_gitlab_ci(self) -> bool:
        """Tell whether this is a job of GitLab CI, where files have permissions of their own."""
        return self.variable("GITLAB_CI") is not None

    @property
    def cache_directory(self) -> str | None:
        """The cache's own directory, or None where the environment names none.

        ``ROLESANYWHERE_HELPER_CACHE_DIR``, else the first entry of systemd's ``CACHE_DIRECTORY``, else
        ``$XDG_CACHE_HOME/rolesanywhere-helper``, else ``~/.cache/rolesanywhere-helper``. The fast path must find the
        same one, so its function decides.
        """
        names = (CACHE_VARIABLE, "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME")
        found = {os.fsencode(name): os.fsencode(self.environment.get(name, "")) for name in names}
        directory = fastpath.cache_directory({name: value for name, value in found.items() if value})
        return None if directory is None else os.fsdecode(directory)

    @property
    def runtime_directory(self) -> str | None:
        """Where the daemon keeps its keys, sockets and token files, or None where the environment names no place.

        The first entry of systemd's ``RUNTIME_DIRECTORY``, else ``$XDG_RUNTIME_DIR/rolesanywhere-helper``, else
        ``/run/rolesanywhere-helper`` for root, else ``run`` in the cache's directory.
        """
        given = self.environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        if given.startswith("/"):
            return given
        own = self._user_runtime_directory
        if own is not None:
            return own
        if self.is_root:
            return _SYSTEM_RUNTIME_DIRECTORY
        cache = self.cache_directory
        return None if cache is None else f"{cache.rstrip('/')}/run"

    def agent_sockets(self) -> tuple[str, ...]:
        """Return where the agent socket of a daemon is looked for when none is named, in this order."""
        own = self._user_runtime_directory
        directories = (_SYSTEM_RUNTIME_DIRECTORY,) if own is None else (_SYSTEM_RUNTIME_DIRECTORY, own)
        return tuple(f"{directory}/agent.sock" for directory in directories)

    @property
    def _user_runtime_directory(self) -> str | None:
        base = self.environment.get("XDG_RUNTIME_DIR", "")
        return f"{base.rstrip('/')}/rolesanywhere-helper" if base.startswith("/") else None

    def configuration_candidates(self) -> tuple[str, ...]:
        """Return where a configuration file is looked for when none is named, in this order."""
        base = self.environment.get("XDG_CONFIG_HOME", "")
        if not base.startswith("/"):  # the XDG specification: relative paths are to be ignored
            base = f"{self.home}/.config" if self.home else ""
        own = (f"{base}/rolesanywhere-helper/config.toml",) if base else ()
        return (*own, "/etc/rolesanywhere-helper/config.toml")
