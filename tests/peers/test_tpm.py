"""Keys in a TPM 2.0, made by the tools that people make them with, in a TPM that is real but for its case (swtpm)."""

from __future__ import annotations

import errno
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
from rolesanywhere_helper.errors import (
    EncryptedKeyError,
    InvalidParameterError,
    ObjectNotFoundError,
    PinRefusedError,
    TokenError,
    UnreadableKeyError,
    UnsupportedKeyError,
    UsageError,
    WrongSecretError,
)
from rolesanywhere_helper.identity import registry
from rolesanywhere_helper.identity.access import Access
from tests.fakes.clock import FakeClock
from tests.fakes.daemon import Daemon, owned, until
from tests.fakes.swtpm import SIGNING, STORAGE, Swtpm, key_file, running
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.identity.loaded import SigningKey
    from tests.conftest import Finished, RunHelper
    from tests.plugins.emulated import Emulated

PASSWORD, PARENT_PASSWORD, WRONG = "canary-of-a-key", "canary-of-a-parent", "canary-that-is-wrong"
OWNER = 0x40000001
NODA = f"{SIGNING}|noda"


@dataclass(frozen=True)
class Machine:
    """A computer with a TPM, and a certificate authority that trusts what is in it."""

    tpm: Swtpm
    emulated: Emulated
    run: RunHelper
    folder: Path

    @property
    def ca(self) -> Path:
        return Path(self.emulated.certificate).parent

    def certify(self, public: bytes, serial: int = 77) -> Path:
        """Let openssl issue a leaf for a public key (PEM)."""
        leaf, key, extensions = (self.folder / name for name in ("leaf.pem", "public.pem", "leaf.cnf"))
        key.write_bytes(public)
        extensions.write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n")
        issuer = ("-CA", self.ca / "ca.pem", "-CAkey", self.ca / "ca.key", "-days", "3", "-extfile", extensions)
        self.tpm.run(
            "openssl",
            "x509",
            "-new",
            "-subj",
            "/CN=tpm",
            "-force_pubkey",
            key,
            "-set_serial",
            str(serial),
            *issuer,
            "-out",
            leaf,
        )
        return leaf

    def certificate_of(self, key: Path, serial: int = 77) -> Path:
        return self.certify(self.tpm.openssl("pkey", "-in", key, "-passin", f"pass:{PASSWORD}", "-pubout"), serial)

    def certificate_at(self, handle: int) -> Path:
        public = self.folder / "handle.pem"
        self.tpm.run("tpm2_readpublic", "-c", hex(handle), "-f", "pem", "-o", public)
        return self.certify(public.read_bytes())

    def ask(self, key: Path | str, leaf: Path | str, *flags: str | Path, env: dict[str, str] | None = None) -> Finished:
        named = self.emulated.flags(certificate=str(leaf), private_key=str(key))
        return self.run("credential-process", *named, *flags, env={**self.tpm.environment, **(env or {})})

    def secret(self, text: str, name: str = "password") -> Path:
        path = self.folder / name
        path.write_text(f"{text}\n")
        path.chmod(0o600)
        return path


@pytest.fixture
def machine(swtpm: Swtpm, emulated: Emulated, run_helper: RunHelper, tmp_path: Path) -> Machine:
    return Machine(swtpm, emulated, run_helper, tmp_path)


def got_credentials(finished: Finished) -> bool:
    return finished.exit_code == 0 and "SessionToken" in json.loads(finished.out) and finished.err == ""


def reference(key: Path | str, **passwords: str) -> IdentityReference:
    secrets = tuple((name.replace("_", "-"), SecretSource(text=text)) for name, text in passwords.items())
    return IdentityReference(certificate="", private_key=str(key), secrets=secrets)


def signing_key(tpm: Swtpm, key: Path | str, **passwords: str) -> SigningKey:
    return registry.load_signing_key(reference(key, **passwords), Access(environment=tpm.environment)).key


# Files


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [("EC", ["group:P-256"]), ("EC", ["group:P-384"]), ("RSA", ["bits:2048"])],
    ids=["P-256", "P-384", "RSA"],
)
def test_a_key_that_openssl_made_gets_credentials(machine: Machine, algorithm: str, options: list[str]) -> None:
    key = machine.tpm.genpkey(algorithm, *options)
    request, leaf = machine.folder / "csr.pem", machine.folder / "requested.pem"
    machine.tpm.openssl("req", "-new", "-key", key, "-subj", "/CN=tpm", "-out", request)
    extensions = machine.folder / "req.cnf"
    extensions.write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n")
    issuer = ("-CA", machine.ca / "ca.pem", "-CAkey", machine.ca / "ca.key", "-set_serial", "78", "-days", "3")
    machine.tpm.run("openssl", "x509", "-req", "-in", request, *issuer, "-extfile", extensions, "-out", leaf)

    assert b"BEGIN TSS2 PRIVATE KEY" in key.read_bytes()
    assert got_credentials(machine.ask(key, leaf))
    other = machine.ask(machine.tpm.genpkey(algorithm, *options), leaf, "--no-cache")
    assert "does not belong to" in other.err


def test_certificate_and_key_may_share_a_file(machine: Machine) -> None:
    key = machine.tpm.genpkey("EC", "group:P-256")
    making.write(key, key.read_bytes() + machine.certificate_of(key).read_bytes())

    assert got_credentials(machine.ask(key, key))


@pytest.mark.promise(57)
def test_a_wrong_password_is_tried_once(machine: Machine) -> None:
    key = machine.tpm.genpkey("EC", "group:P-256", f"user-auth:{PASSWORD}")
    leaf = machine.certificate_of(key)
    password = machine.secret(WRONG)

    def ask() -> Finished:
        return machine.ask(key, leaf, "--tpm-key-password-file", password, "--debug")

    first = ask()
    assert (first.exit_code, machine.tpm.failures()) == (1, 1), first.err
    assert "refused" in first.err
    again = ask()
    assert (again.exit_code, machine.tpm.failures()) == (1, 1), again.err
    assert "not tried again" in again.err
    machine.secret(PASSWORD)
    right = ask()
    assert (right.exit_code, machine.tpm.failures()) == (0, 1), right.err
    machine.secret(WRONG, "another")
    assert machine.ask(key, leaf, "--no-cache", "--tpm-key-password-file", machine.folder / "another").exit_code == 1
    assert machine.tpm.failures() == 2
    for finished in (first, again, right):
        assert "canary" not in finished.out + finished.err


def test_a_password_that_is_missing_is_asked_for(machine: Machine) -> None:
    key = machine.tpm.genpkey("EC", "group:P-256", f"user-auth:{PASSWORD}")
    leaf = machine.certificate_of(key)

    missing = machine.ask(key, leaf)
    assert missing.exit_code == 1
    assert "--tpm-key-password-file" in missing.err
    assert "--no-tpm-key-password" in missing.err
    assert machine.tpm.failures() == 0
    assert got_credentials(machine.ask(key, leaf, env={"ROLESANYWHERE_HELPER_TPM_KEY_PASSWORD": PASSWORD}))


def test_a_password_for_a_key_without_one_is_a_mistake(swtpm: Swtpm) -> None:
    key = swtpm.genpkey("EC", "group:P-256")

    assert signing_key(swtpm, key).sign(b"a message")
    with pytest.raises(PinRefusedError, match=r"key\.pem"):
        signing_key(swtpm, key, tpm_key_password=PASSWORD).sign(b"a message")


@pytest.mark.parametrize("has_password", [True, False])
@pytest.mark.parametrize("says", [["-p"], []], ids=["-p", "no -p"])
def test_what_tpm2_encodeobject_says_of_the_password_may_be_wrong(
    machine: Machine, says: list[str], *, has_password: bool
) -> None:
    parent = machine.tpm.parent(0x81000014)
    made = machine.tpm.create(parent, *(["-p", PASSWORD] if has_password else []))
    key = machine.tpm.encode(parent, made, *says)
    leaf = machine.certify(machine.tpm.public_of(parent, made))
    right = ("--tpm-key-password-file", str(machine.secret(PASSWORD))) if has_password else ("--no-tpm-key-password",)

    assert got_credentials(machine.ask(key, leaf, *right))
    assert machine.tpm.failures() == 0
    without = machine.ask(key, leaf, "--no-cache")
    assert got_credentials(without) or "has a password, and it was not given" in without.err
    assert not (got_credentials(without) and has_password)
    claimed = machine.ask(key, leaf, "--no-cache", "--no-tpm-key-password")
    assert got_credentials(claimed) is not has_password


def test_a_key_of_another_tpm_is_told(machine: Machine, tmp_path: Path) -> None:
    with running(tmp_path / "another") as another:
        key = another.genpkey("EC", "group:P-256")
        leaf = machine.certify(another.openssl("pkey", "-in", key, "-pubout"))
        assert got_credentials(machine.ask(key, leaf, "--no-cache", env=another.environment))

    finished = machine.ask(key, leaf, "--no-cache")
    assert finished.exit_code == 1
    assert "this TPM cannot open the key" in finished.err


@pytest.mark.parametrize("says", [True, False], ids=["as the file says", "though the file does not say"])
def test_a_parent_may_be_rsa(swtpm: Swtpm, tmp_path: Path, *, says: bool) -> None:
    parent = swtpm.parent(0x81000010, "-G", "rsa")
    public, private = swtpm.create(parent)
    swtpm.remove(parent)
    key = key_file(tmp_path / "key.pem", OWNER, public, private, rsa_parent=says)

    assert signing_key(swtpm, key).sign(b"a message")


def test_the_owners_password_is_that_of_the_parent(swtpm: Swtpm) -> None:
    key = swtpm.genpkey("EC", "group:P-256")
    swtpm.run("tpm2_changeauth", "-c", "owner", PARENT_PASSWORD)
    try:
        assert signing_key(swtpm, key, tpm_parent_password=PARENT_PASSWORD).sign(b"a message")
        with pytest.raises(EncryptedKeyError, match="hierarchy 0x40000001") as missing:
            signing_key(swtpm, key).sign(b"a message")
        assert missing.value.needs == "tpm-parent-password"
        with pytest.raises(WrongSecretError, match="hierarchy 0x40000001"):
            signing_key(swtpm, key, tpm_parent_password=WRONG).sign(b"a message")
    finally:
        swtpm.run("tpm2_changeauth", "-c", "owner", "-p", PARENT_PASSWORD)
    assert swtpm.failures() == 0


def test_a_parent_with_a_password(machine: Machine) -> None:
    parent = machine.tpm.parent(0x81000011, "-p", PARENT_PASSWORD)
    made = machine.tpm.create(parent, "-P", PARENT_PASSWORD, "-p", PASSWORD)
    key = machine.tpm.encode(parent, made, "-P", PARENT_PASSWORD, "-p")
    leaf = machine.certify(machine.tpm.public_of(parent, made, "-P", PARENT_PASSWORD))
    own, above = machine.secret(PASSWORD), machine.secret(PARENT_PASSWORD, "parent")

    both = ("--tpm-key-password-file", own, "--tpm-parent-password-file", above)
    assert got_credentials(machine.ask(key, leaf, *both))
    missing = machine.ask(key, leaf, "--no-cache", *both[:2])
    assert "--tpm-parent-password-file" in missing.err
    wrong = machine.ask(
        key, leaf, "--no-cache", *both[:2], "--tpm-parent-password-file", machine.secret(WRONG, "wrong")
    )
    assert (wrong.exit_code, "parent of the TPM key" in wrong.err) == (1, True)
    assert machine.tpm.failures() == 0, "a parent is a storage key, for which nothing is counted"


@pytest.mark.promise(57)
def test_a_parent_whose_failures_count_is_tried_once(machine: Machine) -> None:
    parent = machine.tpm.parent(0x81000012, "-p", PARENT_PASSWORD, attributes=STORAGE.replace("noda|", ""))
    made = machine.tpm.create(parent, "-P", PARENT_PASSWORD)
    key = machine.tpm.encode(parent, made, "-P", PARENT_PASSWORD)
    leaf = machine.certify(machine.tpm.public_of(parent, made, "-P", PARENT_PASSWORD))
    wrong = machine.secret(WRONG)

    for _ in range(2):
        finished = machine.ask(key, leaf, "--no-tpm-key-password", "--tpm-parent-password-file", wrong)
        assert (finished.exit_code, machine.tpm.failures()) == (1, 1), finished.err


@pytest.mark.parametrize("damage", ["public", "private", "text"])
def test_a_damaged_file_is_told(swtpm: Swtpm, tmp_path: Path, damage: str) -> None:
    parent = swtpm.parent(0x81000013)
    public, private = swtpm.create(parent)
    if damage == "public":
        public.write_bytes(b"\0\x10" + b"\xff" * 16)
    elif damage == "private":
        private.write_bytes(b"\0\x10" + b"\xff" * 16)
    key = key_file(tmp_path / "key.pem", OWNER, public, private)
    if damage == "text":
        making.write(key, b"-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n-----END TSS2 PRIVATE KEY-----\n")

    with pytest.raises((UnreadableKeyError, TokenError), match=r"key\.pem"):
        signing_key(swtpm, key).sign(b"a message")


# Handles


@pytest.mark.parametrize("kind", ["ecc256", "ecc384", "rsa2048"])
def test_a_persistent_key_gets_credentials(machine: Machine, kind: str) -> None:
    parent = machine.tpm.parent(0x81000020)
    handle = machine.tpm.keep(parent, machine.tpm.create(parent, kind=kind), 0x81000021)
    leaf = machine.certificate_at(handle)

    assert got_credentials(machine.ask("handle:0x81000021", leaf))
    assert got_credentials(machine.ask("handle:81000021", leaf, "--no-cache", "--no-tpm-key-password"))
    assert machine.tpm.failures() == 0


@pytest.mark.promise(57)
@pytest.mark.parametrize("attributes", [SIGNING, NODA], ids=["counted", "noda"])
def test_a_persistent_key_with_a_password(machine: Machine, attributes: str) -> None:
    parent = machine.tpm.parent(0x81000022)
    handle = machine.tpm.keep(parent, machine.tpm.create(parent, "-p", PASSWORD, attributes=attributes), 0x81000023)
    leaf = machine.certificate_at(handle)
    counts = attributes == SIGNING

    missing = [machine.ask("handle:0x81000023", leaf) for _ in range(2)]
    assert ["--tpm-key-password-file" in finished.err for finished in missing] == [True, True]
    assert machine.tpm.failures() == counts, "whether it has none can only be tried"
    right = machine.secret(PASSWORD)
    assert got_credentials(machine.ask("handle:0x81000023", leaf, "--tpm-key-password-file", right))
    wrong = machine.secret(WRONG)
    for _ in range(2):
        finished = machine.ask("handle:0x81000023", leaf, "--no-cache", "--tpm-key-password-file", wrong)
        assert (finished.exit_code, "canary" in finished.err) == (1, False)
    assert machine.tpm.failures() == 2 * counts


def test_what_is_not_there_is_told(swtpm: Swtpm) -> None:
    with pytest.raises(ObjectNotFoundError, match="0x81000fff") as missing:
        signing_key(swtpm, "handle:0x81000fff")
    assert "tpm2_getcap handles-persistent" in missing.value.hint


@pytest.mark.parametrize(
    "handle", ["", "0x", "0x81", "0x80000001", "0x82000000", "x81000001", "-81000001", "8100 0001"]
)
def test_what_is_no_handle_is_refused_without_the_tpm(handle: str) -> None:
    with pytest.raises(UsageError, match="does not name a place in the TPM"):
        registry.load_signing_key(reference(f"handle:{handle}"), Access())


@pytest.mark.parametrize(
    ("attributes", "kind", "what"),
    [
        (f"{SIGNING}|restricted", "ecc256:ecdsa-sha256:null", "is restricted"),
        (SIGNING.replace("|sign", "|decrypt"), "ecc256", "no key for signing"),
        (SIGNING.replace("|userwithauth", ""), "ecc256", "bound to a policy"),
        (SIGNING, "rsa2048:rsapss-sha256:null", "does not know"),
        (SIGNING, "ecc224", "curve"),
    ],
    ids=["restricted", "decrypt only", "policy only", "PSS", "P-224"],
)
def test_a_key_that_does_not_sign_for_us_is_refused(swtpm: Swtpm, attributes: str, kind: str, what: str) -> None:
    parent = swtpm.parent(0x81000024)
    handle = swtpm.keep(parent, swtpm.create(parent, attributes=attributes, kind=kind), 0x81000025)

    with pytest.raises(UnsupportedKeyError, match=what) as refusal:
        signing_key(swtpm, f"handle:{handle:x}")
    assert refusal.value.hint


@pytest.mark.parametrize("kind", ["ecc256", "ecc521", "rsa2048", "rsa3072"])
@pytest.mark.parametrize("digest", ["SHA256", "SHA384", "SHA512"])
def test_openssl_verifies_every_digest(machine: Machine, kind: str, digest: str) -> None:
    parent = machine.tpm.parent(0x81000026)
    handle = machine.tpm.keep(parent, machine.tpm.create(parent, kind=kind), 0x81000027)
    key = signing_key(machine.tpm, f"handle:{handle:x}")
    message, signature, public = (machine.folder / name for name in ("message", "signature", "handle.pem"))
    message.write_bytes(b"a message")
    signature.write_bytes(key.sign(b"a message", digest))
    machine.certificate_at(handle)

    def verifies(claimed: str) -> bool:
        words = ("openssl", "dgst", f"-{claimed}", "-verify", public, "-signature", signature, message)
        return not machine.tpm.try_to_run(*words).returncode

    assert verifies(digest)
    assert not verifies("SHA224")


def test_a_key_that_knows_one_hash_says_so(swtpm: Swtpm) -> None:
    parent = swtpm.parent(0x81000028)
    handle = swtpm.keep(parent, swtpm.create(parent, kind="rsa2048:rsassa-sha256"), 0x81000029)
    key = signing_key(swtpm, f"handle:{handle:x}")

    assert key.sign(b"a message")
    with pytest.raises(InvalidParameterError, match="SHA384"):
        key.sign(b"a message", "SHA384")
    with pytest.raises(InvalidParameterError, match="SHA1"):
        key.sign(b"a message", "SHA1")


# Certificates


@pytest.mark.parametrize("form", [Encoding.DER, Encoding.PEM])
def test_the_certificate_may_lie_in_the_tpm(machine: Machine, form: Encoding) -> None:
    key = machine.tpm.genpkey("EC", "group:P-256")
    place = "handle:0x01500001"

    def store(serial: int) -> None:
        leaf = x509.load_pem_x509_certificate(machine.certificate_of(key, serial).read_bytes())
        stored = machine.folder / "stored"
        stored.write_bytes(leaf.public_bytes(form))
        machine.tpm.run("tpm2_nvwrite", "0x1500001", "-C", "o", "-i", stored)

    def shown() -> str:
        done = machine.run("read-certificate-data", "--certificate", place, env=machine.tpm.environment)
        return str(json.loads(done.out)["serialNumber"])

    machine.tpm.run("tpm2_nvdefine", "0x1500001", "-C", "o", "-s", "2048", "-a", "ownerwrite|authread|ownerread")
    empty = machine.ask(key, place)
    assert "cannot be read" in empty.err
    store(101)
    assert got_credentials(machine.ask(key, place))
    assert shown() == "101"
    store(102)
    assert got_credentials(machine.ask(key, place, "--no-cache"))
    assert shown() == "102", "a certificate that is replaced is found"
    machine.tpm.run("tpm2_nvundefine", "0x1500001", "-C", "o")
    with pytest.raises(ObjectNotFoundError, match="0x01500001"):
        registry.load_certificate(IdentityReference(place, str(key)), Access(environment=machine.tpm.environment))


# The TPM itself


def test_a_locked_tpm_says_what_to_do(machine: Machine) -> None:
    key = machine.tpm.genpkey("EC", "group:P-256", f"user-auth:{PASSWORD}")
    leaf = machine.certificate_of(key)
    machine.tpm.run("tpm2_dictionarylockout", "--setup-parameters", "--max-tries=1", "--recovery-time=1000")
    wrong = machine.ask(key, leaf, "--tpm-key-password-file", machine.secret(WRONG))
    assert wrong.exit_code == 1

    right = machine.secret(PASSWORD, "right")
    locked = machine.ask(key, leaf, "--tpm-key-password-file", right)
    assert (locked.exit_code, "is locked" in locked.err) == (1, True), locked.err
    assert "tpm2_dictionarylockout --clear-lockout" in locked.err
    machine.tpm.forgive()
    assert got_credentials(machine.ask(key, leaf, "--tpm-key-password-file", right)), "it was not judged"


def test_where_a_refusal_cannot_be_written_down_the_tpm_is_never_locked(swtpm: Swtpm) -> None:
    key = swtpm.genpkey("EC", "group:P-256", f"user-auth:{PASSWORD}")
    swtpm.run("tpm2_dictionarylockout", "--setup-parameters", "--max-tries=4", "--recovery-time=1000")

    for _ in range(6):
        with pytest.raises(Exception, match=r"refused|few attempts"):
            signing_key(swtpm, key, tpm_key_password=WRONG).sign(b"a message")
    assert swtpm.failures() == 2


def test_a_tpm_that_is_not_there_is_told(machine: Machine) -> None:
    key = machine.tpm.genpkey("EC", "group:P-256")
    leaf = machine.certificate_of(key)

    nowhere = machine.ask(key, leaf, env={"TPM2TOOLS_TCTI": "device:/dev/no-such-tpm"})
    assert (nowhere.exit_code, "/dev/no-such-tpm does not exist" in nowhere.err) == (1, True), nowhere.err
    deaf = machine.ask(key, leaf, env={"TPM2TOOLS_TCTI": "swtpm:host=127.0.0.1,port=1"})
    assert (deaf.exit_code, "cannot be reached" in deaf.err) == (1, True), deaf.err
    for finished in (nowhere, deaf):
        lines = finished.err.splitlines()
        assert [line.partition(":")[0] for line in lines] == ["error", "hint"], "the C libraries say nothing themselves"


@pytest.mark.parametrize(
    ("reason", "what"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "may not be opened by this user"),
        (OSError(errno.EBUSY, "Device or resource busy"), "is busy: Device or resource busy"),
        (OSError(errno.EIO, "Input/output error"), "cannot be reached: Input/output error"),
    ],
    ids=["no right", "busy", "broken"],
)
def test_a_device_that_cannot_be_opened_is_told(
    swtpm: Swtpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: OSError, what: str
) -> None:
    key = swtpm.genpkey("EC", "group:P-256")
    from rolesanywhere_helper.identity import tpm_session  # noqa: PLC0415 - needs the extra, as swtpm makes sure of

    monkeypatch.setattr(tpm_session, "why_unusable", lambda _path: reason)
    monkeypatch.setattr(tpm_session, "_BUSY_PAUSES", (0.0,))
    with pytest.raises(TokenError, match=what) as refusal:
        registry.load_signing_key(reference(key), Access(environment={"TCTI": f"device:{tmp_path}/nothing"})).key.sign(
            b""
        )
    assert refusal.value.hint


def test_a_tpm_that_is_full_is_asked_again(swtpm: Swtpm) -> None:
    for _ in range(3):
        swtpm.run("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", swtpm.folder / "full.ctx")
    from rolesanywhere_helper.identity import tpm_session  # noqa: PLC0415 - needs the extra, as swtpm makes sure of

    clock = FakeClock()
    with pytest.raises(TokenError, match="is busy"):
        tpm_session.in_conversation(swtpm.tcti, clock, lambda tpm: tpm.primary(OWNER, b"", rsa=False))
    assert clock.monotonic() > 1

    clock.while_asleep = swtpm.flush
    assert tpm_session.in_conversation(swtpm.tcti, clock, lambda tpm: tpm.primary(OWNER, b"", rsa=False))


def test_no_password_crosses_the_bus(tmp_path: Path, peer: Callable[[str], Path]) -> None:
    peer("swtpm")
    with running(tmp_path / "tpm", is_traced=True) as tpm:
        parent = tpm.parent(0x81000030, "-p", PARENT_PASSWORD)
        made = tpm.create(parent, "-P", PARENT_PASSWORD, "-p", PASSWORD)
        key = tpm.encode(parent, made, "-P", PARENT_PASSWORD, "-p")
        tpm.keep(parent, made, 0x81000031, "-P", PARENT_PASSWORD)
        assert tpm.was_heard(PASSWORD), "the tools send it as it is"
        tpm.forget_trace()

        both = {"tpm_key_password": PASSWORD, "tpm_parent_password": PARENT_PASSWORD}
        assert signing_key(tpm, key, **both).sign(b"a message")
        assert signing_key(tpm, "handle:81000031", tpm_key_password=PASSWORD).sign(b"a message")
        assert not tpm.was_heard(PASSWORD)
        assert not tpm.was_heard(PARENT_PASSWORD)
        assert tpm.left() == ""


def test_the_base_install_names_what_to_install(
    machine: Machine, debian_environment: Path, clean_environment: dict[str, str]
) -> None:
    key = machine.tpm.genpkey("EC", "group:P-256")
    command = [str(debian_environment / "bin" / "rolesanywhere-helper"), "sign-string", "--private-key"]

    for named in (str(key), "handle:0x81000001"):
        done = subprocess.run([*command, named], env=clean_environment, capture_output=True, check=False)
        assert done.returncode == 2
        assert b"pip install 'rolesanywhere-helper[tpm]'" in done.stderr


# The daemon


@pytest.mark.parametrize("place", ["file", "handle"])
def test_serve_survives_that_the_tpm_is_gone_for_a_while(
    machine: Machine, helper: Path, tmp_path: Path, place: str
) -> None:
    parent = machine.tpm.parent(0x81000040)
    made = machine.tpm.create(parent, "-p", PASSWORD)
    if place == "file":
        named = str(machine.tpm.encode(parent, made, "-p"))
        leaf = machine.certify(machine.tpm.public_of(parent, made))
    else:
        leaf = machine.certificate_at(machine.tpm.keep(parent, made, 0x81000041))
        named = "handle:0x81000041"
    daemon = Daemon(helper, tmp_path, machine.emulated)
    making.write(daemon.certificate, leaf.read_bytes())
    configured = daemon.config.read_text().replace(
        f'private-key = "{daemon.key}"',
        f'private-key = "{named}"\ntpm-key-password-file = "{machine.secret(PASSWORD)}"',
    )
    making.write(daemon.config, configured.encode())

    with owned(daemon):
        daemon.start(environment=machine.tpm.environment)
        first = daemon.access_key()
        machine.tpm.stop()
        daemon.send_attempt()
        until(lambda: daemon.error_code() == "token", what=daemon.log)
        assert daemon.access_key() == first, "what it has is served on"
        machine.tpm.start()
        daemon.send_attempt()
        until(lambda: daemon.access_key() != first, what=daemon.log)
        assert daemon.error_code() is None
    assert "canary" not in daemon.log


# New keys


@pytest.mark.parametrize("kind", ["ec", "ec-p384", "rsa"])
@pytest.mark.parametrize("password", [None, PASSWORD], ids=["no password", "password"])
def test_a_key_that_we_made_gets_credentials_and_openssl_can_use_it(
    kind: str, password: str | None, machine: Machine
) -> None:
    key = machine.folder / "made.key"
    ours = () if password is None else ("--password-file", machine.secret(password))
    flags = () if password is None else ("--tpm-key-password-file", machine.secret(password))
    made = machine.run("keygen", "--tpm", "--type", kind, "--out", key, *ours, env=machine.tpm.environment)
    assert made.exit_code == 0, made.err
    assert key.stat().st_mode & 0o777 == 0o600
    asked = machine.run("csr", "--private-key", key, "--subject", "/CN=tpm", *flags, env=machine.tpm.environment)
    assert x509.load_pem_x509_csr(asked.stdout).is_signature_valid
    leaf = machine.certificate_of(key)  # openssl reads the file

    assert got_credentials(machine.ask(key, leaf, *flags))
    machine.tpm.openssl("req", "-new", "-key", key, "-passin", f"pass:{password or ''}", "-subj", "/CN=tpm")
    if password is not None:
        assert machine.ask(key, leaf, "--no-cache").exit_code == 1


def test_a_new_keys_password_does_not_cross_the_bus(tmp_path: Path, run_helper: RunHelper, swtpm: Swtpm) -> None:
    del swtpm  # that there is such a program
    with running(tmp_path / "traced", is_traced=True) as traced:
        secret = making.write(tmp_path / "password", f"{PASSWORD}\n".encode())
        made = run_helper("keygen", "--tpm", "--out", "new.key", "--password-file", secret, env=traced.environment)
        assert made.exit_code == 0, made.err
        assert not traced.was_heard(PASSWORD)


def test_what_a_tpm_does_not_make(machine: Machine) -> None:
    done = machine.run("keygen", "--tpm", "--type", "ml-dsa-65", "--out", "a.key", env=machine.tpm.environment)
    assert done.exit_code == 1
    assert "makes no ML-DSA-65 key" in done.err
    assert not (machine.folder / "a.key").exists()
