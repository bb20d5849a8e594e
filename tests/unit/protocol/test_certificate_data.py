"""``read-certificate-data``: one line, byte for byte."""

from __future__ import annotations

import json

import pytest

from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.protocol.certificate_data import render


def test_the_line_has_the_official_helpers_keys_in_its_order_and_nothing_else() -> None:
    serial = 303309372382596817495984853193723946507267322750
    assert render(b"\xfb\xff\xfe0\x00", serial, KeyType.RSA) == (
        b'{"keyType":"RSA","certificateData":"+//+MAA=",'
        b'"serialNumber":"303309372382596817495984853193723946507267322750",'
        b'"supportedAlgorithms":["RSASHA256","RSASHA384","RSASHA512"]}'
    )


@pytest.mark.parametrize(
    ("key_type", "algorithms"),
    [
        (KeyType.EC, ["ECSHA256", "ECSHA384", "ECSHA512"]),
        (KeyType.ML_DSA_44, ["ML-DSA-44"]),
        (KeyType.ML_DSA_65, ["ML-DSA-65"]),
        (KeyType.ML_DSA_87, ["ML-DSA-87"]),
    ],
)
def test_type_and_algorithms_follow_the_key(key_type: KeyType, algorithms: list[str]) -> None:
    document = json.loads(render(b"der", 1, key_type))
    assert (document["keyType"], document["supportedAlgorithms"]) == (key_type.value, algorithms)
