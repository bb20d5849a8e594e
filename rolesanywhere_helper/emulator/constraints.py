"""Values against the shapes of botocore's service models: required members, types, lengths, ranges, patterns, enums.

Nothing about an operation's parameters is written down here: what boto3 can send is what is taken. Every constraint
that is not satisfied is named, as the services do it.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape

# Java's notation for what Python's patterns cannot say: letters, separators and numbers of any script ...
_ANY_SCRIPT = r"\p{L}\p{Z}\p{N}"
_STAND_IN = "a"
# ... and code points with more than four digits.
_ASTRAL = (r"\u10000-\u10FFFF", r"\U00010000-\U0010FFFF")
# Names that the service repeats when it refuses them. Anything else may be what nobody else should read.
_REPEATED = frozenset(("roleNameType", "roleSessionNameType", "sourceIdentityType", "policyNameType"))


@cache
def service_model(service: str) -> ServiceModel:
    """Load botocore's model of a service. It takes a while, and so is done when a call needs it."""
    from botocore.loaders import create_loader  # noqa: PLC0415 - only when a call comes
    from botocore.model import ServiceModel  # noqa: PLC0415 - the same

    return ServiceModel(create_loader().load_service_model(service, "service-2"), service)


def read(shape: StructureShape, sent: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Read parameters. Blobs become bytes, and what the shape does not know is left out.

    Returns:
        The parameters, and what is wrong with them; None if nothing is.

    """
    problems: list[str] = []
    value = _structure(shape, sent, "", problems)
    if not problems:
        return value, None
    plural = "" if len(problems) == 1 else "s"
    return value, f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}"


def _structure(shape: StructureShape, value: object, where: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        problems.append(_problem(where, "Member must be an object"))
        return {}
    path = f"{where}." if where else ""
    problems += [
        f"Value null at '{path}{_spelt(name)}' failed to satisfy constraint: Member must not be null"
        for name in shape.required_members
        if value.get(name) is None
    ]
    known = {name: part for name, part in value.items() if name in shape.members and part is not None}
    if shape.is_tagged_union and len(known) != 1:
        problems.append(_problem(where, "Exactly one member must be set"))
    return {name: _value(shape.members[name], part, f"{path}{_spelt(name)}", problems) for name, part in known.items()}


def _value(shape: Shape, value: object, where: str, problems: list[str]) -> Any:
    return _READERS[shape.type_name](shape, value, where, problems)


def _list(shape: ListShape, value: object, where: str, problems: list[str]) -> list[Any]:
    if not isinstance(value, list):
        problems.append(_problem(where, "Member must be a list"))
        return []
    _require_size(shape, len(value), where, problems)
    return [_value(shape.member, part, f"{where}.{place}.member", problems) for place, part in enumerate(value, 1)]


def _map(shape: MapShape, value: object, where: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        problems.append(_problem(where, "Member must be a map"))
        return {}
    _require_size(shape, len(value), where, problems)
    return {
        _value(shape.key, key, f"{where}.key", problems): _value(shape.value, part, f"{where}.{key}.value", problems)
        for key, part in value.items()
    }


def _string(shape: StringShape, value: object, where: str, problems: list[str]) -> str:
    if not isinstance(value, str):
        problems.append(_problem(where, "Member must be a string"))
        return ""
    shown = value if shape.name in _REPEATED else None
    _require_size(shape, len(value), where, problems, shown)
    pattern, allowed = shape.metadata.get("pattern"), shape.enum
    if pattern is not None and not _satisfies(value, pattern):
        problems.append(_problem(where, f"Member must satisfy regular expression pattern: {pattern}", shown))
    if allowed and value not in allowed:
        problems.append(_problem(where, f"Member must satisfy enum value set: [{', '.join(allowed)}]"))
    return value


def _integer(shape: Shape, value: object, where: str, problems: list[str]) -> int:
    if type(value) is not int:
        problems.append(_problem(where, "Member must be an integer"))
        return 0
    least, most = shape.metadata.get("min", -math.inf), shape.metadata.get("max", math.inf)
    if value < least:
        problems.append(_problem(where, f"Member must have value greater than or equal to {least}", value))
    if value > most:
        problems.append(_problem(where, f"Member must have value less than or equal to {most}", value))
    return value


def _boolean(_: Shape, value: object, where: str, problems: list[str]) -> bool:
    if not isinstance(value, bool):
        problems.append(_problem(where, "Member must be a boolean"))
    return value is True


def _blob(shape: Shape, value: object, where: str, problems: list[str]) -> bytes:
    try:
        content = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        content = None
    if content is None:
        problems.append(_problem(where, "Member must be base64"))
        return b""
    _require_size(shape, len(content), where, problems)
    return content


def _require_size(shape: Shape, size: int, where: str, problems: list[str], shown: str | None = None) -> None:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", math.inf)
    if size < least:
        problems.append(_problem(where, f"Member must have length greater than or equal to {least}", shown))
    if size > most:
        problems.append(_problem(where, f"Member must have length less than or equal to {most}", shown))


def _problem(where: str, constraint: str, shown: object = None) -> str:
    value = "Value" if shown is None else f"Value '{shown}'"
    return f"{value} at '{where}' failed to satisfy constraint: {constraint}"


def _spelt(name: str) -> str:
    """Spell a member as refusals do: ``RoleName`` is ``roleName``."""
    return name[0].lower() + name[1:]


def _satisfies(value: str, pattern: str) -> bool:
    if _ANY_SCRIPT in pattern:
        value = "".join(_STAND_IN if unicodedata.category(one)[0] in "LZN" else one for one in value)
    return _compiled(pattern).fullmatch(value) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(_ANY_SCRIPT, _STAND_IN).replace(*_ASTRAL), re.ASCII)


_READERS: dict[str, Callable[[Any, object, str, list[str]], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _integer,
    "boolean": _boolean,
    "blob": _blob,
}
