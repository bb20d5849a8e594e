"""One suite for every backend of ``identity``: what the port promises, seen from outside with OpenSSL."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, mldsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import (
    InvalidParameterError,
    KeyMismatchError,
    LeafExpiredError,
    LeafIsCaError,
    LeafLacksDigitalSignatureError,
    LeafNotYetValidError,
)
from rolesanywhere_helper.identity import registry
from rolesanywhere_helper.identity.access import Access
from tests.fakes.soft_token import PIN, SoftTokens, forget_library, module
from tests.fakes.swtpm import Swtpm, key_file
from tests.fakes.workload_agent import WorkloadAgent, svid
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cryptography import x509

    from rolesanywhere_helper.domain.ports import Identity

PARENT = 0x81000050

Peer: TypeAlias = "Callable[[str], Path]"

_KEYS: dict[str, tuple[Callable[[], making.Key], KeyType]] = {
    "RSA 2048": (making.rsa_key, KeyType.RSA),
    "EC P-256": (making.ec_key, KeyType.EC),
    "EC P-384": (lambda: making.ec_key(ec.SECP384R1()), KeyType.EC),
    "EC P-521": (lambda: making.ec_key(ec.SECP521R1()), KeyType.EC),
    "ML-DSA-44": (mldsa.MLDSA44PrivateKey.generate, KeyType.ML_DSA_44),
    "ML-DSA-65": (mldsa.MLDSA65PrivateKey.generate, KeyType.ML_DSA_65),
    "ML-DSA-87": (mldsa.MLDSA87PrivateKey.generate, KeyType.ML_DSA_87),
}


@dataclass(frozen=True)
class Parts:
    """What a backend is given to keep: the leaf, what lies above it (in any order), and the key."""

    leaf: x509.Certificate
    above: tuple[x509.Certificate, ...]
    key: making.Key


class Backend(Protocol):
    """Puts the parts where a backend finds them, and says how a user would name them."""

    def __call__(self, parts: Parts, folder: Path) -> IdentityReference: ...


def in_files(parts: Parts, folder: Path) -> IdentityReference:
    return IdentityReference(
        certificate=making.write(folder / "leaf.pem", making.pem(parts.leaf)),
        private_key=making.write(folder / "key.pem", making.key_pem(parts.key)),
        intermediates=making.write(folder / "above.pem", making.pem(*parts.above)) if parts.above else None,
    )


def in_one_file(parts: Parts, folder: Path) -> IdentityReference:
    both = making.write(
        folder / "all.pem", making.pem(*parts.above) + making.key_pem(parts.key) + making.pem(parts.leaf)
    )
    return IdentityReference(certificate=both, private_key=both)


def in_an_encrypted_file(parts: Parts, folder: Path) -> IdentityReference:
    encrypted = parts.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame"))
    return IdentityReference(
        certificate=making.write(folder / "all.pem", making.pem(parts.leaf, *parts.above)),
        private_key=making.write(folder / "key.pem", encrypted),
        secrets=(("pkcs8-password", SecretSource(making.write(folder / "passphrase", b"sesame\n"))),),
    )


def by_commands(parts: Parts, folder: Path) -> IdentityReference:
    """As from a secret store that prints what it holds."""
    both = in_files(parts, folder)
    return IdentityReference(
        certificate=f"command:cat '{both.certificate}'",
        private_key=f"command:cat '{both.private_key}'",
        intermediates=f"command:cat '{both.intermediates}'" if both.intermediates else None,
    )


def in_pkcs12(parts: Parts, folder: Path) -> IdentityReference:
    assert not isinstance(parts.key, making.MlDsaKey), "nobody at hand writes one with such a key"
    encryption = BestAvailableEncryption(b"sesame")
    content = pkcs12.serialize_key_and_certificates(b"name", parts.key, None, [*parts.above, parts.leaf], encryption)
    return IdentityReference(
        certificate=making.write(folder / "all.p12", content),
        private_key="",
        secrets=(("pkcs12-password", SecretSource(text="sesame")),),
    )


def in_token(parts: Parts, folder: Path) -> IdentityReference:
    held = SoftTokens.make(folder / "softhsm")
    held.add("host")
    held.put_key("host", parts.key)
    for number, certificate in enumerate((parts.leaf, *parts.above), start=1):
        held.put_certificate("host", certificate, object_id=f"{number:02}", label=f"certificate {number}")
    os.environ |= held.environment  # taken back by the fixture
    forget_library()
    return IdentityReference(
        certificate="pkcs11:token=host;id=%01",
        private_key="pkcs11:token=host;object=host",
        secrets=(("pkcs11-pin", SecretSource(text=PIN)),),
        pkcs11_library=module(),
    )


def in_tpm(parts: Parts, folder: Path, tpm: Swtpm) -> tuple[int, tuple[Path, Path]]:
    """Take the key into a TPM, below a parent that is there."""
    assert not isinstance(parts.key, making.MlDsaKey), "no TPM has such a key yet"
    making.write(folder / "outside.pem", making.key_pem(parts.key, PrivateFormat.TraditionalOpenSSL))
    parent = tpm.parent(PARENT)
    kind = "ecc" if isinstance(parts.key, ec.EllipticCurvePrivateKey) else "rsa"
    return parent, tpm.import_key(parent, folder / "outside.pem", kind)


def in_tpm_file(parts: Parts, folder: Path, tpm: Swtpm) -> IdentityReference:
    parent, key = in_tpm(parts, folder, tpm)
    return IdentityReference(
        certificate=making.write(folder / "all.pem", making.pem(parts.leaf, *parts.above)),
        private_key=str(key_file(folder / "key.pem", parent, *key)),
    )


def at_tpm_handle(parts: Parts, folder: Path, tpm: Swtpm) -> IdentityReference:
    parent, key = in_tpm(parts, folder, tpm)
    return IdentityReference(
        certificate=making.write(folder / "all.pem", making.pem(parts.leaf, *parts.above)),
        private_key=f"handle:0x{tpm.keep(parent, key, PARENT + 1):08x}",
    )


def in_a_directory(parts: Parts, folder: Path) -> IdentityReference:
    """As in a certificate store, beside the certificate of somebody else."""
    store = folder / "store"
    store.mkdir()
    making.write(store / "leaf.pem", making.pem(parts.leaf))
    making.write(store / "above.pem", making.pem(*parts.above))
    making.write(store / "leaf.key", making.key_pem(parts.key))
    other = making.ec_key()
    making.write(store / "other.pem", making.pem(making.Authority.root().issue(other)) + making.key_pem(other))
    return IdentityReference(
        certificate="",
        private_key="",
        certificate_directory=str(store),
        certificate_selector=f"Key=x509Issuer,Value={parts.leaf.issuer.rfc4514_string()}",
    )


def at_workload_api(parts: Parts, folder: Path, agent: WorkloadAgent) -> IdentityReference:
    del folder
    agent.push(svid(parts.key, parts.leaf, *parts.above))
    return IdentityReference(certificate=agent.reference, private_key="")


@pytest.fixture(scope="module")
def workload_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkloadAgent]:
    with WorkloadAgent(tmp_path_factory.mktemp("agent")) as running:
        yield running


BACKENDS: dict[str, Backend] = {
    "PEM files": in_files,
    "one PEM file": in_one_file,
    "encrypted key": in_an_encrypted_file,
    "commands": by_commands,
    "PKCS#12": in_pkcs12,
    "PKCS#11 token": in_token,
    "directory": in_a_directory,
}
# What is given an agent.
AT_WORKLOAD_API = {"Workload API": at_workload_api}
# Those that are given a TPM.
IN_TPM = {"TPM key file": in_tpm_file, "TPM handle": at_tpm_handle}
# The kinds of key that a backend does not have; it has all others.
WITHOUT: dict[str, frozenset[str]] = {
    "PKCS#12": frozenset({"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"}),
    "PKCS#11 token": frozenset({"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"}),
    **dict.fromkeys(IN_TPM, frozenset({"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"})),
}
NEEDS = {"PKCS#11 token": ("softhsm2", "opensc")}
PAIRS = [
    (backend, kind)
    for backend in (*BACKENDS, *IN_TPM, *AT_WORKLOAD_API)
    for kind in _KEYS
    if kind not in WITHOUT.get(backend, frozenset())
]
every_pair = pytest.mark.parametrize(
    ("backend", "kind"), PAIRS, ids=[" with ".join(pair) for pair in PAIRS], indirect=["backend"]
)


@pytest.fixture(params=[*BACKENDS, *IN_TPM, *AT_WORKLOAD_API])
def backend(request: pytest.FixtureRequest, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Backend:
    if request.param in IN_TPM:
        tpm: Swtpm = request.getfixturevalue("swtpm")
        monkeypatch.setenv("TPM2TOOLS_TCTI", tpm.tcti)
        return partial(IN_TPM[request.param], tpm=tpm)
    if request.param in AT_WORKLOAD_API:
        return partial(AT_WORKLOAD_API[request.param], agent=request.getfixturevalue("workload_agent"))
    monkeypatch.setenv("SOFTHSM2_CONF", "/dev/null")
    for package in NEEDS.get(request.param, ()):
        peer(package)
    return BACKENDS[request.param]


def load(parts: Parts, backend: Backend, folder: Path) -> Identity:
    return registry.load(backend(parts, folder), now=making.NOW, access=Access(environment=os.environ)).identity


def usual(key: making.Key, wanted: making.Wanted | None = None) -> Parts:
    root = making.Authority.root()
    upper = root.intermediate("Upper")
    lower = upper.intermediate("Lower")
    return Parts(lower.issue(key, wanted), (root.certificate, upper.certificate, lower.certificate), key)


@every_pair
def test_an_identity_says_who_it_is(kind: str, backend: Backend, tmp_path: Path) -> None:
    make, key_type = _KEYS[kind]
    parts = usual(make())
    identity = load(parts, backend, tmp_path)
    root, upper, lower = parts.above
    assert identity.leaf_der == making.der(parts.leaf)
    assert identity.chain_der == (making.der(lower), making.der(upper))
    assert making.der(root) not in identity.chain_der
    assert (identity.serial, identity.key_type) == (0x1000, key_type)
    assert identity.not_after == making.NOW + making.DAY


@every_pair
@pytest.mark.parametrize("digest", ["SHA256", "SHA384", "SHA512"])
def test_openssl_verifies_what_an_identity_signs(
    kind: str, digest: str, backend: Backend, tmp_path: Path, peer: Peer
) -> None:
    parts = usual(_KEYS[kind][0]())
    signature = load(parts, backend, tmp_path).sign(b"a message", digest)
    if isinstance(parts.key, making.MlDsaKey):  # which OpenSSL knows from 3.5 on
        parts.key.public_key().verify(signature, b"a message")
        with pytest.raises(InvalidSignature):
            parts.key.public_key().verify(signature, b"another message")
        return
    public = parts.leaf.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    making.write(tmp_path / "public.pem", public)
    making.write(tmp_path / "signature", signature)

    def verifies(message: bytes, claimed: str) -> bool:
        making.write(tmp_path / "message", message)
        command = (peer("openssl"), "dgst", f"-{claimed.lower()}", "-verify", "public.pem", "-signature", "signature")
        return not subprocess.run([*command, "message"], cwd=tmp_path, capture_output=True, check=False).returncode

    assert verifies(b"a message", digest)
    assert not verifies(b"another message", digest)
    assert not verifies(b"a message", "SHA224")


def test_sha256_is_what_is_signed_with_unless_asked(backend: Backend, tmp_path: Path) -> None:
    identity = load(usual(making.rsa_key()), backend, tmp_path)
    assert identity.sign(b"a message") == identity.sign(b"a message", "SHA256")
    assert identity.sign(b"a message") != identity.sign(b"a message", "SHA384")


def test_a_digest_that_does_not_exist_is_refused(backend: Backend, tmp_path: Path) -> None:
    identity = load(usual(making.ec_key()), backend, tmp_path)
    with pytest.raises(InvalidParameterError, match="SHA1"):
        identity.sign(b"a message", "SHA1")


def test_an_identity_does_not_show_its_key(backend: Backend, tmp_path: Path) -> None:
    key = making.ec_key()
    shown = repr(load(usual(key), backend, tmp_path))
    assert "4096" in shown, "the serial is no secret"
    assert str(key.private_numbers().private_value) not in shown
    assert "PrivateKey" not in shown


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (making.Wanted(begins=-2 * making.DAY, ends=-1), LeafExpiredError),
        (making.Wanted(begins=1), LeafNotYetValidError),
        (making.Wanted(ca=True), LeafIsCaError),
        (making.Wanted(usage=None), LeafLacksDigitalSignatureError),
        (making.Wanted(usage=making.usage(digital_signature=False)), LeafLacksDigitalSignatureError),
    ],
    ids=["expired", "not yet valid", "CA", "no keyUsage", "no digitalSignature"],
)
def test_a_leaf_that_the_service_would_refuse_makes_no_identity(
    wanted: making.Wanted, error: type[Exception], backend: Backend, tmp_path: Path
) -> None:
    with pytest.raises(error, match="CN=host"):
        load(usual(making.ec_key(), wanted), backend, tmp_path)


def test_a_key_of_another_certificate_makes_no_identity(backend: Backend, tmp_path: Path) -> None:
    parts = usual(making.ec_key())
    with pytest.raises(KeyMismatchError, match="CN=host"):
        load(Parts(parts.leaf, parts.above, making.ec_key()), backend, tmp_path)
