"""What the management operations share: who asks, names that are looked up, aliases, tags, pages, quotas."""

from __future__ import annotations

import base64
import binascii
import json
import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from rolesanywhere_helper.emulator.answers import Refusal, access_denied, invalid, not_found
from rolesanywhere_helper.emulator.state import (
    Crl,
    Profile,
    Subject,
    TrustAnchor,
    account_of,
    find,
    identifier_of,
    noun,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rolesanywhere_helper.emulator.documents import Document
    from rolesanywhere_helper.emulator.state import Resource, State, Tags

Input: TypeAlias = "Mapping[str, Any]"
# What an operation returns: the accounts after it, and the answer's body.
Outcome: TypeAlias = "tuple[State, Document]"

MOST_TAGS = 200  # the model's limit for one request, and for a resource
_PAGE = 50
_RESERVED_ALIAS = "aws/"
_LABELS: dict[type[Resource], str] = {TrustAnchor: "Trust anchor", Profile: "Profile", Crl: "CRL"}

_Kind = TypeVar("_Kind", TrustAnchor, Profile, Crl)
_Resource = TypeVar("_Resource", TrustAnchor, Profile, Crl, Subject)


@dataclass(frozen=True, slots=True)
class Managing:
    """One management call: on which accounts, for which of them, by whom, and when (seconds since the epoch)."""

    state: State
    account: str
    caller_arn: str
    now: float

    def new_arn(self, kind: type[Resource]) -> str:
        """Draw an ARN for a new resource."""
        return self.state.arn(self.account, f"{noun(kind)}/{uuid.uuid4()}")

    def own(self, resources: Iterable[_Resource]) -> list[_Resource]:
        """Return the resources of the caller's account."""
        return [resource for resource in resources if account_of(resource.arn) == self.account]

    def find(self, resources: Iterable[_Kind], kind: type[_Kind], identifier: str) -> _Kind:
        """Find a resource by its id, ARN or alias ARN.

        Raises:
            Refusal: AccessDeniedException for another account's ARN; ResourceNotFoundException.

        """
        found = find(resources, self.arn_of(kind, identifier))
        if found is None:
            raise not_found(f"{_LABELS[kind]} not found: {identifier}")
        return found

    def arn_of(self, kind: type[Resource], identifier: str) -> str:
        """Return the ARN that an id or an ARN stands for.

        Raises:
            Refusal: AccessDeniedException; it is another account's.

        """
        if not identifier.startswith("arn:"):
            return self.state.arn(self.account, f"{noun(kind)}/{identifier}")
        self.require_own(identifier)
        return identifier

    def require_own(self, arn: str) -> None:
        """Require an ARN of the caller's account.

        Raises:
            Refusal: AccessDeniedException; it is another account's.

        """
        parts = arn.split(":")
        if len(parts) > len(("arn", "partition", "service", "region")) and account_of(arn) != self.account:
            raise access_denied(
                f"User: {self.caller_arn} is not authorized to perform this operation on resource: {arn}"
            )

    def alias(self, resources: Iterable[_Kind], wanted: str | None, current: _Kind | None = None) -> str | None:
        """Return the alias that a resource gets: empty takes it away, None leaves what ``current`` has.

        Raises:
            Refusal: ValidationException; it is reserved, or another resource of this type has it.

        """
        if wanted is None:
            return current.alias_name if current else None
        if wanted.lower().startswith(_RESERVED_ALIAS):
            raise invalid("Alias names that begin with aws/ are reserved")
        holders = [other for other in self.own(resources) if wanted and other.alias_name == wanted]
        if any(current is None or other.arn != current.arn for other in holders):
            raise invalid(f"The alias name {wanted} is already in use")
        return wanted or None

    def require_room(self, resources: Iterable[_Kind], most: int, what: str) -> None:
        """Require that one more resource is within the quota.

        Raises:
            Refusal: ValidationException; it is not. The model has no error of its own for this.

        """
        if len(self.own(resources)) >= most:
            raise invalid(f"The quota of {most} {what} for each account and Region is reached")


def with_alias(document: Document, before: _Kind, after: _Kind) -> Document:
    """Add the alias that an update has replaced, as the answer to the update shows it, and no other."""
    if before.alias_name is None or before.alias_name == after.alias_name:
        return document
    return {**document, "previousAliasName": before.alias_name}


def tags_of(given: Iterable[Mapping[str, str]] | None) -> Tags:
    """Read a list of tags.

    Raises:
        Refusal: ValidationException; a key is there twice, or reserved.

    """
    tags = tuple((tag["key"], tag["value"]) for tag in given or ())
    if len({key for key, _ in tags}) != len(tags):
        raise invalid("Duplicate tag keys are not allowed")
    if any(key.lower().startswith("aws:") for key, _ in tags):
        raise invalid("Tag keys that begin with aws: are reserved")
    return tags


def merged(tags: Tags, added: Tags) -> Tags:
    """Add tags to others; a new value takes the place of an old one.

    Raises:
        Refusal: TooManyTagsException.

    """
    together = tuple({**dict(tags), **dict(added)}.items())
    if len(together) > MOST_TAGS:
        raise Refusal("TooManyTagsException", f"A resource can have {MOST_TAGS} tags at most", 400)
    return together


def page(resources: Iterable[_Resource], asked: Input, name: str, show: Callable[[_Resource], Document]) -> Document:
    """Show one page of a list: the oldest first, and a token if there is more.

    A token says after which resource to go on, so that it stays good when resources are deleted in between.

    Raises:
        Refusal: ValidationException; the page size is below 1, or the token is none.

    """
    size = asked.get("pageSize", _PAGE)
    if size < 1:
        raise invalid(
            "Value at 'pageSize' failed to satisfy constraint: Member must have value greater than or equal to 1"
        )
    after = _read_token(asked["nextToken"], name) if "nextToken" in asked else (0.0, "")
    left = sorted((one for one in resources if _place(one) > after), key=_place)
    shown = left[:size]
    token = {"nextToken": _token(name, *_place(shown[-1]))} if len(left) > size else {}
    return {name: [show(one) for one in shown], **token}


def _place(resource: TrustAnchor | Profile | Crl | Subject) -> tuple[float, str]:
    return resource.created_at, identifier_of(resource.arn)


def _token(name: str, created_at: float, identifier: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([name, created_at, identifier]).encode("ascii")).decode("ascii")


def _read_token(token: str, name: str) -> tuple[float, str]:
    try:
        of, created_at, identifier = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        place = float(created_at), str(identifier)
    except (ValueError, TypeError, binascii.Error):
        of, place = None, (0.0, "")
    # "NaN" and "Infinity" are numbers to json, and after neither comes anything.
    if of != name or not math.isfinite(place[0]):
        raise invalid("Invalid nextToken")
    return place
