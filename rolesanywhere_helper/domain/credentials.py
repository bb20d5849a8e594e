"""A set of temporary credentials."""

from __future__ import annotations

from rolesanywhere_helper.frozen import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """What CreateSession (or AssumeRole) returned, checked.

    Times are whole seconds since the epoch, UTC. The secret parts are left out of ``repr``, so that no log, traceback
    or assertion message can hold them.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    issued_at: int
    expires_at: int
    role_arn: str

    @property
    def lifetime(self) -> int:
        """The length of the session as received, in seconds."""
        return self.expires_at - self.issued_at

    @property
    def account_id(self) -> str:
        """The twelve digits of the account that the role lives in."""
        return self.role_arn.split(":")[4]
