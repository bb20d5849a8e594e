"""The session that ``setup`` writes: once, changed where it stands, and never over somebody else's."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.protocol.session_toml import SessionBlock

ARNS = {"trust-anchor-arn": "arn:anchor/1", "profile-arn": "arn:profile/1", "role-arn": "arn:role/build"}
LEAF = {"certificate": "/leaf.pem", "private-key": "/leaf.key"}
BEFORE = "# mine\n[session.other]\nrole-arn = 'x'  # keep\n\n"
AFTER = '\n[serve.imds.main]\nsession = "build"\r\n'


def block(**changed: str) -> SessionBlock:
    return SessionBlock("build", {**LEAF, **ARNS, **{key.replace("_", "-"): value for key, value in changed.items()}})


def written(before: str, **changed: str) -> str:
    return block(**changed).added_to(before.encode()).decode()


def test_a_changed_value_is_changed_where_it_stands_and_nothing_else() -> None:
    own = f"{block()}external-id = 'theirs'  # added\n"
    document = BEFORE + own + AFTER

    text = written(document, trust_anchor_arn='arn:"anchor/2', duration="7200s")

    added = own.replace('"arn:anchor/1"', '"arn:\\"anchor/2"') + 'duration = "7200s"\n'
    assert text == BEFORE + added + AFTER
    assert written(text, trust_anchor_arn='arn:"anchor/2', duration="7200s") == text


@pytest.mark.parametrize(
    ("given", "kept"), [("7200s", False), ("2h", False), ("1h", True), ("900", True), ("nonsense", True)]
)
def test_a_duration_that_is_no_longer_allowed_goes_and_a_shorter_one_stays(given: str, kept: bool) -> None:  # noqa: FBT001 - a parameter
    line = f'duration = "{given}" # how long\n'

    assert written(f"{block()}{line}") == f"{block()}{line if kept else ''}"


def test_the_leaf_takes_the_place_of_its_example_and_stays_when_it_was_filled_in() -> None:
    without = SessionBlock("build", ARNS)
    filled_in = without.added_to(None).decode().replace("# certificate", "certificate")

    assert written(str(without)) == str(block())
    assert without.added_to(filled_in.encode()).decode() == filled_in
    assert 'certificate = "/leaf.pem"\n# private-key' not in written(filled_in)


@pytest.mark.parametrize(
    "header", ["[session.build]", '[ session . "build" ] # it', "[session.'build']\r", "  [session.build]"]
)
def test_a_session_is_found_however_its_line_is_written(header: str) -> None:
    rest = str(block()).partition("\n")[2]

    text = written(f"{header}\n{rest}{AFTER}", role_arn="arn:role/2")

    assert text == f"{header}\n{rest.replace('role/build', 'role/2')}{AFTER}"


@pytest.mark.parametrize(
    "theirs",
    [
        "[session.build]\nrole-arn = 'old' # c\nexternal-id = 'keep'\n",
        "[session.build]\n",
        "[session]\nbuild = 3\n",
    ],
)
def test_a_session_of_somebody_else_is_left_alone(theirs: str) -> None:
    with pytest.raises(ConfigurationError, match=r"has another \[session\.build\]"):
        written(theirs)


@pytest.mark.parametrize(
    "form",
    [
        "session.build = {{ {} }}\n",
        "[session]\nbuild = {{ {} }}\n",
        'text = """\n[session.build]\nrole-arn = "arn:role/build"\n"""\n[session]\nbuild = {{ {} }}\n',
    ],
)
def test_a_form_that_cannot_be_edited_line_by_line_is_refused_when_it_must_change(form: str) -> None:
    inline = ", ".join(f'{key} = "{value}"' for key, value in {**LEAF, **ARNS}.items())
    document = form.format(inline)

    assert written(document) == document
    with pytest.raises(ConfigurationError, match="in a form that setup does not change"):
        written(document, duration="7200s")


def test_a_value_over_several_lines_is_not_cut_in_two() -> None:
    document = f'{block()}roles = [\n["a"],\n]\nmore = """\nrole-arn = "arn:role/build"\n"""\n'

    def session(text: str) -> Any:
        return tomllib.loads(text)["session"]["build"]

    changed = written(document, role_arn="arn:role/2")
    assert session(changed) == {**session(document), "role-arn": "arn:role/2"}


@pytest.mark.parametrize("document", [b"session = 1\n", b"session = {}\n", b"[session\n", b"\xff"])
def test_what_cannot_hold_a_session_is_refused(document: bytes) -> None:
    with pytest.raises(ConfigurationError):
        block().added_to(document)
