"""The environment of a program under ``exec``."""

from __future__ import annotations

import pytest

from rolesanywhere_helper.protocol.program_environment import Handed, region_to_set, with_endpoint, with_variables

HANDED = Handed("http://127.0.0.1:1/default", "canary", "/run/x/token", "/run/x/config", "/run/x/credentials")
BEFORE = {"PATH": "/bin", "AWS_PROFILE": "prod", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_MAX_ATTEMPTS": "5"}


def test_a_program_is_told_of_the_endpoint_and_nothing_else() -> None:
    assert with_endpoint(BEFORE, HANDED, None) == {
        "PATH": "/bin",
        "AWS_MAX_ATTEMPTS": "5",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/default",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "canary",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/run/x/token",
        "AWS_CONFIG_FILE": "/run/x/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/run/x/credentials",
    }


def test_a_program_that_reads_variables_has_those_and_its_own_files() -> None:
    before = BEFORE | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "x", "AWS_CONFIG_FILE": "/home/me/config"}

    assert with_variables(before, {"AWS_ACCESS_KEY_ID": "ASIA"}, "eu-west-1") == {
        "PATH": "/bin",
        "AWS_MAX_ATTEMPTS": "5",
        "AWS_CONFIG_FILE": "/home/me/config",
        "AWS_ACCESS_KEY_ID": "ASIA",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }


@pytest.mark.parametrize(
    ("environment", "typed", "configured", "expected"),
    [
        ({}, None, None, "own"),
        ({"AWS_REGION": ""}, None, None, "own"),
        ({"AWS_REGION": "theirs"}, None, None, None),
        ({"AWS_DEFAULT_REGION": "theirs"}, None, None, None),
        ({}, None, "profile", None),
        ({"AWS_REGION": "theirs"}, "typed", "profile", "typed"),
    ],
)
def test_a_region_is_set_where_there_is_none_or_one_was_typed(
    environment: dict[str, str], typed: str | None, configured: str | None, expected: str | None
) -> None:
    assert region_to_set(environment, typed=typed, configured=configured, own="own") == expected


def test_the_token_is_in_no_text() -> None:
    assert "canary" not in repr(HANDED)
