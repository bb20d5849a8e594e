from __future__ import annotations

import hashlib

import pytest

from rolesanywhere_helper.emulator.canonical import CanonicalError, RawHeaders, canonical_request, string_to_sign

HOST: RawHeaders = ((b"Host", b"example.amazonaws.com"),)
EMPTY = hashlib.sha256(b"").hexdigest()


def _query(query: str) -> str:
    return canonical_request("GET", f"/?{query}", HOST, ("host",), b"").split(b"\n")[2].decode()


def _path(path: str) -> str:
    return canonical_request("GET", path, HOST, ("host",), b"").split(b"\n")[1].decode()


def test_the_six_parts() -> None:
    canonical = canonical_request("POST", "/sessions?b=2&a=1", HOST, ("host",), b"{}")
    assert canonical.decode() == (
        "POST\n/sessions\na=1&b=2\nhost:example.amazonaws.com\n\nhost\n" + hashlib.sha256(b"{}").hexdigest()
    )


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("b=1&a=2&a=1", "a=1&a=2&b=1"),
        ("A=1&a=1", "A=1&a=1"),
        ("flag", "flag="),
        ("a=b=c", "a=b%3Dc"),
        ("arn=arn:aws:x/y", "arn=arn%3Aaws%3Ax%2Fy"),
        ("arn=arn%3aaws", "arn=arn%3Aaws"),
        ("a=%41~-._", "a=A~-._"),
        ("a=1+2", "a=1%2B2"),
        ("a=%20", "a=%20"),
        ("a=%C3%A9", "a=%C3%A9"),
        ("a=é", "a=%C3%A9"),
        ("a=%zz", "a=%25zz"),
        ("a-b=1&a=1", "a=1&a-b=1"),
        ("", ""),
        ("&&a=1&", "a=1"),
    ],
)
def test_the_query_is_decoded_encoded_and_sorted(sent: str, canonical: str) -> None:
    assert _query(sent) == canonical


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("/", "/"),
        ("/sessions", "/sessions"),
        ("/a//b/./c/../d/", "/a/b/d/"),
        ("/../..", "/"),
        ("/profile/arn%3Aaws", "/profile/arn%253Aaws"),
    ],
)
def test_the_path_is_normalised_and_encoded_once_more(sent: str, canonical: str) -> None:
    assert _path(sent) == canonical


def test_header_values_are_trimmed_folded_and_joined_in_their_order() -> None:
    headers = ((b"X-Amz-B", b"  z   y "), (b"HOST", b"h"), (b"x-amz-b", b"a"), (b"X-Amz-Unsigned", b"?"))
    canonical = canonical_request("GET", "/", headers, ("host", "x-amz-b"), b"")
    assert canonical.decode() == f"GET\n/\n\nhost:h\nx-amz-b:z y,a\n\nhost;x-amz-b\n{EMPTY}"


@pytest.mark.parametrize("signed", [("host", "absent"), ("Host",), ("host", "host"), ("x", "host"), ("",), ("hôst",)])
def test_signed_headers_that_are_wrong_have_no_canonical_form(signed: tuple[str, ...]) -> None:
    headers = (*HOST, (b"x", b"y"))
    with pytest.raises(CanonicalError):
        canonical_request("GET", "/", headers, signed, b"")
    assert canonical_request("GET", "/", headers, ("host", "x"), b"")


def test_the_documented_example_of_signature_version_4() -> None:
    # IAM user guide, "Examples of request signatures" ("get-vanilla" of the SigV4 test suite).
    headers = ((b"Host", b"example.amazonaws.com"), (b"X-Amz-Date", b"20150830T123600Z"))
    canonical = canonical_request("GET", "/", headers, ("host", "x-amz-date"), b"")
    scope = "20150830/us-east-1/service/aws4_request"
    assert (
        string_to_sign("AWS4-HMAC-SHA256", "20150830T123600Z", scope, canonical)
        .decode()
        .endswith("bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63")
    )
