"""The section of docs/emulator.md on moto, followed to the letter: two servers, one set of credentials."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.guides import Guide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.plugins.emulated import Emulated

BIN = Path(sys.executable).parent
_LISTENS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@pytest.fixture(scope="module")
def section() -> Guide:
    """Return the section alone."""
    text = Guide.named("emulator.md").text
    [found] = re.findall(r"^## The rest of AWS: moto beside it$(.*?)^## ", text, flags=re.MULTILINE | re.DOTALL)
    return Guide(found)


@contextmanager
def moto(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Run moto's server until the end of the block, and yield its URL."""
    log = folder / "moto.log"
    with (
        log.open("wb") as written,
        subprocess.Popen(
            [BIN / command[0], *command[1:]], env=environment, cwd=folder, stdout=written, stderr=subprocess.PIPE
        ) as process,
    ):
        try:
            assert process.stderr is not None
            said = b""
            while not (found := _LISTENS.search(said.decode())):
                line = process.stderr.readline()
                assert line, said
                said += line
            yield found[1]
        finally:
            process.terminate()


def test_moto_beside_it(section: Guide, emulated: Emulated, clean_environment: dict[str, str], tmp_path: Path) -> None:
    [install] = section.blocks("sh")
    program = shlex.split(install.partition("&&")[2])
    assert (program[:-1], program[-1]) == (["moto_server", "--port"], "5000")
    environment = {**clean_environment, "PATH": f"{BIN}:/usr/bin:/bin", "AWS_PAGER": ""}

    with moto([*program[:-1], "0"], environment, tmp_path) as url:
        [config] = section.blocks("ini")
        for written, meant in (
            ("/path/to/emulator/config.toml", emulated.announcement["config"]),
            ("http://127.0.0.1:5000", url),
            ("http://127.0.0.1:PORT", emulated.endpoint),
        ):
            assert written in config
            config = config.replace(written, meant)
        folder = Path(environment["HOME"]) / ".aws"
        folder.mkdir()
        (folder / "config").write_text(config)

        def aws(*words: str) -> subprocess.CompletedProcess[str]:
            command = [str(BIN / "aws"), "--profile", "app", *words]
            return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

        for command in re.findall(r"`aws --profile app ([^`]+)`", section.text):
            done = aws(*command.split())
            assert done.returncode == 0, done.stderr
        made, listed = aws("s3", "mb", "s3://inventory"), aws("s3", "ls")
        assert (made.returncode, "inventory" in listed.stdout) == (0, True), made.stderr + listed.stderr
        seen = [each["operation"] for each in emulated.emulator.requests()]
        assert seen == ["CreateSession", "GetCallerIdentity"]  # one set of credentials for all, and the rest was moto's

    gone = aws("s3", "ls")
    assert (gone.returncode != 0, "Could not connect" in gone.stderr) == (True, True), gone
