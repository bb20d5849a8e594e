r"""What the daemon asks of its short-lived child, and what the child answers: one message each way.

A message is ``rahm1 LENGTH\n`` followed by LENGTH bytes of JSON. The question is on the child's standard input, the
answer on its standard output; both are pipes that nobody else holds. The daemon never imports what the child does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.domain.role_hop import role_hop
from rolesanywhere_helper.errors import HelperError, from_code
from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.domain.role_hop import RoleHop

MAGIC = b"rahm1"
LARGEST = 1 << 17


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that the child is told: it reads no configuration, and finds an almost empty environment.

    ``session`` holds the session's values by flag name, as the command line would have them
    (:mod:`rolesanywhere_helper.config.child_flags`), ``secrets`` what no log may show: the proxy's URL, passphrases and
    PINs by the name of their flag. ``in_gitlab_ci`` changes a hint. ``pin_records`` is the directory in which refused
    PINs are written down, if there is one. With a ``hop`` nothing is signed: it is gone on from the credentials of
    ``source`` to the next role.
    """

    session: Mapping[str, str | bool]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    in_gitlab_ci: bool = False
    pin_records: str | None = None
    hop: RoleHop | None = None
    source: Credentials | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt: credentials or an error, and what was learnt on the way.

    ``not_before`` and ``not_after`` are the leaf's, in seconds since the epoch, if it could be read;
    ``clock_skew_seconds`` is how far this machine's clock is ahead of the service's Date, if one answered;
    ``warnings`` are for the log. ``error_of`` names the session that has failed where it is not the one that was asked
    for but one that it goes on from: that is the daemon's own knowledge, and no child says it.
    """

    credentials: Credentials | None = None
    error: HelperError | None = None
    not_before: int | None = None
    not_after: int | None = None
    clock_skew_seconds: float | None = None
    warnings: tuple[str, ...] = ()
    error_of: str | None = None


def frame(document: Mapping[str, Any]) -> bytes:
    """Put a document on the wire."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return b"%b %d\n%b" % (MAGIC, len(body), body)


def unframe(message: bytes) -> dict[str, Any]:
    """Take a whole message apart.

    Raises:
        ValueError: it is torn, too long, of another version, or not a JSON object.

    """
    head, newline, body = message.partition(b"\n")
    magic, _, length = head.partition(b" ")
    if magic != MAGIC or not newline or not length.isdigit() or int(length) != len(body) or len(body) > LARGEST:
        raise ValueError("not a whole message of this version")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # the error of json.loads holds the whole text, which has secrets in it
        document = None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one kind of error for whatever a message can be
    return document


def encode_question(question: Question) -> bytes:
    """Render a question."""
    return frame(
        {
            "session": dict(question.session),
            "secrets": dict(question.secrets),
            "inGitlabCi": question.in_gitlab_ci,
            "pinRecords": question.pin_records,
            "hop": None if question.hop is None else _hop_document(question.hop),
            "source": None if question.source is None else _credentials_document(question.source),
        }
    )


def decode_question(message: bytes) -> Question:
    """Read a question.

    Raises:
        ValueError: it is none.

    """
    document = unframe(message)
    session, secrets = document.get("session"), document.get("secrets")
    if not isinstance(session, dict) or not isinstance(secrets, dict):
        raise ValueError("not a question")  # noqa: TRY004 - as above
    are_values = all(isinstance(value, str | bool) for value in session.values())
    if not are_values or not all(isinstance(value, str) for value in secrets.values()):
        raise ValueError("not a question")
    records, hop, source = (document.get(name) for name in ("pinRecords", "hop", "source"))
    if (hop is None) is not (source is None):
        raise ValueError("not a question")
    try:
        return Question(
            session,
            secrets,
            in_gitlab_ci=document.get("inGitlabCi") is True,
            pin_records=records if isinstance(records, str) else None,
            hop=None if hop is None else _hop(hop),
            source=None if source is None else _credentials(source),
        )
    except (KeyError, TypeError, OverflowError, HelperError):
        raise ValueError("not a question") from None  # the cause may quote what it stumbled over


def _hop_document(hop: RoleHop) -> dict[str, Any]:
    return {
        "roleArn": str(hop.role_arn),
        "region": hop.region,
        "name": hop.name,
        "externalId": hop.external_id,
        "durationSeconds": hop.duration_seconds,
        "sessionName": hop.session_name,
        "tags": [list(tag) for tag in hop.tags],
        "transitiveTagKeys": list(hop.transitive_tag_keys),
        "stsEndpoint": hop.sts_endpoint,
        "useFips": hop.use_fips,
        "useDualstack": hop.use_dualstack,
    }


def _hop(document: Mapping[str, Any]) -> RoleHop:
    return role_hop(
        role_arn=document["roleArn"],
        region=document["region"],
        name=document["name"],
        external_id=document["externalId"],
        duration_seconds=document["durationSeconds"],
        session_name=document["sessionName"],
        tags=tuple((str(key), str(value)) for key, value in document["tags"]),
        transitive_tag_keys=tuple(map(str, document["transitiveTagKeys"])),
        sts_endpoint=document["stsEndpoint"],
        use_fips=document["useFips"] is True,
        use_dualstack=document["useDualstack"] is True,
    )


def encode_answer(answer: Answer) -> bytes:
    """Render an answer."""
    made, error = answer.credentials, answer.error
    return frame(
        {
            "credentials": None if made is None else _credentials_document(made),
            "error": None if error is None else {"code": error.code, "what": error.what, "hint": error.hint},
            "notBefore": answer.not_before,
            "notAfter": answer.not_after,
            "clockSkewSeconds": answer.clock_skew_seconds,
            "warnings": list(answer.warnings),
        }
    )


def decode_answer(message: bytes) -> Answer:
    """Read an answer.

    Raises:
        ValueError: it is none.

    """
    document = unframe(message)
    try:
        made, error = document["credentials"], document["error"]
        skew = document["clockSkewSeconds"]
        if (made is None) is (error is None):
            raise ValueError("neither credentials nor an error, or both")
        return Answer(
            None if made is None else _credentials(made),
            None if error is None else from_code(str(error["code"]), str(error["what"]), str(error["hint"])),
            _moment(document["notBefore"]),
            _moment(document["notAfter"]),
            None if skew is None else float(skew),
            tuple(str(warning) for warning in document["warnings"]),
        )
    except (KeyError, TypeError, OverflowError):
        # Without its cause: that may quote what it stumbled over.
        raise ValueError("not an answer") from None


def _credentials_document(made: Credentials) -> dict[str, Any]:
    return {
        "accessKeyId": made.access_key_id,
        "secretAccessKey": made.secret_access_key,
        "sessionToken": made.session_token,
        "issuedAt": made.issued_at,
        "expiresAt": made.expires_at,
        "roleArn": made.role_arn,
    }


def _credentials(made: Mapping[str, Any]) -> Credentials:
    texts = [made[name] for name in ("accessKeyId", "secretAccessKey", "sessionToken", "roleArn")]
    if not all(isinstance(text, str) and text for text in texts):
        raise ValueError("not credentials")
    key, secret, token, role = texts
    return Credentials(key, secret, token, int(made["issuedAt"]), int(made["expiresAt"]), role)


def _moment(value: Any) -> int | None:
    return None if value is None else int(value)
