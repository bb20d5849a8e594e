"""Where an identity is to be found: what the user named, before anything of it is opened."""

from __future__ import annotations

from rolesanywhere_helper.frozen import dataclass


@dataclass(frozen=True, slots=True)
class IdentityReference:
    """A certificate, its key and what lies between it and the trust anchor, each a path or ``scheme:…``.

    ``strict_key_permissions`` refuses a key file that everybody may read, ``accept_insecure_key_file`` turns every
    refusal of a key file's permissions into a warning (and wins over the former).
    """

    certificate: str
    private_key: str
    intermediates: str | None = None
    strict_key_permissions: bool = False
    accept_insecure_key_file: bool = False
