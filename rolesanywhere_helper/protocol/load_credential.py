r"""systemd's ``LoadCredential=NAME:/path/of/a/socket``: a unit is given the token of a container endpoint.

systemd.exec(5): where the path is that of a stream socket, the service manager connects to it for each start of the
unit and reads the credential until the connection is closed. Its own end is bound to an abstract address that names
who asks: ``\0<random>/unit/<unit>/<credential>``, the random part in hexadecimal digits.

Anybody may bind to an address of that form: it counts only from root, whose word the unit's name is. What is handed out
is the token and no key, so that nothing the unit holds expires.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.domain.serving import Counters, Peer, UnitAudit
    from rolesanywhere_helper.protocol.container import ContainerEndpoint

_ROOT = 0
# Neither a unit's name nor a credential's can hold a slash.
_ADDRESS = re.compile(r"\0[0-9a-f]{1,16}/unit/([^/\0]{1,255})/([^/\0]{1,255})")


def requesting_unit(address: bytes) -> str | None:
    """Return the unit that the peer's address names, or None if it names none."""
    try:
        found = _ADDRESS.fullmatch(address.decode())
    except UnicodeDecodeError:
        return None
    return None if found is None else found[1]


class LoadCredentialRoute:
    """Who may have which token: units by their names, each with one container endpoint."""

    outlet = "load-credential"

    def __init__(self, units: Mapping[str, ContainerEndpoint], audit: UnitAudit, counters: Counters) -> None:
        self._units = units
        self._audit = audit
        self._counters = counters

    def token(self, peer: Peer, address: bytes) -> bytes | None:
        """Return the present token of the unit that asks, without a newline, or None where it is refused.

        ``address`` is the one that the peer's end is bound to, empty if it is bound to none.
        """
        unit = requesting_unit(address)
        endpoint = None if unit is None else self._units.get(unit)
        if peer.uid != _ROOT or unit is None or endpoint is None:
            self._refuse(unit, peer, "unit" if peer.uid == _ROOT else "user")
            return None
        self._audit.token_given(unit, endpoint.name, endpoint.view.name, peer)
        return endpoint.tokens().current.encode()

    def _refuse(self, unit: str | None, peer: Peer, reason: str) -> None:
        self._counters.refused(self.outlet, reason)
        self._audit.token_refused(unit, peer, reason)
