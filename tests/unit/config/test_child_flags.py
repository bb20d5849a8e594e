"""What the daemon tells its child leads to the settings that it was made from."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rolesanywhere_helper.config.child_flags import PROXY, from_flags, to_flags
from rolesanywhere_helper.config.flags import SESSION_FLAGS
from rolesanywhere_helper.config.settings import ConnectionSettings, SessionSettings
from rolesanywhere_helper.domain.endpoint import Endpoint
from rolesanywhere_helper.domain.identity_reference import IdentityReference
from rolesanywhere_helper.errors import UnsafeFileError, UsageError
from tests.fakes.sessions import spec

PLAIN = SessionSettings(
    None,
    spec(),
    IdentityReference("/etc/host.pem", "/etc/host.key"),
    ConnectionSettings(Endpoint("https", "rolesanywhere.eu-central-1.amazonaws.com")),
)
EVERYTHING = SessionSettings(
    "deploy",
    replace(
        spec(),
        region="eu-west-1",
        duration_seconds=43_200,
        role_session_name="me@host",
        instance_properties=(("a,b", '"=,{}'), ("ä", "ö\n")),
    ),
    IdentityReference("/a b/cert", "/-key", "/chain", strict_key_permissions=True, accept_insecure_key_file=True),
    ConnectionSettings(
        Endpoint("https", "gateway.example", 8443, "/aws"),
        "/ca.pem",
        "http://u:canary-password@proxy:1",
        verify_tls=False,
    ),
    use_cache=False,
)


def read(path: str, what: str) -> bytes:
    assert (path, what) == ("/ca.pem", "CA bundle")
    return b""


@pytest.mark.parametrize(
    "settings",
    [
        PLAIN,
        EVERYTHING,
        replace(PLAIN, connection=ConnectionSettings(Endpoint("https", "host", 443))),
        replace(PLAIN, connection=ConnectionSettings(Endpoint("http", "127.0.0.1", 80))),
        replace(PLAIN, connection=ConnectionSettings(Endpoint("http", "::1", 4711))),
        replace(PLAIN, connection=ConnectionSettings(Endpoint("https", "::1", prefix="/x"))),
        replace(PLAIN, spec=replace(spec(), duration_seconds=900)),
    ],
)
def test_the_way_there_and_back(settings: SessionSettings) -> None:
    session, secrets = json.loads(json.dumps(to_flags(settings)))

    assert from_flags(session, secrets, read) == settings


def test_every_flag_that_is_told_exists_and_the_secret_is_apart() -> None:
    session, secrets = to_flags(EVERYTHING)

    assert set(session) <= {flag.name for flag in SESSION_FLAGS}
    assert secrets == {PROXY: "http://u:canary-password@proxy:1"}
    assert "canary" not in repr(session)


def test_no_configuration_is_read() -> None:
    def forbidden(path: str, what: str) -> bytes:
        raise AssertionError(path, what)

    assert from_flags(to_flags(PLAIN)[0], {}, forbidden).spec == PLAIN.spec


def test_what_is_not_right_is_refused() -> None:
    session, _ = to_flags(PLAIN)

    with pytest.raises(UsageError):
        from_flags({**session, "role-arn": "nonsense"}, {}, read)
    with pytest.raises(UsageError, match="missing"):
        from_flags({name: value for name, value in session.items() if name != "certificate"}, {}, read)


def test_a_ca_bundle_that_others_can_write_is_refused() -> None:
    def unsafe(path: str, what: str) -> bytes:
        raise UnsafeFileError(f"the {what} {path} can be written by others", "chmod")

    with pytest.raises(UnsafeFileError):
        from_flags(to_flags(EVERYTHING)[0], {}, unsafe)
