"""The backend for files and the registry before it: which file gives what, and what is said when one does not."""

from __future__ import annotations

import base64
import os
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rolesanywhere_helper.domain.identity_reference import IdentityReference, scheme_of
from rolesanywhere_helper.domain.keys import KeyType
from rolesanywhere_helper.errors import (
    HelperError,
    KeyMismatchError,
    UnreadableCertificateError,
    UnreadableKeyError,
    UnsafeFileError,
    UnsupportedKeyError,
    UsageError,
)
from rolesanywhere_helper.identity import registry
from rolesanywhere_helper.identity.access import Access
from rolesanywhere_helper.system.references import References
from tests.unit.identity import making
from tests.unit.identity.making import NOW, Authority, Wanted, ec_key, name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rolesanywhere_helper.identity.loaded import LoadedIdentity

SelfSigner: TypeAlias = (
    mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey | ed25519.Ed25519PrivateKey
)

ROOT = Authority.root()
INTERMEDIATE = ROOT.intermediate("Intermediate")
KEY = ec_key()
LEAF = INTERMEDIATE.issue(KEY)
CHAIN = (making.der(INTERMEDIATE.certificate),)


@pytest.fixture
def files(tmp_path: Path) -> IdentityReference:
    return IdentityReference(
        making.write(tmp_path / "leaf.pem", making.pem(LEAF)), making.write(tmp_path / "key.pem", making.key_pem(KEY))
    )


def load(reference: IdentityReference) -> LoadedIdentity:
    return registry.load(reference, now=NOW)


def instead(reference: IdentityReference, field: str, value: str) -> IdentityReference:
    """Name another file for ``certificate``, ``private_key`` or ``intermediates``."""
    match field:
        case "certificate":
            return replace(reference, certificate=value)
        case "private_key":
            return replace(reference, private_key=value)
        case _:
            return replace(reference, intermediates=value)


def test_a_leaf_alone_has_no_chain(files: IdentityReference) -> None:
    loaded = load(files)
    assert (loaded.identity.leaf_der, loaded.identity.chain_der) == (making.der(LEAF), ())
    assert loaded.warnings == ()


@pytest.mark.parametrize("first", [True, False])
def test_a_full_chain_may_stand_in_the_certificate_file(
    *, first: bool, files: IdentityReference, tmp_path: Path
) -> None:
    above = making.pem(INTERMEDIATE.certificate, ROOT.certificate)
    making.write(tmp_path / "leaf.pem", making.pem(LEAF) + above if first else above + making.pem(LEAF))
    assert load(files).identity.chain_der == CHAIN


def test_intermediates_may_stand_in_a_file_of_their_own(files: IdentityReference, tmp_path: Path) -> None:
    path = making.write(tmp_path / "ca.pem", making.pem(ROOT.certificate, INTERMEDIATE.certificate))
    assert load(replace(files, intermediates=path)).identity.chain_der == CHAIN


def test_intermediates_may_stand_beside_the_key(files: IdentityReference, tmp_path: Path) -> None:
    making.write(tmp_path / "key.pem", making.pem(INTERMEDIATE.certificate) + making.key_pem(KEY))
    assert load(files).identity.chain_der == CHAIN


def test_a_key_beside_the_certificates_is_not_the_key_that_was_named(files: IdentityReference, tmp_path: Path) -> None:
    making.write(tmp_path / "leaf.pem", making.key_pem(ec_key()) + making.pem(LEAF))
    assert load(files).identity.leaf_der == making.der(LEAF)


def test_a_certificate_beside_the_key_is_not_the_one_that_was_named(files: IdentityReference, tmp_path: Path) -> None:
    making.write(tmp_path / "key.pem", making.key_pem(KEY) + making.pem(LEAF))
    making.write(tmp_path / "leaf.pem", making.pem(INTERMEDIATE.issue(ec_key())))
    with pytest.raises(KeyMismatchError):
        load(files)


def test_text_crlf_and_indentation_around_certificates_do_not_matter(files: IdentityReference, tmp_path: Path) -> None:
    text = b"Certificate:\n    Data:\n" + making.pem(LEAF) + b"\n# issuer\n" + making.pem(INTERMEDIATE.certificate)
    for content in (text.replace(b"\n", b"\r\n"), text.replace(b"\n", b"\n  "), b"\xef\xbb\xbf\n" + text):
        making.write(tmp_path / "leaf.pem", content)
        assert load(files).identity.chain_der == CHAIN


def test_a_certificate_may_be_der(files: IdentityReference, tmp_path: Path) -> None:
    making.write(tmp_path / "leaf.pem", making.der(LEAF))
    assert load(files).identity.leaf_der == making.der(LEAF)


def test_a_key_may_be_der(files: IdentityReference, tmp_path: Path) -> None:
    making.write(tmp_path / "key.pem", KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    assert load(files).identity.leaf_der == making.der(LEAF)


def test_links_as_kubernetes_makes_them_are_followed(tmp_path: Path) -> None:
    generation = tmp_path / "..2026_11_23"
    generation.mkdir()
    making.write(generation / "tls.crt", making.pem(LEAF), 0o644)
    making.write(generation / "tls.key", making.key_pem(KEY), 0o640)
    (tmp_path / "..data").symlink_to(generation.name)
    for file in ("tls.crt", "tls.key"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    loaded = load(IdentityReference(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")))
    assert (loaded.identity.leaf_der, loaded.warnings) == (making.der(LEAF), ())


@pytest.mark.promise(30)
def test_what_the_permission_check_says_reaches_the_caller(files: IdentityReference, tmp_path: Path) -> None:
    (tmp_path / "key.pem").chmod(0o644)
    (warning,) = load(files).warnings
    assert "can be read by every user" in warning
    with pytest.raises(UnsafeFileError, match="can be read by every user"):
        load(replace(files, strict_key_permissions=True))
    (tmp_path / "key.pem").chmod(0o666)
    with pytest.raises(UnsafeFileError, match="can be written"):
        load(files)
    with pytest.raises(UnsafeFileError) as caught:
        registry.load(files, now=NOW, access=Access(in_gitlab_ci=True))
    assert "install -m 600" in caught.value.hint
    assert len(load(replace(files, accept_insecure_key_file=True)).warnings) == 2


@pytest.mark.promise(30)
def test_the_certificates_permissions_do_not_matter(files: IdentityReference, tmp_path: Path) -> None:
    (tmp_path / "leaf.pem").chmod(0o666)
    assert load(files).warnings == ()


@pytest.mark.promise(31)
@pytest.mark.parametrize("field", ["certificate", "private_key", "intermediates"])
def test_no_file_of_an_identity_may_be_a_device(field: str, files: IdentityReference) -> None:
    with pytest.raises(UnsafeFileError, match="device"):
        load(instead(files, field, "/dev/zero"))


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("certificate", UnreadableCertificateError),
        ("private_key", UnreadableKeyError),
        ("intermediates", UnreadableCertificateError),
    ],
)
def test_a_missing_file_is_named(
    field: str, error: type[HelperError], files: IdentityReference, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(error, match=f"{missing} cannot be read: No such file or directory"):
        load(instead(files, field, missing))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no certificate"),
        (b"nonsense", "holds no certificate"),
        (b"0\x03abc", "cannot be read"),
        (making.pem(LEAF)[:-40], "cut short"),
        (making.pem(LEAF) + making.pem(INTERMEDIATE.certificate)[:-40], "cut short"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n", "not base64"),
    ],
    ids=["empty", "text", "DER", "cut short", "chain cut short", "broken", "not base64"],
)
def test_a_file_without_a_certificate_is_refused(
    content: bytes, message: str, files: IdentityReference, tmp_path: Path
) -> None:
    making.write(tmp_path / "leaf.pem", content)
    for call in (lambda: load(files), lambda: registry.load_certificate(files)):
        with pytest.raises(UnreadableCertificateError, match=message) as caught:
            call()
        assert files.certificate in caught.value.what


def test_a_key_in_place_of_the_certificate_is_recognised(files: IdentityReference) -> None:
    with pytest.raises(UnreadableCertificateError) as caught:
        load(replace(files, certificate=files.private_key, private_key=files.certificate))
    assert "swapped" in caught.value.hint


def test_an_intermediate_that_has_expired_is_sent_with_a_warning(files: IdentityReference, tmp_path: Path) -> None:
    expired = ROOT.issue(INTERMEDIATE.key, Wanted(subject=name("Intermediate"), ca=True, ends=-1))
    making.write(tmp_path / "leaf.pem", making.pem(LEAF, expired))
    loaded = load(files)
    assert loaded.identity.chain_der == (making.der(expired),)
    (warning,) = loaded.warnings
    assert warning.endswith("CN=Intermediate is valid only from 2027-01-14T08:00:00Z to 2027-01-15T07:59:59Z")


def test_a_root_with_serial_0_writes_nothing_on_stderr(files: IdentityReference, tmp_path: Path) -> None:
    root = making.der(Authority.root("Zero", serial=1).certificate).replace(b"\x02\x01\x01", b"\x02\x01\x00")
    with pytest.warns(match="serial"):
        assert x509.load_der_x509_certificate(root).serial_number == 0
    making.write(tmp_path / "ca.der", root)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        load(replace(files, intermediates=str(tmp_path / "ca.der")))
        assert registry.load_certificate(IdentityReference(str(tmp_path / "ca.der"), "")).serial == 0
    assert heard == []


# A certificate alone


def test_a_certificate_alone_may_be_expired_and_unfit(tmp_path: Path) -> None:
    unfit = ROOT.issue(making.rsa_key(), Wanted(usage=None, ca=True, begins=-9, ends=-5, serial=1 << 150))
    path = making.write(tmp_path / "all.pem", making.key_pem(KEY) + making.pem(unfit, LEAF))
    found = registry.load_certificate(IdentityReference(path, ""))
    assert (found.der, found.serial, found.key_type) == (making.der(unfit), 1 << 150, KeyType.RSA)
    assert (found.subject, found.not_before, found.not_after) == ("CN=host", NOW - 9, NOW - 5)
    making.write(tmp_path / "all.pem", making.pem(LEAF))
    assert registry.load_certificate(IdentityReference(path, "")).key_type is KeyType.EC


@pytest.mark.parametrize(
    ("make", "key_type"),
    [
        (mldsa.MLDSA44PrivateKey.generate, KeyType.ML_DSA_44),
        (mldsa.MLDSA65PrivateKey.generate, KeyType.ML_DSA_65),
        (mldsa.MLDSA87PrivateKey.generate, KeyType.ML_DSA_87),
    ],
)
def test_an_ml_dsa_certificate_alone_is_read(make: Callable[[], SelfSigner], key_type: KeyType, tmp_path: Path) -> None:
    path = making.write(tmp_path / "leaf.pem", making.pem(self_signed(make())))
    assert registry.load_certificate(IdentityReference(path, "")).key_type is key_type


def test_a_certificate_with_a_key_of_another_type_is_refused(tmp_path: Path) -> None:
    path = making.write(tmp_path / "leaf.pem", making.pem(self_signed(ed25519.Ed25519PrivateKey.generate())))
    with pytest.raises(UnsupportedKeyError, match=r"CN=Other has an unsupported type \(1\.3\.101\.112\)"):
        registry.load_certificate(IdentityReference(path, ""))


def self_signed(key: SelfSigner) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(name("Other")).issuer_name(name("Other")).serial_number(5)
    builder = builder.not_valid_before(making.moment(0)).not_valid_after(making.moment(9))
    return builder.public_key(key.public_key()).sign(key, None)


# By value

BOTH = making.pem(LEAF, INTERMEDIATE.certificate), making.key_pem(KEY)


def from_variables(certificate: bytes, key: bytes) -> LoadedIdentity:
    variables = {"CERTIFICATE": os.fsdecode(certificate), "KEY": os.fsdecode(key)}
    access = Access(References(variables))
    return registry.load(IdentityReference("env:CERTIFICATE", "env:KEY"), now=NOW, access=access)


@pytest.mark.parametrize("write", [bytes, base64.b64encode, base64.encodebytes], ids=["PEM", "base64", "wrapped"])
def test_certificate_and_key_may_stand_in_variables(write: Callable[[bytes], bytes]) -> None:
    """Binary content cannot; it stands there as base64, and PEM often does too."""
    loaded = from_variables(write(BOTH[0]), write(BOTH[1]))
    assert (loaded.identity.chain_der, loaded.warnings) == (CHAIN, ())
    assert loaded.identity.sign(b"a message")


def test_der_may_stand_in_a_variable_as_base64() -> None:
    key = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert from_variables(base64.b64encode(making.der(LEAF)), base64.b64encode(key)).identity.chain_der == ()


@pytest.mark.parametrize("key", [b"nonsense", base64.b64encode(b"nonsense"), b"MIIB", b"===="])
def test_what_is_no_key_in_a_variable_is_refused_by_the_variables_name(key: bytes) -> None:
    with pytest.raises(UnreadableKeyError, match="env:KEY") as caught:
        from_variables(BOTH[0], key)
    assert key.decode() not in f"{caught.value.what} {caught.value.hint}"
    with pytest.raises(UnreadableCertificateError, match="env:CERTIFICATE") as caught_too:
        from_variables(key, BOTH[1])
    assert key.decode() not in f"{caught_too.value.what} {caught_too.value.hint}"


def test_one_descriptor_may_bring_both(tmp_path: Path) -> None:
    making.write(tmp_path / "all.pem", BOTH[1] + BOTH[0])
    with (tmp_path / "all.pem").open("rb") as opened:
        place = f"fd:{opened.fileno()}"
        assert load(IdentityReference(place, place)).identity.chain_der == CHAIN


def test_a_command_may_bring_the_key(files: IdentityReference) -> None:
    assert load(replace(files, private_key=f"command:cat '{files.private_key}'")).warnings == ()


@pytest.mark.promise(30)
def test_a_key_in_a_credential_is_a_file_whose_permissions_are_judged(files: IdentityReference, tmp_path: Path) -> None:
    access = Access(References({"CREDENTIALS_DIRECTORY": str(tmp_path)}))
    reference = replace(files, certificate="credential:leaf.pem", private_key="credential:key.pem")
    assert registry.load(reference, now=NOW, access=access).warnings == ()
    (tmp_path / "key.pem").chmod(0o666)
    with pytest.raises(UnsafeFileError, match="can be written"):
        registry.load(reference, now=NOW, access=access)


# The registry


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("pkcs11:object=a;type=cert?pin-value=1", "pkcs11"),
        ("handle:0x81000001", "handle"),
        ("ENV:KEY", "env"),
        ("/etc/a:b.pem", None),
        ("./a:b.pem", None),
        ("leaf.pem", None),
        (r"C:\leaf.pem", None),
        ("", None),
    ],
)
def test_a_scheme_is_told_from_a_path(reference: str, expected: str | None) -> None:
    assert scheme_of(reference) == expected


@pytest.mark.parametrize("field", ["certificate", "private_key", "intermediates"])
def test_an_unknown_scheme_is_a_usage_error_that_does_not_show_the_rest(field: str, files: IdentityReference) -> None:
    with pytest.raises(UsageError, match="unknown") as caught:
        load(instead(files, field, "unknown:token=a?pin-value=sesame"))
    assert "sesame" not in f"{caught.value.what} {caught.value.hint}"
    assert "path of a file" in caught.value.hint
    for call in (registry.load_certificate, registry.load_signing_key):
        with pytest.raises(UsageError):
            call(IdentityReference("unknown:token=a", "unknown:token=a"))
