"""From role to role through a forward proxy: each call is judged by the host that it is made to (promise 65)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings
from tests.fakes.forward_proxy import ForwardProxy
from tests.plugins.emulated import Emulated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Finished, RunHelper

# Names that no server knows: without the proxy nobody gets there.
SERVICE, STS = "rolesanywhere.example.test", "sts.example.test"


@pytest.fixture(scope="module")
def emulated_with_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with running(Settings(tmp_path_factory.mktemp("tls") / "emulator", tls=True)) as emulator:
        yield Emulated(emulator)


@pytest.fixture
def proxy(emulated_with_tls: Emulated) -> Iterator[ForwardProxy]:
    with ForwardProxy(urlsplit(emulated_with_tls.endpoint).port or 0) as listening:
        yield listening


@pytest.fixture
def flags(emulated_with_tls: Emulated) -> list[str]:
    told = json.loads(Path(str(emulated_with_tls.announcement["adminCredentials"])).read_text())
    role = f"arn:aws:iam::{told['otherAccount']['account']}:role/Consultant"
    given = {"sts_endpoint": f"https://{STS}", "assume_role_arn": role}
    return [*emulated_with_tls.flags(endpoint=f"https://{SERVICE}", **given), "--no-verify-ssl", "--no-cache"]


def ask(run_helper: RunHelper, proxy: ForwardProxy, *words: str, exceptions: str = "") -> Finished:
    return run_helper(*words, env={"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": exceptions})


@pytest.mark.promise(65)
@pytest.mark.parametrize(
    ("exceptions", "asked"),
    [
        ("", [SERVICE, STS]),
        ("amazonaws.com,127.0.0.1", [SERVICE, STS]),
        (STS, [SERVICE]),
        (SERVICE, []),
        (".example.test", []),
    ],
)
def test_each_call_takes_the_proxy_unless_its_own_host_is_excepted(
    run_helper: RunHelper, proxy: ForwardProxy, flags: list[str], exceptions: str, asked: list[str]
) -> None:
    done = ask(run_helper, proxy, "credential-process", *flags, "--with-proxy", exceptions=exceptions)

    assert list(dict.fromkeys(proxy.asked)) == [f"{host}:443" for host in asked]
    assert done.exit_code == (0 if STS in asked else 3), done.err


@pytest.mark.promise(65)
@pytest.mark.parametrize("command", ["credential-process", "exec"])
def test_sts_takes_the_proxy_though_the_service_is_reached_without(
    run_helper: RunHelper, proxy: ForwardProxy, flags: list[str], emulated_with_tls: Emulated, command: str
) -> None:
    words = [each if each != f"https://{SERVICE}" else emulated_with_tls.endpoint for each in flags]
    program = ["--", "true"] if command == "exec" else []

    done = ask(run_helper, proxy, command, *words, "--with-proxy", *program)

    assert done.exit_code == 0, done.err
    assert proxy.asked == [f"{STS}:443"]


@pytest.mark.promise(65)
def test_without_the_switch_there_is_no_proxy(
    run_helper: RunHelper, proxy: ForwardProxy, flags: list[str], emulated_with_tls: Emulated
) -> None:
    words = [each if each != f"https://{SERVICE}" else emulated_with_tls.endpoint for each in flags]

    assert ask(run_helper, proxy, "credential-process", *words).exit_code == 3
    assert proxy.asked == []
