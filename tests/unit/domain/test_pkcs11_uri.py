"""PKCS#11 URIs (RFC 7512): what is read from them, what is refused, and that no PIN is ever shown."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.domain.identity_reference import SecretSource
from rolesanywhere_helper.domain.pkcs11_uri import Pkcs11Uri, parse, take_pin
from rolesanywhere_helper.errors import InvalidParameterError

PIN = "canary-73829146"


def test_every_attribute_is_read() -> None:
    path = (
        "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;serial=;"
        "library-manufacturer=Snake;library-description=Soft;library-version=3.1;slot-id=327;slot-description=left;"
        "slot-manufacturer=Reader;object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91"
    )
    found = parse(f"{path}?pin-source=file:/etc/token_pin&module-path=/usr/lib/x.so&module-name=x")
    assert found == Pkcs11Uri(
        token="The Software PKCS#11 Softtoken",
        manufacturer="Snake Oil, Inc.",
        model="1.0",
        serial="",
        library_manufacturer="Snake",
        library_description="Soft",
        library_version="3.1",
        slot_id=327,
        slot_description="left",
        slot_manufacturer="Reader",
        object="my-certificate",
        type="cert",
        object_id=bytes.fromhex("69953e5cf4bdec91"),
        module_path="/usr/lib/x.so",
        module_name="x",
        pin=SecretSource("/etc/token_pin"),
    )


def test_nothing_is_asked_for_by_the_empty_uri() -> None:
    assert parse("pkcs11:") == Pkcs11Uri()
    assert parse("PKCS11:object=a") == Pkcs11Uri(object="a")


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("file:/etc/pin", "/etc/pin"),
        ("file:///etc/pin", "/etc/pin"),
        ("file://localhost/etc/pin", "/etc/pin"),
        ("/etc/a%20pin", "/etc/a pin"),
        ("credential:pin", "credential:pin"),
        ("env:TOKEN_PIN", "env:TOKEN_PIN"),
        ("command:/bin/get%20it", "command:/bin/get it"),
        ("prompt:", "prompt:"),
    ],
)
def test_a_pin_source_is_a_file_or_what_a_flag_may_name(source: str, place: str) -> None:
    assert parse(f"pkcs11:?pin-source={source}").pin == SecretSource(place)


def test_a_pin_value_is_a_secret() -> None:
    found = parse("pkcs11:token=a?pin-value=12%2034%26")
    assert found.pin == SecretSource(text="12 34&")
    assert "12" not in repr(found)
    assert "12" not in str(found)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        (f"pkcs11:pin-value={PIN}", "pin-value= in its path"),
        (f"pkcs11:token=a;pin-source={PIN}", "pin-source= in its path"),
        (f"pkcs11:token=a?pin-value={PIN}&pin-value={PIN}", "pin-value= twice"),
        (f"pkcs11:token=a;token={PIN}", "token= twice"),
        (f"pkcs11:{PIN}", "attribute 1 in the path"),
        (f"pkcs11:token=a;{PIN}", "attribute 2 in the path"),
        (f"pkcs11:token=a?{PIN}", "attribute 1 in the query"),
        (f"pkcs11:token=a;;object={PIN}", "attribute 2 in the path"),
        (f"pkcs11:token=a?pin-value=%zz{PIN}", "pin-value= of a PKCS#11 URI has a %"),
        (f"pkcs11:token={PIN}%2", "token= of a PKCS#11 URI has a %"),
        (f"pkcs11:token=%ff{PIN}", "not UTF-8"),
        (f"pkcs11:token=%00{PIN}", "NUL"),
        (f"pkcs11:type={PIN}", "type= of a PKCS#11 URI has no meaning"),
        (f"pkcs11:slot-id={PIN}", "slot-id= of a PKCS#11 URI is not a number"),
        (f"pkcs11:vendor-thing={PIN}", "vendor-thing= in its path"),
        (f"pkcs11:?module-name=/tmp/{PIN}", "not the name of a module"),
        (f"pkcs11:?pin-source={PIN}", "not the whole path of a file"),
        (f"pkcs11:?pin-source=file:{PIN}", "not the whole path of a file"),
        (f"pkcs11:?pin-source=file://elsewhere/{PIN}", "not the whole path of a file"),
        (f"pkcs11:?pin-source=http://{PIN}/", "not the whole path of a file"),
        (f"pkcs11:?pin-source=|{PIN}", "runs a program"),
        (f"pkcs11:?pin-source=/etc/pin&pin-value={PIN}", "both pin-source= and pin-value="),
        (f"/etc/{PIN}", "no PKCS#11 URI"),
    ],
)
def test_a_bad_uri_is_refused_without_showing_what_may_be_a_pin(uri: str, why: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        parse(uri)
    assert why in str(caught.value)
    assert PIN not in f"{caught.value} {caught.value.hint}"


def test_a_vendor_attribute_in_the_query_is_ignored() -> None:
    assert parse("pkcs11:token=a?vendor-thing=1") == Pkcs11Uri(token="a")


def test_a_pin_is_taken_out_of_a_uri() -> None:
    assert take_pin(f"pkcs11:token=a?module-name=b&pin-value={PIN}&x-y=1") == (
        "pkcs11:token=a?module-name=b&x-y=1",
        SecretSource(text=PIN),
    )
    assert take_pin("pkcs11:token=a?pin-source=/etc/pin") == ("pkcs11:token=a", SecretSource("/etc/pin"))
    assert take_pin("pkcs11:token=a?module-name=b") == ("pkcs11:token=a?module-name=b", None)


def test_what_is_no_such_uri_is_left_alone() -> None:
    for reference in ("", "/etc/host.pem?pin-value=1", "env:CERTIFICATE"):
        assert take_pin(reference) == (reference, None)


_TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)


@given(_TEXT, _TEXT, _TEXT, st.binary(min_size=1, max_size=20))
def test_what_is_written_can_be_read(token: str, serial: str, label: str, object_id: bytes) -> None:
    uri = Pkcs11Uri(token=token, serial=serial, object=label, object_id=object_id, type="private")
    assert parse(str(uri)) == uri


@given(st.text(max_size=60))
def test_nothing_but_a_refusal_comes_of_any_text(text: str) -> None:
    with suppress(InvalidParameterError):
        parse(f"pkcs11:{text}")
