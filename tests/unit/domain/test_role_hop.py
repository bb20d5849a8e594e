"""What one step from role to role may be, by the documented rules of STS."""

from __future__ import annotations

from typing import Any

import pytest

from rolesanywhere_helper.domain.role_hop import RoleHop, role_hop
from rolesanywhere_helper.errors import InvalidParameterError

ROLE = "arn:aws:iam::444455556666:role/Consultant"


def hop(**knobs: Any) -> RoleHop:
    return role_hop(role_arn=ROLE, region="eu-central-1", **knobs)


@pytest.mark.parametrize(
    "tags",
    [
        (),
        (("team", ""),),
        (("Kostenstelle für ½", "Straße 7 日本 \u2009_.:/=+-@"),),
        (("k" * 128, "v" * 256),),
        (("team", "aws:anything"), ("laws:", "x")),
        tuple((f"tag-{number}", "x") for number in range(50)),
    ],
)
def test_tags_that_sts_takes(tags: tuple[tuple[str, str], ...]) -> None:
    assert hop(tags=tags).tags == tags


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ((("x y", "ü'\"$(id)"),), '"\'"'),
        ((("x;y", "v"),), "';'"),
        ((("team", "a\nb"),), r"'\n'"),
        ((("team", "a\tb"),), r"'\t'"),
        ((("team", "\u200b"),), r"'\u200b'"),
        ((("team", "😀"),), r"'\U0001f600'"),
        ((("team", "\ud800"),), r"'\ud800'"),
        ((("", "v"),), "no key"),
        ((("k" * 129, "v"),), "too long"),
        ((("team", "v" * 257),), "too long"),
        ((("aws:team", "v"),), "reserved"),
        ((("AWS:team", "v"),), "reserved"),
        ((("team", "a"), ("Team", "b")), "'team' and 'Team'"),
        (tuple((f"tag-{number}", "x") for number in range(51)), "51"),
    ],
)
def test_tags_that_sts_would_refuse(tags: tuple[tuple[str, str], ...], what: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        hop(tags=tags)

    assert what in caught.value.what
    assert caught.value.what.isprintable()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "knobs",
    [
        {"external_id": "x"},
        {"external_id": "a b"},
        {"external_id": "ü" * 3},
        {"external_id": "x" * 1225},
        {"external_id": "agreed\n"},
        {"session_name": "x"},
        {"session_name": "a/b"},
        {"session_name": "x" * 65},
        {"session_name": "name\n"},
        {"transitive_tag_keys": ("team",)},
    ],
)
def test_other_parameters_that_sts_would_refuse(knobs: dict[str, object]) -> None:
    with pytest.raises(InvalidParameterError):
        hop(**knobs)


def test_other_parameters_that_sts_takes() -> None:
    made = hop(external_id="a/b:c@d=e", session_name="a@b.c", tags=(("team", "x"),), transitive_tag_keys=("team",))

    assert (made.external_id, made.session_name) == ("a/b:c@d=e", "a@b.c")
