"""Whose access key it is: credentials that were issued, and one administrator's for each account.

An administrator's access key is derived from the sealing key, as issued ones are, so nothing more is kept, and it is
the same for as long as the directory lives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rolesanywhere_helper.emulator.issuing import Grant, Issuer

if TYPE_CHECKING:
    from rolesanywhere_helper.emulator.state import State

ADMINISTRATOR = "EmulatorAdministrator"
_NEVER = 253_402_300_799  # the last second of the year 9999


class Keys(Protocol):
    """What is needed to verify who signed."""

    def recognise(self, access_key_id: str, session_token: str) -> Grant | None:
        """Return what the credentials stand for; None if they are unknown."""

    def secret_access_key(self, access_key_id: str) -> str:
        """Return the secret key that belongs to an access key id."""


@dataclass(frozen=True, slots=True)
class AdministratorKey:
    """The long-term credentials of an account's administrator, who may do everything in it."""

    account: str
    access_key_id: str
    secret_access_key: str = field(repr=False)


class Keyring:
    """All credentials that are good here."""

    def __init__(self, issuer: Issuer, partition: str, accounts: tuple[str, ...]) -> None:
        self._issuer = issuer
        self._partition = partition
        self._administrators = {issuer.derived_id("AKIA", account): account for account in accounts}

    def recognise(self, access_key_id: str, session_token: str) -> Grant | None:
        """Return what the credentials stand for; None if they are unknown."""
        account = self._administrators.get(access_key_id)
        if account is None or session_token:
            return self._issuer.recognise(access_key_id, session_token)
        return Grant(
            access_key_id=access_key_id,
            role_arn="",
            role_id=self._issuer.derived_id("AIDA", account),
            session_arn=f"arn:{self._partition}:iam::{account}:user/{ADMINISTRATOR}",
            session_name=ADMINISTRATOR,
            source_identity=None,
            expires_at=_NEVER,
        )

    def secret_access_key(self, access_key_id: str) -> str:
        """Return the secret key that belongs to an access key id."""
        return self._issuer.secret_access_key(access_key_id)


def keyring(state: State) -> Keyring:
    """Return the credentials that are good for a state's accounts."""
    return Keyring(Issuer(bytes.fromhex(state.sealing_key)), state.partition, state.accounts)


def administrator_keys(state: State) -> tuple[AdministratorKey, ...]:
    """Return the administrators' credentials, the first account's first."""
    issuer = Issuer(bytes.fromhex(state.sealing_key))
    identifiers = [(account, issuer.derived_id("AKIA", account)) for account in state.accounts]
    return tuple(AdministratorKey(account, key, issuer.secret_access_key(key)) for account, key in identifiers)
