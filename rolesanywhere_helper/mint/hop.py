"""Making one session from another one's credentials, under the same deadline as any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.mint.deadline import DEFAULT_SECONDS, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import CredentialSource
    from rolesanywhere_helper.mint.deadline import Progress


class HopMinter:
    """Implements :class:`rolesanywhere_helper.domain.ports.Minter` by going on from one role to the next.

    Args:
        source: The session that it goes on from; how long that takes is the source's own affair.
        assume: Asks STS for the next one.
        target: The role's ARN, for the message of a deadline.
        deadline_seconds: For asking STS.

    """

    def __init__(
        self,
        *,
        source: CredentialSource,
        assume: Callable[[Credentials], Credentials],
        target: str,
        deadline_seconds: float = DEFAULT_SECONDS,
    ) -> None:
        self._source = source
        self._assume = assume
        self._target = target
        self._deadline_seconds = deadline_seconds

    def mint(self) -> Credentials:
        """Make a session.

        Raises:
            HelperError: the source has none, or what kept STS from giving the next one.

        """
        before = self._source.get()

        def ask(progress: Progress) -> Credentials:
            progress.enter(f"asking STS for {self._target}")
            return self._assume(before)

        return within(self._deadline_seconds, ask)
