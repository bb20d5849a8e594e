"""What the steps reach the machine, the network and AWS through. :mod:`.machine` has the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.config.settings import ConnectionSettings, SessionSettings
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.domain.ports import Clock, Transport
    from rolesanywhere_helper.domain.role_hop import RoleHop
    from rolesanywhere_helper.identity.loaded import CertificateFacts, LoadedIdentity

_Result = TypeVar("_Result")


class Doors(Protocol):
    """Each method does one thing, once, and raises :class:`rolesanywhere_helper.errors.HelperError` if it cannot."""

    @property
    def clock(self) -> Clock:
        """The clocks of this machine."""
        ...

    def load(self, reference: IdentityReference, *, accept_unusable: bool = False) -> LoadedIdentity:
        """Load certificate and key; somebody at the terminal may be asked for secrets, no PIN is tried twice.

        ``accept_unusable`` lets a leaf through that the service is known to refuse.
        """
        ...

    def attended(self, call: Callable[[], _Result]) -> _Result:
        """Call, and once more for each secret that is missing and that somebody at the terminal adds."""
        ...

    def certificate(self, reference: IdentityReference) -> CertificateFacts | None:
        """Return what the certificate alone says; None where nothing is looked at without a PIN."""
        ...

    def addresses(self, connection: ConnectionSettings) -> tuple[str, ...]:
        """Resolve the name of the first peer."""
        ...

    def connect(self, connection: ConnectionSettings) -> str:
        """Connect to the first peer and return its address."""
        ...

    def tls_certificate(self, connection: ConnectionSettings, *, verify: bool) -> bytes:
        """Return the certificate that the endpoint shows, as DER."""
        ...

    def transport(self, settings: SessionSettings) -> Transport:
        """Return the way to the service."""
        ...

    def caller(self, credentials: Credentials, settings: SessionSettings) -> str:
        """Ask STS whose credentials these are."""
        ...

    def assume(self, hop: RoleHop, source: Credentials, connection: ConnectionSettings) -> Credentials:
        """Go on to the next role."""
        ...

    def daemon_status(self, path: str, *, is_named: bool) -> bytes | None:
        """Ask the daemon at a socket what it holds; None if there is none."""
        ...

    def cache_key(self, settings: SessionSettings) -> str | None:
        """Name the session's place in the cache; None where its files cannot be read."""
        ...
