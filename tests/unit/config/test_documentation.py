"""docs/configuration.md says what the program does."""

from __future__ import annotations

import re
import tomllib

import pytest

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.load import load_session
from rolesanywhere_helper.config.serve import load_serve
from scripts.configuration_table import DOCUMENT, with_tables

TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_the_tables_are_the_programs_own() -> None:
    assert with_tables(TEXT) == TEXT, "run: python -m scripts.configuration_table"


@pytest.mark.parametrize(("written", "wrong"), [("| `--role-arn ARN` |", "| `--role ARN` |"), ("`--port PORT`", "-")])
def test_a_table_that_has_drifted_is_noticed(written: str, wrong: str) -> None:
    drifted = TEXT.replace(written, wrong, 1)

    assert drifted != TEXT
    assert with_tables(drifted) == TEXT
    with pytest.raises(ValueError, match="has lost the lines"):
        with_tables("")


def test_the_example_works() -> None:
    found = next(re.finditer(r"```toml\n(.*?)```", TEXT, re.DOTALL))
    example = found[1].encode()

    loaded = load_session({"session": "deploy"}, Surroundings({}, "/"), lambda _path, _what: example, "/c.toml")

    assert tomllib.loads(found[1])["session"]["deploy"]["role-arn"] == str(loaded.settings.spec.role_arn)
    assert loaded.settings.spec.instance_properties == (("team", "blue"),)


def test_the_daemons_example_works() -> None:
    example = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)[1].encode()

    settings = load_serve({}, Surroundings({}, "/"), lambda _path, _what: example, "/c.toml")

    assert [session.name for session in settings.sessions] == ["deploy"]
    assert settings.containers[0].token_group == "builds"
    assert settings.start_jitter_seconds == 300
    assert settings.warnings == ()
