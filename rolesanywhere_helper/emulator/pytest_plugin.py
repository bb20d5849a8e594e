"""The pytest fixture ``roles_anywhere``: an emulator for the tests of any project.

pytest loads this in every run on a machine that has this package, so that nothing but pytest itself is imported here:
the emulator is when a test asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from rolesanywhere_helper.emulator.for_tests import RolesAnywhere
    from rolesanywhere_helper.emulator.server import Running

_EXTRA = frozenset({"aiohttp"})


@pytest.fixture(scope="session")
def _roles_anywhere_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run one emulator for the session (with pytest-xdist: for each worker)."""
    with _imported().emulator_in(tmp_path_factory.mktemp("roles-anywhere") / "emulator") as emulator:
        yield emulator


@pytest.fixture
def roles_anywhere(_roles_anywhere_emulator: Running, tmp_path_factory: pytest.TempPathFactory) -> RolesAnywhere:
    """A local IAM Roles Anywhere that verifies as the service does, as new for every test."""
    _roles_anywhere_emulator.reset()
    made: RolesAnywhere = _imported().RolesAnywhere(
        _roles_anywhere_emulator, tmp_path_factory.mktemp("roles-anywhere-test")
    )
    return made


def _imported() -> ModuleType:
    """Import what the fixture needs; a missing extra is told without a traceback."""
    try:
        from rolesanywhere_helper.emulator import for_tests  # noqa: PLC0415 - heavy, and not for every run of pytest
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        pytest.fail(
            "the fixture roles_anywhere needs packages that are not installed: "
            "pip install 'rolesanywhere-helper[emulator]'",
            pytrace=False,
        )
    return for_tests
