"""What passes between the daemon and its child: whole or nothing, and no secret in an error."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper.domain.role_hop import role_hop
from rolesanywhere_helper.errors import LeafExpiredError
from rolesanywhere_helper.protocol.mint_exchange import (
    LARGEST,
    Answer,
    Question,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
    frame,
)
from tests.fakes.sessions import SECRET, TOKEN, credentials

GOOD = Answer(credentials(), None, 1, 2, -0.25, ("careful",))
FAILED = Answer(None, LeafExpiredError("the certificate expired", "renew it"), 1, 2)


def test_a_question_comes_through() -> None:
    question = Question({"role-arn": "arn", "no-cache": True}, {"proxy": "http://u:p@h"}, in_gitlab_ci=True)

    assert decode_question(encode_question(question)) == question


HOP = role_hop(
    role_arn="arn:aws:iam::444455556666:role/Consultant",
    region="eu-central-1",
    name="customer",
    external_id="x-1",
    duration_seconds=900,
    session_name="me",
    tags=(("team", "blue"),),
    transitive_tag_keys=("team",),
    sts_endpoint="http://127.0.0.1:1",
)


def test_a_question_for_the_next_role_comes_through() -> None:
    question = Question({}, hop=HOP, source=credentials(), pin_records="/cache")

    assert decode_question(encode_question(question)) == question
    assert TOKEN not in repr(question)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hop", None),
        ("source", None),
        ("hop", {}),
        ("source", {}),
        ("hop", 1),
        ("source", "x"),
        ("hop", {"roleArn": 1}),
    ],
)
def test_a_question_for_the_next_role_that_is_not_whole_is_none(key: str, value: object) -> None:
    document = json.loads(encode_question(Question({}, hop=HOP, source=credentials())).partition(b"\n")[2])

    with pytest.raises(ValueError) as caught:
        decode_question(frame(document | {key: value}))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_answer_comes_through() -> None:
    failed = decode_answer(encode_answer(FAILED))

    assert decode_answer(encode_answer(GOOD)) == GOOD
    assert isinstance(failed.error, LeafExpiredError)
    assert (failed.error.what, failed.error.hint) == ("the certificate expired", "renew it")
    assert replace(failed, error=None) == replace(FAILED, error=None)


@given(st.data())
def test_a_torn_answer_is_none(data: st.DataObject) -> None:
    message = encode_answer(GOOD)
    length = data.draw(st.integers(0, len(message) - 1))

    with pytest.raises(ValueError):
        decode_answer(message[:length])


@given(st.binary(max_size=200))
def test_noise_is_no_message(noise: bytes) -> None:
    for decode in (decode_answer, decode_question):
        with pytest.raises(ValueError):
            decode(noise)


@pytest.mark.parametrize(
    "change",
    [
        {"credentials": None},
        {"error": {"code": "error", "what": "both", "hint": ""}},
        {"credentials": {}},
        {"credentials": "text"},
        {"notBefore": "soon"},
        {"clockSkewSeconds": []},
        {"warnings": None},
        {"error": 7},
    ],
)
def test_an_answer_of_another_form_is_none(change: dict[str, object]) -> None:
    document: dict[str, object] = {
        "credentials": {
            "accessKeyId": "A",
            "secretAccessKey": "S",
            "sessionToken": "T",
            "issuedAt": 1,
            "expiresAt": 2,
            "roleArn": "R",
        },
        "error": None,
        "notBefore": None,
        "notAfter": None,
        "clockSkewSeconds": None,
        "warnings": [],
    }
    assert decode_answer(frame(document)).credentials is not None

    with pytest.raises(ValueError):
        decode_answer(frame(document | change))


@pytest.mark.parametrize("name", ["accessKeyId", "secretAccessKey", "sessionToken", "roleArn"])
@pytest.mark.parametrize("value", ["", None, 7])
def test_credentials_that_lack_something_are_none(name: str, value: object) -> None:
    document = json.loads(encode_answer(GOOD).partition(b"\n")[2])
    document["credentials"][name] = value

    with pytest.raises(ValueError):
        decode_answer(frame(document))


@pytest.mark.parametrize("session", [{"role-arn": 7}, {"role-arn": None}, {"role-arn": ["x"]}])
def test_a_question_of_other_values_is_none(session: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        decode_question(frame({"session": session, "secrets": {}}))


def test_a_message_that_is_too_long_is_none() -> None:
    with pytest.raises(ValueError):
        decode_question(encode_question(Question({"role-arn": "x" * LARGEST})))


@pytest.mark.promise(72)
def test_no_secret_is_in_an_error() -> None:
    spoiled = encode_answer(GOOD).replace(b'"credentials":', b'"credentials"|')

    with pytest.raises(ValueError) as caught:
        decode_answer(spoiled)

    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert SECRET not in said
    assert TOKEN not in said
    assert getattr(caught.value.__context__, "doc", None) is None
