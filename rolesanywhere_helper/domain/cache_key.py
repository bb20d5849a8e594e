"""The name under which a session rests: equal exactly when the same credentials would be asked for.

Whatever decides what the service is asked, by whom and over which connection is in it, so that a set made for another
role, profile, trust anchor, endpoint or certificate is never found (promise 40), and a new certificate is a new name.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rolesanywhere_helper.domain.session import SessionSpec

_VERSION = "1"


def cache_key(spec: SessionSpec, identity: Iterable[bytes], connection: Iterable[str]) -> str:
    """Return 32 hexadecimal digits for a session.

    ``identity`` is what tells one identity from another: for files the bytes of certificate and intermediates and the
    key's path, for other schemes the reference. ``connection`` is endpoint, CA bundle and proxy, and how strict the
    call was.
    """
    properties = sorted(f"{name}={value}" for name, value in spec.instance_properties)
    session = [
        str(spec.trust_anchor_arn),
        str(spec.profile_arn),
        str(spec.role_arn),
        spec.region,
        str(spec.duration_seconds),
        spec.role_session_name or "",
        *properties,
    ]
    parts = [[_VERSION.encode()], _encoded(session), list(identity), _encoded(connection)]
    digest = hashlib.sha256()
    for part in parts:
        # Counted and measured, so that no two different lists read the same.
        digest.update(f"[{len(part)}]".encode())
        for item in part:
            digest.update(f"{len(item)}:".encode())
            digest.update(item)
    return digest.hexdigest()[:32]


def _encoded(texts: Iterable[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogateescape") for text in texts]
