"""Real shells complete this command line with the scripts that are installed."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.cli import reference
from scripts.generated import COMPLETIONS, SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINES = (reference.program(), *reference.commands())
PROMPT = b"READY>"
SECONDS = 30
# Printed by the shells' stand-in for the command: what was on the line when Enter was typed.
STAND_IN = "rolesanywhere-helper() { printf '[%s]' \"$@\"; printf '\\n'; }"
CONFIGURATION = "[identity.host]\n[session.deploy]\n  [session.customer]  # theirs\n[session.'a b']\n[serve.agent]\n"


@pytest.fixture
def environment(clean_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user with a configuration, in whose folder there are a file and a directory."""
    place = tmp_path / "home/.config/rolesanywhere-helper"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(CONFIGURATION)
    (tmp_path / "other.toml").write_text("[session.elsewhere]\n")
    (tmp_path / "bin").mkdir()
    for name in ("canary-program", "another-program"):
        (tmp_path / "bin" / name).touch(mode=0o755)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/host.pem").touch()
    (tmp_path / "work/folder").mkdir()
    path = f"{tmp_path}/bin:{clean_environment['PATH']}"
    return {**clean_environment, "PATH": path, "TERM": "dumb", "LC_ALL": "C.UTF-8"}


# bash and zsh, at a keyboard


class Keyboard:
    """An interactive shell on a terminal of its own."""

    def __init__(self, command: list[str | Path], environment: dict[str, str], folder: Path) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=folder, start_new_session=True
        )
        os.close(theirs)

    def type(self, keys: str) -> str:
        """Type something at the prompt, and return what is shown until the next one."""
        os.write(self._ours, keys.encode())
        shown = b""
        while not shown.endswith(PROMPT):
            ready, _, _ = select.select([self._ours], [], [], SECONDS)
            assert ready, shown
            shown += os.read(self._ours, 65_536)
        return shown.decode()

    def completed(self, keys: str) -> list[str]:
        """Type the begin of a line, with tabs in it, then Enter; return the words that the command was given."""
        shown = self.type(f"rolesanywhere-helper {keys}\r")
        last = [line for line in shown.splitlines() if line.startswith("[")][-1]
        return last.strip()[1:-1].split("][")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture(params=["bash", "zsh"])
def keyboard(
    request: pytest.FixtureRequest, peer: Callable[[str], Path], environment: dict[str, str], tmp_path: Path
) -> Iterator[Keyboard]:
    """Return a shell that has loaded its script in the way its users do."""
    name: str = request.param
    folder = shlex.quote(str(COMPLETIONS))
    if name == "bash":
        flags = ["--norc", "--noprofile", "-i"]
        begin = f"bind 'set enable-bracketed-paste off'; . {folder}/{SCRIPTS[name]}; PS1=READY\\>"
    else:
        flags = ["-f", "-i"]
        load = f"fpath=({folder} $fpath); autoload -U compinit; compinit -D -u"
        begin = (
            f"{load}; zstyle ':completion:*' insert-tab false; unsetopt prompt_cr prompt_sp; "
            "unset zle_bracketed_paste; PS1=READY\\>"
        )
    shell = Keyboard([peer(name), *flags], environment, tmp_path / "work")
    shell.type(f"{STAND_IN}; {begin}\r")
    yield shell
    shell.close()


def common_begin(words: list[str]) -> str:
    length = min(map(len, words))
    while len({word[:length] for word in words}) > 1:
        length -= 1
    return words[0][:length]


def without_last(word: str) -> str:
    return word[:-1]


def test_every_command_and_flag_is_completed_at_a_keyboard(keyboard: Keyboard) -> None:
    for line in LINES:
        flags = [option.name for option in line.options]
        for flag in flags:
            # A shell completes as far as there is one way to go on: of --c to --c where there are --ca and --config.
            expected = common_begin([each for each in flags if each.startswith(without_last(flag))])
            given = keyboard.completed(f"{line.name} {without_last(flag)}\t")
            assert given[-1].rstrip("=") == expected
    for name in LINES[0].words:
        assert keyboard.completed(f"{without_last(name)}\t")[-1] == name


def test_values_are_completed_at_a_keyboard(keyboard: Keyboard) -> None:
    def last(keys: str) -> str:
        return keyboard.completed(keys)[-1].rpartition("=")[2]

    assert last("env --format po\t") == "powershell"
    assert last("env --format=po\t") == "powershell"
    assert last("sign-string --format bi\t") == "bin"
    assert last("env --session dep\t") == "deploy"
    assert last("env --session=cust\t") == "customer"
    assert last("status --wait dep\t") == "deploy"
    assert last("env --certificate ho\t") == "host.pem"
    assert last("demo --directory fo\t").rstrip("/") == "folder"  # zsh takes the slash away again
    assert last("completion zs\t") == "zsh"
    assert last("--log-format json en\t") == "env"
    assert last("--config other completi\t") == "completion"
    assert last("--config ../other.toml env --session else\t") == "elsewhere"
    assert last("env --config ../other.toml --session else\t") == "elsewhere"
    assert last("env --config ../other.toml --session dep\t") == "dep", "the negative control"


def test_the_program_of_exec_and_its_arguments_are_completed_at_a_keyboard(keyboard: Keyboard) -> None:
    assert keyboard.completed("exec -- canary-p\t") == ["exec", "--", "canary-program"]
    assert keyboard.completed("exec --session deploy --env -- canary-p\t")[-1] == "canary-program"
    assert keyboard.completed("exec --session deploy -- canary-program ho\t")[-1] == "host.pem"
    assert keyboard.completed("exec --session dep\t") == ["exec", "--session", "deploy"]
    # The negative control: its flags are not ours, and neither are its arguments programs.
    assert keyboard.completed("exec -- canary-program --certifica\t")[-1] == "--certifica"
    assert keyboard.completed("exec -- canary-program another-p\t")[-1] == "another-p"


def test_the_negative_control_nothing_is_made_up_at_a_keyboard(keyboard: Keyboard) -> None:
    assert keyboard.completed("env --role-arn ho\t")[-1].rpartition("=")[2] == "ho"  # an ARN is no file
    assert keyboard.completed("version --certifica\t")[-1] == "--certifica"  # of another command
    assert keyboard.completed("demo --directory hos\t")[-1].rpartition("=")[2] == "hos"  # no directory
    assert keyboard.completed("mint-chi\t")[-1] == "mint-chi"


# bash, all it offers


def offered_by_bash(bash: Path, environment: dict[str, str], folder: Path, *words: str) -> list[str]:
    """Return what the function offers for the last word; there is no line editor here whose options it could set."""
    given = shlex.join(["rolesanywhere-helper", *words])
    script = (
        f". {shlex.quote(str(COMPLETIONS / SCRIPTS['bash']))}; compopt() {{ :; }}; COMP_WORDS=({given}); "
        f"COMP_CWORD={len(words)}; _rolesanywhere_helper; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(
        [bash, "--norc", "-c", script], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_offers_all_there_is(peer: Callable[[str], Path], environment: dict[str, str], tmp_path: Path) -> None:
    def offered(*words: str) -> list[str]:
        return offered_by_bash(peer("bash"), environment, tmp_path, *words)

    for line in LINES:
        flags = [name for option in line.options for name in option.names]
        assert offered(*line.name.split(), "-") == flags
    assert offered("") == list(LINES[0].words)
    assert offered("env", "--session", "") == ["deploy", "customer"]
    assert offered("--config", "other.toml", "env", "--session", "") == ["elsewhere"]
    assert offered("env", "--config", "=", "other.toml", "--session", "=", "e") == ["elsewhere"]
    assert offered("nonsense", "-") == []
    assert "env" in offered("version", "--", "en")  # a program, as after exec --


# fish


def offered_by_fish(fish: Path, environment: dict[str, str], folder: Path, line: str) -> dict[str, str]:
    """Return what fish offers at the end of a line, with what it says of each."""
    place = shlex.quote(str(COMPLETIONS / SCRIPTS["fish"]))
    done = subprocess.run(
        [fish, "--no-config", "-c", f"source {place}; complete -C {shlex.quote(f'rolesanywhere-helper {line}')}"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return dict(entry.partition("\t")[::2] for entry in done.stdout.splitlines())


def test_fish_offers_all_there_is(peer: Callable[[str], Path], environment: dict[str, str], tmp_path: Path) -> None:
    def offered(line: str) -> dict[str, str]:
        return offered_by_fish(peer("fish"), environment, tmp_path / "work", line)

    assert set(offered("")) == set(LINES[0].words)
    for line in LINES:
        found = {flag.rstrip("="): told for flag, told in offered(f"{line.name} --").items()}
        assert found == {option.name: option.help for option in line.options}
    assert set(offered("env --format ")) == {"sh", "fish", "powershell", "dotenv", "json"}
    assert set(offered("env --session ")) == {"deploy", "customer"}
    assert set(offered("--config ../other.toml env --session ")) == {"elsewhere"}
    assert set(offered("env --certificate ho")) == {"host.pem"}
    assert set(offered("demo --directory ")) == {"folder/"}
    assert set(offered("completion ")) == {"bash", "fish", "zsh"}
    assert offered("env --role-arn ho") == {}
    assert offered("version --certifica") == {}
