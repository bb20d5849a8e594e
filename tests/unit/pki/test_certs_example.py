from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

ROOT = Path(__file__).parents[3]


def test_the_generator_makes_what_its_readme_lists(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "certs-example/generate.py"), "--out", str(tmp_path / "out")]
    for _ in range(2):  # a second run replaces what the first one made
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    made = {path.name: path for path in (tmp_path / "out").iterdir()}
    readme = (ROOT / "certs-example/README.md").read_text()
    assert [name for name in made if f"`{name}`" not in readme] == []
    assert {path.stat().st_mode & 0o777 for path in made.values()} == {0o600}
    for kind, old in (("rsa", "rsa-pkcs1"), ("ec", "ec-sec1")):
        chain = x509.load_pem_x509_certificates(made[f"{kind}-full-chain.pem"].read_bytes())
        root = x509.load_pem_x509_certificate(made["ca.pem"].read_bytes())
        chain[0].verify_directly_issued_by(chain[1])
        chain[1].verify_directly_issued_by(root)
        keys = [load_pem_private_key(made[f"{name}.key"].read_bytes(), None) for name in (kind, old)]
        assert keys[0].public_key() == keys[1].public_key() == chain[0].public_key()
