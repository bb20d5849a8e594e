"""Which unit stands in the address of who asks."""

from __future__ import annotations

import pytest

from rolesanywhere_helper.domain.serving import Peer
from rolesanywhere_helper.protocol.container import ContainerEndpoint, ContainerTokens
from rolesanywhere_helper.protocol.load_credential import LoadCredentialRoute, requesting_unit
from tests.fakes.serving import FakeCounters, FakeView

ROOT = Peer("load-credential", 0, frozenset({0}), 1)
APP = b"\0adf9d86b6eda275e/unit/app.service/aws-token"


class UnitAudit:
    def __init__(self) -> None:
        self.lines: list[tuple[str | None, ...]] = []

    def token_given(self, unit: str, endpoint: str, session: str, peer: Peer) -> None:
        assert peer.uid == 0
        self.lines.append((unit, endpoint, session))

    def token_refused(self, unit: str | None, peer: Peer, reason: str) -> None:
        self.lines.append((unit, str(peer.uid), reason))


@pytest.mark.parametrize(
    ("address", "unit"),
    [
        (APP, "app.service"),
        (b"\0d6/unit/worker@blue.service/token", "worker@blue.service"),  # the number is not padded
        (rb"X0/unit/a\x2db.service/t".replace(b"X", b"\0", 1), r"a\x2db.service"),
        (b"", None),
        (b"\0", None),
        (APP[1:], None),  # the path of a file
        (APP + b"\0", None),
        (APP + b"/more", None),
        (APP.replace(b"/unit/", b"/user/"), None),
        (APP.replace(b"/aws-token", b""), None),
        (APP.replace(b"/aws-token", b"/"), None),
        (APP.replace(b"app.service", b""), None),
        (APP.replace(b"app.service", b"a/b.service"), None),
        (APP.replace(b"adf9", b"xyz"), None),
        (APP.replace(b"app", b"\xff"), None),
        (b"\0" + b"/unit/app.service/aws-token", None),
        (b"\0evil/unit/a.service/x" + APP, None),
    ],
)
def test_only_the_address_that_systemd_binds_to_names_a_unit(address: bytes, unit: str | None) -> None:
    assert requesting_unit(address) == unit


@pytest.mark.parametrize(
    ("peer", "address", "line"),
    [
        (ROOT, APP, None),
        (ROOT, APP.replace(b"app", b"other"), ("other.service", "0", "unit")),
        (ROOT, b"", (None, "0", "unit")),
        (Peer("load-credential", 12_345, frozenset({0}), 1), APP, ("app.service", "12345", "user")),
        (Peer("load-credential", None), APP, ("app.service", "None", "user")),
    ],
)
def test_root_alone_is_believed_and_units_that_are_named(
    peer: Peer, address: bytes, line: tuple[str | None, ...] | None
) -> None:
    audit, counters, tokens = UnitAudit(), FakeCounters(), ContainerTokens("now", "before")
    units = {"app.service": ContainerEndpoint("app", FakeView(), lambda: tokens)}

    token = LoadCredentialRoute(units, audit, counters).token(peer, address)

    assert token == (b"now" if line is None else None)
    assert audit.lines == [line or ("app.service", "app", "deploy")]
    assert counters.refusals == ([] if line is None else [("load-credential", line[2])])
