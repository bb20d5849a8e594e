"""``sign-string``: the message and the three formats, as the official helper's source has them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.domain.identity_reference import IdentityReference
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.identity.registry import load_signing_key
from rolesanywhere_helper.protocol.signing_test import DIGESTS, SignatureFormat, message, render

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "official-helper-1.8.0.json").read_text("utf-8"))
TITLE = b"AWS Roles Anywhere Credential Helper Signing Test1"


@pytest.mark.parametrize("key_type", [KeyType.RSA, KeyType.EC])
def test_the_message_is_title_version_and_raw_digest_of_the_public_key(key_type: KeyType) -> None:
    made = message(key_type, b"public")
    assert made == TITLE + hashlib.sha256(b"IAM RApublic").digest()
    assert made != message(key_type, b"another")


@pytest.mark.parametrize("key_type", [KeyType.ML_DSA_44, KeyType.ML_DSA_65, KeyType.ML_DSA_87])
def test_for_ml_dsa_the_official_helper_leaves_the_digest_out(key_type: KeyType) -> None:
    assert message(key_type, b"public") == TITLE


def test_the_formats_have_no_newline() -> None:
    signature = bytes.fromhex("00ab0a")
    assert render(signature) == b'"00ab0a"'
    assert render(signature, SignatureFormat.JSON) == b'"00ab0a"'
    assert render(signature, SignatureFormat.TEXT) == b"00ab0a"
    assert render(signature, SignatureFormat.BIN) == signature
    assert [output.value for output in SignatureFormat] == ["json", "text", "bin"]
    assert DIGESTS[0] == "SHA256"


@pytest.mark.parametrize("digest", DIGESTS)
def test_an_rsa_key_signs_what_openssl_signs_for_the_same_words(
    digest: str, tmp_path: Path, peer: Callable[[str], Path]
) -> None:
    """The message is put together once more with OpenSSL alone, from the words of the specification."""

    def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
        command = [str(peer("openssl")), *arguments]
        return subprocess.run(command, input=stdin, cwd=tmp_path, capture_output=True, check=True).stdout

    path = tmp_path / "key.pem"
    path.write_text(VECTORS["rsaPrivateKey"], "utf-8")
    path.chmod(0o600)
    public = openssl("rsa", "-in", "key.pem", "-RSAPublicKey_out", "-outform", "DER")
    words = TITLE + openssl("dgst", "-sha256", "-binary", stdin=b"IAM RA" + public)
    expected = openssl("dgst", f"-{digest.lower()}", "-sign", "key.pem", stdin=words)

    key = load_signing_key(IdentityReference("", str(path))).key
    signature = key.sign(message(key.key_type, key.public_bytes), digest)
    assert render(signature, SignatureFormat.TEXT) == expected.hex().encode()
