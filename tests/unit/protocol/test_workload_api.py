"""Messages of a Workload API, taken apart; what is no message is refused whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.protocol.workload_api import LARGEST_MESSAGE, Frames, Svid, decode_svids, status_text

CERTIFICATE = b"\x30\x03abc"
LONG = b"\x30\x81\x80" + b"x" * 0x80


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | (0x80 if value >> 7 else 0)]) + (varint(value >> 7) if value >> 7 else b"")


def svid(name: bytes = b"spiffe://a/b", certificates: bytes = CERTIFICATE, key: bytes = b"key") -> bytes:
    return field(1, field(1, name) + field(2, certificates) + field(3, key))


def test_svids_come_in_their_order_with_their_certificates_apart() -> None:
    message = svid() + svid(b"spiffe://a/c", CERTIFICATE + LONG)

    assert decode_svids(message) == (
        Svid("spiffe://a/b", (CERTIFICATE,), b"key"),
        Svid("spiffe://a/c", (CERTIFICATE, LONG), b"key"),
    )
    assert decode_svids(b"") == ()


def test_what_is_not_known_is_skipped() -> None:
    unknown = field(9, b"x") + b"\x78\x80\x01" + b"\x79" + bytes(8) + b"\x7d" + bytes(4)
    extended = field(1, field(5, b"hint") + unknown + field(1, b"id") + field(2, CERTIFICATE) + field(3, b"key"))

    assert decode_svids(unknown + extended + unknown) == (Svid("id", (CERTIFICATE,), b"key"),)


@pytest.mark.parametrize(
    "message",
    [
        svid(b""),
        svid(certificates=b""),
        svid(key=b""),
        svid(b"\xff"),
        svid(certificates=CERTIFICATE[:-1]),
        svid(certificates=CERTIFICATE + b"\x30"),
        svid(certificates=b"\x31\x00"),
        svid(certificates=b"\x30\x85\1\1\1\1\1"),
        svid(certificates=b"\x30\x80"),
        svid()[:-1],
        b"\x0b",
        b"\x0a",
        b"\xff" * 20,
        b"\x79\x00",
    ],
)
def test_what_is_no_answer_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError):
        decode_svids(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(message: bytes) -> None:
    try:
        decode_svids(message)
    except ValueError:
        return


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(1, 30))
def test_frames_are_found_however_they_arrive(messages: list[bytes], size: int) -> None:
    stream = b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in messages)
    frames = Frames()
    parts = [stream[at : at + size] for at in range(0, len(stream), size)]

    assert [message for part in parts for message in frames.feed(part)] == messages


@pytest.mark.parametrize("head", [b"\1\0\0\0\1", b"\0" + (LARGEST_MESSAGE + 1).to_bytes(4, "big")])
def test_a_frame_that_may_not_be(head: bytes) -> None:
    with pytest.raises(ValueError, match="compressed or too large"):
        Frames().feed(head)


def test_a_status_is_shown_on_one_short_line() -> None:
    assert status_text("100%25 d\u00e9j\u00e0%0Avu") == "100% d\u00e9j\u00e0?vu"
    assert len(status_text("x" * 1000)) == 200


def test_a_key_is_not_shown() -> None:
    assert repr(Svid("id", (CERTIFICATE,), b"canary")) == "Svid(spiffe_id='id')"
