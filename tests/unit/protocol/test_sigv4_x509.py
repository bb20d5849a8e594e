"""The signing rules, one by one, and over random requests."""

from __future__ import annotations

import base64
from dataclasses import replace
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.domain.ports import HttpRequest
from rolesanywhere_helper.protocol.sigv4_x509 import (
    SIGNED_HEADERS,
    amz_date,
    canonical_headers,
    canonical_query,
    canonical_request,
    credential_scope,
    sign_request,
    trim_all,
)
from tests.fakes.identity import FakeIdentity

AT = 1_800_000_000  # 2027-01-15T08:00:00Z
REQUEST = HttpRequest(
    "POST",
    "https://host.example/sessions",
    "/sessions",
    (("Host", "host.example"), ("User-Agent", "test"), ("Content-Type", "application/json"), ("Content-Length", "2")),
    b"{}",
)
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
headers = st.lists(st.tuples(names, values), max_size=8)
parameters = st.lists(st.tuples(st.text(min_size=1, max_size=10), st.text(max_size=10)), max_size=6)


def signed_text(request: HttpRequest) -> str:
    """Return the string to sign, out of the signature of a FakeIdentity."""
    return bytes.fromhex(dict(request.headers)["Authorization"].rpartition("Signature=")[2]).decode()


def test_canonical_request_as_the_user_guide_writes_it() -> None:
    request = replace(
        REQUEST, target="/sessions?b=2&a=1", headers=(*REQUEST.headers, ("X-Amz-Date", "20270115T080000Z"))
    )

    assert canonical_request(request, SIGNED_HEADERS).split("\n") == [
        "POST",
        "/sessions",
        "a=1&b=2",
        "content-type:application/json",
        "host:host.example",
        "x-amz-date:20270115T080000Z",
        "",
        "content-type;host;x-amz-date",
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    ]


def test_the_prefix_of_a_gateway_is_sent_and_not_signed() -> None:
    prefixed = replace(REQUEST, target="/gateway/sessions")

    assert canonical_request(prefixed, SIGNED_HEADERS) == canonical_request(REQUEST, SIGNED_HEADERS)
    assert sign_request(prefixed, FakeIdentity(), region="eu-central-1", at=AT).target == "/gateway/sessions"


@pytest.mark.parametrize(
    ("key_type", "algorithm"),
    [
        (KeyType.RSA, "AWS4-X509-RSA-SHA256"),
        (KeyType.EC, "AWS4-X509-ECDSA-SHA256"),
        (KeyType.ML_DSA_44, "AWS4-X509-MLDSA"),
        (KeyType.ML_DSA_87, "AWS4-X509-MLDSA"),
    ],
)
def test_the_algorithm_follows_the_key(key_type: KeyType, algorithm: str) -> None:
    signed = sign_request(REQUEST, FakeIdentity(key_type), region="eu-central-1", at=AT)

    assert dict(signed.headers)["Authorization"].startswith(
        f"{algorithm} Credential=4096/20270115/eu-central-1/rolesanywhere/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-x509, Signature="
    )
    assert signed_text(signed).split("\n")[:3] == [
        algorithm,
        "20270115T080000Z",
        "20270115/eu-central-1/rolesanywhere/aws4_request",
    ]


def test_leaf_and_chain_are_sent_and_signed() -> None:
    signed = sign_request(REQUEST, FakeIdentity(chain_der=(b"one", b"two")), region="eu-central-1", at=AT)

    sent = dict(signed.headers)
    assert base64.b64decode(sent["X-Amz-X509"]) == b"leaf"
    assert [base64.b64decode(part) for part in sent["X-Amz-X509-Chain"].split(",")] == [b"one", b"two"]
    assert "x-amz-x509;x-amz-x509-chain," in sent["Authorization"]


def test_without_a_chain_there_is_no_header_for_it() -> None:
    signed = sign_request(REQUEST, FakeIdentity(), region="eu-central-1", at=AT)

    assert "X-Amz-X509-Chain" not in dict(signed.headers)


def test_the_rest_of_the_request_is_left_as_it_was() -> None:
    signed = sign_request(REQUEST, FakeIdentity(), region="eu-central-1", at=AT)

    assert signed.headers[: len(REQUEST.headers)] == REQUEST.headers
    assert replace(signed, headers=REQUEST.headers) == REQUEST


@pytest.mark.parametrize(
    "changed",
    [
        replace(REQUEST, method="PUT"),
        replace(REQUEST, target="/sessions?a=1"),
        replace(REQUEST, body=b"{ }"),
        replace(REQUEST, headers=(("Host", "other.example"), *REQUEST.headers[1:])),
        replace(REQUEST, headers=(*REQUEST.headers[:2], ("Content-Type", "text/plain"))),
    ],
)
def test_a_change_changes_what_is_signed(changed: HttpRequest) -> None:
    assert canonical_request(changed, SIGNED_HEADERS) != canonical_request(REQUEST, SIGNED_HEADERS)


def test_what_a_proxy_may_change_is_not_signed() -> None:
    changed = replace(REQUEST, headers=(("Via", "1.1 proxy"), *REQUEST.headers[:1], *REQUEST.headers[2:]))

    assert canonical_request(changed, SIGNED_HEADERS) == canonical_request(REQUEST, SIGNED_HEADERS)


@pytest.mark.parametrize(
    ("value", "trimmed"),
    [("  a   b  ", "a b"), ("a", "a"), ("", ""), ("   ", ""), ("\ta  b\t", "a b"), ('"a  b"', '"a b"')],
)
def test_trim_all(value: str, trimmed: str) -> None:
    assert trim_all(value) == trimmed


def test_values_of_one_name_are_joined_in_the_order_they_came() -> None:
    block, signed = canonical_headers([("B", "2"), ("A", "z"), ("b", " 1 "), ("C", "no")], {"a", "b", "missing"})

    assert (block, signed) == ("a:z\nb:2,1\n", "a;b")


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("b=1&a=2", "a=2&b=1"),
        ("a=2&a=10&a=1", "a=1&a=10&a=2"),
        ("a-b=1&a=2", "a=2&a-b=1"),
        ("flag", "flag="),
        ("a=%2f%3A", "a=%2F%3A"),
        ("a=/:", "a=%2F%3A"),
        ("a=1+1", "a=1%2B1"),
        ("a=%20~", "a=%20~"),
        ("a=b=c", "a=b%3Dc"),
        ("\u00fc=1", "%C3%BC=1"),
    ],
)
def test_canonical_query(query: str, canonical: str) -> None:
    assert canonical_query(query) == canonical


def test_moments_are_utc() -> None:
    assert amz_date(AT) == "20270115T080000Z"
    assert credential_scope(AT, "us-east-1") == "20270115/us-east-1/rolesanywhere/aws4_request"


@given(value=values)
def test_trimming_twice_is_trimming_once(value: str) -> None:
    once = trim_all(value)

    assert trim_all(once) == once
    assert "  " not in once
    assert once == once.strip(" ")
    assert once.replace(" ", "") == value.replace(" ", "")


@given(sent=headers)
def test_names_are_sorted_lower_case_and_each_there_once(sent: list[tuple[str, str]]) -> None:
    wanted = {name for name, _ in sent}
    block, signed = canonical_headers([(name.title(), value) for name, value in sent], wanted)

    assert signed == ";".join(sorted(wanted))
    assert [line.partition(":")[0] for line in block.splitlines()] == sorted(wanted)
    assert block.endswith("\n") or not sent


@given(sent=st.dictionaries(names, values, max_size=8), data=st.data())
def test_the_order_of_different_headers_does_not_matter(sent: dict[str, str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(list(sent.items())))

    assert canonical_headers(shuffled, set(sent)) == canonical_headers(sent.items(), set(sent))


@given(pairs=parameters, data=st.data())
def test_the_query_says_the_same_in_one_order_and_one_encoding(
    pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(pairs))
    tight = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    loose = "&".join(f"{quote(name, safe='/:,')}={quote(value, safe='/:,')}" for name, value in shuffled)

    canonical = canonical_query(tight)

    assert canonical_query(loose) == canonical
    assert canonical_query(canonical) == canonical
    assert sorted(parse_qsl(canonical, keep_blank_values=True)) == sorted(pairs)


@given(body=st.binary(max_size=100), at=st.integers(0, 4_000_000_000))
def test_a_signature_covers_body_and_date(body: bytes, at: int) -> None:
    signed = sign_request(replace(REQUEST, body=body), FakeIdentity(), region="eu-central-1", at=at)
    other = sign_request(replace(REQUEST, body=body + b" "), FakeIdentity(), region="eu-central-1", at=at)
    later = sign_request(replace(REQUEST, body=body), FakeIdentity(), region="eu-central-1", at=at + 1)

    assert len({signed_text(signed), signed_text(other), signed_text(later)}) == 3
