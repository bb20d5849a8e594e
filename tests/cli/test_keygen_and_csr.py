"""From nothing to credentials: ``keygen``, ``csr``, a CA that is openssl, and then ``credential-process``."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from rolesanywhere_helper.pki.certificates import certificates_pem
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Finished, RunHelper
    from tests.plugins.emulated import Emulated

SUBJECT = "/C=DE/O=Example/CN=this-host"


@pytest.fixture
def sign(
    peer: Callable[[str], Path], emulated: Emulated, tmp_path: Path, clean_environment: dict[str, str]
) -> Callable[..., str]:
    """Return a function: openssl, with the emulator's CA, turns a request into a certificate."""
    directory = Path(emulated.certificate).parent

    def certify(request: Path) -> str:
        certificate = request.with_suffix(".pem")
        authority = ["-CA", directory / "ca.pem", "-CAkey", directory / "ca.key", "-CAcreateserial"]
        command = [
            peer("openssl"),
            "x509",
            "-req",
            "-in",
            request,
            *authority,
            "-copy_extensions",
            "copy",
            "-days",
            "9",
        ]
        arguments = [*map(str, command), "-CAserial", str(tmp_path / "serial"), "-out", str(certificate)]
        subprocess.run(arguments, check=True, capture_output=True, env=clean_environment)
        return str(certificate)

    return certify


def make(run: RunHelper, folder: Path, kind: str, *flags: str) -> Path:
    done = run("keygen", "--type", kind, "--out", folder / "host.key", *flags)
    assert (done.exit_code, done.stdout) == (0, b""), done.err
    return folder / "host.key"


def request(run: RunHelper, folder: Path, *flags: str | Path) -> Finished:
    return run("csr", "--private-key", folder / "host.key", "--subject", SUBJECT, *flags)


@pytest.mark.parametrize("kind", ["ec", "ec-p384", "ec-p521", "rsa", "rsa-3072", "rsa-4096"])
def test_a_new_key_gets_credentials(
    kind: str, run_helper: RunHelper, sign: Callable[..., str], emulated: Emulated, tmp_path: Path
) -> None:
    key = make(run_helper, tmp_path, kind)
    done = request(run_helper, tmp_path, "--dns", "this-host.example", "--uri", "spiffe://a/b", "--out", "host.csr")
    assert (done.exit_code, done.stdout) == (0, b""), done.err
    certificate = sign(tmp_path / "host.csr")

    got = run_helper("credential-process", *emulated.flags(certificate=certificate, private_key=str(key)))

    assert (got.exit_code, got.err) == (0, "")
    leaf = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    assert leaf.subject.rfc4514_string() == "CN=this-host,O=Example,C=DE"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["this-host.example"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://a/b"]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign


@pytest.mark.parametrize("kind", ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
def test_post_quantum_keys(kind: str, run_helper: RunHelper, emulated: Emulated, tmp_path: Path) -> None:
    key = make(run_helper, tmp_path, kind)
    done = request(run_helper, tmp_path)
    wanted = x509.load_pem_x509_csr(done.stdout)
    directory = Path(emulated.certificate).parent
    ca = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
    ca_key = load_pem_private_key((directory / "ca.key").read_bytes(), None)

    # openssl knows these keys from 3.5 on: the certificate is made of the request without it
    builder = x509.CertificateBuilder(ca.subject, wanted.subject, wanted.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(ca.not_valid_before_utc).not_valid_after(ca.not_valid_after_utc)
    for extension in wanted.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    leaf = builder.sign(ca_key, SHA256())  # type: ignore[arg-type]
    certificate = making.write(tmp_path / "host.pem", certificates_pem(leaf))
    got = run_helper("credential-process", *emulated.flags(certificate=certificate, private_key=str(key)))

    assert wanted.is_signature_valid
    assert (got.exit_code, got.err) == (0, "")


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_openssl_verifies_the_request(
    kind: str, run_helper: RunHelper, peer: Callable[[str], Path], tmp_path: Path
) -> None:
    make(run_helper, tmp_path, kind)
    command = [str(peer("openssl")), "req", "-noout", "-verify"]
    content = request(run_helper, tmp_path).stdout

    def verify(pem: bytes) -> bytes:
        return subprocess.run(command, input=pem, capture_output=True, check=False).stderr

    assert b"verify OK" in verify(content)
    signed = x509.load_pem_x509_csr(content)
    other = signed.public_bytes(Encoding.DER).replace(b"this-host", b"that-host")
    forged = x509.load_der_x509_csr(other).public_bytes(Encoding.PEM)
    assert b"verify OK" not in verify(forged)


def test_the_file_is_its_owners_alone_whatever_the_umask(helper: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        command = [str(helper), "keygen", "--out", "host.key"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "host.key").stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["host.key"]


def test_a_key_is_not_replaced_unless_forced(run_helper: RunHelper, tmp_path: Path) -> None:
    key = make(run_helper, tmp_path, "ec")
    first = key.read_bytes()
    (tmp_path / "link.key").symlink_to(key)

    for name in ("host.key", "link.key"):
        refused = run_helper("keygen", "--out", tmp_path / name)
        assert (refused.exit_code, key.read_bytes()) == (1, first)
        assert "is there already" in refused.err
    make(run_helper, tmp_path, "ec", "--force")
    assert key.read_bytes() != first
    assert sorted(each.name for each in tmp_path.iterdir()) == ["home", "host.key", "link.key"]


def test_where_others_could_change_it_no_key_is_left(run_helper: RunHelper, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    refused = run_helper("keygen", "--out", folder / "host.key")

    assert refused.exit_code == 1
    assert "can be written by every user" in refused.err
    assert list(folder.iterdir()) == []


def test_an_encrypted_key(run_helper: RunHelper, sign: Callable[..., str], emulated: Emulated, tmp_path: Path) -> None:
    secret = making.write(tmp_path / "passphrase", b"sesame\n")
    key = make(run_helper, tmp_path, "ec", "--password-file", secret)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in key.read_bytes()
    load_pem_private_key(key.read_bytes(), b"sesame")

    locked = request(run_helper, tmp_path)
    opened = request(run_helper, tmp_path, "--pkcs8-password-file", secret, "--out", "host.csr")

    assert (locked.exit_code, locked.stdout) == (1, b"")
    assert "is encrypted" in locked.err
    assert opened.exit_code == 0, opened.err
    flags = emulated.flags(certificate=sign(tmp_path / "host.csr"), private_key=str(key))
    assert run_helper("credential-process", *flags, "--pkcs8-password-file", secret).exit_code == 0
    empty = run_helper("keygen", "--out", "new.key", "--password-file", making.write(tmp_path / "empty", b"\n"))
    assert (empty.exit_code, (tmp_path / "new.key").exists()) == (2, False)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("CN=this-host,O=Example", "CN=this-host,O=Example"),
        ("/O=Example/CN=this-host", "CN=this-host,O=Example"),
        (r"/O=Ex\/am\+ple/CN=a,b", r"CN=a\,b,O=Ex/am\+ple"),
        ("/CN=host+serialNumber=7", "2.5.4.5=7+CN=host"),
        ("/2.5.4.3=host", "CN=host"),
    ],
)
def test_ways_to_write_a_subject(subject: str, expected: str, run_helper: RunHelper, tmp_path: Path) -> None:
    make(run_helper, tmp_path, "ec")
    done = run_helper("csr", "--private-key", tmp_path / "host.key", "--subject", subject)
    assert x509.load_pem_x509_csr(done.stdout).subject.rfc4514_string() == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--subject", ""], "missing: --subject"),
        (["--subject", "/"], "--subject is empty"),
        (["--subject", "host"], "--subject is no subject"),
        (["--subject", "/CN"], "--subject is no subject"),
        (["--subject", "/X=host"], "--subject is no subject"),
        (["--subject", "/C=Germany"], "--subject is no subject"),
        (["--dns", "höst"], "cannot stand in a certificate"),
    ],
)
def test_what_cannot_be_requested(flags: list[str], words: str, run_helper: RunHelper, tmp_path: Path) -> None:
    make(run_helper, tmp_path, "ec")
    done = request(run_helper, tmp_path, *flags)
    assert (done.exit_code, done.stdout) == (2, b"")
    assert words in done.err


def test_where_a_key_cannot_go(run_helper: RunHelper) -> None:
    for flags, words in (
        ([], "missing: --out"),
        (["--out", "env:KEY"], "where no key can be made"),
        (["--out", "pkcs11:token=host;object=a", "--force"], "no meaning for a key in a token"),
        (["--out", "pkcs11:token=host"], "names no object"),
        (["--out", "gone/host.key"], "cannot be written"),
        (["--out", "home"], "is there already"),
    ):
        done = run_helper("keygen", *flags)
        assert done.exit_code in {1, 2}
        assert words in done.err, done.err
