"""A PIN in a PKCS#11 URI becomes a secret before the URI goes anywhere."""

from __future__ import annotations

import pytest

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.load import load_identity, load_session
from rolesanywhere_helper.domain.identity_reference import SecretSource
from rolesanywhere_helper.errors import InvalidParameterError

PIN = "canary-73829146"
SURROUNDINGS = Surroundings({}, "/")
_HERE = "arn:aws:rolesanywhere:eu-central-1:111122223333"
ARNS = {
    "trust-anchor-arn": f"{_HERE}:trust-anchor/00000000-0000-0000-0000-000000000001",
    "profile-arn": f"{_HERE}:profile/00000000-0000-0000-0000-000000000002",
    "role-arn": "arn:aws:iam::111122223333:role/Role",
}


@pytest.mark.parametrize("flag", ["certificate", "private-key"])
def test_the_uri_keeps_no_pin(flag: str) -> None:
    found = load_identity({flag: f"pkcs11:token=a?pin-value={PIN}&module-name=b"}, SURROUNDINGS)
    assert found.secrets == (("pkcs11-pin", SecretSource(text=PIN)),)
    assert {found.certificate, found.private_key} == {"", "pkcs11:token=a?module-name=b"}
    assert PIN not in repr(found)


def test_the_keys_pin_goes_before_the_certificates_and_a_flag_before_both() -> None:
    uris = {"certificate": "pkcs11:?pin-source=/certificate.pin", "private-key": "pkcs11:?pin-source=/key.pin"}
    assert load_identity(uris, SURROUNDINGS).secrets == (("pkcs11-pin", SecretSource("/key.pin")),)
    flagged = load_identity({**uris, "pkcs11-pin-file": "/flag.pin"}, SURROUNDINGS)
    assert flagged.secrets == (("pkcs11-pin", SecretSource("/flag.pin")),)


def test_a_pin_value_is_warned_of_and_a_pin_source_is_not() -> None:
    def warnings(uri: str) -> tuple[str, ...]:
        return load_session({**ARNS, "certificate": uri}, SURROUNDINGS, lambda *_: None).warnings

    (warning,) = warnings(f"pkcs11:?pin-value={PIN}")
    assert "pin-value in --certificate: every user of this machine can read a command line" in warning
    assert PIN not in warning
    assert warnings("pkcs11:?pin-source=/key.pin") == ()


def test_a_bad_uri_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(InvalidParameterError) as caught:
        load_identity({"certificate": f"pkcs11:pin-value={PIN}"}, SURROUNDINGS)
    assert PIN not in f"{caught.value} {caught.value.hint}"
