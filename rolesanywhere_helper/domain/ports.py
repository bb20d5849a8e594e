"""The doors between the rooms: small protocols, each with the errors it guarantees.

Everything above works with these, and :mod:`rolesanywhere_helper.wiring` puts the real ones in. Bytes and numbers
cross them, so that neither ``protocol`` nor ``broker`` needs a cryptography or HTTP library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.keys import KeyType
    from rolesanywhere_helper.errors import HelperError


class Clock(Protocol):
    """Time as an argument, so that no test has to wait."""

    def now(self) -> float:
        """Return the wall clock: seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary point, the same for all processes since boot; never jumps back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Randomness(Protocol):
    """Chance as an argument."""

    def uniform(self, low: float, high: float) -> float:
        """Draw from the closed interval."""
        ...


class Identity(Protocol):
    """A leaf, the chain above it, and the key that belongs to the leaf.

    An identity that could be made is usable: the key matches, the leaf is valid now and fit to sign.
    """

    @property
    def leaf_der(self) -> bytes:
        """The end-entity certificate."""
        ...

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """The intermediates, the leaf's issuer first; without the leaf, without the root; at most five."""
        ...

    @property
    def serial(self) -> int:
        """The leaf's serial number."""
        ...

    @property
    def key_type(self) -> KeyType:
        """The type of the leaf's key, which names the signing algorithm."""
        ...

    @property
    def not_after(self) -> int:
        """The last second of the leaf's validity, since the epoch."""
        ...

    def sign(self, message: bytes, digest: str = "SHA256") -> bytes:
        """Sign a whole message: RSA PKCS#1 v1.5, ECDSA as DER, or ML-DSA over the raw message.

        ``digest`` is SHA256 (the only one of SigV4-X509), SHA384 or SHA512 (for ``sign-string``); ML-DSA ignores it.

        Raises:
            IdentityError: the key could not be used.

        """
        ...


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it will be on the wire: ``target`` is path and query, ``headers`` in order, ``Host`` among them."""

    method: str
    url: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer that arrived whole: header names in lower case, body not longer than the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Transport(Protocol):
    """How a request leaves the machine, and an answer comes back: one exchange, no retry."""

    def send(self, request: HttpRequest, timeout: float) -> HttpResponse:
        """Send one request and return what came back, whatever its status (a redirect excepted).

        ``timeout`` in seconds bounds connect and every read. It is not a bound on the whole exchange: that one is
        enforced from outside (:mod:`rolesanywhere_helper.mint.deadline`).

        Raises:
            NetworkError: no whole answer came back, the peer could not prove who it is, or it sent a redirect.
            BadAnswerError: the answer is longer than the limit, or encoded in a way that was not asked for.

        """
        ...


class CredentialSource(Protocol):
    """Where an outlet gets what it hands out. It knows neither certificates nor AWS."""

    def get(self) -> Credentials:
        """Return credentials that are valid now.

        Raises:
            HelperError: there are none to be had.

        """
        ...


class PinAttempts(Protocol):
    """Keeps a wrong PIN from being tried twice, by whatever process: a token locks itself after a few.

    A ``lock`` is what the PIN would open, as one line (token serial, key), a ``source`` where the PIN comes from, as
    one line that changes when somebody corrects the PIN (path and stat, never the PIN).
    """

    def was_refused(self, lock: str, source: str) -> bool:
        """Tell whether the PIN of this source was refused there, or its attempt never came to an end."""
        ...

    def begin(self, lock: str, source: str) -> bool:
        """Write down that an attempt begins, and tell whether that could be written."""
        ...

    def succeeded(self, lock: str, source: str) -> None:
        """Forget the attempt: the PIN is right, or nobody looked at it."""
        ...

    def failed(self, lock: str, source: str) -> None:
        """End the attempt with what was written: it is the next process's turn at this lock."""
        ...


class Minter(Protocol):
    """Makes one new session."""

    def mint(self) -> Credentials:
        """Return a new, checked set.

        Raises:
            HelperError: whatever kept it from being made.

        """
        ...


@dataclass(frozen=True, slots=True)
class StoredSet:
    """A set at rest, with the second at which it becomes due: drawn once, when it was made."""

    credentials: Credentials
    due_at: int


@dataclass(frozen=True, slots=True)
class StoredFailure:
    """A failed attempt at rest: when it failed (epoch seconds), until when nobody should try again, and how."""

    failed_at: float
    until: float
    error: HelperError


@dataclass(frozen=True, slots=True)
class StoredEnd:
    """When a set ends by a clock that nobody can set: at ``ends_at`` on BOOTTIME, in the boot of this name."""

    access_key_id: str
    boot_id: str
    ends_at: float


class CredentialStore(Protocol):
    """Where one session's set rests between uses, and where processes meet that want the same one.

    A store never raises for what it finds: a torn, foreign or outdated entry is none.
    """

    def load(self) -> StoredSet | None:
        """Return the set at rest, whatever its age."""
        ...

    def save(self, entry: StoredSet) -> None:
        """Put a new set in the old one's place, or log why it cannot be; the old one then stands."""
        ...

    def load_failure(self) -> StoredFailure | None:
        """Return the last failure, whatever its age."""
        ...

    def save_failure(self, failure: StoredFailure) -> None:
        """Remember a failure, or log why it cannot be."""
        ...

    def try_lead(self, seconds: float) -> AbstractContextManager[bool]:
        """Try to become the one process that mints for at most ``seconds``; do not wait."""
        ...

    def postpone_renewal(self, until: float) -> None:
        """Let no renewal in the background begin before a moment (epoch seconds)."""
        ...

    def load_attempt(self) -> float | None:
        """Return when the daemon last began to make a session (epoch seconds), if it wrote that down."""
        ...

    def load_end(self) -> StoredEnd | None:
        """Return when the daemon's last set ends on BOOTTIME, if it wrote that down."""
        ...

    def save_end(self, end: StoredEnd) -> None:
        """Write that down, or log why it cannot be."""
        ...

    def save_attempt(self, at: float) -> None:
        """Write down that an attempt begins, or log why it cannot be."""
        ...
