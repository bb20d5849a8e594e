"""Prometheus' own tool on our page, our alert rules and the dashboard's queries."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.daemon.metrics import Metrics
from rolesanywhere_helper.domain.serving import SessionStatus

if TYPE_CHECKING:
    from collections.abc import Callable

MONITORING = Path(__file__).parents[2] / "monitoring"
NOW = 1_800_000_000


@pytest.fixture
def promtool(peer: Callable[[str], Path]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs promtool; ``text`` is its standard input."""
    program = peer("prometheus")

    def run(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        words = [str(program), *map(str, arguments)]
        return subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)

    return run


def page() -> str:
    """Return a page with a sample of every metric, under names that need to be escaped."""
    name = 'd\\e"ploy ü'
    counting = Metrics("1.2.3", NOW - 7200)
    counting.answered("imds", 200)
    counting.refused("imds", "host")
    counting.opened("imds")
    counting.attempted(name, 0.3)
    counting.attempted(name, 0.9, "throttled")
    counting.cache_write_failed(name)
    status = SessionStatus(
        name=name,
        has_credentials=True,
        expires_at=NOW + 3000,
        next_attempt_at=NOW + 1200.5,
        last_attempt_at=NOW - 600,
        last_success_at=NOW - 700,
        last_error=("throttled", "too many", "wait"),
        certificate_not_after=NOW - 60,
        certificate_not_before=NOW - 86_400,
        clock_skew_seconds=-1e-7,
        attempts=2,
        failures=1,
        last_mint_seconds=0.9,
    )
    return counting.page([status], NOW).decode()


def test_prometheus_reads_the_page(promtool: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    checked = promtool("check", "metrics", text=page())

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [("# TYPE", "# TYPO"), ('"imds"', "imds"), ('\\"', '"'), ("_total", "_sum"), ("# HELP", "#")],
)
def test_a_page_that_is_wrong_is_found(
    promtool: Callable[..., subprocess.CompletedProcess[str]], before: str, after: str
) -> None:
    assert before in page()
    assert promtool("check", "metrics", text=page().replace(before, after)).returncode != 0


@pytest.mark.promise(55)
def test_every_alert_fires_when_it_should_and_only_then(
    promtool: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    checked = promtool("test", "rules", MONITORING / "alerts.test.yml")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS" in checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('up{job="rolesanywhere-helper"} == 0', 'up{job="rolesanywhere-helper"} == 2'),
        ("[15m]) > 3", "[15m]) > 300"),
        ("session_has_credentials == 0", "session_has_credentials == 2"),
        ("remaining_seconds < 300", "remaining_seconds < 400"),
        ("for: 10m", "for: 1s"),
        (">= 7 * 86400", ">= 5 * 86400"),
        ("seconds < 7 * 86400", "seconds < 5 * 86400"),
        ("lifetime_seconds / 6", "lifetime_seconds / 1"),
        ("remaining_seconds <= 0", "remaining_seconds <= 60"),
        ("and rolesanywhere_helper_session_has_credentials == 1", ""),
        ("abs(", "("),
        (") > 100", ") > 10"),
        ("[2h]) > 0", "[2h]) > 1"),
        (") unless rolesanywhere_helper_certificate_lifetime_seconds < 60 * 86400", ")"),
    ],
)
def test_a_rule_that_is_wrong_is_found(
    promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, before: str, after: str
) -> None:
    rules = (MONITORING / "alerts.yml").read_text(encoding="utf-8").replace("\n          unless", " unless")
    assert before in rules
    (tmp_path / "alerts.yml").write_text(rules.replace(before, after), encoding="utf-8")
    shutil.copy(MONITORING / "alerts.test.yml", tmp_path)

    assert promtool("test", "rules", tmp_path / "alerts.test.yml").returncode != 0


def dashboard_queries() -> list[str]:
    """Return what the panels ask, with Grafana's own variables filled in."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [
        query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$session", ".*")
        for query in queries
    ]


def as_rules(queries: list[str]) -> str:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    return json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})


def test_prometheus_understands_every_query_of_the_dashboard(
    promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    queries = dashboard_queries()
    (tmp_path / "rules.yml").write_text(as_rules(queries))
    (tmp_path / "broken.yml").write_text(as_rules([*queries, "sum by (rate("]))

    assert len(queries) >= 15
    checked = promtool("check", "rules", tmp_path / "rules.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert promtool("check", "rules", tmp_path / "broken.yml").returncode != 0  # the negative control
