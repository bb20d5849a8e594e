"""The deadline that is enforced from outside, whatever the call does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.errors import DeadlineExceededError
from rolesanywhere_helper.mint.deadline import THREAD_NAME, Progress, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHORT = 0.1
LONG = 30.0


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What a hung call waits for; set at the end, and the call's thread seen to its end."""
    event = threading.Event()
    yield event
    event.set()
    for thread in abandoned_threads():
        thread.join(10)


def abandoned_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def test_the_result_comes_back() -> None:
    assert within(LONG, lambda _: "made") == "made"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_the_error_comes_back(error: BaseException) -> None:
    def fail(_: Progress) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        within(LONG, fail)

    assert caught.value is error


@pytest.mark.promise(58)
def test_a_call_that_hangs_is_left(held: threading.Event) -> None:
    def hang(progress: Progress) -> None:
        progress.enter("resolving the name")
        held.wait()

    with pytest.raises(DeadlineExceededError) as caught:
        within(SHORT, hang)

    assert caught.value.what == "no session within 0.1 s; gave up while resolving the name"
    assert [thread.daemon for thread in abandoned_threads()] == [True]


@pytest.mark.promise(58)
def test_the_same_call_in_time_is_not(held: threading.Event) -> None:
    held.set()

    assert within(LONG, lambda _: held.wait()) is True


def test_a_call_that_was_left_goes_no_further(held: threading.Event) -> None:
    went_further: list[str] = []
    within_step = step_recorder(went_further, held)

    with pytest.raises(DeadlineExceededError):
        within(SHORT, within_step)
    held.set()
    for thread in abandoned_threads():
        thread.join(10)

    assert went_further == ["before"]


def step_recorder(notes: list[str], held: threading.Event) -> Callable[[Progress], None]:
    def call(progress: Progress) -> None:
        notes.append("before")
        held.wait()
        progress.enter("sending")
        notes.append("after")

    return call


def test_progress_tells_the_last_step() -> None:
    progress = Progress()
    progress.enter("reading")
    progress.enter("signing")

    assert progress.step == "signing"
    assert progress.abandon() == "signing"
    with pytest.raises(DeadlineExceededError, match="gave up before sending"):
        progress.enter("sending")
