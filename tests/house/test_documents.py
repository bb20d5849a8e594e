"""What the documents say is so: commands exist, error codes are told, figures are those of the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from rolesanywhere_helper import errors
from rolesanywhere_helper.cli.commands import COMMANDS
from rolesanywhere_helper.config.flags import SESSION_FLAGS
from rolesanywhere_helper.domain import freshness, refresh_policy
from tests.plugins.peers import listed_packages

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("systemd/*.md")))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def error_classes() -> list[type[errors.HelperError]]:
    classes: list[type[errors.HelperError]] = [errors.HelperError]
    for known in classes:  # the list grows while it is read: a walk of the whole tree
        classes.extend(known.__subclasses__())
    return classes


def told_errors(text: str) -> dict[str, int]:
    """Return what troubleshooting tells: code → exit code."""
    return {code: int(number) for code, number in re.findall(r"^`([a-z-]+)`, exit code (\d+)$", text, re.MULTILINE)}


def make_targets(text: str) -> set[str]:
    return set(re.findall(r"^([a-z]+):(?!=)", text, re.MULTILINE))


def links(text: str) -> list[str]:
    """Return the targets of a document's links to files of this checkout."""
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    return [target for target in found if "://" not in target]


def commands_named(text: str) -> set[str]:
    return set(re.findall(r"rolesanywhere-helper ([a-z]+(?:-[a-z]+)*)", text))


def test_troubleshooting_tells_every_error_with_its_exit_code() -> None:
    told = told_errors(read("docs/troubleshooting.md"))

    assert told == {found.code: found.exit_code for found in error_classes()}


def test_an_error_that_is_not_told_is_found() -> None:
    text = read("docs/troubleshooting.md").replace("`key-mismatch`, exit code 1", "")

    assert {found.code for found in error_classes()} - set(told_errors(text)) == {"key-mismatch"}


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [found.code for found in error_classes()]

    assert sorted(codes) == sorted(set(codes))


def test_the_readme_begins_with_its_purpose_and_then_two_commands() -> None:
    readme = read("README.md")
    first_block = re.search(r"```sh\n(.*?)```", readme, re.DOTALL)

    assert readme.startswith("# rolesanywhere-helper\n\nTurns an X.509 certificate into temporary AWS credentials")
    assert first_block is not None
    assert [line.split("#")[0].strip() for line in first_block[1].splitlines()] == ["make demo", "make test"]


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = make_targets(read("Makefile"))
    named = {name for file in DOCUMENTS for name in re.findall(r"(?:`|^)make ([a-z]+)", file.read_text(), re.MULTILINE)}

    assert {"demo", "test", "promises"} <= named
    assert named - {"soak"} <= targets


def test_make_help_lists_every_target_but_the_one_that_gathers() -> None:
    makefile = read("Makefile")
    helped = set(re.findall(r"@echo 'make ([a-z]+)", makefile))

    assert helped == make_targets(makefile) - {"help", "check"}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    missing = [target for target in links(file.read_text()) if not (file.parent / target).exists()]

    assert missing == []


def test_a_link_is_found() -> None:
    assert links("[a](b.md) [c](d.md#e) [f](https://g) [h](#i)") == ["b.md", "d.md"]


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_that_are_named_exist(file: Path) -> None:
    known = {command.name for command in COMMANDS}

    assert commands_named(file.read_text()) - known == set()


def test_the_readme_names_every_command() -> None:
    shown = {command.name for command in COMMANDS if not command.is_hidden}

    assert {name for name in shown if f"`{name}`" not in read("README.md")} == set()


def test_flags_that_the_guides_name_exist() -> None:
    known = {flag.option for flag in SESSION_FLAGS}
    guides = read("docs/troubleshooting.md") + read("README.md").partition("## What is there")[0]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", guides))

    # Every command has the first two; then those of the AWS CLI, of tpm2_dictionarylockout, and of `systemd`.
    of_others = {"--help", "--debug", "--profile", "--clear-lockout", "--with"}
    assert named - known - of_others == set()


def test_the_example_of_the_readme_is_toml_with_known_keys() -> None:
    example = re.search(r"```toml\n(.*?)```", read("README.md"), re.DOTALL)
    assert example is not None
    keys = set(tomllib.loads(example[1])["session"]["deploy"])

    assert keys <= {key for flag in SESSION_FLAGS for key in flag.toml_keys}


def test_the_figures_of_the_refresh_policy_are_those_of_the_code() -> None:
    policy = " ".join(read("docs/refresh-policy.md").split())

    assert f"U({freshness.EARLIEST_REFRESH:.2f}, {freshness.LATEST_REFRESH:.2f})·T" in policy
    assert f"{freshness.LEFT_AT_REFRESH // 60} minutes are left" in policy
    assert f"sessions of {freshness.LONG_SESSION // 60} minutes and more" in policy
    assert f"{freshness.LOW_WATER_SECONDS // 60} minutes, or T/{round(1 / freshness.LOW_WATER_FRACTION)}" in policy
    assert (
        f"a refusal for {refresh_policy.REMEMBER_REFUSAL_SECONDS:.0f} seconds, an outage for "
        f"{refresh_policy.REMEMBER_OUTAGE_SECONDS:.0f}"
    ) in policy


@pytest.mark.parametrize(
    ("minutes", "row"),
    [
        (15, "| 15 min | 5:15 to 9:00 | 6:00 or more |"),
        (45, "| 45 min | 15:45 to 19:00 | 26:00 or more |"),
        (60, "| 1 h | 21:00 to 34:00 | 26:00 or more |"),
    ],
)
def test_the_table_of_the_refresh_policy_is_what_the_code_draws(minutes: int, row: str) -> None:
    earliest, latest = (freshness.refresh_at(0, minutes * 60, draw) for draw in (0, 1))
    told = [60 * int(mins) + int(secs) for mins, secs in re.findall(r"(\d+):(\d\d)", row)]

    assert row in read("docs/refresh-policy.md")
    assert told == pytest.approx([earliest, latest, minutes * 60 - latest], abs=1)  # the code cuts to whole seconds


def test_ci_installs_from_the_list_and_runs_the_readmes_command() -> None:
    script = read(".ci/run")

    assert "tests/peers/debian-packages.txt" in script
    assert script.rstrip().endswith("make test")
    assert {"python3", "python3-venv", "git", "make"} <= set(listed_packages())
