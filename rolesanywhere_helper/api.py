"""The library: credentials inside a Python program, without a line in an AWS configuration file.

.. code-block:: python

    import rolesanywhere_helper

    s3 = rolesanywhere_helper.boto3_session(session="deploy").client("s3")

The keyword arguments are the flags of the command line by the same names, and mean the same; what is not given comes
from ``ROLESANYWHERE_HELPER_…`` variables and the configuration file, as it does there. docs/python.md has more.

Everything raised on purpose is a :class:`rolesanywhere_helper.errors.HelperError`. Nobody is asked at a terminal, no
process is started in the background, and all of it may be used by many threads.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.config.load import load_session
from rolesanywhere_helper.domain.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    import boto3

    from rolesanywhere_helper.config.settings import LoadedSettings

    _Path = str | os.PathLike[str]
    _Given = _Path | int | Sequence[str] | Mapping[str, str] | None

__all__ = ["Credentials", "boto3_session", "credentials"]
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_log = logging.getLogger(__name__)


def boto3_session(  # noqa: PLR0913 - the flags of the command line, each by name
    *,
    session: str | None = None,
    config: _Path | None = None,
    certificate: _Path | None = None,
    private_key: _Path | None = None,
    intermediates: _Path | None = None,
    pkcs8_password_file: _Path | None = None,
    pkcs12_password_file: _Path | None = None,
    pkcs11_pin_file: _Path | None = None,
    trust_anchor_arn: str | None = None,
    profile_arn: str | None = None,
    role_arn: str | None = None,
    session_duration: int | str | None = None,
    role_session_name: str | None = None,
    region: str | None = None,
    endpoint: str | None = None,
    ca_bundle: _Path | None = None,
    with_proxy: bool | None = None,
    no_cache: bool | None = None,
    assume_role_arn: str | Sequence[str] | None = None,
    external_id: str | None = None,
    session_tags: Mapping[str, str] | None = None,
    sts_endpoint: str | None = None,
    agent_socket: _Path | None = None,
) -> boto3.Session:
    """Return a boto3 session whose credentials are renewed for as long as it is used.

    Nothing is signed or sent before the first call that needs credentials. The session reads none of the user's AWS
    files, so no profile can stand in for it or lead back here; other ``AWS_…`` variables count as ever. Its region is
    ``region``, else ``AWS_REGION`` or ``AWS_DEFAULT_REGION``, else that of the trust anchor.

    Raises:
        UsageError: the arguments are incomplete, contradictory or malformed.
        UnsafeFileError: the configuration file or CA bundle is not to be trusted.

    Calls of its clients raise ``HelperError`` too, where there are no credentials to be had.
    """
    loaded = _load(
        config,
        {
            "session": session,
            "certificate": certificate,
            "private-key": private_key,
            "intermediates": intermediates,
            "pkcs8-password-file": pkcs8_password_file,
            "pkcs12-password-file": pkcs12_password_file,
            "pkcs11-pin-file": pkcs11_pin_file,
            "trust-anchor-arn": trust_anchor_arn,
            "profile-arn": profile_arn,
            "role-arn": role_arn,
            "session-duration": session_duration,
            "role-session-name": role_session_name,
            "region": region,
            "endpoint": endpoint,
            "ca-bundle": ca_bundle,
            "with-proxy": with_proxy,
            "no-cache": no_cache,
            "assume-role-arn": assume_role_arn,
            "external-id": external_id,
            "session-tags": session_tags,
            "sts-endpoint": sts_endpoint,
            "agent-socket": agent_socket,
        },
    )
    from rolesanywhere_helper.aws.refreshing import refreshing_session  # noqa: PLC0415 - imports boto3
    from rolesanywhere_helper.wiring.library import source_of  # noqa: PLC0415 - only when called

    given = next((os.environ[name] for name in _REGIONS if os.environ.get(name)), None)
    return refreshing_session(source_of(loaded), region or given or loaded.settings.spec.region)


def credentials(  # noqa: PLR0913 - as above
    *,
    session: str | None = None,
    config: _Path | None = None,
    certificate: _Path | None = None,
    private_key: _Path | None = None,
    intermediates: _Path | None = None,
    pkcs8_password_file: _Path | None = None,
    pkcs12_password_file: _Path | None = None,
    pkcs11_pin_file: _Path | None = None,
    trust_anchor_arn: str | None = None,
    profile_arn: str | None = None,
    role_arn: str | None = None,
    session_duration: int | str | None = None,
    role_session_name: str | None = None,
    region: str | None = None,
    endpoint: str | None = None,
    ca_bundle: _Path | None = None,
    with_proxy: bool | None = None,
    no_cache: bool | None = None,
    assume_role_arn: str | Sequence[str] | None = None,
    external_id: str | None = None,
    session_tags: Mapping[str, str] | None = None,
    sts_endpoint: str | None = None,
    agent_socket: _Path | None = None,
) -> Credentials:
    """Return credentials that are valid now, from the cache or freshly made: those of ``credential-process``.

    They are one frozen value with ``access_key_id``, ``secret_access_key``, ``session_token`` and ``expires_at``
    (seconds since the epoch), and nobody renews them: ask again.

    Raises:
        HelperError: there are none to be had.

    """
    loaded = _load(
        config,
        {
            "session": session,
            "certificate": certificate,
            "private-key": private_key,
            "intermediates": intermediates,
            "pkcs8-password-file": pkcs8_password_file,
            "pkcs12-password-file": pkcs12_password_file,
            "pkcs11-pin-file": pkcs11_pin_file,
            "trust-anchor-arn": trust_anchor_arn,
            "profile-arn": profile_arn,
            "role-arn": role_arn,
            "session-duration": session_duration,
            "role-session-name": role_session_name,
            "region": region,
            "endpoint": endpoint,
            "ca-bundle": ca_bundle,
            "with-proxy": with_proxy,
            "no-cache": no_cache,
            "assume-role-arn": assume_role_arn,
            "external-id": external_id,
            "session-tags": session_tags,
            "sts-endpoint": sts_endpoint,
            "agent-socket": agent_socket,
        },
    )
    from rolesanywhere_helper.wiring.library import source_of  # noqa: PLC0415 - only when called

    return source_of(loaded).get()


def _load(config: _Path | None, given: Mapping[str, _Given]) -> LoadedSettings:
    environment = dict(os.environ)
    surroundings = Surroundings(environment, os.getcwd(), is_root=os.geteuid() == 0)  # noqa: PTH109 - a text is wanted
    flags = {name: _written(value) for name, value in given.items() if value is not None}
    loaded = load_session(flags, surroundings, read_trusted, None if config is None else os.fspath(config))
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    return loaded


def _written(value: _Given) -> str | bool | list[str]:
    """Write a value as the command line has it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
