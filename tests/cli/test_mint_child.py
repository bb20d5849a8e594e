"""``mint-child`` from the outside: one question in, one answer out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.protocol.mint_exchange import Question, decode_answer, encode_question

if TYPE_CHECKING:
    from pathlib import Path

    from rolesanywhere_helper.emulator.server import Running
    from rolesanywhere_helper.protocol.mint_exchange import Answer
    from tests.conftest import Finished, RunHelper


def question_of(session_flags: list[str], **changed: str) -> Question:
    pairs = zip(session_flags[::2], session_flags[1::2], strict=True)
    session = {flag.removeprefix("--"): value for flag, value in pairs}
    return Question(session | {name.replace("_", "-"): value for name, value in changed.items()})


def answered(finished: Finished) -> Answer:
    assert finished.exit_code == 0, finished.err
    return decode_answer(finished.stdout)


def test_it_answers_with_credentials_and_what_it_learnt(
    run_helper: RunHelper, emulator: Running, session_flags: list[str]
) -> None:
    finished = run_helper("mint-child", input=encode_question(question_of(session_flags)))

    answer = answered(finished)
    made = answer.credentials
    assert made is not None
    assert made.role_arn == emulator.announcement["roleArn"]
    assert 3500 < made.expires_at - time.time() <= 3600
    assert answer.not_before is not None
    assert answer.not_after is not None
    assert answer.not_before < time.time() < answer.not_after
    assert answer.clock_skew_seconds == pytest.approx(0, abs=3)
    assert finished.stderr == b""


def test_it_neither_reads_nor_writes_a_cache(
    run_helper: RunHelper, emulator: Running, session_flags: list[str], clean_environment: dict[str, str]
) -> None:
    message = encode_question(question_of(session_flags))

    first, second = (answered(run_helper("mint-child", input=message)) for _ in range(2))

    assert first.credentials != second.credentials
    assert len(emulator.requests()) == 2
    from pathlib import Path  # noqa: PLC0415 - only here

    assert list(Path(clean_environment["HOME"]).iterdir()) == []


def test_it_reads_no_setting_of_the_environment(run_helper: RunHelper, session_flags: list[str]) -> None:
    misleading = {
        "ROLESANYWHERE_HELPER_ROLE_ARN": "nonsense",
        "ROLESANYWHERE_HELPER_CONFIG": "/nonexistent",
        "AWS_ENDPOINT_URL_ROLESANYWHERE": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/nonexistent",
    }

    finished = run_helper("mint-child", input=encode_question(question_of(session_flags)), env=misleading)

    assert answered(finished).credentials is not None


@pytest.mark.promise(46)
def test_a_failure_is_an_answer_with_what_was_learnt(
    run_helper: RunHelper, emulator: Running, session_flags: list[str]
) -> None:
    emulator.set_fault(status=403, message="Invalid signature", headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"})

    answer = answered(run_helper("mint-child", input=encode_question(question_of(session_flags))))

    assert answer.credentials is None
    assert answer.error is not None
    assert answer.error.code == "clock-skew"
    assert answer.clock_skew_seconds is not None
    assert answer.clock_skew_seconds > 86_400
    assert answer.not_after is not None


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"endpoint": "http://127.0.0.1:1"}, "connection-failed"),
        ({"private_key": "/nonexistent/key"}, "unreadable-key"),
        ({"role_arn": "nonsense"}, "invalid-arn"),
        ({"endpoint": "http://192.0.2.1"}, "invalid-parameter"),
        ({"ca_bundle": "/nonexistent", "endpoint": "https://127.0.0.1:1"}, "usage"),
    ],
)
def test_every_failure_is_an_answer(
    run_helper: RunHelper, session_flags: list[str], changed: dict[str, str], code: str
) -> None:
    message = encode_question(question_of(session_flags, **changed))

    answer = answered(run_helper("mint-child", input=message))

    assert answer.error is not None
    assert answer.error.code == code
    assert (answer.not_after is not None) == (code in {"connection-failed", "unreadable-key"})


@pytest.mark.promise(54)
def test_the_dates_of_a_certificate_that_cannot_be_used_are_told(
    run_helper: RunHelper, session_flags: list[str], expired: tuple[Path, Path]
) -> None:
    certificate, key = expired
    message = encode_question(question_of(session_flags, certificate=str(certificate), private_key=str(key)))

    answer = answered(run_helper("mint-child", input=message))

    assert answer.error is not None
    assert answer.error.code == "leaf-expired"
    assert answer.not_after is not None
    assert answer.not_after < time.time()


@pytest.fixture
def expired(tmp_path: Path, emulator: Running) -> tuple[Path, Path]:
    from tests.plugins.emulated import issue  # noqa: PLC0415 - only here

    ca = (str(emulator.directory.file("ca.pem")), str(emulator.directory.file("ca.key")))
    return issue(tmp_path, ca, config="keyUsage=critical,digitalSignature", days=-1)


@pytest.mark.parametrize("message", [b"", b"hello", b"rahm1 2\n{}", b"x" * 300_000])
def test_without_a_question_it_says_whose_it_is(run_helper: RunHelper, message: bytes) -> None:
    finished = run_helper("mint-child", input=message)

    assert (finished.exit_code, finished.stdout) == (2, b"")
    assert "there is no question on standard input" in finished.err


def test_it_is_not_in_the_help(run_helper: RunHelper) -> None:
    assert "mint-child" not in run_helper("--help").out
