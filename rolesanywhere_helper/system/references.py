"""What the user names, read: the path of a file, or a value that something else holds.

=================  =====================================================================================
``PATH``           a plain file of at most 1 MiB (:func:`rolesanywhere_helper.system.inputs.read_input`)
``env:NAME``       a variable of the environment
``fd:N``           what an inherited descriptor gives until its end
``credential:NAME``a file in ``$CREDENTIALS_DIRECTORY`` (systemd.exec(5), "Credentials")
``command:WORDS``  what a program prints: words as a shell would split them, but no shell (promise 81)
=================  =====================================================================================
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rolesanywhere_helper.domain.identity_reference import scheme_of, shown_reference
from rolesanywhere_helper.errors import SilentSourceError, UnsafeFileError, UsageError
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.system.inputs import (
    MEBIBYTE,
    InputFile,
    check_trusted_file,
    explain,
    inspect_input,
    read_input,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMMAND_SECONDS = 10.0
_CHUNK = 65_536
_LEAST_SECONDS = 0.1
_MOST_DIGITS = 9  # of a descriptor's number, which the system counts in 31 bits
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"


@dataclass(frozen=True, slots=True)
class Content:
    """What was read, and ``shown``, which names it in errors. ``file`` is the file, where it was one."""

    shown: str
    content: bytes = field(repr=False)
    file: InputFile | None = None


class References:
    """Reads what references name. A descriptor and a command give what they have once: it is kept for this process.

    Args:
        environment: Where ``env:`` and ``credential:`` look.
        command_seconds: How long a command may take.

    """

    def __init__(self, environment: Mapping[str, str], *, command_seconds: float = COMMAND_SECONDS) -> None:
        self._environment = environment
        self._command_seconds = command_seconds
        self._kept: dict[str, Content] = {}

    def read(self, reference: str) -> Content:
        """Read what is named.

        Raises:
            UnsafeFileError: a file is no plain one or too big; a command could be changed by others, fails, or prints
                too much.
            UsageError: the reference has no meaning, or the variable, credential or descriptor is not there.
            SilentSourceError: a command or descriptor gave no end in time.
            OSError: a file cannot be read; :func:`rolesanywhere_helper.system.inputs.explain` puts it into words.

        """
        scheme, _, rest = reference.partition(":")
        match scheme_of(reference):
            case None:
                return self._file(reference)
            case "credential":
                return self._file(self.path_of(reference) or "")
            case "env":
                return self._variable(rest)
            case "fd":
                return self._once(reference, lambda: self._descriptor(rest))
            case "command":
                return self._once(reference, lambda: self._command(rest))
            case _:
                raise UsageError(
                    f"there is nothing to be read from {scheme}:…",
                    "give the path of a file, or env:NAME, fd:N, credential:NAME, command:…",
                )

    def path_of(self, reference: str) -> str | None:
        """Return the path of the file that is named, or None where it is none.

        Raises:
            UsageError: a credential was named, and there are none here.

        """
        scheme = scheme_of(reference)
        if scheme is None:
            return reference
        if scheme != "credential":
            return None
        name = reference.partition(":")[2]
        directory = self._environment.get(CREDENTIALS_VARIABLE, "")
        if not directory.startswith("/"):
            raise UsageError(
                f"there is no credential {name!a}: {CREDENTIALS_VARIABLE} is not set",
                f"add LoadCredential={name}:/path/of/the/file to the systemd unit, or give the path of the file",
            )
        if not name or "/" in name or name in {".", ".."}:
            raise UsageError(f"this cannot be the name of a credential: {name!a}", "give the name in LoadCredential=")
        return f"{directory.rstrip('/')}/{name}"

    def _once(self, reference: str, read: Callable[[], Content]) -> Content:
        if reference not in self._kept:
            self._kept[reference] = read()
        return self._kept[reference]

    @staticmethod
    def _file(path: str) -> Content:
        file = read_input(path)
        return Content(path, file.content, file)

    def _variable(self, name: str) -> Content:
        value = self._environment.get(name, "") if name and "\0" not in name else ""
        if not value:
            raise UsageError(
                f"the variable {name!a} is not set, or empty", f"set it, or give a file in the place of env:{name}"
            )
        return Content(f"env:{name}", os.fsencode(value))

    def _descriptor(self, number: str) -> Content:
        if not (number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS):
            raise UsageError(f"this is not the number of a descriptor: {number!a}", "for example fd:3, with 3<FILE")
        try:
            found = _read_until_end(int(number), time.monotonic() + self._command_seconds)
        except OSError as error:
            raise UsageError(
                f"descriptor {number} cannot be read: {error.strerror}", f"open it for this program: {number}<FILE"
            ) from error
        if found is None:
            raise SilentSourceError(
                f"descriptor {number} gave no end within {self._command_seconds:g} s",
                f"whoever writes into it must close it: {number}<FILE, or {number}< <(COMMAND)",
            )
        if len(found) > MEBIBYTE:
            raise UnsafeFileError(f"descriptor {number} gives more than {MEBIBYTE} bytes", "give the key itself")
        return Content(f"fd:{number}", found)

    def _command(self, text: str) -> Content:
        words = _words(text)
        import shutil  # noqa: PLC0415 - it brings compression along, and the daemon runs no commands

        program = shutil.which(words[0], path=self._environment.get("PATH", os.defpath))
        if program is None:
            raise UsageError(
                f"there is no program {shown_reference(f'command:{words[0]}').partition(':')[2]!a}",
                "give its whole path after command:",
            )
        try:
            check_trusted_file(inspect_input(program), "command")
        except OSError as error:
            what, hint = explain(error, program)
            raise UnsafeFileError(what, hint) from error
        shown = shown_reference(f"command:{words[0]}")
        return Content(shown, self._output([program, *words[1:]], shown))

    def _output(self, command: list[str], shown: str) -> bytes:
        try:
            child = subprocess.Popen(  # noqa: S603 - what the user's own configuration names, without a shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=dict(self._environment),
                start_new_session=True,
            )
        except OSError as error:
            raise UsageError(f"{shown} cannot be started: {error.strerror}", "try it in a shell") from error
        assert child.stdout is not None  # noqa: S101 - for the type checker: it was asked for
        ends_at = time.monotonic() + self._command_seconds
        found: bytes | None = None
        try:
            found = _read_until_end(child.stdout.fileno(), ends_at)
            if found is not None and len(found) <= MEBIBYTE:
                child.wait(max(_LEAST_SECONDS, ends_at - time.monotonic()))
        except subprocess.TimeoutExpired:
            found = None
        finally:
            child.stdout.close()
            _end(child)
        if found is None:
            raise SilentSourceError(f"{shown} did not end within {self._command_seconds:g} s, and was ended")
        if len(found) > MEBIBYTE:
            raise UnsafeFileError(f"{shown} prints more than {MEBIBYTE} bytes, and was ended", "try it in a shell")
        if child.returncode:
            raise UsageError(f"{shown} failed with exit code {child.returncode}", "its own words stand above")
        if not found:
            raise UnsafeFileError(f"{shown} printed nothing", "try it in a shell")
        return found


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a command that was not waited for, with all that it started: until then its group's number is its own."""
    if child.returncode is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # one of another user (sudo) cannot be ended from here
        child.wait(_LEAST_SECONDS)


def _words(text: str) -> list[str]:
    import shlex  # noqa: PLC0415 - only for a command

    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words or "\0" in text:
        raise UsageError(
            "what follows command: are not the words of a command", "for example command:/usr/bin/pass show host.key"
        )
    return words


def _read_until_end(descriptor: int, ends_at: float) -> bytes | None:
    """Read to the end or past one MiB; None if there was no end in time."""
    parts: list[bytes] = []
    size = 0
    waiter = select.poll()  # select() knows no descriptor above 1023
    waiter.register(descriptor, select.POLLIN)
    while size <= MEBIBYTE:
        left = ends_at - time.monotonic()
        if left <= 0 or not waiter.poll(left * 1000):
            return None
        part = os.read(descriptor, _CHUNK)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)
