"""What keeps a PIN from being tried twice, and how a token's answers are taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pkcs11
import pytest
from pkcs11 import TokenFlag
from pkcs11 import exceptions as said

from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
from rolesanywhere_helper.errors import EncryptedKeyError, PinRefusedError, TokenError, WrongSecretError
from rolesanywhere_helper.identity.access import Access
from rolesanywhere_helper.identity.pin_guard import read_pin
from rolesanywhere_helper.identity.pkcs11_token import Token
from rolesanywhere_helper.system.references import References
from tests.unit.identity import making

if TYPE_CHECKING:
    from pathlib import Path

PIN = "canary-73829146"
NAME = "pkcs11-pin"
READY = TokenFlag.TOKEN_INITIALIZED | TokenFlag.LOGIN_REQUIRED


@dataclass
class FakePins:
    """The records in memory; ``can_write`` is whether there are any."""

    can_write: bool = True
    refused: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

    def was_refused(self, lock: str, source: str) -> bool:
        del lock
        return source in self.refused

    def begin(self, lock: str, source: str) -> bool:
        del lock
        if self.can_write:
            self.refused.add(source)
        self.told.append("begin")
        return self.can_write

    def succeeded(self, lock: str, source: str) -> None:
        del lock
        self.refused.discard(source)
        self.told.append("succeeded")

    def failed(self, lock: str, source: str) -> None:
        del lock, source
        self.told.append("failed")


class FakeToken:
    """A token that answers a PIN as it is told to."""

    def __init__(self, answer: Exception | None = None, flags: TokenFlag = READY) -> None:
        self.label, self.serial, self.manufacturer_id, self.model = "host", b"1", "Maker", "Card"
        self.flags = flags
        self.slot = SimpleNamespace(slot_id=0, get_token=lambda: self)
        self.pins: list[object] = []
        self._answer = answer

    def open(self, user_pin: object = None) -> object:
        self.pins.append(user_pin)
        if self._answer is not None:
            raise self._answer
        return object()


def reference(source: SecretSource | None = None) -> IdentityReference:
    return IdentityReference("", "pkcs11:", secrets=() if source is None else ((NAME, source),))


STORED = reference(SecretSource(text=PIN))


def log_in(
    found: FakeToken, pins: FakePins | None = None, named: IdentityReference = STORED, access: Access | None = None
) -> None:
    Token(found).log_in(named, access or Access(pins=pins or FakePins()))  # type: ignore[arg-type]


def test_a_right_pin_leaves_no_record() -> None:
    pins, token = FakePins(), FakeToken()
    log_in(token, pins)
    assert token.pins == [PIN]
    assert pins.told == ["begin", "succeeded"]
    assert pins.refused == set()


@pytest.mark.promise(57)
@pytest.mark.parametrize("answer", [said.PinIncorrect(), said.PinInvalid(), said.PinLenRange(), said.PinLocked()])
def test_a_refused_pin_is_not_tried_again(answer: Exception) -> None:
    pins, token = FakePins(), FakeToken(answer)
    with pytest.raises(PinRefusedError) as caught:
        log_in(token, pins)
    assert PIN not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(PinRefusedError, match="refused before"):
        log_in(token, pins)
    assert len(token.pins) == 1


@pytest.mark.promise(57)
@pytest.mark.parametrize("answer", [said.GeneralError(), said.DeviceError(), said.FunctionFailed()])
def test_what_may_have_counted_is_not_tried_again(answer: Exception) -> None:
    pins, token = FakePins(), FakeToken(answer)
    with pytest.raises(TokenError):
        log_in(token, pins)
    with pytest.raises(PinRefusedError, match="never came to an end"):
        log_in(token, pins)
    assert len(token.pins) == 1


@pytest.mark.parametrize("answer", [said.DeviceRemoved(), said.TokenNotPresent(), said.SessionHandleInvalid()])
def test_a_pin_that_nobody_looked_at_is_tried_again(answer: Exception) -> None:
    pins, token = FakePins(), FakeToken(answer)
    for _ in range(2):
        with pytest.raises(TokenError):
            log_in(token, pins)
    assert len(token.pins) == 2
    assert pins.refused == set()


def test_another_program_that_has_logged_in_for_us_is_fine() -> None:
    log_in(FakeToken(said.UserAlreadyLoggedIn()))


@pytest.mark.promise(57)
@pytest.mark.parametrize("flag", [TokenFlag.USER_PIN_COUNT_LOW, TokenFlag.USER_PIN_FINAL_TRY])
def test_with_few_attempts_left_a_stored_pin_needs_a_record(flag: TokenFlag) -> None:
    kept_back, tried = FakeToken(flags=READY | flag), FakeToken(flags=READY | flag)
    with pytest.raises(PinRefusedError, match="few attempts"):
        log_in(kept_back, FakePins(can_write=False))
    assert kept_back.pins == []
    log_in(tried, FakePins())
    log_in(tried, FakePins(can_write=False), reference(), Access(secrets={NAME: PIN}, is_attended=True))
    assert tried.pins == [PIN, PIN]
    without_record = FakeToken()
    log_in(without_record, FakePins(can_write=False))
    assert without_record.pins == [PIN]


def test_a_locked_token_is_given_nothing() -> None:
    token = FakeToken(flags=READY | TokenFlag.USER_PIN_LOCKED)
    with pytest.raises(PinRefusedError, match="locked"):
        log_in(token, access=Access(secrets={NAME: PIN}, is_attended=True))
    assert token.pins == []


def test_a_token_with_a_keypad_asks_by_itself() -> None:
    token = FakeToken(flags=READY | TokenFlag.PROTECTED_AUTHENTICATION_PATH)
    log_in(token, named=reference())
    assert token.pins == [pkcs11.PROTECTED_AUTH]
    with pytest.raises(EncryptedKeyError) as caught:
        log_in(FakeToken(), named=reference())
    assert caught.value.needs == NAME


def test_who_types_a_pin_again_means_it() -> None:
    pins, token = FakePins(), FakeToken(said.PinIncorrect())
    for _ in range(2):
        with pytest.raises(PinRefusedError):
            log_in(token, pins, reference(), Access(pins=pins, secrets={NAME: PIN}, is_attended=True))
    assert len(token.pins) == 2
    assert pins.told == []


@pytest.mark.promise(57)
def test_a_pin_that_the_daemon_holds_is_tried_once() -> None:
    pins, token = FakePins(), FakeToken(said.PinIncorrect())
    for _ in range(2):
        with pytest.raises(PinRefusedError):
            log_in(token, access=Access(pins=pins, secrets={NAME: PIN}))
    assert len(token.pins) == 1


def source_of(named: IdentityReference, access: Access | None = None) -> str:
    found = read_pin(NAME, named, access or Access())
    assert found is not None
    assert PIN not in repr(found)
    assert PIN not in found.hint
    return found.source


def test_a_file_is_known_by_its_last_change(tmp_path: Path) -> None:
    file = making.write(tmp_path / "pin", PIN.encode())
    first = source_of(reference(SecretSource(file)))
    assert first == source_of(reference(SecretSource(file)))
    assert first == f"file {file} {(tmp_path / 'pin').stat().st_mtime_ns}"


def test_of_all_else_eight_bits_are_told() -> None:
    def of(pin: str) -> str:
        named = reference(SecretSource("env:TOKEN_PIN"))
        return source_of(named, Access(references=References({"TOKEN_PIN": pin})))

    sources = {of(f"{number}{PIN}") for number in range(2000)}
    assert len(sources) == 256
    assert of(PIN) == of(PIN) == source_of(STORED)
    assert all(len(each) == len(f"{NAME} 00") for each in sources)


@pytest.mark.parametrize(("content", "why"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff1234", "UTF-8")])
def test_what_cannot_be_a_pin_is_no_attempt(content: bytes, why: str, tmp_path: Path) -> None:
    token = FakeToken()
    file = making.write(tmp_path / "pin", content)
    with pytest.raises(WrongSecretError, match=why):
        log_in(token, named=reference(SecretSource(file)))
    assert token.pins == []
