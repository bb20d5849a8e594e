"""Editing ini files, held against botocore's own parser, and against the bytes that were there before."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from botocore.configloader import load_config, raw_config_parse
from botocore.exceptions import ConfigParseError
from hypothesis import HealthCheck, given, settings

from rolesanywhere_helper.protocol.ini_text import (
    IniError,
    config_section,
    decoded,
    is_profile_name,
    line_of,
    read_section,
    set_keys,
)
from tests.fakes.ini_files import KEYS, PROFILES, ini_files

if TYPE_CHECKING:
    from pathlib import Path

VALUES = dict(zip(KEYS, ("ASIANEW", "new/secret+=", "new//token=="), strict=True))


def parsed(text: str) -> dict[str, Any] | None:
    """Return what botocore reads, or None where it refuses."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        try:
            found: dict[str, Any] = raw_config_parse(file.name)
        except ConfigParseError:
            return None
    return found


def with_new(old: dict[str, Any], new: dict[str, Any], profile: str) -> dict[str, Any]:
    """Return what botocore should see: a new profile also inherits what [DEFAULT] says, as every profile does."""
    inherited = {key: value for key, value in new[profile].items() if key not in KEYS} if profile not in old else {}
    return {**old, profile: {**inherited, **old.get(profile, {}), **VALUES}}


def check(text: str, profile: str, seen: Counter[str]) -> None:
    old = parsed(text)
    try:
        new_text = set_keys(text, profile, VALUES)
    except IniError:
        seen["refused"] += 1
        # A block in [DEFAULT] that has no meaning is found by botocore once there is a profile to inherit it.
        assert old is None or parsed(text + "\n[another]\n") is None, "refused though botocore can read it"
        return
    assert old is not None, "edited though botocore cannot read it"
    seen["edited" if profile in old else "added"] += 1
    new = parsed(new_text)
    assert new is not None
    assert new == with_new(old, new, profile)
    assert set_keys(new_text, profile, VALUES) == new_text, "a second edit finds nothing to do"
    if profile not in old:
        assert new_text.startswith(text)
    assert_other_lines_stand(lines_of(text), lines_of(new_text))


def lines_of(text: str) -> list[tuple[str, str]]:
    """Return each line and its end."""
    return [(each[1], each[2]) for each in re.finditer(r"([^\r\n]*)(\r\n|\r|\n|\Z)", text) if each[0]]


def assert_other_lines_stand(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> None:
    """Hold the lines against each other without asking the code under test which are which.

    All that is new are lines of the three keys (and the end of a last line that had none, and a new section). All that
    is gone are such lines, and those that continued an old value.
    """
    places = past_gone({0}, old)
    for text, end in new:
        kept = {at + 1 for at in places if at < len(old) and (old[at] == (text, end) or old[at:] == [(text, "")])}
        is_new = is_of_a_key(text) or not text.strip() or text.strip() in HEADERS
        places = past_gone(kept | (places if is_new else set()), old)
        assert places, f"moved, changed or added: {text!r}"
    assert len(old) in places, "something at the end is gone"


def past_gone(places: set[int], old: list[tuple[str, str]]) -> set[int]:
    """Return the places in the old lines that are reached by leaving lines out that may be gone."""
    reached = set(places)
    for at, (text, _) in enumerate(old):
        if at in reached and may_be_gone(text):
            reached.add(at + 1)
    return reached


def may_be_gone(line: str) -> bool:
    continues = line[:1].isspace() and bool(line.strip()) and line.strip()[0] not in "#;"
    return is_of_a_key(line) or continues


HEADERS = {f"[{profile}]" for profile in PROFILES}


def is_of_a_key(line: str) -> bool:
    return line.strip().lower().startswith(KEYS)


# The other tests here go through every branch: to count them ten thousand times over would double the time.
@pytest.mark.no_cover
@pytest.mark.parametrize("profile", PROFILES)
def test_two_and_a_half_thousand_files_for_each_of_four_profiles(profile: str) -> None:
    """What botocore sees in the profile is new, everything else is old, and no other byte has moved."""
    seen: Counter[str] = Counter()

    @settings(max_examples=2_500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(ini_files(profile))
    def one(text: str) -> None:
        check(text, profile, seen)

    one()

    assert seen["edited"] > 500, seen
    assert seen["added"] > 200, seen
    assert seen["refused"] > 200, seen


def test_a_byte_that_moves_is_noticed() -> None:
    old = lines_of("[a]\nx = 1\n# c\n[prod]\naws_access_key_id = 1\n")
    assert_other_lines_stand(old, lines_of("[a]\nx = 1\n# c\n[prod]\naws_access_key_id = 2\n"))
    for harm in ("[a]\nx = 1\n[prod]\n", "[a]\r\nx = 1\n# c\n[prod]\n", "[a]\nx =  1\n# c\n[prod]\n"):
        with pytest.raises(AssertionError):
            assert_other_lines_stand(old, lines_of(harm))


EXAMPLE = """\
# kept by hand
[ prod ]
aws_access_key_id = SPACED

[prod] ; really
AWS_Access_Key_Id=OLD
# between
region : eu-central-1\t
s3 =
  aws_session_token = nested
  max_queue_size = 9
aws_secret_access_key = first
   and second

[other]
aws_access_key_id = THEIRS"""


def test_an_example_to_the_byte() -> None:
    assert (
        set_keys(EXAMPLE, "prod", VALUES)
        == """\
# kept by hand
[ prod ]
aws_access_key_id = SPACED

[prod] ; really
AWS_Access_Key_Id=ASIANEW
# between
region : eu-central-1\t
s3 =
  aws_session_token = nested
  max_queue_size = 9
aws_secret_access_key = new/secret+=
aws_session_token = new//token==

[other]
aws_access_key_id = THEIRS"""
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "[p]\nk = v\n"),
        ("[a]\nx=1", "[a]\nx=1\n\n[p]\nk = v\n"),
        ("[a]\r\nx=1\r\n", "[a]\r\nx=1\r\n\r\n[p]\r\nk = v\r\n"),
        ("[p]", "[p]\nk = v"),
        ("[p]\r\nx = 1", "[p]\r\nx = 1\r\nk = v"),
        ("[p]\n\n  [q]\nx=1\n", "[p]\n  k = v\n\n  [q]\nx=1\n"),
        ("[p]\n  x = 1\n  y = 2\n[q]\n", "[p]\n  x = 1\n  y = 2\n  k = v\n[q]\n"),
        ("[p]\nk=\n", "[p]\nk= v\n"),
        ("[p]\nK :\told\n\tand more\n# c\n\tand more\nx=1\n", "[p]\nK :\tv\n# c\nx=1\n"),
    ],
)
def test_small_files_to_the_byte(old: str, new: str) -> None:
    assert set_keys(old, "p", {"k": "v"}) == new
    assert parsed(new) == {**(parsed(old) or {}), "p": {**(parsed(old) or {}).get("p", {}), "k": "v"}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1\n[p]\n", "line 1 stands before the first"),
        ("\ufeff[p]\n", "line 1 stands before the first .* byte order mark"),
        ("[p]\n[q]\n[p]\n", "line 3 begins a section a second time"),
        ("[p]\nx = 1\nX = 2\n", "line 3 sets a key of its section a second time"),
        ("[p]\nnothing\n", "line 2 is neither"),
        ("[p]\ns3 =\n  secret\n", "the block below line 2 has a line without ="),
    ],
)
def test_what_botocore_refuses_is_refused_without_quoting_it(text: str, why: str) -> None:
    assert parsed(text) is None
    with pytest.raises(IniError, match=why) as refusal:
        set_keys(text, "p", VALUES)
    assert "secret" not in str(refusal.value)


def test_what_is_not_utf_8_is_refused() -> None:
    with pytest.raises(IniError, match="the byte at 4 is not UTF-8"):
        decoded(b"[p]\n\xff")


@pytest.mark.parametrize("value", ["", "a\nb", " a", "a\r", "a\x00"])
def test_a_value_that_is_no_line_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="the value of k cannot be written"):
        set_keys("", "p", {"k": value})


def test_values_are_read_as_botocore_reads_them() -> None:
    assert read_section(EXAMPLE, "prod") == {
        **(parsed(EXAMPLE) or {})["prod"],
        "s3": "\naws_session_token = nested\nmax_queue_size = 9",
    }
    assert read_section(EXAMPLE, "none") == {}


def test_what_the_shared_section_says_is_said_by_each() -> None:
    text = "[DEFAULT]\nregion = a\noutput = text\n[prod]\noutput = json\n"

    assert read_section(text, "prod") == (parsed(text) or {})["prod"] == {"region": "a", "output": "json"}
    assert read_section(text, "none") == {}
    assert [line_of(text, "prod", key) for key in ("region", "output", "s3")] == [2, 5, None]
    assert line_of(text, "none", "region") == 2, "it would have it"


@pytest.mark.parametrize(
    ("text", "profile", "section"),
    [
        ("", "default", "default"),
        ("", "prod", "profile prod"),
        ("", "build agent", 'profile "build agent"'),
        ('[profile "prod"]\n', "prod", 'profile "prod"'),
        ("[profile   prod]\n", "prod", "profile   prod"),
        ("[profile prod]\n[profile  prod]\n", "prod", "profile  prod"),
        ("[profile default]\n", "default", "profile default"),
        ("[prod]\n[ profile prod ]\n", "prod", "profile prod"),
    ],
)
def test_the_section_of_a_profile_in_the_config_file(text: str, profile: str, section: str, tmp_path: Path) -> None:
    assert config_section(text, profile) == section
    (tmp_path / "config").write_text(set_keys(text, section, {"region": "eu-central-1"}))
    assert load_config(str(tmp_path / "config"))["profiles"][profile] == {"region": "eu-central-1"}


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("prod", True), ("build agent", True), ("a:b/c+d@e", True), ("ünï", True)]
    + [(name, False) for name in ("", " a", "a\n", "a]", '"a"', "DEFAULT", "a#b", "it's", "x" * 129)],
)
def test_names_of_profiles(name: str, is_one: bool) -> None:  # noqa: FBT001 - a column of a table
    assert is_profile_name(name) is is_one
