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
        "AWS_CREDENTIAL_PROFILES_FILE": "/run/x/credentials",
    }


@pytest.mark.parametrize(
    "name",
    ["AMAZON_SECRET_ACCESS_KEY", "AWSSECRETACCESSKEY", "EC2_SECURITY_TOKEN", "AWS_BEARER_TOKEN_OTHER", "BOTO_PATH"],
)
def test_other_spellings_of_credentials_go(name: str) -> None:
    assert name not in with_endpoint({name: "canary"}, HANDED, None)
    assert name not in with_variables({name: "canary"}, {}, None)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({}, (None, None)),
        ({"no_proxy": "corp.example"}, ("corp.example", None)),  # nobody is asked to go through one
        ({"https_proxy": "http://proxy:1"}, (None, None)),
        ({"http_proxy": "http://proxy:1"}, ("127.0.0.1", "127.0.0.1")),
        ({"ALL_PROXY": "socks5://proxy:1", "no_proxy": ""}, ("127.0.0.1", "127.0.0.1")),
        ({"HTTP_PROXY": "x", "NO_PROXY": "a, b,"}, ("a, b,127.0.0.1", "a, b,127.0.0.1")),
        ({"http_proxy": "x", "NO_PROXY": "a", "no_proxy": "b"}, ("b,127.0.0.1", "a,127.0.0.1")),
        ({"http_proxy": "x", "NO_PROXY": "a 127.0.0.1", "no_proxy": "*"}, ("*", "a 127.0.0.1")),
    ],
)
def test_no_proxy_is_asked_for_the_endpoint(before: dict[str, str], expected: tuple[str | None, str | None]) -> None:
    made = with_endpoint(before, HANDED, None)

    assert (made.get("no_proxy"), made.get("NO_PROXY")) == expected
    assert before.items() - made.items() <= {
        (name, before[name]) for name in ("no_proxy", "NO_PROXY") if name in before
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
