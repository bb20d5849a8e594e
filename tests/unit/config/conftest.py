from __future__ import annotations

import pytest

ANCHOR = "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/11111111-2222-3333-4444-555555555555"
PROFILE = "arn:aws:rolesanywhere:eu-central-1:111122223333:profile/11111111-2222-3333-4444-555555555555"
ROLE = "arn:aws:iam::111122223333:role/Deploy"


@pytest.fixture
def complete() -> dict[str, str | bool]:
    """Return the flags of a session that lacks nothing."""
    return {
        "certificate": "host.pem",
        "private-key": "host.key",
        "trust-anchor-arn": ANCHOR,
        "profile-arn": PROFILE,
        "role-arn": ROLE,
    }
