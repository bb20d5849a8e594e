"""A TPM in software for the tests, one for each file of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.swtpm import Swtpm, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def _swtpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    with running(tmp_path_factory.mktemp("tpm")) as tpm:
        yield tpm


@pytest.fixture
def swtpm(request: pytest.FixtureRequest, peer: Callable[[str], Path]) -> Iterator[Swtpm]:
    """Return a TPM that is empty and has counted no wrong passwords; no key or session may be left in it."""
    for package in ("libtss2-dev", "swtpm", "tpm2-tools", "tpm2-openssl"):
        peer(package)
    tpm: Swtpm = request.getfixturevalue("_swtpm")
    tpm.forgive()
    yield tpm
    left = tpm.left()
    tpm.clear()
    assert left == ""
