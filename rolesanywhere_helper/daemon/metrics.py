"""What the daemon counts, and the page that Prometheus is given.

What has happened is counted here (:class:`Metrics`); how things stand is asked of the sessions when a page is made.
docs/monitoring.md lists every metric. A label is a session's or update's name in the configuration, an outlet, an HTTP
status or a short fixed word; whatever else turns up is counted under ``other``, so that no text that came from outside,
and no account, can ever get onto the page or make it grow (promise 20).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rolesanywhere_helper.protocol.prometheus import Metric, Sample, histogram, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rolesanywhere_helper.domain.serving import SessionStatus

PREFIX = "rolesanywhere_helper_"
# Upper ends in seconds. A mint on a good day takes a quarter of a second, and is ended after 15 (promise 58).
LATENCY_BOUNDARIES = (0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_OTHER = "other"
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_LONGEST_WORD = 40
# More kinds than the program has words for: somebody is making them up.
_MOST_KINDS = 100


class Metrics:
    """Counts (the port ``Counters`` of :mod:`rolesanywhere_helper.domain.serving`, and what the refresher tells).

    ``version`` is this program's, ``started_at`` the moment of its start in seconds since the epoch. For the event
    loop's thread; only :meth:`cache_write_failed` may be called from others, by one of them at a time for each session.
    """

    def __init__(self, version: str, started_at: float) -> None:
        self._version = version
        self._started_at = started_at
        self._answers: Counter[tuple[str, int]] = Counter()
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._cache_errors: Counter[str] = Counter()
        self._files_written: dict[str, float] = {}
        self._file_errors: Counter[str] = Counter()
        self._connections: Counter[str] = Counter()
        self._latencies: dict[str, _Latencies] = {}

    def answered(self, outlet: str, status: int) -> None:
        """Count an answer."""
        self._answers[outlet, status] += 1

    def refused(self, outlet: str, reason: str) -> None:
        """Count a refusal by its reason."""
        kind = outlet, _word(reason)
        if kind not in self._refusals and len(self._refusals) >= _MOST_KINDS:
            kind = outlet, _OTHER
        self._refusals[kind] += 1

    def opened(self, outlet: str) -> None:
        """Note that a client has connected."""
        self._connections[outlet] += 1

    def closed(self, outlet: str) -> None:
        """Note that a connection has ended."""
        self._connections[outlet] -= 1

    def attempted(self, session: str, seconds: float, error_code: str | None = None) -> None:
        """Note an attempt to make new credentials: how long it took, and its error's stable code if it failed."""
        self._latencies.setdefault(session, _Latencies()).add(seconds)
        if error_code is not None:
            self._failures[session, _word(error_code)] += 1

    def cache_write_failed(self, session: str) -> None:
        """Note that a set could not be put into the cache: a restart would have to mint (promise 36)."""
        self._cache_errors[session] += 1

    def keep_files(self, updates: Iterable[str]) -> None:
        """Forget the credentials files that are not in the configuration any more."""
        kept = frozenset(updates)
        for of in (self._files_written, self._file_errors):
            for name in of.keys() - kept:
                del of[name]

    def file_written(self, update: str, at: float) -> None:
        """Note that a credentials file has a new set, or had it already, at a moment in seconds since the epoch."""
        self._files_written[update] = at

    def file_write_failed(self, update: str) -> None:
        """Note that a new set could not be written to a credentials file (promise 36)."""
        self._file_errors[update] += 1

    def page(self, statuses: Sequence[SessionStatus], now: float) -> bytes:
        """Render everything; ``statuses`` holds every session as it stands, ``now`` is the wall clock."""
        return render((*_of_sessions(statuses, now), *self._of_events(statuses), *self._of_process()))

    def _of_events(self, statuses: Sequence[SessionStatus]) -> Iterator[Metric]:
        names = [status.name for status in statuses]
        yield _metric(
            "create_session_failures_total",
            "counter",
            "Attempts to make new credentials that failed, by the stable code of the error.",
            (
                Sample(count, (("session", name), ("code", code)))
                for (name, code), count in sorted(self._failures.items())
                if name in names
            ),
        )
        yield _metric(
            "create_session_duration_seconds",
            "histogram",
            "How long an attempt to make new credentials took, failed ones included.",
            (
                sample
                for name in names
                for sample in self._latencies.get(name, _Latencies()).samples((("session", name),))
            ),
        )
        yield _metric(
            "cache_write_errors_total",
            "counter",
            "Credentials that could not be written to the cache.",
            (Sample(self._cache_errors[name], (("session", name),)) for name in names),
        )
        yield _metric(
            "file_last_write_timestamp_seconds",
            "gauge",
            "When a credentials file last had the newest set, in seconds since the epoch.",
            (Sample(at, (("update", name),)) for name, at in sorted(self._files_written.items())),
        )
        yield _metric(
            "file_write_errors_total",
            "counter",
            "Attempts to write a set to a credentials file that failed.",
            (Sample(count, (("update", name),)) for name, count in sorted(self._file_errors.items())),
        )
        yield _metric(
            "requests_total",
            "counter",
            "Answers by outlet and HTTP status.",
            (
                Sample(count, (("outlet", outlet), ("status", str(status))))
                for (outlet, status), count in sorted(self._answers.items())
            ),
        )
        yield _metric(
            "refusals_total",
            "counter",
            "Refused requests by outlet and reason.",
            (
                Sample(count, (("outlet", outlet), ("reason", reason)))
                for (outlet, reason), count in sorted(self._refusals.items())
            ),
        )
        yield _metric(
            "open_connections",
            "gauge",
            "Clients that are connected, by outlet.",
            (Sample(count, (("outlet", outlet),)) for outlet, count in sorted(self._connections.items())),
        )

    def _of_process(self) -> Iterator[Metric]:
        yield _metric("build_info", "gauge", "Always 1.", [Sample(1, (("version", self._version),))])
        # The one name without our prefix: what Prometheus calls it in every process.
        yield Metric(
            "process_start_time_seconds",
            "gauge",
            "When this process was started, in seconds since the epoch.",
            (Sample(self._started_at),),
        )


class _Latencies:
    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = [0] * (len(LATENCY_BOUNDARIES) + 1)
        self._total = 0.0

    def add(self, seconds: float) -> None:
        bucket = sum(seconds > boundary for boundary in LATENCY_BOUNDARIES)
        self._counts[bucket] += 1
        self._total += seconds

    def samples(self, labels: tuple[tuple[str, str], ...]) -> list[Sample]:
        return histogram(LATENCY_BOUNDARIES, self._counts, self._total, labels)


def _of_sessions(statuses: Sequence[SessionStatus], now: float) -> Iterator[Metric]:
    def of_each(value: Callable[[SessionStatus], float | None]) -> Iterator[Sample]:
        for status in statuses:
            found = value(status)
            if found is not None:
                yield Sample(found, (("session", status.name),))

    yield _metric("sessions", "gauge", "Sessions in the configuration.", [Sample(len(statuses))])
    yield _metric(
        "sessions_with_credentials",
        "gauge",
        "Sessions whose credentials may be handed out.",
        [Sample(sum(status.has_credentials for status in statuses))],
    )
    yield _metric(
        "session_has_credentials",
        "gauge",
        "1 if this session's credentials may be handed out, else 0.",
        of_each(lambda status: int(status.has_credentials)),
    )
    yield _metric(
        "credentials_remaining_seconds",
        "gauge",
        "How long the credentials that are handed out remain valid.",
        of_each(lambda status: _until(status.expires_at, now) if status.has_credentials else None),
    )
    yield _metric(
        "certificate_remaining_seconds",
        "gauge",
        "How long the certificate remains valid; negative once it has expired.",
        of_each(lambda status: _until(status.certificate_not_after, now)),
    )
    yield _metric(
        "certificate_lifetime_seconds",
        "gauge",
        "How long the certificate is valid in all.",
        of_each(_certificate_lifetime),
    )
    yield _metric(
        "last_refresh_success",
        "gauge",
        "1 if the last attempt to make new credentials succeeded, else 0.",
        of_each(lambda status: None if status.last_attempt_at is None else int(status.last_error is None)),
    )
    yield _metric(
        "last_refresh_failure",
        "gauge",
        "1, with the stable code of the error, while the last attempt is one that failed.",
        (
            Sample(1, (("session", status.name), ("code", _word(status.last_error[0]))))
            for status in statuses
            if status.last_error is not None
        ),
    )
    yield _metric(
        "last_refresh_timestamp_seconds",
        "gauge",
        "When the last attempt was made, in seconds since the epoch.",
        of_each(lambda status: status.last_attempt_at),
    )
    yield _metric(
        "last_success_timestamp_seconds",
        "gauge",
        "When the last successful attempt was made, in seconds since the epoch.",
        of_each(lambda status: status.last_success_at),
    )
    yield _metric(
        "next_refresh_timestamp_seconds",
        "gauge",
        "When the next attempt is planned, in seconds since the epoch.",
        of_each(lambda status: status.next_attempt_at),
    )
    yield _metric(
        "clock_skew_seconds",
        "gauge",
        "How far this machine's clock is ahead of the service's.",
        of_each(lambda status: status.clock_skew_seconds),
    )
    yield _metric(
        "create_session_last_duration_seconds",
        "gauge",
        "How long the last attempt took.",
        of_each(lambda status: status.last_mint_seconds),
    )
    yield _metric(
        "create_session_attempts_total",
        "counter",
        "Attempts to make new credentials.",
        of_each(lambda status: status.attempts),
    )


def _certificate_lifetime(status: SessionStatus) -> float | None:
    if status.certificate_not_before is None or status.certificate_not_after is None:
        return None
    return status.certificate_not_after - status.certificate_not_before


def _metric(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Metric:
    return Metric(PREFIX + name, kind, text, tuple(samples))


def _until(moment: float | None, now: float) -> float | None:
    return None if moment is None else round(moment - now, 3)


def _word(text: str) -> str:
    return text if 0 < len(text) <= _LONGEST_WORD and _WORD.issuperset(text) else _OTHER
