"""Every constraint of botocore's models is enforced: each is broken once, as a client without a model may do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import create_loader
from botocore.model import ServiceModel
from botocore.session import Session

from rolesanywhere_helper.emulator import iam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.model import Shape

    from tests.emulator.conftest import Accounts

# A value that breaks one constraint, where it is said to be, and what is said of it.
Broken: TypeAlias = tuple[Any, str, str]

NOBODY = "00000000-0000-4000-8000-000000000000"
RESOURCE = "arn:aws:rolesanywhere:us-east-1:111122223333:{}/" + NOBODY
TRUST = json.dumps(
    {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}]}
)
IN_ORDER: dict[str, Any] = {
    "ProfileIdentifier": NOBODY,
    "TrustAnchorIdentifier": NOBODY,
    "CrlIdentifier": NOBODY,
    "Uuid": NOBODY,
    "TrustAnchorResourceArn": RESOURCE.format("trust-anchor"),
    "TrustAnchorIdentifierArn": RESOURCE.format("trust-anchor"),
    "AmazonResourceName": RESOURCE.format("profile"),
    "RoleArn": "arn:aws:iam::111122223333:role/Anything",
    "arnType": "arn:aws:iam::111122223333:role/EmulatorRole",
    "roleNameType": "EmulatorRole",
    "policyDocumentType": TRUST,
    "unrestrictedSessionPolicyDocumentType": TRUST,
    "pathType": "/a/",
    "pathPrefixType": "/a/",
    "tokenCodeType": "123456",
    "serialNumberType": "arn:aws:iam::111122223333:mfa/x",
}
# Outside of every pattern: the one among ASCII characters, the other among those of any script.
FORBIDDEN = "|\uffff"


def model_of(service: str) -> ServiceModel:
    return ServiceModel(create_loader().load_service_model(service, "service-2"), service)


def example(shape: Any) -> Any:
    """Make a value that satisfies its shape: with the required members, or the first one if none is."""
    match shape.type_name:
        case "structure":
            names = shape.required_members or list(shape.members)[:1]
            return {name: example(shape.members[name]) for name in names}
        case "list":
            return [example(shape.member)] * shape.metadata.get("min", 0)
        case "integer":
            return shape.metadata.get("min", 1)
        case "boolean":
            return False
        case "blob":
            return b"x"
        case _:
            return shape.enum[0] if shape.enum else IN_ORDER.get(shape.name, "x" * max(2, shape.metadata.get("min", 0)))


def broken(shape: Any, where: str = "") -> Iterator[Broken]:
    """Break every constraint of a shape, one in each value."""
    match shape.type_name:
        case "structure":
            yield from broken_structure(shape, where)
        case "list":
            yield from broken_size(shape, where, lambda size: [example(shape.member)] * size)
            yield from (([value], at, said) for value, at, said in broken(shape.member, f"{where}.1.member"))
        case "blob":
            yield from broken_size(shape, where, bytes)
        case "integer":
            least, most = shape.metadata.get("min"), shape.metadata.get("max")
            if least is not None:
                yield least - 1, where, f"value greater than or equal to {least}"
            if most is not None:
                yield most + 1, where, f"value less than or equal to {most}"
        case "string":
            yield from broken_size(shape, where, lambda size: "x" * size)
            if "pattern" in shape.metadata:
                yield FORBIDDEN * 10, where, "regular expression pattern: " + shape.metadata["pattern"]
            if shape.enum:
                yield "NONE", where, "enum value set: [" + ", ".join(shape.enum) + "]"


def broken_structure(shape: Any, where: str) -> Iterator[Broken]:
    def path(name: str) -> str:
        spelt = name[0].lower() + name[1:]
        return f"{where}.{spelt}" if where else spelt

    whole = example(shape)
    for name in shape.required_members:
        yield {other: value for other, value in whole.items() if other != name}, path(name), "must not be null"
    if shape.is_tagged_union:
        yield {name: example(member) for name, member in shape.members.items()}, where, "Exactly one member"
        yield {}, where, "Exactly one member"
        whole = {}
    for name, member in shape.members.items():
        yield from (({**whole, name: value}, at, said) for value, at, said in broken(member, path(name)))


def broken_size(shape: Any, where: str, of_size: Callable[[int], Any]) -> Iterator[Broken]:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max")
    if least > 0:
        yield of_size(least - 1), where, f"length greater than or equal to {least}"
    if most is not None:
        yield of_size(most + 1), where, f"length less than or equal to {most}"


def is_sendable(shape: Any, asked: dict[str, Any]) -> bool:
    """Tell whether a request can be made: one that lacks a part of its path has another path."""
    in_path = [name for name, member in shape.members.items() if member.serialization.get("location") == "uri"]
    return all(asked.get(name) for name in in_path)


class Sender:
    """Sends what it is told, without the client's own validation, and returns the error if there is one."""

    def __init__(self, accounts: Accounts, service: str) -> None:
        administrator = accounts.administrator()
        config = Config(parameter_validation=False, retries={"total_max_attempts": 1}, proxies={}, read_timeout=5)
        self._client: Any = Session().create_client(
            service,
            "us-east-1",
            endpoint_url=accounts.endpoint,
            aws_access_key_id=administrator.access_key_id,
            aws_secret_access_key=administrator.secret_access_key,
            config=config,
        )

    def __call__(self, operation: str, asked: dict[str, Any]) -> tuple[int, str, str]:
        try:
            self._client._make_api_call(operation, asked)
        except ClientError as error:
            answer = error.response
            return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]
        return 200, "", ""


WALKS = [
    ("rolesanywhere", tuple(model_of("rolesanywhere").operation_names), "ValidationException", 200),
    ("iam", tuple(iam.ACTIONS), "ValidationError", 160),
    ("sts", ("AssumeRole",), "ValidationError", 45),
]


@pytest.mark.parametrize(("service", "operations", "code", "at_least"), WALKS, ids=["rolesanywhere", "iam", "sts"])
def test_every_constraint_of_the_model_is_enforced(
    accounts: Accounts, service: str, operations: tuple[str, ...], code: str, at_least: int
) -> None:
    send, model = Sender(accounts, service), model_of(service)
    tried, wrong = 0, []
    for operation in operations:
        shape: Shape | None = model.operation_model(operation).input_shape
        if shape is None:
            continue
        control = send(operation, example(shape))
        assert "validation error" not in control[2], (operation, control)
        for asked, where, said in broken(shape):
            if not is_sendable(shape, asked):
                continue
            tried += 1
            answer = send(operation, asked)
            if answer[:2] != (400, code) or f"at '{where}' failed" not in answer[2] or said not in answer[2]:
                wrong.append((operation, where, said, answer))
    assert wrong == []
    assert tried > at_least
