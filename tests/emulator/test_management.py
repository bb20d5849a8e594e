"""boto3's client of Roles Anywhere: every operation of botocore's model, and every modelled error."""

from __future__ import annotations

import base64
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import create_loader
from botocore.model import ServiceModel

from rolesanywhere_helper.pki.certificates import CertificateAuthority, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.emulator.crl import crl_of
from tests.unit.emulator.signing import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.emulator.conftest import Accounts

    ErrorOf = Callable[[Callable[[], Any]], tuple[int, str, str]]

MODEL = ServiceModel(create_loader().load_service_model("rolesanywhere", "service-2"), "rolesanywhere")
NOBODY = "00000000-0000-4000-8000-000000000000"
ROLE = "arn:aws:iam::111122223333:role/Anything"
PCA = "arn:aws:acm-pca:us-east-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"


def snake(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def faults_in(shape: Any, value: Any, where: str = "") -> Iterator[str]:
    """Say where a parsed answer is not as its shape says: a required member is missing, a text has another form."""
    if shape.type_name == "structure":
        yield from (f"{where}.{name} is missing" for name in shape.required_members if name not in value)
        for name, part in value.items():
            if name != "ResponseMetadata":
                yield from faults_in(shape.members[name], part, f"{where}.{name}")
    elif shape.type_name == "list":
        for part in value:
            yield from faults_in(shape.member, part, f"{where}[]")
    elif shape.type_name == "string":
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, value):
            yield f"{where} is {value!r}"
        if shape.enum and value not in shape.enum:
            yield f"{where} is {value!r}"


class Walker:
    """Runs operations through boto3, checks every answer against the model, and remembers what has run."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.ran: dict[str, Any] = {}

    def __call__(self, operation: str, **asked: Any) -> Any:
        answer = getattr(self._client, snake(operation))(**asked)
        model = MODEL.operation_model(operation)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == model.http["responseCode"], operation
        assert model.output_shape is not None
        assert list(faults_in(model.output_shape, answer)) == [], operation
        return self.ran.setdefault(operation, answer) and answer


def test_every_operation_of_the_model_is_answered_as_the_model_says(accounts: Accounts) -> None:
    do = Walker(accounts.roles_anywhere)
    anchor = walk_trust_anchors(do, accounts)
    profile = walk_profiles(do)
    crl = walk_crls(do, accounts, anchor["trustAnchorArn"])
    walk_tags_and_subjects(do, accounts, anchor["trustAnchorArn"])
    assert do("DeleteCrl", crlId=crl["crlId"])["crl"]["crlId"] == crl["crlId"]
    profile_id, anchor_id = profile["profileId"], anchor["trustAnchorId"]
    assert do("DeleteProfile", profileId=profile_id)["profile"]["profileId"] == profile_id
    assert do("DeleteTrustAnchor", trustAnchorId=anchor_id)["trustAnchor"]["trustAnchorId"] == anchor_id

    assert set(do.ran) == set(MODEL.operation_names)
    assert len(do.ran) == 30


def walk_trust_anchors(do: Walker, accounts: Accounts) -> Any:
    pem = accounts.authority.pem.decode()
    source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": pem}}

    anchor = do("CreateTrustAnchor", name="mine", source=source, enabled=True, aliasName="a/b")["trustAnchor"]
    anchor_id, anchor_arn = anchor["trustAnchorId"], anchor["trustAnchorArn"]
    assert do("GetTrustAnchor", trustAnchorId=anchor_id)["trustAnchor"] == anchor
    assert do("UpdateTrustAnchor", trustAnchorId=anchor_arn, name="yours")["trustAnchor"]["name"] == "yours"
    assert do("DisableTrustAnchor", trustAnchorId=anchor["aliasArn"])["trustAnchor"]["enabled"] is False
    assert do("EnableTrustAnchor", trustAnchorId=anchor_id)["trustAnchor"]["enabled"] is True
    assert [found["name"] for found in do("ListTrustAnchors")["trustAnchors"]] == ["emulator", "yours"]
    setting = {"event": "CA_CERTIFICATE_EXPIRY", "enabled": True, "threshold": 10}
    put = do("PutNotificationSettings", trustAnchorId=anchor_id, notificationSettings=[setting])["trustAnchor"]
    assert {**setting, "channel": "ALL", "configuredBy": "111122223333"} in put["notificationSettings"]
    keys = [{"event": "CA_CERTIFICATE_EXPIRY"}]
    reset = do("ResetNotificationSettings", trustAnchorId=anchor_id, notificationSettingKeys=keys)["trustAnchor"]
    assert {one["configuredBy"] for one in reset["notificationSettings"]} == {"rolesanywhere.amazonaws.com"}
    return anchor


def walk_profiles(do: Walker) -> Any:
    profile = do("CreateProfile", name="mine", roleArns=[ROLE], sessionPolicy="{}", aliasName="p")["profile"]
    profile_id = profile["profileId"]
    assert (profile["enabled"], profile["durationSeconds"], profile["acceptRoleSessionName"]) == (False, 3600, False)
    assert do("GetProfile", profileId=profile["aliasArn"])["profile"] == profile
    updated = do("UpdateProfile", profileId=profile_id, durationSeconds=900, acceptRoleSessionName=True)["profile"]
    assert (updated["durationSeconds"], updated["acceptRoleSessionName"], updated["name"]) == (900, True, "mine")
    assert do("EnableProfile", profileId=profile_id)["profile"]["enabled"] is True
    assert do("DisableProfile", profileId=profile["profileArn"])["profile"]["enabled"] is False
    assert [found["name"] for found in do("ListProfiles")["profiles"]] == ["emulator", "mine"]
    field = {"profileId": profile_id, "certificateField": "x509Subject"}
    mapped = do("PutAttributeMapping", **field, mappingRules=[{"specifier": "OU"}])["profile"]
    assert _rules(mapped, "x509Subject") == ["*", "OU"]
    unmapped = do("DeleteAttributeMapping", **field, specifiers=["*"])["profile"]
    assert _rules(unmapped, "x509Subject") == ["OU"]
    return profile


def walk_crls(do: Walker, accounts: Accounts, anchor_arn: str) -> Any:
    data = crl_of(accounts.authority, 5)
    crl = do("ImportCrl", name="mine", crlData=data, trustAnchorArn=anchor_arn, enabled=True)["crl"]
    crl_id = crl["crlId"]
    assert (crl["crlData"], crl["trustAnchorArn"]) == (data, anchor_arn)
    assert do("GetCrl", crlId=crl["crlArn"])["crl"] == crl
    assert do("UpdateCrl", crlId=crl_id, aliasName="first")["crl"]["aliasArn"].endswith(":alias/crl/first")
    assert do("UpdateCrl", crlId=crl_id, aliasName="second")["crl"]["previousAliasName"] == "first"
    assert do("DisableCrl", crlId=crl_id)["crl"]["enabled"] is False
    assert do("EnableCrl", crlId=crl_id)["crl"]["enabled"] is True
    assert len(do("ListCrls")["crls"]) == 1
    return crl


def walk_tags_and_subjects(do: Walker, accounts: Accounts, anchor_arn: str) -> None:
    do("TagResource", resourceArn=anchor_arn, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": ""}])
    do("UntagResource", resourceArn=anchor_arn, tagKeys=["a"])
    assert do("ListTagsForResource", resourceArn=anchor_arn)["tags"] == [{"key": "b", "value": ""}]

    accounts.session(instanceProperties={"host": "a"})
    (seen,) = do("ListSubjects")["subjects"]
    subject = do("GetSubject", subjectId=seen["subjectId"])["subject"]
    assert (subject["x509Subject"], subject["credentials"][0]["failed"]) == ("CN=client", False)


def _rules(profile: Any, field: str) -> list[str]:
    (rules,) = [one["mappingRules"] for one in profile["attributeMappings"] if one["certificateField"] == field]
    return [rule["specifier"] for rule in rules]


def test_an_answer_that_the_model_does_not_allow_is_noticed() -> None:
    """The control of the walk."""
    shape = MODEL.operation_model("GetTrustAnchor").output_shape
    assert shape is not None
    assert list(faults_in(shape, {})) == [".trustAnchor is missing"]
    assert len(list(faults_in(shape, {"trustAnchor": {"trustAnchorId": "x", "trustAnchorArn": "y"}}))) == 2


def test_timestamps_are_iso_8601(accounts: Accounts) -> None:
    client = accounts.roles_anywhere
    bodies: list[bytes] = []
    client.meta.events.register("before-parse.*", lambda response_dict, **_: bodies.append(response_dict["body"]))
    client.get_trust_anchor(trustAnchorId=accounts.arns["trustAnchorArn"])
    assert re.search(rb'"createdAt": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"', bodies[0])


# Errors


def every_modelled_error() -> set[tuple[str, str]]:
    return {
        (operation, error.name)
        for operation in MODEL.operation_names
        for error in MODEL.operation_model(operation).error_shapes
    }


def asked_for(operation: str, identifier: str, accounts: Accounts) -> dict[str, Any]:
    """Return parameters that are well formed, and name a resource by this id."""
    shape = MODEL.operation_model(operation).input_shape
    account = "111122223333"
    known = {
        "name": "x",
        "source": {
            "sourceType": "CERTIFICATE_BUNDLE",
            "sourceData": {"x509CertificateData": accounts.authority.pem.decode()},
        },
        "roleArns": [ROLE],
        "crlData": b"x",
        "trustAnchorArn": f"arn:aws:rolesanywhere:us-east-1:{account}:trust-anchor/{identifier}",
        "resourceArn": f"arn:aws:rolesanywhere:us-east-1:{account}:profile/{identifier}",
        "certificateField": "x509Subject",
        "mappingRules": [{"specifier": "CN"}],
        "notificationSettings": [],
        "notificationSettingKeys": [],
        "tags": [],
        "tagKeys": [],
    }
    assert shape is not None
    return {name: known.get(name, identifier) for name in shape.required_members}


def test_what_there_is_not_is_not_found_by_any_operation(accounts: Accounts, error_of: ErrorOf) -> None:
    client = accounts.roles_anywhere
    names = {operation for operation, error in every_modelled_error() if error == "ResourceNotFoundException"}
    assert len(names) == 23
    for operation in sorted(names):
        asked = asked_for(operation, NOBODY, accounts)
        status, code, _ = error_of(partial(getattr(client, snake(operation)), **asked))
        assert (operation, status, code) == (operation, 404, "ResourceNotFoundException")


def test_unwritable_accounts_are_service_unavailable(accounts: Accounts, error_of: ErrorOf) -> None:
    client, state_file = accounts.roles_anywhere, accounts.emulator.directory.file("state.json")
    state_file.unlink()
    state_file.mkdir()  # in the way also of who may write everywhere
    try:
        refused = error_of(lambda: client.create_profile(name="x", roleArns=[]))
    finally:
        state_file.rmdir()
    assert refused[:2] == (503, "ServiceUnavailableException")
    assert "could not be written" in accounts.last()["reason"]
    assert [profile["name"] for profile in client.list_profiles()["profiles"]] == ["emulator"]
    assert client.create_profile(name="x", roleArns=[])["profile"]["name"] == "x"


def test_a_fault_makes_any_operation_unavailable_denied_or_invalid(accounts: Accounts, error_of: ErrorOf) -> None:
    client = accounts.roles_anywhere
    statuses = {
        "ServiceUnavailableException": 503,
        "AccessDeniedException": 403,
        "ValidationException": 400,
        "ResourceNotFoundException": 404,
        "TooManyTagsException": 400,
    }
    for operation, error in sorted(every_modelled_error()):
        accounts.emulator.set_fault(operation=operation, status=statuses[error], type=error, message="ordered", times=1)
        asked = asked_for(operation, NOBODY, accounts)
        found = error_of(partial(getattr(client, snake(operation)), **asked))
        assert found == (statuses[error], error, "ordered")
        assert error in dir(client.exceptions)


def test_another_accounts_resource_is_denied(accounts: Accounts, error_of: ErrorOf) -> None:
    other = accounts.administrator(other=True).client("rolesanywhere")
    arn = accounts.arns["profileArn"]
    assert error_of(lambda: other.get_profile(profileId=arn))[:2] == (403, "AccessDeniedException")
    assert error_of(lambda: other.get_profile(profileId=arn.rpartition("/")[2]))[0] == 404
    assert other.list_profiles()["profiles"] == []
    assert accounts.roles_anywhere.get_profile(profileId=arn)["profile"]["name"] == "emulator"


def test_another_accounts_role_cannot_be_handed_to_the_service(accounts: Accounts, error_of: ErrorOf) -> None:
    client, own = accounts.roles_anywhere, accounts.arns["roleArn"]
    foreign, profile = accounts.emulator.state.origin.other_role_arn, accounts.arns["profileArn"]
    denied = (403, "AccessDeniedException", "Cross-account pass role is not allowed.")
    assert error_of(lambda: client.create_profile(name="x", roleArns=[own, foreign])) == denied
    assert error_of(lambda: client.update_profile(profileId=profile, roleArns=[foreign])) == denied
    assert client.get_profile(profileId=profile)["profile"]["roleArns"] == [own]
    other = accounts.administrator(other=True).client("rolesanywhere")
    assert other.create_profile(name="x", roleArns=[foreign])["profile"]["roleArns"] == [foreign]


INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("create_profile", {"name": "a|b", "roleArns": []}, "regular expression"),
    ("create_profile", {"name": "x", "roleArns": ["no role"]}, "roleArns.1.member"),
    ("create_profile", {"name": "x", "roleArns": [], "sessionPolicy": "no JSON"}, "sessionPolicy"),
    ("create_profile", {"name": "x", "roleArns": [], "managedPolicyArns": ["x"]}, "managedPolicyArns"),
    ("create_profile", {"name": "x", "roleArns": [], "aliasName": "AWS/x"}, "reserved"),
    ("create_profile", {"name": "x", "roleArns": [], "aliasName": "emulator"}, "in use"),
    ("create_profile", {"name": "x", "roleArns": [], "aliasName": "a//b"}, "regular expression"),
    ("create_profile", {"name": "x", "roleArns": [], "tags": [{"key": "a", "value": "1"}] * 2}, "Duplicate"),
    ("create_profile", {"name": "x", "roleArns": [], "tags": [{"key": "aws:a", "value": "1"}]}, "reserved"),
    ("create_trust_anchor", {"name": "x", "source": {}}, "source"),
    (
        "create_trust_anchor",
        {"name": "x", "source": {"sourceType": "AWS_ACM_PCA", "sourceData": {"acmPcaArn": "x"}}},
        "acmPcaArn",
    ),
    (
        "create_trust_anchor",
        {"name": "x", "source": {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": "x"}}},
        "Unable to parse",
    ),
    ("list_profiles", {"nextToken": "x"}, "nextToken"),
    ("list_profiles", {"pageSize": 0}, "pageSize"),
    ("list_tags_for_resource", {"resourceArn": "x"}, "resourceArn"),
    ("get_trust_anchor", {"trustAnchorId": "x"}, "regular expression"),
]


@pytest.mark.parametrize(("operation", "asked", "said"), INVALID, ids=lambda value: str(value)[:60])
def test_what_the_model_or_the_documentation_forbids_is_a_validation_error(
    accounts: Accounts, error_of: ErrorOf, operation: str, asked: dict[str, Any], said: str
) -> None:
    status, code, message = error_of(lambda: getattr(accounts.roles_anywhere, operation)(**asked))
    assert (status, code) == (400, "ValidationException")
    assert said in message


def test_what_boto3_would_not_send_is_validated_too(accounts: Accounts, error_of: ErrorOf) -> None:
    """Without the client's own validation: as another SDK, or none, would send it."""
    client = accounts.administrator().client("rolesanywhere")
    client.meta.events.register("before-call.*", lambda params, **_: params.update(body=BODIES[0]))
    for body, said in (
        (b"{}", "'name' failed to satisfy constraint: Member must not be null"),
        (b'{"name": "", "roleArns": []}', "greater than or equal to 1"),
        (b'{"name": 5, "roleArns": {}}', "2 validation errors detected"),
        (b'{"name": "x", "roleArns": [], "durationSeconds": 899}', "value greater than or equal to 900"),
        (b'{"name": "x", "roleArns": [], "durationSeconds": 43201}', "value less than or equal to 43200"),
        (b'{"name": "x", "roleArns": [], "enabled": "yes"}', "must be a boolean"),
        (b'{"name": "x", "roleArns": [], "tags": [{"key": "a", "value": null}]}', "'tags.1.member.value' failed"),
        (b'{"name": "x", "roleArns": [], "tags": [5]}', "must be an object"),
        (b'{"name": "x", "roleArns": null}', "'roleArns' failed to satisfy constraint: Member must not be null"),
    ):
        BODIES[:] = [body]
        status, code, message = error_of(lambda: client.create_profile(name="x", roleArns=[]))
        assert (status, code) == (400, "ValidationException")
        assert said in message
    BODIES[:] = [b"{"]
    assert error_of(lambda: client.create_profile(name="x", roleArns=[]))[1] == "SerializationException"


BODIES: list[bytes] = []


def test_a_leaf_is_no_trust_anchor(accounts: Accounts, error_of: ErrorOf) -> None:
    data = {"x509CertificateData": accounts.leaf().pem.decode()}
    source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": data}
    refused = error_of(lambda: accounts.roles_anywhere.create_trust_anchor(name="x", source=source))
    assert refused == (400, "ValidationException", "Incorrect basic constraints for CA certificate")


def test_more_tags_than_a_resource_can_have_are_too_many(accounts: Accounts, error_of: ErrorOf) -> None:
    client, arn = accounts.roles_anywhere, accounts.arns["profileArn"]
    client.tag_resource(resourceArn=arn, tags=[{"key": f"k{number}", "value": ""} for number in range(200)])
    client.tag_resource(resourceArn=arn, tags=[{"key": "k0", "value": "new"}])
    more = [{"key": "one more", "value": ""}]
    refused = error_of(lambda: client.tag_resource(resourceArn=arn, tags=more))
    assert refused[:2] == (400, "TooManyTagsException")
    assert len(client.list_tags_for_resource(resourceArn=arn)["tags"]) == 200


def test_quotas_are_the_documented_ones(accounts: Accounts, error_of: ErrorOf) -> None:
    client, anchor = accounts.roles_anywhere, accounts.arns["trustAnchorArn"]
    data = crl_of(accounts.authority)
    for _ in range(2):
        client.import_crl(name="x", crlData=data, trustAnchorArn=anchor)
    refused = error_of(lambda: client.import_crl(name="x", crlData=data, trustAnchorArn=anchor))
    assert refused[:2] == (400, "ValidationException")
    source = {"sourceType": "SELF_SIGNED_REPOSITORY"}
    for _ in range(49):
        client.create_trust_anchor(name="x", source=source)
    assert "quota" in error_of(lambda: client.create_trust_anchor(name="x", source=source))[2]


# Who may


def test_without_a_good_signature_nothing_is_told(accounts: Accounts, error_of: ErrorOf) -> None:
    administrator = accounts.administrator()
    wrong = type(administrator)(accounts.endpoint, administrator.access_key_id, "x" * 40).client("rolesanywhere")
    unknown = type(administrator)(accounts.endpoint, "AKIAAAAAAAAAAAAAAAAA", "x" * 40).client("rolesanywhere")
    elsewhere = administrator.client("rolesanywhere", "eu-west-1")
    assert error_of(wrong.list_profiles)[:2] == (403, "InvalidSignatureException")
    assert error_of(unknown.list_profiles)[:2] == (403, "UnrecognizedClientException")
    assert error_of(elsewhere.list_profiles)[:2] == (403, "InvalidSignatureException")
    bare = call(accounts.endpoint, "GET", "/profiles")
    assert bare.refusal[:2] == (403, "MissingAuthenticationTokenException")
    assert administrator.client("rolesanywhere").list_profiles()["profiles"]


def test_issued_credentials_are_as_good_as_the_administrators(accounts: Accounts) -> None:
    client = accounts.session(roleSessionName="deploy").client("rolesanywhere")
    assert client.list_profiles()["profiles"][0]["name"] == "emulator"
    assert (accounts.last()["operation"], accounts.last()["roleSessionName"]) == ("ListProfiles", "deploy")


# Lists


def test_pages_hold_everything_once_also_when_something_is_deleted_between_them(accounts: Accounts) -> None:
    client = accounts.roles_anywhere
    made = [client.create_profile(name=f"p{number}", roleArns=[])["profile"]["profileId"] for number in range(7)]
    first = client.list_profiles(pageSize=3)
    assert len(first["profiles"]) == 3
    for profile in first["profiles"]:
        client.delete_profile(profileId=profile["profileId"])
    second = client.list_profiles(pageSize=3, nextToken=first["nextToken"])
    third = client.list_profiles(pageSize=3, nextToken=second["nextToken"])
    assert "nextToken" not in third
    seen = [profile["profileId"] for page in (first, second, third) for profile in page["profiles"]]
    assert seen[1:] == made
    assert len(set(seen)) == 8


def test_a_token_of_another_list_is_none(accounts: Accounts, error_of: ErrorOf) -> None:
    client = accounts.roles_anywhere
    client.create_profile(name="second", roleArns=[])
    token = client.list_profiles(pageSize=1)["nextToken"]
    assert error_of(lambda: client.list_trust_anchors(nextToken=token))[:2] == (400, "ValidationException")


@pytest.mark.parametrize("moment", ["NaN", "Infinity", "-Infinity"])
def test_a_token_without_a_moment_is_none(accounts: Accounts, error_of: ErrorOf, moment: str) -> None:
    client = accounts.roles_anywhere
    good, bad = (base64.b64encode(f'["profiles", {each}, ""]'.encode()).decode() for each in ("0.0", moment))
    assert client.list_profiles(nextToken=good)["profiles"]
    assert error_of(lambda: client.list_profiles(nextToken=bad))[:2] == (400, "ValidationException")


def test_boto3s_paginators_come_to_an_end(accounts: Accounts) -> None:
    client = accounts.roles_anywhere
    for number in range(59):
        client.create_profile(name=f"p{number}", roleArns=[])
    assert [len(page["profiles"]) for page in client.get_paginator("list_profiles").paginate()] == [50, 10]


# Aliases


def test_an_alias_moves_from_one_resource_to_another(accounts: Accounts, error_of: ErrorOf) -> None:
    client = accounts.roles_anywhere
    first, second = (client.create_profile(name=name, roleArns=[])["profile"]["profileId"] for name in "ab")
    arn = client.update_profile(profileId=first, aliasName="it")["profile"]["aliasArn"]
    taken = error_of(lambda: client.update_profile(profileId=second, aliasName="it"))
    assert taken[:2] == (400, "ValidationException")
    gone = client.update_profile(profileId=first, aliasName="")["profile"]
    assert gone["previousAliasName"] == "it"
    assert "aliasArn" not in gone
    assert error_of(lambda: client.get_profile(profileId=arn))[0] == 404
    client.update_profile(profileId=second, aliasName="it")
    assert client.get_profile(profileId=arn)["profile"]["profileId"] == second


def test_a_crl_is_not_imported_by_an_alias_arn(accounts: Accounts, error_of: ErrorOf) -> None:
    client = accounts.roles_anywhere
    alias = client.get_trust_anchor(trustAnchorId=accounts.arns["trustAnchorArn"])["trustAnchor"]["aliasArn"]
    data = crl_of(accounts.authority)
    assert error_of(lambda: client.import_crl(name="x", crlData=data, trustAnchorArn=alias))[0] == 404


@pytest.mark.parametrize("data", ["of a stranger", "noise"])
def test_a_crl_that_is_not_the_trust_anchors_is_refused(
    accounts: Accounts, stranger: CertificateAuthority, error_of: ErrorOf, data: str
) -> None:
    client, anchor = accounts.roles_anywhere, accounts.arns["trustAnchorArn"]
    content = crl_of(stranger, 1) if data == "of a stranger" else b"noise"
    refused = error_of(lambda: client.import_crl(name="x", crlData=content, trustAnchorArn=anchor))
    assert refused[:2] == (400, "ValidationException")


def test_crl_data_holds_one_crl(accounts: Accounts, error_of: ErrorOf) -> None:
    client, anchor = accounts.roles_anywhere, accounts.arns["trustAnchorArn"]
    one, two = crl_of(accounts.authority, 1), crl_of(accounts.authority, 2)
    crl = client.import_crl(name="x", crlData=b"some text before it\n" + one, trustAnchorArn=anchor)["crl"]["crlId"]
    for data in (one + two, one + accounts.authority.pem):
        message = "There is more than one PEM block in crlData: a single X.509 CRL is expected"
        expected = (400, "ValidationException", message)
        assert error_of(partial(client.import_crl, name="y", crlData=data, trustAnchorArn=anchor)) == expected
        assert error_of(partial(client.update_crl, crlId=crl, crlData=data)) == expected
    in_der = b"".join(crl_of(accounts.authority, serial, pem=False) for serial in (1, 2))
    assert error_of(lambda: client.update_crl(crlId=crl, crlData=in_der))[:2] == (400, "ValidationException")
    assert client.get_crl(crlId=crl)["crl"]["crlData"].endswith(one)
    assert client.update_crl(crlId=crl, crlData=two)["crl"]["crlData"] == two


def test_a_stranger_with_the_cas_name_cannot_revoke(accounts: Accounts, error_of: ErrorOf) -> None:
    (name,) = accounts.authority.certificate.subject
    impostor = CertificateAuthority.root(str(name.value), Validity(1_000_000_000, 4_000_000_000), KeyKind.P_256)
    client, anchor = accounts.roles_anywhere, accounts.arns["trustAnchorArn"]
    data = crl_of(impostor, 1)
    assert error_of(lambda: client.import_crl(name="x", crlData=data, trustAnchorArn=anchor))[0] == 400


# Sources


def test_a_private_ca_is_played_by_the_emulators_own_ca_or_by_one_that_is_registered(
    accounts: Accounts, stranger: CertificateAuthority
) -> None:
    client = accounts.roles_anywhere
    source = {"sourceType": "AWS_ACM_PCA", "sourceData": {"acmPcaArn": PCA}}
    anchor = client.create_trust_anchor(name="pca", source=source, enabled=True)["trustAnchor"]
    assert anchor["source"] == source
    arn = anchor["trustAnchorArn"]
    assert accounts.create_session(trustAnchorArn=arn).status == 201
    assert accounts.create_session(accounts.leaf(stranger), trustAnchorArn=arn).status == 403
    document = {"arn": PCA, "certificate": stranger.pem.decode()}
    assert accounts.control("POST", "private-authorities", document).status == 200
    assert accounts.create_session(accounts.leaf(stranger), trustAnchorArn=arn).status == 201
    assert accounts.create_session(trustAnchorArn=arn).status == 403


def test_a_self_signed_repository_trusts_what_is_in_it(accounts: Accounts, stranger: CertificateAuthority) -> None:
    client = accounts.roles_anywhere
    leaf, other = accounts.leaf(stranger), accounts.leaf(stranger)
    source = {"sourceType": "SELF_SIGNED_REPOSITORY", "sourceData": {"x509CertificateData": leaf.pem.decode()}}
    arn = client.create_trust_anchor(name="self", source=source, enabled=True)["trustAnchor"]["trustAnchorArn"]
    assert accounts.create_session(leaf, trustAnchorArn=arn).status == 201
    assert accounts.create_session(other, trustAnchorArn=arn).refusal[2] == "Untrusted signing certificate"
    empty = {"sourceType": "SELF_SIGNED_REPOSITORY"}
    arn = client.create_trust_anchor(name="none", source=empty, enabled=True)["trustAnchor"]["trustAnchorArn"]
    assert accounts.create_session(leaf, trustAnchorArn=arn).refusal[2] == "Untrusted signing certificate"
