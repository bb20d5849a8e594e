"""``serve`` up to the moment at which the daemon takes over: the log, the reload, and no TLS in its memory."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper import wiring
from rolesanywhere_helper.cli import logs, serve
from rolesanywhere_helper.cli.logs import OWN
from rolesanywhere_helper.cli.parser import parse
from rolesanywhere_helper.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from rolesanywhere_helper.config.serve_settings import ServeSettings

SESSION = """
[identity.host]
certificate = "host.pem"
private-key = "host.key"
[session.deploy]
identity = "host"
trust-anchor-arn = "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/1"
profile-arn = "arn:aws:rolesanywhere:eu-central-1:111122223333:profile/1"
role-arn = "arn:aws:iam::111122223333:role/Deploy"
"""


class Wiring:
    """Stands in for what serves; it notes what it was given and ends at once."""

    def __init__(self) -> None:
        self.settings: list[ServeSettings] = []
        self.during: Callable[[Callable[[], ServeSettings]], None] = lambda _reload: None

    def run(
        self,
        settings: ServeSettings,
        *,
        reload: Callable[[], ServeSettings],
        secrets: Mapping[str, Mapping[str, str]],
    ) -> int:
        self.secrets = secrets
        self.settings.append(settings)
        self.during(reload)
        return 0


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> Wiring:
    stand_in = Wiring()
    monkeypatch.setattr(wiring, "serve", stand_in, raising=False)
    return stand_in


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("AWS_", "ROLESANYWHERE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    file = tmp_path / "config.toml"
    file.write_text(SESSION)
    file.chmod(0o600)
    return file


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    own, root = logging.getLogger(OWN), logging.getLogger()
    before = own.handlers, own.propagate, own.level, root.handlers[:]
    yield
    own.handlers, own.propagate, own.level = before[:3]
    root.handlers[:] = before[3]
    logging.captureWarnings(capture=False)


def run(*words: str) -> int:
    invocation = parse(["serve", *words])
    logs.start(invocation.log, is_quiet=False, stderr_is_terminal=False)
    return serve.run(invocation)


def test_the_daemon_gets_what_was_asked(wired: Wiring, config: Path) -> None:
    assert run("--config", str(config), "--port", "0") == 0

    assert [each.name for each in wired.settings[0].sessions] == ["deploy"]
    assert wired.settings[0].imds[0].listeners[0].port == 0


def test_a_reload_reads_the_file_again_with_the_same_flags(wired: Wiring, config: Path) -> None:
    reloaded: list[ServeSettings] = []

    def change_and_reload(reload: Callable[[], ServeSettings]) -> None:
        config.write_text(SESSION.replace("Deploy", "Other"))
        reloaded.append(reload())
        config.write_text("this is not TOML")
        with pytest.raises(ConfigurationError, match="is not TOML"):
            reload()

    wired.during = change_and_reload
    run("--config", str(config), "--port", "7")

    assert str(wired.settings[0].sessions[0].settings.spec.role_arn).endswith("Deploy")
    assert str(reloaded[0].sessions[0].settings.spec.role_arn).endswith("Other")
    assert reloaded[0].imds == wired.settings[0].imds


def test_what_cannot_be_served_never_gets_to_the_daemon(wired: Wiring, config: Path) -> None:
    with pytest.raises(UsageError):
        run("--config", str(config), "--bind", "0.0.0.0")  # noqa: S104 - it is to be refused

    assert wired.settings == []


# The log


def test_warnings_go_to_standard_error_also_where_it_is_no_terminal(
    wired: Wiring, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run("--config", str(config), "--session-duration", "900")

    out, err = capfd.readouterr()
    assert wired.settings
    assert out == ""
    assert "WARNING" in err
    assert "botocore" in err
    assert not err.startswith("<")


def test_the_journal_is_told_each_lines_priority(
    wired: Wiring, config: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{entry.st_dev}:{entry.st_ino}")
    log = logging.getLogger(f"{OWN}.test")

    def speak(_reload: Callable[[], ServeSettings]) -> None:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            log.log(level, "spoken")

    wired.during = speak
    run("--config", str(config), "--debug")

    spoken = [line for line in capfd.readouterr().err.splitlines() if line.endswith("spoken")]
    assert [line[:3] for line in spoken] == ["<7>", "<6>", "<4>", "<3>", "<3>"]


def test_a_stream_that_is_not_the_journal_gets_no_priorities(
    wired: Wiring, config: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")  # as after `serve 2>file` in a unit

    run("--config", str(config), "--session-duration", "900")

    assert wired.settings
    assert "<4>" not in capfd.readouterr().err


@pytest.mark.parametrize(("words", "is_json"), [((), True), (("--log-format", "text"), False)])
def test_the_file_may_say_how_the_log_is_written(
    words: tuple[str, ...],
    is_json: bool,  # noqa: FBT001 - a column
    wired: Wiring,
    config: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config.write_text(SESSION + "duration = 900\n[serve]\nlog-format = 'json'\n")

    run("--config", str(config), *words)

    assert wired.settings
    assert capfd.readouterr().err.startswith("{") is is_json


def test_the_file_may_name_a_log_file_and_a_flag_another(
    wired: Wiring, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config.write_text(SESSION + "duration = 900\n[serve]\nlog-file = 'a.log'\n")

    run("--config", str(config))
    run("--config", str(config), "--log-file", str(config.parent / "b.log"))

    assert len(wired.settings) == 2
    assert capfd.readouterr().err == ""
    assert "botocore" in (config.parent / "a.log").read_text()
    assert "botocore" in (config.parent / "b.log").read_text()
    assert len((config.parent / "a.log").read_text().splitlines()) == 1


# Memory

PROGRAM = """
import sys, types
from rolesanywhere_helper import wiring
from rolesanywhere_helper.cli.main import main

def run(settings, *, reload, secrets):
    import asyncio
    try:
        import ssl
    except ImportError:
        pass
    reload()
    heavy = {"ssl", "_ssl", "cryptography", "requests", "urllib3", "boto3", "botocore", "difflib", "email", "http"}
    sys.stderr.write(",".join(sorted(name for name in heavy if sys.modules.get(name))))
    return 0

if "--with-ssl" in sys.argv:
    import ssl
    sys.argv.remove("--with-ssl")
wiring.serve = types.SimpleNamespace(run=run)
sys.exit(main(["serve", *sys.argv[1:]]))
"""


def loaded_by_serving(config: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--config", str(config), *words],
        env={"HOME": str(config.parent), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # What `sys.stderr.write` says is the last of it: nothing in the log ends without a newline.
    return done.stderr.rpartition("\n")[2]


def test_nothing_heavy_is_in_the_serving_process(config: Path) -> None:
    assert loaded_by_serving(config) == ""


def test_what_is_heavy_would_be_seen(config: Path) -> None:
    assert loaded_by_serving(config, "--with-ssl") == "_ssl,ssl"
