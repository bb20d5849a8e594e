"""One attempt with a PIN, and none after it was refused (promise 57): for everything that locks itself.

What is written down of a PIN's source must change when somebody corrects the PIN, and must not tell the PIN:

* of a file its path and the time of its last change;
* of anything else (a variable, a command, a descriptor, a PIN asked for when the daemon started) and of a systemd
  credential, which is a new file at every start, the first eight bits of a hash of the PIN. Somebody who reads them
  still has one in 256 of all PINs to try, and no token lets them. A random salt would make it worse: each record would
  give away eight other bits. The price: of 256 corrections one is not noticed, and the record must be removed by hand.

A PIN that somebody has just typed in is always tried: they see what comes of it.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import PinRefusedError, WrongSecretError
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.identity.passphrases import Passphrases
from rolesanywhere_helper.system.inputs import inspect_input
from rolesanywhere_helper.system.references import CREDENTIALS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
    from rolesanywhere_helper.identity.access import Access

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pin:
    """A PIN, and the one line that tells its source; ``is_typed`` if somebody is sitting there."""

    text: str = field(repr=False)
    source: str
    hint: str
    is_typed: bool = False


class Attempt:
    """An attempt that is under way."""

    def __init__(self) -> None:
        self.is_judged = True

    def was_not_judged(self) -> None:
        """Say that the PIN was not looked at (the token is gone …): it may be tried again."""
        self.is_judged = False


def read_pin(name: str, reference: IdentityReference, access: Access) -> Pin | None:
    """Read a PIN by the name of its flag; None if nobody said where it is.

    Raises:
        EncryptedKeyError: somebody has to be asked.
        WrongSecretError: its file cannot be read, is empty, or is no text.
        UnsafeFileError, UsageError, SilentSourceError: as ``References.read`` raises them.

    """
    source = reference.secret(name)
    path = None if name in access.secrets else _lasting_file(source, access)
    changed_at = None if path is None else _changed_at(path)  # before it is read: a later change shows next time
    found = Passphrases(reference.secrets, access.references, access.secrets).read(name)
    if found is None:
        return None
    text = _text(found, name)
    if path is not None and changed_at is not None:
        correct = f"correct the PIN in {path}"
        return Pin(text, f"file {path} {changed_at}", f"{correct}; it is not tried again before the file has changed")
    eight_bits = hashlib.sha256(b"rolesanywhere-helper PIN\0" + found).digest()[0]
    hint = f"correct what --{name}-file or --{name} leads to: the PIN is not tried again before it is another one"
    return Pin(text, f"{name} {eight_bits:02x}", hint, is_typed=access.is_attended and name in access.secrets)


@contextmanager
def one_attempt(access: Access, lock: str, pin: Pin, *, is_count_low: bool) -> Iterator[Attempt]:
    """Let one attempt be made with a PIN, if it was not refused before.

    The attempt succeeds if the context ends well. After :meth:`Attempt.was_not_judged` an exception leaves no record.
    ``is_count_low`` says that the lock reports few attempts left: then nothing stored is tried that cannot be written
    down.

    Raises:
        PinRefusedError: this PIN was refused there before, or may not be tried.

    """
    attempt = Attempt()
    if pin.is_typed:
        yield attempt
        return
    if access.pins.was_refused(lock, pin.source):
        raise PinRefusedError(
            f"the PIN for {lock} was refused before, or its last attempt never came to an end: it is not tried again",
            pin.hint,
        )
    if not access.pins.begin(lock, pin.source) and is_count_low:
        access.pins.failed(lock, pin.source)
        raise PinRefusedError(
            f"{lock} reports that few attempts with a PIN are left, and a refusal could not be written down",
            "let this user write its cache directory (ROLESANYWHERE_HELPER_CACHE_DIR), or type the PIN in",
        )
    try:
        yield attempt
    except BaseException:
        end = access.pins.failed if attempt.is_judged else access.pins.succeeded
        end(lock, pin.source)
        raise
    access.pins.succeeded(lock, pin.source)


def _lasting_file(source: SecretSource | None, access: Access) -> str | None:
    """Return the path of the file that holds the PIN, unless a service manager makes it anew at every start."""
    path = None if source is None or source.reference is None else access.references.path_of(source.reference)
    directory = access.environment.get(CREDENTIALS_VARIABLE, "").rstrip("/")
    is_fleeting = path is not None and bool(directory) and path.startswith(f"{directory}/")
    return None if is_fleeting else path


def _changed_at(path: str) -> int | None:
    try:
        return inspect_input(path).facts.mtime_ns
    except OSError:
        return None  # reading it will say why


def _text(found: bytes, name: str) -> str:
    try:
        text = found.decode("utf-8")
    except UnicodeDecodeError:
        raise WrongSecretError(f"what --{name} leads to is not UTF-8", "write the PIN as plain text") from None
    if not text:
        raise WrongSecretError(f"what --{name} leads to is empty", "write the PIN into it")
    return text
