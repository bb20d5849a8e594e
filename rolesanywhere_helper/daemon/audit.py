"""Who was given which session, and who was not: lines of the logger ``rolesanywhere_helper.audit``.

A line is ``granted`` or ``refused`` and then ``key=value`` pairs: the session, the peer's uid (``unknown`` where the
kernel does not tell), on unix sockets its pid, the channel, and for a grant the access key id, by which CloudTrail
names the set. No secret is ever in it.

It costs nothing under load. Of each set the first grant to each peer is a line; refusals are limited in rate for each
session and user, and altogether, and what was left out is counted in a later line.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.domain.serving import AccessPolicy, BootClock, Peer

LOGGER = "rolesanywhere_helper.audit"
# Refusals: so many lines at once, and then one in so many seconds; for one session and user, and for all together.
_BURST, _SECONDS_PER_LINE = 5, 60.0
_OVERALL_BURST, _OVERALL_SECONDS_PER_LINE = 50, 2.0
# Peers that are remembered per session, sessions, and pairs of session and user. Beyond, the oldest is forgotten.
_MOST_PEERS, _MOST_SESSIONS, _MOST_BUCKETS = 1024, 256, 1024
_LONGEST_WORD = 64
# As long as a unit's name can be (systemd.unit(5)).
_LONGEST_UNIT = 255
# What stands in the place of a session's name where none is meant; no session can be called so.
_NO_SESSION = "-"

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class AuditLog:
    """The daemon's audit (port :class:`rolesanywhere_helper.domain.serving.Audit`)."""

    def __init__(self, clock: BootClock, policy_of: Callable[[str], AccessPolicy | None]) -> None:
        """Take the clock that refusals are limited by, and where a session's policy of the moment is found.

        ``policy_of`` is asked only when a refusal becomes a line.
        """
        self._log = logging.getLogger(LOGGER)
        self._clock = clock
        self._policy_of = policy_of
        self._granted: _Recent[str, _GrantsOfSet] = _Recent(_MOST_SESSIONS)
        self._refusals: _Recent[tuple[str, int | None], _Bucket] = _Recent(_MOST_BUCKETS)
        self._overall = _Bucket(_OVERALL_BURST, _OVERALL_SECONDS_PER_LINE, clock.boottime())

    def granted(self, session: str, peer: Peer, access_key_id: str) -> None:
        """Write a line, if this peer was not given this set before."""
        grants = self._granted.get(session)
        if grants is None or grants.access_key_id != access_key_id:
            grants = _GrantsOfSet(access_key_id)
            self._granted.put(session, grants)
        if grants.is_first(peer):
            self._log.info("granted %s key=%s", _whom(session, peer), _word(access_key_id))

    def refused(self, session: str, peer: Peer, reason: str) -> None:
        """Write a line, if there were not too many a moment ago."""
        self._refuse(session, peer, f" reason={_word(reason)}")

    def _refuse(self, session: str, peer: Peer, why: str) -> None:
        now = self._clock.boottime()
        key = (session, peer.uid)
        bucket = self._refusals.get(key)
        if bucket is None:
            bucket = _Bucket(_BURST, _SECONDS_PER_LINE, now)
            self._count_forgotten(self._refusals.put(key, bucket))
        if not bucket.has_token(now) or not self._overall.has_token(now):
            bucket.left_out += 1
            return
        bucket.take()
        self._overall.take()
        explanation = self._explain(session, peer)
        self._log.warning("refused %s%s%s", _whom(session, peer), why, explanation)
        self._tell_left_out(session, peer.uid, bucket)

    def token_given(self, unit: str, endpoint: str, session: str, peer: Peer) -> None:
        """Write a line each time: a unit asks once for each of its starts."""
        self._log.info("granted %s unit=%s endpoint=%s", _whom(session, peer), _name(unit), _word(endpoint))

    def token_refused(self, unit: str | None, peer: Peer, reason: str) -> None:
        """Write a line, if there were not too many a moment ago; no session is meant."""
        named = "" if unit is None else f" unit={_name(unit)}"
        self._refuse(_NO_SESSION, peer, f"{named} reason={_word(reason)}")

    def flush(self) -> None:
        """Tell how many refusals were left out so far. For now and then (each minute) and for the end."""
        for (session, uid), bucket in self._refusals.items():
            self._tell_left_out(session, uid, bucket)
        if self._overall.left_out:
            self._log.warning("refused: %d more not shown", self._overall.left_out)
            self._overall.left_out = 0

    def _count_forgotten(self, bucket: _Bucket | None) -> None:
        if bucket is not None:
            self._overall.left_out += bucket.left_out

    def _tell_left_out(self, session: str, uid: int | None, bucket: _Bucket) -> None:
        if bucket.left_out:
            whom = f"session={_word(session)} uid={_uid(uid)}"
            self._log.warning("refused %s: %d more not shown", whom, bucket.left_out)
            bucket.left_out = 0

    def _explain(self, session: str, peer: Peer) -> str:
        """Name the setting that would allow it, where it is the policy that does not."""
        policy = self._policy_of(session)
        if policy is None or policy.allows(peer):
            return ""
        place = f"[session.{_word(session)}]"
        if peer.uid is None:
            return f": the kernel does not tell whose connection this is, and {place} is not for everybody"
        if policy.is_stated:
            return f": neither in allow-users nor in allow-groups of {place}"
        return (
            f": {place} has no allow-users, so it is for root and the daemon's own user; "
            f'to allow it: allow-users = ["{peer.uid}"] (or the user\'s name) in {place}'
        )


def tell_who_is_allowed(policies: Mapping[str, AccessPolicy]) -> None:
    """Say in the log, at load and at reload, which sessions are open to everybody."""
    log = logging.getLogger(LOGGER)
    for session, policy in policies.items():
        if policy.everyone:
            # The configuration has warned of it; here it stands beside the grants.
            log.info(
                'session %s is open to everybody who can connect: allow-users = ["*"] in [session.%s]',
                _word(session),
                _word(session),
            )


class _Recent(Generic[_Key, _Value]):
    """A table of bounded size that forgets what was not used for longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: _Key, value: _Value) -> _Value | None:
        """Add or replace an entry; return the one that was forgotten for it."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        return self._entries.popitem(last=False)[1] if len(self._entries) > self._most else None

    def items(self) -> list[tuple[_Key, _Value]]:
        return list(self._entries.items())


class _GrantsOfSet:
    """Who was given one set."""

    __slots__ = ("_peers", "access_key_id")

    def __init__(self, access_key_id: str) -> None:
        self.access_key_id = access_key_id
        self._peers: _Recent[tuple[str, int | None, int | None], bool] = _Recent(_MOST_PEERS)

    def is_first(self, peer: Peer) -> bool:
        key = (peer.channel, peer.uid, peer.pid)
        if self._peers.get(key):
            return False
        self._peers.put(key, True)
        return True


class _Bucket:
    """A token bucket: ``burst`` lines at once, then one per ``seconds``. Counts what it kept back."""

    __slots__ = ("_burst", "_seconds", "_since", "_tokens", "left_out")

    def __init__(self, burst: int, seconds: float, now: float) -> None:
        self._burst = self._tokens = float(burst)
        self._seconds = seconds
        self._since = now
        self.left_out = 0

    def has_token(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._since) / self._seconds)
        self._since = now
        return self._tokens >= 1

    def take(self) -> None:
        self._tokens -= 1


def _whom(session: str, peer: Peer) -> str:
    process = "" if peer.pid is None else f" pid={peer.pid}"
    return f"session={_word(session)} uid={_uid(peer.uid)}{process} channel={_word(peer.channel)}"


def _uid(uid: int | None) -> str:
    return "unknown" if uid is None else str(uid)


def _name(unit: str) -> str:
    return _word(unit, _LONGEST_UNIT)


def _word(text: str, longest: int = _LONGEST_WORD) -> str:
    """Keep a value one word, so that no value can look like another pair."""
    return "".join(c if c.isprintable() and c != " " else "?" for c in text[:longest])
