"""What is made from the program is up to date, and comes with an installation."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from scripts.generated import COMPLETIONS, MAN, SCRIPTS, files, outdated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_everything_generated_is_up_to_date() -> None:
    assert outdated(files()) == [], "run: make generated"


def test_what_has_changed_or_gone_is_found() -> None:
    made = files()
    gone, changed = MAN / "rolesanywhere-helper-version.1", COMPLETIONS / SCRIPTS["zsh"]
    del made[gone]
    made[changed] += "more"
    made[MAN / "new.1"] = "page"

    assert set(outdated(made)) - set(outdated(files())) == {gone, changed, MAN / "new.1"}


def test_a_wheel_brings_pages_and_scripts_to_where_they_are_looked_for(
    debian_environment: Path, peer: Callable[[str], Path], clean_environment: dict[str, str]
) -> None:
    share = debian_environment / "share"

    assert {page.name for page in (share / "man/man1").iterdir()} >= {page.name for page in MAN.iterdir()}
    for place, shell in (
        ("bash-completion/completions/rolesanywhere-helper", "bash"),
        ("fish/vendor_completions.d/rolesanywhere-helper.fish", "fish"),
        ("zsh/site-functions/_rolesanywhere-helper", "zsh"),
    ):
        assert (share / place).read_bytes() == (COMPLETIONS / SCRIPTS[shell]).read_bytes()
    # man looks beside the folders of the PATH.
    environment = clean_environment | {"PATH": f"{debian_environment}/bin:{clean_environment['PATH']}"}
    found = subprocess.run(
        [peer("man-db"), "-w", "rolesanywhere-helper-env"], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(share / "man/man1/rolesanywhere-helper-env.1")
