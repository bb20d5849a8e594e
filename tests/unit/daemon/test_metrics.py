"""What is counted, what is told of it, and that alert rules and dashboard ask for nothing else."""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.daemon.metrics import Metrics
from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.domain.ports import StoredSet
from rolesanywhere_helper.domain.serving import Counters, SessionStatus
from rolesanywhere_helper.system.private_directory import PrivateDirectory
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator


MONITORING = Path(__file__).parents[3] / "monitoring"
NOW = 1_800_000_000
KEY = "0123456789abcdef0123456789abcdef"
ROLE = "arn:aws:iam::111122223333:role/Deploy"
SECRETS = ("AKIACANARY", "canary-secret", "canary-token", "111122223333", "arn:")
PREFIX = "rolesanywhere_helper_"

GOOD = SessionStatus(
    name="deploy",
    has_credentials=True,
    expires_at=NOW + 3000,
    next_attempt_at=NOW + 1200.5,
    last_attempt_at=NOW - 600,
    last_success_at=NOW - 600,
    certificate_not_after=NOW + 86_400,
    certificate_not_before=NOW - 86_400,
    clock_skew_seconds=-1.5,
    attempts=3,
    failures=1,
    last_mint_seconds=0.31,
)
FAILING = SessionStatus(
    name="customer",
    has_credentials=False,
    expires_at=NOW - 5,
    last_attempt_at=NOW - 10,
    last_error=("assume-role-denied", f"Unable to assume role for {ROLE}", "change canary-secret"),
    certificate_not_after=NOW - 60,
)


def metrics() -> Metrics:
    return Metrics("1.2.3", NOW - 7200)


def everything() -> bytes:
    """Return a page on which every metric has a sample."""
    counting = metrics()
    counting.answered("imds", 200)
    counting.refused("imds", "host")
    counting.opened("imds")
    counting.attempted("deploy", 0.31)
    counting.attempted("customer", 0.9, "assume-role-denied")
    counting.file_written("agent", NOW)
    counting.file_write_failed("agent")
    return counting.page([GOOD, FAILING], NOW)


def values(page: bytes) -> dict[str, float]:
    """Read a page: sample with its labels → value."""
    lines = [line for line in page.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def names(page: bytes) -> set[str]:
    """Return the names that a query can ask for."""
    return {sample.partition("{")[0] for sample in values(page)}


def test_it_is_what_the_edge_counts_with() -> None:
    counting: Counters = metrics()

    counting.answered("imds", 200)


def test_the_state_of_each_session_is_told() -> None:
    told = values(metrics().page([GOOD, FAILING], NOW))

    assert told[f"{PREFIX}sessions"] == 2
    assert told[f"{PREFIX}sessions_with_credentials"] == 1
    expected = {
        "session_has_credentials": (1, 0),
        "credentials_remaining_seconds": (3000, None),
        "certificate_remaining_seconds": (86_400, -60),
        "certificate_lifetime_seconds": (172_800, None),
        "last_refresh_success": (1, 0),
        "last_refresh_timestamp_seconds": (NOW - 600, NOW - 10),
        "last_success_timestamp_seconds": (NOW - 600, None),
        "next_refresh_timestamp_seconds": (NOW + 1200.5, None),
        "clock_skew_seconds": (-1.5, None),
        "create_session_last_duration_seconds": (0.31, None),
        "create_session_attempts_total": (3, 0),
    }
    for name, (good, failing) in expected.items():
        assert told[f'{PREFIX}{name}{{session="deploy"}}'] == good
        assert told.get(f'{PREFIX}{name}{{session="customer"}}') == failing
    assert told[f'{PREFIX}last_refresh_failure{{session="customer",code="assume-role-denied"}}'] == 1
    assert f'{PREFIX}last_refresh_failure{{session="deploy"' not in str(told)


def test_before_the_first_attempt_nothing_is_made_up() -> None:
    told = values(metrics().page([SessionStatus("new", has_credentials=False)], NOW))

    assert told[f'{PREFIX}session_has_credentials{{session="new"}}'] == 0
    assert not [sample for sample in told if "last_refresh" in sample or "remaining" in sample]


@pytest.mark.promise(55)
def test_a_certificate_that_expired_under_valid_credentials_shows() -> None:
    status = SessionStatus("deploy", has_credentials=True, expires_at=NOW + 600, certificate_not_after=NOW)
    counting = metrics()
    before, after = (values(counting.page([status], NOW + since)) for since in (-1, 1))

    certificate = f'{PREFIX}certificate_remaining_seconds{{session="deploy"}}'
    assert (before[certificate], after[certificate]) == (1, -1)
    assert after[f'{PREFIX}session_has_credentials{{session="deploy"}}'] == 1
    assert after[f'{PREFIX}credentials_remaining_seconds{{session="deploy"}}'] == 599


def test_requests_refusals_and_connections_are_counted() -> None:
    counting = metrics()
    for status in (200, 200, 401):
        counting.answered("imds", status)
    counting.answered("container", 200)
    counting.refused("imds", "token")
    for _ in range(3):
        counting.opened("imds")
    counting.closed("imds")
    told = values(counting.page([], NOW))

    assert told[f'{PREFIX}requests_total{{outlet="imds",status="200"}}'] == 2
    assert told[f'{PREFIX}requests_total{{outlet="imds",status="401"}}'] == 1
    assert told[f'{PREFIX}requests_total{{outlet="container",status="200"}}'] == 1
    assert told[f'{PREFIX}refusals_total{{outlet="imds",reason="token"}}'] == 1
    assert told[f'{PREFIX}open_connections{{outlet="imds"}}'] == 2


def test_attempts_are_counted_by_duration_and_error() -> None:
    counting = metrics()
    counting.attempted("deploy", 0.25)
    counting.attempted("deploy", 16.0, "deadline-exceeded")
    counting.attempted("deploy", 16.0, "deadline-exceeded")
    told = values(counting.page([GOOD], NOW))

    duration = f"{PREFIX}create_session_duration_seconds"
    assert told[f'{PREFIX}create_session_failures_total{{session="deploy",code="deadline-exceeded"}}'] == 2
    assert told[f'{duration}_bucket{{session="deploy",le="0.25"}}'] == 1
    assert told[f'{duration}_bucket{{session="deploy",le="15"}}'] == 1
    assert told[f'{duration}_bucket{{session="deploy",le="+Inf"}}'] == 3
    assert told[f'{duration}_count{{session="deploy"}}'] == 3
    assert told[f'{duration}_sum{{session="deploy"}}'] == 32.25


def test_a_session_that_a_reload_removed_is_told_no_more() -> None:
    counting = metrics()
    counting.attempted("deploy", 1.0, "throttled")
    counting.cache_write_failed("deploy")

    assert b"deploy" in counting.page([GOOD], NOW)  # the negative control
    assert b"deploy" not in counting.page([FAILING], NOW)


def test_the_process_is_told() -> None:
    told = values(metrics().page([], NOW))

    assert told[f'{PREFIX}build_info{{version="1.2.3"}}'] == 1
    assert told["process_start_time_seconds"] == NOW - 7200


# Promise 20


@pytest.mark.promise(20)
def test_metrics_hold_no_secret_account_or_arn() -> None:
    page = everything().decode()

    # The negative control: what the page is made of does hold them, in the error's text and its hint.
    assert [secret for secret in SECRETS if secret in repr(FAILING)] == ["canary-secret", "111122223333", "arn:"]
    assert [secret for secret in SECRETS if secret in page] == []


@pytest.mark.promise(20)
@pytest.mark.parametrize("text", [*SECRETS, "", 'x"', "a" * 41, "two words", ROLE])
def test_what_is_no_plain_word_gets_onto_no_label(text: str) -> None:
    counting = metrics()
    counting.refused("imds", text)
    counting.attempted("deploy", 1.0, text)
    wrong = SessionStatus("deploy", has_credentials=False, last_attempt_at=NOW, last_error=(text, "", ""))
    told = values(counting.page([wrong], NOW))

    if re.fullmatch(r"[a-z0-9-]{1,40}", text):  # a word like any other, and no secret of ours has this form
        assert told[f'{PREFIX}refusals_total{{outlet="imds",reason="{text}"}}'] == 1
    else:
        assert told[f'{PREFIX}refusals_total{{outlet="imds",reason="other"}}'] == 1
        assert told[f'{PREFIX}create_session_failures_total{{session="deploy",code="other"}}'] == 1
        assert told[f'{PREFIX}last_refresh_failure{{session="deploy",code="other"}}'] == 1
        assert not text or text not in str(told)


@pytest.mark.promise(20)
def test_labels_are_of_few_names() -> None:
    labels = set(re.findall(r'[{,](\w+)="', everything().decode()))

    assert labels == {"session", "outlet", "status", "reason", "code", "le", "version", "update"}


def test_made_up_reasons_do_not_make_the_page_grow() -> None:
    counting = metrics()
    for number in range(10_000):
        counting.refused("imds", f"reason-{number}")
    told = {sample: value for sample, value in values(counting.page([], NOW)).items() if "refusals" in sample}

    assert len(told) == 101
    assert sum(told.values()) == 10_000


def test_credentials_files_that_are_no_longer_kept_are_forgotten() -> None:
    counting = metrics()
    for name in ("old", "kept"):
        counting.file_written(name, NOW)
        counting.file_write_failed(name)
    counting.keep_files(["kept"])

    told = {sample: value for sample, value in values(counting.page([], NOW)).items() if "_file_" in sample}

    assert told == {
        f'{PREFIX}file_last_write_timestamp_seconds{{update="kept"}}': NOW,
        f'{PREFIX}file_write_errors_total{{update="kept"}}': 1,
    }


# Promise 36


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[PrivateDirectory]:
    with PrivateDirectory(tmp_path / "cache") as made:
        yield made


def entry(issued_at: int) -> StoredSet:
    return StoredSet(
        Credentials("AKIACANARY", "canary-secret", "canary-token", issued_at, issued_at + 3600, ROLE), issued_at + 1800
    )


@pytest.mark.promise(36)
def test_a_full_disk_is_counted(directory: PrivateDirectory) -> None:
    """A file-size limit stands for a full disk: the same call fails, half way through the write."""
    counting = metrics()
    store = DiskStore(directory, KEY, ROLE, FakeClock(NOW), lambda: counting.cache_write_failed("deploy"))
    errors = f'{PREFIX}cache_write_errors_total{{session="deploy"}}'
    store.save(entry(NOW))
    assert values(counting.page([GOOD], NOW))[errors] == 0  # the negative control: there is room

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        store.save(entry(NOW + 5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert values(counting.page([GOOD], NOW))[errors] == 1
    assert store.load() == entry(NOW)


# What monitoring asks for


def asked_for(text: str) -> set[str]:
    """Return the metrics of ours that a file names."""
    return set(re.findall(rf"\b{PREFIX}\w+|\bprocess_start_time_seconds\b", text))


def expressions(node: Any) -> Iterator[str]:
    """Return every query of a dashboard: its panels' and its variables'."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("expr", "query", "definition") if isinstance(node.get(key), str))
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from expressions(child)


@pytest.mark.parametrize("file", ["alerts.yml", "alerts.test.yml", "dashboard.json", "README.md"])
def test_monitoring_asks_for_metrics_that_exist(file: str) -> None:
    asked = asked_for((MONITORING / file).read_text(encoding="utf-8"))

    assert asked
    assert asked - names(everything()) == set()


def test_a_metric_that_does_not_exist_is_found() -> None:
    assert asked_for(f"rate({PREFIX}nonsense_total[5m]) / {PREFIX}sessions") - names(everything()) == {
        f"{PREFIX}nonsense_total"
    }


def test_the_dashboard_asks_for_nothing_but_ours() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    queries = list(expressions(dashboard))

    assert len(queries) >= 10
    assert [query for query in queries if query != "prometheus" and not asked_for(query) and "up{" not in query] == []


def test_the_guide_lists_every_metric_and_no_other() -> None:
    guide = (MONITORING.parent / "docs" / "monitoring.md").read_text(encoding="utf-8")
    listed = set(re.findall(rf"^\| `({PREFIX}\w+|process_\w+)`", guide, re.MULTILINE))
    rendered = set(re.findall(r"^# TYPE (\w+)", everything().decode(), re.MULTILINE))

    assert listed == rendered


def test_the_guide_lists_every_alert_and_no_other() -> None:
    guide = (MONITORING.parent / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rules = (MONITORING / "alerts.yml").read_text(encoding="utf-8")
    tests = (MONITORING / "alerts.test.yml").read_text(encoding="utf-8")
    alerts = set(re.findall(r"- alert: (\w+)", rules))

    assert alerts
    assert set(re.findall(r"^\| `(RolesAnywhereHelper\w+)`", guide, re.MULTILINE)) == alerts
    assert set(re.findall(r"alertname: (\w+)", tests)) == alerts
