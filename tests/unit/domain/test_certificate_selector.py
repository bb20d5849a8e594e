"""``--cert-selector``: the official helper's own test inputs, with what it made of each, and our own."""

from __future__ import annotations

import json

import pytest

from rolesanywhere_helper.domain.certificate_selector import CertificateSelector, parse_selector, selector_file
from rolesanywhere_helper.errors import UsageError

SERIAL = "15D19632234BF759A32802C0DA88F9E8AFC8702D"
SUBJECT = {"Key": "x509Subject", "Value": "CN=Subject"}
ISSUER = {"Key": "x509Issuer", "Value": "CN=Issuer"}
NUMBER = {"Key": "x509Serial", "Value": SERIAL}

# (what is written, subject, issuer, serial). Each is accepted by the official helper 1.8.0 too, the JSON ones in files.
VALID = [
    (json.dumps([SUBJECT, ISSUER, NUMBER]), "CN=Subject", "CN=Issuer", SERIAL),
    (json.dumps([SUBJECT, NUMBER], indent=4), "CN=Subject", None, SERIAL),
    (
        f"Key=x509Subject,Value=CN=Subject Key=x509Issuer,Value=CN=Issuer Key=x509Serial,Value={SERIAL}",
        "CN=Subject",
        "CN=Issuer",
        SERIAL,
    ),
    ("Key=x509Issuer,Value=CN=Issuer", None, "CN=Issuer", None),
    (
        "Key=x509Subject,Value=CN=CN With Spaces Key=x509Issuer,Value=CN=CN With Spaces,OU=OU With Spaces",
        "CN=CN With Spaces",
        "CN=CN With Spaces,OU=OU With Spaces",
        None,
    ),
    (
        "Key=x509Subject,Value=CN=CN With Spaces,O=O With Spaces Key=x509Issuer,Value=CN=Issuer",
        "CN=CN With Spaces,O=O With Spaces",
        "CN=Issuer",
        None,
    ),
    (
        " \n  Key=x509Subject,Value=CN=CN With Spaces,O=O With Spaces   \t   Key=x509Issuer,Value=CN=Issuer  \n",
        "CN=CN With Spaces,O=O With Spaces",
        "CN=Issuer",
        None,
    ),
    (
        "\nKey=x509Subject,Value=CN=With Trailing Spaces  ,O=O With Spaces   \t   Key=x509Issuer,Value=CN=Issuer  \n ",
        "CN=With Trailing Spaces  ,O=O With Spaces",
        "CN=Issuer",
        None,
    ),
    ("Key=x509Serial,Value=1f", None, None, "1F"),
    ("[]", None, None, None),
    ('[{"key": "x509Issuer", "VALUE": "CN=Issuer", "Comment": 1}]', None, "CN=Issuer", None),
]
INVALID = [
    "asldjf;laj;laweijncaljda",
    '{"lajsdf": "lajsdlfjadf"}',
    '{"Key": "x509Serial", "Value": "alskjdfa"}',
    json.dumps([SUBJECT, ISSUER, NUMBER, {"Key": "x509Subject", "Value": "CN=Subject2"}]),
    "laksdjadf",
    "Key=laksdjf,Valalsd",
    "Key=aljsdf,Value=aljsdfadsf",
    f"Key=x509Subject,Value=CN=Subject Key=x509Serial,Value={SERIAL} Key=x509Subject,Value=CN=Subject2",
    "asdf Key=x509Subject,Value=Test",
    "Key=x509Subject,Value=Test Key=x509Subject,Value=Test2",
    # Not in the official helper's tests, and refused by it too.
    " ",
    "Key=x509Subject,Value=",
    "Key=x509Subject,Value=CN=one\nCN=two",
    '[{"Key": "x509subject", "Value": "CN=Subject"}]',
    '[{"Value": "CN=Subject"}]',
    '["x509Subject"]',
    "[",
]
# Taken by the official helper: for some other serial, and as if it had ended before.
STRICTER = [
    "Key=x509Serial,Value=alskjdfa",
    json.dumps([{"Key": "x509Serial", "Value": ""}]),
    "Key=x509Subject,Value=CN=host Key=",
]


@pytest.mark.parametrize(("text", "subject", "issuer", "serial"), VALID)
def test_what_the_official_helper_takes(text: str, subject: str | None, issuer: str | None, serial: str | None) -> None:
    number = None if serial is None else int(serial, 16)
    assert parse_selector(text) == CertificateSelector(subject, issuer, number)


@pytest.mark.parametrize("text", INVALID)
def test_what_the_official_helper_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="--cert-selector"):
        parse_selector(text)


@pytest.mark.parametrize("text", STRICTER)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"not hexadecimal|cannot be read"):
        parse_selector(text)


@pytest.mark.parametrize("text", [text for text, *_ in VALID])
def test_it_is_written_as_it_can_be_read(text: str) -> None:
    assert parse_selector(str(parse_selector(text))) == parse_selector(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///etc/selector.json", "/etc/selector.json"),
        ("file://../selector.json", "../selector.json"),
        ("/etc/selector.json", "/etc/selector.json"),
        ("./selector.json", "./selector.json"),
        ("selector.json", None),
        ("Key=x509Issuer,Value=CN=Issuer", None),
        ("[]", None),
    ],
)
def test_a_file_is_known_by_how_it_begins(text: str, path: str | None) -> None:
    assert selector_file(text) == path


def test_a_certificate_fits_when_all_that_is_named_fits() -> None:
    selector = CertificateSelector("CN=host", "CN=CA", 31)
    names = ("CN=host", "CN=other way to write it")

    assert selector.fits(names, ("CN=CA",), 31)
    assert not selector.fits(names, ("CN=CA",), 32)
    assert not selector.fits(names, ("CN=CA2",), 31)
    assert not selector.fits(("CN=host2",), ("CN=CA",), 31)
    assert CertificateSelector().fits((), (), 0)
