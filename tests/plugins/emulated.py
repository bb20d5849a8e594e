"""An emulator for the tests, and what a test asks it for."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator.server import Running, running
from rolesanywhere_helper.emulator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Emulated:
    """One emulator, seen by one test."""

    def __init__(self, emulator: Running) -> None:
        self.emulator = emulator
        self.announcement = emulator.announcement
        self.endpoint = emulator.endpoint

    @property
    def certificate(self) -> str:
        return str(self.announcement["certificate"])

    @property
    def private_key(self) -> str:
        return str(self.announcement["privateKey"])

    def flags(self, **changed: str) -> list[str]:
        """Return the session flags that get credentials from it; ``role_arn=…`` changes one or adds one."""
        values = {
            "certificate": self.certificate,
            "private_key": self.private_key,
            "trust_anchor_arn": str(self.announcement["trustAnchorArn"]),
            "profile_arn": str(self.announcement["profileArn"]),
            "role_arn": str(self.announcement["roleArn"]),
            "endpoint": self.endpoint,
            **changed,
        }
        return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", value)]

    def create_session_calls(self) -> list[dict[str, Any]]:
        return [seen for seen in self.emulator.requests() if seen["operation"] == "CreateSession"]


@pytest.fixture(scope="session")
def _emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Settings(tmp_path_factory.mktemp("emulator") / "state")) as emulator:
        yield emulator


@pytest.fixture
def emulated(_emulator: Running) -> Iterator[Emulated]:
    """Return an emulator that has seen nothing and has no faults."""
    _emulator.forget_requests()
    yield Emulated(_emulator)
    _emulator.clear_faults()


def issue(  # noqa: PLR0913 - what openssl asks for
    directory: Path, ca: tuple[str, str], *, config: str, name: str = "leaf", days: int = 30, subject: str = ""
) -> tuple[Path, Path]:
    """Let openssl make a key and a leaf signed by a CA (certificate, key); ``config`` is its extension section.

    The subject is ``/CN=NAME`` unless one is given.
    """
    leaf, key, request, extensions = (directory / f"{name}.{ending}" for ending in ("pem", "key", "csr", "cnf"))
    extensions.write_text(f"[leaf]\n{config}\n")
    openssl(
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        request,
        "-subj",
        subject or f"/CN={name}",
    )
    signed: list[str | int | Path] = [
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        ca[0],
        "-CAkey",
        ca[1],
        "-CAcreateserial",
        "-out",
        leaf,
    ]
    openssl(*signed, "-days", days, "-extfile", extensions, "-extensions", "leaf")
    return leaf, key


def openssl(*arguments: str | int | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
