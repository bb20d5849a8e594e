"""What a program under ``exec`` finds in place of the user's AWS files, as botocore's own parser reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.configloader import load_config
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.protocol.aws_profiles import shielded
from rolesanywhere_helper.protocol.ini_text import IniError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG = """\
# mine
[default]
region = eu-central-1
credential_process = /usr/bin/vault creds
s3 =
    max_concurrent_requests = 20
    addressing_style = path
[profile prod]
sso_session = corp
sso_account_id = 111122223333
sso_role_name = Admin
region = us-west-2
services = local
ca_bundle = /etc/pki/corp.pem
[profile settings]
output = json
[profile "a b"]
output = text
[profile onward]
role_arn = arn:aws:iam::111122223333:role/Other
credential_source = EcsContainer
[profile stale]
role_arn = arn:aws:iam::111122223333:role/Other
source_profile = default
[profile half]
retry_mode = standard
[services local]
s3 =
    endpoint_url = http://127.0.0.1:9000
[sso-session corp]
sso_start_url = https://corp.example/start
"""
CREDENTIALS = """\
[default]
aws_access_key_id = AKIACANARY
aws_secret_access_key = canary-secret
region = eu-south-1
[half]
aws_access_key_id = AKIACANARY
aws_secret_access_key = canary-secret
[keys-only]
aws_access_key_id = AKIACANARY
aws_secret_access_key = canary-secret
"""


def seen(folder: Path, text: str) -> dict[str, Any]:
    file = folder / "config"
    file.write_text(text)
    found: dict[str, Any] = load_config(str(file))
    return found


def profiles(folder: Path, selected: str = "default", credentials: str = CREDENTIALS) -> dict[str, Any]:
    found: dict[str, Any] = seen(folder, shielded(CONFIG, credentials, selected).text)["profiles"]
    return found


def test_the_default_profile_keeps_its_settings_and_loses_its_credentials(tmp_path: Path) -> None:
    assert profiles(tmp_path)["default"] == {
        "region": "eu-south-1",  # of the credentials file, which botocore lets win
        "s3": {"max_concurrent_requests": "20", "addressing_style": "path"},
    }
    assert profiles(tmp_path, credentials="")["default"]["region"] == "eu-central-1"


def test_a_selected_profile_becomes_the_default_and_keeps_its_name(tmp_path: Path) -> None:
    found = profiles(tmp_path, "prod")

    expected = {"region": "us-west-2", "services": "local", "ca_bundle": "/etc/pki/corp.pem"}
    assert found["default"] == found["prod"] == expected
    assert shielded(CONFIG, "", "prod").region == "us-west-2"


def test_a_profile_with_other_credentials_is_left_out_and_one_without_or_with_ours_stays(tmp_path: Path) -> None:
    found = profiles(tmp_path)

    assert set(found) == {"default", "settings", "a b", "onward"}
    assert found["a b"] == {"output": "text"}
    assert found["onward"]["credential_source"] == "EcsContainer"


def test_services_stay_and_sso_sessions_go(tmp_path: Path) -> None:
    found = seen(tmp_path, shielded(CONFIG, CREDENTIALS, "default").text)

    assert found["services"] == {"local": {"s3": {"endpoint_url": "http://127.0.0.1:9000"}}}
    assert not found["sso_sessions"]


def test_a_section_that_is_no_profile_is_there_only_if_it_has_no_credentials(tmp_path: Path) -> None:
    """Old SDKs take ``[x]`` for a profile; to botocore it is nothing."""
    loose = (
        "[old]\naws_secret_access_key = canary\n[older]\nrole_arn = x\nsource_profile = y\n[plugins]\nendpoint = mine\n"
    )
    made = shielded(CONFIG + loose, CREDENTIALS, "default").text

    assert "canary" not in made
    assert seen(tmp_path, made)["plugins"] == {"endpoint": "mine"}
    assert "[old]" not in made
    assert "[older]" not in made


def test_no_secret_is_copied() -> None:
    made = shielded(CONFIG, CREDENTIALS, "default")

    assert "canary" not in made.text.lower()
    assert "canary" not in repr(made).lower()


@pytest.mark.parametrize("selected", ["default", "nobody"])
def test_a_user_without_files_has_an_empty_default(tmp_path: Path, selected: str) -> None:
    made = shielded("", "", selected)

    assert seen(tmp_path, made.text)["profiles"]["default"] == {}
    assert made.region is None


def test_a_selected_profile_that_is_not_there_does_not_take_the_default_ones_settings(tmp_path: Path) -> None:
    assert profiles(tmp_path, "nobody")["default"] == {}


def test_what_all_sections_share_is_said_by_each(tmp_path: Path) -> None:
    made = shielded(
        "[DEFAULT]\nregion = eu-north-1\naws_access_key_id = AKIACANARY\n[default]\noutput = text\n", "", "default"
    )

    assert seen(tmp_path, made.text)["profiles"]["default"] == {"region": "eu-north-1", "output": "text"}


def test_a_file_that_botocore_cannot_read_is_refused() -> None:
    with pytest.raises(IniError):
        shielded("region = x\n", "", "default")


_KEYS = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True).filter(
    lambda key: not key.startswith(("aws", "sso", "login"))
)
_WORDS = st.from_regex(r"[A-Za-z0-9/:=._-][A-Za-z0-9/:=. _-]{0,20}[A-Za-z0-9]", fullmatch=True)
_NESTED = st.dictionaries(_KEYS, _WORDS, min_size=1, max_size=3)


@given(settings=st.dictionaries(_KEYS, _WORDS | _NESTED, max_size=6))
def test_every_setting_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, settings: Mapping[str, str | Mapping[str, str]]
) -> None:
    lines = [f"{key} = {value}" if isinstance(value, str) else _block(key, value) for key, value in settings.items()]
    text = "\n".join(["[default]", *lines, "credential_process = x"]) + "\n"
    folder = tmp_path_factory.mktemp("config")

    before = seen(folder, text)["profiles"]["default"]
    del before["credential_process"]
    assert seen(folder, shielded(text, "", "default").text)["profiles"]["default"] == before


def _block(key: str, values: Mapping[str, str]) -> str:
    return "\n".join([f"{key} =", *(f"  {name} = {value}" for name, value in values.items())])
