"""What :mod:`rolesanywhere_helper.aws.refreshing` is for boto3, for aiobotocore: the renewal is a coroutine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiobotocore.credentials import AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession

from rolesanywhere_helper.aws.client import NO_SHARED_CONFIGURATION
from rolesanywhere_helper.aws.refreshing import METHOD, metadata
from rolesanywhere_helper.domain.session import LONGEST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rolesanywhere_helper.domain.credentials import Credentials


def aio_session(ask: Callable[[], Awaitable[Credentials]], region: str) -> AioSession:
    """Return a session that asks for credentials by ``ask`` and in no other way; its credentials are for one loop."""
    session = AioSession(session_vars=dict(NO_SHARED_CONFIGURATION))
    session.set_config_variable("region", region)
    session._credentials = _Refreshing(ask)  # noqa: SLF001 - as in botocore, there is no setter for it
    return session


class _Refreshing(AioDeferredRefreshableCredentials):  # type: ignore[misc] # it has no type hints
    """Credentials that are looked at for every request, as those of boto3's session."""

    _advisory_refresh_timeout = LONGEST_SECONDS

    def __init__(self, ask: Callable[[], Awaitable[Credentials]]) -> None:
        async def refresh() -> dict[str, str]:
            return metadata(await ask())

        super().__init__(refresh_using=refresh, method=METHOD)
