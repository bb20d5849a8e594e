"""One deadline for everything that a call does, enforced from outside of it.

Timeouts inside cannot do this: getaddrinfo has none, requests' bounds each read but not their sum (one byte a second
outlives it), and a token's vendor library does what it likes. So the call runs in a thread, and the caller stops
waiting for it. Nobody can stop a thread; but it is told (:meth:`Progress.enter`) and goes no further by itself.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from rolesanywhere_helper.errors import DeadlineExceededError

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_SECONDS = 15.0
THREAD_NAME = "rolesanywhere-mint"

_Result = TypeVar("_Result")


class Progress:
    """What a call is doing at the moment, for the message of a deadline, and whether anybody still waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._step = "starting"
        self._is_abandoned = False

    @property
    def step(self) -> str:
        """The step that was entered last."""
        return self._step

    def enter(self, step: str) -> None:
        """Note the next step, as a participle: ``reading the key``.

        Raises:
            DeadlineExceededError: nobody waits any longer, so the step must not be taken.

        """
        with self._lock:
            if self._is_abandoned:
                raise DeadlineExceededError(f"gave up before {step}")
            self._step = step

    def abandon(self) -> str:
        """Let the call go no further, and return the step that it is in."""
        with self._lock:
            self._is_abandoned = True
            return self._step


def within(seconds: float, call: Callable[[Progress], _Result]) -> _Result:
    """Return what the call returns, or raise what it raises, if that is before so many seconds have passed.

    Raises:
        DeadlineExceededError: it was not; the text names the time and the step.

    """
    outcome = _Outcome[_Result]()
    progress = Progress()
    # A daemon: a hung call must not keep the process from ending.
    threading.Thread(target=outcome.of, args=(call, progress), name=THREAD_NAME, daemon=True).start()
    if outcome.is_there.wait(seconds):
        return outcome.unwrap()
    raise DeadlineExceededError(f"no session within {seconds:.3g} s; gave up while {progress.abandon()}")


class _Outcome(Generic[_Result]):
    """What a call in a thread came to."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self._results: list[_Result] = []
        self._error: BaseException | None = None

    def of(self, call: Callable[[Progress], _Result], progress: Progress) -> None:
        try:
            self._results.append(call(progress))
        except BaseException as error:  # noqa: BLE001 - it is the caller's, in the other thread, whatever it is
            self._error = error
        finally:
            self.is_there.set()

    def unwrap(self) -> _Result:
        if self._error is not None:
            raise self._error
        return self._results[0]
