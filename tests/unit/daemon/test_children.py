"""Children that are what they should not be: each ends as an error, and nothing of it stays."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.daemon.children import (
    COMMAND,
    PASSED_VARIABLES,
    Children,
    child_command,
    child_environment,
)
from rolesanywhere_helper.errors import ChildNotStartedError, KeyMismatchError
from rolesanywhere_helper.protocol.mint_exchange import LARGEST, Answer, Question, encode_answer
from tests.fakes.sessions import SECRET, TOKEN, credentials

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

QUESTION = Question({"role-arn": "arn"}, {"proxy": "http://user:canary-password@proxy:3128"})
GOOD = Answer(credentials(), None, 1, 2, 0.5, ("a warning",))
# What a scripted child begins with: the answer, and the whole question read.
_PRELUDE = f"import os, sys, time, signal\nanswer = {encode_answer(GOOD)!r}\nquestion = sys.stdin.buffer.read()\n"
_SAY = "sys.stdout.buffer.write(answer)\n"
_HANG = "signal.pause()\n"


@dataclass
class Ended:
    """An answer, how long it took, and the processes that were started meanwhile and are still there."""

    answer: Answer
    seconds: float


def ask(
    script: str,
    *,
    deadline: float = 20,
    environment: dict[str, str] | None = None,
    prelude: str = _PRELUDE,
) -> Ended:
    children = Children(
        [sys.executable, "-I", "-S", "-c", prelude + script], environment or {}, deadline_seconds=deadline
    )
    began = time.monotonic()
    answer = asyncio.run(children.mint(QUESTION))
    assert own_children() == []
    return Ended(answer, time.monotonic() - began)


# Those of fixtures that live as long as the worker.
OTHERS: set[int] = set()


@pytest.fixture(autouse=True)
def _others() -> None:
    OTHERS.clear()
    OTHERS.update(own_children())


def own_children() -> list[int]:
    """Return the children of this process that nobody has waited for, zombies among them."""
    tasks = (task / "children" for task in Path("/proc/self/task").iterdir())
    return [pid for task in tasks for pid in map(int, task.read_text().split()) if pid not in OTHERS]


def what(ended: Ended) -> str:
    assert ended.answer.error is not None
    assert ended.answer.error.code == "mint-child"
    assert ended.answer.credentials is None
    return ended.answer.error.what.removeprefix("the process that makes the session ")


def test_an_answer_comes_back_whole() -> None:
    assert ask(_SAY).answer == GOOD


def test_an_error_keeps_its_class_and_hint() -> None:
    error = KeyMismatchError("they do not match", "renew both")
    ended = ask(f"sys.stdout.buffer.write({encode_answer(Answer(error=error, not_after=7))!r})")

    assert isinstance(ended.answer.error, KeyMismatchError)
    assert (ended.answer.error.what, ended.answer.error.hint, ended.answer.not_after) == (error.what, error.hint, 7)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV without an answer"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL without an answer"),
        ("sys.exit(3)", "ended with exit code 3 without an answer"),
        ("1/0", "ended with exit code 1 without an answer"),
        ("pass", "gave an answer that has no meaning"),
        ("print('hello')", "gave an answer that has no meaning"),
        ("sys.stdout.buffer.write(answer[:-1])", "gave an answer that has no meaning"),
        ("sys.stdout.buffer.write(answer + b'x')", "gave an answer that has no meaning"),
        ("sys.stdout.buffer.write(answer.replace(b'rahm1', b'rahm2'))", "gave an answer that has no meaning"),
        ("sys.stdout.buffer.write(b'rahm1 2\\n{}')", "gave an answer that has no meaning"),
        ("sys.stdout.buffer.write(b'rahm1 4\\n[[[[')", "gave an answer that has no meaning"),
        (_SAY + "sys.stdout.flush()\nsys.exit(1)", "ended with exit code 1 without an answer"),
        (f"sys.stdout.write('x' * {2 * LARGEST})", "wrote more than an answer can be, and was ended"),
    ],
)
def test_a_child_that_breaks_is_an_error(script: str, said: str) -> None:
    assert what(ask(script)) == said


@pytest.mark.parametrize(
    "script",
    [_HANG, _SAY + "sys.stdout.flush()\n" + _HANG, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _HANG],
)
def test_a_child_that_hangs_is_ended_at_its_deadline(script: str) -> None:
    ended = ask(script, deadline=0.5)

    assert what(ended) == "gave no answer within 0.5 s, and was ended"
    assert 0.5 <= ended.seconds < 5


def test_a_child_that_reads_nothing_hangs_nobody() -> None:
    assert what(ask("os.close(0)\n" + _HANG, deadline=0.5, prelude="import os, signal\n")).startswith("gave no answer")


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"pid = os.fork()\nif pid:\n    open({str(pid_file)!r}, 'w').write(str(pid))\n" + _HANG

    what(ask(script, deadline=1))

    assert not is_alive(int(pid_file.read_text()))


def test_what_it_leaves_behind_with_its_pipes_does_not_delay_the_answer(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"pid = os.fork()\nif not pid:\n    signal.pause()\nopen({str(pid_file)!r}, 'w').write(str(pid))\n" + _SAY

    ended = ask(script)

    assert ended.answer == GOOD
    assert ended.seconds < 10
    assert not is_alive(int(pid_file.read_text()))


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, after having given the kernel time to end it."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        if state == "Z":
            return False
    return True


def test_a_command_that_is_not_there_is_an_error() -> None:
    children = Children(["/nonexistent/python"], {})

    answer = asyncio.run(children.mint(QUESTION))

    assert answer.error is not None
    assert answer.error.what == "the process that makes the session cannot be started: No such file or directory"
    assert isinstance(answer.error, ChildNotStartedError)
    # The negative control: one that was started and broke.
    broken = asyncio.run(Children(["/bin/false"], {}).mint(QUESTION)).error
    assert broken is not None
    assert not isinstance(broken, ChildNotStartedError)


def test_the_question_is_on_standard_input_and_nowhere_else() -> None:
    script = (
        "secret = b'-'.join([b'canary', b'password'])\n"
        "assert secret in question\n"
        "assert secret not in open('/proc/self/cmdline', 'rb').read() + open('/proc/self/environ', 'rb').read()\n"
    )

    assert ask(script + _SAY).answer == GOOD


def test_it_inherits_no_descriptor_but_its_pipes(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        script = "assert sorted(map(int, os.listdir('/proc/self/fd')))[:-1] == [0, 1, 2], os.listdir('/proc/self/fd')\n"
        assert ask(script + _SAY).answer == GOOD


def test_it_has_a_session_of_its_own_and_stands_at_the_root() -> None:
    assert ask("assert os.getsid(0) == os.getpgrp() == os.getpid()\nassert os.getcwd() == '/'\n" + _SAY).answer == GOOD


def test_its_environment_is_what_is_passed_on_purpose() -> None:
    daemons = {
        **dict.fromkeys(PASSED_VARIABLES, "kept"),
        "LC_ALL": "C.UTF-8",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
        "WATCHDOG_USEC": "1",
        "CREDENTIALS_DIRECTORY": "/run/credentials",
        "AWS_SECRET_ACCESS_KEY": "canary",
        "AWS_CA_BUNDLE": "/ca.pem",
        "HTTPS_PROXY": "http://user:canary@proxy",
        "ROLESANYWHERE_HELPER_ROLE_ARN": "arn",
        "PYTHONPATH": "/tmp",  # noqa: S108 - a word
        "LD_PRELOAD": "/tmp/evil.so",  # noqa: S108 - a word
    }
    passed = child_environment(daemons)

    assert set(passed) == PASSED_VARIABLES | {"LC_ALL"}
    script = f"assert set(os.environ) - {{'LC_CTYPE'}} == {set(passed)!r}, sorted(os.environ)\n"
    assert ask(script + _SAY, environment=passed).answer == GOOD


def test_the_command_is_this_python_and_this_package() -> None:
    words = child_command()

    assert (words[0], words[-1]) == (sys.executable, COMMAND)
    assert words[-2].endswith("/rolesanywhere_helper/__main__.py")
    assert child_command(debug=True)[-2:] == [COMMAND, "--debug"]


def gather(limit: int, count: int, script: str, act: Callable[[list[asyncio.Task[Answer]]], Awaitable[None]]) -> None:
    async def main() -> None:
        children = Children([sys.executable, "-I", "-S", "-c", _PRELUDE + script], {}, limit=limit)
        tasks = [asyncio.create_task(children.mint(QUESTION)) for _ in range(count)]
        await act(tasks)

    asyncio.run(main())
    assert own_children() == []


@pytest.mark.parametrize(("limit", "count"), [(3, 7), (1, 3)])
def test_no_more_than_the_limit_run_at_a_time(tmp_path: Path, limit: int, count: int) -> None:
    began, ended = tmp_path / "began", tmp_path / "ended"
    began.mkdir()
    ended.mkdir()
    script = (
        f"open({str(began)!r} + '/' + str(os.getpid()), 'w').close()\n"
        f"running = len(os.listdir({str(began)!r})) - len(os.listdir({str(ended)!r}))\n"
        f"assert running <= {limit}, running\n"
        f"open({str(ended)!r} + '/' + str(os.getpid()), 'w').close()\n" + _SAY
    )

    async def all_good(tasks: list[asyncio.Task[Answer]]) -> None:
        assert await asyncio.gather(*tasks) == [GOOD] * count

    gather(limit, count, script, all_good)
    assert len(list(ended.iterdir())) == count


def test_a_cancelled_attempt_ends_its_child() -> None:
    async def cancel(tasks: list[asyncio.Task[Answer]]) -> None:
        while len(own_children()) < 2:  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in done] == [asyncio.CancelledError] * 3
        assert own_children() == []

    gather(2, 3, _HANG, cancel)


def test_what_it_says_is_in_the_log_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rolesanywhere_helper.daemon.children")
    script = (
        "say = lambda text: os.write(2, text.encode())\n"
        "say('2026-01-01T00:00:00Z WARNING mint: careful\\nmodule noise\\nerror: bad\\n')\n"
        "say('y' * 100_000 + '\\n')\n"
        "[say(f'line {n}\\n') for n in range(500)]\n"
        "say('no end')\n" + _SAY
    )

    assert ask(script).answer == GOOD

    lines = [(record.levelname, record.getMessage().partition(": ")[2]) for record in caplog.records]
    assert lines[:3] == [
        ("WARNING", "2026-01-01T00:00:00Z WARNING mint: careful"),
        ("DEBUG", "module noise"),
        ("WARNING", "error: bad"),
    ]
    assert len(lines[3][1]) == 1000
    assert len(lines) == 101
    assert "not shown" in caplog.records[-1].getMessage()


@pytest.mark.promise(72)
def test_nothing_of_question_and_answer_is_in_log_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    ended = ask(_SAY + "sys.exit(1)")

    for text in (caplog.text, repr(ended), repr(QUESTION), repr(GOOD)):
        assert not any(secret in text for secret in (SECRET, TOKEN, "canary-password"))
