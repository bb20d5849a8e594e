"""Keys and certificates in PKCS#11 tokens: real ones in software (SoftHSM2), filled with OpenSC's ``pkcs11-tool``."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_helper.pki.certificates import CertificateAuthority, Issued, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.fakes.daemon import Daemon, owned, replace_file, until
from tests.fakes.soft_token import PIN, SO_PIN, SoftTokens, Spy, module
from tests.fakes.terminal import at_a_terminal
from tests.unit.identity import making

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Finished, RunHelper
    from tests.plugins.emulated import Emulated

WRONG = "canary-that-is-wrong"
TOKEN = "pkcs11:token=host"
LEAF = f"{TOKEN};object=host;type=cert"
KEY = f"{TOKEN};id=%01;type=private"


@dataclass(frozen=True)
class Machine:
    """A computer with tokens, and an emulator whose CA trusts what is in them."""

    held: SoftTokens
    emulated: Emulated
    run: RunHelper
    folder: Path

    @property
    def authority(self) -> CertificateAuthority:
        ca = Path(self.emulated.certificate).parent
        return CertificateAuthority.from_pem((ca / "ca.pem").read_bytes(), (ca / "ca.key").read_bytes())

    def issue(self, kind: KeyKind = KeyKind.P_256, subject: str = "token", days: int = 3) -> Issued:
        return self.authority.issue(LeafRequest(Validity.days(time.time(), days), (("CN", subject),), kind))

    def fill(self, issued: Issued, into: str = "host", object_id: str = "01", label: str = "host") -> None:
        """Put a certificate and its key into a token."""
        key = making.write(self.folder / "made.key", issued.key_pem())
        self.held.put_key_file(into, key, object_id=object_id, label=label)
        self.put(issued, into, object_id, label)
        Path(key).unlink()

    def put(self, issued: Issued, into: str = "host", object_id: str = "01", label: str = "host") -> None:
        """Put a certificate alone into a token."""
        certificate = x509.load_pem_x509_certificate(issued.pem)
        self.held.put_certificate(into, certificate, object_id=object_id, label=label)

    def pin_file(self, pin: str = PIN) -> Path:
        path = self.folder / "token.pin"
        replace_file(path, f"{pin}\n".encode())
        return path

    def ask(
        self, certificate: str = LEAF, key: str = KEY, *flags: str | Path, env: dict[str, str] | None = None
    ) -> Finished:
        """Ask for credentials; an empty reference is not given."""
        words = self.emulated.flags(certificate=certificate, private_key=key)
        given = [word for name, value in zip(words[::2], words[1::2], strict=True) if value for word in (name, value)]
        return self.run("credential-process", *given, *flags, env={**self.held.environment, **(env or {})})

    def read(self, uri: str, *flags: str | Path) -> Finished:
        return self.run("read-certificate-data", "--certificate", uri, *flags, env=self.held.environment)


@pytest.fixture
def machine(peer: Callable[[str], Path], emulated: Emulated, run_helper: RunHelper, tmp_path: Path) -> Machine:
    for package in ("softhsm2", "opensc", "p11-kit", "p11-kit-modules"):
        peer(package)
    held = SoftTokens.make(tmp_path / "softhsm")
    held.add("host")
    return Machine(held, emulated, run_helper, tmp_path)


@pytest.fixture
def filled(machine: Machine) -> Machine:
    machine.fill(machine.issue())
    return machine


@pytest.fixture
def spy(machine: Machine) -> Spy:
    return Spy(machine.folder / "spy.log")


def got_credentials(finished: Finished) -> bool:
    return finished.exit_code == 0 and "SessionToken" in json.loads(finished.out)


def without_pins(machine: Machine, *finished: Finished) -> bool:
    """Tell whether neither what was said nor any file but the PIN's own has a PIN."""
    said = b"".join(each.stdout + each.stderr for each in finished)
    files = [
        path.read_bytes()
        for path in machine.folder.rglob("*")
        if path.is_file()
        and path.suffix != ".pin"
        and path.name != "spy.log"
        and not path.is_relative_to(machine.held.folder)
    ]
    return not any(secret.encode() in text for text in (said, *files) for secret in (PIN, WRONG, SO_PIN))


# What is named


@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.RSA_4096, KeyKind.P_256, KeyKind.P_384, KeyKind.P_521])
def test_a_key_in_a_token_gets_credentials(kind: KeyKind, machine: Machine) -> None:
    machine.fill(machine.issue(kind))
    found = machine.ask(LEAF, KEY, "--pkcs11-pin-file", machine.pin_file())
    assert got_credentials(found), found.err
    assert found.err == ""
    assert without_pins(machine, found)


@pytest.mark.parametrize("key_type", ["rsa:3072", "EC:prime256v1"])
def test_a_key_that_never_was_elsewhere_gets_credentials(key_type: str, machine: Machine) -> None:
    machine.held.generate("host", key_type)
    public = machine.folder / "public.der"
    machine.held.tool("--token-label", "host", "--read-object", "--type", "pubkey", "--id", "01", "-o", str(public))
    leaf = certify(machine, public)
    found = machine.ask(str(leaf), KEY, "--pkcs11-pin-file", machine.pin_file())
    assert got_credentials(found), found.err


def certify(machine: Machine, public: Path) -> Path:
    """Let openssl issue a leaf for a public key (DER)."""
    leaf, extensions = machine.folder / "leaf.pem", machine.folder / "leaf.cnf"
    extensions.write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n")
    ca = Path(machine.emulated.certificate).parent
    command = ["openssl", "x509", "-new", "-subj", "/CN=token", "-force_pubkey", public, "-set_serial", "77"]
    command += ["-CA", ca / "ca.pem", "-CAkey", ca / "ca.key", "-days", "3", "-extfile", extensions, "-out", leaf]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return leaf


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        (LEAF, ""),
        (TOKEN, ""),
        ("pkcs11:", ""),
        (f"{TOKEN};id=%01", ""),
        ("", KEY),
        ("", f"{TOKEN};object=host"),
        ("", "pkcs11:"),
        ("pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;object=host", KEY),
    ],
)
def test_one_of_the_two_is_enough(certificate: str, key: str, filled: Machine) -> None:
    found = filled.ask(certificate, key, "--pkcs11-pin-file", filled.pin_file())
    assert got_credentials(found), found.err


def test_certificate_and_key_may_lie_apart(machine: Machine) -> None:
    issued = machine.issue()
    certificate = making.write(machine.folder / "leaf.pem", issued.pem)
    key = making.write(machine.folder / "leaf.key", issued.key_pem())
    machine.fill(issued)
    pin = machine.pin_file()
    assert got_credentials(machine.ask(certificate, KEY, "--no-cache", "--pkcs11-pin-file", pin))
    without_pin = machine.ask(LEAF, key, "--no-cache")
    assert got_credentials(without_pin), without_pin.err


@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.P_256])
def test_a_key_without_public_half_is_known_by_what_it_signs(kind: KeyKind, machine: Machine) -> None:
    issued, other = machine.issue(kind), machine.issue(kind, "other")
    machine.fill(issued)
    machine.put(other, object_id="02", label="other")
    pin = machine.pin_file()
    assert got_credentials(machine.ask("", KEY, "--pkcs11-pin-file", pin))
    mismatch = machine.ask(f"{TOKEN};object=other", KEY, "--pkcs11-pin-file", pin)
    assert mismatch.exit_code == 1
    assert "does not belong to the certificate CN=other" in mismatch.err


def test_the_intermediates_of_a_token_are_sent_along(machine: Machine) -> None:
    root = making.Authority.root()
    lower = root.intermediate("Lower")
    key = making.ec_key()
    machine.held.put_key("host", key)
    machine.held.put_certificate("host", lower.issue(key))
    machine.held.put_certificate("host", lower.certificate, object_id="09", label="Lower")
    done = subprocess.run(
        [sys.executable, "-c", _CHAIN, LEAF, KEY, PIN, str(making.NOW)],
        env={"PATH": "/usr/bin:/bin", **machine.held.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "CN=Lower\n", done.stderr


_CHAIN = """
import sys
from cryptography import x509
from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource
from rolesanywhere_helper.identity import registry
certificate, key, pin, now = sys.argv[1:]
named = IdentityReference(certificate, key, secrets=(("pkcs11-pin", SecretSource(text=pin)),))
for each in registry.load(named, now=int(now)).identity.chain_der:
    print(x509.load_der_x509_certificate(each).subject.rfc4514_string())
"""


def test_what_is_signed_verifies(filled: Machine) -> None:
    words = ("--private-key", KEY, "--pkcs11-pin-file", filled.pin_file(), "--digest", "SHA384")
    signed = filled.run("sign-string", *words, env=filled.held.environment)
    assert signed.exit_code == 0, signed.err
    assert len(json.loads(signed.out)) > 64


# Which of several


def test_several_identities_are_told_apart_by_their_uris(filled: Machine) -> None:
    filled.fill(filled.issue(subject="second"), object_id="02", label="second")
    pin = filled.pin_file()
    refused = filled.ask(TOKEN, "", "--no-cache", "--pkcs11-pin-file", pin)
    assert refused.exit_code == 1
    assert "more than one identity" in refused.err
    uris = [word.rstrip(",") for word in refused.err.split() if word.startswith("pkcs11:") and "type=cert" in word]
    assert len(uris) == 2, refused.err
    for uri in uris:
        assert got_credentials(filled.ask(uri, "", "--no-cache", "--pkcs11-pin-file", pin))


def test_the_one_that_is_valid_longest_may_be_asked_for(filled: Machine) -> None:
    filled.fill(filled.issue(subject="second", days=9), object_id="02", label="second")
    words = ("--use-latest-expiring-certificate", "--no-cache", "--pkcs11-pin-file", filled.pin_file())
    found = filled.ask(TOKEN, "", *words)
    assert got_credentials(found), found.err


def test_no_pin_is_given_where_two_tokens_fit(filled: Machine, spy: Spy) -> None:
    filled.held.add("second")
    filled.fill(filled.issue(), into="second")
    words = ("--pkcs11-lib", spy.module, "--pkcs11-pin-file", filled.pin_file())
    refused = filled.ask("", "pkcs11:object=host", *words, env=dict(spy.environment))
    assert "more than one token" in refused.err
    assert "token=second" in refused.err
    assert "token=host" in refused.err
    assert spy.logins() == 0


def test_what_is_there_is_listed_where_nothing_fits(filled: Machine) -> None:
    refused = filled.ask(f"{TOKEN};object=nobody", "", "--pkcs11-pin-file", filled.pin_file())
    assert refused.exit_code == 1
    assert "no certificate fits" in refused.err
    assert "object=host;type=cert" in refused.err
    no_key = filled.ask(LEAF, f"{TOKEN};object=nobody", "--pkcs11-pin-file", filled.pin_file())
    assert "no private key fits" in no_key.err
    assert "object=host;type=private" in no_key.err
    no_token = filled.ask("pkcs11:token=nobody", "")
    assert "no token fits pkcs11:token=nobody" in no_token.err


# What is in the tokens


def test_one_certificate_is_shown_as_the_official_helper_does(filled: Machine) -> None:
    shown = filled.read(LEAF)
    assert shown.exit_code == 0, shown.err
    assert list(json.loads(shown.out)) == ["keyType", "certificateData", "serialNumber", "supportedAlgorithms"]
    assert json.loads(shown.out)["keyType"] == "EC"


def test_several_certificates_are_listed_with_their_uris(filled: Machine) -> None:
    second = filled.issue(KeyKind.RSA_2048, "second")
    filled.fill(second, object_id="02", label="a second; one")
    shown = filled.read("pkcs11:")
    assert shown.exit_code == 0, shown.err
    listed = json.loads(shown.out)["certificates"]
    assert [(each["subject"], each["keyType"]) for each in listed] == [("CN=token", "EC"), ("CN=second", "RSA")]
    assert "object=a%20second%3B%20one" in listed[1]["uri"]
    assert base64.b64decode(listed[1]["certificateData"]) == x509.load_pem_x509_certificate(second.pem).public_bytes(
        Encoding.DER
    )
    alone = filled.read(listed[1]["uri"])
    assert json.loads(alone.out)["certificateData"] == listed[1]["certificateData"]


def test_p11tool_understands_the_uris(filled: Machine, peer: Callable[[str], Path]) -> None:
    filled.put(filled.issue(subject="second"), object_id="02", label="a second; one")
    for each in json.loads(filled.read("pkcs11:").out)["certificates"]:
        done = subprocess.run(
            [peer("gnutls-bin"), "--list-all-certs", each["uri"]],
            env={"PATH": "/usr/bin:/bin", **filled.held.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.count("Object ") == 1, (each["uri"], done.stdout)


# The PIN


def pin_ways(machine: Machine) -> Iterator[tuple[str, str, tuple[str, ...], dict[str, str]]]:
    path = machine.pin_file()
    yield f"{LEAF}?pin-source=file:{path}", "", (), {}
    yield LEAF, f"{KEY}?pin-source={path}", (), {}
    yield LEAF, f"{KEY}?pin-source=command:cat%20{path}", (), {}
    yield LEAF, KEY, ("--pkcs11-pin-file", str(path)), {}
    yield LEAF, KEY, ("--pkcs11-pin-file", "env:TOKEN_PIN"), {"TOKEN_PIN": PIN}
    yield LEAF, KEY, ("--pkcs11-pin-file", "credential:token.pin"), {"CREDENTIALS_DIRECTORY": str(path.parent)}
    yield LEAF, KEY, (), {"ROLESANYWHERE_HELPER_PKCS11_PIN": PIN}


def test_the_pin_comes_from_where_it_is_said(filled: Machine) -> None:
    for certificate, key, flags, variables in pin_ways(filled):
        found = filled.ask(certificate, key, "--no-cache", *flags, env=variables)
        assert got_credentials(found), (certificate, flags, found.err)
        assert found.err == ""
        assert without_pins(filled, found)


def test_a_pin_on_the_command_line_is_warned_of(filled: Machine) -> None:
    for key, flags in ((f"{KEY}?pin-value={PIN}", ()), (KEY, ("--pkcs11-pin", PIN))):
        log = filled.folder / "warned.log"
        found = filled.ask(LEAF, key, "--no-cache", "--debug", "--log-file", log, *flags)
        assert got_credentials(found), found.err
        assert found.err == "", "an SDK may read both streams as one"
        assert "every user of this machine can read a command line" in log.read_text()
        log.unlink()
        assert without_pins(filled, found)


def test_who_has_no_pin_is_told_how_to_give_one(filled: Machine, spy: Spy) -> None:
    refused = filled.ask(LEAF, KEY, "--pkcs11-lib", spy.module, env=dict(spy.environment))
    assert refused.exit_code == 1
    assert "--pkcs11-pin-file FILE" in refused.err
    assert spy.logins() == 0


def test_somebody_at_a_terminal_is_asked(filled: Machine, helper: Path, clean_environment: dict[str, str]) -> None:
    words: list[str | Path] = [
        helper,
        "credential-process",
        *filled.emulated.flags(certificate=LEAF, private_key=KEY),
        "--no-cache",
    ]
    environment = clean_environment | filled.held.environment
    for typed, code in ((WRONG, 1), (WRONG, 1), (PIN, 0)):  # who types a PIN again means it to be tried
        with at_a_terminal(words, environment, filled.folder) as asked:
            asked.terminal.wait_for("PIN of the token: ")
            asked.terminal.type(f"{typed}\n")
            assert asked.finish()[0] == code
            assert typed.encode() not in asked.terminal.shown


# Keys that ask before every signature


def test_a_key_that_asks_each_time_needs_the_word_to_be_given_it(machine: Machine) -> None:
    machine.held.generate("host", "EC:prime256v1", "--always-auth")
    public = machine.folder / "public.der"
    machine.held.tool("--token-label", "host", "--read-object", "--type", "pubkey", "--id", "01", "-o", str(public))
    leaf, pin = str(certify(machine, public)), machine.pin_file()
    refused = machine.ask(leaf, KEY, "--pkcs11-pin-file", pin)
    assert refused.exit_code == 1
    assert "--reuse-pin" in refused.err
    found = machine.ask(leaf, KEY, "--pkcs11-pin-file", pin, "--reuse-pin")
    assert got_credentials(found), found.err
    assert without_pins(machine, refused, found)


def test_somebody_at_a_terminal_is_asked_again(
    machine: Machine, helper: Path, clean_environment: dict[str, str]
) -> None:
    machine.held.generate("host", "EC:prime256v1", "--always-auth")
    public = machine.folder / "public.der"
    machine.held.tool("--token-label", "host", "--read-object", "--type", "pubkey", "--id", "01", "-o", str(public))
    flags = machine.emulated.flags(certificate=str(certify(machine, public)), private_key=KEY)
    with at_a_terminal(
        [helper, "credential-process", *flags], clean_environment | machine.held.environment, machine.folder
    ) as asked:
        asked.terminal.wait_for("PIN of the token: ")
        asked.terminal.type(f"{PIN}\n")
        asked.terminal.wait_for("for the signature")
        asked.terminal.type(f"{PIN}\n")
        assert asked.finish()[0] == 0


# A wrong PIN


@pytest.mark.promise(57)
def test_a_wrong_pin_is_tried_once_by_ten_processes_and_a_daemon_that_is_restarted(
    filled: Machine, spy: Spy, helper: Path, clean_environment: dict[str, str]
) -> None:
    pin = filled.pin_file(WRONG)
    variables = {**spy.environment, **filled.held.environment, **clean_environment}

    def ask(_: int) -> Finished:
        return filled.ask(LEAF, KEY, "--pkcs11-lib", spy.module, "--pkcs11-pin-file", pin, env=variables)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(10)))
    assert {each.exit_code for each in answers} == {1}
    assert spy.logins() == 1
    assert "user PIN count low" in filled.held.token_info()

    with owned(token_daemon(filled, helper, f'pkcs11-lib = "{spy.module}"')) as daemon:
        daemon.environment |= {**filled.held.environment, **spy.environment}
        for _ in range(2):
            daemon.start(wait=False)
            until(lambda: "was refused before" in daemon.log)
            daemon.stop()
            daemon.age_cache(0)  # and no attempt was made a moment ago
        assert spy.logins() == 1
        assert WRONG not in daemon.log

        daemon.start(wait=False)
        until(lambda: "was refused before" in daemon.log)
        filled.pin_file()  # corrected: it is tried at once
        daemon.await_ready()
        assert daemon.access_key()
    assert spy.logins() == 2
    assert without_pins(filled, *answers)


@pytest.mark.promise(57)
def test_a_pin_that_is_no_file_is_tried_once_and_again_when_it_is_another(filled: Machine, spy: Spy) -> None:
    def ask(pin: str) -> Finished:
        words = ("--pkcs11-lib", spy.module, "--pkcs11-pin-file", "env:TOKEN_PIN")
        return filled.ask(LEAF, KEY, *words, env={**spy.environment, "TOKEN_PIN": pin})

    first, second = ask(WRONG), ask(WRONG)
    assert "refused the PIN" in first.err
    assert "was refused before" in second.err
    assert spy.logins() == 1
    assert got_credentials(ask(PIN))
    assert spy.logins() == 2
    assert without_pins(filled, first, second)


@pytest.mark.promise(57)
def test_a_credential_that_a_service_manager_makes_anew_is_not_another_pin(filled: Machine, spy: Spy) -> None:
    words = ("--pkcs11-lib", spy.module, "--pkcs11-pin-file")
    for number, name in enumerate(("credential:token.pin", "credential:token.pin", "{}/token.pin")):
        directory = filled.folder / f"credentials-{number}"
        directory.mkdir()
        making.write(directory / "token.pin", WRONG.encode())
        variables = {**spy.environment, "CREDENTIALS_DIRECTORY": str(directory)}
        assert filled.ask(LEAF, KEY, *words, name.format(directory), env=variables).exit_code == 1
    assert spy.logins() == 1


@pytest.mark.promise(57)
def test_another_token_is_another_chance(filled: Machine, spy: Spy) -> None:
    pin = filled.pin_file(WRONG)
    words = ("--pkcs11-lib", spy.module, "--pkcs11-pin-file", pin)
    for _ in range(2):
        assert filled.ask(LEAF, KEY, *words, env=dict(spy.environment)).exit_code == 1
    shutil.rmtree(filled.held.tokens)
    filled.held.tokens.mkdir()
    filled.held.add("host")  # with another serial number
    filled.fill(filled.issue())
    assert spy.logins() == 1
    assert filled.ask(LEAF, KEY, *words, env=dict(spy.environment)).exit_code == 1
    assert spy.logins() == 2


@pytest.mark.promise(57)
def test_where_nothing_can_be_written_a_low_count_keeps_a_stored_pin_back(filled: Machine, spy: Spy) -> None:
    nowhere = making.write(filled.folder / "no-directory", b"")
    variables = {**spy.environment, "ROLESANYWHERE_HELPER_CACHE_DIR": nowhere}

    def ask(pin: Path) -> Finished:
        return filled.ask(LEAF, KEY, "--pkcs11-lib", spy.module, "--pkcs11-pin-file", pin, env=variables)

    assert got_credentials(ask(filled.pin_file()))  # the count is not low: it is tried
    assert spy.logins() == 1
    assert "refused the PIN" in ask(filled.pin_file(WRONG)).err
    assert spy.logins() == 2
    for pin in (WRONG, PIN):
        refused = ask(filled.pin_file(pin))
        assert "few attempts with a PIN are left" in refused.err
    assert spy.logins() == 2


# Tokens that come and go


def token_daemon(machine: Machine, helper: Path, *lines: str) -> Daemon:
    """Return a daemon whose identity is in the token, with the PIN in the file of :meth:`Machine.pin_file`."""
    daemon = Daemon(helper, machine.folder, machine.emulated)
    text = daemon.config.read_text()
    text = text.replace(f'certificate = "{daemon.certificate}"', f'certificate = "{LEAF}"')
    nudge(machine)
    own = (f'pkcs11-pin-file = "{machine.folder / "token.pin"}"', f'intermediates = "{machine.folder / "above.pem"}"')
    more = "\n".join((*own, *lines))
    text = text.replace(f'private-key = "{daemon.key}"', f'private-key = "{KEY}"\n{more}')
    making.write(daemon.config, text.encode())
    daemon.environment |= machine.held.environment
    return daemon


def nudge(machine: Machine) -> None:
    """Let a daemon believe that something of its identity is new: it tries at once."""
    ca = Path(machine.emulated.certificate).parent / "ca.pem"
    replace_file(machine.folder / "above.pem", ca.read_bytes() + f"# {time.monotonic_ns()}\n".encode())


@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.P_256])
def test_serve_goes_on_when_its_token_is_taken_out_and_comes_back(
    kind: KeyKind, machine: Machine, helper: Path
) -> None:
    machine.fill(machine.issue(kind))
    machine.pin_file()
    with owned(token_daemon(machine, helper)) as daemon:
        daemon.start()
        first = daemon.access_key()
        machine.held.take_out()
        nudge(machine)
        until(lambda: daemon.error_code() == "token", what=daemon.log)
        assert daemon.access_key() == first, "what it has is served on"
        machine.held.put_back()
        nudge(machine)
        until(lambda: daemon.access_key() != first, what=daemon.log)
        assert daemon.error_code() is None
        assert "canary" not in daemon.log
    assert without_pins(machine)


@pytest.mark.promise(56)
def test_serve_takes_up_a_certificate_that_is_replaced_in_the_token(filled: Machine, helper: Path) -> None:
    filled.pin_file()
    with owned(token_daemon(filled, helper)) as daemon:
        daemon.start()
        first = daemon.access_key()
        filled.held.remove("host", "cert")
        filled.held.remove("host", "privkey")
        renewed = filled.issue(KeyKind.RSA_2048, "renewed", days=9)
        filled.fill(renewed)
        nudge(filled)
        until(lambda: daemon.access_key() != first, what=daemon.log)
    serials = [call["serial"] for call in filled.emulated.create_session_calls()]
    assert serials[-1] in {str(renewed.certificate.serial_number), f"{renewed.certificate.serial_number:x}"}
    assert serials[0] != serials[-1]


# What may not be loaded


@pytest.mark.promise(81)
def test_a_library_that_others_may_write_is_refused(filled: Machine) -> None:
    copy = filled.folder / "lib.so"
    shutil.copy(os.path.realpath(module()), copy)
    copy.chmod(0o777)
    pin = filled.pin_file()
    for certificate, flags in ((LEAF, ("--pkcs11-lib", str(copy))), (f"{LEAF}?module-path={copy}", ())):
        refused = filled.ask(certificate, "", "--pkcs11-pin-file", pin, *flags)
        assert refused.exit_code == 1
        assert "the PKCS#11 library" in refused.err
        assert "chmod go-w" in refused.err
    copy.chmod(0o755)
    assert got_credentials(filled.ask(LEAF, "", "--pkcs11-pin-file", pin, "--pkcs11-lib", copy))


def test_what_is_no_library_is_named(filled: Machine) -> None:
    text = making.write(filled.folder / "text.so", b"no library")
    assert "cannot be loaded" in filled.ask(LEAF, KEY, "--pkcs11-lib", text).err
    assert "cannot be read" in filled.ask(LEAF, KEY, "--pkcs11-lib", f"{text}.not").err
    assert "no PKCS#11 library called 'nothing'" in filled.ask(f"{LEAF}?module-name=nothing", "").err


def test_a_library_may_be_named_by_its_name(filled: Machine) -> None:
    found = filled.ask(f"{LEAF}?module-name=SoftHSM2", "", "--pkcs11-pin-file", filled.pin_file())
    assert got_credentials(found), found.err
    wrong = filled.ask("pkcs11:library-description=Other?module-name=softhsm2", "")
    assert "is not the library that the PKCS#11 URI names" in wrong.err
    hidden = filled.ask("pkcs11:library-description=Other", "")
    assert "p11-kit's proxy hides" in hidden.err


_WITHOUT_LIBRARY = """
import sys
sys.modules["pkcs11"] = None
from rolesanywhere_helper.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_the_extra_the_line_that_installs_it_is_said(clean_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_LIBRARY, "read-certificate-data", "--certificate", "pkcs11:"],
        env=clean_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'rolesanywhere-helper[pkcs11]'" in done.stderr


def test_a_bad_uri_is_refused_without_its_pin(machine: Machine) -> None:
    refused = machine.ask(f"pkcs11:token=host;pin-value={PIN}", "", "--debug")
    assert refused.exit_code == 2
    assert "pin-value=" in refused.err
    assert without_pins(machine, refused)


# New keys


@pytest.mark.parametrize("kind", ["ec", "ec-p384", "rsa"])
def test_a_key_is_made_in_the_token_and_its_request_becomes_an_identity(kind: str, machine: Machine) -> None:
    pin = ("--pkcs11-pin-file", machine.pin_file())
    made = machine.run("keygen", "--type", kind, "--out", f"{TOKEN};object=new", *pin, env=machine.held.environment)
    assert made.exit_code == 0, made.err
    uri = f"{TOKEN};object=new;type=private"
    asked = machine.run("csr", "--private-key", uri, "--subject", "/CN=from-token", *pin, env=machine.held.environment)
    request = x509.load_pem_x509_csr(asked.stdout)
    assert request.is_signature_valid
    leaf = making.as_requested(request, machine.authority)
    certificate = making.write(machine.folder / "leaf.pem", making.pem(leaf))

    assert got_credentials(machine.ask(certificate, uri, *pin))
    again = machine.run("keygen", "--out", f"{TOKEN};object=new", *pin, env=machine.held.environment)
    assert again.exit_code == 1
    assert "a key of this name already" in again.err
    wrong = machine.run(
        *("keygen", "--out", f"{TOKEN};object=other", "--pkcs11-pin-file", machine.pin_file(WRONG)),
        env=machine.held.environment,
    )
    assert wrong.exit_code == 1
    assert "refused the PIN" in wrong.err


def test_a_key_made_in_a_token_never_leaves_it(machine: Machine) -> None:
    pin = ("--pkcs11-pin-file", machine.pin_file())
    machine.run("keygen", "--out", f"{TOKEN};object=new", *pin, env=machine.held.environment)
    listed = subprocess.run(
        ["pkcs11-tool", "--module", module(), "--token-label", "host", "--login", "--pin", PIN, "--list-objects"],
        env={"PATH": "/usr/bin:/bin", **machine.held.environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    private = listed[listed.index("Private Key Object") :]

    assert "never extractable" in private
    assert "Usage:      sign\n" in private
