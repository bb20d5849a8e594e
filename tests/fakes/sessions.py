"""Made-up sessions: the secrets in them are canaries that no output may hold."""

from __future__ import annotations

from rolesanywhere_helper.domain.credentials import Credentials
from rolesanywhere_helper.domain.session import SessionSpec, session_spec

ROLE_ARN = "arn:aws:iam::111122223333:role/Deploy"
SECRET = "canary-secret-access-key"
TOKEN = "canary-session-token"


def credentials(
    issued_at: int = 1_800_000_000, lifetime: int = 3600, access_key_id: str = "ASIAEXAMPLE"
) -> Credentials:
    return Credentials(
        access_key_id=access_key_id,
        secret_access_key=SECRET,
        session_token=TOKEN,
        issued_at=issued_at,
        expires_at=issued_at + lifetime,
        role_arn=ROLE_ARN,
    )


def spec() -> SessionSpec:
    return session_spec(
        trust_anchor_arn="arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/anchor",
        profile_arn="arn:aws:rolesanywhere:eu-central-1:111122223333:profile/profile",
        role_arn=ROLE_ARN,
    )
