"""What the log tells of grants and refusals, and how little under load."""

from __future__ import annotations

import logging
import tracemalloc

import pytest

from rolesanywhere_helper.daemon.audit import LOGGER, AuditLog, tell_who_is_allowed
from rolesanywhere_helper.domain.serving import AccessPolicy, Peer

DEFAULT = AccessPolicy(frozenset({0, 991}))
STATED = AccessPolicy(frozenset({0, 991, 1000}), is_stated=True)
OPEN = AccessPolicy(frozenset({0, 991}), everyone=True, is_stated=True)
ON_UNIX = Peer("agent", 1000, frozenset({100}), 4711)
ON_TCP = Peer("imds", 1000)


class BootTime:
    """A boot clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def now(self) -> float:
        return 1_800_000_000.0

    def boottime(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> BootTime:
    return BootTime()


@pytest.fixture
def audit(clock: BootTime, caplog: pytest.LogCaptureFixture) -> AuditLog:
    caplog.set_level(logging.INFO, LOGGER)
    policies = {"deploy": DEFAULT, "stated": STATED, "open": OPEN}
    return AuditLog(clock, policies.get)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    return caplog


# Grants


@pytest.mark.promise(26)
def test_a_grant_is_one_line_with_who_what_and_how(audit: AuditLog, lines: pytest.LogCaptureFixture) -> None:
    audit.granted("deploy", ON_UNIX, "ASIAEXAMPLE1")
    audit.granted("deploy", ON_TCP, "ASIAEXAMPLE1")
    assert lines.messages == [
        "granted session=deploy uid=1000 pid=4711 channel=agent key=ASIAEXAMPLE1",
        "granted session=deploy uid=1000 channel=imds key=ASIAEXAMPLE1",
    ]
    assert {record.name for record in lines.records} == {"rolesanywhere_helper.audit"}


def test_only_the_first_grant_of_each_set_to_each_peer_is_a_line(
    audit: AuditLog, lines: pytest.LogCaptureFixture
) -> None:
    others = [ON_TCP, Peer("imds", 1001), Peer("agent", 1000, frozenset(), 4712), Peer("imds", None)]
    for _ in range(100):
        for peer in (ON_UNIX, *others):
            audit.granted("deploy", peer, "ASIAEXAMPLE1")
    assert len(lines.messages) == 5
    audit.granted("deploy", ON_UNIX, "ASIAEXAMPLE2")
    audit.granted("deploy", ON_UNIX, "ASIAEXAMPLE2")
    audit.granted("stated", ON_UNIX, "ASIAEXAMPLE2")
    assert [line.split()[1] for line in lines.messages[5:]] == ["session=deploy", "session=stated"]


def test_memory_does_not_grow_with_the_number_of_peers(audit: AuditLog, lines: pytest.LogCaptureFixture) -> None:
    lines.set_level(logging.CRITICAL, LOGGER)

    def meet(first: int, count: int) -> None:
        for number in range(first, first + count):
            audit.granted("deploy", Peer("agent", 1000, frozenset(), number), "ASIAEXAMPLE1")
            audit.refused("deploy", Peer("imds", number), "user")

    tracemalloc.start()
    meet(0, 3_000)
    filled = tracemalloc.get_traced_memory()[0]
    meet(3_000, 10_000)
    grown = tracemalloc.get_traced_memory()[0] - filled
    tracemalloc.stop()
    assert filled > 100_000, "there is something to forget"
    assert grown < filled / 10


# Refusals


@pytest.mark.promise(26)
def test_the_default_policys_refusal_names_the_setting_that_would_allow(
    audit: AuditLog, lines: pytest.LogCaptureFixture
) -> None:
    audit.refused("deploy", ON_UNIX, "user")
    (line,) = lines.messages
    assert line.startswith("refused session=deploy uid=1000 pid=4711 channel=agent reason=user: ")
    assert 'allow-users = ["1000"] (or the user\'s name) in [session.deploy]' in line
    assert lines.records[0].levelno == logging.WARNING


@pytest.mark.promise(26)
def test_a_stated_policys_refusal_names_where_it_is_stated(audit: AuditLog, lines: pytest.LogCaptureFixture) -> None:
    audit.refused("stated", Peer("imds", 1001), "user")
    assert lines.messages == [
        (
            "refused session=stated uid=1001 channel=imds reason=user: "
            "neither in allow-users nor in allow-groups of [session.stated]"
        )
    ]


@pytest.mark.promise(26, 27)
def test_a_refusal_of_somebody_unknown_says_so(audit: AuditLog, lines: pytest.LogCaptureFixture) -> None:
    audit.refused("deploy", Peer("imds", None), "user")
    assert "uid=unknown" in lines.messages[0]
    assert "the kernel does not tell whose connection this is" in lines.messages[0]


def test_a_refusal_that_is_not_the_policys_names_no_setting(audit: AuditLog, lines: pytest.LogCaptureFixture) -> None:
    audit.refused("open", ON_TCP, "token")
    audit.refused("gone", ON_TCP, "token")
    assert lines.messages == [f"refused session={name} uid=1000 channel=imds reason=token" for name in ("open", "gone")]


def test_refusals_are_limited_for_each_session_and_user_and_the_rest_is_counted(
    audit: AuditLog, clock: BootTime, lines: pytest.LogCaptureFixture
) -> None:
    for _ in range(1_000):
        audit.refused("deploy", ON_TCP, "user")
    assert len(lines.messages) == 5
    audit.refused("deploy", Peer("imds", 1001), "user")
    audit.refused("open", ON_TCP, "token")
    assert len(lines.messages) == 7, "others have their own"
    clock.seconds += 59
    audit.refused("deploy", ON_TCP, "user")
    assert len(lines.messages) == 7
    clock.seconds += 1
    audit.refused("deploy", ON_TCP, "user")
    assert lines.messages[-1] == "refused session=deploy uid=1000: 996 more not shown"
    assert len(lines.messages) == 9
    clock.seconds += 3600
    for _ in range(10):
        audit.refused("deploy", ON_TCP, "user")
    assert len(lines.messages) == 9 + 5, "a quiet hour saves up no more than one burst"


def test_all_together_they_are_limited_too(audit: AuditLog, clock: BootTime, lines: pytest.LogCaptureFixture) -> None:
    for uid in range(10_000):
        audit.refused("deploy", Peer("imds", uid + 100_000), "user")
    assert len(lines.messages) == 50
    lines.clear()
    audit.flush()
    shown = sum(int(line.rpartition(": ")[2].split()[0]) for line in lines.messages)
    assert shown == 9_950, "not one is lost from the count, though most users were forgotten"
    clock.seconds += 2
    audit.refused("deploy", Peer("imds", 7), "user")
    assert "uid=7 " in lines.messages[-1]


def test_what_was_left_out_is_told_at_the_end(audit: AuditLog, lines: pytest.LogCaptureFixture) -> None:
    for _ in range(6):
        audit.refused("deploy", ON_TCP, "user")
    audit.flush()
    audit.flush()
    assert lines.messages[5:] == ["refused session=deploy uid=1000: 1 more not shown"]


def test_a_value_cannot_look_like_another_pair(audit: AuditLog, lines: pytest.LogCaptureFixture) -> None:
    audit.refused("a uid=0\ngranted" + "x" * 1000, Peer("imds x=1", 1000), "user")
    assert lines.messages[0].startswith("refused session=a?uid=0?granted")
    assert "channel=imds?x=1 " in lines.messages[0]
    assert len(lines.messages[0]) < 300


# At load


@pytest.mark.promise(26)
def test_what_is_open_to_everybody_is_said_and_nothing_else(lines: pytest.LogCaptureFixture) -> None:
    lines.set_level(logging.INFO, LOGGER)
    tell_who_is_allowed({"deploy": DEFAULT, "stated": STATED, "open": OPEN})
    (line,) = lines.messages
    assert "session open is open to everybody" in line
    assert 'allow-users = ["*"]' in line
    assert "[session.open]" in line


# Tokens of systemd units


def test_each_token_that_a_unit_is_given_is_a_line(audit: AuditLog, lines: pytest.LogCaptureFixture) -> None:
    manager = Peer("load-credential", 0, frozenset({0}), 1)
    for _ in range(2):
        audit.token_given("app.service", "app", "deploy", manager)
    assert (
        lines.messages
        == ["granted session=deploy uid=0 pid=1 channel=load-credential unit=app.service endpoint=app"] * 2
    )


def test_units_that_are_refused_do_not_fill_the_log(
    audit: AuditLog, clock: BootTime, lines: pytest.LogCaptureFixture
) -> None:
    for number in range(100):
        audit.token_refused(f"a{number}\n .service", Peer("load-credential", 0), "unit")
    assert lines.messages[0] == "refused session=- uid=0 channel=load-credential unit=a0??.service reason=unit"
    assert len(lines.messages) == 5
    clock.seconds += 61
    audit.token_refused(None, Peer("load-credential", 0), "unit")
    assert lines.messages[5:] == [
        "refused session=- uid=0 channel=load-credential reason=unit",
        "refused session=- uid=0: 95 more not shown",
    ]
