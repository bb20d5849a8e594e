"""The command from the outside, against an emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.emulator.server import running
from rolesanywhere_helper.emulator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.emulator.server import Running


@pytest.fixture(scope="module")
def shared_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Settings(tmp_path_factory.mktemp("emulator"))) as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator: Running) -> Running:
    """Return an emulator that has seen nothing yet and does nothing wrong."""
    shared_emulator.clear_faults()
    shared_emulator.forget_requests()
    return shared_emulator


@pytest.fixture
def session_flags(emulator: Running) -> list[str]:
    """Return the flags that the official helper's documentation shows, for the emulator."""
    said = emulator.announcement
    return [
        "--certificate",
        said["certificate"],
        "--private-key",
        said["privateKey"],
        "--trust-anchor-arn",
        said["trustAnchorArn"],
        "--profile-arn",
        said["profileArn"],
        "--role-arn",
        said["roleArn"],
        "--endpoint",
        emulator.endpoint,
    ]
