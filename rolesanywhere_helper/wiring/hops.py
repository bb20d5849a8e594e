"""What goes on from one role to the next: joins STS, deadline and the session before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.system.clocks import SystemClock

if TYPE_CHECKING:
    from rolesanywhere_helper.config.settings import ConnectionSettings
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import CredentialSource, Minter
    from rolesanywhere_helper.domain.role_hop import RoleHop


def hop_minter(
    hop: RoleHop,
    source: CredentialSource,
    connection: ConnectionSettings,
    deadline_seconds: float,
    *,
    is_guarded: bool = True,
) -> Minter:
    """Return what makes a session of the next role; ``is_guarded`` as for STS' connection."""
    from rolesanywhere_helper.mint.hop import HopMinter  # noqa: PLC0415 - only when minting

    def assume(before: Credentials) -> Credentials:
        from rolesanywhere_helper.aws.assume_role import StsConnection, assume_role  # noqa: PLC0415 - imports boto3

        how = StsConnection(verification(connection), hop.proxy, is_guarded=is_guarded)
        return assume_role(hop, before, how, SystemClock().now())

    return HopMinter(source=source, assume=assume, target=str(hop.role_arn), deadline_seconds=deadline_seconds)


class Given:
    """A source that was given its credentials (:class:`rolesanywhere_helper.domain.ports.CredentialSource`)."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def get(self) -> Credentials:
        """Return them."""
        return self._credentials


def verification(connection: ConnectionSettings) -> str | bool:
    """Say with what STS is verified, a path or False for nothing: the trust store of CreateSession."""
    from rolesanywhere_helper.transport.trust_store import (  # noqa: PLC0415 - imports ssl
        given_trust_store,
        system_trust_store,
    )

    if not connection.verify_tls:
        return False
    bundle = connection.ca_bundle
    store = system_trust_store() if bundle is None else given_trust_store(Path(bundle))
    return store.file or store.directory or True
