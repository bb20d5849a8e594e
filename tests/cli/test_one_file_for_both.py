"""A certificate alone: its file may hold the key too, and where it does not, what is missing is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import RunHelper
    from tests.plugins.emulated import Emulated


def flags_without_a_key(emulated: Emulated, certificate: Path) -> list[str]:
    words = emulated.flags(certificate=str(certificate))
    at = words.index("--private-key")
    return words[:at] + words[at + 2 :]


def test_leaf_and_key_in_one_file_need_one_flag(emulated: Emulated, run_helper: RunHelper, tmp_path: Path) -> None:
    both = tmp_path / "host.pem"
    both.write_bytes(Path(emulated.certificate).read_bytes() + Path(emulated.private_key).read_bytes())
    both.chmod(0o600)

    done = run_helper("credential-process", *flags_without_a_key(emulated, both))

    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["AccessKeyId"].startswith("ASIA")


def test_a_certificate_without_its_key_is_a_flag_that_is_missing(emulated: Emulated, run_helper: RunHelper) -> None:
    done = run_helper("credential-process", *flags_without_a_key(emulated, Path(emulated.certificate)))

    assert done.exit_code == 2
    assert b"missing: --private-key" in done.stderr
    assert b"--private-key FILE" in done.stderr
