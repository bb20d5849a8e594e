"""Passphrases from outside: where they may come from, who is asked, and where they must never be seen."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from rolesanywhere_helper.pki.keys import KeyFormat, KeyKind
from tests.fakes.daemon import Daemon, owned, until
from tests.fakes.terminal import a_terminal, at_a_terminal
from tests.plugins.emulated import openssl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Finished, RunHelper
    from tests.fakes.terminal import Terminal
    from tests.plugins.emulated import Emulated

CANARY = "canary-sésame-4711"
PROMPT = "Passphrase of the private key: "


class Keys(NamedTuple):
    """The emulator's client key, encrypted, and the flags for all but its passphrase."""

    flags: list[str]
    folder: Path


@pytest.fixture
def keys(emulated: Emulated, tmp_path: Path) -> Keys:
    key = tmp_path / "encrypted.key"
    encrypt(Path(emulated.private_key), key)
    return Keys([*emulated.flags(private_key=str(key)), "--no-cache"], tmp_path)


def encrypt(source: Path, target: Path) -> None:
    openssl("pkcs8", "-topk8", "-in", source, "-out", target, "-passout", f"pass:{CANARY}")
    target.chmod(0o600)


def written(path: Path, content: str = CANARY + "\n") -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


def is_document(output: bytes) -> bool:
    return "SecretAccessKey" in json.loads(output)


def assert_unseen(*texts: bytes | str) -> None:
    for text in texts:
        shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
        for form in (CANARY, ascii(CANARY)[1:-1], json.dumps(CANARY)[1:-1]):
            assert form not in shown


def assert_refused_unseen(done: Finished, code: int, words: str) -> None:
    assert (done.exit_code, done.stdout) == (code, b"")
    assert words in done.err
    assert_unseen(done.stderr)


# Where they may come from


@pytest.mark.parametrize("source", ["file", "credential", "command"])
def test_a_passphrase_is_read_from_where_it_is_said_to_be(run_helper: RunHelper, keys: Keys, source: str) -> None:
    file = written(keys.folder / "passphrase")
    place = {"file": str(file), "credential": "credential:passphrase", "command": f"command:cat '{file}'"}[source]
    variables = {"CREDENTIALS_DIRECTORY": str(keys.folder)}

    done = run_helper("credential-process", *keys.flags, "--pkcs8-password-file", place, env=variables)
    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)

    written(file, "wrong\n")
    done = run_helper("credential-process", *keys.flags, "--pkcs8-password-file", place, env=variables)
    assert_refused_unseen(done, 1, "the passphrase does not open the private key")


def test_a_passphrase_may_stand_in_a_variable(run_helper: RunHelper, keys: Keys) -> None:
    for words in (["--pkcs8-password-file", "env:KEY_PASSPHRASE"], ["--pkcs8-password", "env:KEY_PASSPHRASE"]):
        done = run_helper("credential-process", *keys.flags, *words, env={"KEY_PASSPHRASE": CANARY})
        assert (done.exit_code, done.stderr) == (0, b"")
        assert is_document(done.stdout)
        done = run_helper("credential-process", *keys.flags, *words, env={"KEY_PASSPHRASE": "wrong"})
        assert_refused_unseen(done, 1, "the passphrase does not open the private key")
        done = run_helper("credential-process", *keys.flags, *words)
        assert_refused_unseen(done, 2, "the variable 'KEY_PASSPHRASE' is not set")


def test_a_passphrase_may_come_through_a_descriptor(
    helper: Path, clean_environment: dict[str, str], keys: Keys
) -> None:
    file = written(keys.folder / "passphrase")
    with file.open("rb") as opened:
        number = opened.fileno()
        command = [str(helper), "credential-process", *keys.flags, "--pkcs8-password-file", f"fd:{number}"]
        done = subprocess.run(command, env=clean_environment, pass_fds=(number,), capture_output=True, check=True)
    assert is_document(done.stdout)
    assert done.stderr == b""


def test_the_configuration_file_may_name_it(run_helper: RunHelper, emulated: Emulated, keys: Keys) -> None:
    file = written(keys.folder / "passphrase")
    text = Path(emulated.announcement["config"]).read_text()
    lines = f'private-key = "{keys.folder}/encrypted.key"\npkcs8-password-file = "{file}"'
    config = written(keys.folder / "config.toml", text.replace(f'private-key = "{emulated.private_key}"', lines))
    done = run_helper("credential-process", "--config", config, "--no-cache")
    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)


@pytest.mark.promise(72)
def test_a_passphrase_on_the_command_line_works_with_a_warning_that_no_client_reads(
    run_helper: RunHelper, keys: Keys, emulated: Emulated
) -> None:
    done = run_helper("credential-process", *keys.flags, "--pkcs8-password", CANARY)
    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)

    emulated.emulator.set_fault(status=403)
    done = run_helper("credential-process", *keys.flags, "--pkcs8-password", CANARY, "--debug")
    assert_refused_unseen(done, 1, "--pkcs8-password: every user of this machine can read a command line")
    assert "use --pkcs8-password-file" in done.err
    emulated.emulator.clear_faults()

    file = keys.folder / "log"
    done = run_helper("credential-process", *keys.flags, "--pkcs8-password", CANARY, "--debug", "--log-file", file)
    assert (done.exit_code, done.stderr) == (0, b"")
    assert "every user of this machine can read a command line" in file.read_text()
    assert_unseen(file.read_text())


def test_without_a_passphrase_and_a_terminal_the_error_says_what_to_give(run_helper: RunHelper, keys: Keys) -> None:
    done = run_helper("credential-process", *keys.flags)
    assert_refused_unseen(done, 1, "encrypted.key is encrypted")
    assert "--pkcs8-password-file FILE" in done.err


def test_a_key_that_needs_none_is_used_with_a_warning(run_helper: RunHelper, keys: Keys, emulated: Emulated) -> None:
    words = [*emulated.flags(), "--no-cache", "--pkcs8-password-file", str(written(keys.folder / "passphrase"))]
    log = keys.folder / "log"
    done = run_helper("credential-process", *words, "--log-file", log)
    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)
    assert "the private key is not encrypted" in log.read_text()


def test_a_signature_is_made_with_an_encrypted_key(run_helper: RunHelper, keys: Keys) -> None:
    words = ("sign-string", "--private-key", keys.folder / "encrypted.key", "--format", "text")
    done = run_helper(*words, "--pkcs8-password-file", written(keys.folder / "passphrase"))
    assert done.exit_code == 0
    assert int(done.out, 16)
    assert_refused_unseen(run_helper(*words), 1, "is encrypted")


# PKCS#12 and ML-DSA


def test_pkcs12_needs_no_other_flag_than_its_password(run_helper: RunHelper, keys: Keys, emulated: Emulated) -> None:
    file = keys.folder / "host.p12"
    words = ("pkcs12", "-export", "-in", emulated.certificate, "-inkey", emulated.private_key, "-out", file)
    openssl(*words, "-passout", f"pass:{CANARY}")
    file.chmod(0o600)
    flags = emulated.flags(certificate=str(file))
    without_key = [word for word in flags if word not in {"--private-key", emulated.private_key}]
    secret = ("--pkcs12-password-file", written(keys.folder / "password"))

    done = run_helper("credential-process", *without_key, *secret, "--no-cache")
    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)
    done = run_helper("read-certificate-data", "--certificate", file, *secret)
    assert done.stdout == run_helper("read-certificate-data", "--certificate", emulated.certificate).stdout

    other = file.rename(keys.folder / "host.bin")  # a name that says nothing: it is named twice then
    named = emulated.flags(certificate=str(other), private_key=str(other))
    assert is_document(run_helper("credential-process", *named, *secret, "--no-cache").stdout)
    done = run_helper("credential-process", *named, "--no-cache")
    assert_refused_unseen(done, 1, "--pkcs12-password-file FILE")
    written(keys.folder / "password", "wrong")
    done = run_helper("credential-process", *named, *secret, "--no-cache")
    assert_refused_unseen(done, 1, "the password does not open the PKCS#12 file")


@pytest.mark.parametrize("kind", [KeyKind.ML_DSA_44, KeyKind.ML_DSA_65, KeyKind.ML_DSA_87], ids=lambda kind: kind.value)
def test_ml_dsa_keys_get_credentials(
    run_helper: RunHelper, helper: Path, keys: Keys, emulated: Emulated, kind: KeyKind
) -> None:
    issued = Daemon(helper, keys.folder, emulated).issue(kind)
    certificate = written(keys.folder / "leaf.pem", issued.pem.decode())
    key = written(keys.folder / "leaf.key", issued.key_pem(KeyFormat.PKCS8, CANARY.encode()).decode())
    flags = emulated.flags(certificate=str(certificate), private_key=str(key))
    secret = ("--pkcs8-password-file", written(keys.folder / "passphrase"))

    done = run_helper("credential-process", *flags, *secret, "--no-cache")
    assert (done.exit_code, done.stderr) == (0, b"")
    assert is_document(done.stdout)
    (seen,) = emulated.create_session_calls()
    assert (seen["status"], int(seen["serial"])) == (201, issued.certificate.serial_number)


# Who is asked


def test_somebody_at_the_terminal_is_asked_once(helper: Path, clean_environment: dict[str, str], keys: Keys) -> None:
    for more in ([], ["--pkcs8-password-file", "prompt:"]):
        with at_a_terminal(
            [str(helper), "credential-process", *keys.flags, *more], clean_environment, keys.folder
        ) as asked:
            asked.terminal.wait_for(PROMPT)
            asked.terminal.type(CANARY + "\n")
            code, stdout, stderr = asked.finish()
        assert (code, stderr) == (0, b"")
        assert is_document(stdout)
        assert asked.terminal.shown.count(PROMPT.encode()) == 1
        assert_unseen(asked.terminal.shown, stdout)


@pytest.mark.parametrize("typed", ["wrong\n", "\n"])
def test_a_wrong_answer_is_an_error_and_nobody_is_asked_again(
    helper: Path, clean_environment: dict[str, str], keys: Keys, typed: str
) -> None:
    with at_a_terminal([str(helper), "credential-process", *keys.flags], clean_environment, keys.folder) as asked:
        asked.terminal.wait_for(PROMPT)
        asked.terminal.type(typed)
        code, stdout, stderr = asked.finish()
    assert (code, stdout) == (1, b"")
    assert b"passphrase" in stderr
    assert asked.terminal.shown.count(PROMPT.encode()) == 1


def test_nobody_is_asked_for_what_is_cached(helper: Path, clean_environment: dict[str, str], keys: Keys) -> None:
    command = [str(helper), "credential-process", *(word for word in keys.flags if word != "--no-cache")]
    with at_a_terminal(command, clean_environment, keys.folder) as asked:
        asked.terminal.wait_for(PROMPT)
        asked.terminal.type(CANARY + "\n")
        first = asked.finish()
    for _ in range(2):
        with at_a_terminal(command, clean_environment, keys.folder) as again:
            assert again.finish() == first
            assert again.terminal.shown == b""


# What a process shows of itself


def processes(pid: int) -> list[int]:
    """Return a process and all that it has started, as far as they still run."""
    found = [pid]
    for each in found:
        try:
            children = Path(f"/proc/{each}/task/{each}/children").read_text().split()
        except OSError:
            continue
        found += [int(child) for child in children]
    return found


def shown_by(pid: int) -> bytes:
    """Return what every user (command line) or the same user (environment) can see of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has just ended
        return b""


@contextmanager
def slow(emulated: Emulated) -> Iterator[None]:
    """Let whoever asks for a session wait, so that a test can look at it."""
    emulated.emulator.set_fault(delaySeconds=2)
    yield
    emulated.emulator.clear_faults()


def assert_a_child_shows_nothing(daemon: Daemon) -> None:
    """Look at the daemon and its children until the first of them has ended."""
    seen: set[int] = set()

    def has_seen_them() -> bool:
        now = processes(daemon.pid)
        for pid in now:
            assert_unseen(shown_by(pid))
        seen.update(now)
        return len(seen) > 1 and bool(daemon.emulated.create_session_calls()) and len(now) == 1

    until(has_seen_them, what=f"no child: {daemon.log}")


@pytest.fixture
def daemon(helper: Path, emulated: Emulated, tmp_path: Path) -> Iterator[Daemon]:
    """Lend a daemon whose key is encrypted."""
    folder = tmp_path / "daemon"
    folder.mkdir()
    with owned(Daemon(helper, folder, emulated)) as lent:
        plain = lent.key.rename(folder / "plain.key")
        encrypt(plain, lent.key)
        plain.unlink()
        yield lent


def start_at(terminal: Terminal, daemon: Daemon, answer: str, *flags: str) -> None:
    """Start it at a terminal, and answer what it asks."""
    daemon.start(*flags, wait=False, prefix=terminal.prefix, pass_fds=(terminal.descriptor,), before=os.setsid)
    terminal.wait_for(PROMPT)
    assert "listening" not in daemon.log, "it asks before it serves"
    terminal.type(answer + "\n")
    daemon.await_listening()


@pytest.mark.promise(72)
def test_serve_asks_once_and_hands_the_answer_to_its_children_unseen(daemon: Daemon) -> None:
    daemon.configure('pkcs8-password-file = "prompt:"')
    with a_terminal() as terminal, slow(daemon.emulated):
        start_at(terminal, daemon, CANARY, "--debug")
        assert_a_child_shows_nothing(daemon)
        daemon.await_ready()
        first = daemon.access_key()
        daemon.emulated.emulator.clear_faults()
        daemon.send_attempt()  # the next child needs it again, and nobody is asked
        until(lambda: daemon.access_key() != first, what=daemon.log)
        shown = terminal.see_the_rest()
        assert shown.count(PROMPT.encode()) == 1
        assert_unseen(shown, daemon.log, daemon.metrics(), json.dumps(daemon.status()))
        assert daemon.stop() == 0


def test_serve_does_not_ask_again_after_a_reload(daemon: Daemon) -> None:
    daemon.configure('pkcs8-password-file = "prompt:"')
    with a_terminal() as terminal:
        start_at(terminal, daemon, CANARY)
        daemon.await_ready()
        first = daemon.access_key()
        daemon.configure('pkcs8-password-file = "prompt:"\nduration = 1800')  # another session of the same name
        daemon.reload()
        until(lambda: daemon.access_key() != first, what=daemon.log)
        assert terminal.see_the_rest().count(PROMPT.encode()) == 1
        assert daemon.stop() == 0


def test_serve_with_a_wrong_answer_says_so_and_stays(daemon: Daemon) -> None:
    daemon.configure('pkcs8-password-file = "prompt:"')
    with a_terminal() as terminal:
        start_at(terminal, daemon, CANARY + "x")
        until(lambda: daemon.error_code() == "wrong-secret", what=daemon.log)
        assert_unseen(daemon.log)
        assert daemon.stop() == 0


def test_serve_without_a_terminal_refuses_to_ask(daemon: Daemon) -> None:
    daemon.configure('pkcs8-password-file = "prompt:"')
    daemon.start(wait=False, before=os.setsid)
    assert daemon.process.wait(20) == 2
    assert "needs a terminal" in daemon.log
    assert "credential:NAME" in daemon.log


@pytest.mark.promise(72)
@pytest.mark.parametrize("source", ["file", "command", "credential"])
def test_serve_with_a_passphrase_that_its_children_read(daemon: Daemon, source: str) -> None:
    file = written(daemon.folder / "passphrase")
    place = {"file": str(file), "command": f"command:cat {file}", "credential": "credential:passphrase"}[source]
    daemon.configure(f'pkcs8-password-file = "{place}"')
    with slow(daemon.emulated):
        daemon.start("--debug", wait=False, environment={"CREDENTIALS_DIRECTORY": str(daemon.folder)})
        assert_a_child_shows_nothing(daemon)
    daemon.await_ready()
    assert daemon.access_key()
    assert_unseen(daemon.log, daemon.metrics(), json.dumps(daemon.status()))


@pytest.mark.promise(72)
@pytest.mark.parametrize("source", ["env", "fd"])
def test_serve_takes_what_only_it_can_read_and_its_children_show_nothing(daemon: Daemon, source: str) -> None:
    file = written(daemon.folder / "passphrase")
    with file.open("rb") as opened, slow(daemon.emulated):
        number = opened.fileno()
        daemon.configure(f'pkcs8-password-file = "{"env:KEY_PASSPHRASE" if source == "env" else f"fd:{number}"}"')
        variables = {"KEY_PASSPHRASE": CANARY} if source == "env" else {}
        daemon.start("--debug", wait=False, environment=variables, pass_fds=(number,))
        until(lambda: len(processes(daemon.pid)) > 1, what=daemon.log)
        until(lambda: bool(daemon.emulated.create_session_calls()), what=daemon.log)
        children = processes(daemon.pid)[1:]
        assert children
        for pid in children:
            assert_unseen(shown_by(pid))
    daemon.await_ready()
    first = daemon.access_key()
    daemon.send_attempt()
    until(lambda: daemon.access_key() != first, what=daemon.log)
    assert_unseen(daemon.log, daemon.metrics(), json.dumps(daemon.status()))


@pytest.mark.parametrize("where", ["argument", "variable"])
def test_what_these_tests_look_at_is_where_a_secret_would_be(where: str) -> None:
    """The negative control: a passphrase that is handed on in a wrong way is found."""
    words = ["/bin/sh", "-c", "echo; read word", *([CANARY] if where == "argument" else [])]
    variables = {"HANDED_ON": CANARY} if where == "variable" else {}
    with subprocess.Popen(words, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(AssertionError):
            assert_unseen(shown_by(process.pid))
        process.communicate(b"\n")


@pytest.mark.parametrize("command", ["sign-string", "csr"])
def test_a_passphrase_on_any_command_line_is_warned_of(command: str, run_helper: RunHelper, tmp_path: Path) -> None:
    key = tmp_path / "enc.key"
    made = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256"]
    subprocess.run([*made, "-pass", "pass:canary-passphrase", "-out", key], check=True, capture_output=True)
    key.chmod(0o600)
    more = ("--subject", "/CN=host") if command == "csr" else ()

    typed = run_helper(command, "--private-key", key, "--pkcs8-password", "canary-passphrase", *more)
    told = run_helper(
        command, "--private-key", key, "--pkcs8-password", "env:WORD", *more, env={"WORD": "canary-passphrase"}
    )

    assert (typed.exit_code, told.exit_code) == (0, 0)
    assert b"--pkcs8-password-file" in typed.stderr
    assert b"canary" not in typed.stderr
    assert told.stderr == b""
