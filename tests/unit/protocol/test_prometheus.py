"""The text format of Prometheus, and what the listener for monitoring answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.domain.serving import AccessPolicy, HeldSet, Peer
from rolesanywhere_helper.protocol.health import MetricsRoute
from rolesanywhere_helper.protocol.http import Request
from rolesanywhere_helper.protocol.prometheus import CONTENT_TYPE, Metric, Sample, histogram, render

SECRETS = ("AKIACANARY", "canary-secret", "canary-token", "111122223333", "arn:")
HELD = HeldSet(
    Credentials("AKIACANARY", "canary-secret", "canary-token", 0, 10, "arn:aws:iam::111122223333:role/R"), 5, 10.0
)


@dataclass
class View:
    """A session as a route sees it."""

    name: str
    held: HeldSet | None = HELD
    role_name: str = "R"
    region: str | None = None
    policy: AccessPolicy = field(default_factory=lambda: AccessPolicy(frozenset()))

    def current(self) -> HeldSet | None:
        return self.held


def request(path: str, method: str = "GET") -> Request:
    return Request(method, path, (), Peer("tcp", None))


def route(*views: View) -> MetricsRoute:
    return MetricsRoute(lambda: b"page", views)


def test_a_page_is_written_as_the_format_asks() -> None:
    page = render(
        [
            Metric("a", "gauge", "Two\nlines \\.", (Sample(1), Sample(0.25, (("name", 'q"b\\n\n'),)))),
            Metric("empty_total", "counter", "Left out.", ()),
        ]
    )

    assert page.decode() == ('# HELP a Two\\nlines \\\\.\n# TYPE a gauge\na 1\na{name="q\\"b\\\\n\\n"} 0.25\n')


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1_800_000_000.0, "1800000000"),
        (-3.5, "-3.5"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (1e-9, "1e-09"),
    ],
)
def test_numbers_are_written_as_go_reads_them(value: float, written: str) -> None:
    assert render([Metric("a", "gauge", "A.", (Sample(value),))]).endswith(f"\na {written}\n".encode())


def test_the_buckets_of_a_histogram_count_everything_below_them() -> None:
    samples = histogram((0.5, 1.0), (2, 0, 1), 9.5)

    assert [(found.suffix, dict(found.labels).get("le"), found.value) for found in samples] == [
        ("_bucket", "0.5", 2),
        ("_bucket", "1", 2),
        ("_bucket", "+Inf", 3),
        ("_sum", None, 9.5),
        ("_count", None, 3),
    ]


def test_a_histogram_with_a_bucket_too_few_is_an_error() -> None:
    with pytest.raises(ValueError):
        histogram((0.5, 1.0), (2, 0), 0.0)


def test_text_that_is_no_utf8_does_not_cost_the_page() -> None:
    assert b"\\udcff" in render([Metric("a", "gauge", "A.", (Sample(1, (("name", "\udcff"),)),))])


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
def test_metrics_are_the_page_of_the_moment(path: str) -> None:
    answer = route().answer(request(path))

    assert (answer.status, answer.body, answer.content_type) == (200, b"page", CONTENT_TYPE)


def test_healthy_is_when_every_session_has_credentials() -> None:
    assert route(View("one"), View("two")).answer(request("/healthz")).status == 200


@pytest.mark.promise(20)
def test_unhealthy_names_sessions_and_nothing_else() -> None:
    answer = route(View("one"), View("two", held=None), View("three", held=None)).answer(request("/healthz"))

    assert (answer.status, answer.body) == (503, b"no credentials: two, three\n")
    assert answer.refusal is None


@pytest.mark.promise(20)
@pytest.mark.parametrize("held", [HELD, None])
def test_health_holds_no_secret(held: HeldSet | None) -> None:
    answer = route(View("one", held=held)).answer(request("/healthz"))

    told = answer.body.decode() + repr(answer.headers)
    assert [secret for secret in SECRETS if secret in told] == []
    # The negative control: the session that was asked about does hold them.
    assert [secret for secret in SECRETS if secret in str(vars_of(HELD))] == list(SECRETS)


def vars_of(held: HeldSet) -> list[str]:
    made = held.credentials
    return [made.access_key_id, made.secret_access_key, made.session_token, made.role_arn]


def test_health_follows_the_session() -> None:
    view = View("one")
    asked = route(view)

    assert asked.answer(request("/healthz")).status == 200
    view.held = None
    assert asked.answer(request("/healthz")).status == 503
    view.held = replace(HELD)
    assert asked.answer(request("/healthz")).status == 200


@pytest.mark.parametrize("path", ["/", "", "/metrics//", "/metrics?x=1", "/healthz?", "/Metrics", "/metrics/x"])
def test_other_paths_are_not_found(path: str) -> None:
    answer = route().answer(request(path))

    assert (answer.status, answer.refusal) == (404, "path")


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_other_methods_are_refused(path: str, method: str) -> None:
    answer = route().answer(request(path, method))

    assert (answer.status, answer.refusal) == (405, "method")
    assert answer.headers == (("Allow", "GET"),)
