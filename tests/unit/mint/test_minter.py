"""Making one session: what is tried again, when, how often, and what is not."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.domain.endpoint import parse_endpoint
from rolesanywhere_helper.errors import (
    BadAnswerError,
    CertificateRevokedError,
    ConnectionFailedError,
    DeadlineExceededError,
    HelperError,
    LeafExpiredError,
    NetworkError,
    RedirectRefusedError,
    ServiceUnavailableError,
    ThrottledError,
    TlsError,
    UnresolvedHostError,
    WrongRoleError,
)
from rolesanywhere_helper.mint.deadline import THREAD_NAME
from rolesanywhere_helper.mint.minter import SessionMinter
from tests.fakes.answers import created, http_date, refused
from tests.fakes.clock import FakeClock, FixedRandomness
from tests.fakes.identity import FakeIdentity
from tests.fakes.sessions import SECRET, TOKEN, credentials, spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.domain.ports import HttpRequest, HttpResponse, Identity

NOW = 1_800_000_000
GOOD = created(NOW + 3600)
BUSY = refused("busy", 503, "")
BROKEN = ConnectionFailedError("reset")


class FakeTransport:
    """Gives prepared answers, or raises prepared errors, and notes what it was asked."""

    def __init__(self, *answers: HttpResponse | HelperError) -> None:
        self._answers = deque(answers)
        self.requests: list[HttpRequest] = []
        self.timeouts: list[float] = []

    def send(self, request: HttpRequest, timeout: float) -> HttpResponse:
        self.requests.append(request)
        self.timeouts.append(timeout)
        answer = self._answers.popleft()
        if isinstance(answer, HelperError):
            raise answer
        return answer

    def dates(self) -> list[str]:
        return [dict(request.headers)["X-Amz-Date"] for request in self.requests]


@dataclass
class Setting:
    """One minter, and all that it was given."""

    transport: FakeTransport
    load: Callable[[], Identity] = FakeIdentity
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    point: float = 0.5
    deadline: float = 15.0

    @property
    def minter(self) -> SessionMinter:
        return SessionMinter(
            load_identity=self.load,
            transport=self.transport,
            endpoint=parse_endpoint("https://host.example"),
            spec=spec(),
            clock=self.clock,
            randomness=FixedRandomness(self.point),
            deadline_seconds=self.deadline,
        )


def test_a_session() -> None:
    setting = Setting(FakeTransport(GOOD))

    assert setting.minter.mint() == credentials(NOW)
    assert setting.clock.slept == []
    assert setting.transport.timeouts == [15.0]
    assert dict(setting.transport.requests[0].headers)["Authorization"].startswith(
        "AWS4-X509-ECDSA-SHA256 Credential=4096/20270115/eu-central-1/rolesanywhere/aws4_request, "
    )


def test_the_region_of_the_scope_is_the_one_of_the_session() -> None:
    setting = Setting(FakeTransport(GOOD))
    setting.minter.mint()

    assert "/eu-central-1/rolesanywhere/" in dict(setting.transport.requests[0].headers)["Authorization"]


@pytest.mark.promise(59)
@pytest.mark.parametrize("trouble", [BUSY, BROKEN, refused("Rate exceeded", 400, "ThrottlingException")])
@pytest.mark.parametrize(("point", "slept"), [(0.0, [0.0, 0.0]), (0.5, [0.25, 0.5]), (1.0, [0.5, 1.0])])
def test_full_jitter(trouble: HttpResponse | HelperError, point: float, slept: list[float]) -> None:
    setting = Setting(FakeTransport(trouble, trouble, GOOD), point=point)

    assert setting.minter.mint().access_key_id == "ASIAEXAMPLE"
    assert setting.clock.slept == slept
    assert setting.transport.timeouts == [15.0, 15.0 - slept[0], 15.0 - sum(slept)]


@pytest.mark.promise(59)
def test_each_attempt_is_signed_anew() -> None:
    setting = Setting(FakeTransport(refused("busy", 503, "", **{"retry-after": "2"}), GOOD), point=0)
    setting.minter.mint()

    assert setting.transport.dates() == ["20270115T080000Z", "20270115T080002Z"]
    assert len({dict(request.headers)["Authorization"] for request in setting.transport.requests}) == 2


@pytest.mark.promise(59)
@pytest.mark.parametrize(
    ("retry_after", "slept"),
    [
        ("2", 2.0),
        ("0", 0.0),
        (http_date(NOW + 3), 3.0),
        ("5", 5.0),
        ("6", 5.0),
        ("86400", 5.0),
        (http_date(NOW - 100), 0.0),
        ("soon", 0.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_and_capped(status: int, retry_after: str, slept: float) -> None:
    trouble = refused("busy", status, "", **{"retry-after": retry_after})
    setting = Setting(FakeTransport(trouble, GOOD), point=0)

    setting.minter.mint()

    assert setting.clock.slept == [slept]


@pytest.mark.promise(59)
def test_retry_after_adds_to_the_jitter_so_that_machines_do_not_come_back_together() -> None:
    setting = Setting(FakeTransport(refused("busy", 503, "", **{"retry-after": "2"}), GOOD), point=1)

    setting.minter.mint()

    assert setting.clock.slept == [2.5]


@pytest.mark.promise(58, 59)
def test_a_pause_that_outlasts_the_deadline_is_not_begun() -> None:
    trouble = refused("Rate exceeded", 429, "", **{"retry-after": "5"})
    setting = Setting(FakeTransport(trouble, GOOD), deadline=5.0)

    with pytest.raises(ThrottledError):
        setting.minter.mint()

    assert setting.clock.slept == []
    assert len(setting.transport.requests) == 1


@pytest.mark.promise(58, 59)
def test_retries_share_the_deadline() -> None:
    trouble = refused("busy", 503, "", **{"retry-after": "5"})
    setting = Setting(FakeTransport(trouble, trouble, GOOD), point=0, deadline=8.0)

    with pytest.raises(ServiceUnavailableError):
        setting.minter.mint()

    assert setting.transport.timeouts == [8.0, 3.0]
    assert setting.clock.slept == [5.0]


@pytest.mark.promise(59)
@pytest.mark.parametrize(("trouble", "kind"), [(BUSY, ServiceUnavailableError), (BROKEN, ConnectionFailedError)])
def test_three_attempts_are_all(trouble: HttpResponse | HelperError, kind: type[HelperError]) -> None:
    setting = Setting(FakeTransport(*[trouble] * 3, GOOD))

    with pytest.raises(kind):
        setting.minter.mint()

    assert len(setting.transport.requests) == 3


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (TlsError("x"), TlsError),
        (RedirectRefusedError("x"), RedirectRefusedError),
        (UnresolvedHostError("x"), UnresolvedHostError),
        (DeadlineExceededError("x"), DeadlineExceededError),
        (NetworkError("x"), NetworkError),
        (BadAnswerError("x"), BadAnswerError),
        (created(NOW + 10**6), BadAnswerError),
        (refused("Certificate revoked"), CertificateRevokedError),
    ],
)
def test_what_does_not_pass_is_not_tried_again(trouble: HttpResponse | HelperError, kind: type[HelperError]) -> None:
    setting = Setting(FakeTransport(trouble, GOOD))

    with pytest.raises(kind):
        setting.minter.mint()

    assert len(setting.transport.requests) == 1
    assert setting.clock.slept == []


@pytest.mark.promise(66)
def test_credentials_for_another_role() -> None:
    body = GOOD.body.replace(b"role/Deploy", b"role/Admin")
    setting = Setting(FakeTransport(type(GOOD)(201, {}, body)))

    with pytest.raises(WrongRoleError):
        setting.minter.mint()


def test_an_identity_that_cannot_be_used_sends_nothing() -> None:
    def load() -> Identity:
        raise LeafExpiredError("it ended")

    setting = Setting(FakeTransport(GOOD), load)

    with pytest.raises(LeafExpiredError):
        setting.minter.mint()
    assert setting.transport.requests == []


def test_the_identity_is_read_once_for_all_attempts() -> None:
    loads: list[Identity] = []

    def load() -> Identity:
        loads.append(FakeIdentity())
        return loads[-1]

    Setting(FakeTransport(BUSY, BUSY, GOOD), load).minter.mint()

    assert len(loads) == 1


@pytest.mark.promise(58)
def test_an_identity_that_hangs_is_under_the_deadline_too_and_sends_nothing_later() -> None:
    held = threading.Event()

    def load() -> Identity:
        held.wait()
        return FakeIdentity()

    setting = Setting(FakeTransport(GOOD), load, deadline=0.1)
    with pytest.raises(DeadlineExceededError, match="gave up while reading certificate and key"):
        setting.minter.mint()
    held.set()
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(10)

    assert setting.transport.requests == []
    assert Setting(FakeTransport(GOOD), load).minter.mint() == credentials(NOW)


def test_no_attempt_without_time() -> None:
    setting = Setting(FakeTransport(GOOD))

    def load() -> Identity:
        setting.clock.advance(20)
        return FakeIdentity()

    setting.load = load
    with pytest.raises(DeadlineExceededError, match="no time was left"):
        setting.minter.mint()
    assert setting.transport.requests == []


@pytest.mark.promise(72)
def test_the_log_names_headers_and_holds_no_value(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    trouble = refused(f"busy {SECRET}", 503, "", **{"x-odd": SECRET})
    setting = Setting(FakeTransport(trouble, GOOD))
    setting.minter.mint()

    assert "X-Amz-X509" in caplog.text
    assert "x-odd" in caplog.text
    signature = dict(setting.transport.requests[0].headers)["Authorization"].rpartition("=")[2]
    for secret in (SECRET, TOKEN, "ASIAEXAMPLE", signature):
        assert secret not in caplog.text
