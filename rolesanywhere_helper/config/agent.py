"""Which daemon is asked: the agent sockets that a command may try, the first that is named alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config import document
from rolesanywhere_helper.config.load import agent_socket_named, agent_socket_of, consult
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.config.load import Read


@dataclass(frozen=True, slots=True)
class AgentSockets:
    """Where a daemon may answer, in this order; ``is_named`` tells whether somebody said so."""

    paths: tuple[str, ...]
    is_named: bool


def find_agent_sockets(
    flags: Mapping[str, object], surroundings: Surroundings, read: Read, config: str | None = None
) -> AgentSockets:
    """Return the socket that flag, environment or configuration file name, else the usual ones.

    Raises:
        ConfigurationError: the configuration file has no meaning, or one was named and is not there.
        UnsafeFileError: it is not to be trusted.

    """
    named = agent_socket_named(flags, surroundings)
    if named is None:
        used = consult(config, surroundings, read)[-1]
        if used.content is not None:
            named = agent_socket_of(document.parse(used.path, used.content), surroundings.home)
    if named is not None:
        return AgentSockets((named,), is_named=True)
    return AgentSockets(surroundings.agent_sockets(), is_named=False)
