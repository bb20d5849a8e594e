"""Signals end a wait, once; the second one is obeyed as if nobody had taken the first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from rolesanywhere_helper.system.stop_signals import StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_this_wait_and_the_next(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.wait(0.01) is False
        os.kill(os.getpid(), number)
        began = time.monotonic()
        assert signals.wait(600) is True
        assert signals.wait(600) is True
        assert time.monotonic() - began < 60
        assert signal.getsignal(number) == before, "the next one does what it always did"
        assert signals.exit_code == (130 if number is signal.SIGINT else 0)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 4
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(number) == before


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.wait(0) is False
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_between_look_and_wait_is_not_lost() -> None:
    """The pipe is readable from the signal on, whenever the wait begins."""
    code = (
        "import os, signal\n"
        "from rolesanywhere_helper.system.stop_signals import StopSignals\n"
        "with StopSignals() as signals:\n"
        "    signals.is_told = None\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    signals.is_told = False\n"
        "    signals.wait(600)\n"
        "print('woken')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "woken\n", done.stderr
