"""Requests that the official helper 1.8.0 put on the wire: our canonical form is the one that it signed."""

from __future__ import annotations

import base64
import calendar
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.domain.ports import HttpRequest
from rolesanywhere_helper.protocol import sigv4_x509

VECTORS = json.loads((Path(__file__).parent / "official-helper-1.8.0.json").read_text(encoding="utf-8"))
NAMES = [vector["name"] for vector in VECTORS["requests"]]
AUTHORIZATION = re.compile(
    r"(?P<algorithm>\S+) Credential=(?P<credential>\d+/\d{8}/(?P<region>[^/]+)/rolesanywhere/aws4_request), "
    r"SignedHeaders=(?P<signed>\S+), Signature=(?P<signature>[0-9a-f]+)"
)
KEY_TYPES = {"rsa-2048": KeyType.RSA, "ec-p256": KeyType.EC}


@dataclass(frozen=True)
class Vector:
    """One request, and what its Authorization header says."""

    request: HttpRequest
    sent: str
    said: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.request.headers)

    @property
    def at(self) -> int:
        return calendar.timegm(time.strptime(self.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))

    @property
    def leaf(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(base64.b64decode(self.headers["X-Amz-X509"]))

    def to_sign(self) -> bytes:
        canonical = sigv4_x509.canonical_request(self.request, self.said["signed"].split(";"))
        return sigv4_x509.string_to_sign(self.said["algorithm"], self.at, self.said["region"], canonical).encode()


def vector(name: str) -> Vector:
    entry = VECTORS["requests"][NAMES.index(name)]
    headers = tuple((key, value) for key, value in entry["headers"] if key != "Authorization")
    url = f"http://{dict(entry['headers'])['Host']}{entry['target']}"
    sent = dict(entry["headers"])["Authorization"]
    match = AUTHORIZATION.fullmatch(sent)
    assert match is not None
    request = HttpRequest(entry["method"], url, entry["target"], headers, entry["body"].encode())
    return Vector(request, sent, match.groupdict())


def verify(sample: Vector) -> None:
    """Verify as the service does.

    Raises:
        InvalidSignature: it is not the leaf's, or not over this request.

    """
    key, signature = sample.leaf.public_key(), bytes.fromhex(sample.said["signature"])
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, sample.to_sign(), padding.PKCS1v15(), SHA256())
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, sample.to_sign(), ec.ECDSA(SHA256()))


def test_there_are_vectors() -> None:
    assert sorted(NAMES) == sorted(KEY_TYPES)


@pytest.mark.parametrize("name", NAMES)
def test_the_signature_of_the_official_helper_verifies(name: str) -> None:
    verify(vector(name))


@pytest.mark.parametrize("name", NAMES)
def test_over_a_changed_request_it_does_not(name: str) -> None:
    sample = vector(name)
    changed = replace(sample, request=replace(sample.request, body=sample.request.body + b" "))

    with pytest.raises(InvalidSignature):
        verify(changed)


@pytest.mark.parametrize("name", NAMES)
def test_algorithm_and_credential_are_those_that_we_would_announce(name: str) -> None:
    sample = vector(name)

    assert sample.said["algorithm"] == KEY_TYPES[name].signing_algorithm
    assert sample.said["credential"] == (
        f"{sample.leaf.serial_number}/{sigv4_x509.credential_scope(sample.at, sample.said['region'])}"
    )


def test_the_rsa_request_comes_out_byte_for_byte() -> None:
    sample = vector("rsa-2048")
    key = load_pem_private_key(VECTORS["rsaPrivateKey"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(sample.to_sign(), padding.PKCS1v15(), SHA256())

    ours = sigv4_x509.authorization(
        KeyType.RSA.signing_algorithm, sample.said["credential"], sample.said["signed"], signature
    )

    assert ours == sample.sent
