"""``read-certificate-data`` and ``sign-string``: what the official helper prints, computed here a second time."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

if TYPE_CHECKING:
    from pathlib import Path

    from rolesanywhere_helper.emulator.server import Running
    from tests.conftest import RunHelper

DIGESTS = {"SHA256": SHA256(), "SHA384": SHA384(), "SHA512": SHA512()}


def signed_message(public_key: bytes) -> bytes:
    return b"AWS Roles Anywhere Credential Helper Signing Test1" + hashlib.sha256(b"IAM RA" + public_key).digest()


def rsa_signature(key_file: Path, digest: str) -> bytes:
    key = load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return key.sign(signed_message(public), padding.PKCS1v15(), DIGESTS[digest])


@pytest.mark.parametrize(("name", "key_type"), [("client.pem", "RSA"), ("client-ec.pem", "EC")])
def test_read_certificate_data(run_helper: RunHelper, emulator: Running, name: str, key_type: str) -> None:
    file = emulator.directory.file(name)
    certificate = x509.load_pem_x509_certificate(file.read_bytes())

    done = run_helper("read-certificate-data", "--certificate", file, "--debug")

    der = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    algorithms = ",".join(f'"{key_type}{digest}"' for digest in DIGESTS)
    assert (done.exit_code, done.stderr) == (0, b"")
    assert done.out == (
        f'{{"keyType":"{key_type}","certificateData":"{der}","serialNumber":"{certificate.serial_number}",'
        f'"supportedAlgorithms":[{algorithms}]}}'
    )


@pytest.mark.parametrize("digest", DIGESTS)
def test_sign_string_with_rsa(run_helper: RunHelper, emulator: Running, digest: str) -> None:
    key = emulator.directory.file("client.key")
    expected = rsa_signature(key, digest)
    words = ["sign-string", "--private-key", str(key), "--digest", digest]

    assert run_helper(*words, "--format", "text").stdout == expected.hex().encode()
    assert run_helper(*words, "--format=bin").stdout == expected
    assert run_helper(*words).stdout == json.dumps(expected.hex()).encode()


def test_sha256_is_what_is_meant_without_a_digest(run_helper: RunHelper, emulator: Running) -> None:
    key = emulator.directory.file("client.key")

    assert run_helper("sign-string", "--private-key", key, "--format", "bin").stdout == rsa_signature(key, "SHA256")


def test_sign_string_with_ec(run_helper: RunHelper, emulator: Running) -> None:
    file = emulator.directory.file("client-ec.key")
    key = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    done = run_helper("sign-string", "--private-key", file, "--format", "bin")

    key.public_key().verify(done.stdout, signed_message(point), ec.ECDSA(SHA256()))


def test_a_certificate_is_no_key(run_helper: RunHelper, emulator: Running) -> None:
    done = run_helper("sign-string", "--private-key", emulator.directory.file("client.pem"))

    assert (done.exit_code, done.stdout) == (1, b"")


@pytest.mark.promise(30)
def test_a_key_that_others_can_write_is_refused_unless_loudly_accepted(
    run_helper: RunHelper, emulator: Running, tmp_path: Path
) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(emulator.directory.file("client.key").read_bytes())
    key.chmod(0o666)

    refused = run_helper("sign-string", "--private-key", key)
    in_gitlab = run_helper("sign-string", "--private-key", key, env={"GITLAB_CI": "true"})
    accepted = run_helper("sign-string", "--private-key", key, "--accept-insecure-private-key-file")

    assert (refused.exit_code, refused.stdout) == (1, b"")
    assert f"chmod go-w {key}" in refused.err
    assert "GitLab" not in refused.err
    assert "GitLab" in in_gitlab.err
    assert accepted.exit_code == 0
    assert "can be written by" in accepted.err
