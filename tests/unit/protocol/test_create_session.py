"""CreateSession's request, every answer it is documented to give, and many that it should never give."""

from __future__ import annotations

import copy
import json
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_helper import __version__
from rolesanywhere_helper.domain.endpoint import parse_endpoint
from rolesanywhere_helper.domain.ports import HttpResponse
from rolesanywhere_helper.errors import (
    AssumeRoleDeniedError,
    BadAnswerError,
    BadExpirationError,
    CertificateRevokedError,
    ClockSkewError,
    DurationTooLongError,
    HelperError,
    InsufficientCertificateError,
    InvalidProfileError,
    InvalidSignatureError,
    RefusedError,
    RoleNotInProfileError,
    RoleSessionNameRefusedError,
    ServiceUnavailableError,
    SessionTagMappingError,
    ThrottledError,
    TrustAnchorNotFoundError,
    UntrustedCertificateError,
    WrongRoleError,
)
from rolesanywhere_helper.protocol.create_session import build, clock_skew, error_of, parse, retry_after
from tests.fakes.answers import ASSUMED_ROLE_ARN, created, http_date, refused, rfc3339, session_document
from tests.fakes.sessions import ROLE_ARN, SECRET, TOKEN, credentials, spec

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_800_000_000
EXPIRES = NOW + 3600
ENDPOINT = parse_endpoint("https://rolesanywhere.eu-central-1.amazonaws.com")
DENIED = f"Unable to assume role for {ROLE_ARN}."
UNMAPPED = "Some attributes failed to be mapped into session tags. Issuer: [  ]; Subject: [  ]; SAN: [ DNS/2 ]"


def body_of(response: HttpResponse) -> Any:
    return json.loads(response.body)


def answer(document: object, **headers: str) -> HttpResponse:
    return HttpResponse(201, headers, json.dumps(document).encode())


def spoiled(spoil: Callable[[dict[str, Any]], object]) -> HttpResponse:
    """Return a good answer after ``spoil`` was at its first credential set."""
    document = session_document(EXPIRES)
    spoil(document["credentialSet"][0])
    return answer(document)


# The request


def test_all_parameters_are_in_the_body() -> None:
    asked = replace(
        spec(), duration_seconds=900, role_session_name="sess1", instance_properties=(("host", "a"), ("rack", "\u00fc"))
    )

    assert json.loads(build(asked, ENDPOINT).body) == {
        "trustAnchorArn": "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/anchor",
        "profileArn": "arn:aws:rolesanywhere:eu-central-1:111122223333:profile/profile",
        "roleArn": ROLE_ARN,
        "durationSeconds": 900,
        "roleSessionName": "sess1",
        "instanceProperties": {"host": "a", "rack": "\u00fc"},
    }


def test_what_was_not_asked_for_is_not_sent() -> None:
    assert set(json.loads(build(spec(), ENDPOINT).body)) == {
        "trustAnchorArn",
        "profileArn",
        "roleArn",
        "durationSeconds",
    }


def test_the_head() -> None:
    request = build(spec(), ENDPOINT)

    assert (request.method, request.url, request.target) == ("POST", f"{ENDPOINT}/sessions", "/sessions")
    assert dict(request.headers) == {
        "Host": "rolesanywhere.eu-central-1.amazonaws.com",
        "User-Agent": f"rolesanywhere-helper/{__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(request.body)),
    }


def test_a_prefix_goes_before_the_path() -> None:
    request = build(spec(), parse_endpoint("http://127.0.0.1:8080/gateway/"))

    assert (request.url, request.target) == ("http://127.0.0.1:8080/gateway/sessions", "/gateway/sessions")
    assert dict(request.headers)["Host"] == "127.0.0.1:8080"


# Credentials


@pytest.mark.parametrize("status", [200, 201])
def test_a_good_answer(status: int) -> None:
    assert parse(replace(created(EXPIRES), status=status), spec(), NOW + 0.7) == credentials(NOW)


def test_of_several_sets_the_first_counts() -> None:
    document = session_document(EXPIRES)
    document["credentialSet"].append({"roleArn": "arn:aws:iam::111122223333:role/Other"})

    assert parse(answer(document), spec(), NOW) == credentials(NOW)


@pytest.mark.parametrize(
    "text",
    ["2027-01-15T09:00:00Z", "2027-01-15T09:00:00.999Z", "2027-01-15T10:00:00+01:00", "2027-01-15T09:00:00+00:00"],
)
def test_forms_of_the_expiration(text: str) -> None:
    response = spoiled(lambda entry: entry["credentials"].update(expiration=text))

    assert parse(response, spec(), NOW).expires_at == EXPIRES


@pytest.mark.parametrize("left", [1, 900, 3600, 3900])
def test_an_expiration_that_may_be(left: int) -> None:
    assert parse(created(NOW + left), spec(), NOW).expires_at == NOW + left


@pytest.mark.promise(47)
@pytest.mark.parametrize("left", [3901, 7200, 86_400 * 365, 0, -1, -3600])
def test_an_expiration_that_may_not_be(left: int) -> None:
    with pytest.raises(BadExpirationError):
        parse(created(NOW + left), spec(), NOW)


@pytest.mark.promise(47)
@pytest.mark.parametrize(
    "text",
    [
        "tomorrow",
        "1800003600",
        "2027-01-15",
        "2027-01-15 09:00:00Z",
        "2027-01-15T09:00:00",
        "20270115T090000Z",
        "2027-02-30T09:00:00Z",
        "2027-01-15T25:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        " 2027-01-15T09:00:00Z",
        "2027-01-15T09:00:00Z\n",
        "\u0662027-01-15T09:00:00Z",
    ],
)
def test_an_expiration_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadExpirationError):
        parse(spoiled(lambda entry: entry["credentials"].update(expiration=text)), spec(), NOW)


@pytest.mark.parametrize(
    ("behind", "text"),
    [
        (3665, "this machine's clock is 1 hour 1 minute behind the service's"),
        (-(2 * 86_400 + 3600), "this machine's clock is 2 days 1 hour ahead of the service's"),
    ],
)
def test_an_expiration_that_is_wrong_because_of_our_clock(behind: int, text: str) -> None:
    service = NOW + behind

    with pytest.raises(ClockSkewError) as caught:
        parse(created(service + 3600, date=http_date(service)), spec(), NOW)

    assert caught.value.what == text


def test_a_date_header_does_not_excuse_an_expiration_that_is_wrong_by_it_too() -> None:
    with pytest.raises(BadExpirationError):
        parse(created(NOW + 90_000, date=http_date(NOW + 3600)), spec(), NOW)


@pytest.mark.promise(66)
@pytest.mark.parametrize(
    "changed",
    [
        {"roleArn": "arn:aws:iam::111122223333:role/Admin"},
        {"roleArn": "arn:aws:iam::444455556666:role/Deploy"},
        {"roleArn": "arn:aws:iam::111122223333:role/path/Deploy"},
        {"assumedRoleUser": {"arn": "arn:aws:sts::111122223333:assumed-role/Admin/4d2"}},
        {"assumedRoleUser": {"arn": "arn:aws:sts::444455556666:assumed-role/Deploy/4d2"}},
        {"assumedRoleUser": {"arn": "arn:aws:sts::111122223333:assumed-role/Deploy2/4d2"}},
        {"assumedRoleUser": {"arn": "arn:aws:sts::111122223333:assumed-role/Deploy/"}},
        {"assumedRoleUser": {"arn": "arn:aws-cn:sts::111122223333:assumed-role/Deploy/4d2"}},
        {"assumedRoleUser": {"arn": "Deploy"}},
        {"assumedRoleUser": {}, "roleArn": ""},
        {"assumedRoleUser": {"arn": None}, "roleArn": None},
    ],
)
def test_credentials_for_another_role(changed: dict[str, object]) -> None:
    with pytest.raises(WrongRoleError) as caught:
        parse(spoiled(lambda entry: entry.update(changed)), spec(), NOW)

    assert SECRET not in caught.value.what


@pytest.mark.parametrize("missing", ["roleArn", "assumedRoleUser"])
def test_one_of_the_two_names_of_the_role_is_enough(missing: str) -> None:
    assert parse(spoiled(lambda entry: entry.pop(missing)), spec(), NOW) == credentials(NOW)


def test_the_path_of_a_role_is_not_in_the_name_of_its_session() -> None:
    role = "arn:aws:iam::111122223333:role/path/to/Deploy"
    asked = replace(spec(), role_arn=replace(spec().role_arn, resource="role/path/to/Deploy"))

    made = parse(spoiled(lambda entry: entry.update(roleArn=role)), asked, NOW)

    assert made.role_arn == role


@pytest.mark.promise(66)
def test_what_is_no_arn_is_not_shown() -> None:
    with pytest.raises(WrongRoleError) as caught:
        parse(spoiled(lambda entry: entry.update(roleArn=SECRET)), spec(), NOW)

    assert SECRET not in caught.value.what


# Answers that cannot be trusted


@pytest.mark.promise(61)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"<html>it works</html>",
        b"\xff\xfe{",
        b"{}",
        b'{"credentialSet": []}',
        b'{"credentialSet": null}',
        b'{"credentialSet": {}}',
        b'{"credentialSet": "x"}',
        b'{"credentialSet": [null]}',
        b'{"credentialSet": [[]]}',
        b'{"credentialSet": [{}]}',
        b"[" * 200_000,
        b'{"a":' * 50_000,
        b"1" * 5_000,
    ],
)
def test_garbage(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        parse(HttpResponse(201, {}, body), spec(), NOW)


@pytest.mark.promise(61)
@pytest.mark.parametrize("name", ["accessKeyId", "secretAccessKey", "sessionToken", "expiration"])
@pytest.mark.parametrize("value", [None, "", 1, True, [], {}, ["x"]])
def test_a_field_that_is_missing_empty_or_of_another_type(name: str, value: object) -> None:
    with pytest.raises(BadAnswerError, match=name):
        parse(spoiled(lambda entry: entry["credentials"].update({name: value})), spec(), NOW)


@pytest.mark.promise(61)
@pytest.mark.parametrize("name", ["accessKeyId", "secretAccessKey", "sessionToken"])
@pytest.mark.parametrize("value", ["a\nb", "a b", "a\x00", "\u00e4", "a\r", "\ud800"])
def test_a_secret_that_would_break_out_of_a_line(name: str, value: str) -> None:
    with pytest.raises(BadAnswerError, match=name):
        parse(spoiled(lambda entry: entry["credentials"].update({name: value})), spec(), NOW)


@pytest.mark.promise(61)
def test_an_answer_cut_anywhere_is_refused_and_not_quoted() -> None:
    whole = created(EXPIRES)
    assert parse(whole, spec(), NOW) == credentials(NOW)

    for length in range(len(whole.body)):
        with pytest.raises(BadAnswerError) as caught:
            parse(replace(whole, body=whole.body[:length]), spec(), NOW)
        assert caught.value.__context__ is None  # json's error holds the body


@given(spoil=st.data())
def test_whatever_takes_the_place_of_a_value_only_our_errors_come_out(spoil: st.DataObject) -> None:
    document = copy.deepcopy(session_document(EXPIRES))
    entry = document["credentialSet"][0]
    places = [(document, "credentialSet"), *((part, key) for part in (entry, entry["credentials"]) for key in part)]
    parent, key = spoil.draw(st.sampled_from(places))
    parent[key] = spoil.draw(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
            max_leaves=4,
        )
    )

    try:
        made = parse(answer(document), spec(), NOW)
    except BadAnswerError as error:
        shown = "".join(traceback.format_exception(error))
        assert SECRET not in shown
        assert TOKEN not in shown
    else:
        assert NOW < made.expires_at <= EXPIRES + 300


@given(body=st.binary(max_size=60), status=st.integers(100, 599), kind=st.text(max_size=20))
def test_whatever_bytes_come_only_our_errors_come_out(body: bytes, status: int, kind: str) -> None:
    response = HttpResponse(status, {"x-amzn-errortype": kind, "date": kind, "retry-after": kind}, body)

    with pytest.raises(HelperError):
        parse(response, spec(), NOW)
    retry_after(response, NOW)


# Refusals


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Invalid signature", InvalidSignatureError),
        ("Untrusted signing certificate", UntrustedCertificateError),
        ("Untrusted certificate. Insufficient certificate", InsufficientCertificateError),
        ("Certificate revoked", CertificateRevokedError),
        ("Not authorized to set roleSessionName", RoleSessionNameRefusedError),
        ("Invalid or empty profile provided.", InvalidProfileError),
        ("Requested Role isn't one of those listed in the Profile.", RoleNotInProfileError),
        ("Specified Trust Anchor wasn't found.", TrustAnchorNotFoundError),
        (DENIED, AssumeRoleDeniedError),
        (f"{DENIED} {UNMAPPED}", SessionTagMappingError),
        (
            f"{DENIED}The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            DurationTooLongError,
        ),
        ("Something new", RefusedError),
    ],
)
@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("stop", ["", "."])
def test_each_documented_message_has_its_error(message: str, kind: type[RefusedError], status: int, stop: str) -> None:
    error = error_of(refused(message.removesuffix(".") + stop, status), NOW)

    assert type(error) is kind
    assert error.what == f"the service refused: {' '.join(message.split()).removesuffix('.')}"
    assert error.hint


@pytest.mark.parametrize(
    ("ahead", "text"),
    [
        (-1864, "this machine's clock is 31 minutes 4 seconds behind the service's"),
        (301, "this machine's clock is 5 minutes 1 second ahead of the service's"),
        (7200, "this machine's clock is 2 hours ahead of the service's"),
    ],
)
def test_an_invalid_signature_with_a_wrong_clock_is_the_clocks_fault(ahead: int, text: str) -> None:
    error = error_of(refused("Invalid signature", date=http_date(NOW - ahead)), NOW)

    assert type(error) is ClockSkewError
    assert error.what == text


@pytest.mark.parametrize(
    "date", [http_date(NOW - 300), http_date(NOW + 300), "", "yesterday", "Thu, 99 Jan 2020 00:00:00 GMT", "1800000000"]
)
def test_with_a_right_or_unknown_clock_it_is_not(date: str) -> None:
    assert type(error_of(refused("Invalid signature", date=date), NOW)) is InvalidSignatureError


def test_another_refusal_is_not_the_clocks_fault() -> None:
    error = error_of(refused("Untrusted signing certificate", date=http_date(NOW - 7200)), NOW)

    assert type(error) is UntrustedCertificateError


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "ThrottlingException"), (429, "ThrottlingException"), (429, ""), (400, "TooManyRequestsException")],
)
def test_throttling(status: int, kind: str) -> None:
    error = error_of(refused("Rate exceeded", status, kind), NOW)

    assert type(error) is ThrottledError
    assert "Rate exceeded" in error.what


def test_the_same_message_without_throttling_is_a_refusal() -> None:
    assert type(error_of(refused("Rate exceeded", 400, "ValidationException"), NOW)) is RefusedError


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse(400, {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/coral/"}, b"{}"),
        HttpResponse(400, {}, b'{"__type": "com.amazonaws.rolesanywhere#ThrottlingException"}'),
        HttpResponse(400, {}, b'{"code": "ThrottlingException"}'),
        HttpResponse(400, {"x-amzn-errortype": "ThrottlingException"}, b'{"__type": "ValidationException"}'),
    ],
)
def test_where_the_name_of_an_error_is_found(response: HttpResponse) -> None:
    assert type(error_of(response, NOW)) is ThrottledError


def test_the_message_may_be_spelled_with_a_capital() -> None:
    error = error_of(HttpResponse(403, {}, b'{"Message": "Certificate revoked"}'), NOW)

    assert type(error) is CertificateRevokedError


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_failures_of_the_service(status: int) -> None:
    error = error_of(HttpResponse(status, {}, b"<html>busy</html>"), NOW)

    assert type(error) is ServiceUnavailableError
    assert str(status) in error.what


@pytest.mark.parametrize("status", [100, 202, 204, 304, 600])
def test_statuses_that_are_never_answered(status: int) -> None:
    assert type(error_of(HttpResponse(status, {}, b""), NOW)) is BadAnswerError


@pytest.mark.parametrize("body", [b"", b"<html>blocked</html>", b"[]", b'{"message": 5}', b"[" * 200_000])
def test_a_refusal_without_a_message_points_at_proxies(body: bytes) -> None:
    error = error_of(HttpResponse(403, {}, body), NOW)

    assert type(error) is RefusedError
    assert error.what == "the service refused with HTTP 403 and no message"
    assert "proxy" in error.hint


def test_a_message_is_one_printable_line_of_bounded_length() -> None:
    error = error_of(refused("\x1b[31mred\x00\r\nnext\u202eline " + "x" * 5000), NOW)

    assert error.what.startswith("the service refused: [31mred next line x")
    assert error.what.isprintable()
    assert len(error.what) <= 330


def test_parse_raises_what_error_of_tells() -> None:
    with pytest.raises(CertificateRevokedError):
        parse(refused("Certificate revoked"), spec(), NOW)


# Dates of the head


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        (http_date(NOW + 30), 30.0),
        (http_date(NOW - 30), 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 30, None),
        ("\u0665", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(HttpResponse(503, {"retry-after": value}, b""), NOW) == seconds


def test_clock_skew_is_positive_when_we_are_ahead() -> None:
    assert clock_skew(HttpResponse(200, {"date": http_date(NOW - 10)}, b""), NOW) == 10
    assert clock_skew(HttpResponse(200, {}, b""), NOW) is None


def test_the_fakes_are_what_they_seem() -> None:
    assert rfc3339(EXPIRES) == "2027-01-15T09:00:00Z"
    assert http_date(NOW) == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert body_of(created(EXPIRES))["credentialSet"][0]["assumedRoleUser"]["arn"] == ASSUMED_ROLE_ARN
