"""The ASN.1 of TPM key files, piece by piece; real files are met in ``tests/peers/test_tpm.py``."""

from __future__ import annotations

import pytest

from rolesanywhere_helper.errors import UnreadableKeyError, UnsupportedKeyError
from rolesanywhere_helper.identity import der
from rolesanywhere_helper.identity.tss2_pem import OWNER, Tss2Key, parse

PUBLIC, PRIVATE = b"\0\3abc", b"\0\2de"
LOADABLE = bytes.fromhex("6781050a0103")
YES, NO = (der.write(0x01, octet) for octet in (b"\xff", b"\0"))


def option(number: int, content: bytes) -> bytes:
    return der.write(0xA0 + number, content)


def integer(value: int, octets: int = 5) -> bytes:
    return der.write(der.INTEGER, value.to_bytes(octets, "big", signed=value < 0))


def written(
    *options: bytes,
    parent: bytes | None = None,
    kind: bytes = LOADABLE,
    public: bytes = PUBLIC,
    private: bytes = PRIVATE,
) -> bytes:
    parts = (
        der.write(der.OBJECT_IDENTIFIER, kind),
        *options,
        integer(OWNER) if parent is None else parent,
        der.write(der.OCTET_STRING, public),
        der.write(der.OCTET_STRING, private),
    )
    return der.write(der.SEQUENCE, b"".join(parts))


def test_a_key_is_read() -> None:
    key = parse(written(option(0, YES)), "key.pem")

    assert key == Tss2Key(empty_auth=True, parent=OWNER, rsa_parent=False, public=PUBLIC, private=PRIVATE)
    assert "abc" not in repr(key)


def test_what_a_file_does_not_say_is_not_so() -> None:
    key = parse(written(), "key.pem")

    assert not key.empty_auth
    assert not key.rsa_parent


@pytest.mark.parametrize(("octet", "is_true"), [(b"\xff", True), (b"\1", True), (b"\0", False)])
def test_a_boolean_is_true_unless_it_is_zero(octet: bytes, *, is_true: bool) -> None:
    assert parse(written(option(0, der.write(0x01, octet))), "key.pem").empty_auth is is_true


def test_description_and_kind_of_parent_are_understood() -> None:
    described = written(option(0, NO), option(4, der.write(0x0C, b"mine")), option(5, YES))

    assert parse(described, "key.pem").rsa_parent


@pytest.mark.parametrize(
    ("parent", "handle"),
    [
        (integer(0x81000001), 0x81000001),
        (integer(0x81000001 - (1 << 32), 4), 0x81000001),
        (integer(0x4000000B), 0x4000000B),
        (integer(0x40000007, 4), 0x40000007),
    ],
    ids=["persistent", "persistent, written as a negative number", "endorsement", "null"],
)
def test_parents(parent: bytes, handle: int) -> None:
    assert parse(written(parent=parent), "key.pem").parent == handle


@pytest.mark.parametrize(
    ("encoded", "what"),
    [
        (written(kind=LOADABLE[:-1] + b"\4"), "imported"),
        (written(kind=LOADABLE[:-1] + b"\5"), "sealed data"),
        (written(kind=b"\x2a\3"), "unknown type"),
        (written(option(1, der.write(der.SEQUENCE, b""))), "bound to a policy"),
        (written(option(0, YES), option(3, der.write(der.SEQUENCE, b""))), "bound to a policy"),
        (written(option(2, der.write(der.OCTET_STRING, b"x"))), "imported"),
        (written(parent=integer(0x80000001)), "does not last: 0x80000001"),
        (written(parent=integer(0)), "does not last"),
    ],
    ids=["importable", "sealed", "another type", "policy", "authPolicy", "secret", "transient parent", "no parent"],
)
def test_what_cannot_be_used_is_named(encoded: bytes, what: str) -> None:
    with pytest.raises(UnsupportedKeyError, match=what) as refusal:
        parse(encoded, "key.pem")
    assert "key.pem" in refusal.value.what
    assert refusal.value.hint


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"0\0",
        b"\x30\x80",
        written()[:-1],
        written() + b"\0",
        written(public=b"\0\4abc"),
        written(private=b"\0"),
        written(option(0, der.write(0x01, b""))),
        written(option(0, b"")),
        written(option(0, YES + YES)),
        written(option(0, der.write(der.INTEGER, b"\1"))),
        written(parent=der.write(der.OCTET_STRING, b"\1")),
        der.write(der.SEQUENCE, der.write(der.OBJECT_IDENTIFIER, LOADABLE) + integer(OWNER)),
    ],
    ids=[
        *("nothing", "empty", "no length", "cut short", "something follows", "size too big", "no size"),
        *("empty BOOLEAN", "no BOOLEAN", "two BOOLEANs", "INTEGER for BOOLEAN", "parent is no INTEGER", "no keys"),
    ],
)
def test_what_is_broken_is_told(encoded: bytes) -> None:
    with pytest.raises(UnreadableKeyError, match=r"key\.pem is broken"):
        parse(encoded, "key.pem")
