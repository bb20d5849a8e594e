"""An encrypted key: everybody who has the passphrase can read it, and guessing is dear."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from rolesanywhere_helper.pki.encrypted_key import ROUNDS, encrypted_key_pem
from rolesanywhere_helper.pki.keys import KeyKind, generate_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("kind", [KeyKind.P_256, KeyKind.RSA_2048], ids=lambda kind: kind.value)
def test_openssl_and_the_library_read_it_with_the_passphrase_alone(
    kind: KeyKind, tmp_path: Path, peer: Callable[[str], Path]
) -> None:
    key, file = generate_key(kind), tmp_path / "ca.key"
    content = encrypted_key_pem(key, "pässphrase".encode())
    file.write_bytes(content)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    assert load_pem_private_key(content, "pässphrase".encode()).public_key() == key.public_key()
    with pytest.raises(ValueError):  # what is read with it is noise, and fails at one place or another
        load_pem_private_key(content, b"another")
    command = [str(peer("openssl")), "pkey", "-in", str(file), "-passin", "pass:pässphrase", "-pubout"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == public
    shown = subprocess.run([peer("openssl"), "asn1parse", "-in", file], check=True, capture_output=True, text=True)
    assert f":{ROUNDS:06X}" in shown.stdout
