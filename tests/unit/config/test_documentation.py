"""docs/configuration.md says what the program does."""

from __future__ import annotations

import re
import tomllib

import pytest

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.load import load_session
from scripts.configuration_table import DOCUMENT, with_table

TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_the_table_is_the_programs_own() -> None:
    assert with_table(TEXT) == TEXT, "run: python -m scripts.configuration_table"


def test_a_table_that_has_drifted_is_noticed() -> None:
    drifted = TEXT.replace("| `--role-arn ARN` |", "| `--role ARN` |")

    assert drifted != TEXT
    assert with_table(drifted) == TEXT
    with pytest.raises(ValueError, match="has lost the lines"):
        with_table("")


def test_the_example_works() -> None:
    found = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    example = found[1].encode()

    loaded = load_session({"session": "deploy"}, Surroundings({}, "/"), lambda _path, _what: example, "/c.toml")

    assert tomllib.loads(found[1])["session"]["deploy"]["role-arn"] == str(loaded.settings.spec.role_arn)
    assert loaded.settings.spec.instance_properties == (("team", "blue"),)
