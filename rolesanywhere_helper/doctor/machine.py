"""The real doors: this machine, its network, and AWS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import DeadlineExceededError
from rolesanywhere_helper.identity import registry
from rolesanywhere_helper.mint.deadline import within
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.system.references import References
from rolesanywhere_helper.system.terminal import ask_secret
from rolesanywhere_helper.transport import probe
from rolesanywhere_helper.vend.agent_client import AgentSocket, ask_status
from rolesanywhere_helper.wiring import mint
from rolesanywhere_helper.wiring.access import asking, open_access, question_for, secrets_to_ask
from rolesanywhere_helper.wiring.hops import verification
from rolesanywhere_helper.wiring.place import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.config.settings import ConnectionSettings, SessionSettings
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.domain.ports import Transport
    from rolesanywhere_helper.domain.role_hop import RoleHop
    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.identity.loaded import CertificateFacts, LoadedIdentity

# For each step on the network, and for all that a token takes.
_SECONDS = 5.0
_IDENTITY_SECONDS = 60.0
_PORTS = {"http": 80, "https": 443}
# What is looked at without a token or an agent.
_PLAIN = frozenset({None, "env", "credential"})
_Result = TypeVar("_Result")


class Machine:
    """Implements :class:`rolesanywhere_helper.doctor.doors.Doors` where a command was started."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        # One for all, so that nothing is read twice that can be read only once.
        self._references = References(os.environ)
        # What somebody has typed in: nobody is asked twice, and a key that asks before each signature finds it here.
        self._typed: dict[str, str] = {}
        self.clock = SystemClock()

    def load(self, reference: IdentityReference, *, accept_unusable: bool = False) -> LoadedIdentity:
        """Load certificate and key as ``credential-process`` does."""
        for name in secrets_to_ask(reference):
            answer = None if name in self._typed else ask_secret(question_for(name))
            if answer is not None:
                self._typed[name] = answer
        access = self._access()
        now = self.clock.now()
        return self.attended(
            lambda: within(
                _IDENTITY_SECONDS,
                lambda _: registry.load(reference, now=now, access=access, accept_unusable=accept_unusable),
            )
        )

    def attended(self, call: Callable[[], _Result]) -> _Result:
        """Ask at the terminal that this process belongs to."""

        def again(secrets: Mapping[str, str]) -> _Result:
            self._typed.update(secrets)
            return call()

        return asking(again, ask_secret, self._typed)

    def _access(self) -> Access:
        return open_access(
            os.environ,
            secrets=self._typed,
            references=self._references,
            cache_directory=self._surroundings.cache_directory,
            in_gitlab_ci=self._surroundings.in_gitlab_ci,
        )

    def certificate(self, reference: IdentityReference) -> CertificateFacts | None:
        """Read the certificate of a file or variable alone."""
        if not reference.certificate or scheme_of(reference.certificate) not in _PLAIN:
            return None
        return registry.load_certificate(reference, self._access())

    def addresses(self, connection: ConnectionSettings) -> tuple[str, ...]:
        """Resolve, within a time that the resolver itself does not know."""
        way = _way(connection)
        try:
            return within(_SECONDS, lambda _: probe.addresses(way))
        except DeadlineExceededError:
            host, _ = way.first
            raise DeadlineExceededError(
                f"no name server told the address of {host} within {_SECONDS:g} s", "check /etc/resolv.conf and VPN"
            ) from None

    def connect(self, connection: ConnectionSettings) -> str:
        """Connect to the first address that answers."""
        return probe.connect(_way(connection), _SECONDS)

    def tls_certificate(self, connection: ConnectionSettings, *, verify: bool) -> bytes:
        """Shake hands."""
        bundle = None if connection.ca_bundle is None else Path(connection.ca_bundle)
        return probe.certificate(_way(connection), bundle, _SECONDS, verify=verify and connection.verify_tls)

    def transport(self, settings: SessionSettings) -> Transport:
        """Return the transport of CreateSession."""
        return mint.transport_for(settings)

    def caller(self, credentials: Credentials, settings: SessionSettings) -> str:
        """Ask the STS of the session's region, or of the emulator on this machine."""
        from rolesanywhere_helper.aws.caller_identity import caller_arn  # noqa: PLC0415 - imports boto3

        connection = settings.connection
        own = str(connection.endpoint) if connection.endpoint.is_loopback else None
        verify = verification(connection) if own is not None or connection.ca_bundle is not None else None
        return caller_arn(credentials, region=settings.spec.region, endpoint_url=own, verify=verify)

    def assume(self, hop: RoleHop, source: Credentials, connection: ConnectionSettings) -> Credentials:
        """Ask STS for the next role."""
        from rolesanywhere_helper.aws.assume_role import StsConnection, assume_role  # noqa: PLC0415 - imports boto3

        how = StsConnection(verification(connection), hop.proxy)
        return assume_role(hop, source, how, self.clock.now())

    def daemon_status(self, path: str, *, is_named: bool) -> bytes | None:
        """Ask over the socket."""
        return ask_status(AgentSocket(path, is_named=is_named), self.clock)

    def cache_key(self, settings: SessionSettings) -> str | None:
        """Name it as ``credential-process`` does."""
        return key_of(settings, self._references)


def _way(connection: ConnectionSettings) -> probe.Way:
    endpoint = connection.endpoint
    return probe.Way(endpoint.host, endpoint.port or _PORTS[endpoint.scheme], connection.proxy)
