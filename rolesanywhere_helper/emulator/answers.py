"""What goes back: an answer, or a refusal that becomes one in the form of its protocol (rest-json or query)."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

# What XML 1.0 cannot hold, not even escaped, and a refusal may repeat.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FIRST_OF_SERVER = 500
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. The body may hold credentials."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Exception):  # noqa: N818 - a verdict of the service, not an error of this program
    """The service says no.

    ``message`` is what the client is told, ``reason`` what only the request list tells (the service is silent about
    it, a developer wants to know). Neither holds a secret.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        status: int = 403,
        reason: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.reason = reason
        self.headers = headers


def access_denied(message: str, reason: str | None = None) -> Refusal:
    """Refuse as CreateSession refuses nearly everything: 403 AccessDeniedException."""
    return Refusal("AccessDeniedException", message, reason=reason)


def invalid(message: str) -> Refusal:
    """Refuse a malformed parameter: 400 ValidationException."""
    return Refusal("ValidationException", message, 400)


def not_found(message: str) -> Refusal:
    """Refuse what names something that there is not: 404 ResourceNotFoundException."""
    return Refusal("ResourceNotFoundException", message, 404)


def json_answer(status: int, document: object) -> Answer:
    """Answer with a JSON document."""
    return Answer(status, json.dumps(document).encode("utf-8"))


def json_refusal(refusal: Refusal) -> Answer:
    """Put a refusal in rest-json's form: the type in a header, the text in the body."""
    body = json.dumps({"message": refusal.message}).encode("utf-8")
    return Answer(refusal.status, body, headers=(("X-Amzn-ErrorType", refusal.kind), *refusal.headers))


def xml_answer(action: str, result: Mapping[str, object] | None, namespace: str = STS_NAMESPACE) -> Answer:
    """Answer in the query protocol: ``<ActionResponse><ActionResult>…</ActionResult><ResponseMetadata>…``.

    A list becomes ``<member>`` elements. Without a result there is no ``<ActionResult>`` (as IAM does it).
    """
    inner = "" if result is None else f"<{action}Result>{_elements(result)}</{action}Result>"
    metadata = f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
    text = f'<{action}Response xmlns="{namespace}">{inner}{metadata}</{action}Response>'
    return Answer(200, text.encode("utf-8"), "text/xml")


def xml_refusal(refusal: Refusal, namespace: str = STS_NAMESPACE) -> Answer:
    """Put a refusal in the query protocol's form."""
    whose = "Receiver" if refusal.status >= _FIRST_OF_SERVER else "Sender"
    error = _elements({"Type": whose, "Code": refusal.kind, "Message": refusal.message})
    text = (
        f'<ErrorResponse xmlns="{namespace}"><Error>{error}</Error>'
        f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return Answer(refusal.status, text.encode("utf-8"), "text/xml", refusal.headers)


def _elements(content: Mapping[str, object]) -> str:
    return "".join(f"<{name}>{_element(value)}</{name}>" for name, value in content.items() if value is not None)


def _element(value: object) -> str:
    if isinstance(value, dict):
        return _elements(value)
    if isinstance(value, list | tuple):
        return "".join(f"<member>{_element(one)}</member>" for one in value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))
