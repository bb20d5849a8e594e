"""One session as flag values, and back: how the daemon tells its child what to make.

The child must not read the configuration again (it may have changed, and the child sees another environment), so it is
given every value that it needs, in the form of the command line, and the same loader checks them once more.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.load import load_session
from rolesanywhere_helper.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.domain.endpoint import Endpoint

PROXY = "proxy"
"""Among the secrets: the URL of the proxy, already chosen by the environment of the daemon."""


def to_flags(settings: SessionSettings) -> tuple[dict[str, str | bool], dict[str, str]]:
    """Return the session's values by flag name, and apart from them what may hold a secret."""
    spec, identity, connection = settings.spec, settings.identity, settings.connection
    texts = {
        "certificate": identity.certificate,
        "private-key": identity.private_key,
        "intermediates": identity.intermediates,
        "trust-anchor-arn": str(spec.trust_anchor_arn),
        "profile-arn": str(spec.profile_arn),
        "role-arn": str(spec.role_arn),
        "region": spec.region,
        "session-duration": str(spec.duration_seconds),
        "role-session-name": spec.role_session_name,
        "instance-properties": json.dumps(dict(spec.instance_properties)) if spec.instance_properties else None,
        "endpoint": _url(connection.endpoint),
        "ca-bundle": connection.ca_bundle,
        "pkcs11-lib": identity.pkcs11_library,
        "cert-selector": identity.certificate_selector,
        "cert-directory": identity.certificate_directory,
        **{f"{name}-file": source.reference for name, source in identity.secrets},
    }
    switches = {
        "no-verify-ssl": not connection.verify_tls,
        "strict-key-permissions": identity.strict_key_permissions,
        "accept-insecure-private-key-file": identity.accept_insecure_key_file,
        "reuse-pin": identity.reuse_pin,
        "no-tpm-key-password": identity.no_tpm_key_password,
        "use-latest-expiring-certificate": identity.use_latest_expiring,
        "no-cache": not settings.use_cache,
    }
    session: dict[str, str | bool] = {name: text for name, text in texts.items() if text}
    session |= {name: True for name, is_on in switches.items() if is_on}
    if settings.name is not None:
        session["session"] = settings.name
    secrets = {name: source.text for name, source in identity.secrets if source.text is not None}
    return session, secrets if connection.proxy is None else {**secrets, PROXY: connection.proxy}


def from_flags(
    session: Mapping[str, str | bool], secrets: Mapping[str, str], read: Callable[[str, str], bytes | None]
) -> SessionSettings:
    """Return the settings that :func:`to_flags` was given; ``read`` as for ``load_session``.

    Raises:
        UsageError: they are incomplete or malformed.
        UnsafeFileError: the CA bundle is not to be trusted.

    """
    name = session.get("session")
    # With all three ARNs and no name, no configuration file is looked for; an empty environment says nothing more.
    values = {flag: value for flag, value in session.items() if flag != "session"}
    settings = load_session(values, Surroundings({}, "/"), read).settings
    connection = replace(settings.connection, proxy=secrets.get(PROXY))
    return replace(settings, name=name if isinstance(name, str) else None, connection=connection)


def _url(endpoint: Endpoint) -> str:
    """Write an endpoint so that reading it gives the same, also where it names its scheme's own port."""
    if endpoint.port is None:
        return str(endpoint)
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{endpoint.scheme}://{host}:{endpoint.port}{endpoint.prefix}"
