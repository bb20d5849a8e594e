"""A session that another daemon of this machine may hold: it is asked before one is made."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rolesanywhere_helper.daemon.refresher import in_a_thread
from rolesanywhere_helper.errors import AgentError
from rolesanywhere_helper.frozen import replace
from rolesanywhere_helper.protocol.mint_exchange import Answer
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.vend.agent_client import AgentSocket, ask, why_there_is_none

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)


async def agent_first(socket: str, session: str, role_arn: str, make: Callable[[], Awaitable[Answer]]) -> Answer:
    """Take the set of the daemon at ``socket``, or else make one."""
    refusal = None
    try:
        agent = AgentSocket(socket, is_named=True)
        found = await in_a_thread(lambda: ask(agent, session, role_arn, SystemClock()))
    except AgentError as error:
        refusal, found = error, None
    if found is not None:
        return Answer(found)
    answer = await make()
    if answer.error is not None:
        return replace(answer, error=why_there_is_none(answer.error, refusal, socket))
    if refusal is not None:
        _log.warning("%s (%s)", refusal.what, refusal.hint)
    return answer
