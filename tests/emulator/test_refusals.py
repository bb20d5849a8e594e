"""What AWS refuses, with AWS's codes: names, tags, durations, session policies, policy documents, private keys."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.emulator.policy_documents import MalformedPolicyError, require_identity_policy
from rolesanywhere_helper.emulator.trust_policies import require_well_formed
from rolesanywhere_helper.pki.certificates import CertificateAuthority, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from tests.emulator.crl import crl_of
from tests.unit.emulator.signing import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.emulator.conftest import Accounts

    ErrorOf = Callable[[Callable[[], Any]], tuple[int, str, str]]

ALL = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
TRUST: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": ALL}
ROLE = {"RoleName": "EmulatorRole"}
ARN = "arn:aws:iam::111122223333:role/Open"
DUPLICATE = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
ALLOW: dict[str, Any] = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}


def document(*statements: Any, **others: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **others})


def without(statement: dict[str, Any], name: str, **others: Any) -> dict[str, Any]:
    return {**{other: value for other, value in statement.items() if other != name}, **others}


def tags(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in pairs]


@pytest.fixture
def assume(accounts: Accounts) -> Callable[..., Any]:
    """Return AssumeRole, called by the administrator, of a role that lets the account in for two hours."""
    accounts.iam.create_role(RoleName="Open", AssumeRolePolicyDocument=document(TRUST), MaxSessionDuration=7200)
    sts = accounts.administrator().client("sts")
    return partial(sts.assume_role, RoleArn=ARN, RoleSessionName="me")


NAMES: list[tuple[dict[str, Any], str]] = [
    ({"SourceIdentity": "a b"}, "Value 'a b' at 'sourceIdentity' failed to satisfy constraint"),
    ({"SourceIdentity": "aws:me"}, "'sourceIdentity' failed"),
    ({"SourceIdentity": "a" * 65}, "length less than or equal to 64"),
    ({"RoleSessionName": "a/b"}, "Value 'a/b' at 'roleSessionName' failed"),
    ({"RoleSessionName": "ä" * 2}, "'roleSessionName' failed"),
    ({"RoleSessionName": "a" * 65}, "length less than or equal to 64"),
    ({"ExternalId": "a b"}, "Value at 'externalId' failed"),
    ({"ExternalId": "a" * 1225}, "length less than or equal to 1224"),
    ({"RoleArn": "arn:aws:iam::111122223333"}, "arn:aws:iam::111122223333 is invalid"),
    ({"DurationSeconds": 7201}, "exceeds the MaxSessionDuration"),
    ({"PolicyArns": [{"arn": READ_ONLY}] * 11}, "'policyArns' failed .* less than or equal to 10"),
    ({"PolicyArns": [{"arn": "arn:aws:s3:::a-bucket-or-so"}]}, "is invalid"),
    ({"Tags": tags(*((f"k{number}", "") for number in range(51)))}, "'tags' failed .* less than or equal to 50"),
    ({"Tags": tags(("a|b", ""))}, r"'tags.1.member.key' failed"),
]


def test_names_and_lengths_that_sts_does_not_take(assume: Callable[..., Any], error_of: ErrorOf) -> None:
    for asked, said in NAMES:
        status, code, message = error_of(partial(assume, **asked))
        assert (asked, status, code) == (asked, 400, "ValidationError")
        assert re.search(said, message), message
    at_the_limit = {"RoleSessionName": "=,.@-_" + "a" * 58, "ExternalId": "a:/" * 408, "SourceIdentity": "CN=a@b"}
    assert assume(**at_the_limit, PolicyArns=[{"arn": READ_ONLY}] * 10, DurationSeconds=7200)


def test_a_number_that_is_none_is_refused(assume: Callable[..., Any], accounts: Accounts) -> None:
    administrator = accounts.administrator().client("sts")
    administrator.meta.events.register(
        "before-call.sts", lambda params, **_: params["body"].update(DurationSeconds="an hour")
    )
    with pytest.raises(administrator.exceptions.ClientError, match=r"'durationSeconds' failed .* an integer"):
        administrator.assume_role(RoleArn=ARN, RoleSessionName="me")
    assert assume(DurationSeconds=900)


def test_session_tags_that_sts_does_not_take(assume: Callable[..., Any], error_of: ErrorOf) -> None:
    team = tags(("Team", "a"))
    for asked, said in (
        ({"Tags": tags(("team", "a"), ("team", "b"))}, DUPLICATE),
        ({"Tags": tags(("team", "a"), ("TEAM", "b"))}, DUPLICATE),
        ({"Tags": tags(("aws:team", "a"))}, "Tag keys that start with aws: are reserved for system use."),
        ({"Tags": tags(("AWS:team", "a"))}, "Tag keys that start with aws: are reserved for system use."),
        (
            {"Tags": team, "TransitiveTagKeys": ["Teams"]},
            "The specified transitive tag key must be included in the requested tags.",
        ),
        (
            {"TransitiveTagKeys": ["Team"]},
            "The specified transitive tag key must be included in the requested tags.",
        ),
    ):
        refused = error_of(partial(assume, **asked))
        assert refused == (400, "InvalidParameterValue", said)
    assert assume(Tags=team, TransitiveTagKeys=["TEAM"])
    assert assume(Tags=tags(("Ünï codé 部 Ⅷ", "=+-@:/._ é")))


def test_what_a_session_inherits_counts_too(assume: Callable[..., Any], accounts: Accounts, error_of: ErrorOf) -> None:
    keys = [f"k{number}" for number in range(30)]
    made = assume(Tags=tags(*((key, "") for key in keys)), TransitiveTagKeys=keys)["Credentials"]
    administrator = accounts.administrator()
    chained = type(administrator)(
        accounts.endpoint, made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"]
    ).client("sts")
    again = partial(chained.assume_role, RoleArn=ARN, RoleSessionName="me")
    status, code, message = error_of(partial(again, Tags=tags(("K3", ""))))
    assert (status, code) == (400, "InvalidParameterValue")
    assert message.endswith("because it conflicts with a transitive tag key from the calling session.")
    more = tags(*((f"m{number}", "") for number in range(21)))
    assert error_of(partial(again, Tags=more))[:2] == (400, "InvalidParameterValue")
    assert error_of(partial(again, DurationSeconds=3601))[:2] == (400, "ValidationError")
    assert again(Tags=more[:20], DurationSeconds=3600)


def test_session_policies_that_sts_does_not_take(assume: Callable[..., Any], error_of: ErrorOf) -> None:
    large = document({**ALLOW, "Resource": [f"arn:aws:s3:::bucket-{number}/*" for number in range(100)]})
    for text, code, said in (
        ("no JSON", "MalformedPolicyDocument", "This policy contains invalid Json"),
        (document(TRUST), "MalformedPolicyDocument", "Policy document should not specify a principal."),
        (document(without(ALLOW, "Resource")), "MalformedPolicyDocument", "Policy statement must contain resources."),
        (large, "PackedPolicyTooLarge", "Packed policy consumes"),
    ):
        status, found, message = error_of(partial(assume, Policy=text))
        assert (status, found) == (400, code)
        assert message.startswith(said)
    assert assume(Policy=document(ALLOW))


def test_errors_are_those_of_the_clients_model(assume: Callable[..., Any], accounts: Accounts) -> None:
    """Boto3 raises the modelled exception, and the request list has the reason's text."""
    sts, iam = accounts.administrator().client("sts"), accounts.iam
    with pytest.raises(sts.exceptions.MalformedPolicyDocumentException):
        sts.assume_role(RoleArn=ARN, RoleSessionName="me", Policy="{}")
    with pytest.raises(sts.exceptions.PackedPolicyTooLargeException):
        sts.assume_role(RoleArn=ARN, RoleSessionName="me", Policy=document(ALLOW) + " " * 2048)
    with pytest.raises(iam.exceptions.MalformedPolicyDocumentException):
        iam.update_assume_role_policy(**ROLE, PolicyDocument="{}")
    with pytest.raises(iam.exceptions.InvalidInputException):
        iam.tag_role(**ROLE, Tags=tags(("a", ""), ("A", "")))
    with pytest.raises(iam.exceptions.LimitExceededException):
        iam.update_assume_role_policy(**ROLE, PolicyDocument=document(TRUST, Id="x" * 2048))
    assert accounts.last()["error"] == "Cannot exceed quota for ACLSizePerRole: 2048"
    assert assume()


def test_tags_of_a_role_that_iam_does_not_take(accounts: Accounts, error_of: ErrorOf) -> None:
    iam = accounts.iam
    create = partial(iam.create_role, RoleName="New", AssumeRolePolicyDocument=document(TRUST))
    for act in (partial(iam.tag_role, **ROLE), create):
        for given, code in (
            (tags(("a", "1"), ("a", "2")), "InvalidInput"),
            (tags(("a", "1"), ("A", "2")), "InvalidInput"),
            (tags(("aws:a", "1")), "InvalidInput"),
            (tags(("a*", "1")), "ValidationError"),
            (tags(("a", "*")), "ValidationError"),
            (tags(("a" * 129, "1")), "ValidationError"),
            (tags(("a", "1" * 257)), "ValidationError"),
            (tags(*((f"k{number}", "") for number in range(51))), "ValidationError"),
        ):
            assert error_of(partial(act, Tags=given))[:2] == (400, code), given
    iam.tag_role(**ROLE, Tags=tags(*((f"k{number}", "") for number in range(50))))
    assert error_of(lambda: iam.tag_role(**ROLE, Tags=tags(("more", ""))))[:2] == (409, "LimitExceeded")
    iam.tag_role(**ROLE, Tags=tags(("K7", "new")))
    kept = {tag["Key"]: tag["Value"] for tag in iam.list_role_tags(**ROLE)["Tags"]}
    assert (len(kept), kept["K7"]) == (50, "new")
    iam.untag_role(**ROLE, TagKeys=["k7"])
    assert "K7" not in {tag["Key"] for tag in iam.list_role_tags(**ROLE)["Tags"]}
    assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == ["EmulatorRole"]


def test_policies_of_a_role_that_iam_does_not_take(accounts: Accounts, error_of: ErrorOf) -> None:
    iam = accounts.iam
    put = partial(iam.put_role_policy, **ROLE, PolicyName="p")
    assert error_of(lambda: put(PolicyDocument=document(TRUST)))[:2] == (400, "MalformedPolicyDocument")
    large = document({**ALLOW, "Resource": [f"arn:aws:s3:::bucket-{number}/*" for number in range(300)]})
    put(PolicyDocument=large)
    more = error_of(lambda: iam.put_role_policy(**ROLE, PolicyName="q", PolicyDocument=large))
    assert more == (409, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role EmulatorRole")
    put(PolicyDocument=large)
    managed = [f"{READ_ONLY}{number}" for number in range(11)]
    for arn in managed[:10]:
        iam.attach_role_policy(**ROLE, PolicyArn=arn)
    iam.attach_role_policy(**ROLE, PolicyArn=managed[0])
    refused = error_of(lambda: iam.attach_role_policy(**ROLE, PolicyArn=managed[10]))
    assert refused == (409, "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10")
    boundary = partial(iam.create_role, RoleName="New", AssumeRolePolicyDocument=document(TRUST))
    assert error_of(lambda: boundary(PermissionsBoundary=ARN))[:2] == (400, "InvalidInput")
    assert boundary(PermissionsBoundary=READ_ONLY)


# Policy documents

SYNTAX = "Syntax errors in policy."
NO_VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
ONLY_STS = "AssumeRole policy may only specify STS AssumeRole actions."
PRINCIPAL = 'Invalid principal in policy: "{}":"{}"'
# Of either kind of policy: what takes the place of a part of a good statement.
COMMON: list[tuple[dict[str, Any], str]] = [
    ({"Effect": "Maybe"}, SYNTAX),
    ({"Effect": "allow"}, SYNTAX),
    ({"Effect": ["Allow"]}, SYNTAX),
    ({"Sid": "a b"}, "Statement IDs (SID) must be alpha-numeric."),
    ({"Sid": 5}, SYNTAX),
    ({"Action": []}, "Policy statement must contain actions."),
    ({"Action": ""}, NO_VENDOR),
    ({"Action": "AssumeRole"}, NO_VENDOR),
    ({"Action": "sts:Assume:Role"}, "Actions/Condition can contain only one colon."),
    ({"Action": "s t s:AssumeRole"}, "Vendor s t s is not valid"),
    ({"Action": "sts:Assume Role"}, SYNTAX),
    ({"Action": "sts:"}, SYNTAX),
    ({"Action": 5}, SYNTAX),
    ({"NotAction": "sts:AssumeRole"}, SYNTAX),
    ({"Colour": "red"}, SYNTAX),
    ({"Condition": []}, SYNTAX),
    ({"Condition": {"StringEquals": "aws:SourceArn"}}, SYNTAX),
    ({"Condition": {"StringSame": {"aws:SourceArn": "x"}}}, "Invalid Condition type : StringSame"),
    ({"Condition": {"stringequals": {"aws:SourceArn": "x"}}}, "Invalid Condition type : stringequals"),
    ({"Condition": {"StringEquals": {"SourceArn": "x"}}}, NO_VENDOR),
    ({"Condition": {"StringEquals": {"aws:SourceArn": {"x": "y"}}}}, SYNTAX),
]
OF_TRUST: list[tuple[dict[str, Any], str]] = [
    ({"Resource": "*"}, "Has prohibited field Resource"),
    ({"NotResource": "*"}, "Has prohibited field NotResource"),
    ({"Action": "s3:GetObject"}, ONLY_STS),
    ({"Action": ["sts:AssumeRole", "sts:AssumeRoleWithWebIdendity"]}, ONLY_STS),
    ({"Principal": None}, SYNTAX),
    ({"Principal": {}}, SYNTAX),
    ({"Principal": []}, SYNTAX),
    ({"Principal": "111122223333"}, SYNTAX),
    ({"Principal": {"Servant": "*"}}, SYNTAX),
    ({"Principal": {"AWS": 111122223333}}, SYNTAX),
    ({"NotPrincipal": "*"}, SYNTAX),
    ({"Principal": {"Service": "*"}}, PRINCIPAL.format("SERVICE", "*")),
    ({"Principal": {"Service": "rolesanywhere"}}, PRINCIPAL.format("SERVICE", "rolesanywhere")),
    ({"Principal": {"Federated": "*"}}, "Federated principals must be valid domain names or SAML metadata ARNs"),
    *(
        ({"Principal": {"AWS": ["111122223333", name]}}, PRINCIPAL.format("AWS", name))
        for name in (
            "somebody",
            "11112222333",
            "arn:aws:iam::111122223333:role/*",
            "arn:aws:iam::111122223333:role/Deploy-*",
            "arn:aws:iam::111122223333:role/p*th/Deploy",
            "arn:aws:iam::*:role/Deploy",
            "arn:aws:iam::*:root",
            "arn:aws:iam::111122223333:group/admins",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam:us-east-1:111122223333:root",
            "arn:aws:sts::111122223333:assumed-role/Deploy/*",
            "arn:aws:sts::111122223333:assumed-role/Deploy",
            "arn:aws:s3:::bucket",
        )
    ),
]
OF_IDENTITY: list[tuple[dict[str, Any], str]] = [
    ({"Principal": "*"}, "Policy document should not specify a principal."),
    ({"Resource": []}, "Policy statement must contain resources."),
    ({"Resource": "bucket"}, 'Resource bucket must be in ARN format or "*".'),
    ({"Resource": 5}, SYNTAX),
    ({"NotResource": "*"}, SYNTAX),
]


@pytest.mark.parametrize(
    ("require", "good", "bad"),
    [(require_well_formed, TRUST, [*COMMON, *OF_TRUST]), (require_identity_policy, ALLOW, [*COMMON, *OF_IDENTITY])],
    ids=["trust", "identity"],
)
def test_a_statement_is_refused_for_what_is_wrong_with_it(
    require: Callable[[str], None], good: dict[str, Any], bad: list[tuple[dict[str, Any], str]]
) -> None:
    require(document(good))
    require(document({**good, "Sid": "A1"}, {**good, "Sid": "A2"}, good, good))
    condition = {"StringEquals": {"aws:SourceArn": ["x"]}, "Bool": {"aws:SecureTransport": True}}
    require(document({**good, "Condition": condition}))
    wholes: list[tuple[str, str]] = [
        ("", "This policy contains invalid Json"),
        (document(good)[:-1], "This policy contains invalid Json"),
        (document({**good, "Sid": float("nan")}), "This policy contains invalid Json"),
        ("[" * 100_000, "This policy contains invalid Json"),
        ("[]", SYNTAX),
        ("{}", SYNTAX),
        (document(), SYNTAX),
        (document("x"), SYNTAX),
        (document(good, Statements=[]), SYNTAX),
        (document(good, Version="2012-10-18"), "The policy must contain a valid version string."),
        (document(good, Version=["2012-10-17"]), "The policy must contain a valid version string."),
        (
            document({**good, "Sid": "A"}, {**good, "Sid": "A"}),
            "Statement IDs (SID) in a single policy must be unique.",
        ),
        (document(without(good, "Effect")), "Missing required field Effect"),
        (document(without(good, "Action")), "Policy statement must contain actions."),
    ]
    for text, said in (*wholes, *((document(good, {**good, **change}), said) for change, said in bad)):
        with pytest.raises(MalformedPolicyError) as caught:
            require(text)
        assert str(caught.value).startswith(said), text[:200]


def test_a_good_trust_policy_is_taken() -> None:
    changes: list[dict[str, Any]] = [
        {"Principal": "*"},
        {"Principal": {"AWS": "*"}},
        {"Principal": {"AWS": "arn:aws-cn:iam::111122223333:role/a/b/Deploy@x"}},
        {"Principal": {"AWS": ["arn:aws:iam::111122223333:user/me", "arn:aws:iam::111122223333:root"]}},
        {"Principal": {"AWS": "arn:aws:sts::111122223333:federated-user/me"}},
        {"Principal": {"Service": ["rolesanywhere.amazonaws.com", "ec2.amazonaws.com.cn"]}},
        {"Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/token.example.com/a"}},
        {"Principal": {"Federated": "accounts.google.com"}},
        {"Action": "*"},
        {"Action": "sts:*"},
        {"Action": "STS:assumerole*"},
    ]
    for change in changes:
        require_well_formed(document({**TRUST, **change}))
        require_well_formed(json.dumps({"Statement": {**TRUST, **change}}))


def test_a_trust_policy_without_a_principal_is_refused(accounts: Accounts, error_of: ErrorOf) -> None:
    text = document(without(TRUST, "Principal"))
    update = partial(accounts.iam.update_assume_role_policy, **ROLE)
    assert error_of(lambda: update(PolicyDocument=text)) == (
        400,
        "MalformedPolicyDocument",
        "Missing required field Principal",
    )
    assert error_of(lambda: accounts.iam.create_role(RoleName="New", AssumeRolePolicyDocument=text))[0] == 400
    # White space does not count.
    update(PolicyDocument=json.dumps(json.loads(document(TRUST)), indent=200))


def test_a_trust_policy_names_roles_that_there_are(accounts: Accounts, error_of: ErrorOf) -> None:
    def update(name: str) -> Any:
        text = document({**TRUST, "Principal": {"AWS": ["111122223333", name]}})
        return accounts.iam.update_assume_role_policy(**ROLE, PolicyDocument=text)

    other = accounts.emulator.state.accounts[1]
    gone = (
        "arn:aws:iam::111122223333:role/Nobody",
        "arn:aws:iam::111122223333:role/path/EmulatorRole",
        f"arn:aws:iam::{other}:role/EmulatorRole",
        "arn:aws:sts::111122223333:assumed-role/Nobody/me",
    )
    for name in gone:
        refused = error_of(partial(update, name))
        assert refused == (400, "MalformedPolicyDocument", PRINCIPAL.format("AWS", name))
    there = (
        "arn:aws:iam::111122223333:role/EmulatorRole",
        f"arn:aws:iam::{other}:role/Consultant",
        "arn:aws:sts::111122223333:assumed-role/EmulatorRole/anybody",
        "arn:aws:iam::999999999999:role/Unknown",
        "arn:aws:iam::111122223333:user/somebody",
    )
    for name in there:
        assert update(name)


def test_a_refusal_is_xml_whatever_it_repeats(accounts: Accounts) -> None:
    answer = call(accounts.endpoint, "GET", "/?Action=%00%FF%3Cx%3E&Version=2011-06-15")
    assert (answer.status, b"\x00" in answer.body) == (400, False)
    assert "operation \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}&lt;x&gt; for" in answer.body.decode()


# Private keys


def test_a_private_key_is_not_taken_and_not_repeated(accounts: Accounts, error_of: ErrorOf) -> None:
    client, pem = accounts.roles_anywhere, accounts.authority.pem.decode()
    key = CertificateAuthority.root("Careless", Validity(1_000_000_000, 4_000_000_000), KeyKind.P_256)
    secret = key.key_pem().decode()
    anchor = accounts.arns["trustAnchorArn"]
    crl = crl_of(accounts.authority)

    def source(data: str, kind: str = "CERTIFICATE_BUNDLE") -> dict[str, Any]:
        return {"sourceType": kind, "sourceData": {"x509CertificateData": data}}

    for text in (secret, pem + secret, secret + pem, secret.replace("PRIVATE", "ENCRYPTED PRIVATE"), secret.lower()):
        for act in (
            partial(client.create_trust_anchor, name="x", source=source(text)),
            partial(client.create_trust_anchor, name="x", source=source(text, "SELF_SIGNED_REPOSITORY")),
            partial(client.update_trust_anchor, trustAnchorId=anchor, source=source(text)),
            partial(client.import_crl, name="x", crlData=crl + text.encode(), trustAnchorArn=anchor),
        ):
            status, code, message = error_of(act)
            assert (status, code) == (400, "ValidationException")
            assert message.startswith("A private key is in the data.")
        refused = accounts.control("POST", "private-authorities", {"arn": anchor, "certificate": pem + text})
        assert refused.status == 400
    lines = secret.splitlines()[1:-1]
    state = accounts.emulator.directory.file("state.json").read_text()
    noted = json.dumps(accounts.emulator.requests())
    assert not any(line in text for line in lines for text in (state, noted))
    assert client.create_trust_anchor(name="x", source=source(pem))["trustAnchor"]["name"] == "x"
    assert client.import_crl(name="x", crlData=crl, trustAnchorArn=anchor)["crl"]["name"] == "x"
