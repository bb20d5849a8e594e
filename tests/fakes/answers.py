"""What the service answers to CreateSession, well-formed; tests spoil it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from rolesanywhere_helper.domain.ports import HttpResponse
from tests.fakes.sessions import ROLE_ARN, SECRET, TOKEN

ASSUMED_ROLE_ARN = "arn:aws:sts::111122223333:assumed-role/Deploy/4d2"


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def http_date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def session_document(expires_at: float) -> dict[str, Any]:
    """Return the body of a 201, with fields that a client does not need among the others."""
    return {
        "credentialSet": [
            {
                "assumedRoleUser": {"arn": ASSUMED_ROLE_ARN, "assumedRoleId": "AROAEXAMPLE:4d2"},
                "credentials": {
                    "accessKeyId": "ASIAEXAMPLE",
                    "expiration": rfc3339(expires_at),
                    "secretAccessKey": SECRET,
                    "sessionToken": TOKEN,
                },
                "packedPolicySize": 1,
                "roleArn": ROLE_ARN,
                "sourceIdentity": "CN=host",
            }
        ],
        "subjectArn": "arn:aws:rolesanywhere:eu-central-1:111122223333:subject/subject",
    }


def created(expires_at: float, **headers: str) -> HttpResponse:
    return HttpResponse(201, headers, json.dumps(session_document(expires_at)).encode())


def refused(message: str, status: int = 403, kind: str = "AccessDeniedException", **headers: str) -> HttpResponse:
    return HttpResponse(status, {"x-amzn-errortype": kind, **headers}, json.dumps({"message": message}).encode())
