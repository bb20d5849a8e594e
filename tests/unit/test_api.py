"""The arguments of the library: one for each flag that a session has, and what may stand in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints
from uuid import UUID

import pytest

import rolesanywhere_helper
from rolesanywhere_helper import api
from rolesanywhere_helper.config.flags import AGENT_SOCKET, SECRETS, SESSION_FLAGS, Kind
from rolesanywhere_helper.domain.identity_reference import SecretSource
from rolesanywhere_helper.errors import UsageError

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
FLAGS = {flag.name.replace("-", "_"): flag for flag in (*SESSION_FLAGS, AGENT_SOCKET)}
LEFT_OUT = {name.replace("-", "_") for name in api.LEFT_OUT}
PATH = str | api.StrPath | None
TYPES = {
    Kind.TEXT: str | None,
    Kind.PATH: PATH,
    Kind.REFERENCE: PATH,
    Kind.DURATION: int | str | None,
    Kind.SWITCH: bool | None,
    Kind.PROPERTIES: Mapping[str, str] | None,
    Kind.NAMES: str | Sequence[str] | None,
}
ARNS: api.SessionArguments = {
    "trust_anchor_arn": f"arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/{UUID(int=1)}",
    "profile_arn": f"arn:aws:rolesanywhere:eu-central-1:111122223333:profile/{UUID(int=2)}",
    "role_arn": "arn:aws:iam::111122223333:role/Deploy",
}


def loaded(**arguments: Any) -> Any:
    return api._load("credentials", {**ARNS, **arguments})  # type: ignore[typeddict-item] # also what it refuses


def test_every_session_flag_is_an_argument_or_left_out_for_a_reason() -> None:
    arguments = api.SessionArguments.__optional_keys__

    assert arguments - {"config"} == FLAGS.keys() - LEFT_OUT
    assert FLAGS.keys() >= LEFT_OUT, "the negative control: what is left out exists"
    assert all(api.LEFT_OUT.values())


def test_every_argument_has_the_type_of_its_flag_and_is_documented() -> None:
    for name, hint in get_type_hints(api.SessionArguments).items():
        assert name == "config" or hint == TYPES[FLAGS[name].kind], name
        assert f"`{name}`" in DOCUMENTED, name


def test_what_is_left_out_is_refused_with_its_reason_and_without_its_value() -> None:
    for name in SECRETS:
        with pytest.raises(TypeError, match=f"{name}_file".replace("-", "_")) as caught:
            loaded(**{name.replace("-", "_"): "canary-secret"})
        assert "canary" not in str(caught.value)
    with pytest.raises(TypeError, match=r"credentials\(\) got an unexpected keyword argument 'sesion'$"):
        rolesanywhere_helper.credentials(sesion="deploy")  # type: ignore[call-arg] # mistyped


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("role_arn", True),
        ("with_proxy", "true"),
        ("session_duration", True),
        ("session_duration", 1.5),
        ("certificate", 3),
        ("session_tags", [("team", "blue")]),
        ("assume_role_arn", 7),
        ("assume_role_arn", ["arn:aws:iam::444455556666:role/Consultant", None]),
        ("config", 1),
    ],
)
def test_a_wrong_type_is_refused_rather_than_passed_over(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} cannot be of the type {type(value).__name__}"):
        loaded(**{"certificate": "/c.pem", "private_key": "/c.key", name: value})


@pytest.mark.parametrize("empty", ["", " ", [], (), [""], ["", "arn:aws:iam::444455556666:role/Consultant"]])
def test_no_role_where_there_was_to_be_one_is_refused(empty: object) -> None:
    """Rather than that the credentials are those of the first role."""
    with pytest.raises(UsageError, match="an assume-role-arn is empty"):
        loaded(certificate="/c.pem", private_key="/c.key", assume_role_arn=empty)
    assert loaded(certificate="/c.pem", private_key="/c.key", assume_role_arn=None).settings.hops == ()


def test_arguments_mean_what_the_flags_mean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = loaded(
        cert_directory=Path("certificates"),
        cert_selector="Key=x509Subject,Value=CN=host",
        use_latest_expiring_certificate=True,
        pkcs11_lib="/usr/lib/softhsm/libsofthsm2.so",
        pkcs11_pin_file="env:PIN",
        reuse_pin=True,
        no_tpm_key_password=True,
        tpm_parent_password_file=tmp_path / "parent",
        strict_key_permissions=True,
        session_duration=900,
        instance_properties={"team": "blue"},
        region="us-east-1",
        use_fips_endpoint=True,
        no_cache=True,
        no_verify_ssl=False,
        assume_role_arn=("arn:aws:iam::444455556666:role/Consultant",),
        session_tags={"team": "blue", "a:b": "c=d"},
        transitive_tag_keys=["team"],
        external_id=None,
    ).settings

    identity, (hop,) = settings.identity, settings.hops
    assert identity.certificate_directory == str(tmp_path / "certificates")
    assert identity.certificate_selector == "Key=x509Subject,Value=CN=host"
    assert (identity.pkcs11_library, identity.reuse_pin) == ("/usr/lib/softhsm/libsofthsm2.so", True)
    assert dict(identity.secrets) == {
        "pkcs11-pin": SecretSource("env:PIN"),
        "tpm-parent-password": SecretSource(str(tmp_path / "parent")),
    }
    assert (identity.use_latest_expiring, identity.no_tpm_key_password, identity.strict_key_permissions) == (True,) * 3
    assert (settings.spec.duration_seconds, settings.spec.instance_properties) == (900, (("team", "blue"),))
    assert settings.connection.endpoint.host == "rolesanywhere-fips.us-east-1.amazonaws.com"
    assert (settings.use_cache, settings.connection.verify_tls) == (False, True)
    assert (hop.tags, hop.transitive_tag_keys) == ((("a:b", "c=d"), ("team", "blue")), ("team",))
